"""What the contract refused, counted by field and rule: requests to an environment, or rows of the pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from slipway.base.errors import MlopsError
from slipway.base.numbers import counted
from slipway.contract.rows import Contract, Field
from slipway.contract.rules import in_words
from slipway.log import refusals
from slipway.log.refusals import Refusal
from slipway.settings.params import FileFormat
from slipway.settings.policy import MonitorPolicy
from slipway.settings.project import Project
from slipway.team import CONTRACT

if TYPE_CHECKING:
    import polars as pl

#: In a message or a report stand no more values than this.
_SHOWN = 3
#: How often a value is there, beside a column of any name.
_TIMES = "(times)"


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


def tally(recorded: Iterable[Refusal], contract: Contract = CONTRACT) -> list[Tally]:
    """Count recorded refusals by field and rule, the most frequent first."""
    fields = {field.name: field for field in contract.fields}
    tallied: dict[tuple[str, str, bool], Counter[Any]] = {}
    for one in recorded:
        field = fields.get(one.field)
        if field is None:
            continue
        value, is_whole = _decoded(one.value)
        now = field.broken_by(value) if is_whole or one.rule == "missing" else one.rule
        tallied.setdefault((one.field, now or one.rule, now is None), Counter())[value] += one.times
    found = [Tally(fields[name], rule, accepted, values) for (name, rule, accepted), values in tallied.items()]
    return sorted(found, key=lambda one: (-one.times, one.field.name, one.rule))


def tally_of_rows(raw: pl.DataFrame, contract: Contract = CONTRACT, form: FileFormat | None = None) -> list[Tally]:
    """Count what raw rows, as `files.read_raw` gives them, break of the contract; `form` is how they are written."""
    import polars as pl

    from slipway.contract import files, frames

    found = []
    for field in (*contract.fields, *contract.outcome_fields):
        if field.name not in raw.columns:
            continue
        distinct = raw.group_by(field.name).len(_TIMES).with_columns(pl.lit("").alias(files.SOURCE))
        typed = frames.parse(distinct, (field,), form or files.PLAIN)[0][field.name]
        by_rule: dict[str, Counter[Any]] = {}
        for given, value, times in zip(distinct[field.name], typed, distinct[_TIMES], strict=True):
            known = given if value is None else value
            if rule := field.broken_by(known):
                # Nobody reads the bytes of a picture.
                by_rule.setdefault(rule, Counter())[None if field.picture else known] += times
        found += [Tally(field, rule, False, values) for rule, values in by_rule.items()]
    return found


def describe(tallies: Sequence[Tally], answered: int) -> list[Refused]:
    """Describe refusals beside so many rows that were answered."""
    return [
        Refused(
            field=one.field.name,
            rule=one.rule,
            times=one.times,
            share=(share := one.times / (one.times + answered)),
            accepted=one.accepted,
            values=examples(one.values),
            sentence=f"{one.field.name} {reason(one)}: {one.times:,} refused, {100 * share:.1f} % of its values",
        )
        for one in tallies
    ]


def is_frequent(one: Refused, limits: MonitorPolicy) -> bool:
    """Whether a refusal is worth a look: often enough to be proposed, and not accepted by now."""
    return one.times >= limits.min_refused and not one.accepted


def recorded(project: Project, environment: str, since: datetime | None) -> list[Tally]:
    """What an environment's servers refused."""
    return tally(refusals.read(project, environment, since))


def ingested(project: Project) -> list[Tally]:
    """What the stage `validate` refuses of the rows that the pipeline has collected."""
    import polars as pl

    path = project.root / "data" / "ingested.parquet"
    if not path.is_file():
        raise MlopsError("no raw rows were collected in this checkout", "mlops pipeline")
    return tally_of_rows(pl.read_parquet(path), form=project.params.data.format)


def _decoded(text: str | None) -> tuple[Any, bool]:
    """A recorded value, and whether it is there: one that was not kept, or cut off, is not."""
    try:
        return msgspec.json.decode(text or "", type=str | int | float), True
    except msgspec.DecodeError:
        return None, False


def reason(one: Tally) -> str:
    """Why it was refused, in part of a sentence."""
    return in_words(one.rule) if not one.accepted else "was refused, and contract.py accepts it by now"


def examples(values: Counter[Any]) -> list[str]:
    """The most frequent values, each with how often it was there."""
    known = Counter({value: times for value, times in values.items() if value is not None})
    most = [f"{shown(value)} {counted(times, 'time')}" for value, times in known.most_common(_SHOWN)]
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
