"""Reading a settings file into its type: a misspelt key, or a text where a number belongs, is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import yaml
from msgspec import Meta, inspect

from slipway.base.errors import MlopsError

T = TypeVar("T")
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Settings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of everything read from a settings file: unknown keys are errors."""


def read_settings(path: Path, kind: type[T]) -> T:
    """Read a YAML settings file into its type; refuse it with file, key and reason."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise MlopsError(
            f"{path.name} is missing in {path.parent}", f"restore it: git checkout -- {path.name}"
        ) from None
    try:
        return msgspec.convert(yaml.safe_load(text), kind)
    except (msgspec.ValidationError, yaml.YAMLError) as error:
        reason, _, place = str(error).partition(" - at `$.")
        place = place.rstrip("`")
        where = f", {place}" if place else ""
        choices = _choices(kind, place) if "enum value" in reason else ""
        next_step = f"choose from {choices}" if choices else f"mend this setting in {path}"
        raise MlopsError(f"{path.name}{where}: {reason}", next_step) from None


def _choices(kind: Any, place: str) -> str:
    """The few values that a setting may have; `place` is its key below those of the blocks around it."""
    found = [inspect.type_info(kind)]
    for key in re.findall(r"\w+|\[\.\.\.\]", place):
        found = [inner for one in found for inner in _within(one, key)]
    values = [value for one in found for part in _parts(one) for value in getattr(part, "values", ())]
    return ", ".join(sorted(map(str, values)))


def _within(block: inspect.Type, key: str) -> Iterator[inspect.Type]:
    for part in _parts(block):
        if isinstance(part, inspect.StructType):
            yield from (field.type for field in part.fields if field.encode_name == key)
        else:
            yield from (getattr(part, name) for name in ("value_type", "item_type") if hasattr(part, name))


def _parts(declared: inspect.Type) -> Sequence[inspect.Type]:
    return declared.types if isinstance(declared, inspect.UnionType) else (declared,)
