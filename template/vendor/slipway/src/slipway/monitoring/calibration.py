"""What a score has meant on rows that the model had not learned from: what happened there, by bands of scores.

A band's correction is what happened in it less the scores (histogram binning: B. Zadrozny and C. Elkan, "Obtaining
calibrated probability estimates", ICML 2001). A score with its correction is what is expected, also where a
model is sure of too much or a median is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import logit

from slipway import kinds, team
from slipway.base.errors import MlopsError
from slipway.contract.frames import columns
from slipway.kinds.base import Kind
from slipway.monitoring.bins import place
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training.bundle import Bundle, ModelFacts
from slipway.training.reference import FEWEST_DAYS, days_of
from slipway.training.reliability import BAND_ROWS, edges_of
from slipway.training.score_columns import columns_of, observed, scores_in
from slipway.training.scoring import Scorer
from slipway.training.team_code import target_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Where a probability ends, so that its odds are finite.
_EDGE = 1e-4


@dataclass(frozen=True)
class Rows:
    """Scores of rows, what happened, and the number of the day of each."""

    scores: Floats
    truth: Floats
    days: Ints

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def of(cls, known: pl.DataFrame, time: str | None, truth: str = "truth") -> Rows:
        """Take them from a frame; without a time each row is a draw of its own."""
        days = np.arange(known.height) if time is None else days_of(known[time])
        scores, happened = (known[name].cast(pl.Float64).to_numpy() for name in ("score", truth))
        return cls(scores, happened, np.asarray(days, dtype=np.int64))


@dataclass(frozen=True)
class Calibration:
    """What is expected of scores, by the rows that a version was tested on."""

    tested: Rows
    is_chance: bool  # scores are probabilities
    by_class: tuple[Calibration, ...] = ()

    @classmethod
    def of(cls, tested: Rows, kind: Kind, by_class: Sequence[Rows] = ()) -> Calibration | None:
        """`None` where the test rows are too few, or of too few days, to tell.

        Of several classes, `tested` tells whether answers were right, and `by_class` of each class whether it was that.
        """
        if len(tested) < BAND_ROWS or len(np.unique(tested.days)) < FEWEST_DAYS:
            return None
        return cls(tested, kind.is_chance, tuple(cls(rows, True) for rows in by_class))

    @cached_property
    def edges(self) -> Floats:
        """Between the bands, which have equally many of the test rows."""
        return edges_of(self.tested.scores)

    def bands(self, scores: Floats) -> Ints:
        """The number of each score's band."""
        return place(scores, self.edges)

    @cached_property
    def sums(self) -> tuple[Floats, Floats]:
        """By day and band of the test rows: how many rows, and what happened less the scores."""
        names, places = np.unique(self.tested.days, return_inverse=True)
        width = len(self.edges) + 1
        cells = places * width + self.bands(self.tested.scores)
        apart = self.tested.truth - self.tested.scores
        rows, moved = (
            np.asarray(np.bincount(cells, one, minlength=len(names) * width), dtype=np.float64).reshape(-1, width)
            for one in (np.ones_like(apart), apart)
        )
        return rows, moved

    @cached_property
    def corrections(self) -> Floats:
        """By how much what happened exceeds the scores, in each band."""
        many, apart = (table.sum(axis=0) for table in self.sums)
        return np.asarray(apart / np.maximum(many, 1))

    def expected(self, scores: Floats, corrections: Floats | None = None) -> Floats:
        """What is expected of rows with these scores: probabilities, or quantities."""
        moved = scores + (self.corrections if corrections is None else corrections)[self.bands(scores)]
        return np.clip(moved, 0, 1) if self.is_chance else moved

    def scale(self, scores: Floats) -> Floats:
        """Scores on the scale that a slope has: log odds of probabilities, quantities as they are; 0 is the usual."""
        middle, _ = self._usual
        return self._plain(scores) - middle

    def weight(self, expected: Floats) -> Floats:
        """By how much what is expected rises with the scale."""
        return np.maximum(expected * (1 - expected), _EDGE) if self.is_chance else np.ones_like(expected)

    @cached_property
    def _usual(self) -> tuple[float, float]:
        plain = self._plain(self.tested.scores)
        return float(plain.mean()), float(plain.std())

    def _plain(self, scores: Floats) -> Floats:
        return np.asarray(logit(np.clip(scores, _EDGE, 1 - _EDGE))) if self.is_chance else scores


def calibration(project: Project, bundle: Bundle) -> Calibration | None:
    """What a version's scores have meant on its test rows; `None` where these are not to be had.

    An older bundle does not hold them. The test rows of this checkout are taken where the bundle's model has on them
    just the metrics that the bundle tells.
    """
    found = _of_bundle(bundle)
    found = _of_checkout(project, bundle) if found is None or found.is_empty() else found
    if found is None:
        return None
    facts, time = bundle.model, CONTRACT.time if CONTRACT.time in found.columns else None
    rows = Rows.of(observed(found, facts, "truth"), time)
    return Calibration.of(rows, kinds.named(facts.kind, facts.classes), one_by_one(found, rows.days, facts, "truth"))


def one_by_one(known: pl.DataFrame, days: Ints, facts: ModelFacts, truth: str) -> list[Rows]:
    """Rows for each class, if there are classes: its probability, and whether it was that; `truth` has their places."""
    if not facts.classes:
        return []
    scores, happened = scores_in(known), known[truth].to_numpy()
    each = range(len(facts.classes))
    return [Rows(scores[:, place].astype(np.float64), (happened == place).astype(np.float64), days) for place in each]


def holds_test_rows(bundle: Bundle) -> bool:
    """Whether a bundle says what happened with rows that its model had not learned from; older ones do not."""
    return bundle.tested.is_file() and "truth" in pl.read_parquet_schema(bundle.tested)


def _of_bundle(bundle: Bundle) -> pl.DataFrame | None:
    return pl.read_parquet(bundle.tested) if holds_test_rows(bundle) else None


def _of_checkout(project: Project, bundle: Bundle) -> pl.DataFrame | None:
    path = project.root / "data" / "test.parquet"
    if not path.is_file() or not (bundle.path / "metrics.json").is_file():
        return None
    try:
        rows = pl.read_parquet(path)
        if rows.height != bundle.metrics.get("rows"):
            return None
        scorer = Scorer(bundle)
        scores = scorer.scores(columns(rows, CONTRACT.fields))
        truth = target_of(columns(rows, CONTRACT.outcome_fields))
    except (MlopsError, pl.exceptions.PolarsError):
        return None
    measured = team.metrics(scorer.kind.happened(truth), scores, bundle.model.threshold)
    told: dict[str, float] = bundle.metrics["model"]
    if not all(name in measured and np.isclose(measured[name], value, rtol=1e-4) for name, value in told.items()):
        return None
    return rows.with_columns(*columns_of(scores, bundle.model), truth=pl.Series(truth))
