"""A comparison of candidates as one HTML page."""

from __future__ import annotations

from pathlib import Path

from slipway.pages.render import render, write
from slipway.training.candidates_result import CandidatesResult, table, values_in_words


def write_candidates_page(result: CandidatesResult, root: Path) -> Path:
    """Write the page into the project."""
    return write(candidates_page(result), root / result.page)


def candidates_page(result: CandidatesResult) -> str:
    """Return the page; equal results give equal pages."""
    head, *rows = table(result)
    candidates = [(row.name, values_in_words(row)) for row in result.candidates if row.number]
    return render("candidates", result=result, head=head, rows=rows, candidates=candidates)
