"""The monitor's checks, and how what they find becomes one verdict.

A check looks at the facts of a run and returns a finding, or nothing where it has nothing to say. The worst verdict
wins, and among equal ones the highest rank: the order in which checks run decides nothing. Another distribution adds a
check by the entry point group `slipway.check`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum

import msgspec
import polars as pl

from slipway.base import plugins
from slipway.base.errors import MlopsError
from slipway.data.labels import LabelCounts
from slipway.log.counts import LogCounts
from slipway.monitoring.concept import Concept, ConceptState
from slipway.monitoring.domain import Domain
from slipway.monitoring.drift import Verdict
from slipway.monitoring.estimate import EstimateState, QualityEstimate
from slipway.monitoring.judge import JudgedLog
from slipway.monitoring.quality import Quality, QualityState
from slipway.monitoring.refused import Refused, is_frequent
from slipway.monitoring.skew import Skew, SkewState
from slipway.monitoring.windows import Window, together
from slipway.settings.policy import MonitorPolicy
from slipway.training.bundle import Bundle

GROUP = "slipway.check"

#: In a next step it stands for the sentences of all findings that ask for that step, quoted for a shell.
WHY = "{why}"
RETRAIN = f"mlops retrain --finding {WHY}"


class Rank(IntEnum):
    """What outranks what, among findings of the same verdict; a check from outside may choose any number."""

    DOMAIN = 5
    DRIFT = 10
    AGE = 20
    ESTIMATE = 25
    CONCEPT = 30
    REFUSED = 40
    SKEW = 50
    QUALITY = 60


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check has found: how bad it is, a sentence, and what to do next.

    A `final` finding makes those of a lower rank pointless, so they are not shown beside it. Where `WHY` stands in
    `next_step`, the sentences of all findings with that step are put.
    """

    check: str
    rank: int
    verdict: Verdict
    sentence: str
    next_step: str
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckContext:
    """The facts of a run that checks look at.

    `log` is all that was read, with labels where they are known: the windows that are judged together, and those whose
    labels are awaited. `judged` is what the columns of its latest part say, which begins at `start` (unknown for
    everything).
    """

    environment: str
    bundle: Bundle
    log: pl.DataFrame
    limits: MonitorPolicy
    judged: JudgedLog
    now: datetime
    start: datetime | None = None
    windows: list[Window] = field(default_factory=list)
    concept: Concept | None = None
    domain: Domain | None = None
    estimate: QualityEstimate | None = None
    refused: list[Refused] = field(default_factory=list)
    skew: Skew | None = None
    quality: Quality | None = None
    labels: LabelCounts | None = None
    logged: LogCounts = field(default_factory=LogCounts)
    deleted: int = 0

    @property
    def age_days(self) -> float | None:
        """How long before `now` the newest row was that the champion learned from; its times name no zone."""
        if self.judged.learned_until is None:
            return None
        return (self.now.astimezone(UTC).replace(tzinfo=None) - self.judged.learned_until) / timedelta(days=1)

    @property
    def begin(self) -> str:
        """From when on was judged, as an option of a command; empty for everything."""
        return shown_time(self.start)


MonitorCheck = Callable[[CheckContext], Finding | None]


def drift(context: CheckContext) -> Finding:
    """What the columns say, of the latest part of the log and of the last windows together."""
    verdict, sentence, rule = context.judged.drift, context.judged.sentence, context.limits.windows
    if context.windows:
        verdict, acting = together(context.windows, context.judged.digest, rule)
        if rule.last > 1 and Verdict.ACT in (verdict, context.judged.drift):
            sentence += f"; {acting} of the last {rule.last} windows ask to act, {rule.need} are needed"
    next_steps = {
        Verdict.ACT: RETRAIN,
        Verdict.WATCH: _look(context.judged),
        Verdict.INSUFFICIENT_DATA: _wait(context),
        Verdict.OK: "nothing to do",
    }
    return Finding(
        check="drift", rank=Rank.DRIFT, verdict=verdict, sentence=sentence, next_step=next_steps[verdict]
    )  # fmt: skip


