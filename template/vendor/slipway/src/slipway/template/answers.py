"""Other answers to the template's questions: each is carried through the whole project, or refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from slipway.base.errors import MlopsError
from slipway.forge.git import git

#: What a project is made for once: the team's own files follow from it, and an update does not change them.
ONCE = {"problem": "contract, model, metrics, policy and tests are written for it"}


def require_form(given: Sequence[str], recorded: dict[str, object]) -> None:
    """Refuse what is no KEY=VALUE, and an answer that a project gives once."""
    for answer in given:
        key, separator, value = answer.partition("=")
        if not separator or not key:
            raise MlopsError(
                f"--answer {answer} has no value", "write --answer KEY=VALUE, like size=small", exit_code=2
            )
        if key in ONCE and value != recorded.get(key):
            raise MlopsError(
                f"{key} is answered once: {ONCE[key]}, and they are yours",
                f"make a new project with --data {answer}, and bring what you keep of this one",
            )


def require_asked(given: Sequence[str], recorded: dict[str, object], version: str) -> None:
    """Refuse an answer that a version did not record: it asks no such question, or not with these other answers."""
    keys = [key for key in recorded if not key.startswith("_")]
    for answer in given:
        key = answer.partition("=")[0]
        if key not in keys:
            raise MlopsError(
                f"{version} asks no question {key} here, so --answer {answer} would change nothing",
                f"choose from {', '.join(keys)}",
                exit_code=2,
            )


def require_whole_package(root: Path, merged: str, old: str, new: str) -> None:
    """Refuse another package's name while files of the team's are in the old folder, or import from it."""
    if old == new:
        return
    inside = git(root, "ls-tree", "-r", "-z", "--name-only", merged, "--", f"src/{old}").split("\0")
    uses = rf"(^|[^A-Za-z0-9_])src/{old}([^A-Za-z0-9_]|$)|^[[:space:]]*(from|import)[[:space:]]+{old}([^A-Za-z0-9_]|$)"
    what = ("*.py", "*.toml", "*.yaml", "*.yml", "*.ipynb", ":!vendor")
    found = git(root, "grep", "--name-only", "-z", "-E", "-e", uses, merged, "--", *what, check=False).split("\0")
    left = sorted({*filter(None, inside), *(name.partition(":")[2] for name in found if name)})
    if left:
        raise MlopsError(
            f"package_name={new} would leave {old} in {', '.join(left[:5])}{', …' * (len(left) > 5)}",
            f"git mv src/{old} src/{new}, write {new} for {old} in these, commit, then run this again",
        )


def slug(given: Sequence[str]) -> str:
    """Answers as a part of a branch's name.

    >>> slug(["target=compose", "description=Late, or not?"])
    'target-compose-description-Late-or-not'
    """
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", answer).strip("-.")[:40].rstrip("-.") for answer in given)
