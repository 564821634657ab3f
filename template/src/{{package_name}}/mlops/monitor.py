"""Judge recent predictions against the champion's reference."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl

from ..contract import CONTRACT
from . import kinds
from .bundle import Bundle, ModelFacts
from .concept import Concept
from .concept import State as ConceptState
from .drift import Days, Finding, Verdict, find
from .errors import MlopsError
from .history import Window, judge_windows, together
from .project import Hidden, MonitorPolicy, Project
from .quality import Quality, State, check
from .schema import Contract, FieldKind
from .skew import Skew
from .skew import State as SkewState
from .widening import Refused, is_frequent

ANSWER_IS_NO = 3

_HIDDEN: dict[Hidden, str] = {"hash": "hashed in the log", "drop": "dropped from the log"}
_NOT_COMPARED = {FieldKind.TIME: "a time always moves on", FieldKind.TEXT: "free text has no groups to count"}
_NEXT_STEPS = {
    Verdict.WATCH: "look again when there are more predictions",
    Verdict.INSUFFICIENT_DATA: "wait for more rows, or lower monitor.min_rows in policy.yaml",
    Verdict.OK: "nothing to do",
}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of the monitor found; `mlops monitor --json` prints it as it is.

    What was logged from `start` on is judged, everything where that is unknown. `since` and `until` are the times of
    the first and the last prediction looked at, `version` is unknown while there is none. `left_out` says why a column
    was not compared, `deleted` how many files of the log were older than the policy keeps them. `learned_until` is the
    time of the newest row that the champion learned from, as the contract's time has it; without one it has no age.
    `drift` is what the columns alone say, `verdict` what everything together does.
    """

    model: str
    kind: str
    environment: str
    version: int | None
    digest: str
    since: datetime | None
    until: datetime | None
    predictions: int
    other_versions: int
    reference_rows: int
    limits: MonitorPolicy
    drift: Verdict
    verdict: Verdict
    summary: str
    next_step: str
    page: str
    findings: list[Finding]
    left_out: dict[str, str]
    start: datetime | None = None
    windows: list[Window] = []
    quality: Quality | None = None
    concept: Concept | None = None
    skew: Skew | None = None
    deleted: int = 0
    refused: list[Refused] = []
    learned_until: datetime | None = None
    age_days: float | None = None

    @property
    def history(self) -> str:
        """Where the page of all windows is, below the project."""
        return self.page.replace(".html", "-history.html")

    @property
    def begin(self) -> str:
        """From when on was judged, as an option of a command; empty for everything."""
        return f"{self.start.astimezone(UTC):%Y-%m-%dT%H:%M}" if self.start else ""

    @property
    def wants_retraining(self) -> bool:
        """Whether columns or labels have moved, or quality has gone, so far that newer rows are worth learning from."""
        has_moved = self.concept is not None and self.concept.state is ConceptState.MOVED
        is_broken = self.quality is not None and self.quality.state is State.BROKEN
        return self.drift is Verdict.ACT or has_moved or is_broken

    @property
    def wants_widening(self) -> bool:
        """Whether the contract refuses so much that it may be the contract that is wrong."""
        return any(_refusal_verdict(one, self.limits) is Verdict.ACT for one in self.refused)

    @property
    def exit_code(self) -> int:
        """3 when something should be done, 0 otherwise: too little data is no reason to stop a pipeline."""
        return ANSWER_IS_NO if self.verdict is Verdict.ACT else 0


def run(
    project: Project,
    environment: str,
    bundle: Bundle,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    dry_run: bool = False,
) -> Report:
    """Judge what the prediction log of an environment holds, and write the pages about it.

    With `since`, everything from then on is judged together; without, the latest window is, beside the others.
    What is older than the policy keeps it is deleted first, but not in a dry run. `until` shows what was known
    then; both times know their zone.
    """
    from . import concept, history_page, labels, predictions, privacy, report, skew, widening

    privacy.require_known(project)
    now, policy, hidden = until or datetime.now(UTC), project.policy, project.policy.privacy.hidden
    deleted = 0
    if policy.privacy.keep_days is not None and not dry_run:
        deleted = predictions.forget(project, environment, policy.privacy.keep_days, datetime.now(UTC))
    mask = privacy.mask_of(project, environment)
    log = predictions.read(project, environment, since, now, mask=mask)
    log, remarks = labels.attach(project, log, now, mask)
    windows = [] if since else judge_windows(project, environment, bundle, log, now, policy.monitor.windows)
    latest = log.filter(pl.col("at") >= windows[-1].since) if windows else log
    judged = judge(bundle, latest, policy.monitor, environment, hidden=hidden)
    start = windows[-1].since if windows else since
    judged = msgspec.structs.replace(judged, start=start, deleted=deleted)
    judged = with_age(with_windows(judged, windows), now)
    told = concept.check(bundle, log, policy, None if since else now)
    judged = with_concept(judged, told)
    judged = with_refused(judged, widening.judge(widening.recorded(project, environment, start), latest.height))
    judged = with_skew(judged, skew.check(bundle, latest, hidden))
    judged = with_quality(judged, check(project, environment, bundle, log, remarks))
    report.write(judged, project.root)
    history_page.write(judged, project.root)
    return judged


