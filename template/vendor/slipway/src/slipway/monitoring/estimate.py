"""Quality before labels: what the champion's metric should be, by its scores alone.

A calibrated score says how likely each outcome is, so outcomes can be drawn, and the metric measured on them: its mean
over many draws is what is expected, and their spread gives its interval (confidence-based performance estimation: J.
Białek and others, "Estimating Model Performance Under Covariate Shift Without Labels", 2024). Of a quantity the
draws are its score and what test rows with such scores were off by. Each draw calibrates anew by days drawn from the
test rows (B. Efron, 1979), and the interval is as much wider as rows of one day are alike there (L. Kish, "Survey
Sampling", 1965).

It holds while the columns change and what a score means does not: where labels part from it, that has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import msgspec
import numpy as np
import polars as pl
from scipy.special import ndtri, stdtr

from slipway.base.numbers import shown
from slipway.contract.frames import spread
from slipway.data.labels import TRUTH
from slipway.experiment import samples
from slipway.experiment.statistics import MetricFunction
from slipway.monitoring import concept
from slipway.monitoring.calibration import Calibration, Floats
from slipway.monitoring.contrasts import Ratio
from slipway.monitoring.quality import limit_of
from slipway.settings.policy import MonitorPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from slipway.training.reference import FEWEST_DAYS
from slipway.training.score_columns import scores_in

#: Enough for a mean and a spread, the same in every run; of more rows, so many are looked at, evenly spread.
DRAWS, SEED, MOST_ROWS = 60, 0, 5_000
#: Of intervals that are shown.
CONFIDENCE = 0.95


class EstimateState(Enum):
    """What scores and labels say of the champion's quality."""

    OK = "ok"
    WORSE = "worse"
    PARTED = "parted"
    UNKNOWN = "unknown"


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """A metric as the scores of `rows` rows let expect it, and between what it will most likely be."""

    value: float
    low: float
    high: float
    rows: int

    @property
    def error(self) -> float:
        """Its standard error."""
        return (self.high - self.low) / (-2 * float(ndtri((1 - CONFIDENCE) / 2)))


class QualityEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """The metric that is expected of the latest predictions, beside what labels say of those that have one.

    `labelled` is what was expected of the rows that have a label by now, `happened` what it was. `p_value` is the
    corrected chance of these being as far apart when a score means what it did.
    """

    state: EstimateState
    sentence: str
    metric: str
    latest: Expectation | None = None
    labelled: Expectation | None = None
    happened: float | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class MetricRule:
    """A metric, its limit and how far that is from the test rows, if there is one; `sign` is 1 where more is better."""

    metric: str
    measure: MetricFunction
    sign: int = 1
    limit: float | None = None
    accepted: float | None = None


def expect(calibration: Calibration, scores: Floats, measure: MetricFunction) -> Expectation | None:
    """What a metric should be of rows with these scores; `None` where it cannot be measured."""
    if not len(scores):
        return None
    draws = [measure(truth, scores) for truth in _draws(calibration, scores)]
    figures = np.array(draws, dtype=np.float64)
    figures = figures[np.isfinite(figures)]
    if len(figures) < DRAWS / 2:
        return None
    value = float(figures.mean())
    radius = -float(ndtri((1 - CONFIDENCE) / 2)) * float(figures.std(ddof=1)) * _alike(calibration)
    return Expectation(value=value, low=value - radius, high=value + radius, rows=len(scores))


def measure(
    project: Project,
    bundle: Bundle,
    latest: pl.DataFrame,
    log: pl.DataFrame,
    now: datetime | None,
    calibration: Calibration | None,
) -> QualityEstimate | None:
    """Expect the champion's metric of its `latest` predictions; `None` where the policy says nothing of labels.

    The labels that it is held against are those that `concept.py` judges: of the last windows up to `now` in the `log`.
    """
    policy = project.policy
    if policy.labels is None:
        return None
    rule, gates = policy.monitor.quality, policy.gates
    metric = rule.metric if rule else gates.metric
    sign = gates.metrics[metric].sign if metric in gates.metrics else 1
    limit = limit_of(rule, bundle, sign) if rule else None
    tested = bundle.metrics["model"].get(metric) if rule else None
    measured = MetricRule(
        metric, samples.measured_by(bundle.model, metric), sign, limit,
        None if limit is None or tested is None else abs(float(tested) - limit),
    )  # fmt: skip
    own = log.filter(pl.col("digest") == bundle.digest)
    if now is not None and (span := concept.spans(policy, policy.labels, now)[0]):
        own = own.filter(pl.col("at").is_between(*span, closed="right"))
    return compare(calibration, latest.filter(pl.col("digest") == bundle.digest), own, measured, policy.monitor)


