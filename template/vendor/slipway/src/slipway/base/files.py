"""Writing files so that nobody ever reads half of one, and naming them by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

#: Takes a line about the progress of long work, without its line end.
Log = Callable[[str], None]


@contextmanager
def replacing(path: Path, writer: str = "") -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` in one step when the block ends well.

    A block that raises leaves `path` as it was, and no draft behind. Where several may write at a time, `writer` tells
    them apart.
    """
    draft = path.with_name(f"{path.name}{writer}.draft")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write(path: Path, content: bytes, mode: int | None = None) -> None:
    """Replace a file's content in one step; `mode` are its permissions, if they matter."""
    with replacing(path) as draft:
        if mode is not None:  # before there is anything to read
            draft.touch()
            draft.chmod(mode)
        draft.write_bytes(content)


def write_json(path: Path, content: object) -> None:
    """Write JSON that people can read and that is the same for equal content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = msgspec.json.encode(content, order="deterministic")
    write(path, msgspec.json.format(encoded, indent=2) + b"\n")


def sha256(path: Path) -> str:
    """Digest of a file's content, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
