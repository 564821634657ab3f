"""`params.yaml`: what the pipeline depends on, and where `mlops search` looks."""

from __future__ import annotations

import codecs
from datetime import date
from typing import Any, Literal

import msgspec

from slipway.settings.base import Positive, Settings, Share
from slipway.settings.search import SearchParams


class FileFormat(Settings):
    """How the files of a source are written, where that is not comma, UTF-8, decimal point and ISO 8601.

    Without a `separator` it is a comma, and a tab in a .tsv. `time` is a format such as `%d/%m/%Y %H:%M`, and `missing`
    lists texts that stand for no value, beside the empty one.
    """

    separator: str = ""
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    time: str = ""
    missing: list[str] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.separator.encode()) > 1:
            raise ValueError(f"separator {self.separator!r} is not one plain character, such as ';'")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise ValueError(f"encoding {self.encoding!r} is not known; utf-16 and windows-1252 are") from None
        if self.time and "%" not in self.time:
            raise ValueError(f"time {self.time!r} is no format, which looks like '%d/%m/%Y %H:%M'")


class DataParams(Settings):
    """The raw data: a file or a folder of files, how they are written, and the day on which they were taken.

    `raw` is what the team's prepare.py reads, if there is one; it makes `source`. `sample` is a part of what is
    delivered that stays in Git, for checkouts that cannot have the whole.
    """

    source: str
    as_of: date
    format: FileFormat = msgspec.field(default_factory=FileFormat)
    raw: str | None = None
    sample: str | None = None

    @property
    def delivered(self) -> str:
        """The files that somebody else makes."""
        return self.raw or self.source


class SplitParams(Settings):
    """How rows are told apart: by time, or by a stable digest of their key.

    Rows that lack an outcome are refused, unless `missing_outcomes` says to `drop` them, or to `keep` them for `target`
    to judge.
    """

    by: Literal["time", "digest"]
    train_until: date | None = None
    test_until: date | None = None
    test_share: Share = 0.2
    missing_outcomes: Literal["refuse", "drop", "keep"] = "refuse"


class Costs(Settings):
    """What a wrong answer costs, in any unit: a yes that was a no, and a no that was a yes."""

    false_positive: Positive
    false_negative: Positive

    @property
    def threshold(self) -> float:
        """The probability from which on a yes costs less than a no, if probabilities are what they say.

        C. Elkan, "The foundations of cost-sensitive learning", IJCAI 2001, equation 2, with right answers for nothing.
        """
        return self.false_positive / (self.false_positive + self.false_negative)


class DecisionParams(Settings):
    """From a score to an answer; used by projects that predict a class.

    `threshold` is one number, or of several classes a number for each that is named. Of a yes or no
    `costs` may give it.
    """

    threshold: Share | dict[str, Share] | None = None
    costs: Costs | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and self.costs is not None:
            raise ValueError("decision has a threshold and costs, which give another one; leave one of them out")

    @property
    def wanted(self) -> float | dict[str, float]:
        """What decides answers, as `Kind.threshold` takes it."""
        if self.costs is not None:
            return self.costs.threshold
        return 0.5 if self.threshold is None else self.threshold


class Params(Settings):
    """`params.yaml`: what the pipeline depends on, and where `mlops search` looks."""

    seed: int
    data: DataParams
    split: SplitParams
    model: dict[str, Any]
    decision: DecisionParams = msgspec.field(default_factory=DecisionParams)
    search: SearchParams | None = None
