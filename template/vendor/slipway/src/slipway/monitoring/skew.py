"""Training-serving skew: do logged requests get the features and the score that training would give them?

Logged rows are replayed on both paths. Training turns many rows at once from a data frame into features, the server
mostly single rows from decoded requests. Whatever then differs, the model is asked about other rows than it learned
from, and no drift of a column need show it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import Enum
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from slipway import team
from slipway.base.errors import MlopsError
from slipway.base.numbers import counted
from slipway.contract.columns import Columns, RowColumns
from slipway.contract.frames import columns, spread
from slipway.contract.rows import Row
from slipway.kinds.base import Matrix, Scores, alike
from slipway.log.masks import MARK
from slipway.registry import packaging
from slipway.team import CONTRACT
from slipway.training.bundle import Bundle
from slipway.training.score_columns import scores_in
from slipway.training.scoring import Scorer, matrix
from slipway.training.team_code import column_names

#: So many logged rows are replayed, at most; single rows are slow.
MOST_ROWS = 1000

#: What arithmetic in another order explains: relative, and as a part of a feature's largest value.
ROUNDING = 1e-5


class SkewState(Enum):
    """What a replay has shown."""

    OK = "ok"
    SKEWED = "skewed"
    UNKNOWN = "unknown"


class SkewedColumn(msgspec.Struct, frozen=True):
    """A feature, `score`, or a column that the contract refuses: in how many rows it differs, and how in the first."""

    name: str
    rows: int
    example: str


class Skew(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the replay of `rows` logged rows; `next_step` is empty unless they are skewed."""

    state: SkewState
    sentence: str
    rows: int = 0
    differences: list[SkewedColumn] = []
    next_step: str = ""


def replay(bundle: Bundle, log: pl.DataFrame, hidden: Collection[str] = ()) -> Skew:
    """Replay rows that the champion has logged, spread evenly over `log`, by the code of this checkout.

    Columns in `hidden` are not in the log as they were asked. Features that need none of them can be replayed.
    """
    own = log.filter(pl.col("digest") == bundle.digest)
    if own.is_empty():
        return _unknown("the champion has logged no rows")
    if CONTRACT.pictures:
        return _unknown("the log holds no pictures, only their digests, so that no row of it can be replayed")
    try:
        _require_its_code(bundle)
        sample = spread(own, MOST_ROWS)
        return _replay(Scorer(bundle), sample, hidden)
    except MlopsError as error:
        return _unknown(error.problem)


def _replay(scorer: Scorer, sample: pl.DataFrame, hidden: Collection[str]) -> Skew:
    whole = _whole(sample, hidden)
    left_out = _left_out(sample, whole, hidden)
    if whole.is_empty():
        return _unknown(f"no row of the champion is whole in the log: {left_out}")
    decoded, refused = _decoded(scorer.bundle, whole, hidden)
    if refused:
        return _counted(_judged(whole.height, refused, []), sample.height, left_out)
    replayed = columns(whole, tuple(field for field in CONTRACT.fields if field.name not in hidden))
    try:
        names, trained = matrix(replayed, scorer.facts.features)
        served = np.concatenate([matrix(one, names)[1] for one in _one_by_one(decoded, hidden)])
    except KeyError as absent:
        if absent.args[0] not in hidden:
            raise
        return _unknown(f"features.py needs {absent.args[0]}, which privacy.fields keeps out of the log")
    found = [*_features(whole, names, trained, served), *_scores(whole, scorer.scores(replayed), scorer.kind.rounding)]
    return _counted(_judged(whole.height, found, names), sample.height, left_out)


def _counted(found: Skew, asked: int, left_out: str) -> Skew:
    """Say how many rows could not be replayed; most of them make what the others show no answer."""
    if not left_out:
        return found
    is_most = asked - found.rows > found.rows
    state = SkewState.UNKNOWN if found.state is SkewState.OK and is_most else found.state
    return msgspec.structs.replace(found, sentence=f"{found.sentence}; {left_out}", state=state)


def _whole(sample: pl.DataFrame, hidden: Collection[str]) -> pl.DataFrame:
    """The rows that hold what was asked: an earlier rule may have hidden columns that are logged today."""
    needed = [field.name for field in CONTRACT.fields if not field.optional and field.name not in hidden]
    texts = [name for name in sample.columns if sample.schema[name] == pl.String and name not in hidden]
    is_hashed = pl.any_horizontal(pl.col(texts).str.starts_with(MARK).fill_null(False))
    return sample.drop_nulls(needed).filter(~is_hashed)


