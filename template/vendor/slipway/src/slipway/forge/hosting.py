"""The seam to whatever hosts the repository: summaries of a job, proposals to review, workflows, branch rules.

GitHub is what ships. A package can plug in another one by an entry point of the group `slipway.forge`: a callable
that takes a `Project` and returns a `Forge` for it, or None where the project is not its business.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Protocol

from slipway.base.errors import MlopsError
from slipway.settings.project import Project

GROUP = "slipway.forge"


class Forge(Protocol):
    """What the platform asks of a host of repositories. What is not reached is said in the returned sentence."""

    @property
    def is_connected(self) -> bool:
        """Whether the host can be asked to do something from here."""

    @property
    def rules_file(self) -> str:
        """The file of the project that holds the branch rules as they should be."""

    def output(self, **values: str | bool) -> None:
        """Hand values to later jobs of a workflow; outside of one, do nothing."""

    def summarize(self, markdown: str) -> None:
        """Add to the page of a workflow's run; outside of one, do nothing."""

    def propose(self, branch: str, *, replace: bool = True) -> str:
        """Offer a branch for review; without `replace`, one that the host has already is left as it is."""

    def publish(self, otherwise: str) -> str:
        """Send the current branch; where the host's rules refuse that, propose it as the branch `otherwise`."""

    def start(self, workflow: str, branch: str) -> str:
        """Start a workflow by its file's name; refused with `MlopsError` where that is not possible."""

    def apply_rules(self) -> list[str]:
        """Make the host's branch rules those of the file; returns what was changed."""

    def broken_rules(self) -> list[str]:
        """Say where the host's branch rules are not those of the file."""


def of(project: Project) -> Forge:
    """The host of this project's repository; refused when two packages claim it."""
    claims: list[tuple[str, Forge]] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        made: Callable[[Project], Forge | None] = point.load()
        found = made(project)
        if found is not None:
            claims.append((point.name, found))
    if len(claims) > 1:
        raise MlopsError(
            f"{' and '.join(name for name, _ in claims)} both claim to host this repository", "uninstall one of them"
        )
    if claims:
        return claims[0][1]
    from slipway.forge.github import GitHub

    return GitHub(project)
