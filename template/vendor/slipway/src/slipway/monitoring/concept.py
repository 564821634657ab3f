"""Concept drift: whether what happens is still what the model expects, as the labels show.

No column need move for it. This is asked of the answers that have labels, each in the unit of the answer:

- their mean: is what happens, on the whole, what was expected (calibration in the large);
- their slope: does as much more happen where the score is higher (both: D. R. Cox, "Two further applications of a model
  for binary regression", Biometrika 45, 1958; the slope by its score test);
- bands of scores: is it so where scores are low, and so on up to where they are high (the groups of D. W. Hosmer
  and S. Lemeshow, 1980, each tested by itself, so that it is known which);
- classes, where there are some: does each happen as often as its probability let expect.

What is expected of a score is what happened with such scores on the test rows: what is off there as well, as where a
median is predicted, is no drift. The mean is asked of the last windows together, and has one half of what labels may
alarm by chance. The others are asked of these and of the latest window alone, and share the other half after Holm.
Of a version whose test rows are too few, or are not to be had, the mean alone is judged.
Rows of one day are alike, so days are counted: a figure is a ratio of sums over days (W. G. Cochran, "Sampling
Techniques", 3rd edition, 1977, 9A.1), and its error has Student's distribution.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import Enum
from math import hypot

import msgspec
import polars as pl
from scipy.special import stdtr, stdtrit

from slipway import kinds
from slipway.data.labels import TRUTH
from slipway.experiment.samples import too_few_labels
from slipway.monitoring.bands import Band, judged, unjudged
from slipway.monitoring.bins import ranges
from slipway.monitoring.calibration import Calibration, Rows, holds_test_rows, one_by_one
from slipway.monitoring.contrasts import Contrasts
from slipway.monitoring.drift import correct
from slipway.settings.policy import LabelPolicy, Policy
from slipway.team import CONTRACT
from slipway.training.bundle import Bias, Bundle, ModelFacts
from slipway.training.reference import FEWEST_DAYS, bias, days_of
from slipway.training.score_columns import observed

#: The class that happened, where the truth is whether the answer was right.
_HAPPENED = "(happened)"
_HALVES = 2  # what labels may alarm by chance is for the mean, and for what goes by the score
NOT_BY_SCORE = "so low and high scores are shown and not judged"
NO_TEST_ROWS = (
    "its bundle holds no answers to rows that it had not learned from, until that version is registered once more: "
    f"the mean is held against the rows that it learned from, which flatter it, {NOT_BY_SCORE}"
)
FEW_TEST_ROWS = f"its test rows are too few, or of too few days, to tell what a score means, {NOT_BY_SCORE}"


class ConceptState(Enum):
    """What the labels say of the champion's expectations."""

    OK = "ok"
    MOVED = "moved"
    UNKNOWN = "unknown"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was expected of labelled answers and what happened: shares of yes from 0 to 1, or means of the quantity.

    `error` is the standard error of their difference, by `days` days.
    """

    expected: float
    happened: float
    error: float
    days: int

    def margin(self, chance: float) -> float:
        """What happened, give or take this: chance alone takes it so far off with that chance, at one look."""
        return self.error * float(stdtrit(self.days - 1, 1 - chance / 2))


class Slope(msgspec.Struct, frozen=True, kw_only=True):
    """How what happens follows the score: 1 as on the test rows, 0 not at all, below 0 the other way round.

    `size` is how far that moves an answer on average, in its unit, and `p_value` the corrected chance of as much.
    """

    value: float
    size: float
    p_value: float
    moved: bool


class Concept(msgspec.Struct, frozen=True, kw_only=True):
    """What the labels say of `labelled` answers, all together and by bands of scores; where it is unknown, nothing.

    They are those of the last windows, or of the latest one where that shows more, which begin at `since`. `p_value` is
    that of the mean, if it was asked for. `classes` say how often each happened. `by_score` says why the mean alone is
    judged, and is empty where the others are.
    """

    state: ConceptState
    sentence: str
    labelled: int
    outcome: Outcome | None = None
    p_value: float | None = None
    bands: list[Band] = []
    classes: list[Band] = []
    slope: Slope | None = None
    since: datetime | None = None
    by_score: str = ""

    @property
    def all_bands(self) -> list[Band]:
        """Bands of scores, and classes."""
        return [*self.bands, *self.classes]


def measure(
    bundle: Bundle, log: pl.DataFrame, policy: Policy, now: datetime | None, calibration: Calibration | None = None
) -> Concept | None:
    """Hold what the champion expected against what happened; `None` where the policy has no rule for that.

    `log` knows what happened. Of it the last windows up to `now` are judged, ending where labels are due; all of it
    without `now`. `calibration` is what the champion's test rows say.
    """
    limit, rule = policy.monitor.max_bias, policy.labels
    if limit is None or rule is None:
        return None
    own = log.filter(pl.col("digest") == bundle.digest).with_columns(pl.col(TRUTH).alias(_HAPPENED))
    own = observed(own, bundle.model, TRUTH)
    spans_judged = spans(policy, rule, now)
    parts = [
        own if span is None else own.filter(pl.col("at").is_between(*span, closed="right")) for span in spans_judged
    ]
    known, unknown = parts[0].filter(pl.col(TRUTH).is_not_null()), too_few_labels(parts[0], rule)
    if known.height < policy.monitor.min_rows:
        unknown = f"{known.height:,} labelled predictions, at least {policy.monitor.min_rows:,} are needed"
    found = outcome(bundle, known, policy.privacy.hidden, calibration)
    if unknown or found is None:
        sentence = unknown or _undecided(bundle, calibration)
        return Concept(state=ConceptState.UNKNOWN, sentence=sentence, labelled=known.height)
    if calibration is None:
        return _by_mean(bundle, known, found, policy, limit)
    views = [_View.of(bundle, part, span, calibration, policy) for part, span in zip(parts, spans_judged, strict=True)]
    results = _judged([view for view in views if view], policy, limit)
    # A change that begins within the last windows is seen where most bands show it.
    return max(results, key=lambda one: (one.state is ConceptState.MOVED, sum(band.moved for band in one.all_bands)))


def outcome(
    bundle: Bundle, known: pl.DataFrame, hidden: Collection[str] = (), calibration: Calibration | None = None
) -> Outcome | None:
    """Return what a version expected of labelled rows and what happened; `None` where days or its bundle do not tell.

    A day is one of the contract's time, or of `at` where the log has `hidden` that.
    """
    truth, scores = known[TRUTH].to_numpy(), known["score"].to_numpy()
    found, learned = bias(truth, scores, days_of(known[_time(hidden)])), bundle.expected.bias
    if found is None or not known.height:
        return None
    if calibration is not None:
        expected = float(calibration.expected(scores).mean())
    elif learned is not None:
        expected = float(scores.mean()) + learned.value
    else:
        return None
    return Outcome(expected=expected, happened=float(truth.mean()), error=found.error, days=found.days)


def chance(found: Outcome, learned: Bias) -> float:
    """The chance of labels at least as far from what was expected when nothing has changed."""
    apart, error = abs(found.happened - found.expected), hypot(found.error, learned.error)
    if error == 0:
        return float(apart == 0)
    return float(2 * stdtr(min(found.days, learned.days) - 1, -apart / error))


def sentence(model: ModelFacts, found: Outcome, labelled: int) -> str:
    """Say in words what was expected and what happened."""
    answers = f"{labelled:,} labelled answers"
    return kinds.named(model.kind).outcome(model.answer, found.happened, found.expected, answers)


def _time(hidden: Collection[str]) -> str:
    return "at" if CONTRACT.time is None or CONTRACT.time in hidden else CONTRACT.time


def spans(policy: Policy, rule: LabelPolicy, now: datetime | None) -> list[tuple[datetime, datetime] | None]:
    """From when to when is judged: the last windows whose labels are due, and the latest of them alone."""
    if now is None:
        return [None]
    until, windows = now - timedelta(days=rule.delay_days), policy.monitor.windows
    return [(until - timedelta(days=windows.days * many), until) for many in dict.fromkeys((windows.last, 1))]


def _undecided(bundle: Bundle, calibration: Calibration | None) -> str:
    if bundle.expected.bias is None and calibration is None:
        return "its bundle does not say how far off it is, as its rows are of too few days, or it is an old one"
    return f"the labels are of fewer than {FEWEST_DAYS} days"


class _View(msgspec.Struct, frozen=True):
    """A part of the log, and what its labels show."""

    model: ModelFacts
    since: datetime | None
    labelled: int
    outcome: Outcome
    found: Contrasts
    labels: list[str]

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        part: pl.DataFrame,
        span: tuple[datetime, datetime] | None,
        calibration: Calibration,
        policy: Policy,
    ) -> _View | None:
        """`None` where there are too few labels, or labels of too few days."""
        known, hidden = part.filter(pl.col(TRUTH).is_not_null()), policy.privacy.hidden
        means = outcome(bundle, known, hidden, calibration)
        if means is None or known.height < policy.monitor.min_rows:
            return None
        rows = Rows.of(known, _time(hidden), TRUTH)
        found = Contrasts.of(rows, calibration, one_by_one(known, rows.days, bundle.model, _HAPPENED))
        return cls(bundle.model, span and span[0], known.height, means, found, ranges(calibration.edges))


def _judged(views: list[_View], policy: Policy, limit: float) -> list[Concept]:
    """Judge the mean of the first view, and slope and bands of all views together."""
    tests = [view.found.tests for view in views]
    times = _HALVES * policy.monitor.parts
    corrected = iter(correct([p_value for one in tests for p_value in one]))
    judged = []
    for view, one in zip(views, tests, strict=True):
        shared = [min(1.0, times * next(corrected)) for _ in one]
        mean = view.found.mean if view is views[0] else None
        of_mean = min(1.0, times * mean.p_value) if mean else None
        judged.append(_concept(view, of_mean, shared, policy.monitor.p_value, limit))
    return judged


def _concept(view: _View, of_mean: float | None, p_values: list[float], alpha: float, limit: float) -> Concept:
    found, (of_slope, of_bands, *of_classes) = view.found, p_values
    mean = abs(found.mean.value) if found.mean else 0.0
    slope = None
    if found.slope:
        is_moved = found.size >= limit and of_slope < alpha
        slope = Slope(value=1 + found.slope.value, size=found.size, p_value=of_slope, moved=is_moved)
    bands = judged(found.bands, view.labels, of_bands, alpha, limit)
    classes = judged(found.classes, view.model.classes, min(of_classes, default=1.0), alpha, limit)
    is_off = of_mean is not None and mean >= limit and of_mean < alpha
    words = [sentence(view.model, view.outcome, view.labelled)]
    words[0] += ", and chance may explain that" if mean >= limit and not is_off else ""
    words += [*_by_score(view.model, slope, bands), *_by_class(view.model, classes)]
    has_moved = is_off or len(words) > 1
    return Concept(
        state=ConceptState.MOVED if has_moved else ConceptState.OK,
        sentence="; ".join(words),
        labelled=view.labelled,
        outcome=view.outcome,
        p_value=of_mean,
        bands=bands,
        classes=classes,
        slope=slope,
        since=view.since,
    )


def _by_score(model: ModelFacts, slope: Slope | None, bands: list[Band]) -> list[str]:
    """Say where what happens is not what was expected, if it is somewhere: of bands that moved, the farthest."""
    shown = kinds.named(model.kind).shown
    if moved := [band for band in bands if band.moved]:
        worst = max(moved, key=lambda band: abs(band.now - band.reference))
        return [
            f"where the score is {worst.label}, {shown(worst.now)} happened and {shown(worst.reference)} was expected"
        ]
    if slope is None or not slope.moved:
        return []
    return [f"what happens follows the score with a slope of {slope.value:.2f}, and with 1 on the test rows"]


def _by_class(model: ModelFacts, classes: list[Band]) -> list[str]:
    """Say which class happens more or less often than was expected, if one does: the farthest."""
    shown, moved = kinds.named(model.kind).shown, [one for one in classes if one.moved]
    worst = max(moved, key=lambda one: abs(one.now - one.reference), default=None)
    return (
        [f"{worst.label} happened to {shown(worst.now)}, and {shown(worst.reference)} were expected"] if worst else []
    )


def _by_mean(bundle: Bundle, known: pl.DataFrame, found: Outcome, policy: Policy, limit: float) -> Concept:
    """Judge the mean alone, against the test rows, or against the rows that it learned from where a bundle is old."""
    learned = bundle.expected.bias or Bias(value=0, error=0, days=FEWEST_DAYS)
    p_value = min(1.0, policy.monitor.parts * chance(found, learned))
    is_large, is_chance = abs(found.happened - found.expected) >= limit, p_value >= policy.monitor.p_value
    summary = sentence(bundle.model, found, known.height)
    return Concept(
        state=ConceptState.MOVED if is_large and not is_chance else ConceptState.OK,
        sentence=f"{summary}, and chance may explain that" if is_large and is_chance else summary,
        labelled=known.height,
        outcome=found,
        p_value=p_value,
        bands=unjudged(bundle, known, learned),
        by_score=FEW_TEST_ROWS if holds_test_rows(bundle) else NO_TEST_ROWS,
    )
