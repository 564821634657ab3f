"""Judge recent predictions against the champion's reference."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import polars as pl

from ..contract import CONTRACT
from .bundle import Bundle, ModelFacts
from .drift import Finding, Verdict, find
from .errors import MlopsError
from .project import MonitorPolicy, Project
from .quality import Quality, State, check
from .schema import Contract, Kind

ANSWER_IS_NO = 3

_NOT_COMPARED = {Kind.TIME: "a time always moves on", Kind.TEXT: "free text has no groups to count"}
_NEXT_STEPS = {
    Verdict.ACT: "train on newer rows: set new dates in params.yaml, then run mlops pipeline",
    Verdict.WATCH: "look again when there are more predictions",
    Verdict.INSUFFICIENT_DATA: "wait for more rows, or lower monitor.min_rows in policy.yaml",
    Verdict.OK: "nothing to do",
}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of the monitor found; `mlops monitor --json` prints it as it is.

    `since` and `until` are the times of the first and the last prediction looked at, `version`
    is unknown while there is none. `left_out` says why a column was not compared.
    """

    model: str
    environment: str
    version: int | None
    digest: str
    since: datetime | None
    until: datetime | None
    predictions: int
    other_versions: int
    reference_rows: int
    limits: MonitorPolicy
    verdict: Verdict
    summary: str
    next_step: str
    page: str
    findings: list[Finding]
    left_out: dict[str, str]
    quality: Quality | None = None

    @property
    def exit_code(self) -> int:
        """3 when something should be done, 0 otherwise: too little data is no reason to stop a pipeline."""
        return ANSWER_IS_NO if self.verdict is Verdict.ACT else 0


def run(project: Project, environment: str, bundle: Bundle, since: datetime | None = None) -> Report:
    """Judge what the prediction log of an environment holds, and write the page about it."""
    from . import predictions, report

    judged = judge(bundle, predictions.read(project, environment, since), project.policy.monitor, environment)
    judged = with_quality(judged, check(project, environment, bundle, since, datetime.now(UTC)))
    report.write(judged, project.root)
    return judged


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


def judge(
    bundle: Bundle, log: pl.DataFrame, policy: MonitorPolicy, environment: str, contract: Contract = CONTRACT
) -> Report:
    """Compare the inputs and answers of an environment's champion with the bundle it was made from.

    Rows of the log that another version answered are counted and left out.
    """
    model, reference = bundle.model, pl.read_parquet(bundle.reference)
    own = log.filter(pl.col("digest") == bundle.digest)
    seen = own.select(pl.last("version"), pl.min("at").alias("since"), pl.max("at").alias("until"))
    version, since, until = seen.row(0)
    left_out = _left_out(reference, policy, contract, model)
    inputs = [pl.col(field.name) for field in contract.fields if field.name not in left_out]
    outputs = [output for output in _outputs(model) if output.meta.output_name() not in left_out]
    findings = find(reference.select(*inputs, *outputs), own.select(*inputs, *outputs), policy)
    verdict = findings[0].verdict if findings else Verdict.INSUFFICIENT_DATA
    return Report(
        model=model.name,
        environment=environment,
        version=version,
        digest=bundle.digest,
        since=since,
        until=until,
        predictions=own.height,
        other_versions=log.height - own.height,
        reference_rows=reference.height,
        limits=policy,
        verdict=verdict,
        summary=_summary(findings, own.height, reference.height, policy),
        next_step=_NEXT_STEPS[verdict],
        page=f"reports/monitor-{environment}.html",
        findings=findings,
        left_out=left_out,
    )


def as_text(report: Report) -> str:
    """Write a report for a terminal: the worst first, the answer last."""
    blocks = [
        [heading(report), basis(report)],
        _table(report.findings),
        [f"not compared: {name}, {reason}" for name, reason in report.left_out.items()],
        [finding.sentence for finding in moved(report.findings)[1:]],
        _quality_lines(report.quality),
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


def moved(findings: list[Finding]) -> list[Finding]:
    """Return the findings that ask for a look or for more, the worst first."""
    return [finding for finding in findings if finding.verdict in (Verdict.ACT, Verdict.WATCH)]


def shown_size(finding: Finding) -> str:
    """Write how far a column moved; on too few rows that is noise and is not shown."""
    return "-" if finding.verdict is Verdict.INSUFFICIENT_DATA else f"{finding.psi:.3f}"


def _quality_lines(quality: Quality | None) -> list[str]:
    return [f"quality {quality.state.value}: {quality.sentence}", *quality.remarks] if quality else []


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


def _outputs(model: ModelFacts) -> list[pl.Expr]:
    """What the model says, from the scores: of a class the answer as well, as its own threshold decides it."""
    score = pl.col("score")
    if model.kind == "number":
        return [score.alias(model.answer)]
    return [score, (score >= model.threshold).alias(model.answer)]


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
