"""`policy.yaml`: what the team demands of a model and of the platform."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from slipway.settings.base import Count, Positive, Settings, Share
from slipway.settings.params import IN_ENVIRONMENT, FileFormat

#: How a field is kept out of the prediction log.
Hidden = Literal["hash", "drop"]

#: What `gates.slices` may name beside the metrics of metrics.py: the share of yes, or the mean of a quantity.
#: With several classes, the share of each, by its name.
MEAN_ANSWER, SHARE_OF = "mean_answer", "share_of_"


def is_rate(metric: str) -> bool:
    """Whether it is how rows are answered, and no metric of metrics.py."""
    return metric == MEAN_ANSWER or metric.startswith(SHARE_OF)


class MetricGate(Settings):
    """Limits for one metric; `margin` is how much better than the baseline it must be.

    A metric with `min` is better when higher, one with `max` when lower.
    """

    min: float | None = None
    max: float | None = None
    margin: float | None = None

    @property
    def sign(self) -> int:
        """1 for a metric that is better when higher, -1 for one that is better when lower."""
        return 1 if self.max is None else -1


class SliceGate(Settings):
    """What is asked of every large enough group of rows: there is one for each value of each of the `columns`.

    `metric` is one of metrics.py, or `mean_answer`: the share of yes, or the mean of a quantity; with several classes
    `share_of_` and the name of one. Beside a limit for each group, `max_gap` is the most by which it may differ between
    any two groups of a column.
    """

    columns: list[str]
    metric: str
    min_rows: Count
    min: float | None = None
    max: float | None = None
    max_gap: Positive | None = None


class LimitGate(Settings):
    """What the model may cost: size on disk, and time for one row (median, milliseconds)."""

    model_megabytes: Positive
    one_row_ms: Positive


class CalibrationGate(Settings):
    """How far scores may be from what happened, on average of bands of test rows, in the unit of the answer."""

    max_error: Positive


class Gates(Settings):
    """What a model must pass before it can be registered."""

    metrics: dict[str, MetricGate]
    slices: list[SliceGate] | SliceGate
    limits: LimitGate
    calibration: CalibrationGate | None = None

    @property
    def slice_rules(self) -> list[SliceGate]:
        """The rules for groups of rows; a policy may give a single one without a list."""
        return [self.slices] if isinstance(self.slices, SliceGate) else self.slices

    @property
    def metric(self) -> str:
        """By what windows are compared where nothing else says so: the first rule's metric, or the first there is."""
        measured = [rule.metric for rule in self.slice_rules if not is_rate(rule.metric)]
        return next(iter([*measured, *self.metrics]), "")

    @property
    def groups(self) -> dict[str, int]:
        """The columns whose groups are looked at, each with the fewest rows that any rule asks for."""
        found: dict[str, int] = {}
        for rule in self.slice_rules:
            found |= {name: min(rule.min_rows, found.get(name, rule.min_rows)) for name in rule.columns}
        return found


class LabelPolicy(Settings):
    """Where what really happened becomes known, how it finds its prediction, and after how long.

    `source` is a file, or a folder of files, here or in a bucket. They hold the `key`, which is columns of the contract
    or the prediction's `id`, and the outcome columns of the contract. With a `query` its rows do, and `source` names
    the variable of the environment that has the database's address, as `env:LABELS_DATABASE`. `columns` says which
    column of the files or rows is which of these, where the names differ, and `format` how the files are written, as in
    params.yaml. Of several labels of one prediction the later counts, by the column `time`, or else by the names of
    files and their rows. A prediction younger than `delay_days` waits for its label; of the older ones at least
    `min_share` must have one, or nothing is decided.
    """

    source: str
    key: list[str]
    columns: dict[str, str] = msgspec.field(default_factory=dict)
    format: FileFormat = msgspec.field(default_factory=FileFormat)
    time: str | None = None
    query: str | None = None
    delay_days: Annotated[float, Meta(ge=0)] = 0
    min_share: Share = 0.9

    def __post_init__(self) -> None:
        if self.source.startswith(IN_ENVIRONMENT) != (self.query is not None):
            raise ValueError(
                f"labels.query and a labels.source like {IN_ENVIRONMENT}LABELS_DATABASE, which names the variable with "
                "the database's address, belong together"
            )
        if self.query is not None and self.time is None:
            raise ValueError("labels.query needs labels.time, as rows of a database have no order of their own")
        if self.query is not None and self.format != FileFormat():
            raise ValueError("labels.format is about files, and labels.query gives none")