def with_windows(report: Report, windows: list[Window]) -> Report:
    """Add the windows and what the last of them say together: one that asks to act may be one odd week."""
    if not windows:
        return report
    rule = report.limits.windows
    verdict, acting = together(windows, report.digest, rule)
    summary = report.summary
    if rule.last > 1 and Verdict.ACT in (verdict, report.verdict):
        summary += f"; {acting} of the last {rule.last} windows ask to act, {rule.need} are needed"
    next_step = _next_step(verdict, summary)
    return msgspec.structs.replace(
        report, windows=windows, drift=verdict, verdict=verdict, summary=summary, next_step=next_step
    )


def with_concept(report: Report, concept: Concept | None) -> Report:
    """Add what the labels say of the champion's expectations; what happens is worth more than any column."""
    report = msgspec.structs.replace(report, concept=concept)
    if concept is None or concept.state is not ConceptState.MOVED:
        return report
    both = report.verdict is Verdict.ACT
    summary = f"{concept.sentence}; {report.summary}" if both else concept.sentence
    return msgspec.structs.replace(
        report, verdict=Verdict.ACT, summary=summary, next_step=_next_step(Verdict.ACT, summary)
    )


def with_skew(report: Report, skew: Skew) -> Report:
    """Add what a replay of the log has shown; answers to other rows than those asked about cannot be trusted."""
    if skew.state is not SkewState.SKEWED:
        return msgspec.structs.replace(report, skew=skew)
    return msgspec.structs.replace(
        report,
        skew=skew,
        verdict=Verdict.ACT,
        summary=skew.sentence,
        next_step=skew.next_step,
    )


def with_refused(report: Report, refused: list[Refused]) -> Report:
    """Add what the contract refused; who gets no answer at all is worth more than a column that moved."""
    report = msgspec.structs.replace(report, refused=refused)
    order = list(Verdict)
    worst = min(refused, key=lambda one: order.index(_refusal_verdict(one, report.limits)), default=None)
    verdict = _refusal_verdict(worst, report.limits) if worst else Verdict.OK
    if worst is None or verdict is Verdict.OK or (verdict is Verdict.WATCH and report.verdict is Verdict.ACT):
        return report
    command = f"mlops widen {report.environment}{f' --since {report.begin}' if report.begin else ''}"
    both = report.verdict is Verdict.ACT
    return msgspec.structs.replace(
        report,
        verdict=verdict,
        summary=f"{worst.sentence}; {report.summary}" if both else worst.sentence,
        next_step=f"{command}, then {report.next_step}" if both else command,
    )


def _refusal_verdict(one: Refused, limits: MonitorPolicy) -> Verdict:
    if limits.max_refused is None or not is_frequent(one, limits):
        return Verdict.OK
    return Verdict.ACT if one.share >= limits.max_refused else Verdict.WATCH


def with_quality(report: Report, quality: Quality | None) -> Report:
    """Add what the labels say; a champion that has become worse is worth more than any column that moved."""
    if quality is None or quality.state is not State.BROKEN:
        return msgspec.structs.replace(report, quality=quality)
    return msgspec.structs.replace(
        report,
        quality=quality,
        verdict=Verdict.ACT,
        summary=quality.sentence,
        next_step=f"mlops rollback {report.environment}",
    )


