"""The description of the server's interface, made from the contract, in OpenAPI 3.1."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ..contract import CONTRACT
from .endpoint import Served
from .inference import DATATYPES
from .problems import MEDIA_TYPE
from .project import ServingPolicy
from .schema import FieldKind
from .scoring import Scorer

_REFUSALS = {
    "400": "The body is not JSON.",
    "413": "The body is too large, or holds too many rows.",
    "415": "The body is not declared as JSON.",
    "422": "A row breaks the contract; the answer names each field.",
    "429": "Too many requests; wait as long as Retry-After says.",
    "503": "Too many requests are in progress; wait as long as Retry-After says.",
}

_PROBLEM = {
    "type": "object",
    "required": ["title", "status", "detail"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "Where the value stands in the body."},
                    "detail": {"type": "string"},
                    "field": {"type": "string"},
                },
            },
        },
    },
}


def document(scorer: Scorer, served: Served, policy: ServingPolicy) -> dict[str, Any]:
    """Describe every endpoint, with a real row as the example."""
    row = CONTRACT.json_schema["row"]
    answer = scorer.kind.json_type
    prediction = {"id": {"type": "string"}, scorer.facts.answer: answer}
    if policy.return_score:
        prediction["score"] = {"type": "number"}
    model = {"type": "object", "properties": {"name": {}, "version": {}, "digest": {}}}
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": policy.max_rows}
    many = {"type": "object", "required": ["rows"], "properties": {"rows": rows}, "additionalProperties": False}
    golden = scorer.bundle.golden.rows
    examples = {"one row": {"value": golden[0]}, "many rows": {"value": {"rows": golden[:2]}}}
    predict = {
        "summary": "Predict one row, or many",
        "parameters": [
            {
                "name": "explain",
                "in": "query",
                "schema": {"type": "boolean"},
                "description": "Say what each value did.",
            },
            {
                "name": "mlops-version",
                "in": "header",
                "schema": {"type": "integer", "minimum": 1},
                "description": "Be answered by this version or by none, while two of them answer.",
            },
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"oneOf": [row, many]}, "examples": examples}},
        },
        "responses": {
            "200": _json(
                "The prediction, or the list of predictions in the order of the rows.",
                {
                    "oneOf": [
                        _object(**prediction, model=model),
                        _object(predictions={"type": "array", "items": _object(**prediction)}, model=model),
                    ]
                },
            ),
            **_refusals(**{"403": "Answers are not explained here.", "404": "That version does not answer here."}),
        },
    }
    mine = (scorer.facts.name, str(served.version or ""))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": scorer.facts.name,
            "version": str(served.version or served.digest[:19]),
            "description": (CONTRACT.row.__doc__ or "").strip(),
        },
        "paths": {
            "/predict": {"post": predict},
            "/invocations": {"post": _invocations(row, policy.max_rows, golden[:2])},
            **{path: {"post": _infer(scorer.facts.answer, golden[0])} for path in _models("/infer", *mine)},
            **{path: _get(*about) for path, about in _PAGES.items()},
            **{path: _get("Tensors of the model", {"200": "Names, types, shapes."}) for path in _models("", *mine)},
            **{path: _get("May it get requests?", {"200": "Yes.", "503": "No."}) for path in _models("/ready", *mine)},
        },
        "components": {"schemas": {**_components(), "Problem": _PROBLEM}},
    }


def _models(page: str, name: str, version: str) -> list[str]:
    """The paths under which the Open Inference Protocol knows the one model that is here."""
    path = f"/v2/models/{name}"
    return [f"{path}{page}", *([f"{path}/versions/{version}{page}"] if version else [])]


def _invocations(row: dict[str, Any], max_rows: int, example: list[dict[str, Any]]) -> dict[str, Any]:
    records = {"type": "array", "items": row, "minItems": 1, "maxItems": max_rows}
    cells = {"type": "array", "items": {"type": "array"}, "minItems": 1, "maxItems": max_rows}
    frame = _object(columns={"type": "array", "items": {"type": "string"}}, data=cells)
    answer = _object(predictions={"type": "array"}, ids={"type": "array", "items": {"type": "string"}}, model={})
    return {
        "summary": "Predict a data frame, as mlflow models serve does",
        "requestBody": _body(
            {"oneOf": [_object(dataframe_records=records), _object(dataframe_split=frame)]},
            {"dataframe_records": example},
        ),
        "responses": {"200": _json("The predictions in the order of the rows.", answer), **_refusals()},
    }


def _infer(answer: str, example: dict[str, Any]) -> dict[str, Any]:
    columns = [field.name for field in CONTRACT.fields]
    given = [
        {"name": f.name, "datatype": DATATYPES.get(f.kind, "BYTES"), "shape": [1], "data": [example[f.name]]}
        for f in CONTRACT.fields
    ]
    shape = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2}
    typed = {"type": "string", "enum": ["FP64", "INT64", "BOOL", "BYTES"]}
    tensor = _object(name={"type": "string"}, datatype=typed, shape=shape, data={"type": "array"})
    named = {**tensor, "properties": {**tensor["properties"], "name": {"type": "string", "enum": columns}}}
    outputs = {"type": "array", "items": tensor, "description": f"{answer}, and the id of each prediction."}
    return {
        "summary": "Predict columns, as the Open Inference Protocol does",
        "requestBody": _body(_object(inputs={"type": "array", "items": named, "minItems": 1}), {"inputs": given}),
        "responses": {"200": _json("A tensor for each output.", _object(outputs=outputs)), **_refusals()},
    }


def _refusals(**more: str) -> dict[str, Any]:
    return {status: _problem(text) for status, text in {**_REFUSALS, **more}.items()}


def _body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def _components() -> dict[str, Any]:
    """The contract's schema, with the form of its times: JSON Schema knows none without a zone, OpenAPI does."""
    components: dict[str, Any] = deepcopy(CONTRACT.json_schema["components"])
    properties = components[CONTRACT.row.__name__]["properties"]
    for field in CONTRACT.fields:
        if field.kind is FieldKind.TIME:
            properties[field.name]["format"] = "date-time-local"
    return components


_PAGES = {
    "/live": ("Is the process alive?", {"200": "It is."}),
    "/ready": (
        "May it get requests?",
        {"200": "It may; names the digest of the verified bundle.", "503": "It is going away."},
    ),
    "/ping": ("The same, as MLflow's clients ask", {"200": "It may.", "503": "It is going away."}),
    "/v2": ("The server, as the Open Inference Protocol describes one", {"200": "Name and version."}),
    "/v2/health/live": ("Is the process alive?", {"200": "It is."}),
    "/v2/health/ready": ("May it get requests?", {"200": "It may.", "503": "It is going away."}),
    "/version": ("Which model answers, made by which commit", {"200": "Model, version, digest, commit and source."}),
    "/metrics": ("Metrics for Prometheus", {"200": "Metrics as text."}),
    "/openapi.json": ("This description", {"200": "OpenAPI 3.1."}),
}


def _get(summary: str, responses: dict[str, str]) -> dict[str, Any]:
    described = {status: {"description": text} for status, text in responses.items()}
    return {"get": {"summary": summary, "responses": described}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}
