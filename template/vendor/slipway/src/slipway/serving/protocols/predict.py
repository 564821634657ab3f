"""`POST /predict`, the project's own protocol."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from slipway.contract.problems import Problem, reread
from slipway.contract.rows import Row
from slipway.serving.predictor import Made
from slipway.serving.protocols.base import Page, Question, ServedModel, first, parsed
from slipway.team import CONTRACT, PROBABILITIES

#: What is wrong with a row that the decoder takes and the contract does not.
_ZONE = ValueError("a time must have a zone, or none")
_MANY = re.compile(rb'\s*\{\s*"rows"\s*:')


class Predict:
    """The project's own protocol: a row gets an object, `{"rows": [...]}` gets a list of them."""

    routes = ("/predict",)

    def __init__(self, model: ServedModel) -> None:
        self._answer = model.answer
        self._with_score = model.with_score
        self._classes = model.classes
        self._model = msgspec.Raw(msgspec.json.encode(model.identity))
        self._max_rows = model.max_rows
        self._one: msgspec.json.Decoder[Row] = msgspec.json.Decoder(CONTRACT.row)
        self._many: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_rows_type(CONTRACT.row, model.max_rows))

    def pages(self, is_ready: Callable[[], bool]) -> Mapping[str, Page]:  # noqa: ARG002 - the protocol's signature
        """None of its own."""
        return {}

    def describe(self) -> Mapping[str, Any]:
        """Nothing that the template does not say."""
        return {}

    def is_one(self, body: bytes) -> bool:
        """Whether a request holds a single row."""
        return not _MANY.match(body)

    def row(self, body: bytes) -> Row:
        """Read a request that holds a single row."""
        try:
            row = self._one.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._reread(body, error, is_one=True)[0]
        return row if CONTRACT.settle(row) is None else self._reread(body, _ZONE, is_one=True)[0]

    def shown(self, made: Made) -> dict[str, Any]:
        """A prediction as a client sees it."""
        if self._with_score:
            told = {"id": made.id, self._answer: made.answer, "score": made.score}
            if made.probabilities is not None:
                told[PROBABILITIES] = dict(zip(self._classes, made.probabilities, strict=True))
            return told
        return {"id": made.id, self._answer: made.answer}

    def one(self, made: Made) -> dict[str, Any]:
        """The answer to a single row."""
        answer = self.shown(made)
        answer["model"] = self._model
        return answer

    def read(self, body: bytes) -> Question:
        """Read one row, or many."""
        if self.is_one(body):
            return Question([self.row(body)], lambda made: self.one(made[0]))
        try:
            rows = self._many.decode(body).rows
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            rows = self._reread(body, error, is_one=False)
        else:
            if any(CONTRACT.settle(row) is not None for row in rows):
                rows = self._reread(body, _ZONE, is_one=False)
        return Question(rows, lambda made: {"predictions": [*map(self.shown, made)], "model": self._model})

    def _reread(self, body: bytes, error: Exception, *, is_one: bool) -> list[Row]:
        return reread(body, CONTRACT, error, self._max_rows, is_one=is_one)

    def value(self, body: bytes, column: str) -> Any:
        """A column of the first row."""
        found = parsed(body)
        if isinstance(found, dict) and "rows" in found:
            found = first(found["rows"])
        return found.get(column) if isinstance(found, dict) else None

    def refuse(self, problem: Problem) -> bytes:
        """Problem details."""
        return problem.body()


def _rows_type(row: type[Row], max_rows: int) -> type[msgspec.Struct]:
    rows = Annotated[list[row], Meta(min_length=1, max_length=max_rows)]  # type: ignore[valid-type]
    return msgspec.defstruct("Rows", [("rows", rows)], forbid_unknown_fields=True)
