"""From refused values to a proposed change of the contract; a person decides about it.

A wider contract lets a model answer what it has not learned from, so a proposal counts what was refused and changes
`contract.py` as little as possible.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.base import programs
from slipway.base.numbers import counted
from slipway.contract.rows import Field
from slipway.contract.rules import RULES
from slipway.forge import git, proposals
from slipway.forge.proposals import Proposal, after_merge
from slipway.monitoring.refused import Tally, examples, reason
from slipway.proposals.contract_edit import CannotEditError, accept
from slipway.settings.project import Project
from slipway.team import PACKAGE

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Widening:
    """What a proposed contract accepts, if anything can be changed, and what is not in it."""

    proposal: Proposal | None
    changes: list[str]
    remarks: list[str]


def propose_wider(project: Project, found: Sequence[Tally], where: str) -> Widening:
    """Put a contract that accepts what was refused on a branch of its own, without touching the working tree."""
    path = Path("src") / PACKAGE / "contract.py"
    git.require_branch(project.root)
    git.require_committed(project.root, path.as_posix())
    before = (project.root / path).read_text("utf-8")
    after, changes, remarks = widen(before, found, project.policy.monitor.min_refused)
    if not changes:
        return Widening(None, changes, remarks)
    after = _formatted(project.root, path, before, after)
    fields = sorted({change.partition(":")[0] for change in changes})
    branch = f"widen/{'-'.join(fields)[:60]}-{sha256(after.encode()).hexdigest()[:8]}"
    message, title = _message(fields, changes, where), "a wider contract is proposed"
    with project.only_one("promote"):
        proposal = proposals.propose(
            project, branch, {path.as_posix(): after}, message,
            title=title, next_step=after_merge(branch, "pipeline"), replace=False,
        )  # fmt: skip
    return Widening(proposal, changes, remarks)


def widen(source: str, found: Sequence[Tally], min_refused: int) -> tuple[str, list[str], list[str]]:
    """Return the source of a contract that accepts what was refused often enough, what was changed, what was not."""
    changes, remarks = [], []
    by_now = {one.field.name: one.field for one in found}
    for one in found:
        if one.accepted:
            continue
        field = by_now[one.field.name]
        try:
            wider, values = _wider(replace(one, field=field), min_refused)
            source = accept(source, field, wider, values)
        except CannotEditError as cannot:
            remarks.append(f"{one.field.name} {reason(one)} ({counted(one.times, 'time')}): {cannot}")
            continue
        by_now[field.name] = wider
        taken = Counter({value: times for value, times in one.values.items() if value in values})
        most = examples(taken) or [counted(one.times, "time")]
        changes.append(f"{one.field.name}: {reason(one)}, {', '.join(most)}")
    return source, changes, remarks


def _wider(one: Tally, min_refused: int) -> tuple[Field, list[Any]]:
    """The field as it would have to be, and the values that it then accepts."""
    field = one.field
    if one.times < min_refused:
        raise CannotEditError(f"monitor.min_refused in policy.yaml asks for {min_refused}")
    if one.rule == "missing":
        return replace(field, optional=True), [None]
    if one.rule == "category":
        often = [text for text, times in one.values.most_common() if text and text.strip() and times >= min_refused]
        if not often:
            raise CannotEditError(f"no single value of it was seen {min_refused} times")
        return replace(field, categories=(*field.categories, *often)), often
    if one.rule in RULES and RULES[one.rule].moves:
        return _moved(one, min_refused)
    raise CannotEditError("no proposal can mend that: look at contract.py, and at who sends this")


def _moved(one: Tally, min_refused: int) -> tuple[Field, list[Any]]:
    """Move a bound so far that at least `min_refused` of the refused values lie at the new one or beyond it.

    So a handful of absurd values never decides where it goes.
    """
    numbers = sorted((value for value in one.values if value is not None), reverse=one.rule in ("le", "lt"))
    beyond = 0
    for limit in numbers:
        beyond += one.values[limit]
        if beyond >= min_refused:
            break
    else:
        raise CannotEditError(f"fewer than {min_refused} of these values were kept")
    inclusive = RULES[one.rule].moves or one.rule
    bounds = [(inclusive, limit) if rule == one.rule else (rule, was) for rule, was in one.field.bounds]
    return one.field.with_bounds(bounds), [value for value in numbers if RULES[inclusive].keeps(value, limit)]


def _message(fields: Sequence[str], changes: Sequence[str], where: str) -> str:
    listed = "\n".join(f"- {change}" for change in changes)
    return (
        f"Accept more values of {', '.join(fields)}\n\n"
        f"Refused of {where}:\n{listed}\n\n"
        "Is the world like this, or is a sender wrong? A model answers for these values only what it can guess\n"
        "until it has learned from rows that hold them.\n"
    )


def _formatted(root: Path, path: Path, before: str, after: str) -> str:
    """Format the new source if the old one was formatted and the formatter is here."""

    def formatted(text: str) -> str | None:
        command = (sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", str(path), "-")
        done = programs.run(*command, cwd=root, stdin=text.encode(), install="uv sync")
        return done.output if done.code == 0 else None

    return (formatted(after) or after) if formatted(before) == before else after
