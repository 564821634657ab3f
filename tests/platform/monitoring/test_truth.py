"""A small part of the truth table, `benchmarks/truth.py`: worlds of which it is known whether something has changed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def benchmarks() -> Iterator[None]:
    """The simulations import the table's own module, and each other."""
    before = list(sys.path)
    sys.path.append(str(BENCHMARKS))
    yield
    sys.path[:] = before


@pytest.fixture(scope="module")
def columns(benchmarks: None) -> Any:
    """The simulations of columns."""
    return importlib.import_module("simulations.columns")


def act_in(columns: Any, trials: int, **world: Any) -> int:
    cell = columns.Cell("", "", 0, trials)
    return int(columns._counted(cell, columns.World(**world), columns.unchanged, None, columns.ACT, peers=0).hits)


def found(columns: Any, trials: int, world: str) -> int:
    """How often the change of one of the table's worlds is seen."""
    _, simulated, change, column, _ = next(one for one in columns.TRUE if one[0].startswith(world))
    cell = columns.Cell("", "", 0, trials)
    return int(columns._counted(cell, simulated, change, column, columns.ALARM, peers=0).hits)


def test_days_that_resemble_their_neighbours_raise_no_false_alarms(columns: Any) -> None:
    """Drawn one by one, they raised one in half of the windows and in nine of ten."""
    assert act_in(columns, 30, within=0.3, neighbours=0.7) <= 3
    assert act_in(columns, 30, within=0.5, neighbours=0.9) <= 4


def test_a_reference_of_few_days_raises_no_false_alarms(columns: Any) -> None:
    """They do not show how long they resemble each other: taken for independent, they raised one in two windows."""
    assert act_in(columns, 20, days=20, rows=250, within=0.3, neighbours=0.7) <= 3


@pytest.mark.parametrize("history", ["90 days", "5 years"])
def test_a_shift_is_found_however_long_the_history(columns: Any, history: str) -> None:
    """Of three rows a day it was not, as their noise was taken for that of days."""
    assert found(columns, 20, f"{history}, shift of 0.75 sigma") >= 19


@pytest.mark.parametrize(
    "world", ["code 7", "10 % of texts are new", "2 % of rows times 100, skewed", "5 % missing"]
)  # fmt: skip
def test_what_moves_no_decile_is_found(columns: Any, world: str) -> None:
    assert found(columns, 10, world) >= 9


def test_a_random_forest_raises_no_alarm_on_rows_of_the_same_population(columns: Any) -> None:
    """Compared with its scores of rows that it learned from, it raised one each time."""
    assert columns.forest(trials=3, trees=30).hits == 0


@pytest.mark.parametrize(
    ("change", "is_told"),
    [
        ("nothing", False), ("the relation is reversed", True), ("one column is constant", True),
        ("one column has another unit", True), ("three rows of ten", True),
    ],
)  # fmt: skip
def test_a_change_is_told_in_time_and_nothing_else_is(tmp_path: Path, change: str, is_told: bool) -> None:
    """By any check, at the end of a week: within the days that the table promises, or a month where nothing changes."""
    delays = importlib.import_module("simulations.delays")
    quality = importlib.import_module("simulations.quality")
    (wanted,) = (one for one in delays.CHANGES if one.words.startswith(change))
    rng = np.random.default_rng(5)
    champion = quality.Champion.of(tmp_path / "model", quality.World(), rng)
    learned = delays.stream(rng, delays.CHANGES[0], delays.LEARNED_DAYS, delays.LEARNED_ROWS, delays.LEARNED_DAYS)
    rows = delays.stream(rng, wanted, delays.GOOD + 28, 100, delays.GOOD)
    watch = delays.Watch(champion, learned, rows)

    ends = range(delays.GOOD + 7, delays.GOOD + min(wanted.within, 28) + 1, 7)
    told = {check for end in ends for check in delays.CHECKS if watch.told(check, end)}

    assert bool(told) is is_told
