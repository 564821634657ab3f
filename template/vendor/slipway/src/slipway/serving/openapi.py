"""The description of the server's interface in OpenAPI 3.1: the template `openapi.json` with the contract put in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec

from slipway import kinds
from slipway.base.errors import MlopsError
from slipway.contract.rows import FieldKind
from slipway.serving.protocols.base import ServedModel
from slipway.team import CONTRACT, PROBABILITIES

TEMPLATE = Path(__file__).with_name("openapi.json")


def document(model: ServedModel, routes: Iterable[str], parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Describe every route, with a real row as the example.

    A route is described by the template, or by one of the `parts` that protocols and the team bring, which are
    merged into it. Raises `MlopsError` for a route that nobody describes.
    """
    described: dict[str, Any] = msgspec.json.decode(TEMPLATE.read_bytes())
    for part in parts:
        _merge(described, part)
    _merge(described, {"info": _info(model), "components": {"schemas": _schemas(model), "examples": _examples(model)}})
    paths = described["paths"]
    if unknown := [route for route in routes if route not in paths]:
        raise MlopsError(
            f"{unknown[0]} is answered here and described nowhere", "add it to what `describe` of its protocol returns"
        )
    described["paths"] = {_filled(route, model): paths[route] for route in routes if _is_here(route, model)}
    return described


def _info(model: ServedModel) -> dict[str, str]:
    return {
        "title": model.name,
        "version": str(model.version or model.digest[:19]),
        "description": (CONTRACT.row.__doc__ or "").strip(),
    }


def _schemas(model: ServedModel) -> dict[str, Any]:
    """The contract's schema, with the form of its times: JSON Schema knows none without a zone, OpenAPI does."""
    schemas: dict[str, Any] = deepcopy(CONTRACT.json_schema["components"])
    properties = schemas[CONTRACT.row.__name__]["properties"]
    for field in CONTRACT.fields:
        if field.kind is FieldKind.TIME:
            properties[field.name]["format"] = "date-time-local"
    given = [model.answer, "score"] if model.with_score else [model.answer]
    types = {model.answer: kinds.named(model.kind, model.classes).json_type, "score": {"type": "number"}}
    if model.with_score and model.classes:
        given.append(PROBABILITIES)
        each = {name: {"type": "number"} for name in model.classes}
        types[PROBABILITIES] = {"type": "object", "required": [*each], "properties": each}
    return schemas | {
        "row": CONTRACT.json_schema["row"],
        "rows": {"maxItems": model.max_rows},
        "prediction": {"required": ["id", *given], "properties": {name: types[name] for name in given}},
    }


def _examples(model: ServedModel) -> dict[str, Any]:
    first, *_ = rows = model.examples
    return {"one_row": {"value": first}, "many_rows": {"value": {"rows": rows}}}


def _is_here(route: str, model: ServedModel) -> bool:
    return model.version is not None or "{version}" not in route


def _filled(route: str, model: ServedModel) -> str:
    """The path of the one model that is here."""
    return route.replace("{name}", model.name).replace("{version}", str(model.version))


def _merge(into: dict[str, Any], part: Mapping[str, Any]) -> None:
    for key, value in part.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
