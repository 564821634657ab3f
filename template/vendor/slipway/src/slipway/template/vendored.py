"""Is `vendor/slipway` the platform as it was published? Its `SHA256SUMS` holds a digest of each file."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from slipway.base.errors import MlopsError

FOLDER = Path("vendor") / "slipway"
SUMS = "SHA256SUMS"


def sums(folder: Path) -> dict[str, str]:
    """Return the digest of each file of the platform by its path, without the list of digests itself."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: sha256(path.read_bytes()).hexdigest() for name, path in names.items() if name != SUMS}


def as_text(digests: dict[str, str]) -> str:
    """Write digests as `sha256sum --check` reads them."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())


def edited(root: Path) -> list[str]:
    """Name the files of a project's platform that are not as they were published, are missing or were added.

    Raises `MlopsError` where the list of digests is missing.
    """
    folder = root / FOLDER
    if not (folder / SUMS).is_file():
        raise MlopsError(f"{FOLDER.as_posix()}/{SUMS} is missing", f"git checkout -- {FOLDER.as_posix()}/{SUMS}")
    lines = (folder / SUMS).read_text("utf-8").splitlines()
    published = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    present = sums(folder)
    return sorted(name for name in published.keys() | present.keys() if published.get(name) != present.get(name))
