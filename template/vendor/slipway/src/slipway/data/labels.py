"""Labels that arrive after the prediction: reading them, and joining them with the prediction log.

A prediction without a label is unknown: it counts for nothing, and how many there are is always told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import polars as pl

from slipway.base.errors import MlopsError
from slipway.base.numbers import counted
from slipway.contract.files import SOURCE, read_raw
from slipway.contract.found import all_of
from slipway.contract.frames import columns, parse
from slipway.log.masks import Mask
from slipway.settings.policy import LabelPolicy
from slipway.settings.project import Project
from slipway.team import CONTRACT, model

#: The columns that joining adds: whether the label should be there by now, and what happened.
IS_DUE, TRUTH = "is_due", "truth"
_SHOWN = 3
#: In how many ways, and how often, a label is told; beside columns of any name.
_TOLD, _TIMES = "(told)", "(times)"
#: Fewer labels than this can be like the answers by chance.
FEWEST_ECHOES, ECHO = 100, 1e-6


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of a source, one for each key; `remarks` say what was wrong with others."""

    frame: pl.DataFrame
    key: list[str]
    remarks: list[str]


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
    """Read every label there is.

    What is told twice counts once. What is told in two ways is no label. Raises `MlopsError` for a file that
    cannot be read and for a value that the contract does not allow.
    """
    source = project.root / rule.source
    known = {"id"} | {field.name for field in CONTRACT.fields}
    if not rule.key or not known.issuperset(rule.key):
        raise MlopsError(
            f"policy.yaml, labels.key: {', '.join(rule.key) or 'nothing'} names no prediction",
            "name columns of the contract, or [id] for the prediction's id",
        )
    if not all_of(source):
        return Labels(frame=_none(rule.key), key=rule.key, remarks=[f"there are no labels in {rule.source} yet"])
    outcome = [field.name for field in CONTRACT.outcome_fields]
    wanted = {name: name for name in [*rule.key, *outcome]} | {ours: theirs for theirs, ours in rule.columns.items()}
    given = read_raw(source, rule.format, [*wanted.values()]).rename({theirs: ours for ours, theirs in wanted.items()})
    told = given.filter(_is_told(project, given.columns))
    labels = _one_for_each(_typed(told, rule), rule.key, outcome)
    if waiting := given.height - told.height:
        labels.remarks.append(f"without an outcome yet, and unknown: {counted(waiting, 'label')}")
    return labels


def _is_told(project: Project, columns: Sequence[str]) -> list[pl.Expr]:
    """Whether a label says what happened: in every column, or in those that must, where `target` judges the others."""
    may_lack = project.params.split.missing_outcomes == "keep"
    fields = [field for field in CONTRACT.outcome_fields if field.name in columns]
    needed = [field.name for field in fields if not (field.optional and may_lack)]
    return [pl.col(name).is_not_null() for name in needed]


def attach(
    project: Project, log: pl.DataFrame, now: datetime, mask: Mask | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """Join a log with the labels there are, and say what was wrong with others; without a rule do nothing."""
    rule = project.policy.labels
    if rule is None:
        return log, []
    told = read(project, rule)
    joined = join(log, told, rule, now, mask)
    return joined, told.remarks + _echo(joined)


def join(log: pl.DataFrame, labels: Labels, rule: LabelPolicy, now: datetime, mask: Mask | None = None) -> pl.DataFrame:
    """Add `truth`, which is null where nothing is known, and `is_due`.

    A prediction younger than the delay is not due and has no truth even where a label is there:
    the outcomes that are known first are not like the others. What the log has hashed finds its label by the
    hash of the label's own key, with the `mask` that the log was read with.
    """
    frame = labels.frame
    for name in labels.key:
        if mask and name in mask.hashed:
            frame = frame.with_columns(pl.Series(name, [mask.hash(name, value) for value in frame[name]], pl.String))
    typed = frame.with_columns(pl.col(name).cast(log.schema[name]) for name in labels.key)
    due = (pl.col("at") + timedelta(days=rule.delay_days) <= now).alias(IS_DUE)
    joined = log.with_columns(due).join(typed, on=labels.key, how="left", maintain_order="left")
    return joined.with_columns(pl.when(IS_DUE).then(TRUTH))


def _echo(joined: pl.DataFrame) -> list[str]:
    """Say that labels may be a model's own answers; nobody can know, as a model may be right each time."""
    known = joined.filter(pl.col(TRUTH).is_not_null())
    same = (known[TRUTH] - known["answer"]).abs() <= ECHO * known[TRUTH].abs()
    if known.height < FEWEST_ECHOES or known[TRUTH].n_unique() == 1 or not same.all():
        return []
    return [f"mind: all {known.height:,} labels are exactly what was answered; are they a model's own answers?"]


def _typed(given: pl.DataFrame, rule: LabelPolicy) -> pl.DataFrame:
    """Give text its types, by the contract's own rules."""
    fields = tuple(field for field in CONTRACT.fields if field.name in rule.key) + CONTRACT.outcome_fields
    typed, violations = parse(given, fields, rule.format)
    if violations:
        listed = "\n".join(f"  {violation}" for violation in violations)
        raise MlopsError(f"the labels in {rule.source} break the contract:\n{listed}", "mend these files")
    return typed.with_columns(given["id"]) if "id" in rule.key else typed


def _one_for_each(typed: pl.DataFrame, key: list[str], outcome: Sequence[str]) -> Labels:
    told = pl.struct(outcome).n_unique().alias(_TOLD)
    grouped = typed.group_by(key, maintain_order=True).agg(told, pl.len().alias(_TIMES), pl.first(SOURCE, *outcome))
    conflicts = grouped.filter(pl.col(_TOLD) > 1)
    kept = grouped.filter(pl.col(_TOLD) == 1)
    remarks = []
    if again := int((kept[_TIMES] - 1).sum()):
        remarks.append(f"told again, and counted once: {counted(again, 'label')}")
    if conflicts.height:
        first = ", ".join(conflicts[SOURCE].head(_SHOWN))
        remarks.append(f"contradicting labels count as unknown, for {counted(conflicts.height, 'key')}: {first}")
    truth = pl.Series(TRUTH, model.target(columns(kept, CONTRACT.outcome_fields))).cast(pl.Float64).fill_nan(None)
    return Labels(frame=kept.select(key).with_columns(truth), key=key, remarks=remarks)


def _none(key: list[str]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys(key, pl.Null()) | {TRUTH: pl.Float64()})
