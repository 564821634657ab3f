"""Since when a finding has been there, and how sure it is: what a person asks next.

A finding has been there since the first window of its present run. A run ends at a window of the same version that
could have shown the finding and did not; one that could not, as it has too few rows or no labels yet, ends nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from scipy.special import ndtri

from slipway.base.numbers import counted, shown
from slipway.monitoring.checks import CheckContext, Finding
from slipway.monitoring.concept import Concept, Outcome
from slipway.monitoring.drift import ColumnDrift, Verdict, moved
from slipway.monitoring.estimate import EstimateState, Expectation
from slipway.monitoring.quality import QualityState
from slipway.monitoring.windows import VersionQuality, Window
from slipway.settings.policy import MonitorPolicy

#: Whether a window shows a finding; `None` where it cannot.
Shows = Callable[[Window], bool | None]
#: A smaller chance is not written out: no model of chance is that exact.
LEAST_CHANCE = 1e-4


class Certainty(msgspec.Struct, frozen=True, kw_only=True):
    """Since when what a check found has been there, and how sure that is.

    `since` is the begin of the first of so many `windows` without a break, `when` the same in words. `chance` is the
    corrected p-value where the finding rests on one, and `sure` says what stands behind it.
    """

    check: str
    when: str
    sure: str
    since: datetime | None = None
    windows: int = 0
    chance: float | None = None


def certainty(context: CheckContext, finding: Finding) -> Certainty:
    """Say since when a finding has been there, and how sure it is."""
    if finding.check == "drift":
        since, chance, sure = _drift(context, finding.verdict)
    else:
        since, chance, sure = _TELL.get(finding.check, _unknown)(context)
    return Certainty(
        check=finding.check, when=since.words, sure=sure, since=since.first, windows=since.windows, chance=chance
    )


def in_words(chance: float) -> str:
    """Write a p-value as how often chance does as much.

    >>> in_words(1e-9), in_words(0.004), in_words(0.31), in_words(1)
    ('in fewer than 1 of 10,000 runs', 'in 1 of 250 runs', 'in 31 of 100 runs', 'in every run')
    """
    if chance < LEAST_CHANCE:
        return "in fewer than 1 of 10,000 runs"
    if chance < 0.01:
        return f"in 1 of {round(1 / chance):,} runs"
    return f"in {round(100 * chance)} of 100 runs" if chance < 0.995 else "in every run"


def shown_chance(chance: float) -> str:
    """Write a p-value for a table.

    >>> shown_chance(1e-9), shown_chance(0.0004), shown_chance(0.314)
    ('< 0.0001', '0.0004', '0.31')
    """
    return "< 0.0001" if chance < LEAST_CHANCE else f"{chance:.4f}" if chance < 0.01 else f"{chance:.2f}"


def is_off(one: VersionQuality, limits: MonitorPolicy) -> bool | None:
    """Whether labels of a window are not what its scores let expect, beyond chance; `None` where nobody knows."""
    if one.value is None:
        return None
    return one.is_worse or is_apart(one.outcome, limits) or has_parted(one)


def is_apart(outcome: Outcome | None, limits: MonitorPolicy) -> bool:
    """Whether what happened in a window is not what was expected on average, by all that the policy accepts."""
    if outcome is None or limits.max_bias is None:
        return False
    return abs(outcome.happened - outcome.expected) >= max(limits.max_bias, outcome.margin(limits.p_value))


def has_parted(one: VersionQuality) -> bool:
    """Whether the metric by labels lies beyond all that scores let expect, with both intervals."""
    known = one.estimate
    return known is not None and one.low is not None and one.high is not None and (
        one.low > known.high or one.high < known.low
    )  # fmt: skip


def interval(one: Expectation, limits: MonitorPolicy) -> tuple[float, float]:
    """Where a metric should be by the scores, as wide as a verdict on it asks for, which is one of two questions."""
    radius = -float(ndtri(limits.p_value / (2 * limits.parts))) * one.error
    return one.value - radius, one.value + radius


class _Since(NamedTuple):
    """Since when, how many windows that are, and both in words."""

    first: datetime | None
    windows: int
    words: str


def _run(context: CheckContext, shows: Shows) -> _Since | None:
    """The present run of windows that show a finding; `None` where the latest that could tell does not."""
    found: list[Window] = []
    begins = ""
    for window in reversed(context.windows):
        if window.digest and window.digest != context.judged.digest:
            begins = ", the first of this version"
            break
        told = shows(window) if window.digest else None
        if told is False:
            break
        if told:
            found.append(window)
    if not found:
        return None
    first = found[-1].since
    unbroken = f"{len(found)} windows without a break" if len(found) > 1 else "the latest window"
    return _Since(first, len(found), f"{first:%d %b %Y}, {unbroken}{begins}")


def _latest(context: CheckContext) -> _Since:
    """What stands where only what was judged now is known."""
    begin = context.start or context.judged.since
    return _Since(None, 0, f"seen in the rows from {begin:%d %b %Y} on; older ones were not asked" if begin else "now")


def _of_champion(context: CheckContext, tells: Callable[[VersionQuality], bool | None]) -> Shows:
    """What the labels of the champion in a window show."""

    def shows(window: Window) -> bool | None:
        own = next((one for one in window.quality if one.version == context.judged.version), None)
        return None if own is None else tells(own)

    return shows


#: Since when, the chance, and what stands behind the finding.
_Told = tuple[_Since, float | None, str]


def _drift(context: CheckContext, verdict: Verdict) -> _Told:
    found = moved(context.judged.columns)
    if found and verdict in (Verdict.ACT, Verdict.WATCH):
        worst = found[0]
        since = _run(context, lambda window: _has_moved(window, worst.name)) or _latest(context)
        return since, *_of_column(worst, context.limits, len(context.judged.columns))
    since = _run(context, lambda window: (window.drift or window.verdict) is verdict) or _latest(context)
    if verdict is not Verdict.OK or not context.judged.columns:
        what = "of it nothing" if any(one.verdict is Verdict.OK for one in context.judged.columns) else "nothing"
        return since, None, f"{what} is known, which does not mean that all is well"
    alarm = f"while nothing changes, an alarm comes {in_words(context.limits.p_value)}"
    large = sum(one.size >= one.scale.watch for one in context.judged.columns)
    beyond = f"; {counted(large, 'column')} beyond a limit by no more than chance explains" if large else ""
    return since, context.limits.p_value, f"{alarm}{beyond}"


def _has_moved(window: Window, name: str) -> bool | None:
    """Nobody knows of a column whose rows were too few, so that it has no size, or whose days differ too much."""
    return None if name not in window.sizes or name in window.untold else name in window.moved


def _of_column(column: ColumnDrift, limits: MonitorPolicy, columns: int) -> tuple[float, str]:
    """The chance that a verdict on a column rests on, and its size beside its limit."""
    if column.size >= column.scale.watch:
        beyond = f"{column.scale.words} {column.size:.2f}, limit {column.limit:g}"
        return column.p_value, f"{beyond}; if nothing had changed it would be as large {in_words(column.p_value)}"
    chance = column.extremes.p_value if column.extremes else 1.0
    if column.far:
        chance = min(1.0, limits.parts * columns * column.far.p_value)
    return chance, f"if nothing had changed as many rows would be there {in_words(chance)}"


def _domain(context: CheckContext) -> _Told:
    chance = context.domain.p_value if context.domain else None
    return _latest(context), chance, f"stretches of the reference differ as much {in_words(chance)}" if chance else ""


def _age(context: CheckContext) -> _Told:
    learned, limit = context.judged.learned_until, context.limits.max_age_days
    since = learned + timedelta(days=limit) if learned and limit else None
    return _Since(since, 0, f"{since:%d %b %Y}" if since else "now"), None, "a date, and no estimate"


def _refused(context: CheckContext) -> _Told:
    limit = context.limits.max_refused
    beyond = f"; the limit is {100 * limit:g} %" if limit is not None else ""
    return _latest(context), None, f"counted, not estimated{beyond}"


def _skew(context: CheckContext) -> _Told:
    rows = context.skew.rows if context.skew else 0
    return _latest(context), None, f"computed again, not estimated: {counted(rows, 'logged row')} replayed"


def _concept(context: CheckContext) -> _Told:
    found = context.concept
    since = _run(context, _of_champion(context, lambda one: is_off(one, context.limits)))
    if since is None and found and found.since:
        since = _Since(None, 0, f"seen in labels of predictions from {found.since:%d %b %Y} on")
    chance = _chance_of(found) if found else None
    sure = f"if nothing had changed labels would be as far off {in_words(chance)}" if chance is not None else ""
    return since or _latest(context), chance, sure


def _chance_of(found: Concept) -> float | None:
    """The smallest chance of what has moved: by the score, of a class, or else the mean."""
    by_score = [band.p_value for band in found.all_bands if band.moved and band.p_value is not None]
    by_score += [found.slope.p_value] if found.slope and found.slope.moved else []
    by_mean = [found.p_value] if found.p_value is not None else []
    return min(by_score + by_mean, default=None)


def _quality(context: CheckContext) -> _Told:
    found = context.quality
    if found is None or found.state is not QualityState.BROKEN or found.value is None:
        return _odd_window(context)
    is_above = found.value > found.limit

    def is_beyond(one: VersionQuality) -> bool | None:
        return None if one.value is None else one.value != found.limit and (one.value > found.limit) is is_above

    since = _run(context, _of_champion(context, is_beyond))
    if since is None:
        since = _Since(None, 0, f"within the last {found.days} days that have labels")
    chance = min((one.p_value for one in found.stretches), default=1.0)
    often = in_words(chance).replace("run", "quarter")
    return since, chance, f"a champion at its limit would look as bad {often}"


def _odd_window(context: CheckContext) -> _Told:
    tells = _of_champion(context, lambda one: None if one.value is None else one.is_worse)
    own = [one for window in context.windows for one in window.quality if one.is_worse]
    sure = "longer stretches do not prove it"
    if own and own[-1].low is not None and own[-1].high is not None:
        sure = f"between {shown(own[-1].low)} and {shown(own[-1].high)}, all beyond the limit; {sure}"
    return _run(context, tells) or _latest(context), None, sure


def _estimate(context: CheckContext) -> _Told:
    found = context.estimate
    if found is None or found.latest is None:
        return _latest(context), None, ""
    if found.state is EstimateState.PARTED and found.p_value is not None:
        since = _run(context, _of_champion(context, lambda one: is_off(one, context.limits)))
        sure = f"if scores meant what they did, labels would part as far {in_words(found.p_value)}"
        return since or _latest(context), found.p_value, sure
    latest = found.latest

    def is_beyond(one: VersionQuality) -> bool | None:
        known, limit = one.estimate, one.limit
        return None if known is None or limit is None else (known.value > limit) is (latest.value > limit)

    between = f"between {shown(latest.low)} and {shown(latest.high)} by the scores alone; labels will tell"
    return _run(context, _of_champion(context, is_beyond)) or _latest(context), None, between


def _unknown(context: CheckContext) -> _Told:
    return _latest(context), None, "its check names no chance"


_TELL: dict[str, Callable[[CheckContext], _Told]] = {
    "domain": _domain, "age": _age, "concept": _concept, "estimate": _estimate, "refused": _refused, "skew": _skew,
    "quality": _quality,
}  # fmt: skip
