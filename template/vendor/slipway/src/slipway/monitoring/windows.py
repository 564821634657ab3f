"""The prediction log in windows of equal length: each judged by itself, and what the last of them mean together.

One window that looks odd is no trend: to act, the latest window and enough of those before it have to ask for it.
Quality is measured for each version and each group of rows; where labels are missing it is unknown, never good.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
import polars as pl

from slipway.base.errors import MlopsError
from slipway.data.labels import IS_DUE, TRUTH
from slipway.experiment import samples
from slipway.experiment.statistics import MetricFunction, estimate
from slipway.monitoring import concept
from slipway.monitoring.concept import Outcome
from slipway.monitoring.drift import Scale, Verdict, moved
from slipway.monitoring.judge import judge_log
from slipway.registry import models
from slipway.settings.policy import WindowPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle


class VersionQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What the labels say of one version in one window.

    `due` predictions should have a label by now, `labelled` have one. `value` is `None`, and `unknown` says why,
    where they are too few; `groups` holds the metric of each large enough group of rows, as `origin = JFK`.
    `outcome` is what was expected and what happened, where these days tell.
    """

    version: int
    metric: str
    due: int
    labelled: int
    value: float | None
    low: float | None
    high: float | None
    unknown: str
    groups: dict[str, float]
    outcome: Outcome | None = None


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Predictions from `since` to just before `until`, judged against the reference of the version that made most.

    `sizes` is how far each column has moved, on one of the `scales`; `moved` holds those that ask for a look or for
    more.
    """

    since: datetime
    until: datetime
    version: int | None
    digest: str
    predictions: int
    verdict: Verdict
    sentence: str
    sizes: dict[str, float]
    moved: dict[str, Verdict]
    quality: list[VersionQuality]
    scales: list[Scale] = []


def judge_windows(
    project: Project, champion: Bundle, log: pl.DataFrame, until: datetime, rule: WindowPolicy
) -> list[Window]:
    """Judge every window of an environment's log, which knows what happened, the oldest first.

    Bundles of other versions than the champion's come from the registry.
    """
    judge = _WindowJudge(project, champion, rule)
    return [judge.window(since, end, part) for since, end, part in cut(log, until, rule)]


def cut(log: pl.DataFrame, until: datetime, rule: WindowPolicy) -> Iterator[tuple[datetime, datetime, pl.DataFrame]]:
    """Cut a log into windows that end at `until`, the oldest first.

    A window without a prediction is passed over, unless it is among the last that are judged together.
    """
    step = timedelta(days=rule.days)
    number = ((pl.lit(until) - pl.col("at")).dt.total_microseconds() - 1) // (step // timedelta(microseconds=1))
    parts = {int(key): part for (key,), part in log.group_by(number.alias("window"), maintain_order=True)}
    for back in sorted({*parts, *range(rule.last)}, reverse=True):
        yield until - (back + 1) * step, until - back * step, parts.get(back, log.clear())


def together(windows: list[Window], digest: str, rule: WindowPolicy) -> tuple[Verdict, int]:
    """What the last windows of a champion say together, and how many of them ask to act.

    To act, the latest has to ask for it and `rule.need` of the last `rule.last` have to; until then it is a `watch`.
    """
    last = [window for window in windows[-rule.last :] if window.digest == digest]
    acting = sum(window.verdict is Verdict.ACT for window in last)
    if not last or last[-1] is not windows[-1]:
        return Verdict.INSUFFICIENT_DATA, acting
    latest = last[-1].verdict
    return (Verdict.WATCH if latest is Verdict.ACT and acting < rule.need else latest), acting


class _WindowJudge:
    """What all windows of an environment have in common: the bundles of its versions, its labels and its rules."""

    def __init__(self, project: Project, champion: Bundle, rule: WindowPolicy) -> None:
        self._project = project
        self._labels = project.policy.labels
        quality, gates = project.policy.monitor.quality, project.policy.gates
        self._metric = quality.metric if quality else gates.metric
        self._block_hours = min(24, rule.days * 24 / 7)
        self._bundles: dict[str, Bundle | None] = {champion.digest: champion}

    def window(self, since: datetime, until: datetime, part: pl.DataFrame) -> Window:
        """Judge the version that answered most, and measure all that have labels."""
        answered = part.group_by("version", "digest").len().sort("len", "version", descending=True)
        versions = [(number, digest) for number, digest, _ in answered.iter_rows()]
        number, digest = versions[0] if versions else (None, "")
        bundle = self._bundle(number, digest)
        policy = self._project.policy
        judged = bundle and judge_log(bundle, part, policy.monitor, hidden=policy.privacy.hidden)
        absent = f"the bundle of version {number} is not to be had" if versions else "there are no predictions"
        columns = judged.columns if judged else []
        return Window(
            since=since,
            until=until,
            version=number,
            digest=digest,
            predictions=judged.predictions if judged else 0,
            verdict=judged.drift if judged else Verdict.INSUFFICIENT_DATA,
            sentence=judged.sentence if judged else absent,
            sizes={one.name: one.size for one in columns if one.verdict is not Verdict.INSUFFICIENT_DATA},
            moved={one.name: one.verdict for one in moved(columns)},
            quality=[self._quality(part.filter(digest=of), version, of) for version, of in versions if self._labels],
            scales=list(dict.fromkeys(one.scale for one in columns)),
        )

    def _quality(self, part: pl.DataFrame, version: int, digest: str) -> VersionQuality:
        labelled, found, groups, outcome = part[TRUTH].count(), None, {}, None
        unknown = self._unknown(part, labelled)
        bundle = self._bundle(version, digest)
        if bundle and not unknown:
            measure = samples.measured_by(bundle.model, self._metric)
            found = estimate(samples.sample_of(part, measure, samples.by_time(part, self._block_hours)))
            known = part.filter(pl.col(TRUTH).is_not_null())
            groups = self._groups(known, measure)
            outcome = concept.outcome(bundle, known, self._project.policy.privacy.hidden)
        low, high = found.for_one_look(0.05) if found else (None, None)
        return VersionQuality(
            version=version,
            metric=self._metric,
            due=int(part[IS_DUE].sum()),
            labelled=labelled,
            value=found.value if found else None,
            low=low,
            high=high,
            unknown=unknown or ("" if found else "its labels do not decide the metric"),
            groups=groups,
            outcome=outcome,
        )

    def _unknown(self, part: pl.DataFrame, labelled: int) -> str:
        least = self._project.policy.monitor.min_rows
        few = f"{labelled:,} labelled predictions, at least {least:,} are needed" if labelled < least else ""
        return few or (samples.too_few_labels(part, self._labels) if self._labels else "")

    def _groups(self, known: pl.DataFrame, measure: MetricFunction) -> dict[str, float]:
        found = {}
        for column, min_rows in self._project.policy.gates.groups.items():
            for (value,), rows in sorted(known.group_by(column), key=lambda group: str(group[0])):
                figure = measure(rows[TRUTH].to_numpy(), rows["score"].to_numpy())
                if rows.height >= min_rows and figure is not None:
                    found[f"{column} = {value}"] = figure
        return found

    def _bundle(self, version: int | None, digest: str) -> Bundle | None:
        """A version that is gone from the registry has no reference to compare with."""
        if version is not None and digest not in self._bundles:
            try:
                self._bundles[digest] = models.bundle_of(self._project, version, digest)[0]
            except MlopsError:
                self._bundles[digest] = None
        return self._bundles.get(digest)
