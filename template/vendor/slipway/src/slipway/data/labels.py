"""Labels that arrive after the prediction: reading them, and joining them with the prediction log.

A prediction without a label is unknown: it counts for nothing, and how many there are is always told. A label that
cannot be right is refused, counted and told, and hides no other. Of several labels of one prediction the later counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import polars as pl

from slipway import team
from slipway.base.errors import MlopsError
from slipway.base.numbers import counted
from slipway.contract import logged
from slipway.contract.files import SOURCE
from slipway.contract.frames import Violation, columns, merged
from slipway.data import label_posts, label_sources
from slipway.data.label_files import LabelRows
from slipway.data.label_parts import HASH, PLACE, First, LabelParts
from slipway.data.label_typing import WRITTEN, of_a_class, typed
from slipway.log.counts import is_part
from slipway.log.frames import frame_of
from slipway.log.masks import Mask
from slipway.log.posted import LabelForm
from slipway.settings.policy import LabelPolicy
from slipway.settings.project import Project
from slipway.team import CONTRACT

#: The columns that joining adds: whether the label should be there by now, and what happened.
IS_DUE, TRUTH = "is_due", "truth"
#: Fewer labels than this can be like the answers by chance.
FEWEST_ECHOES, ECHO = 100, 1e-6
#: Which of the labels whose keys have these hashes are of predictions elsewhere.
IsElsewhere = Callable[[pl.Series], pl.Series]


class LabelCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of all labels that are there: of `read` rows, `waiting` have no outcome yet; so many were `posted`.

    `refused` break the contract, `again` tell once more what is known, and `corrected` were overruled by a later one.
    Of the rest, `unknown` find no prediction in the log, which is `None` where not all of the log was looked at.
    `left_out` says of each file that could not be read why.
    """

    files: int = 0
    of: Literal["file", "query"] = "file"
    read: int = 0
    posted: int = 0
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
        said = f"{counted(self.read - self.posted, 'label')} in {counted(self.files, self.of)}"
        return f"{said}, and {self.posted:,} posted" if self.posted else said


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels of a source, one for each key, with what happened; `counts` say what became of others."""

    parts: LabelParts
    key: list[str]
    counts: LabelCounts

    @property
    def frame(self) -> pl.DataFrame:
        """All of them in memory, in the order in which they were read."""
        return pl.concat(self.parts.parts(*self.key, SOURCE, TRUTH, PLACE)).sort(PLACE).drop(PLACE)

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


def require_key(rule: LabelPolicy) -> None:
    """Refuse a key that names no prediction."""
    known = {"id"} | {field.name for field in CONTRACT.fields}
    if not rule.key or not known.issuperset(rule.key):
        raise MlopsError(
            f"policy.yaml, labels.key: {', '.join(rule.key) or 'nothing'} names no prediction",
            "name columns of the contract, or [id] for the prediction's id",
        )


def form_of(project: Project) -> LabelForm:
    """What a label must hold that is posted to a server; refused when the policy does not say."""
    rule = rule_of(project)
    require_key(rule)
    return LabelForm(key=rule.key, needed=_needed(project, [field.name for field in CONTRACT.outcome_fields]))


def read(project: Project, rule: LabelPolicy, environment: str | None = None, mask: Mask | None = None) -> Labels:
    """Read every label there is, with those that were posted to an environment; what is wrong is left out and told.

    Of labels with the same key the later counts: the one that was written later by the column that the policy names as
    `time`, and without that, or at the same time, the one in the later file, by name, or the later row. One that was
    posted was written when it came, and is later than any that has no time. What is told twice is told. Keys are hashed
    where a `mask` hashes them in the log. Raises `MlopsError` when the policy's key names no prediction, or a bucket or
    database is away.
    """
    require_key(rule)
    outcome = [field.name for field in CONTRACT.outcome_fields]
    counts, torn, violations = LabelCounts(), 0, list[Violation]()
    parts, types = LabelParts(rule.key, project.state), frame_of([], logged.fields_of(CONTRACT.fields), mask).schema
    for rows, given, form in _given(project, rule, environment, outcome):
        needed = _needed(project, given.columns)
        told = given.drop_nulls(needed) if needed else given
        right, broken = typed(told, form, mask)
        kept, strange = of_a_class(right)
        parts.add(_with_truth(kept, rule.key, types), outcome)
        violations += [*broken, *strange]
        torn += rows.torn
        counts = LabelCounts(
            files=counts.files + rows.files,
            of="query" if rule.query else "file",
            read=counts.read + given.height + rows.torn,
            posted=counts.posted + (given.height + rows.torn if form is not rule else 0),
            waiting=counts.waiting + given.height - told.height,
            refused=counts.refused + told.height - kept.height + rows.torn,
            left_out=counts.left_out + rows.left_out,
        )
    parts.settle()
    counts = msgspec.structs.replace(counts, again=parts.again, corrected=parts.correcting.rows)
    remarks = _remarks(counts, rule, [*map(str, merged(violations))], torn, parts.correcting)
    return Labels(parts=parts, key=rule.key, counts=msgspec.structs.replace(counts, remarks=remarks))


def _with_truth(kept: pl.DataFrame, key: list[str], types: pl.Schema) -> pl.DataFrame:
    """Labels with what happened, when that was written, and their keys as a log has them."""
    # Nothing is asked of the team's function where there is nothing.
    happened: Any = team.model.target(columns(kept, CONTRACT.outcome_fields)) if kept.height else []
    truth = pl.Series(TRUTH, happened, strict=False).cast(pl.Float64).fill_nan(None)
    written = [] if WRITTEN in kept.columns else [pl.lit(None, pl.Datetime("us", "UTC")).alias(WRITTEN)]
    return kept.with_columns(truth, *written, *(pl.col(name).cast(types[name]) for name in key))


def _given(
    project: Project, rule: LabelPolicy, environment: str | None, outcome: Sequence[str]
) -> Iterator[tuple[LabelRows, pl.DataFrame, LabelPolicy]]:
    """Labels of the source and posted ones, some rows at a time: their columns by our names, and how they are read."""
    theirs = {name: name for name in [*rule.key, *outcome]} | {ours: theirs for theirs, ours in rule.columns.items()}
    if rule.time:
        theirs[WRITTEN] = rule.time
    for rows in label_sources.rows_of(project, rule, [*dict.fromkeys(theirs.values())]):
        yield rows, rows.frame.select(SOURCE, *(pl.col(name).alias(ours) for ours, name in theirs.items())), rule
    if environment is not None:
        form = label_posts.rule_for(rule)
        for rows in label_posts.rows_of(project, environment, rule.key, outcome):
            yield rows, rows.frame.rename({label_posts.CAME: WRITTEN}), form


def _remarks(counts: LabelCounts, rule: LabelPolicy, wrong: list[str], torn: int, correcting: First) -> list[str]:
    """Say what became of labels that do not count, a sentence for each reason."""
    said = [] if counts.files or counts.left_out or counts.posted else [f"there are no labels in {rule.source} yet"]
    said += [f"left out: {why}" for why in counts.left_out]
    if counts.refused:
        causes = [f"no JSON object in {counted(torn, 'line')}"] if torn else []
        said.append(f"refused, and not counted: {counted(counts.refused, 'label')}; {'; '.join([*causes, *wrong])}")
    if counts.again:
        said.append(f"told again, and counted once: {counted(counts.again, 'label')}")
    if counts.corrected:
        many = counted(counts.corrected, "label")
        said.append(f"corrected, and the later one counts: {many}, by {correcting.shown}")
    if counts.waiting:
        said.append(f"without an outcome yet, and unknown: {counted(counts.waiting, 'label')}")
    return said


def _needed(project: Project, columns: Sequence[str]) -> list[str]:
    """The outcomes without which a label tells nothing: all, or those that must be there, where `target` judges."""
    may_lack = project.params.split.missing_outcomes == "keep"
    fields = [field for field in CONTRACT.outcome_fields if field.name in columns]
    return [field.name for field in fields if not (field.optional and may_lack)]


@dataclass(frozen=True)
class KnownLabels:
    """The labels there are, and the policy's rule for them."""

    labels: Labels
    rule: LabelPolicy

    @classmethod
    def of(cls, project: Project, environment: str | None = None, mask: Mask | None = None) -> KnownLabels | None:
        """Read them for the log of an environment; `None` where the policy has no rule."""
        rule = project.policy.labels
        return None if rule is None else cls(read(project, rule, environment, mask), rule)

    def join(self, log: pl.DataFrame, now: datetime) -> pl.DataFrame:
        """Do what `join` below does."""
        return join(log, self.labels, self.rule, now)

    def told(
        self, joined: pl.DataFrame, elsewhere: IsElsewhere | None = None, *, is_whole: bool, why_in_part: str = ""
    ) -> LabelCounts:
        """Say what became of labels, once they are joined with a log or the latest part of it.

        Those that find no prediction are counted where it `is_whole`, or where `elsewhere` says of the hashes of keys
        which find one in the part before. `why_in_part` is the setting by which only a part of all predictions is
        there.
        """
        why_in_part = why_in_part or ("serving.log_share" if is_part(joined) else "")
        remarks, unknown = self.labels.remarks, None
        if is_whole:
            strangers = First()
            for others in self.labels.parts.others(joined):
                strangers.add(others.filter(~elsewhere(others[HASH])) if elsewhere else others)
            unknown = strangers.rows
            remarks = remarks + _of_nothing(strangers, self.labels.parts.rows, why_in_part)
        return msgspec.structs.replace(self.labels.counts, unknown=unknown, remarks=remarks + _echo(joined))


