"""What follows when the champion's quality is broken: the version before, proposed or put back."""

from __future__ import annotations

from collections.abc import Callable

from slipway.base.errors import MlopsError
from slipway.delivery import rollback
from slipway.forge import git
from slipway.settings.policy import QualityPolicy
from slipway.settings.project import Project


def roll_back(project: Project, name: str, rule: QualityPolicy, say: Callable[[str], None]) -> str:
    """Propose the version before, or go back to it, as the rule says; returns one sentence on what came of it."""
    try:
        if rule.action == "propose":
            proposal = rollback.propose(project, name)
            return f"{proposal}; {proposal.send(project)}"
        release = rollback.roll_back(project, name, say)
        sent = ""
        if "origin" in git.git(project.root, "remote").split():
            sent = f"; {rollback.publish(project, name, release)}"
    except MlopsError as refused:
        return f"{refused.problem}; next: {refused.next_step}"
    return f"{name} is back at version {release.version}{sent}"
