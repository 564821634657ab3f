"""The description of the server's interface, made from the contract, in OpenAPI 3.1."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ..contract import CONTRACT
from .endpoint import Served
from .problems import MEDIA_TYPE
from .project import ServingPolicy
from .schema import Kind
from .scoring import Scorer

_REFUSALS = {
    "400": "The body is not JSON.",
    "413": "The body is too large, or holds too many rows.",
    "415": "The body is not declared as JSON.",
    "422": "A row breaks the contract; the answer names each field.",
    "429": "Too many requests; wait as long as Retry-After says.",
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
    answer = {"type": "boolean"} if scorer.facts.kind == "class" else {"type": "number"}
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
            **{status: _problem(text) for status, text in _REFUSALS.items()},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": scorer.facts.name,
            "version": str(served.version or served.digest[:19]),
            "description": (CONTRACT.row.__doc__ or "").strip(),
        },
        "paths": {"/predict": {"post": predict}} | {path: _get(*about) for path, about in _PAGES.items()},
        "components": {"schemas": {**_components(), "Problem": _PROBLEM}},
    }


def _components() -> dict[str, Any]:
    """The contract's schema, with the form of its times: JSON Schema knows none without a zone, OpenAPI does."""
    components: dict[str, Any] = deepcopy(CONTRACT.json_schema["components"])
    properties = components[CONTRACT.row.__name__]["properties"]
    for field in CONTRACT.fields:
        if field.kind is Kind.TIME:
            properties[field.name]["format"] = "date-time-local"
    return components


_PAGES = {
    "/live": ("Is the process alive?", {"200": "It is."}),
    "/ready": (
        "May it get requests?",
        {"200": "It may; names the digest of the verified bundle.", "503": "It is going away."},
    ),
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
