"""What a run of the monitor found: as data, and in words for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from slipway import kinds
from slipway.base.numbers import counted, shown
from slipway.data.labels import TRUTH, LabelCounts
from slipway.log.counts import LogCounts
from slipway.monitoring import checks
from slipway.monitoring.certainty import Certainty, certainty
from slipway.monitoring.checks import CheckContext, Finding, MonitorCheck
from slipway.monitoring.concept import Concept, ConceptState
from slipway.monitoring.domain import Domain
from slipway.monitoring.drift import ColumnDrift, Verdict, moved
from slipway.monitoring.estimate import QualityEstimate
from slipway.monitoring.judge import JudgedLog
from slipway.monitoring.quality import Quality, QualityState
from slipway.monitoring.refused import Refused
from slipway.monitoring.skew import Skew
from slipway.monitoring.windows import Window
from slipway.settings.policy import MonitorPolicy
from slipway.training.confusion import Confusion, as_share

ANSWER_IS_NO = 3


class Report(JudgedLog, frozen=True, kw_only=True):
    """What a run of the monitor found; `mlops monitor --json` prints it as it is.

    What was logged from `start` on is judged, everything where that is unknown. `deleted` is how many files of the log
    were older than the policy keeps them; `labels` and `logged` say what of labels and log was left out. `drift` is
    what the columns alone say, `verdict` what everything together does: `findings` is what each check had to say, the
    worst first, and `certainties` say since when and how sure. `earlier` predictions were logged before `start`.
    `confusion` has the labelled answers of all that was read, where they are classes.
    """

    environment: str
    limits: MonitorPolicy
    verdict: Verdict
    summary: str
    next_step: str
    page: str
    findings: list[Finding]
    certainties: list[Certainty] = msgspec.field(default_factory=list)
    earlier: int = 0
    start: datetime | None = None
    windows: list[Window] = msgspec.field(default_factory=list)
    quality: Quality | None = None
    concept: Concept | None = None
    domain: Domain | None = None
    estimate: QualityEstimate | None = None
    skew: Skew | None = None
    deleted: int = 0
    refused: list[Refused] = msgspec.field(default_factory=list)
    age_days: float | None = None
    labels: LabelCounts | None = None
    logged: LogCounts = LogCounts()
    confusion: Confusion | msgspec.UnsetType = msgspec.UNSET

    @property
    def history(self) -> str:
        """Where the page of all windows is, below the project."""
        return self.page.replace(".html", "-history.html")

    @property
    def begin(self) -> str:
        """From when on was judged, as an option of a command; empty for everything."""
        return checks.shown_time(self.start)

    @property
    def wants_retraining(self) -> bool:
        """Whether columns or labels have moved, or quality has gone, so far that newer rows are worth learning from."""
        has_moved = self.concept is not None and self.concept.state is ConceptState.MOVED
        is_broken = self.quality is not None and self.quality.state is QualityState.BROKEN
        return self.drift is Verdict.ACT or has_moved or is_broken

    @property
    def wants_widening(self) -> bool:
        """Whether the contract refuses so much that it may be the contract that is wrong."""
        return any(checks.refusal_verdict(one, self.limits) is Verdict.ACT for one in self.refused)

    @property
    def exit_code(self) -> int:
        """3 when something should be done, 0 otherwise: too little data is no reason to stop a pipeline."""
        return ANSWER_IS_NO if self.verdict is Verdict.ACT else 0


def report_of(context: CheckContext, run: Iterable[MonitorCheck]) -> Report:
    """Run checks over the facts of a run of the monitor, and say what they mean together."""
    findings = checks.findings_of(context, run)
    verdict, summary, next_step = checks.combine(findings)
    judged = msgspec.structs.asdict(context.judged) | {"drift": checks.drift(context).verdict}
    days = context.age_days
    return Report(
        **judged,
        environment=context.environment,
        limits=context.limits,
        verdict=verdict,
        summary=summary,
        next_step=next_step,
        page=f"reports/monitor-{context.environment}.html",
        findings=findings,
        certainties=[certainty(context, finding) for finding in findings],
        earlier=context.log.height - context.judged.predictions - context.judged.other_versions,
        start=context.start,
        windows=context.windows,
        quality=context.quality,
        concept=context.concept,
        domain=context.domain,
        estimate=context.estimate,
        skew=context.skew,
        deleted=context.deleted,
        refused=context.refused,
        labels=context.labels,
        logged=context.logged,
        age_days=None if days is None else round(days, 1),
        confusion=Confusion.of_log(context.log, context.bundle.digest, context.bundle.model, TRUTH) or msgspec.UNSET,
    )


def report_text(report: Report) -> str:
    """Write a report for a terminal: the worst first, the answer last."""
    blocks = [
        [heading(report), basis(report), *filter(None, [age_line(report)])],
        _table(report),
        [f"not compared: {name}, {reason}" for name, reason in report.left_out.items()],
        [column.sentence for column in moved(report.columns)[1:]],
        [f"domain {report.domain.verdict.value}: {report.domain.sentence}"] if report.domain else [],
        _window_lines(report),
        [refusal_line(one) for one in report.refused],
        _concept_lines(report),
        [f"estimate {report.estimate.state.value}: {report.estimate.sentence}"] if report.estimate else [],
        [f"quality {report.quality.state.value}: {report.quality.sentence}"] if report.quality else [],
        _confusion_lines(report),
        left_out_lines(report),
        _skew_lines(report.skew),
        other_findings(report),
        deleted_lines(report),
        [f"page: {report.page}"],
        [f"since: {one.when}; {one.sure}" for one in report.certainties[:1]],
        [f"{report.verdict.value}: {report.summary}", f"next: {report.next_step}"],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def heading(report: Report) -> str:
    """Name what was judged: model, version, environment and time."""
    version = f" v{report.version}" if report.version is not None else ""
    when = f", {report.since:%Y-%m-%d} to {report.until:%Y-%m-%d}" if report.since and report.until else ""
    return f"{report.model}{version}, champion in {report.environment}{when}"


def basis(report: Report) -> str:
    """Say how many rows the judgement rests on."""
    others = f" ({report.other_versions:,} by other versions not counted)" if report.other_versions else ""
    return f"{counted(report.predictions, 'prediction')}{others}; reference of {counted(report.reference_rows, 'row')}"


def age_line(report: Report) -> str:
    """Say how old the champion is, and whether that is too old; empty where nothing has an age."""
    if report.learned_until is None or report.age_days is None:
        return ""
    return checks.age_sentence(report.learned_until, report.age_days, report.limits.max_age_days)


def shown_size(report: Report, column: ColumnDrift) -> str:
    """Write how far a column moved; on too few rows that is noise and is not shown."""
    return "-" if min(column.rows, report.reference_rows) < report.limits.min_rows else f"{column.size:.3f}"


def shown_mean(report: Report, mean: float) -> str:
    """Write a mean of answers: a share of yes, or a quantity."""
    return kinds.named(report.kind).shown(mean)


def refusal_line(one: Refused) -> str:
    """Write what was refused of a field, with the values that were kept."""
    return f"{one.sentence}{': ' if one.values else ''}{', '.join(one.values)}"


def other_findings(report: Report) -> list[str]:
    """What checks of other distributions found; the platform's own are shown with their figures."""
    return [
        f"{one.check} {one.verdict.value}: {one.sentence}" for one in report.findings if one.check not in checks.CHECKS
    ]


