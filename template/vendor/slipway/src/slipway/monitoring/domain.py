"""Can a classifier tell rows of then from rows of now? It sees columns that move together while none moves alone.

A classifier of the field's usual kind, gradient boosting of histograms, learns to tell both apart, and what it is worth
is the area under its ROC curve on rows that it did not learn from (D. Lopez-Paz and M. Oquab, "Revisiting classifier
two-sample tests", ICLR 2017). Rows of a week can always be told from those of half a year when days differ. So which
days are now is permuted, in stretches as days may resemble their neighbours: the same is done with stretches of the
reference itself, as long as what is judged and of as many rows. What they give is chance, and what now gives has to
exceed that by more than a normal distribution explains. Off without `monitor.max_domain_auc`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import msgspec
import numpy as np
import polars as pl
from scipy.special import stdtr

from slipway.contract.frames import spread
from slipway.monitoring.bins import as_numbers, is_quantity
from slipway.monitoring.days import Days, Floats, Ints
from slipway.monitoring.drift import Side, Verdict
from slipway.settings.policy import MonitorPolicy

#: Stretches of the reference that are told from the others, and how many have to be there.
STRETCHES, FEWEST_STRETCHES = 16, 8

#: Rows of a stretch and of the others: enough to learn from, and no more than seconds take.
FEWEST_ROWS, MOST_ROWS, MOST_OTHERS = 100, 1_000, 2_000

FOLDS, MOST_CATEGORIES, SEED = 2, 50, 0

#: A column by whose shuffling the classifier loses less has not been used.
USED = 0.01


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """How well rows of now can be told from the reference.

    `auc` is 0.5 where they cannot be told and 1 where all can, `usual` is what stretches of the reference give on
    average, `p_value` the chance of as much when nothing has changed. `columns` are those that tell most, the first
    most of all.
    """

    verdict: Verdict
    sentence: str
    auc: float | None = None
    usual: float | None = None
    p_value: float | None = None
    columns: list[str] = []


def measure(side: Side, limits: MonitorPolicy) -> Domain | None:
    """Measure it for the columns of one side; `None` where the policy does not ask."""
    limit = limits.max_domain_auc
    if limit is None:
        return None
    if side.current.height < limits.min_rows:
        return _unknown(f"{side.current.height:,} predictions, at least {limits.min_rows:,} are needed")
    before, now = _encoded(side.reference, side.current)
    stretches = [*_stretches(len(before), side.current.height, side.days)]
    rows = min([MOST_ROWS, len(now), *map(len, stretches)])
    if len(stretches) < FEWEST_STRETCHES or rows < FEWEST_ROWS:
        return _unknown("the reference has too few stretches of as many days, or too few rows in them")
    learner = _Learner()
    everything = np.arange(len(before))
    others, current = before[_evenly(everything, MOST_OTHERS)], now[_evenly(np.arange(len(now)), rows)]
    usual = [
        learner.auc(before[_evenly(one, rows)], before[_evenly(np.setdiff1d(everything, one), MOST_OTHERS)])
        for one in stretches
    ]
    auc = learner.auc(current, others)
    error = float(np.std(usual, ddof=1)) * sqrt(1 + 1 / len(usual))
    mean = float(np.mean(usual))
    p_value = float(stdtr(len(usual) - 1, (mean - auc) / max(error, 1e-6)))
    is_found = auc >= limit and p_value < limits.p_value
    columns = learner.used(current, others, side.current.columns) if is_found else []
    words = "can be told" if is_found else "cannot be told"
    by = f", by {', '.join(columns)}" if columns else ""
    figures = f"AUC {auc:.3f}, {mean:.3f} within the reference, limit {limit:g}"
    return Domain(
        verdict=Verdict.WATCH if is_found else Verdict.OK,
        sentence=f"rows {words} from the reference{by}: {figures}",
        auc=auc,
        usual=mean,
        p_value=p_value,
        columns=columns,
    )


class _Learner:
    """The classifier, with the same settings for each stretch. Rows come in order of time, and so do folds."""

    def __init__(self) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier

        # Few small trees, over few bins: it learns dozens of times, and from few rows.
        self._classifier = HistGradientBoostingClassifier(
            learning_rate=0.3,
            max_iter=30,
            max_leaf_nodes=8,
            max_bins=32,
            early_stopping=False,
            class_weight="balanced",
            random_state=SEED,
        )

    def auc(self, one: Floats, other: Floats) -> float:
        """How well it tells both, on rows of other days than those it learned from."""
        from sklearn.metrics import roc_auc_score
        from threadpoolctl import threadpool_limits

        rows, truth, folds = _stacked(one, other)
        found = []
        with threadpool_limits(1):  # so few rows are learned from sooner than threads have met
            for fold in range(FOLDS):
                learned = folds != fold
                fitted = self._classifier.fit(rows[learned], truth[learned])
                found.append(roc_auc_score(truth[~learned], fitted.predict_proba(rows[~learned])[:, 1]))
        return float(np.mean(found))

    def used(self, one: Floats, other: Floats, names: list[str]) -> list[str]:
        """The columns without which it tells less, the most useful first, at most three."""
        from sklearn.inspection import permutation_importance
        from threadpoolctl import threadpool_limits

        rows, truth, folds = _stacked(one, other)
        with threadpool_limits(1):
            fitted = self._classifier.fit(rows[folds > 0], truth[folds > 0])
            lost = permutation_importance(
                fitted, rows[folds == 0], truth[folds == 0], scoring="roc_auc", n_repeats=3, random_state=SEED
            ).importances_mean
        return [names[place] for place in np.argsort(-lost)[:3] if lost[place] >= USED]


def _stacked(one: Floats, other: Floats) -> tuple[Floats, Ints, Ints]:
    truth = np.repeat([1, 0], [len(one), len(other)])
    folds = np.concatenate([np.arange(len(side)) * FOLDS // len(side) for side in (one, other)])
    return np.concatenate([one, other]), truth, folds


def _encoded(reference: pl.DataFrame, current: pl.DataFrame) -> tuple[Floats, Floats]:
    """Both as numbers, categories by the place of their name among the most frequent of the reference."""
    sides: list[list[Floats]] = [[], []]
    for name in current.columns:
        before, now = reference[name], current[name]
        if not is_quantity(before):
            before, now = before.cast(pl.String), now.cast(pl.String)
            known = _most_frequent(before)
            places = {label: place for place, label in enumerate(known)}
            before, now = (
                side.replace_strict(places, default=len(known), return_dtype=pl.Float64).set(side.is_null(), None)
                for side in (before, now)
            )
        for side, column in zip(sides, (before, now), strict=True):
            side.append(as_numbers(column))
    before_rows, now_rows = (np.column_stack(side) for side in sides)
    return before_rows, now_rows


def _most_frequent(names: pl.Series) -> list[str]:
    counts = names.drop_nulls().alias("name").value_counts(name="rows").sort("rows", "name", descending=[True, False])
    found: list[str] = counts["name"][:MOST_CATEGORIES].to_list()
    return found


def _stretches(rows: int, rows_now: int, days: Days | None) -> Iterator[Ints]:
    """The rows of stretches of the reference that are as long as now; without days, rows drawn at random."""
    if days is None:
        chance = np.random.default_rng(SEED)
        for _ in range(STRETCHES):
            yield np.sort(chance.choice(rows, min(rows_now, rows // 5), replace=False))
        return
    many = min(STRETCHES, days.many // days.worth)
    for first in np.linspace(0, days.many - days.worth, many).astype(int):
        yield np.flatnonzero((days.places >= first) & (days.places < first + days.worth))


def _evenly(places: Ints, rows: int) -> Ints:
    """At most so many of them, evenly spread."""
    picked: Ints = spread(pl.DataFrame({"place": places}), rows)["place"].to_numpy()
    return picked


def _unknown(reason: str) -> Domain:
    return Domain(verdict=Verdict.INSUFFICIENT_DATA, sentence=reason)
