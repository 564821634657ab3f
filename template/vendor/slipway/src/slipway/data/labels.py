"""Labels that arrive after the prediction: reading them, and joining them with the prediction log.

A prediction without a label is unknown: it counts for nothing, and how many there are is always told. A label that
cannot be right is refused, counted and told, and hides no other. Of several labels of one prediction the later counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from slipway import team
from slipway.base.errors import MlopsError
from slipway.base.numbers import counted
from slipway.contract.files import SOURCE
from slipway.contract.frames import Violation, columns, sift
from slipway.contract.rows import Field
from slipway.contract.texts import moments
from slipway.data.label_sources import rows_of
from slipway.log.counts import is_part
from slipway.log.masks import Mask
from slipway.settings.policy import LabelPolicy
from slipway.settings.project import Project
from slipway.team import CONTRACT, model

#: The columns that joining adds: whether the label should be there by now, and what happened.
IS_DUE, TRUTH = "is_due", "truth"
_SHOWN = 3
#: When a label was written, how many are of its key, and whether they say the same; beside columns of any name.
_WRITTEN, _TIMES, _DIFFER = "(written)", "(times)", "(differ)"
#: Fewer labels than this can be like the answers by chance.
FEWEST_ECHOES, ECHO = 100, 1e-6


class LabelCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of all labels that are there: of `read` rows, `waiting` have no outcome yet.

    `refused` break the contract, `again` tell once more what is known, and `corrected` were overruled by a later one.
    Of the rest, `unknown` find no prediction in the log, which is `None` where not all of the log was looked at.
    `left_out` says of each file that could not be read why.
    """

    files: int = 0
    of: Literal["file", "query"] = "file"
    read: int = 0
    waiting: int = 0
    refused: int = 0
    again: int = 0
    corrected: int = 0
    unknown: int | None = None
    left_out: list[str] = []
    remarks: list[str] = []

    @property
    def sentence(self) -> str:
        """How many there are, in words."""
        return f"{counted(self.read, 'label')} in {counted(self.files, self.of)}"


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of a source, one for each key, with the row it came from; `counts` say what became of others."""

    frame: pl.DataFrame
    key: list[str]
    counts: LabelCounts

    @property
    def remarks(self) -> list[str]:
        """What was wrong with labels, a sentence each."""
        return self.counts.remarks


def rule_of(project: Project) -> LabelPolicy:
    """Where the labels are; refused when the policy does not say."""
    rule = project.policy.labels
    if rule is None:
        raise MlopsError(
            "policy.yaml does not say where labels are",
            "mlops policy add labels, see vendor/slipway/docs/challenger.md",
        )
    return rule


def read(project: Project, rule: LabelPolicy) -> Labels:
    """Read every label there is; a file that cannot be read and what breaks the contract is left out and told.

    Of labels with the same key the later counts: the one that was written later by the column that the policy names as
    `time`, and without that, or at the same time, the one in the later file, by name, or the later row. What is told
    twice is told. Raises `MlopsError` when the policy's key names no prediction, or a bucket or database is away.
    """
    known = {"id"} | {field.name for field in CONTRACT.fields}
    if not rule.key or not known.issuperset(rule.key):
        raise MlopsError(
            f"policy.yaml, labels.key: {', '.join(rule.key) or 'nothing'} names no prediction",
            "name columns of the contract, or [id] for the prediction's id",
        )
    outcome = [field.name for field in CONTRACT.outcome_fields]
    theirs = {name: name for name in [*rule.key, *outcome]} | {ours: theirs for theirs, ours in rule.columns.items()}
    if rule.time:
        theirs[_WRITTEN] = rule.time
    counts, torn, parts, violations = LabelCounts(), 0, [], []
    for rows in rows_of(project, rule, [*dict.fromkeys(theirs.values())]):
        given = rows.frame.select(SOURCE, *(pl.col(name).alias(ours) for ours, name in theirs.items()))
        told = given.filter(_is_told(project, given.columns))
        typed, broken = _typed(told, rule)
        parts.append(typed)
        violations += broken
        torn += rows.torn
        counts = LabelCounts(
            files=counts.files + rows.files,
            of="query" if rule.query else "file",
            read=counts.read + given.height + rows.torn,
            waiting=counts.waiting + given.height - told.height,
            refused=counts.refused + told.height - typed.height + rows.torn,
            left_out=counts.left_out + rows.left_out,
        )
    judged, strange = _of_a_class(pl.concat(parts))
    counts = msgspec.structs.replace(counts, refused=counts.refused + sum(one.rows for one in strange))
    kept, again, corrected = _latest(judged, rule.key, outcome)
    counts = msgspec.structs.replace(counts, again=again, corrected=corrected.height)
    remarks = _remarks(counts, rule, _merged(violations + strange), torn, corrected)
    # Nothing is asked of the team's function where there is nothing.
    happened: Any = model.target(columns(kept, CONTRACT.outcome_fields)) if kept.height else []
    truth = pl.Series(TRUTH, happened, strict=False).cast(pl.Float64).fill_nan(None)
    frame = kept.select([*rule.key, SOURCE]).with_columns(truth)
    return Labels(frame=frame, key=rule.key, counts=msgspec.structs.replace(counts, remarks=remarks))


def _of_a_class(typed: pl.DataFrame) -> tuple[pl.DataFrame, list[Violation]]:
    """The labels of the classes that model.py names, if it names some, and what is said of others."""
    classes = team.classes()
    if not classes or typed.is_empty():
        return typed, []
    places = pl.Series(model.target(columns(typed, CONTRACT.outcome_fields)), strict=False).cast(pl.Float64)
    is_one = places.is_in([*map(float, range(len(classes)))]).fill_null(False)
    if is_one.all():
        return typed, []
    others, names = typed.filter(~is_one), ", ".join(field.name for field in CONTRACT.outcome_fields)
    rule = f"target in model.py gives no place in CLASSES, which are {', '.join(classes)}"
    return typed.filter(is_one), [Violation(names, rule, others.height, others[SOURCE].head(_SHOWN).to_list())]


def _remarks(counts: LabelCounts, rule: LabelPolicy, wrong: list[str], torn: int, corrected: pl.DataFrame) -> list[str]:
    """Say what became of labels that do not count, a sentence for each reason."""
    said = [] if counts.files or counts.left_out else [f"there are no labels in {rule.source} yet"]
    said += [f"left out: {why}" for why in counts.left_out]
    if counts.refused:
        causes = [f"no JSON object in {counted(torn, 'line')}"] if torn else []
        said.append(f"refused, and not counted: {counted(counts.refused, 'label')}; {'; '.join([*causes, *wrong])}")
    if counts.again:
        said.append(f"told again, and counted once: {counted(counts.again, 'label')}")
    if counts.corrected:
        first = ", ".join(corrected[SOURCE].head(_SHOWN))
        said.append(f"corrected, and the later one counts: {counted(counts.corrected, 'label')}, by {first}")
    if counts.waiting:
        said.append(f"without an outcome yet, and unknown: {counted(counts.waiting, 'label')}")
    return said


def _is_told(project: Project, columns: Sequence[str]) -> list[pl.Expr]:
    """Whether a label says what happened: in every column, or in those that must, where `target` judges the others."""
    may_lack = project.params.split.missing_outcomes == "keep"
    fields = [field for field in CONTRACT.outcome_fields if field.name in columns]
    needed = [field.name for field in fields if not (field.optional and may_lack)]
    return [pl.col(name).is_not_null() for name in needed]


@dataclass(frozen=True)
class KnownLabels:
    """The labels there are; `frame` has them with their keys as the log of an environment has these."""

    labels: Labels
    frame: pl.DataFrame
    rule: LabelPolicy

    @classmethod
    def of(cls, project: Project, log: pl.DataFrame, mask: Mask | None = None) -> KnownLabels | None:
        """Read them for a log, of which any part will do; `None` where the policy has no rule."""
        rule = project.policy.labels
        if rule is None:
            return None
        told = read(project, rule)
        return cls(told, _as_logged(log, told, mask), rule)

    def join(self, log: pl.DataFrame, now: datetime) -> pl.DataFrame:
        """Do what `join` below does."""
        return _joined(log, self.frame, self.labels.key, self.rule, now)

    def hashes(self, frame: pl.DataFrame) -> NDArray[np.uint64]:
        """A number for the key of each row, of labels or of a log, which is the same in every process."""
        return frame.select(self.labels.key).hash_rows().to_numpy()

    def told(self, joined: pl.DataFrame, elsewhere: NDArray[np.bool_] | None = None, *, is_whole: bool) -> LabelCounts:
        """Say what became of labels, once they are joined with a log or the latest part of it.

        Those that find no prediction are counted where it `is_whole`, or where `elsewhere` says of each label whether
        it finds one in the part before.
        """
        remarks, unknown, frame = self.labels.remarks, None, self.frame
        if is_whole:
            others = frame if elsewhere is None else frame.filter(~pl.Series(elsewhere, dtype=pl.Boolean))
            strangers = others.join(joined, on=self.labels.key, how="anti", maintain_order="left")
            unknown = strangers.height
            remarks = remarks + _of_nothing(strangers, frame.height, is_part(joined))
        return msgspec.structs.replace(self.labels.counts, unknown=unknown, remarks=remarks + _echo(joined))


def attach(
    project: Project, log: pl.DataFrame, now: datetime, mask: Mask | None = None, *, is_whole: bool = True
) -> tuple[pl.DataFrame, LabelCounts | None]:
    """Join a log with the labels there are, and say what became of others; without a rule do nothing.

    Where the log `is_whole`, labels that find no prediction in it are counted.
    """
    known = KnownLabels.of(project, log, mask)
    if known is None:
        return log, None
    joined = known.join(log, now)
    return joined, known.told(joined, is_whole=is_whole)


def _of_nothing(strangers: pl.DataFrame, labels: int, of_a_share: bool) -> list[str]:
    """Say that labels find no prediction, which may be a wrong key, or a log that holds a part of them."""
    if not strangers.height:
        return []
    first = f"first {', '.join(strangers[SOURCE].head(_SHOWN))}"
    if strangers.height == labels:
        return [f"mind: none of {counted(labels, 'label')} finds a prediction, {first}; is labels.key right?"]
    why = "; it holds a share of them, by serving.log_share" if of_a_share else ""
    return [f"without a prediction in this log: {strangers.height:,} of {counted(labels, 'label')}, {first}{why}"]


def join(log: pl.DataFrame, labels: Labels, rule: LabelPolicy, now: datetime, mask: Mask | None = None) -> pl.DataFrame:
    """Add `truth`, which is null where nothing is known, and `is_due`.

    A prediction younger than the delay is not due and has no truth even where a label is there:
    the outcomes that are known first are not like the others. What the log has hashed finds its label by the
    hash of the label's own key, with the `mask` that the log was read with.
    """
    return _joined(log, _as_logged(log, labels, mask), labels.key, rule, now)


def _as_logged(log: pl.DataFrame, labels: Labels, mask: Mask | None) -> pl.DataFrame:
    """The labels with their keys as the log has them."""
    frame = labels.frame
    for name in labels.key:
        if mask and name in mask.hashed:
            frame = frame.with_columns(pl.Series(name, [mask.hash(name, value) for value in frame[name]], pl.String))
    return frame.with_columns(pl.col(name).cast(log.schema[name]) for name in labels.key)


def _joined(log: pl.DataFrame, frame: pl.DataFrame, key: list[str], rule: LabelPolicy, now: datetime) -> pl.DataFrame:
    due = (pl.col("at") + timedelta(days=rule.delay_days) <= now).alias(IS_DUE)
    known = frame.select([*key, TRUTH])
    joined = log.with_columns(due).join(known, on=key, how="left", maintain_order="left")
    return joined.with_columns(pl.when(IS_DUE).then(TRUTH))


def _echo(joined: pl.DataFrame) -> list[str]:
    """Say that labels may be a model's own answers; nobody can know, as a model may be right each time."""
    known = joined.filter(pl.col(TRUTH).is_not_null())
    same = (known[TRUTH] - known["answer"]).abs() <= ECHO * known[TRUTH].abs()
    if known.height < FEWEST_ECHOES or known[TRUTH].n_unique() == 1 or not same.all():
        return []
    return [f"mind: all {known.height:,} labels are exactly what was answered; are they a model's own answers?"]