def _left_out(sample: pl.DataFrame, whole: pl.DataFrame, hidden: Collection[str]) -> str:
    """Say how many rows are not whole, and which columns of them the log does not hold as they were asked."""
    if not (many := sample.height - whole.height):
        return ""
    needed = [field.name for field in CONTRACT.fields if not field.optional and field.name not in hidden]
    gaps = [f"{name} in {absent:,}" for name in needed if (absent := sample[name].null_count())]
    return (
        f"{many:,} of {counted(sample.height, 'row')} left out, without {', '.join(gaps) or 'what a hash stands for'}"
    )


def _decoded(bundle: Bundle, rows: pl.DataFrame, hidden: Collection[str]) -> tuple[list[Row], list[SkewedColumn]]:
    """The rows as a server decodes them, and what the contract refuses: a server never scored such a row."""
    usual = bundle.golden.rows[0]  # stands in for what was not logged, and is never looked at
    named = rows.with_columns(pl.lit(usual[name]).alias(name) for name in hidden if name in usual)
    decoded: list[Row] = []
    refused: dict[str, list[str]] = {}
    for place, row in enumerate(named.select(field.name for field in CONTRACT.fields).iter_rows(named=True)):
        try:
            decoded.append(msgspec.convert(row, CONTRACT.row))
        except msgspec.ValidationError as error:
            reason, _, where = str(error).partition(" - at `$.")
            refused.setdefault(where.rstrip("`"), []).append(f"{reason} in prediction {rows['id'][place]}")
    return decoded, [SkewedColumn(name, len(reasons), reasons[0]) for name, reasons in refused.items()]


def _one_by_one(rows: list[Row], hidden: Collection[str]) -> Iterator[Columns]:
    request = RowColumns(CONTRACT.fields)
    for row in rows:
        yield {name: column for name, column in request([row]).items() if name not in hidden}


def _features(sample: pl.DataFrame, names: list[str], trained: Matrix, served: Matrix) -> Iterator[SkewedColumn]:
    for place, name in enumerate(column_names(names, trained.shape[1])):
        one, other = trained[:, place], served[:, place]
        largest = np.abs(one[np.isfinite(one)]).max(initial=0)
        differs = ~np.isclose(one, other, rtol=ROUNDING, atol=ROUNDING * largest, equal_nan=True)
        yield from _difference(sample, name, differs, "{:g} in training and {:g} in the server", one, other)


def _scores(sample: pl.DataFrame, given: Scores, rounding: float) -> Iterator[SkewedColumn]:
    logged = scores_in(sample)
    differs = ~alike(given, logged, rounding)  # as golden rows are held against
    if given.ndim > 1:  # of classes, the probability that is farthest apart
        farthest = np.abs(given - logged).argmax(axis=1, keepdims=True)
        given, logged = (np.take_along_axis(one, farthest, axis=1)[:, 0] for one in (given, logged))
    yield from _difference(sample, "score", differs, "{:g} by the model and {:g} in the log", given, logged)


def _difference(
    sample: pl.DataFrame, name: str, differs: NDArray[np.bool_], words: str, one: NDArray[Any], other: NDArray[Any]
) -> Iterator[SkewedColumn]:
    if differs.any():
        first = int(differs.argmax())
        example = f"{words.format(one[first], other[first])} for prediction {sample['id'][first]}"
        yield SkewedColumn(name, int(differs.sum()), example)


def _judged(rows: int, found: list[SkewedColumn], features: list[str]) -> Skew:
    if not found:
        same = "get the features and the score that they got when they were asked"
        sentence = f"{counted(rows, 'logged row')}, replayed through training, {same}"
        return Skew(state=SkewState.OK, sentence=sentence, rows=rows)
    worst = found[0]
    others = f"; {len(found) - 1} more differ" if len(found) > 1 else ""
    next_step = "find out what else answers there or writes its log, then deploy again"
    if worst.name in features:
        next_step = "let features.py make each row's features from that row alone, then train again: mlops pipeline"
    return Skew(
        state=SkewState.SKEWED,
        sentence=f"{worst.name} differs in {worst.rows:,} of {rows:,} replayed rows: {worst.example}{others}",
        rows=rows,
        differences=found,
        next_step=next_step,
    )


def _require_its_code(bundle: Bundle) -> None:
    """Refuse to judge the champion by features that it was not trained with; the golden rows are only a few."""
    theirs = packaging.module_of(bundle, "features.py")
    ours = team.source("features")
    if theirs is not None and theirs.splitlines() != ours.read_bytes().splitlines():
        raise MlopsError(
            "features.py of this checkout is not that of the champion", f"git checkout {bundle.lineage.commit[:12]}"
        )


def _unknown(reason: str) -> Skew:
    return Skew(state=SkewState.UNKNOWN, sentence=reason)
