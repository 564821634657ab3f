"""A comparison of two models, written for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from slipway.base.numbers import shown
from slipway.registry.comparison import Comparison, Figures, change_of


def comparison_text(found: Comparison) -> str:
    """Write a comparison for a terminal: which is better first, what to mind last."""
    groups = {f"{one.metric} of {one.column} = {one.value}": one.figures for one in found.groups}
    blocks = [
        [one for one in (found.sentence, found.certainty) if one],
        [source_of(found)],
        _table(found, "", found.metrics),
        _table(found, "baseline", found.baseline),
        _table(found, "scores", found.scores),
        _table(found, "answers", found.answers),
        _table(found, "groups", groups),
        _param_lines(found),
        found.remarks,
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def source_of(found: Comparison) -> str:
    """Where the figures are from, in words."""
    if found.how == "scored":
        return f"{found.rows:,} test rows of this checkout, data/test.parquet {found.frozen[:12]}"
    return f"as each reported it, on {'its own' if found.rows is None else f'{found.rows:,}'} test rows"


def _table(found: Comparison, title: str, figures: Mapping[str, Figures]) -> list[str]:
    if not figures:
        return []
    width, columns = max(map(len, [title, *figures])), [max(9, len(one.label)) for one in found.sides]
    labels = [f"{one.label:>{column}}" for one, column in zip(found.sides, columns, strict=True)]
    lines = ["  ".join([f"{title:{width}}", *labels, f"{'change':>9}"])]
    for name, pair in figures.items():
        cells = [f"{_shown(one):>{column}}" for one, column in zip(pair, columns, strict=True)]
        judged = title in ("", "scores")
        lines.append("  ".join([f"{name:{width}}", *cells, *_change(found, name, pair, judged=judged)]).rstrip())
    return lines


def _change(found: Comparison, name: str, pair: Figures, *, judged: bool) -> list[str]:
    change = change_of(pair)
    cells = [f"{'' if change is None else shown(change, '+'):>9}"]
    if not judged:
        return cells
    low, high = found.intervals.get(name, (None, None))
    between = "" if low is None or high is None else f"{shown(low, '+')} to {shown(high, '+')}"
    return [*cells, f"{between:18}", found.said_of(name)]


def _param_lines(found: Comparison) -> list[str]:
    rows = {name: [value or "none" for value in pair] for name, pair in found.params.items()}
    if not rows:
        return []
    width, title = max(map(len, [*rows, "parameters"])), "parameters"
    first = max(9, len(found.sides[0].label), *(len(values[0]) for values in rows.values()))
    lines = [f"{title:{width}}  {found.sides[0].label:>{first}}  {found.sides[1].label}"]
    return [*lines, *(f"{name:{width}}  {values[0]:>{first}}  {values[1]}" for name, values in rows.items())]


def _shown(value: float | None) -> str:
    return "none" if value is None else shown(value)
