"""Judge one part of the prediction log: how far its columns have moved from the champion's reference."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
import polars as pl

from slipway import kinds
from slipway.base.errors import MlopsError
from slipway.base.numbers import counted
from slipway.contract import logged
from slipway.contract.rows import Contract, FieldKind
from slipway.monitoring.days import Days
from slipway.monitoring.drift import ColumnDrift, Side, Verdict, judge, moved
from slipway.settings.policy import Hidden, MonitorPolicy
from slipway.team import CONTRACT, PROBABILITIES
from slipway.training.bundle import Bundle, ModelFacts
from slipway.training.score_columns import SCORE

_HIDDEN: dict[Hidden, str] = {"hash": "hashed in the log", "drop": "dropped from the log"}
_NOT_COMPARED = {
    FieldKind.TIME: "a time always moves on",
    FieldKind.PICTURE: "each picture is another one; the numbers beside it are compared",
}
_IN_SAMPLE = "its bundle has only the scores of rows that it learned from; register that version once more"


class JudgedLog(msgspec.Struct, frozen=True, kw_only=True):
    """What a part of the log says of one version, column by column.

    `since` and `until` are the times of the first and the last prediction looked at, `version` is unknown while there
    is none. `left_out` says why a column was not compared. `learned_until` is the time of the newest row that the
    version learned from, as the contract's time has it. `drift` is what the columns say, `sentence` the same in words.
    """

    model: str
    kind: str
    version: int | None
    digest: str
    since: datetime | None
    until: datetime | None
    predictions: int
    other_versions: int
    reference_rows: int
    drift: Verdict
    sentence: str
    columns: list[ColumnDrift]
    left_out: dict[str, str]
    learned_until: datetime | None = None


def judge_log(
    bundle: Bundle,
    log: pl.DataFrame,
    policy: MonitorPolicy,
    contract: Contract = CONTRACT,
    hidden: Mapping[str, Hidden] | None = None,
) -> JudgedLog:
    """Compare the inputs and answers of a version with the bundle it was made from.

    Rows of the log that another version answered are counted and left out, columns in `hidden` are left out. Raises
    `MlopsError` when the policy names a column or a drift test that there is not.
    """
    model, reference = bundle.model, pl.read_parquet(bundle.reference)
    own = log.filter(pl.col("digest") == bundle.digest)
    seen = own.select(pl.last("version"), pl.min("at").alias("since"), pl.max("at").alias("until"))
    version, since, until = seen.row(0)
    sides, left_out = _sides(bundle, reference, own, policy, contract, hidden or {})
    columns = judge(sides, policy)
    return JudgedLog(
        model=model.name,
        kind=model.kind,
        version=version,
        digest=bundle.digest,
        since=since,
        until=until,
        predictions=own.height,
        other_versions=log.height - own.height,
        reference_rows=reference.height,
        drift=columns[0].verdict if columns else Verdict.INSUFFICIENT_DATA,
        sentence=_sentence(columns, own.height, reference.height, policy),
        columns=columns,
        left_out=left_out,
        learned_until=_newest(reference, contract),
    )


def inputs_of(
    bundle: Bundle,
    log: pl.DataFrame,
    policy: MonitorPolicy,
    contract: Contract = CONTRACT,
    hidden: Mapping[str, Hidden] | None = None,
) -> Side:
    """The columns of requests that `judge_log` compares: of the reference, and of what a version has answered."""
    own = log.filter(pl.col("digest") == bundle.digest)
    sides, _ = _sides(bundle, pl.read_parquet(bundle.reference), own, policy, contract, hidden or {})
    return sides[0]


def _sides(
    bundle: Bundle,
    reference: pl.DataFrame,
    own: pl.DataFrame,
    policy: MonitorPolicy,
    contract: Contract,
    hidden: Mapping[str, Hidden],
) -> tuple[list[Side], dict[str, str]]:
    """Requests beside training rows, and answers beside those to test rows; and why other columns are left out."""
    left_out = _left_out(reference, policy, contract, bundle.model)
    for name, rule in hidden.items():
        left_out |= dict.fromkeys(logged.with_numbers(contract, [name]), f"{_HIDDEN[rule]} by policy.yaml")
    scores = _scores(bundle)
    absent = _IN_SAMPLE if scores is None else _too_few(scores, policy)
    outputs = {output.meta.output_name(): output for output in _outputs(bundle.model)}
    left_out |= {name: absent for name in outputs if absent and name not in left_out}
    inputs = [pl.col(field.name) for field in logged.fields_of(contract.fields) if field.name not in left_out]
    answers = [output for name, output in outputs.items() if name not in left_out]
    sides = [
        Side(held.select(columns), own.select(columns), _days(held, own, contract, hidden))
        for held, columns in ((reference, inputs), (scores, answers))
        if held is not None
    ]
    return sides, left_out


def _left_out(reference: pl.DataFrame, policy: MonitorPolicy, contract: Contract, model: ModelFacts) -> dict[str, str]:
    """Say for each column that is not compared why; a name that no column has is refused."""
    outputs = {output.meta.output_name() for output in _outputs(model)}
    fields = logged.fields_of(contract.fields)
    known = {"score", model.answer} | outputs | {field.name for field in fields}
    for setting, named in (("ignore", policy.ignore), ("tests", [name for name in policy.tests if name != "default"])):
        if unknown := [name for name in named if name not in known]:
            raise MlopsError(
                f"policy.yaml, monitor.{setting}: there is no column {unknown[0]}",
                f"choose from {', '.join(sorted(known))}",
            )
    kinds = {field.name: _NOT_COMPARED[field.kind] for field in fields if field.kind in _NOT_COMPARED}
    new = [field.name for field in fields if field.name not in reference.columns]
    return kinds | dict.fromkeys(new, "not in the reference") | dict.fromkeys(policy.ignore, "ignored by policy.yaml")


def _scores(bundle: Bundle) -> pl.DataFrame | None:
    """Scores of rows that the model did not learn from; `None` in an older bundle."""
    return pl.read_parquet(bundle.tested) if bundle.tested.is_file() else None


def _too_few(scores: pl.DataFrame, policy: MonitorPolicy) -> str:
    """Why so few test rows tell nothing; empty where they are enough."""
    if scores.height >= policy.min_rows:
        return ""
    return f"its bundle has the scores of {counted(scores.height, 'test row')}, at least {policy.min_rows:,} are needed"


def _days(reference: pl.DataFrame, own: pl.DataFrame, contract: Contract, hidden: Mapping[str, Hidden]) -> Days | None:
    """Which rows are of the same day, and so may be alike; unknown where the log does not hold their time."""
    if contract.time is None or contract.time in hidden or contract.time not in reference.columns:
        return None
    return Days.of(reference[contract.time], own[contract.time])


def _newest(reference: pl.DataFrame, contract: Contract) -> datetime | None:
    """The time of the newest training row: `export` takes care that it is in the reference."""
    if contract.time is None or contract.time not in reference.columns:
        return None
    newest = reference[contract.time].dt.replace_time_zone(None).max()
    return newest if isinstance(newest, datetime) else None


def _outputs(model: ModelFacts) -> list[pl.Expr]:
    """What the model says, from the scores: of a class the answer as well, as its own threshold decides it."""
    kind = kinds.named(model.kind, model.classes)
    return kind.compared(pl.col(PROBABILITIES if kind.classes else SCORE), model.answer, model.threshold)


def _sentence(columns: list[ColumnDrift], predictions: int, reference_rows: int, policy: MonitorPolicy) -> str:
    if min(predictions, reference_rows) < policy.min_rows:
        return (
            f"{counted(predictions, 'prediction')} by the champion and "
            f"{counted(reference_rows, 'row')} in the reference, "
            f"at least {policy.min_rows:,} of each are needed"
        )
    if not columns:
        return "there is no column to compare"
    unknown = [column for column in columns if column.verdict is Verdict.INSUFFICIENT_DATA]
    if worst := moved(columns):
        others = f", and {len(worst) - 1} more moved" if len(worst) > 1 else ""
        untold = f"; no change of {', '.join(column.name for column in unknown)} can be told" if unknown else ""
        return f"{worst[0].sentence}{others}{untold}"
    if unknown:
        others = f", and so do {len(unknown) - 1} more" if len(unknown) > 1 else ""
        rest = len(columns) - len(unknown)
        like = f"; the other {counted(rest, 'column')} look like the reference" if rest else ""
        return f"{unknown[0].sentence}{others}{like}"
    return f"all {len(columns)} columns look like the reference"
