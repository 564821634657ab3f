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
from slipway.base.numbers import shown
from slipway.contract.frames import spread
from slipway.data.labels import IS_DUE, TRUTH
from slipway.experiment import samples, statistics
from slipway.experiment.statistics import MetricFunction
from slipway.log.counts import answered_of
from slipway.monitoring import concept
from slipway.monitoring.calibration import Calibration
from slipway.monitoring.concept import Outcome
from slipway.monitoring.drift import Scale, Verdict, moved
from slipway.monitoring.estimate import MOST_ROWS, Expectation, expect
from slipway.monitoring.judge import judge_log
from slipway.monitoring.quality import limit_of
from slipway.registry import models
from slipway.settings.policy import WindowPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from slipway.training.score_columns import observed, scores_in
from slipway.training.team_code import other_classes


class VersionQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What the labels say of one version in one window.

    `due` predictions should have a label by now, `labelled` have one. `value` is `None`, and `unknown` says why,
    where they are too few; `groups` holds the metric of each large enough group of rows, as `origin = JFK`.
    `outcome` is what was expected and what happened, where these days tell, and `estimate` the metric that the scores
    of all predictions let expect. `is_worse` says that the metric is worse than its `limit`, and no chance explains it:
    all between `low` and `high` is.
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
    estimate: Expectation | None = None
    limit: float | None = None
    is_worse: bool = False

    @property
    def sentence(self) -> str:
        """The metric beside its limit, in words."""
        if self.value is None:
            return self.unknown
        beyond = f", the limit is {shown(self.limit)}" if self.limit is not None else ""
        answers = f"{self.labelled:,} labelled predictions of one window"
        return f"{self.metric} is {shown(self.value)} on {answers}{beyond}"


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Predictions from `since` to just before `until`, judged against the reference of the version that made most.

    `sizes` is how far each column has moved, on one of the `scales`; `moved` holds those that ask for a look or for
    more, and of those in `untold` nobody can tell it from chance. `drift` is what the columns say, `verdict` also knows
    the quality of the window, which may come later.
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
    untold: list[str] = []
    drift: Verdict | None = None


def judge_windows(
    project: Project,
    champion: Bundle,
    log: pl.DataFrame,
    until: datetime,
    rule: WindowPolicy,
    calibration: Calibration | None = None,
    begin: datetime | None = None,
    one_in: int = 1,
) -> list[Window]:
    """Judge every window of an environment's log, which knows what happened, the oldest first.

    Bundles of other versions than the champion's come from the registry. `calibration` is that of the champion: what
    its scores let expect is said of the last windows. The first window begins no earlier than the log, at `begin`. Of
    what was logged, the log holds `one_in` so many.
    """
    judge = WindowJudge(project, champion, rule, until, calibration)
    return [
        judge.window(max(since, begin) if begin else since, end, part, one_in)
        for since, end, part in cut(log, until, rule)
    ]


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
    """What the columns of the last windows of a champion say together, and how many of them ask to act.

    To act, the latest has to ask for it and `rule.need` of the last `rule.last` have to; until then it is a `watch`.
    """
    last = [window for window in windows[-rule.last :] if window.digest == digest]
    acting = sum(_drift(window) is Verdict.ACT for window in last)
    if not last or last[-1] is not windows[-1]:
        return Verdict.INSUFFICIENT_DATA, acting
    latest = _drift(last[-1])
    return (Verdict.WATCH if latest is Verdict.ACT and acting < rule.need else latest), acting


def _drift(window: Window) -> Verdict:
    return window.verdict if window.drift is None else window.drift


