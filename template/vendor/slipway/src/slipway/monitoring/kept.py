"""Windows of long ago: each is judged once, and what was said of it is kept, so that no run reads the whole log.

The latest windows end now, and are judged in every run. Those before them are of the calendar: as long, and counted
from a fixed day, so that they are the same tomorrow. What was said of one is kept in `.mlops/history/<environment>/`.
It holds while nothing has changed that it rests on: the files of the log with rows of that time, by size and time of
change; the labels that its predictions find; the rules that judge it, the code that does, and whether the champion
answered in it. Otherwise the window is read and judged anew, and so are all when the folder is deleted. Where
`privacy.keep_days` has deleted days of the log since, that cannot be, and what was said stays, marked.

Beside each lie numbers for the keys of its predictions, eight bytes each. They tell which labels are of it, and go
when its days of the log go.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from importlib.metadata import entry_points
from math import ceil
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

import slipway
from slipway import team
from slipway.base import files
from slipway.data.label_parts import HASH
from slipway.data.labels import TRUTH, KnownLabels
from slipway.log import predictions
from slipway.log.masks import Mask
from slipway.log.store import LogFile, days_of
from slipway.monitoring.calibration import Calibration
from slipway.monitoring.drift import GROUP
from slipway.monitoring.windows import Window, WindowJudge
from slipway.settings.policy import Policy
from slipway.settings.project import Project

#: Windows of the calendar are counted from here.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GONE = "its days of the log are deleted, and this was said before"


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of a window, and what it rests on.

    `window` is `None` where nothing was predicted; `digests` are its versions, and `absent` those whose bundle was not
    to be had. `tie` and `labels` are digests of what judged it, and of the labels that it has.
    """

    since: datetime
    until: datetime
    tie: str
    files: list[LogFile]
    labels: str = ""
    digests: list[str] = []
    absent: list[tuple[int, str]] = []
    window: Window | None = None


def begin(policy: Policy, now: datetime) -> datetime:
    """From when on a run reads every row: all windows that are judged together, and all whose labels are awaited.

    That is a place where a window of the calendar ends.
    """
    rule, delay = policy.monitor.windows, policy.labels.delay_days if policy.labels else 0
    step = timedelta(days=rule.days)
    latest = now - (rule.last + ceil(delay / rule.days)) * step
    return EPOCH + (latest - EPOCH) // step * step