class ExperimentPolicy(Settings):
    """What a challenger must show to become champion; fixed before it gets its first request.

    `smallest_gain` is the smallest improvement of `metric` that is worth a change, in its own unit. `alpha` is the
    chance that an experiment promotes or stops a challenger that is no different, however often one looks, and
    `power` the chance to see the smallest gain. `min_rows` labelled rows of each version are needed before any
    verdict, and after `max_days` the champion stays. Rows asked for within `block_hours` may be alike: it is
    such stretches, not single rows, that chance is measured by. Fourteen are needed, and more where a stretch is like
    the one before it.
    """

    metric: str
    smallest_gain: Positive
    min_rows: Count
    max_days: Positive
    alpha: Annotated[float, Meta(gt=0, lt=0.5)] = 0.05
    power: Annotated[float, Meta(ge=0.5, lt=1)] = 0.8
    block_hours: Positive = 24


class QualityPolicy(Settings):
    """When the champion's own predictions have become so much worse that the version before should answer.

    Either a `limit` for the metric, or the `drop` against the bundle's test metric that is still accepted.
    """

    metric: str
    min_rows: Count
    action: Literal["propose", "perform"]
    limit: float | None = None
    drop: Positive | None = None

    def __post_init__(self) -> None:
        if (self.limit is None) == (self.drop is None):
            raise ValueError("monitor.quality needs either a limit or a drop")


class WindowPolicy(Settings):
    """How the prediction log is judged: in windows of `days`.

    Something is done only when the latest of them asks for it, and `need` of the `last`.
    """

    days: Positive = 7
    last: Count = 1
    need: Count = 1

    def __post_init__(self) -> None:
        if self.need > self.last:
            raise ValueError(f"monitor.windows.need is {self.need}, and only the last {self.last} windows are judged")


class MonitorPolicy(Settings):
    """When a change in the rows is worth a look (`watch`) and when it is worth doing something (`act`).

    Both are population stability indices. `tests` names another drift test for a column, or as `default` for all that
    are not named; such a test has limits of its own. `p_value` is the chance of a false alarm that one run may have
    over all columns together. A champion whose newest training row is more than `max_age_days` old is worth a look;
    without it nobody asks. What the contract refused less than `min_refused` times is left alone; more of it is worth
    a look, and worth doing something from the share `max_refused` of all values of its field on. Without that it is
    only shown. Labels may differ from what was expected by `max_bias` on average, in the unit of the answer; without
    it nobody asks. From an area under the ROC curve of `max_domain_auc` on it is worth a look when a classifier can
    tell rows of now from the reference; without it none is asked. Of more than `max_rows` an even part is judged. A
    bucket at the address `reports` gets the pages and figures of each run.
    """

    min_rows: Count
    watch: Positive
    act: Positive
    p_value: Annotated[float, Meta(gt=0, lt=1)]
    ignore: list[str] = msgspec.field(default_factory=list)
    tests: dict[str, str] = msgspec.field(default_factory=dict)
    windows: WindowPolicy = msgspec.field(default_factory=WindowPolicy)
    min_refused: Count = 20
    max_refused: Share | None = None
    max_bias: Positive | None = None
    quality: QualityPolicy | None = None
    max_age_days: Positive | None = None
    max_domain_auc: Annotated[float, Meta(gt=0.5, lt=1)] | None = None
    max_rows: Count | None = None
    reports: str = ""

    @property
    def parts(self) -> int:
        """Into how many parts `p_value` goes: one for the columns, one for what labels say of the champion's
        expectations where these are judged, and one for the metric that scores let expect where that has a limit.
        """
        return 1 + (self.max_bias is not None) + (self.quality is not None)