class WindowJudge:
    """What all windows of an environment have in common: the bundles of its versions, its labels and its rules."""

    def __init__(
        self,
        project: Project,
        champion: Bundle,
        rule: WindowPolicy,
        until: datetime,
        calibration: Calibration | None,
    ) -> None:
        self._project = project
        self._labels = project.policy.labels
        quality, gates = project.policy.monitor.quality, project.policy.gates
        self._metric = quality.metric if quality else gates.metric
        self._rule, self._sign = quality, gates.metrics[self._metric].sign if quality else 1
        self._block_hours = min(24, rule.days * 24 / 7)
        self._champion, self._calibration = champion.digest, calibration
        self._recent = until - rule.last * timedelta(days=rule.days)
        self._bundles: dict[str, Bundle | None] = {champion.digest: champion}

    def window(self, since: datetime, until: datetime, part: pl.DataFrame, one_in: int = 1) -> Window:
        """Judge the version that answered most, and measure all that have labels; say of how many answers that is."""
        answered = part.group_by("version", "digest").len().sort("len", "version", descending=True)
        versions = [(number, digest) for number, digest, _ in answered.iter_rows()]
        number, digest = versions[0] if versions else (None, "")
        bundle = self.bundle(number, digest)
        policy = self._project.policy
        strange = other_classes(bundle.model) if bundle else ""
        is_fit = bundle and not strange
        judged = judge_log(bundle, part, policy.monitor, hidden=policy.privacy.hidden) if bundle and is_fit else None
        absent = f"the bundle of version {number} is not to be had" if versions else "there are no predictions"
        absent = f"version {number} is not judged: {strange}" if strange else absent
        columns = judged.columns if judged else []
        rows = min(judged.predictions, judged.reference_rows) if judged else 0
        known = columns if rows >= policy.monitor.min_rows else []
        quality = [
            self._quality(part.filter(digest=of), version, of, since) for version, of in versions if self._labels
        ]
        drift, worse = judged.drift if judged else Verdict.INSUFFICIENT_DATA, quality[0] if quality else None
        is_worse = worse is not None and worse.is_worse
        sentence = judged.sentence if judged else absent
        if (answers := answered_of(part, one_in)) > part.height:
            sentence += f"; {part.height:,} of about {answers:,} predictions are judged"
        return Window(
            since=since,
            until=until,
            version=number,
            digest=digest,
            predictions=judged.predictions if judged else 0,
            verdict=Verdict.ACT if is_worse else drift,
            sentence=f"{worse.sentence}; {sentence}" if worse and is_worse else sentence,
            sizes={one.name: one.size for one in known},
            moved={one.name: one.verdict for one in moved(columns)},
            quality=quality,
            scales=list(dict.fromkeys(one.scale for one in columns)),
            untold=[one.name for one in known if one.verdict is Verdict.INSUFFICIENT_DATA],
            drift=drift,
        )

    def _quality(self, part: pl.DataFrame, version: int, digest: str, since: datetime) -> VersionQuality:
        labelled, found, groups, outcome, estimate, limit = part[TRUTH].count(), None, {}, None, None, None
        bundle = self.bundle(version, digest)
        unknown = (other_classes(bundle.model) if bundle else "") or self._unknown(part, labelled)
        if bundle and not unknown:
            measure = samples.measured_by(bundle.model, self._metric)
            found = statistics.estimate(samples.sample_of(part, measure, samples.by_time(part, self._block_hours)))
            known = part.filter(pl.col(TRUTH).is_not_null())
            groups = self._groups(known, measure)
            calibration = self._calibration if digest == self._champion else None
            outcome = concept.outcome(
                bundle, observed(known, bundle.model, TRUTH), self._project.policy.privacy.hidden, calibration
            )
        if bundle and self._calibration and digest == self._champion and since >= self._recent:
            scores = scores_in(spread(part, MOST_ROWS))
            estimate = expect(self._calibration, scores, samples.measured_by(bundle.model, self._metric))
        if bundle and self._rule:
            limit = limit_of(self._rule, bundle, self._sign)
        # As wide as its verdict asks for: where all of it is beyond the limit, the metric is worse.
        low, high = found.for_one_look(2 * self._project.policy.monitor.p_value) if found else (None, None)
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
            estimate=estimate,
            limit=limit,
            is_worse=limit is not None
            and (high is not None and high < limit if self._sign > 0 else low is not None and low > limit),
        )

    def _unknown(self, part: pl.DataFrame, labelled: int) -> str:
        least = self._project.policy.monitor.min_rows
        few = f"{labelled:,} labelled predictions, at least {least:,} are needed" if labelled < least else ""
        return few or (samples.too_few_labels(part, self._labels) if self._labels else "")

    def _groups(self, known: pl.DataFrame, measure: MetricFunction) -> dict[str, float]:
        found = {}
        for column, min_rows in self._project.policy.gates.groups.items():
            if column not in known.columns:  # of what happened, which a log does not hold
                continue
            for (value,), rows in sorted(known.group_by(column), key=lambda group: str(group[0])):
                figure = measure(rows[TRUTH].to_numpy(), scores_in(rows))
                if rows.height >= min_rows and figure is not None:
                    found[f"{column} = {value}"] = figure
        return found

    def bundle(self, version: int | None, digest: str) -> Bundle | None:
        """The bundle of a version; one that is gone from the registry has no reference to compare with."""
        if version is not None and digest not in self._bundles:
            try:
                self._bundles[digest] = models.bundle_of(self._project, version, digest)[0]
            except MlopsError:
                self._bundles[digest] = None
        return self._bundles.get(digest)
