"""Columns that move together while none moves alone."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import numpy as np
import polars as pl
from slipway.monitoring.days import Days
from slipway.monitoring.domain import Domain, measure
from slipway.monitoring.drift import Side, Verdict, find
from slipway.settings.policy import MonitorPolicy

POLICY = MonitorPolicy(min_rows=200, watch=0.1, act=0.25, p_value=0.01, max_domain_auc=0.65)


def rows(days: int, correlation: float, seed: int, of_week: float = 0.0) -> pl.DataFrame:
    """Forty rows a day of six columns: two have a correlation, and a part of all may be common to a week."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((days * 40, 6))
    own += of_week * np.repeat(rng.standard_normal((days // 7 + 1, 6)), 7 * 40, axis=0)[: days * 40]
    own[:, 1] = correlation * own[:, 0] + np.sqrt(1 - correlation**2) * own[:, 1]
    times = pl.Series("at", [datetime(2026, 1, 1) + timedelta(days=row // 40) for row in range(days * 40)])
    return pl.DataFrame(own, list("abcdef")).with_columns(times)


def side(reference: pl.DataFrame, current: pl.DataFrame) -> Side:
    return Side(reference.drop("at"), current.drop("at"), Days.of(reference["at"], current["at"]))


def judged(reference: pl.DataFrame, current: pl.DataFrame) -> Domain:
    found = measure(side(reference, current), POLICY)
    assert found is not None
    return found


def test_a_correlation_that_changes_its_sign_is_found_where_no_column_moves() -> None:
    reference, current = rows(120, 0.8, seed=1), rows(7, -0.8, seed=2)
    both = side(reference, current)

    found = judged(reference, current)

    assert {one.verdict for one in find(both.reference, both.current, POLICY, both.days)} == {Verdict.OK}
    assert (found.verdict, sorted(found.columns)) == (Verdict.WATCH, ["a", "b"])
    assert found.auc is not None and found.usual is not None and found.auc > found.usual + 0.2


def test_weeks_that_differ_are_no_change() -> None:
    """A week can be told from four months of weeks that differ, but so can every other week."""
    found = judged(rows(120, 0.8, seed=1, of_week=0.7), rows(7, 0.8, seed=2, of_week=0.7))

    assert found.verdict is Verdict.OK
    assert found.auc is not None and found.auc > 0.65


def test_too_few_days_tell_nothing_and_without_a_limit_nobody_asks() -> None:
    reference, current = rows(20, 0.8, seed=1), rows(7, -0.8, seed=2)

    assert judged(reference, current).verdict is Verdict.INSUFFICIENT_DATA
    assert measure(side(reference, current), msgspec.structs.replace(POLICY, max_domain_auc=None)) is None