def compare(
    calibration: Calibration | None,
    latest: pl.DataFrame,
    known: pl.DataFrame,
    rule: MetricRule,
    policy: MonitorPolicy,
) -> QualityEstimate:
    """Expect a metric of the `latest` predictions, and hold it against what is `known` by labels.

    Worse is what should be beyond the limit, and parted what is worse by as much as the limit is away from the test
    rows; both only where chance does not explain it. Without a limit nothing is found, and all is shown.
    """
    if calibration is None:
        return _unknown(rule, "its bundle holds too few answers to rows that it had not learned from, or none")
    if latest.height < policy.min_rows:
        return _unknown(rule, f"{latest.height:,} predictions, at least {policy.min_rows:,} are needed")
    now = expect(calibration, scores_in(spread(latest, MOST_ROWS)), rule.measure)
    if now is None:
        return _unknown(rule, f"{rule.metric} cannot be expected of these rows")
    state, then, happened, p_value = EstimateState.OK, None, None, None
    words = f"{rule.metric} should be {shown(now.value)} by the scores, from {shown(now.low)} to {shown(now.high)}"
    shared, days = 2 * policy.parts, len(calibration.sums[0])  # two questions are asked
    if (
        rule.limit is not None
        and shared * _chance(rule.sign * (rule.limit - now.value), now.error, days) < policy.p_value
    ):
        state, words = EstimateState.WORSE, f"{words}, and the limit is {shown(rule.limit)}"
    told = spread(known.filter(pl.col(TRUTH).is_not_null()), MOST_ROWS)
    if told.height >= policy.min_rows and (then := expect(calibration, scores_in(told), rule.measure)):
        happened = rule.measure(told[TRUTH].to_numpy(), scores_in(told))
    if then is not None and happened is not None:
        worse_by = rule.sign * (then.value - happened)
        p_value = min(1.0, shared * _chance(worse_by, then.error, min(days, told["at"].dt.date().n_unique())))
        words += f"; where labels are it is {shown(happened)}, and should be {shown(then.value)}"
        is_large = rule.accepted is not None and worse_by >= rule.accepted
        state = EstimateState.PARTED if is_large and p_value < policy.p_value else state
    return QualityEstimate(
        state=state, sentence=words, metric=rule.metric, latest=now, labelled=then, happened=happened, p_value=p_value
    )


def _unknown(rule: MetricRule, sentence: str) -> QualityEstimate:
    return QualityEstimate(state=EstimateState.UNKNOWN, sentence=sentence, metric=rule.metric)


def _chance(worse_by: float, error: float, days: int) -> float:
    """The chance to be worse by as much as that, by Student's distribution, as days are few."""
    if days < FEWEST_DAYS:
        return 1.0
    return float(stdtr(days - 1, -worse_by / error)) if error else float(worse_by <= 0)


def _draws(calibration: Calibration, scores: Floats) -> Iterator[Floats]:
    """What may happen to rows with these scores, drawn again and again."""
    if calibration.by_class:
        yield from _class_draws(calibration.by_class, scores)
        return
    rng = np.random.default_rng(SEED)
    tested, places = calibration.tested, calibration.bands(calibration.tested.scores)
    apart = (tested.truth - tested.scores - calibration.corrections[places])[np.argsort(places, kind="stable")]
    held = np.bincount(places, minlength=len(calibration.corrections))
    first, bands = np.cumsum(held) - held, calibration.bands(scores)
    for _ in range(DRAWS):
        corrections = _corrections(calibration, _days(calibration, rng))
        expected, chosen = calibration.expected(scores, corrections), rng.random(len(scores))
        if calibration.is_chance:
            yield (chosen < expected).astype(np.float64)
        else:
            yield expected + apart[first[bands] + (chosen * held[bands]).astype(np.int64)]


def _class_draws(by_class: Sequence[Calibration], scores: Floats) -> Iterator[Floats]:
    """The places of classes that may come of these probabilities: each class is calibrated by itself."""
    rng = np.random.default_rng(SEED)
    for _ in range(DRAWS):
        drawn = _days(by_class[0], rng)
        each = [one.expected(scores[:, place], _corrections(one, drawn)) for place, one in enumerate(by_class)]
        # A class that is never seen with such a score keeps a chance, so that there is one to draw.
        likely = np.maximum(np.stack(each, axis=1), 1e-9).cumsum(axis=1)
        chosen = rng.random((len(scores), 1)) * likely[:, -1:]
        yield (likely < chosen).sum(axis=1).astype(np.float64)


def _days(calibration: Calibration, rng: np.random.Generator) -> Floats:
    """How often each day of the test rows is drawn."""
    days = len(calibration.sums[0])
    return rng.multinomial(days, np.full(days, 1 / days)).astype(np.float64)


def _corrections(calibration: Calibration, drawn: Floats) -> Floats:
    """The corrections of each band, from days as often as they are drawn."""
    rows, sums = calibration.sums
    many = drawn @ rows
    return np.where(many > 0, drawn @ sums / np.maximum(many, 1), calibration.corrections)


def _alike(calibration: Calibration) -> float:
    """How much wider an interval is by days than by rows, on the test rows; of classes, of that where it is most."""
    if calibration.by_class:
        return max(map(_alike, calibration.by_class))
    tested = calibration.tested
    apart = tested.truth - calibration.expected(tested.scores)
    by_rows = float(apart.std(ddof=1)) / np.sqrt(len(apart))
    by_days = Ratio.of(apart, np.ones_like(apart), tested.days)
    return max(1.0, float(by_days.error / by_rows)) if by_days and by_rows else 1.0