def with_age(report: Report, now: datetime) -> Report:
    """Add how long before `now` the newest row was that the champion learned from.

    Too old is a reason to expect that quality has dropped and no proof of it: it is worth a look (`watch`), and no
    training starts by itself. Raises `MlopsError` when the policy has a limit and the age is not known.
    """
    limit = report.limits.max_age_days
    if report.learned_until is None:
        if limit is not None:
            raise MlopsError(
                "policy.yaml, monitor.max_age_days: the champion's reference rows have no time, so it has no age",
                "remove this setting, or name the time in contract.py and train again",
            )
        return report
    # The contract's times name no zone; a few hours more or less are no age.
    age_days = (now.astimezone(UTC).replace(tzinfo=None) - report.learned_until) / timedelta(days=1)
    aged = msgspec.structs.replace(report, age_days=round(age_days, 1))
    if limit is None or age_days <= limit or report.verdict is Verdict.ACT:
        return aged
    return msgspec.structs.replace(aged, verdict=Verdict.WATCH, summary=age_line(aged), next_step="mlops retrain")


def judge(
    bundle: Bundle,
    log: pl.DataFrame,
    policy: MonitorPolicy,
    environment: str,
    contract: Contract = CONTRACT,
    hidden: Mapping[str, Hidden] | None = None,
) -> Report:
    """Compare the inputs and answers of an environment's champion with the bundle it was made from.

    Rows of the log that another version answered are counted and left out, columns in `hidden` are left out.
    """
    model, reference = bundle.model, pl.read_parquet(bundle.reference)
    own = log.filter(pl.col("digest") == bundle.digest)
    seen = own.select(pl.last("version"), pl.min("at").alias("since"), pl.max("at").alias("until"))
    version, since, until = seen.row(0)
    left_out = _left_out(reference, policy, contract, model)
    left_out |= {name: f"{_HIDDEN[rule]} by policy.yaml" for name, rule in (hidden or {}).items()}
    inputs = [pl.col(field.name) for field in contract.fields if field.name not in left_out]
    outputs = [output for output in _outputs(model) if output.meta.output_name() not in left_out]
    before, now = (frame.select(*inputs, *outputs) for frame in (reference, own))
    findings = find(before, now, policy, _days(reference, own, contract, hidden or {}))
    verdict = findings[0].verdict if findings else Verdict.INSUFFICIENT_DATA
    summary = _summary(findings, own.height, reference.height, policy)
    return Report(
        model=model.name,
        kind=model.kind,
        environment=environment,
        version=version,
        digest=bundle.digest,
        since=since,
        until=until,
        predictions=own.height,
        other_versions=log.height - own.height,
        reference_rows=reference.height,
        limits=policy,
        drift=verdict,
        verdict=verdict,
        summary=summary,
        next_step=_next_step(verdict, summary),
        page=f"reports/monitor-{environment}.html",
        findings=findings,
        left_out=left_out,
        learned_until=_newest(reference, contract),
    )


