"""What other distributions bring: each seam has a group of entry points, in which they name what they add."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from .errors import MlopsError


@cache
def plugged(group: str) -> dict[str, Any]:
    """Load everything that installed distributions name in a group, by name and in the order of the names.

    A class is made an object of, without arguments. Raises `MlopsError` for an entry that cannot be loaded.
    """
    found = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        try:
            loaded = entry.load()
            found[entry.name] = loaded() if isinstance(loaded, type) else loaded
        except Exception as error:
            by = f" of {entry.dist.name}" if entry.dist else ""
            raise MlopsError(
                f"the entry point {entry.name} = {entry.value}{by} in {group} cannot be loaded: {error}",
                "mend or uninstall that distribution",
            ) from error
    return found
