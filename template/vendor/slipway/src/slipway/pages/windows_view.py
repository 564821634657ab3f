"""What the pages say of a window: its verdict by all that is shown of it, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slipway.base.numbers import shown
from slipway.monitoring.certainty import has_parted, is_apart
from slipway.monitoring.drift import Verdict
from slipway.monitoring.report import Report, shown_mean
from slipway.monitoring.windows import VersionQuality, Window
from slipway.pages.runbook import slug

ORDER = list(Verdict)
#: The verdicts that ask for something.
ASKING = (Verdict.ACT, Verdict.WATCH)


@dataclass(frozen=True)
class QualityView:
    """What is shown of a version in a window: figures in words, a verdict that holds for all of them, and why."""

    version: int
    due: int
    labelled: int
    by_labels: str
    by_scores: str
    limit: str
    outcome: str
    verdict: Verdict
    why: str
    groups: dict[str, str]


@dataclass(frozen=True)
class WindowView:
    """A window, the verdict on all that is shown of it, and what is shown of its versions."""

    window: Window
    anchor: str
    verdict: Verdict
    why: str
    versions: list[QualityView]
    columns: list[tuple[str, str, Verdict]]

    @property
    def rows(self) -> list[tuple[bool, QualityView | None]]:
        """A row for each version, and one where none has labels; whether it is the first."""
        return [(not place, one) for place, one in enumerate(self.versions)] or [(True, None)]


def view(report: Report, window: Window) -> WindowView:
    """See all of a window, so that no verdict looks away from what stands beside it."""
    versions = [_version(report, one) for one in window.quality]
    own = window.drift or window.verdict
    asking = [one for one in versions if one.verdict in ASKING]
    worst = min([window.verdict, own, *(one.verdict for one in asking)], key=_badness)
    alone = [one.why for one in asking if _badness(one.verdict) < _badness(own)]
    why = "; ".join(dict.fromkeys([*alone, window.sentence]))
    sizes, moved = window.sizes, window.moved
    worst_first = sorted(moved, key=lambda name: (_badness(moved[name]), -sizes.get(name, 0), name))
    columns = [(name, f"{sizes[name]:.2f}" if name in sizes else "", moved[name]) for name in worst_first]
    return WindowView(window, anchor(window), worst, why, versions, columns)


def anchor(window: Window) -> str:
    """The name of a window on the history's page."""
    return f"window-{window.since:%Y-%m-%d}" + ("" if window.since.hour == 0 else f"-{window.since:%H}")


def anchors(kind: str, names: Iterable[str]) -> dict[str, str]:
    """A name on a page for each of several things, unlike those of others."""
    return {name: f"{kind}-{number}-{slug(name)}" for number, name in enumerate(sorted(set(names)))}


def column_anchors(report: Report) -> dict[str, str]:
    """Where the history's page shows each column."""
    return anchors("column", (name for window in report.windows for name in window.sizes))


def odd_ones(report: Report) -> list[WindowView]:
    """Of the last windows those that by themselves ask for a look or for more."""
    last = (view(report, window) for window in report.windows[-report.limits.windows.last :])
    return [one for one in last if one.verdict in ASKING]


def with_interval(value: float, low: float | None, high: float | None) -> str:
    """A figure with its interval, which stays in one line."""
    return f"{shown(value)} ({between(low, high)})".replace(" to ", "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}")


def between(low: float | None, high: float | None) -> str:
    """An interval in words; empty for none."""
    return f"{shown(low)} to {shown(high)}" if low is not None and high is not None else ""


def _badness(verdict: Verdict) -> int:
    return ORDER.index(verdict)


def _version(report: Report, one: VersionQuality) -> QualityView:
    verdict, why = _judged(report, one)
    known, found = one.estimate, one.outcome
    happened, expected = (shown_mean(report, mean) for mean in (found.happened, found.expected)) if found else ("", "")
    return QualityView(
        version=one.version,
        due=one.due,
        labelled=one.labelled,
        by_labels=with_interval(one.value, one.low, one.high) if one.value is not None else "unknown",
        by_scores=with_interval(known.value, known.low, known.high) if known else "",
        limit=shown(one.limit) if one.limit is not None else "",
        outcome=f"{happened}, {expected} expected" if found else "",
        verdict=verdict,
        why=why,
        groups={name: shown(figure) for name, figure in one.groups.items()},
    )


def _judged(report: Report, one: VersionQuality) -> tuple[Verdict, str]:
    """The verdict on a version's labels in one window, and the reason: a picture of it shows nothing else."""
    if one.value is None:
        return Verdict.INSUFFICIENT_DATA, f"unknown: {one.unknown}"
    if one.is_worse:
        return Verdict.ACT, f"{one.metric} is {shown(one.value)}, worse than the limit {shown(one.limit or 0)}"
    if has_parted(one):
        return Verdict.WATCH, f"{one.metric} by labels is beyond all that scores let expect, in this window alone"
    if is_apart(one.outcome, report.limits):
        return Verdict.WATCH, "on average something else happened than was expected, in this window alone"
    if one.limit is None:
        return Verdict.OK, "no limit is set"
    if one.low is not None and one.high is not None and one.low <= one.limit <= one.high:
        return Verdict.OK, "the limit is within what chance explains"
    return Verdict.OK, "better than the limit"
