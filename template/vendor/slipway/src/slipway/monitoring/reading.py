"""What of the prediction log a run of the monitor reads: no more than it judges, however long the log is.

All rows are read of the windows that are judged together and of those whose labels are awaited (see `kept.py`). The
metric of the champion looks at up to sixteen weeks, and further back where labels are rare: of these days only the
answers are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

import msgspec
import polars as pl

from slipway.data.labels import IS_DUE, TRUTH, IsElsewhere, KnownLabels, LabelCounts
from slipway.delivery import environments
from slipway.experiment import samples
from slipway.log import masks, predictions
from slipway.log.counts import LogCounts
from slipway.log.masks import Mask
from slipway.log.store import LogFile
from slipway.monitoring import kept
from slipway.monitoring.quality import STRETCHES, USUAL
from slipway.settings.policy import LabelPolicy, QualityPolicy
from slipway.settings.project import Project
from slipway.training.score_columns import names_in

#: Of a log from which quality is measured.
_ANSWERS = ("id", "at", "version", "digest", "role", "answer", IS_DUE, TRUTH)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The part of a log that a run judges, with what happened where that is known.

    It begins at `begin`, and is everything where that is `None`. `files` is what the log consists of, if its sink says.
    """

    project: Project
    environment: str
    now: datetime
    log: pl.DataFrame
    counts: LogCounts
    begin: datetime | None
    files: list[LogFile]
    known: KnownLabels | None
    mask: Mask | None

    def latest(self, since: datetime | None) -> pl.DataFrame:
        """The rows from then on."""
        return self.log if since is None else self.log.filter(pl.col("at") >= since)

    def labels(self, elsewhere: IsElsewhere | None, *, is_whole: bool) -> LabelCounts | None:
        """What became of the labels; see `KnownLabels.told`."""
        if self.known is None:
            return None
        why = "monitor.max_rows" if self.counts.one_in > 1 else ""
        return self.known.told(self.log, elsewhere, is_whole=is_whole, why_in_part=why)

    def for_quality(self, digest: str) -> pl.DataFrame:
        """The log with the champion's answers of so many days before it as its metric is measured on."""
        rule, where = self.project.policy.monitor.quality, self.project.policy.labels
        if rule is None or where is None or self.known is None or self.begin is None:
            return self.log
        named = environments.champion_since(self.project, self.environment)
        begin, answers, times = self.begin, self.log.select(_answers(self.log)), 1
        today = datetime.combine((self.now - timedelta(days=where.delay_days)).astimezone(UTC), time(), UTC)
        first = min((file.day for file in self.files), default=begin.date())
        while begin > named and begin.date() >= first:
            wanted = min(begin, max(named, today - timedelta(days=USUAL + times * STRETCHES[-1])))
            answers = pl.concat([self._answers(wanted, begin, digest, self.known), answers])
            begin = wanted
            own = answers.filter((pl.col("digest") == digest) & pl.col("at").is_between(named, today, closed="left"))
            if _is_enough(own, begin, today, times, rule, where):
                break
            times *= 2
        return answers

    def _answers(self, since: datetime, until: datetime, digest: str, known: KnownLabels) -> pl.DataFrame:
        # The same part of the log, so that each day has its weight.
        found = predictions.read_counted(
            self.project, self.environment, since, until,
            mask=self.mask, fields=known.labels.key, one_in=self.counts.one_in,
        )  # fmt: skip
        return known.join(found.frame.filter(digest=digest), self.now).select(_answers(found.frame))


def read(project: Project, environment: str, since: datetime | None, now: datetime) -> Reading:
    """Read the log from `since` on, or without that what the windows of today need, and join it with its labels."""
    mask, files = masks.mask_of(project, environment), predictions.files(project, environment)
    begin = since or (None if files is None else kept.begin(project.policy, now))
    most = project.policy.monitor.max_rows
    found = predictions.read_counted(project, environment, begin, now, mask=mask, most=most)
    counts, known = found.counts, KnownLabels.of(project, environment, mask)
    if not since and begin and all(file.day >= begin.date() for file in files or []):
        counts = msgspec.structs.replace(counts, since=None)
    return Reading(
        project=project,
        environment=environment,
        now=now,
        log=known.join(found.frame, now) if known else found.frame,
        counts=counts,
        begin=begin,
        files=files or [],
        known=known,
        mask=mask,
    )


def _answers(log: pl.DataFrame) -> list[str]:
    return [*_ANSWERS, *names_in(log)]


def _is_enough(
    own: pl.DataFrame, begin: datetime, today: datetime, times: int, rule: QualityPolicy, where: LabelPolicy
) -> bool:
    """Whether days before `begin` would change nothing of what `quality.py` says of the champion's answers."""
    if samples.too_few_labels(own.filter(pl.col("at") >= today - timedelta(days=USUAL)), where):
        return True  # unknown, whatever was before
    labelled = own.filter(pl.col(TRUTH).is_not_null())["at"]
    last = labelled.max()
    if not isinstance(last, datetime):
        return False
    after = datetime.combine(last - timedelta(days=times * STRETCHES[-1] - 1), time(), UTC)
    return begin <= after and int((labelled >= after).sum()) >= rule.min_rows
