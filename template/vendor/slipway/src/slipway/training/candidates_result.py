"""What a comparison of candidates says, as a table and in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from slipway.base.numbers import counted
from slipway.training.exam import Exam
from slipway.training.search_result import (
    BestParameters,
    Gain,
    best_of,
    changes_of,
    ranked_of,
    sentence_of,
    shown_value,
)
from slipway.training.study import Tried


class CandidateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate, or the present parameters, whose `number` is 0; means are over the folds.

    `changes` is what differs from the present, and `gain` by how much it was better, fold by fold. One that failed has
    a `reason` and no `mean`.
    """

    number: int
    name: str
    changes: dict[str, Any]
    mean: float | None = None
    gain: Gain | None = None
    others: dict[str, float] = {}
    seconds: float = 0.0
    reason: str = ""


class CandidatesResult(BestParameters, frozen=True, kw_only=True):
    """What was found of candidates, the best first; those that failed stand last."""

    candidates: list[CandidateRow]


def concluded(
    exam: Exam, key: str, rows: list[CandidateRow], tried: list[Tried], gain: Gain | None
) -> CandidatesResult:
    """Say what was found; `gain` is that of the best, measured anew, if it is not the present."""
    ranked = best_of(tried, exam.sign)
    best, present = ranked_of(ranked[0]), ranked_of(tried[0])
    many, name = len(rows) - 1, rows[best.number].name
    which = f"candidate {name}, the best of {many:,}," if gain else counted(len(rows), "model")
    in_order = sorted(rows, key=lambda row: (row.mean is None, 0 if row.mean is None else -exam.sign * row.mean))
    return CandidatesResult(
        model=exam.project.tool.model,
        metric=exam.metric,
        sign=exam.sign,
        key=key,
        folds=exam.in_words,
        rows=exam.rows,
        present=present,
        best=best,
        gain=gain,
        changes=changes_of(best, present, gain),
        subject=f"the candidate {name}",
        sentence=sentence_of(exam.metric, which, present, gain),
        remarks=[f"failed: {row.name}: {row.reason.rstrip('.')}" for row in rows if row.reason],
        page="reports/candidates.html",
        candidates=in_order,
    )


def table(result: CandidatesResult) -> Iterator[list[str]]:
    """The table in texts, its head first; a value that was not measured on every fold is a dash."""
    others = sorted({name for row in result.candidates for name in row.others})
    yield ["", result.metric, "gain, 90 %", *others, "fit s"]
    for row in result.candidates:
        if row.mean is None:
            yield [row.name, "failed", *["-"] * (len(others) + 2)]
            continue
        gain = f"{row.gain.low:+.4f} to {row.gain.high:+.4f}" if row.gain else "-"
        figures = [f"{row.others[name]:.4f}" if name in row.others else "-" for name in others]
        yield [row.name, f"{row.mean:.4f}", gain, *figures, f"{row.seconds:.2f}"]


def candidates_text(result: CandidatesResult) -> str:
    """Write a result for a terminal, the answer last."""
    rows = [*table(result)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, "", *result.remarks, f"page: {result.page}", "", result.sentence])


def values_in_words(row: CandidateRow) -> str:
    """What a candidate sets, as `params.yaml` has it."""
    return ", ".join(f"{name}: {shown_value(value)}" for name, value in row.changes.items())