def _wait(context: CheckContext) -> str:
    """What there has to be more of."""
    if context.judged.columns and context.judged.predictions >= context.limits.min_rows:
        return "let the model learn from more days, or name the column in monitor.ignore; look at it until then"
    return "wait for more rows, or lower monitor.min_rows in policy.yaml"


def _look(judged: JudgedLog) -> str:
    """What to look at: a few rows that cannot be are mended at their source, and no training cures them."""
    far = [column.name for column in judged.columns if column.far or column.extremes]
    if not far:
        return "look again when there are more predictions"
    return f"look at these rows of {', '.join(far)}: is it another unit, or a code for no value?"


def age(context: CheckContext) -> Finding | None:
    """Whether the champion is older than `max_age_days`.

    Too old is a reason to expect that quality has dropped and no proof of it: it is worth a look, and no training
    starts by itself. Raises `MlopsError` when the policy has a limit and the age is not known.
    """
    limit, learned_until, days = context.limits.max_age_days, context.judged.learned_until, context.age_days
    if limit is None:
        return None
    if learned_until is None or days is None:
        raise MlopsError(
            "policy.yaml, monitor.max_age_days: the champion's reference rows have no time, so it has no age",
            "remove this setting, or name the time in contract.py and train again",
        )
    if days <= limit:
        return None
    sentence = age_sentence(learned_until, round(days, 1), limit)
    return Finding(
        check="age", rank=Rank.AGE, verdict=Verdict.WATCH, sentence=sentence, next_step="mlops retrain"
    )  # fmt: skip


def domain(context: CheckContext) -> Finding | None:
    """Whether rows can be told from the reference by all columns together."""
    found = context.domain
    if found is None or found.verdict is not Verdict.WATCH:
        return None
    return Finding(
        check="domain", rank=Rank.DOMAIN, verdict=Verdict.WATCH, sentence=found.sentence,
        next_step="look at how these columns go together",
    )  # fmt: skip


def concept(context: CheckContext) -> Finding | None:
    """What the labels say of the champion's expectations; what happens is worth more than any column."""
    found = context.concept
    if found is None or found.state is not ConceptState.MOVED:
        return None
    return Finding(
        check="concept", rank=Rank.CONCEPT, verdict=Verdict.ACT, sentence=found.sentence, next_step=RETRAIN
    )  # fmt: skip


def estimate(context: CheckContext) -> Finding | None:
    """What scores let expect of the metric, before labels come; or that labels part from it.

    It rests on what scores have meant, so it is worth a look: labels decide.
    """
    found = context.estimate
    steps = {
        EstimateState.WORSE: "look at the columns that moved, and wait for labels",
        EstimateState.PARTED: RETRAIN,
    }
    if found is None or found.state not in steps:
        return None
    return Finding(
        check="estimate", rank=Rank.ESTIMATE, verdict=Verdict.WATCH, sentence=found.sentence,
        next_step=steps[found.state],
    )  # fmt: skip


def refused(context: CheckContext) -> Finding | None:
    """What the contract refused; who gets no answer at all is worth more than a column that moved."""
    order = list(Verdict)
    verdicts = [(refusal_verdict(one, context.limits), one) for one in context.refused]
    verdict, worst = min(verdicts, key=lambda pair: order.index(pair[0]), default=(Verdict.OK, None))
    if worst is None or verdict is Verdict.OK:
        return None
    command = f"mlops widen {context.environment}{f' --since {context.begin}' if context.begin else ''}"
    return Finding(
        check="refused", rank=Rank.REFUSED, verdict=verdict, sentence=worst.sentence, next_step=command
    )  # fmt: skip


