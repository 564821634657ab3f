"""Concept drift: whether what happens is still what the model expects, as the labels show.

No column need move for it. A model that is right on the whole expects as much as happens: the mean of its scores is the
share of yes, or the mean of the quantity. What happens less what was expected is its bias (calibration in the large:
D. R. Cox, "Two further applications of a model for binary regression", Biometrika 45, 1958). A bias that the rows
it learned from have as well, as where a median is predicted, is no drift: it is expected.

Rows of one day are alike, so it is days that are counted: the bias is a ratio of sums over days (W. G. Cochran,
"Sampling Techniques", 3rd edition, 1977, 9A.1), and its error has Student's distribution, as days are few.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import Enum
from math import hypot

import msgspec
import numpy as np
import polars as pl
from scipy.special import stdtr, stdtrit

from slipway import kinds
from slipway.data.labels import TRUTH
from slipway.experiment.samples import too_few_labels
from slipway.monitoring.bins import Bin, decile_edges, place, ranges
from slipway.settings.policy import Policy
from slipway.team import CONTRACT
from slipway.training.bundle import Bias, Bundle, ModelFacts
from slipway.training.reference import FEWEST_DAYS, bias, days_of

#: A band of scores with fewer labelled rows is not shown.
FEWEST_ROWS = 20


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

    @property
    def margin(self) -> float:
        """What happened, give or take this, with a chance of 95 % for a reader who looks once."""
        return self.error * float(stdtrit(self.days - 1, 0.975))


class Concept(msgspec.Struct, frozen=True, kw_only=True):
    """What the labels say of `labelled` answers, all together and by bands of scores; where it is unknown, nothing.

    In a band, `reference` is what was expected and `now` what happened. `p_value` leaves half of the chance of a false
    alarm to the columns.
    """

    state: ConceptState
    sentence: str
    labelled: int
    outcome: Outcome | None = None
    p_value: float | None = None
    bands: list[Bin] = []


def measure(bundle: Bundle, log: pl.DataFrame, policy: Policy, now: datetime | None) -> Concept | None:
    """Hold what the champion expected against what happened; `None` where the policy has no rule for that.

    `log` knows what happened. Of it the last windows up to `now` are judged, ending where labels are due; all of it
    without `now`.
    """
    limit, rule = policy.monitor.max_bias, policy.labels
    if limit is None or rule is None:
        return None
    own = log.filter(pl.col("digest") == bundle.digest)
    if now is not None:
        until = now - timedelta(days=rule.delay_days)
        since = until - timedelta(days=policy.monitor.windows.days * policy.monitor.windows.last)
        own = own.filter(pl.col("at").is_between(since, until, closed="right"))
    known = own.filter(pl.col(TRUTH).is_not_null())
    unknown = too_few_labels(own, rule)
    if known.height < policy.monitor.min_rows:
        unknown = f"{known.height:,} labelled predictions, at least {policy.monitor.min_rows:,} are needed"
    found, learned = outcome(bundle, known, policy.privacy.hidden), bundle.expected.bias
    if unknown or found is None or learned is None:
        return Concept(state=ConceptState.UNKNOWN, sentence=unknown or _undecided(bundle), labelled=known.height)
    p_value = min(1.0, policy.monitor.parts * chance(found, learned))
    is_large, is_chance = abs(found.happened - found.expected) >= limit, p_value >= policy.monitor.p_value
    summary = sentence(bundle.model, found, known.height)
    return Concept(
        state=ConceptState.MOVED if is_large and not is_chance else ConceptState.OK,
        sentence=f"{summary}, and chance may explain that" if is_large and is_chance else summary,
        labelled=known.height,
        outcome=found,
        p_value=p_value,
        bands=_bands(bundle, known, learned),
    )


def outcome(bundle: Bundle, known: pl.DataFrame, hidden: Collection[str] = ()) -> Outcome | None:
    """Return what a version expected of labelled rows and what happened; `None` where days or its bundle do not tell.

    A day is one of the contract's time, or of `at` where the log has `hidden` that.
    """
    time = "at" if CONTRACT.time is None or CONTRACT.time in hidden else CONTRACT.time
    truth, scores = known[TRUTH].to_numpy(), known["score"].to_numpy()
    found, learned = bias(truth, scores, days_of(known[time])), bundle.expected.bias
    if found is None or learned is None:
        return None
    return Outcome(
        expected=float(scores.mean()) + learned.value, happened=float(truth.mean()), error=found.error, days=found.days
    )


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


def _undecided(bundle: Bundle) -> str:
    if bundle.expected.bias is None:
        return "its bundle does not say how far off it is on the rows it learned from; register that version once more"
    return f"the labels are of fewer than {FEWEST_DAYS} days"


def _bands(bundle: Bundle, known: pl.DataFrame, learned: Bias) -> list[Bin]:
    """What was expected and what happened where scores were low, and so on up to where they were high."""
    truth, scores = known[TRUTH].to_numpy(), known["score"].to_numpy()
    reference = pl.read_parquet(bundle.reference, columns=["score"])["score"].cast(pl.Float64)
    edges = decile_edges(reference.sort().to_numpy())
    places = place(scores, edges)
    rows, expected, happened = (
        np.bincount(places, weights, minlength=len(edges) + 2) for weights in (None, scores + learned.value, truth)
    )
    return [
        Bin(label, float(expected[number] / rows[number]), float(happened[number] / rows[number]))
        for number, label in enumerate(ranges(edges))
        if rows[number] >= FEWEST_ROWS
    ]
