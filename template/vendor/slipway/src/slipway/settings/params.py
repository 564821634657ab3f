"""`params.yaml`: what the pipeline depends on, and what is compared with its model."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from datetime import date
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec

from slipway.base.buckets import SCHEMES, is_bucket
from slipway.settings import edit
from slipway.settings.base import Positive, Settings, Share
from slipway.settings.search import SearchParams

#: How a source begins that names a variable of the environment.
IN_ENVIRONMENT = "env:"
PARAMS = "params.yaml"
#: Its blocks that no stage depends on.
ASIDE = ("search", "candidates")


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


class SnapshotParams(Settings):
    """What `mlops snapshot` takes raw data from: the rows of a query, or the files below a bucket's address.

    `query` is a file of this repository that holds one statement of SQL; `source` then names the variable of the
    environment that has the database's address, as `env:DATA_SOURCE_URL`. Without it `source` is `s3://lake/flights`.
    """

    source: str
    query: str | None = None

    def __post_init__(self) -> None:
        if self.source.startswith(IN_ENVIRONMENT) != (self.query is not None):
            raise ValueError(
                f"snapshot.query and a snapshot.source like {IN_ENVIRONMENT}DATA_SOURCE_URL, which names the variable "
                "with the database's address, belong together"
            )
        if self.query is None and not is_bucket(self.source):
            known = " or ".join(f"{scheme}://" for scheme in SCHEMES)
            raise ValueError(f"snapshot.source {self.source!r} is no address of a bucket, which begins with {known}")
        if "@" in self.source:
            raise ValueError("snapshot.source stands in Git, so its credentials belong in the environment")


class DataParams(Settings):
    """The raw data: a file or a folder of files, how they are written, and the day on which they were taken.

    `raw` is what the team's prepare.py reads, if there is one; it makes `source`. `sample` is a part of what is
    delivered that stays in Git, for checkouts that cannot have the whole. With a `snapshot`, what is delivered is the
    folder that `mlops snapshot` fills.
    """

    source: str
    as_of: date
    format: FileFormat = msgspec.field(default_factory=FileFormat)
    raw: str | None = None
    sample: str | None = None
    snapshot: SnapshotParams | None = None

    def __post_init__(self) -> None:
        if self.snapshot is None:
            return
        path = PurePosixPath(self.delivered)
        if path.parts[:1] != ("data",) or len(path.parts) < 2 or ".." in path.parts or path.suffix:
            raise ValueError(f"a snapshot is a folder below data/, like data/raw/flights, and not {self.delivered}")
        if self.snapshot.query is not None and self.format != FileFormat():
            raise ValueError("format is about files, and snapshot.query gives none")

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


class OwnFormat(Settings):
    """In which format of its library a model is kept, where that is not ONNX.

    A file of skops may hold the `trusted` types, as `package.module.Type`, beside those that skops trusts.
    """

    name: Literal["xgboost", "lightgbm", "catboost", "skops"]
    trusted: list[str] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.trusted and self.name != "skops":
            raise ValueError(f"model_format.trusted is about skops, and a file of {self.name} holds no types")


class Params(Settings):
    """`params.yaml`: what the pipeline depends on, and what is compared with its model."""

    seed: int
    data: DataParams
    split: SplitParams
    model: dict[str, Any]
    model_format: OwnFormat | None = None
    decision: DecisionParams = msgspec.field(default_factory=DecisionParams)
    search: SearchParams | None = None
    #: By name: values that `mlops candidates` lays over `model`.
    candidates: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)


def with_model(text: str, values: Mapping[str, Any]) -> str:
    """The text of `params.yaml` with other values for the model; comments and everything else stay as they are."""
    return edit.edited(text, {f"model.{name}": value for name, value in values.items()}, Params, PARAMS)
