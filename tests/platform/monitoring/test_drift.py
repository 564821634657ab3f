"""What the population stability index alone does not see: values that are new, and a few that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import polars as pl
import pytest
from slipway.monitoring.bins import BinCounts
from slipway.monitoring.drift import ColumnDrift, Verdict, find
from slipway.monitoring.psi import measure
from slipway.settings.policy import MonitorPolicy

LIMITS = MonitorPolicy(min_rows=200, watch=0.1, act=0.25, p_value=0.01)


def judged(before: Sequence[object], now: Sequence[object]) -> ColumnDrift:
    (column,) = find(pl.DataFrame({"x": before}), pl.DataFrame({"x": now}), LIMITS)
    return column


def test_values_that_the_reference_never_had_are_not_taken_for_its_rare_ones() -> None:
    rare = [f"rare {place}" for place in range(2000)]

    assert judged(rare * 2, ["new"] * 1000).verdict is Verdict.ACT
    assert judged(["big"] * 500 + rare[:500], ["big"] * 500 + ["new"] * 500).verdict is Verdict.ACT
    assert judged(rare * 2, rare[:1000]).verdict is Verdict.OK
    assert judged(
        [f"order {place}" for place in range(4000)], [f"order {place}" for place in range(-1000, 0)]
    ).verdict is (Verdict.OK)  # each value is new, as each was in the reference


def test_rare_values_raise_a_false_alarm_as_often_as_the_policy_says() -> None:
    """A long tail: most values of a window are rare, and a share of them is always new."""
    chance, runs = np.random.default_rng(1), 200
    alarms = 0
    for _ in range(runs):
        before, now = (pl.Series(chance.zipf(1.3, rows)).cast(pl.String) for rows in (5000, 1000))
        alarms += measure(BinCounts.of(before, now))[1] < 0.05

    assert alarms / runs < 0.08


def test_a_few_values_of_another_unit_are_worth_a_look_and_say_where() -> None:
    chance = np.random.default_rng(2)
    before, now = chance.gamma(2, 100, 5000), chance.gamma(2, 100, 1000)
    quiet = judged([*before], [*now])
    now[:5] *= 1000

    column = judged([*before], [*now])

    assert (quiet.verdict, quiet.far) == (Verdict.OK, None)
    assert (column.verdict, column.size < 0.1) == (Verdict.WATCH, True)
    assert column.far is not None
    assert (column.far.rows, column.far.farthest) == (5, now[:5].max())
    assert "which is all the reference has, in 5 rows" in column.sentence


@pytest.mark.parametrize("shape", ["normal", "lognormal", "pareto"])
def test_far_values_are_not_found_where_nothing_has_changed(shape: str) -> None:
    chance, runs = np.random.default_rng(3), 200
    draws: dict[str, Callable[[int], Iterable[float]]] = {
        "normal": chance.standard_normal,
        "lognormal": lambda rows: chance.lognormal(0, 2, rows),
        "pareto": lambda rows: chance.pareto(1.2, rows),
    }
    draw = draws[shape]

    found = sum(judged([*draw(2000)], [*draw(1000)]).far is not None for _ in range(runs))

    assert found <= 0.02 * runs


def test_a_column_may_be_called_as_anything_that_is_counted() -> None:
    rows = pl.DataFrame(
        {name: [str(row % 3) for row in range(300)] for name in ("count", "label", "len", "bin", "now")}
    )

    assert {column.verdict for column in find(rows, rows, LIMITS)} == {Verdict.OK}


def test_codes_are_no_quantities_and_their_neighbours_no_neighbours() -> None:
    codes = [row % 10 for row in range(5000)]

    column = judged(codes, [8 if code == 7 else code for code in codes[:1000]])

    assert column.verdict is Verdict.ACT
    assert column.sentence == "x is 8 in 20.0 % of rows, before in 10.0 %"


def test_identifiers_that_come_again_are_not_taken_for_other_rows() -> None:
    orders = [f"order {place}" for place in range(4000)]

    assert judged(orders, orders[:1000]).verdict is Verdict.OK


def test_a_few_rows_at_the_ends_are_worth_a_look_though_no_bin_moves() -> None:
    chance = np.random.default_rng(2)
    before, now = chance.lognormal(0, 1, 5000), chance.lognormal(0, 1, 1000)
    now[:30] *= 20

    column = judged([*before], [*now])

    assert (column.verdict, column.size < 0.1, column.far) == (Verdict.WATCH, True, None)
    assert column.extremes is not None and column.extremes.now > 0.01


def test_the_chance_that_decides_stands_beside_the_one_that_is_asked_for() -> None:
    column = judged([*range(1000)], [*range(500)] * 2)

    assert (column.p_value < column.chance, column.chance) == (True, LIMITS.p_value)
