"""The Open Inference Protocol, version 2: each column of the contract is an input tensor.

Tensors are JSON; the binary extension is not offered. Data may be flat or nested, the shape is `[rows]` or
`[rows, 1]`. A missing value is `null`; a column that may be missing can be left out, which says so for every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..contract import CONTRACT
from .faces import Answer, Question, document, first, parsed, rows_from
from .kinds_base import Kind
from .predictor import Made
from .problems import Problem
from .project import ServingPolicy
from .schema import FieldKind

DATATYPES = {FieldKind.NUMBER: "FP64", FieldKind.INTEGER: "INT64", FieldKind.FLAG: "BOOL"}
_FAMILIES = {"FP64": ("FP", "INT", "UINT"), "INT64": ("INT", "UINT"), "BOOL": ("BOOL",), "BYTES": ("BYTES",)}


def server_facts(name: str, version: str) -> dict[str, Any]:
    """The content of `GET /v2`."""
    return {"name": name, "version": version, "extensions": []}


class Inference:
    """Reads and writes tensors."""

    def __init__(self, answer: Answer, kind: Kind, policy: ServingPolicy) -> None:
        self._about = answer
        self._version = str(answer.model["version"] or "")
        self._max_rows = policy.max_rows
        self._outputs = {answer.name: kind.datatype, "id": "BYTES"}
        if answer.with_score:
            self._outputs["score"] = "FP64"

    def facts(self) -> dict[str, Any]:
        """The content of `GET /v2/models/{name}`."""
        inputs = [
            {"name": field.name, "datatype": DATATYPES.get(field.kind, "BYTES"), "shape": [-1]}
            for field in CONTRACT.fields
        ]
        outputs = [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in self._outputs.items()]
        return {
            "name": self._about.model["name"],
            "versions": [self._version],
            "platform": "onnx_onnxv1",
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
            self._about.name: [one.answer for one in made],
        }
        outputs = [
            {"name": name, "datatype": self._outputs[name], "shape": [len(made)], "data": data[name]} for name in wanted
        ]
        return {"model_name": self._about.model["name"], "model_version": self._version, "outputs": outputs}


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
