"""The Open Inference Protocol, version 2: each column of the contract is an input tensor.

Tensors are JSON; the binary extension is not offered. Data may be flat or nested, the shape is `[rows]` or
`[rows, 1]`. A missing value is `null`; a column that may be missing can be left out, which says so for every row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slipway import kinds
from slipway.contract.problems import Problem
from slipway.contract.rows import FieldKind
from slipway.kinds.multiclass import column
from slipway.serving.predictor import Made
from slipway.serving.protocols.base import Page, Question, ServedModel, document, first, parsed, rows_from
from slipway.team import CONTRACT

DATATYPES = {FieldKind.NUMBER: "FP64", FieldKind.INTEGER: "INT64", FieldKind.FLAG: "BOOL"}
_FAMILIES = {"FP64": ("FP", "INT", "UINT"), "INT64": ("INT", "UINT", "FP"), "BOOL": ("BOOL",), "BYTES": ("BYTES",)}


class Inference:
    """Reads and writes tensors."""

    routes = ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._version = str(model.version or "")
        self._max_rows = model.max_rows
        self._outputs = {model.answer: kinds.named(model.kind, model.classes).datatype, "id": "BYTES"}
        if model.with_score:
            self._outputs["score"] = "FP64"
            self._outputs |= {column(name): "FP64" for name in model.classes}

    def pages(self, is_ready: Callable[[], bool]) -> Mapping[str, Page]:
        """The server, its health, and the model."""

        def require_mine(name: str, version: str) -> None:
            if (name, version) != (self._model.name, self._version):
                here = f"{self._version} of {self._model.name}"
                raise Problem(404, f"there is no version {version[:60]} of {name[:60]} here, but {here}")

        def health() -> tuple[int, Any]:
            return (200 if is_ready() else 503), {"ready": is_ready()}

        def model(name: str, version: str = self._version) -> tuple[int, Any]:
            require_mine(name, version)
            return 200, self.facts()

        def model_health(name: str, version: str = self._version) -> tuple[int, Any]:
            require_mine(name, version)
            status, content = health()
            return status, {"name": name, **content}

        server = {"name": self._model.name, "version": self._version, "extensions": []}
        return {
            "/v2": lambda: (200, server),
            "/v2/health/live": lambda: (200, {"live": True}),
            "/v2/health/ready": health,
            "/v2/models/{name}": model,
            "/v2/models/{name}/ready": model_health,
            "/v2/models/{name}/versions/{version}": model,
            "/v2/models/{name}/versions/{version}/ready": model_health,
        }

    def describe(self) -> Mapping[str, Any]:
        """The names of the columns, and a row as tensors."""
        row, *_ = self._model.examples
        tensors = [
            {"name": f.name, "datatype": DATATYPES.get(f.kind, "BYTES"), "shape": [1], "data": [row[f.name]]}
            for f in CONTRACT.fields
        ]
        names = {"properties": {"name": {"enum": [field.name for field in CONTRACT.fields]}}}
        return {"components": {"schemas": {"input": names}, "examples": {"tensors": {"value": {"inputs": tensors}}}}}

    def facts(self) -> dict[str, Any]:
        """The content of `GET /v2/models/{name}`."""
        inputs = [
            {"name": field.name, "datatype": DATATYPES.get(field.kind, "BYTES"), "shape": [-1]}
            for field in CONTRACT.fields
        ]
        outputs = [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in self._outputs.items()]
        return {
            "name": self._model.name,
            "versions": [self._version],
            "platform": self._model.platform,
            "inputs": inputs,
            "outputs": outputs,
        }

    def read(self, body: bytes) -> Question:
        """Read the tensors of a request."""
        content = document(body)
        tensors = content.get("inputs")
        if not isinstance(tensors, list) or not tensors:
            raise Problem(422, "inputs is not a list with a tensor for each column")
        wanted = _names_of_outputs(content.get("outputs"), self._outputs)
        columns = _columns(tensors)
        rows = len(next(iter(columns.values())))
        for field in CONTRACT.fields:
            if field.optional and field.name not in columns:
                columns[field.name] = [None] * rows
        request_id = content.get("id")
        return Question(
            rows_from(columns, self._max_rows),
            lambda made: self._answer(made, wanted) | ({"id": request_id} if isinstance(request_id, str) else {}),
        )

    def value(self, body: bytes, column: str) -> Any:
        """A column of the first row."""
        content = parsed(body)
        tensors = content.get("inputs") if isinstance(content, dict) else None
        for tensor in tensors if isinstance(tensors, list) else []:
            if isinstance(tensor, dict) and tensor.get("name") == column:
                value = first(tensor.get("data"))
                return first(value) if isinstance(value, list) else value
        return None

    def refuse(self, problem: Problem) -> bytes:
        """Problem details, with the sentence where this protocol's clients look for it."""
        return problem.body(error=problem.detail)

    def _answer(self, made: Sequence[Made], wanted: Sequence[str]) -> dict[str, Any]:
        data = {
            "id": [one.id for one in made],
            "score": [one.score for one in made],
            self._model.answer: [one.answer for one in made],
        }
        if self._model.with_score:
            each = enumerate(self._model.classes)
            data |= {
                column(name): [one.probabilities[place] for one in made if one.probabilities] for place, name in each
            }
        outputs = [
            {"name": name, "datatype": self._outputs[name], "shape": [len(made)], "data": data[name]} for name in wanted
        ]
        return {"model_name": self._model.name, "model_version": self._version, "outputs": outputs}


def _names_of_outputs(asked: Any, known: dict[str, str]) -> list[str]:
    if not asked:
        return [*known]
    names = [output.get("name") for output in asked if isinstance(output, dict)] if isinstance(asked, list) else []
    wanted = [name for name in names if isinstance(name, str) and name in known]
    if not wanted or len(wanted) != len(asked):
        raise Problem(422, f"outputs asks for a tensor that is none of {', '.join(known)}")
    return wanted


def _columns(tensors: list[Any]) -> dict[str, list[Any]]:
    """The values of each tensor; raises `Problem` for one that is no column of values."""
    columns: dict[str, list[Any]] = {}
    types = {field.name: DATATYPES.get(field.kind, "BYTES") for field in CONTRACT.fields}
    for number, tensor in enumerate(tensors):
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str) or name in columns:
            raise Problem(422, f"inputs/{number} has no name of its own")
        columns[name] = _values(name, tensor, types.get(name))
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise Problem(422, "the input tensors differ in their number of rows")
    return columns


def _values(name: str, tensor: dict[str, Any], expected: str | None) -> list[Any]:
    datatype, shape, data = tensor.get("datatype"), tensor.get("shape"), tensor.get("data")
    if not isinstance(data, list):
        raise Problem(422, f"the tensor {name} holds no data; send JSON, not binary data")
    if expected and str(datatype).rstrip("0123456789") not in _FAMILIES[expected]:
        raise Problem(422, f"the tensor {name} has the datatype {datatype}, expected {expected}")
    is_nested = all(isinstance(row, list) and len(row) == 1 for row in data)
    values = [row[0] for row in data] if is_nested else data
    if not _fits(shape, len(values)):
        raise Problem(422, f"the tensor {name} has the shape {shape}, expected [{len(values)}] or [{len(values)}, 1]")
    return values


def _fits(shape: Any, rows: int) -> bool:
    return shape in ([rows], [rows, 1])
