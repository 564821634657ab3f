"""A search as one HTML page: its history, what mattered, and the best parameters."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

from slipway.base.numbers import shown
from slipway.pages.lines import Curve, Curves, curves
from slipway.pages.render import render, write
from slipway.training.search_result import Ranked, SearchResult, name_of, shown_value


def write_search_page(result: SearchResult, root: Path) -> Path:
    """Write the page into the project."""
    return write(search_page(result), root / result.page)


def search_page(result: SearchResult) -> str:
    """Return the page; equal results give equal pages."""
    ranked = result.ranked if any(not one.number for one in result.ranked) else [*result.ranked, result.present]
    most = max(result.importance.values(), default=1.0)
    return render(
        "search",
        result=result,
        names=[*result.present.params],
        ranked=[(name_of(one), one, _values(one, result.present)) for one in ranked],
        importance=[(name, 100 * part / most, part) for name, part in sorted(result.importance.items(), key=_largest)],
        history=_history(result),
    )


def _largest(item: tuple[str, float]) -> float:
    return -item[1]


def _values(one: Ranked, present: Ranked) -> list[tuple[str, bool]]:
    """Each value, and whether it is another than the present one."""
    return [(shown_value(value), value != present.params[name]) for name, value in one.params.items()]


def _history(result: SearchResult) -> Curves:
    """The best so far from trial to trial, and each trial that was measured on all folds."""
    better = max if result.sign > 0 else min
    measured = [(float(one.number), one.mean) for one in result.tried if one.outcome == "measured"]
    best = [*accumulate((value for _, value in measured), better)]
    last = float(result.tried[-1].number)
    steps: Curve = []
    for (number, _), value, before in zip(measured, best, [best[0], *best], strict=False):
        steps += [(number, before), (number, value)]
    steps.append((last, best[-1]))
    return curves(
        [*(("", [point]) for point in measured), ("main", steps)],
        [(float(one.number), str(one.number)) for one in result.tried],
        f"{result.metric} by trial: " + "; ".join(f"{number:g} {shown(value)}" for number, value in measured),
    )