def skew(context: CheckContext) -> Finding | None:
    """What a replay of the log has shown; answers to other rows than those asked about cannot be trusted."""
    found = context.skew
    if found is None or found.state is not SkewState.SKEWED:
        return None
    return Finding(
        check="skew", rank=Rank.SKEW, verdict=Verdict.ACT, sentence=found.sentence, next_step=found.next_step,
        final=True,
    )  # fmt: skip


def quality(context: CheckContext) -> Finding | None:
    """What the labels say; a champion that has become worse is worth more than any column that moved."""
    found = context.quality
    if found is None or found.state is not QualityState.BROKEN:
        return _odd_window(context)
    return Finding(
        check="quality", rank=Rank.QUALITY, verdict=Verdict.ACT, sentence=found.sentence,
        next_step=f"mlops rollback {context.environment}", final=True,
    )  # fmt: skip


def _odd_window(context: CheckContext) -> Finding | None:
    """The latest window with labels may be worse than the limit while longer stretches do not prove it yet."""
    own = [one for window in context.windows for one in window.quality if window.digest == context.judged.digest]
    known = [one for one in own if one.value is not None]
    if not known or not known[-1].is_worse:
        return None
    return Finding(
        check="quality", rank=Rank.QUALITY, verdict=Verdict.WATCH, sentence=known[-1].sentence,
        next_step="look again when there are more labels",
    )  # fmt: skip


#: The checks of this platform, by the names that their findings bear.
CHECKS: dict[str, MonitorCheck] = {
    "drift": drift, "domain": domain, "age": age, "concept": concept, "estimate": estimate, "refused": refused,
    "skew": skew, "quality": quality,
}  # fmt: skip


def installed() -> list[MonitorCheck]:
    """The platform's checks, and those of other distributions. Raises `MlopsError` when one cannot be loaded."""
    return [*CHECKS.values(), *(check for _, check in plugins.load_all(GROUP))]


def findings_of(context: CheckContext, checks: Iterable[MonitorCheck]) -> list[Finding]:
    """Run checks, and return what they found, the worst first, whatever their order."""
    order = list(Verdict)
    found = [finding for check in checks if (finding := check(context))]
    return sorted(found, key=lambda one: (order.index(one.verdict), -one.rank, one.check, one.sentence))


def combine(findings: list[Finding]) -> tuple[Verdict, str, str]:
    """Make one verdict, summary and next step of findings, which are given the worst first.

    All that ask to act are named, down to a final one. Of the others one is enough: nothing has to be done about them.
    """
    worst = findings[0]
    telling = [one for one in findings if one.verdict is worst.verdict] if worst.verdict is Verdict.ACT else [worst]
    last = next((place for place, one in enumerate(telling, start=1) if one.final), len(telling))
    telling = telling[:last]
    reasons: dict[str, list[str]] = {}
    for one in telling:
        reasons.setdefault(one.next_step, []).append(one.sentence)
    steps = [step.replace(WHY, shlex.quote("; ".join(why))) for step, why in reasons.items()]
    return worst.verdict, "; ".join(one.sentence for one in telling), ", then ".join(steps)


def refusal_verdict(one: Refused, limits: MonitorPolicy) -> Verdict:
    """Whether what was refused of a field is worth a look, or worth doing something."""
    if limits.max_refused is None or not is_frequent(one, limits):
        return Verdict.OK
    return Verdict.ACT if one.share >= limits.max_refused else Verdict.WATCH


def age_sentence(learned_until: datetime, days: float, limit: float | None) -> str:
    """Say how old a champion is, and where the limit is if there is one."""
    beyond = f", monitor.max_age_days is {limit:g}" if limit is not None else ""
    return f"the champion learned from rows until {learned_until:%Y-%m-%d}, {days:,.0f} days ago{beyond}"


def shown_time(moment: datetime | None) -> str:
    """Write a time as an option of a command takes it; empty for none."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M}" if moment else ""