class ServingPolicy(Settings, omit_defaults=True):
    """Limits of the server, and how much an answer tells.

    `requests_per_second` is for each client, `max_in_progress` for each worker. `protocols` are those that answer
    beside `/predict`; without it, all that are installed. `log` is the address of the prediction log where it is no
    folder of this machine, and `log_share` the share of all requests that it holds. With `fast_path: false` every
    request goes through plain ASGI, whatever the version of uvicorn. Pages of `origins` may ask from a browser. What
    has a default is left out where it has it: processes of earlier releases read this, too, and refuse what they do
    not know.
    """

    max_body_kb: Count
    max_rows: Count
    requests_per_second: Count
    return_score: bool
    max_in_progress: Count = 256
    explain: bool = False
    fast_path: bool = True
    protocols: list[str] | None = None
    log: str = ""
    log_share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    origins: list[str] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        for origin in self.origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/*]+", origin):
                raise ValueError(
                    f"serving.origins holds {origin}, and an origin is like https://app.example.com, without a path"
                )

    def of_the_first_release(self) -> ServingPolicy:
        """What of it every release understands."""
        return ServingPolicy(
            max_body_kb=self.max_body_kb,
            max_rows=self.max_rows,
            requests_per_second=self.requests_per_second,
            return_score=self.return_score,
        )


class PrivacyPolicy(Settings):
    """What the prediction log holds of a row, and for how long.

    `fields` says which columns are hashed or dropped before anything is written; the others are kept. Files of
    the log that are older than `keep_days` are deleted by the monitor; without it they stay.
    """

    fields: dict[str, Literal["keep", "hash", "drop"]] = msgspec.field(default_factory=dict)
    keep_days: Count | None = None

    @property
    def hidden(self) -> dict[str, Hidden]:
        """The columns that the log does not hold as they are."""
        return {name: rule for name, rule in self.fields.items() if rule != "keep"}


class SignaturePolicy(Settings):
    """Who must have signed what is deployed: a workflow by its identity, or the key in deploy/cosign.pub."""

    identity: str | None = None
    issuer: str = "https://token.actions.githubusercontent.com"


class AdvisoryPolicy(Settings):
    """Which known weaknesses of dependencies are accepted, by their number, each until a day."""

    accept: dict[str, date] = msgspec.field(default_factory=dict)


class Policy(Settings):
    """`policy.yaml`: what the team demands of a model and of the platform."""

    gates: Gates
    monitor: MonitorPolicy
    serving: ServingPolicy
    signature: SignaturePolicy | None = None
    labels: LabelPolicy | None = None
    experiment: ExperimentPolicy | None = None
    privacy: PrivacyPolicy = msgspec.field(default_factory=PrivacyPolicy)
    advisories: AdvisoryPolicy = msgspec.field(default_factory=AdvisoryPolicy)

    def __post_init__(self) -> None:
        for name, gate in self.gates.metrics.items():
            if gate.min is not None and gate.max is not None:
                raise ValueError(
                    f"gates.metrics.{name} has min and max; a metric that is better when higher has min, when lower max"
                )
        for place, rule in (("experiment", self.experiment), ("monitor.quality", self.monitor.quality)):
            if rule and rule.metric not in self.gates.metrics:
                raise ValueError(f"{place}.metric is {rule.metric}, and no gate says whether more of it is better")
            if rule and self.labels is None:
                raise ValueError(f"{place} needs labels, which say where to learn what really happened")
        if self.monitor.max_bias and self.labels is None:
            raise ValueError("monitor.max_bias needs labels, which say where to learn what really happened")
        for name in self.labels.key if self.labels else []:
            if self.privacy.fields.get(name) == "drop":
                raise ValueError(f"privacy.fields drops {name}, which labels.key needs; hash it, or label by [id]")
        if self.monitor.max_rows and self.monitor.max_rows < 2 * self.monitor.min_rows * self.monitor.windows.last:
            raise ValueError(
                "monitor.max_rows must be at least twice min_rows for each of windows.last: a part may have half of it"
            )
        if self.monitor.watch >= self.monitor.act:
            raise ValueError(
                f"monitor.watch is {self.monitor.watch}, it must be below monitor.act, which is {self.monitor.act}"
            )
