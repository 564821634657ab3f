"""`params.yaml`: what the pipeline depends on."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

import msgspec

from slipway.settings.base import Settings, Share


class DataParams(Settings):
    """The raw data: a file or a folder of files, and the day it was taken.

    `sample` is a part of it that stays in Git, for checkouts that cannot have the whole.
    """

    source: str
    as_of: date
    sample: str | None = None


class SplitParams(Settings):
    """How rows are told apart: by time, or by a stable digest of their key."""

    by: Literal["time", "digest"]
    train_until: date | None = None
    test_until: date | None = None
    test_share: Share = 0.2


class DecisionParams(Settings):
    """From a score to an answer; used by projects that predict a class."""

    threshold: Share = 0.5


class Params(Settings):
    """`params.yaml`: what the pipeline depends on."""

    seed: int
    data: DataParams
    split: SplitParams
    model: dict[str, Any]
    decision: DecisionParams = msgspec.field(default_factory=DecisionParams)
