"""A back-test as one HTML page with two charts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

from slipway.base.numbers import shown
from slipway.pages.lines import Curve, Curves, curves
from slipway.pages.render import render, write
from slipway.training.ageing import Backtest, Measurement, shown_interval, shown_range, trained


def write_backtest_page(result: Backtest, root: Path) -> Path:
    """Write the page into the project."""
    return write(backtest_page(result), root / result.page)


def backtest_page(result: Backtest) -> str:
    """Return the page; equal back-tests give equal pages."""
    return render(
        "age",
        result=result,
        trained=trained(result),
        cost=_cost(result),
        windows=_windows(result),
        ages=[(age, shown_interval(age), shown_range(age)) for age in result.ages],
    )


def _by_model(result: Backtest, point: Callable[[Measurement], tuple[float, float]]) -> list[Curve]:
    """A curve for each model, from window to window."""
    ordered = sorted(result.measured, key=lambda one: (one.cut_off, one.window))
    return [[point(one) for one in curve] for _, curve in groupby(ordered, lambda one: one.cut_off)]


def _cost(result: Backtest) -> Curves:
    models = _by_model(result, lambda one: (one.age_days, one.worse_by))
    mean = [(age.days, age.worse_by) for age in result.ages]
    known = [(age.days, age.low, age.high) for age in result.ages if age.low is not None and age.high is not None]
    band = [(days, low) for days, low, _ in known] + [(days, high) for days, _, high in reversed(known)]
    limit = [(0.0, result.drop), (max(days for days, _ in mean), result.drop)]
    return curves(
        [("band", band), *(("", curve) for curve in models), ("limit", limit), ("main", mean)],
        [(days, f"{days:g}") for days, _ in mean],
        f"{result.metric}, worse than fresh by: "
        + "; ".join(f"{age.days:g} days {age.worse_by:+.4f}" for age in result.ages),
    )


def _windows(result: Backtest) -> Curves:
    first = min(one.window for one in result.measured)

    def place(moment: datetime) -> float:
        return (moment - first) / timedelta(days=1)

    models = _by_model(result, lambda one: (place(one.window), one.value))
    fresh = sorted((one for one in result.measured if not one.age_days), key=lambda one: one.window)
    return curves(
        [*(("", curve) for curve in models), ("main", [(place(one.window), one.value) for one in fresh])],
        [(place(one.window), f"{one.window:%Y-%m-%d}") for one in fresh],
        f"{result.metric} of the fresh model: "
        + "; ".join(f"{one.window:%Y-%m-%d} {shown(one.value)}" for one in fresh),
    )