def _merged(violations: list[Violation]) -> list[str]:
    """Say of each rule once how many rows of all files broke it."""
    found: dict[tuple[str, str], Violation] = {}
    for one in violations:
        before = found.get((one.field, one.rule), Violation(one.field, one.rule, 0, []))
        examples = [*before.examples, *one.examples][:_SHOWN]
        found[one.field, one.rule] = Violation(one.field, one.rule, before.rows + one.rows, examples)
    return [str(violation) for violation in found.values()]


def _typed(told: pl.DataFrame, rule: LabelPolicy) -> tuple[pl.DataFrame, list[Violation]]:
    """Give text its types by the contract's own rules; say which of them rows broke, and leave these rows out."""
    fields: tuple[Field, ...] = (
        *(field for field in CONTRACT.fields if field.name in rule.key), *CONTRACT.outcome_fields
    )  # fmt: skip
    typed, violations = sift(told, fields, rule.format)
    beside = [name for name in ("id", _WRITTEN) if name in told.columns]
    typed = typed.join(told.select(SOURCE, *beside), on=SOURCE, how="left", maintain_order="left") if beside else typed
    if _WRITTEN in beside:
        text, form = pl.col(_WRITTEN), rule.format.time
        plain = moments(text, zoned=False, form=form, unit="us").dt.replace_time_zone("UTC")
        typed = typed.with_columns(pl.coalesce(moments(text, zoned=True, form=form, unit="us"), plain).alias(_WRITTEN))
    for name, rule_broken in (("id", "a value is missing"), (_WRITTEN, "must be a time")):
        lacking = typed.filter(pl.col(name).is_null()) if name in beside else typed.clear()
        if lacking.height:
            column, first = rule.time if name == _WRITTEN else name, lacking[SOURCE].head(_SHOWN).to_list()
            violations.append(Violation(str(column), rule_broken, lacking.height, first))
            typed = typed.filter(pl.col(name).is_not_null())
    return typed, violations


def _latest(typed: pl.DataFrame, key: list[str], outcome: Sequence[str]) -> tuple[pl.DataFrame, int, pl.DataFrame]:
    """The last label of each key, how many only repeat another, and the labels that overrule others."""
    if _WRITTEN in typed.columns:
        typed = typed.sort(_WRITTEN, maintain_order=True)
    if typed.select(key).hash_rows().n_unique() == typed.height:  # as usual: nothing is told twice
        return typed, 0, typed.clear()
    told = pl.struct(outcome)
    grouped = typed.with_columns(told.n_unique().over(key).alias(_DIFFER), pl.len().over(key).alias(_TIMES))
    kept = grouped.unique(key, keep="last", maintain_order=True)
    again = int((kept.filter(pl.col(_DIFFER) == 1)[_TIMES] - 1).sum())
    return kept, again, kept.filter(pl.col(_DIFFER) > 1)
