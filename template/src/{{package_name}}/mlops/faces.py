"""What a request and its answer look like in each protocol. Contract, errors, log and limits are the same for all.

/predict        this project's own; described by /openapi.json
/v2/...         the Open Inference Protocol, as KServe, Triton and MLServer speak it: `inference.py`
/invocations    as `mlflow models serve` answers: `invocations.py`
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, Protocol

import msgspec
from msgspec import Meta

from ..contract import CONTRACT
from .predictor import Made
from .problems import Problem, refusal
from .project import ServingPolicy
from .schema import Row

Headers = list[tuple[bytes, bytes]]

_MANY = re.compile(rb'\s*\{\s*"rows"\s*:')


class Question(NamedTuple):
    """The rows of a request, and how their predictions become the content of an answer."""

    rows: Sequence[Row]
    answer: Callable[[Sequence[Made]], dict[str, Any]]


class Face(Protocol):
    """One protocol."""

    def read(self, body: bytes) -> Question:
        """Read a request; raises `Problem` for one that holds no rows of the contract."""

    def value(self, body: bytes, column: str) -> Any:
        """A column of the first row, `None` when there is none; never raises."""

    def refuse(self, problem: Problem) -> bytes:
        """The body of a refusal."""


class Request(NamedTuple):
    """A request that has been read to its end. A client that asks for one `version` gets it or nothing else."""

    face: Face
    path: str
    body: bytes
    client: str = ""
    version: int | None = None
    is_explained: bool = False


class Reply(NamedTuple):
    """What a client gets."""

    status: int
    headers: Headers
    body: bytes


class Answer(NamedTuple):
    """What an answer says beside its predictions: the answer's name, the model, and whether to tell scores."""

    name: str
    model: dict[str, Any]
    with_score: bool


class Predict:
    """The project's own protocol: a row gets an object, `{"rows": [...]}` gets a list of them."""

    def __init__(self, answer: Answer, policy: ServingPolicy) -> None:
        self._about = answer
        self._model = msgspec.Raw(msgspec.json.encode(answer.model))
        self._max_rows = policy.max_rows
        self._one: msgspec.json.Decoder[Row] = msgspec.json.Decoder(CONTRACT.row)
        self._many: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_rows_type(CONTRACT.row, policy.max_rows))

    def is_one(self, body: bytes) -> bool:
        """Whether a request holds a single row."""
        return not _MANY.match(body)

    def row(self, body: bytes) -> Row:
        """Read a request that holds a single row."""
        try:
            return self._one.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise refusal(body, CONTRACT, error, self._max_rows) from None

    def shown(self, made: Made) -> dict[str, Any]:
        """A prediction as a client sees it."""
        if self._about.with_score:
            return {"id": made.id, self._about.name: made.answer, "score": made.score}
        return {"id": made.id, self._about.name: made.answer}

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
            raise refusal(body, CONTRACT, error, self._max_rows) from None
        return Question(rows, lambda made: {"predictions": [*map(self.shown, made)], "model": self._model})

    def value(self, body: bytes, column: str) -> Any:
        """A column of the first row."""
        found = parsed(body)
        if isinstance(found, dict) and "rows" in found:
            found = first(found["rows"])
        return found.get(column) if isinstance(found, dict) else None

    def refuse(self, problem: Problem) -> bytes:
        """Problem details."""
        return problem.body()


def parsed(body: bytes) -> Any:
    """The content of a body, `None` when it is not JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def first(values: Any) -> Any:
    """The first of a list, `None` when there is none."""
    return values[0] if isinstance(values, list) and values else None


def document(body: bytes) -> dict[str, Any]:
    """The object that a body holds; raises `Problem` for anything else."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        status = 422 if isinstance(error, msgspec.ValidationError) else 400
        raise Problem(status, f"the body is not JSON that can be read: {error}") from None
    if not isinstance(found, dict):
        raise Problem(422, "the body is not a JSON object")
    return found


def rows_from(columns: dict[str, list[Any]], max_rows: int) -> Sequence[Row]:
    """Rows of the contract from columns of equal length; raises `Problem` that names every faulty value."""
    names, values = [*columns], [*zip(*columns.values(), strict=True)]
    return rows_of([dict(zip(names, row, strict=True)) for row in values], max_rows)


def rows_of(records: list[Any], max_rows: int) -> Sequence[Row]:
    """Rows of the contract from parsed objects; raises `Problem` that names every faulty value."""
    try:
        if 0 < len(records) <= max_rows:
            rows: list[Row] = msgspec.convert(records, list[CONTRACT.row])  # type: ignore[name-defined]
            return rows
        error: Exception = ValueError("a request holds at least one row")
    except (msgspec.ValidationError, RecursionError) as wrong:
        error = wrong
    raise refusal(msgspec.json.encode({"rows": records}), CONTRACT, error, max_rows) from None


def _rows_type(row: type[Row], max_rows: int) -> type[msgspec.Struct]:
    rows = Annotated[list[row], Meta(min_length=1, max_length=max_rows)]  # type: ignore[valid-type]
    return msgspec.defstruct("Rows", [("rows", rows)], forbid_unknown_fields=True)
