"""Parts that other distributions add, found by the entry points that they declare."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from slipway.base.errors import MlopsError


def names(group: str) -> list[str]:
    """What an entry point group offers, in alphabetical order."""
    return sorted(entry_points(group=group).names)


def load(group: str, name: str) -> Any:
    """Load one part. Raises `KeyError` when there is none of this name, `MlopsError` when it cannot be loaded."""
    return _load(entry_points(group=group)[name])


def load_all(group: str) -> Iterator[tuple[str, Any]]:
    """Load every part of a group, by name. Raises `MlopsError` when one cannot be loaded."""
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        yield point.name, _load(point)


@cache
def plugged(group: str) -> dict[str, Any]:
    """Load every part of a group, by name. Of a class an object is made, without arguments."""
    return {name: part() if isinstance(part, type) else part for name, part in load_all(group)}


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise MlopsError(
            f"{point.group} names {point.name} as {point.value}, which cannot be loaded: {error}",
            "mend or uninstall the distribution that declares it",
        ) from error
