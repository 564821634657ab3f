"""What a wire protocol is: how a request and its answer look. Contract, errors, log and limits are the same for all.

Which protocols there are says the registry in `protocols/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from slipway.contract.problems import Problem, many_rows, not_json
from slipway.contract.rows import Row
from slipway.serving.predictor import Made
from slipway.team import CONTRACT
from slipway.training import formats

Headers = list[tuple[bytes, bytes]]

#: Answers a GET: gets the parts of its path that are in braces, returns the status and the content of the answer.
Page = Callable[..., tuple[int, Any]]


class Question(NamedTuple):
    """The rows of a request, and how their predictions become the content of an answer."""

    rows: Sequence[Row]
    answer: Callable[[Sequence[Made]], dict[str, Any]]


class ServedModel(NamedTuple):
    """What a protocol may know of the model: `examples` are rows as clients send them, `kind` is that of the answer.

    `answer` names the answer, which is one of `classes` where there are some; its score is told only `with_score`, and
    then the probability of each class as well. A request holds at most `max_rows`. `platform` is what the Open
    Inference Protocol calls the format of the model.
    """

    name: str
    version: int | None
    digest: str
    answer: str
    kind: str
    with_score: bool
    max_rows: int
    examples: list[dict[str, Any]]
    classes: Sequence[str] = ()
    platform: str = formats.ONNX.platform

    @property
    def identity(self) -> dict[str, Any]:
        """How an answer names the model that gave it."""
        return {"name": self.name, "version": self.version, "digest": self.digest}


class WireProtocol(Protocol):
    """One protocol. It is made from a `ServedModel`, once, when the server starts."""

    @property
    def routes(self) -> Sequence[str]:
        """The paths at which it answers POST requests. `{name}` and `{version}` stand for those of the model."""

    def pages(self, is_ready: Callable[[], bool]) -> Mapping[str, Page]:
        """What it answers to GET requests, by path; a page may raise `Problem`."""

    def describe(self) -> Mapping[str, Any]:
        """Its part of the OpenAPI document: members that are merged into `openapi.json`."""

    def read(self, body: bytes) -> Question:
        """Read a request; raises `Problem` for one that holds no rows of the contract."""

    def value(self, body: bytes, column: str) -> Any:
        """A column of the first row, `None` when there is none; never raises."""

    def refuse(self, problem: Problem) -> bytes:
        """The body of a refusal."""


class Request(NamedTuple):
    """A request that has been read to its end. A client that asks for one `version` gets it or nothing else.

    A deployment's own question `is_probe`: it is on record as such, and counts as no prediction. `identity` is that of
    who asks as the log may hold it, empty where nobody is asked for it.
    """

    protocol: WireProtocol
    path: str
    body: bytes
    client: str = ""
    version: int | None = None
    is_explained: bool = False
    is_probe: bool = False
    identity: str = ""


class Reply(NamedTuple):
    """What a client gets."""

    status: int
    headers: Headers
    body: bytes


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
    except msgspec.ValidationError as error:
        raise Problem(422, f"the body is not JSON that can be read: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise not_json(body, error) from None
    if not isinstance(found, dict):
        raise Problem(422, "the body is not a JSON object")
    return found


def rows_from(columns: dict[str, list[Any]], max_rows: int) -> Sequence[Row]:
    """Rows of the contract from columns of equal length; raises `Problem` that names every faulty value."""
    names, values = [*columns], [*zip(*columns.values(), strict=True)]
    return rows_of([dict(zip(names, row, strict=True)) for row in values], max_rows)


def rows_of(records: list[Any], max_rows: int) -> Sequence[Row]:
    """Rows of the contract from parsed objects; raises `Problem` that names every faulty value."""
    return many_rows(records, CONTRACT, ValueError("a request holds at least one row"), max_rows)
