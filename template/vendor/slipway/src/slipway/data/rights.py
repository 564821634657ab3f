"""What this process may do at the data remote, in the remote's own words where it may not."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import msgspec

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.data import access, asking, place, remotes
from slipway.settings.project import Project

GUIDE = "docs/ci.md"
#: How long a remote may take to answer.
LIMIT_S = 10
#: How long it may take to load DVC and its client, on a slow machine.
_LOADING_S = 60
#: Who may not list is refused an object that is not there, too, so it is written before it is read.
_ORDER = ("list", "write", "read", "delete")


@dataclass(frozen=True)
class Rights:
    """What was found at this address: the rights that one has, and for each that is missing what was said.

    Of those that are missing, nobody has `refused` some: the remote did not answer, or went wrong.
    """

    url: str
    has: tuple[str, ...]
    missing: dict[str, str]
    refused: tuple[str, ...] = ()

    def sentence(self) -> str:
        """What is missing, by name, and why."""
        # A remote that does not answer says the same for each right, or nothing more at all.
        reasons = list(dict.fromkeys(self.missing.values()))
        return f"no right to {_and(list(self.missing))} at {self.url} ({'; '.join(reasons)})"


class _Answer(msgspec.Struct, frozen=True):
    right: str
    problem: str
    is_refused: bool = False


def ask(project: Project, *wanted: str) -> Rights:
    """Use each right that data needs at this kind of remote, or those `wanted`, once; takes some ten seconds at most.

    Raises `MlopsError` where the remote's client is not installed, or DVC's configuration cannot be read.
    """
    name, url = place.default_remote(project.root)
    kind = remotes.of(url)
    if kind is None:
        return Rights(url, (), {})
    rights = tuple(right for right in kind.known if right in (wanted or kind.rights))
    in_turn = sorted(rights, key=_ORDER.index)
    ways = ("create" if kind.creates else "overwrite") if kind.is_bucket else "remove"
    with access.opened(project.root) as environment:
        done = programs.run(
            sys.executable, "-I", asking.__file__, str(project.root), name, ways, str(LIMIT_S), *in_turn,
            cwd=project.root, env=environment, timeout_s=LIMIT_S + _LOADING_S, install="uv sync",
        )  # fmt: skip
    answers = [msgspec.json.decode(line, type=_Answer) for line in done.output.splitlines() if line.startswith("{")]
    if not answers:
        raise MlopsError(f"the data remote {url} could not be asked: {done.last_words(1)}", "uv sync; dvc remote list")
    found = {one.right: one.problem for one in answers}
    # After the first that does not answer, nothing else was asked.
    late = answers[-1].problem
    missing = {right: found.get(right, late) for right in rights if found.get(right, late)}
    refused = tuple(one.right for one in answers if one.is_refused)
    return Rights(url, tuple(right for right in rights if right not in missing), missing, refused)


def demand(project: Project, otherwise: str, *wanted: str) -> None:
    """Refuse to go on where one of these rights is missing, before DVC would try again and again.

    Raises `MlopsError`, which begins with what could not be done.
    """
    url = place.default_remote(project.root)[1]
    kind = remotes.of(url)
    if kind is None or kind.kind == "local":
        return
    if "write" in wanted and not kind.is_written:
        raise MlopsError(
            f"{otherwise}: {url} is read over HTTP, and takes nothing",
            "name its other address, that takes data: dvc remote modify --local storage url ADDRESS",
        )
    found = ask(project, *wanted)
    if found.missing:
        raise MlopsError(f"{otherwise}: {found.sentence()}", f"see what to allow, {GUIDE}")


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
