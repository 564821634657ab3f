"""Is `vendor/slipway` the platform as it was published? Its `SHA256SUMS` holds a digest of each file."""

from __future__ import annotations

import tomllib
from hashlib import sha256
from pathlib import Path

from slipway.base.errors import MlopsError

FOLDER = Path("vendor") / "slipway"
SUMS = "SHA256SUMS"


def sums(folder: Path) -> dict[str, str]:
    """Return the digest of each file of the platform by its path, without the list of digests itself."""
    # What tools leave behind is no part of it.
    names = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    kept = {
        name.as_posix(): path for name, path in names.items() if not any(_is_left_behind(part) for part in name.parts)
    }
    return {name: sha256(path.read_bytes()).hexdigest() for name, path in kept.items() if name != SUMS}


def _is_left_behind(part: str) -> bool:
    return part.startswith(".") or part == "__pycache__"


def as_text(digests: dict[str, str]) -> str:
    """Write digests as `sha256sum --check` reads them."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())


def version(root: Path) -> str:
    """Return the version of a project's platform."""
    settings = tomllib.loads((root / FOLDER / "pyproject.toml").read_text("utf-8"))
    return str(settings["project"]["version"])


def digest(root: Path) -> str:
    """Return the one digest that names a project's platform: that of the list. Raises `MlopsError` without one."""
    return sha256(_list(root).read_bytes()).hexdigest()


def edited(root: Path) -> list[str]:
    """Name the files of a project's platform that are not as they were published, are missing or were added.

    Raises `MlopsError` where the list of digests is missing.
    """
    lines = _list(root).read_text("utf-8").splitlines()
    published = {name: known for known, _, name in (line.partition("  ") for line in lines)}
    present = sums(root / FOLDER)
    changed = (name for name in published.keys() | present.keys() if published.get(name) != present.get(name))
    return sorted((FOLDER / name).as_posix() for name in changed)


def _list(root: Path) -> Path:
    path = root / FOLDER / SUMS
    if not path.is_file():
        place = path.relative_to(root).as_posix()
        raise MlopsError(f"{place} is missing", f"restore it: git checkout -- {place}")
    return path
