"""Reading a settings file into its type: a misspelt key, or a text where a number belongs, is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import yaml
from msgspec import Meta

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
        where = f", {place.rstrip('`')}" if place else ""
        raise MlopsError(f"{path.name}{where}: {reason}", f"mend this setting in {path}") from None
