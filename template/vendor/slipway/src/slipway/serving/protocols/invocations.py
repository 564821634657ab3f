"""`POST /invocations`, as clients of `mlflow models serve` know it: a data frame as JSON, a list of predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slipway.contract.problems import Problem
from slipway.serving.predictor import Made
from slipway.serving.protocols.base import Page, Question, ServedModel, document, first, parsed, rows_of
from slipway.team import PROBABILITIES


class Invocations:
    """Reads `dataframe_split` and `dataframe_records`."""

    routes = ("/invocations",)

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._max_rows = model.max_rows

    def pages(self, is_ready: Callable[[], bool]) -> Mapping[str, Page]:
        """Its health check."""

        def ping() -> tuple[int, Any]:
            if not is_ready():
                raise Problem(503, "this server is going away; ask again")
            return 200, {"status": "ready", "digest": self._model.digest}

        return {"/ping": ping}

    def describe(self) -> Mapping[str, Any]:
        """Rows as records."""
        return {"components": {"examples": {"records": {"value": {"dataframe_records": self._model.examples}}}}}

    def read(self, body: bytes) -> Question:
        """Read the rows of a frame."""
        return Question(rows_of(_records(document(body)), self._max_rows), self._answer)

    def value(self, body: bytes, column: str) -> Any:
        """A column of the first row."""
        content = parsed(body)
        try:
            record = first(_records(content)) if isinstance(content, dict) else None
        except Problem:
            return None
        return record.get(column) if isinstance(record, dict) else None

    def refuse(self, problem: Problem) -> bytes:
        """Problem details, with the sentence where this protocol's clients look for it."""
        return problem.body(message=problem.detail)

    def _answer(self, made: Sequence[Made]) -> dict[str, Any]:
        answer: dict[str, Any] = {"predictions": [one.answer for one in made], "ids": [one.id for one in made]}
        if self._model.with_score:
            answer["scores"] = [one.score for one in made]
            if classes := self._model.classes:
                answer[PROBABILITIES] = [dict(zip(classes, one.probabilities or (), strict=True)) for one in made]
        return {**answer, "model": self._model.identity}


def _records(content: dict[str, Any]) -> list[Any]:
    records = content.get("dataframe_records")
    if isinstance(records, list):
        return records
    frame = content.get("dataframe_split")
    if not isinstance(frame, dict):
        raise Problem(422, "the body has neither dataframe_split nor dataframe_records")
    names, data = frame.get("columns"), frame.get("data")
    if not isinstance(names, list) or not isinstance(data, list) or not all(isinstance(name, str) for name in names):
        raise Problem(422, "dataframe_split needs columns, a list of names, and data, a list of rows")
    if not all(isinstance(row, list) and len(row) == len(names) for row in data):
        raise Problem(422, f"a row of dataframe_split does not have {len(names)} values, one for each column")
    return [dict(zip(names, row, strict=True)) for row in data]
