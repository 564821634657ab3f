"""The log of labels that somebody posted to a server: what really happened, told over HTTP.

One JSON object per line, kept beside the prediction log: see `store.py`. `data/label_posts.py` reads it together with
the labels of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from slipway.log.store import LogPlace, opened, sink_of
from slipway.settings.project import Project

if TYPE_CHECKING:
    from slipway.log.masks import Mask

LOG = "labels"


class LabelForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a posted label must hold: the columns of its `key`, and which outcomes are `needed` to be one."""

    key: list[str]
    needed: list[str]


class PostedLabel(msgspec.Struct, frozen=True, omit_defaults=True):
    """A label as it came `at` a time: which prediction it is of, by its `key`, and its `outcome`.

    Of the key, what privacy hashes in the prediction log is hashed here, too. `time` is when the outcome became known,
    if that was said, and `identity` who said it, as the prediction log has it.
    """

    at: datetime
    key: dict[str, Any]
    outcome: dict[str, Any]
    time: datetime | None = None
    identity: str = ""


class LabelLog:
    """Writes labels of the given `form`; a label that is written outlives the process, as a prediction's line does."""

    def __init__(
        self, state: Path, environment: str, form: LabelForm, mask: Mask | None = None, address: str = ""
    ) -> None:
        """`state`, `mask` and `address` as in `PredictionLog`."""
        self.form = form
        self._hashed = [name for name in form.key if mask and name in mask.hashed]
        self._mask = mask
        self._sink = opened(LogPlace(state, LOG, environment, address))
        self._encode_lines = msgspec.json.Encoder().encode_lines

    def masked(self, key: dict[str, Any]) -> dict[str, Any]:
        """A key as the log may hold it."""
        if self._mask is None:
            return key
        return key | {name: self._mask.hash(name, key[name]) for name in self._hashed}

    def write(self, labels: Sequence[PostedLabel]) -> None:
        """Write labels with one call, now; raises `OSError` when they are not kept as a whole."""
        self._sink.append(self._encode_lines(labels))

    def close(self) -> None:
        """Let go of the log."""
        self._sink.close()


def read(project: Project, environment: str) -> Iterator[PostedLabel | None]:
    """Every label that was posted, older days first; `None` for a line that holds none."""
    lines = sink_of(project, LOG, environment).scan(None, None)
    return (parse(line) for line in lines if line.strip())


def parse(line: bytes) -> PostedLabel | None:
    """The label of a line, if it holds one."""
    try:
        return msgspec.json.decode(line, type=PostedLabel)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