@dataclass(frozen=True, kw_only=True)
class History:
    """The windows of an environment before `until`, which is where one ends; `forgotten` is the last deleted day."""

    project: Project
    environment: str
    judge: WindowJudge
    calibration: Calibration | None
    champion: str
    log: list[LogFile]
    until: datetime
    known: KnownLabels | None = None
    mask: Mask | None = None
    forgotten: date | None = None

    def windows(self) -> list[Window]:
        """Return what is said of each window, the oldest first, and keep it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        said = self._kept()
        for span in self._spans():
            if span not in said or not (self._is_gone(said[span]) or self._holds(said[span])):
                said[span] = self._judged(*span)
        return [window for _, one in sorted(said.items()) if (window := self._shown(one))]

    def _shown(self, kept: Summary) -> Window | None:
        if kept.window is None or not self._is_gone(kept):
            return kept.window
        return msgspec.structs.replace(kept.window, sentence=f"{GONE}: {kept.window.sentence}")

    def holds(self, hashes: pl.Series) -> pl.Series:
        """Whether the keys with these hashes are of one of these windows, once they are judged."""
        found = pl.zeros(len(hashes), pl.Boolean, eager=True)
        for since, _ in self._spans():
            if (keys := self._read_keys(since)) is not None:
                found |= _among(hashes, keys)
        return found

    @property
    def _folder(self) -> Path:
        return self.project.state / "history" / self.environment

    def _place(self, since: datetime) -> Path:
        return self._folder / f"{since:%Y-%m-%dT%H%M%S}.json"

    def _keys(self, since: datetime) -> Path:
        return self._place(since).with_suffix(".npy")

    def _spans(self) -> Iterator[tuple[datetime, datetime]]:
        """The windows of the calendar since the log began."""
        step = timedelta(days=self.project.policy.monitor.windows.days)
        first = min((datetime(*file.day.timetuple()[:3], tzinfo=UTC) for file in self.log), default=self.until)
        for number in range((first - EPOCH) // step, (self.until - EPOCH) // step):
            span = EPOCH + number * step, EPOCH + (number + 1) * step
            if self._files(*span):
                yield span

    def _kept(self) -> dict[tuple[datetime, datetime], Summary]:
        """What was kept of the time before; of what is no window any more, only what is all there is stays."""
        spans, found = {*self._spans()}, {}
        for path in sorted(self._folder.glob("*.json")):
            try:
                one = msgspec.json.decode(path.read_bytes(), type=Summary)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # it is made again
            is_gone = self._is_gone(one)
            if is_gone or (one.since, one.until) not in spans:
                self._keys(one.since).unlink(missing_ok=True)
            if one.until > self.until:
                continue
            if is_gone or (one.since, one.until) in spans:
                found[one.since, one.until] = one
            else:
                path.unlink()
        return found

    def _files(self, since: datetime, until: datetime) -> list[LogFile]:
        first, last = days_of(since, until)
        return [file for file in self.log if first <= file.day <= last]

    def _is_gone(self, kept: Summary) -> bool:
        """Whether days of it are deleted, as the policy has it."""
        here = {file.name for file in self.log}
        days = [file.day for file in kept.files if file.name not in here]
        return bool(days) and self.forgotten is not None and all(day <= self.forgotten for day in days)

    def _holds(self, kept: Summary) -> bool:
        return (
            kept.files == self._files(kept.since, kept.until)
            and kept.tie == self._tie(kept.digests)
            and kept.labels == self._labels(kept.since)
            and all(self.judge.bundle(version, digest) is None for version, digest in kept.absent)
        )

    def _judged(self, since: datetime, until: datetime) -> Summary:
        """Read a window, judge it, and keep what is said."""
        here = self._files(since, until)
        most = self.project.policy.monitor.max_rows
        found = predictions.read_counted(self.project, self.environment, since, until, mask=self.mask, most=most)
        part = found.frame
        versions = part.select("version", "digest").unique(maintain_order=True).rows()
        if self.known:
            keys = io.BytesIO()
            np.save(keys, np.unique(self.known.labels.parts.hashes(part.drop_nulls(self.known.labels.key))))
            files.write(self._keys(since), keys.getvalue(), mode=0o600)
            part = self.known.join(part, datetime.max.replace(tzinfo=UTC))
        made = Summary(
            since=since,
            until=until,
            tie=self._tie([digest for _, digest in versions]),
            files=here,
            labels=self._labels(since),
            digests=[digest for _, digest in versions],
            absent=[one for one in versions if one[0] is not None and self.judge.bundle(*one) is None],
            window=self.judge.window(since, until, part, found.counts.one_in) if part.height else None,
        )
        files.write(self._place(since), msgspec.json.encode(made), mode=0o600)
        return made

    def _tie(self, digests: list[str]) -> str:
        """A digest of what judges a window of these versions; the champion's is judged by its test rows as well."""
        digest = self._rules.copy()
        if self.champion in digests:
            digest.update(self.champion.encode())
            if self.calibration:
                tested = self.calibration.tested
                digest.update(b"".join(part.tobytes() for part in (tested.scores, tested.truth, tested.days)))
        return digest.hexdigest()

    @cached_property
    def _rules(self) -> hashlib._Hash:
        policy, params = self.project.policy, self.project.params
        told = [policy.monitor, policy.labels, policy.gates, policy.privacy.fields, params.split.missing_outcomes]
        tests = [f"{one.name}: {one.value}, {one.dist and one.dist.version}" for one in entry_points(group=GROUP)]
        digest = hashlib.sha256(msgspec.json.encode([told, sorted(tests), pl.__version__, np.__version__]))
        if self.mask:
            digest.update(str(self.mask.hash("", "")).encode())
        for code in (Path(slipway.__file__), team.source("contract")):
            for path in sorted(code.parent.rglob("*.py")):
                digest.update(path.name.encode() + path.read_bytes())
        return digest

    def _labels(self, since: datetime) -> str:
        """A digest of the labels of a window: which of its predictions have one, and what it says."""
        if self.known is None:
            return ""
        if (keys := self._read_keys(since)) is None:
            return "unknown"
        digest = hashlib.sha256()
        for part in self.known.labels.parts.parts(HASH, TRUTH):
            of_it = part.filter(_among(part[HASH], keys))
            digest.update(of_it[HASH].to_numpy().tobytes() + of_it[TRUTH].fill_null(float("nan")).to_numpy().tobytes())
        return digest.hexdigest()

    def _read_keys(self, since: datetime) -> NDArray[np.uint64] | None:
        """The hashes of the keys of a window's predictions, sorted; `None` where they are not known."""
        try:
            found: NDArray[np.uint64] = np.load(self._keys(since))
        except (OSError, ValueError):
            return None
        return found


def _among(hashes: pl.Series, keys: NDArray[np.uint64]) -> pl.Series:
    """Which hashes are among keys; both are sorted, and there may be many keys before and after the hashes."""
    held = hashes.to_numpy()
    found = np.zeros(len(held), dtype=np.bool_)
    if len(held):
        near = keys[np.searchsorted(keys, held[0]) : np.searchsorted(keys, held[-1], side="right")]
        places = np.searchsorted(held, near)
        found[places[held[places] == near]] = True
    return pl.Series(found)