def _of_nothing(strangers: First, labels: int, why_in_part: str) -> list[str]:
    """Say that labels find no prediction, which may be a wrong key, or a log that holds a part of them."""
    if not strangers.rows:
        return []
    if strangers.rows == labels:
        many = counted(labels, "label")
        return [f"mind: none of {many} finds a prediction, first {strangers.shown}; is labels.key right?"]
    why = f"; it holds a share of them, by {why_in_part}" if why_in_part else ""
    many = f"{strangers.rows:,} of {counted(labels, 'label')}"
    return [f"without a prediction in this log: {many}, first {strangers.shown}{why}"]


def join(log: pl.DataFrame, labels: Labels, rule: LabelPolicy, now: datetime) -> pl.DataFrame:
    """Add `truth`, which is null where nothing is known, and `is_due`.

    A prediction younger than the delay is not due and has no truth even where a label is there:
    the outcomes that are known first are not like the others. What the log has hashed finds its label by the
    hash of the label's own key: both are read with the same mask.
    """
    due = (pl.col("at") + timedelta(days=rule.delay_days) <= now).alias(IS_DUE)
    known = labels.parts.of(log, *labels.key, TRUTH).cast({name: log.schema[name] for name in labels.key})
    joined = log.with_columns(due).join(known, on=labels.key, how="left", maintain_order="left")
    return joined.with_columns(pl.when(IS_DUE).then(TRUTH))


def _echo(joined: pl.DataFrame) -> list[str]:
    """Say that labels may be a model's own answers; nobody can know, as a model may be right each time."""
    known = joined.filter(pl.col(TRUTH).is_not_null())
    same = (known[TRUTH] - known["answer"]).abs() <= ECHO * known[TRUTH].abs()
    if known.height < FEWEST_ECHOES or known[TRUTH].n_unique() == 1 or not same.all():
        return []
    return [f"mind: all {known.height:,} labels are exactly what was answered; are they a model's own answers?"]
