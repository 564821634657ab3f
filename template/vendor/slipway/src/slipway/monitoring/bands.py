"""Bands of scores, and classes, of labelled rows as a report tells them: has what happens moved there?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from slipway.data.labels import TRUTH
from slipway.monitoring.bins import Bin, decile_edges, place, ranges
from slipway.monitoring.calibration import holds_test_rows
from slipway.monitoring.contrasts import FEWEST_ROWS, BandContrast, together
from slipway.training.bundle import Bias, Bundle


class Band(Bin, frozen=True, kw_only=True):
    """A band of scores, or a class: `reference` was expected and `now` happened, on average of `rows` rows.

    `p_value` is corrected for everything that a run judges, and `None` where it is not judged. `moved` says that
    the two are apart by more than is accepted and more than chance explains, which explains up to `margin`.
    """

    rows: int
    p_value: float | None = None
    moved: bool = False
    margin: float | None = None


def judged(
    found: Sequence[BandContrast], labels: Sequence[str], corrected: float, alpha: float, limit: float
) -> list[Band]:
    """Say of each whether it has moved: by `limit`, and with less than the chance `alpha` of as much.

    `corrected` is the chance of all of them together, after what else is judged.
    """
    # What all together are corrected by, each of them is, too.
    chance = together(found)
    times = corrected / chance if chance > 0 else 1.0
    many = sum(one.contrast is not None for one in found)
    told = []
    for one in found:
        p_value = min(1.0, times * many * one.contrast.p_value) if one.contrast else None
        moved = p_value is not None and p_value < alpha and abs(one.happened - one.expected) >= limit
        margin = one.contrast.margin(alpha / (times * many)) if one.contrast else None
        told.append(
            Band(
                labels[one.number],
                one.expected,
                one.happened,
                rows=one.rows,
                p_value=p_value,
                moved=moved,
                margin=margin,
            )
        )
    return told


def unjudged(bundle: Bundle, known: pl.DataFrame, learned: Bias) -> list[Band]:
    """What was expected and what happened where scores were low, and so on up to where they were high."""
    truth, scores = known[TRUTH].to_numpy(), known["score"].to_numpy()
    seen = bundle.tested if holds_test_rows(bundle) else bundle.reference
    edges = decile_edges(pl.read_parquet(seen, columns=["score"])["score"].cast(pl.Float64).sort().to_numpy())
    places = place(scores, edges)
    rows, expected, happened = (
        np.bincount(places, weights, minlength=len(edges) + 2) for weights in (None, scores + learned.value, truth)
    )
    return [
        Band(
            label,
            float(expected[number] / rows[number]),
            float(happened[number] / rows[number]),
            rows=int(rows[number]),
        )
        for number, label in enumerate(ranges(edges))
        if rows[number] >= FEWEST_ROWS
    ]