def as_text(report: Report) -> str:
    """Write a report for a terminal: the worst first, the answer last."""
    blocks = [
        [heading(report), basis(report), *filter(None, [age_line(report)])],
        _table(report.findings),
        [f"not compared: {name}, {reason}" for name, reason in report.left_out.items()],
        [finding.sentence for finding in moved(report.findings)[1:]],
        _window_lines(report),
        [refusal_line(one) for one in report.refused],
        [f"concept {report.concept.state.value}: {report.concept.sentence}"] if report.concept else [],
        _quality_lines(report.quality),
        _skew_lines(report.skew),
        deleted(report),
        [f"page: {report.page}"],
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
    return f"{report.predictions:,} predictions{others}; reference of {report.reference_rows:,} rows"


def age_line(report: Report) -> str:
    """Say how old the champion is, and whether that is too old; empty where nothing has an age."""
    if report.learned_until is None or report.age_days is None:
        return ""
    limit = report.limits.max_age_days
    beyond = f", monitor.max_age_days is {limit:g}" if limit is not None else ""
    return (
        f"the champion learned from rows until {report.learned_until:%Y-%m-%d}, {report.age_days:,.0f} days ago{beyond}"
    )


def moved(findings: list[Finding]) -> list[Finding]:
    """Return the findings that ask for a look or for more, the worst first."""
    return [finding for finding in findings if finding.verdict in (Verdict.ACT, Verdict.WATCH)]


def shown_size(finding: Finding) -> str:
    """Write how far a column moved; on too few rows that is noise and is not shown."""
    return "-" if finding.verdict is Verdict.INSUFFICIENT_DATA else f"{finding.psi:.3f}"


def shown_mean(report: Report, mean: float) -> str:
    """Write a mean of answers: a share of yes, or a quantity."""
    return kinds.named(report.kind).shown(mean)


def refusal_line(one: Refused) -> str:
    """Write what was refused of a field, with the values that were kept."""
    return f"{one.sentence}{': ' if one.values else ''}{', '.join(one.values)}"


def _quality_lines(quality: Quality | None) -> list[str]:
    return [f"quality {quality.state.value}: {quality.sentence}", *quality.remarks] if quality else []


def _window_lines(report: Report) -> list[str]:
    """The last windows, the latest at the end; a metric without enough labels is unknown."""
    if not report.windows:
        return []
    lines = [f"{'window':24}  predictions  expected  happened   quality  verdict"]
    for window in report.windows[-report.limits.windows.last :]:
        known = next((one for one in window.quality if one.version == window.version), None)
        quality = f"{known.value:.4f}" if known and known.value is not None else "unknown"
        told = known.outcome if known else None
        expected, happened = (shown_mean(report, told.expected), shown_mean(report, told.happened)) if told else "--"
        when = f"{window.since:%Y-%m-%d} to {window.until:%Y-%m-%d}"
        lines.append(
            f"{when:24}  {window.predictions:11,}  {expected:>8}  {happened:>8}  {quality:>8}  {window.verdict.value}"
        )
    return lines


def _skew_lines(skew: Skew | None) -> list[str]:
    if skew is None:
        return []
    differences = [f"  {one.name} in {one.rows:,} rows: {one.example}" for one in skew.differences]
    return [f"skew {skew.state.value}: {skew.sentence}", *differences]


def deleted(report: Report) -> list[str]:
    """Say how many files of the log were deleted; nothing when none was."""
    many = "file" if report.deleted == 1 else "files"
    told = f"{report.deleted} {many} of the log deleted, because of privacy.keep_days"
    return [told] if report.deleted else []


def _table(findings: list[Finding]) -> list[str]:
    width = max((len(finding.name) for finding in findings), default=0)
    rows = [
        f"{finding.name:{width}}  psi      {shown_size(finding):>6}  {finding.limit:6.2f}"
        f"  {finding.rows:9,}  {finding.verdict.value}"
        for finding in findings
    ]
    return [f"{'':{width}}  measure     now   limit       rows  verdict", *rows]


def _left_out(reference: pl.DataFrame, policy: MonitorPolicy, contract: Contract, model: ModelFacts) -> dict[str, str]:
    """Say for each column that is not compared why; a name that no column has is refused."""
    known = {"score", model.answer} | {field.name for field in contract.fields}
    if unknown := [name for name in policy.ignore if name not in known]:
        raise MlopsError(
            f"policy.yaml, monitor.ignore: there is no column {unknown[0]}",
            f"choose from {', '.join(sorted(known))}",
        )
    kinds = {field.name: _NOT_COMPARED[field.kind] for field in contract.fields if field.kind in _NOT_COMPARED}
    new = [field.name for field in contract.fields if field.name not in reference.columns]
    return kinds | dict.fromkeys(new, "not in the reference") | dict.fromkeys(policy.ignore, "ignored by policy.yaml")


def _days(reference: pl.DataFrame, own: pl.DataFrame, contract: Contract, hidden: Mapping[str, Hidden]) -> Days | None:
    """Which rows are of the same day, and so may be alike; unknown where the log does not hold their time."""
    if contract.time is None or contract.time in hidden or contract.time not in reference.columns:
        return None
    return Days.of(reference[contract.time], own[contract.time])


def _newest(reference: pl.DataFrame, contract: Contract) -> datetime | None:
    """The time of the newest training row: `export` takes care that it is in the reference."""
    if contract.time is None or contract.time not in reference.columns:
        return None
    newest = reference[contract.time].max()
    return newest if isinstance(newest, datetime) else None


def _outputs(model: ModelFacts) -> list[pl.Expr]:
    """What the model says, from the scores: of a class the answer as well, as its own threshold decides it."""
    return kinds.named(model.kind).compared(pl.col("score"), model.answer, model.threshold)


def _next_step(verdict: Verdict, summary: str) -> str:
    return _NEXT_STEPS.get(verdict) or f"mlops retrain --finding {shlex.quote(summary)}"


def _summary(findings: list[Finding], predictions: int, reference_rows: int, policy: MonitorPolicy) -> str:
    if min(predictions, reference_rows) < policy.min_rows:
        return (
            f"{predictions:,} predictions by the champion and {reference_rows:,} rows in the reference, "
            f"at least {policy.min_rows:,} of each are needed"
        )
    if not findings:
        return "there is no column to compare"
    if not (worst := moved(findings)):
        return f"all {len(findings)} columns look like the reference"
    others = f", and {len(worst) - 1} more moved" if len(worst) > 1 else ""
    return f"{worst[0].sentence}{others}"