def left_out_lines(report: Report) -> list[str]:
    """Say how many labels there are, and what of labels and log does not count."""
    labels = [f"labels: {report.labels.sentence}", *report.labels.remarks] if report.labels else []
    return labels + report.logged.remarks


def deleted_lines(report: Report) -> list[str]:
    """Say how many files of the log were deleted; nothing when none was."""
    many = "file" if report.deleted == 1 else "files"
    return [f"{report.deleted} {many} of the log deleted, because of privacy.keep_days"] if report.deleted else []


def _window_lines(report: Report) -> list[str]:
    """The last windows, the latest at the end; a metric without enough labels is unknown."""
    if not report.windows:
        return []
    lines = [f"{'window':24}  predictions  expected  happened   quality  by score  verdict"]
    for window in report.windows[-report.limits.windows.last :]:
        known = next((one for one in window.quality if one.version == window.version), None)
        quality = shown(known.value) if known and known.value is not None else "unknown"
        outcome = known.outcome if known else None
        means = (outcome.expected, outcome.happened) if outcome else ()
        expected, happened = (shown_mean(report, mean) for mean in means) if means else "--"
        estimated = shown(known.estimate.value) if known and known.estimate else "--"
        when = f"{window.since:%Y-%m-%d} to {window.until:%Y-%m-%d}"
        lines.append(
            f"{when:24}  {window.predictions:11,}  {expected:>8}  {happened:>8}  {quality:>8}  {estimated:>8}"
            f"  {window.verdict.value}"
        )
    return lines


def _concept_lines(report: Report) -> list[str]:
    """What the labels say of the champion's expectations, and the bands of scores and classes that are apart."""
    if report.concept is None:
        return []
    bands = [
        f"  {what}{band.label}: {shown_mean(report, band.now)} happened, {shown_mean(report, band.reference)} expected"
        for what, bands in (("score ", report.concept.bands), ("class ", report.concept.classes))
        for band in bands
        if band.moved
    ]
    remarks = [report.concept.by_score] if report.concept.by_score else []
    return [f"concept {report.concept.state.value}: {report.concept.sentence}", *bands, *remarks]


def _confusion_lines(report: Report) -> list[str]:
    """Which answers labelled rows of each class got, and precision and recall of each."""
    found = report.confusion
    if not found:
        return []
    width = max(map(len, (*found.classes, "macro average")))
    head = "  ".join(f"{f'answered {name}':>{_cell(name)}}" for name in found.classes)
    lines = [f"{'happened':{width}}  {head}  precision  recall     rows"]
    shares = [*found.cells(), (found.macro, [])]
    for figures, cells in shares:
        told = [
            f"{f'{count:,} ({as_share(share)})':>{_cell(name)}}"
            for name, (count, share) in zip(found.classes, cells, strict=False)
        ]
        told = told or [" " * _cell(name) for name in found.classes]
        lines.append(
            f"{figures.name:{width}}  {'  '.join(told)}  {as_share(figures.precision):>9}  "
            f"{as_share(figures.recall):>6}  {figures.rows:7,}"
        )
    return lines


def _cell(name: str) -> int:
    return max(len(f"answered {name}"), len("100,000 (100.0 %)"))


def _skew_lines(skew: Skew | None) -> list[str]:
    if skew is None:
        return []
    differences = [f"  {one.name} in {counted(one.rows, 'row')}: {one.example}" for one in skew.differences]
    return [f"skew {skew.state.value}: {skew.sentence}", *differences]


def _table(report: Report) -> list[str]:
    columns = report.columns
    width = max((len(column.name) for column in columns), default=0)
    rows = [
        f"{column.name:{width}}  {column.scale.name:7}  {shown_size(report, column):>6}  {column.limit:6.2f}"
        f"  {column.rows:9,}  {column.verdict.value}"
        for column in columns
    ]
    return [f"{'':{width}}  measure     now   limit       rows  verdict", *rows]
