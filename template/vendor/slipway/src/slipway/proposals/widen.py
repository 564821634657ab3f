"""From refused values to a proposed change of the contract; a person decides about it.

A wider contract lets a model answer what it has not learned from, so a proposal counts what was refused and changes
`contract.py` as little as possible.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from slipway.base.errors import MlopsError
from slipway.contract.rows import Contract, Field
from slipway.contract.rules import RULES, in_words
from slipway.forge import git, proposals
from slipway.forge.proposals import Proposal, after_merge
from slipway.log import refusals
from slipway.log.refusals import Refusal
from slipway.proposals.contract_edit import CannotEditError, accept
from slipway.settings.policy import MonitorPolicy
from slipway.settings.project import Project
from slipway.team import CONTRACT, PACKAGE

if TYPE_CHECKING:
    import polars as pl

#: In a message or a report stand no more values than this.
_SHOWN = 3


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """What was refused of one field by one rule; `values` are the most frequent, as text.

    `share` is of all values of this field that were asked about, answered and refused. `accepted` says that
    today's contract takes them: a version that was trained with it is still to be deployed.
    """

    field: str
    rule: str
    times: int
    share: float
    accepted: bool
    values: list[str]
    sentence: str


@dataclass(frozen=True)
class Tally:
    """How often each value of a field was refused by a rule of today's contract; `None` is what nobody kept."""

    field: Field
    rule: str
    accepted: bool
    values: Counter[Any]

    @property
    def times(self) -> int:
        """All of them together."""
        return self.values.total()


@dataclass(frozen=True)
class Widening:
    """What a proposed contract accepts, if anything can be changed, and what is not in it."""

    proposal: Proposal | None
    changes: list[str]
    remarks: list[str]


def tally(recorded: Iterable[Refusal], contract: Contract = CONTRACT) -> list[Tally]:
    """Count recorded refusals by field and rule, the most frequent first."""
    fields = {field.name: field for field in contract.fields}
    counted: dict[tuple[str, str, bool], Counter[Any]] = {}
    for one in recorded:
        field = fields.get(one.field)
        if field is None:
            continue
        value, is_whole = _decoded(one.value)
        now = field.broken_by(value) if is_whole or one.rule == "missing" else one.rule
        counted.setdefault((one.field, now or one.rule, now is None), Counter())[value] += one.times
    found = [Tally(fields[name], rule, accepted, values) for (name, rule, accepted), values in counted.items()]
    return sorted(found, key=lambda one: (-one.times, one.field.name, one.rule))


def tally_of_rows(raw: pl.DataFrame, contract: Contract = CONTRACT) -> list[Tally]:
    """Count what raw rows, as `frames.read_raw` gives them, break of the contract."""
    import polars as pl

    from slipway.contract import frames

    found = []
    for field in (*contract.fields, *contract.outcome_fields):
        if field.name not in raw.columns:
            continue
        distinct = raw.group_by(field.name).len("times").with_columns(pl.lit("").alias(frames.SOURCE))
        typed = frames.parse(distinct, (field,))[0][field.name]
        counted: dict[str, Counter[Any]] = {}
        for given, value, times in zip(distinct[field.name], typed, distinct["times"], strict=True):
            known = given if value is None else value
            if rule := field.broken_by(known):
                counted.setdefault(rule, Counter())[known] += times
        found += [Tally(field, rule, False, values) for rule, values in counted.items()]
    return found


def judge(tallies: Sequence[Tally], answered: int) -> list[Refused]:
    """Describe refusals beside so many rows that were answered."""
    return [
        Refused(
            field=one.field.name,
            rule=one.rule,
            times=one.times,
            share=(share := one.times / (one.times + answered)),
            accepted=one.accepted,
            values=_examples(one.values),
            sentence=f"{one.field.name} {_told(one)}: {one.times:,} refused, {100 * share:.1f} % of its values",
        )
        for one in tallies
    ]


def is_frequent(one: Refused, limits: MonitorPolicy) -> bool:
    """Whether a refusal is worth a look: often enough to be proposed, and not accepted by now."""
    return one.times >= limits.min_refused and not one.accepted


def propose(project: Project, found: Sequence[Tally], where: str) -> Widening:
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
        except CannotEditError as reason:
            remarks.append(f"{one.field.name} {_told(one)} ({one.times:,} times): {reason}")
            continue
        by_now[field.name] = wider
        told = Counter({value: times for value, times in one.values.items() if value in values})
        examples = _examples(told) or [f"{one.times:,} times"]
        changes.append(f"{one.field.name}: {_told(one)}, {', '.join(examples)}")
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


def _decoded(text: str | None) -> tuple[Any, bool]:
    """A recorded value, and whether it is there: one that was not kept, or cut off, is not."""
    try:
        return msgspec.json.decode(text or "", type=str | int | float), True
    except msgspec.DecodeError:
        return None, False


def _told(one: Tally) -> str:
    return in_words(one.rule) if not one.accepted else "was refused, and contract.py accepts it by now"


def _examples(values: Counter[Any]) -> list[str]:
    known = Counter({value: times for value, times in values.items() if value is not None})
    most = [f"{shown(value)} {times:,} times" for value, times in known.most_common(_SHOWN)]
    rest = len(known) - _SHOWN
    return [*most, f"and {rest:,} more"] if rest > 0 else most


def shown(value: Any) -> str:
    """Write what a client sent for a terminal, a commit or a page: in one line, and with nothing that they act on.

    >>> print(shown("Fixes #1 [skip ci] @all\\x1b[2J"))
    'Fixes \\x231 \\x5bskip ci] \\x40all\\x1b\\x5b2J'
    """
    text = repr(value)
    for sign in "#@[<`*":
        text = text.replace(sign, f"\\x{ord(sign):02x}")
    return text


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
        command = [sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", str(path), "-"]
        done = subprocess.run(command, cwd=root, input=text, capture_output=True, encoding="utf-8", check=False)  # noqa: S603
        return done.stdout if done.returncode == 0 else None

    return (formatted(after) or after) if formatted(before) == before else after


def recorded(project: Project, environment: str, since: datetime | None) -> list[Tally]:
    """What an environment's servers refused."""
    return tally(refusals.read(project, environment, since))


def ingested(project: Project) -> list[Tally]:
    """What the stage `validate` refuses of the rows that the pipeline has collected."""
    import polars as pl

    path = project.root / "data" / "ingested.parquet"
    if not path.is_file():
        raise MlopsError("no raw rows were collected in this checkout", "mlops pipeline")
    return tally_of_rows(pl.read_parquet(path))
