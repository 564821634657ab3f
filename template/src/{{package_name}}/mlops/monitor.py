"""Judge recent predictions against the champion's reference."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from ..contract import CONTRACT
from .bundle import Bundle
from .drift import Verdict
from .errors import MlopsError
from .findings import Finding, Pair, find
from .project import MonitorPolicy, Project
from .schema import Contract, Kind
from .words import figures, percent, period

ANSWER_IS_NO = 3

_LEFT_OUT = {Kind.TIME: "a time always moves on", Kind.TEXT: "free text has no fixed groups to count"}


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What the model answers on the whole: the share of `true`, or the mean quantity."""

    name: str
    measure: str
    reference: float | None
    now: float | None


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
    answers: Answers
    verdict: Verdict
    summary: str
    next_step: str
    page: str
    findings: list[Finding]
    left_out: dict[str, str]

    @property
    def exit_code(self) -> int:
        """3 when something should be done, 0 otherwise: too little data is no reason to stop a pipeline."""
        return ANSWER_IS_NO if self.verdict is Verdict.ACT else 0


def judge(
    bundle: Bundle,
    predictions: pl.DataFrame,
    policy: MonitorPolicy,
    environment: str,
    *,
    contract: Contract = CONTRACT,
) -> Report:
    """Compare the inputs and answers of an environment's champion with the bundle it was made from.

    `predictions` is the prediction log of the wanted period. Rows that another version answered
    are counted and left out.
    """
    reference = pl.read_parquet(bundle.reference)
    own = predictions.filter(pl.col("digest") == bundle.digest)
    inputs, left_out = _inputs(reference, own, contract, policy)
    outputs = _outputs(reference, own, bundle, policy)
    _check_ignored(policy, contract, bundle)
    findings = find([*inputs, *outputs], policy)
    verdict = findings[0].verdict if findings else Verdict.INSUFFICIENT_DATA
    return Report(
        model=bundle.model.name,
        environment=environment,
        version=own["version"][-1] if own.height else None,
        digest=bundle.digest,
        since=_time(own["at"].min()),
        until=_time(own["at"].max()),
        predictions=own.height,
        other_versions=predictions.height - own.height,
        reference_rows=reference.height,
        limits=policy,
        answers=_answers(reference, own, bundle),
        verdict=verdict,
        summary=_summary(findings, own.height, policy),
        next_step=_next_step(verdict, max(0, policy.min_rows - own.height)),
        page=f"reports/monitor-{environment}.html",
        findings=findings,
        left_out=left_out,
    )


def run(project: Project, environment: str, bundle: Bundle, since: datetime | None = None) -> Report:
    """Judge what the prediction log of an environment holds, and write the page about it."""
    from . import predictions, report

    logged = predictions.read(project, environment, since)
    judged = judge(bundle, logged, project.policy.monitor, environment)
    report.write(judged, project.root)
    return judged


def as_text(report: Report) -> str:
    """Write a report for a terminal: the worst first, the answer last."""
    moved = [f.sentence for f in report.findings if f.verdict in (Verdict.ACT, Verdict.WATCH)]
    blocks = [
        [heading(report), basis(report)],
        _table(report.findings),
        [f"not compared: {name}, {reason}" for name, reason in report.left_out.items()],
        moved if len(moved) > 1 else [],
        [f"page: {report.page}"],
        [f"{report.verdict.value}: {report.summary}", f"next: {report.next_step}"],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def heading(report: Report) -> str:
    """Name what was judged: model, version, environment and time."""
    version = f" v{report.version}" if report.version is not None else ""
    when = f", {period(report.since, report.until)}" if report.since and report.until else ""
    return f"{report.model}{version}, champion in {report.environment}{when}"


def basis(report: Report) -> str:
    """Say how many rows the judgement rests on."""
    others = f" ({report.other_versions:,} by other versions not counted)" if report.other_versions else ""
    return f"{report.predictions:,} predictions{others}; reference of {report.reference_rows:,} rows"


def answers_change(answers: Answers) -> str | None:
    """Say how the answers have changed on the whole; nothing while there are none."""
    if answers.now is None or answers.reference is None:
        return None
    if answers.measure == "mean":
        now, before = figures(answers.now, answers.reference)
        return f"{answers.name} is {now} on average, {before} in the reference"
    return f"{answers.name} is true for {percent(answers.now)}, {percent(answers.reference)} in the reference"


def shown_size(finding: Finding) -> str:
    """Write how far a column moved; on too few rows that is noise and is not shown."""
    return "-" if finding.verdict is Verdict.INSUFFICIENT_DATA else f"{finding.now:.3f}"


def _table(findings: list[Finding]) -> list[str]:
    width = max((len(finding.name) for finding in findings), default=0)
    rows = [
        f"{f.name:{width}}  {f.measure:7}  {shown_size(f):>6}  {f.limit:6.2f}  {f.rows:9,}  {f.verdict.value}"
        for f in findings
    ]
    return [f"{'':{width}}  measure     now   limit       rows  verdict", *rows]


def _check_ignored(policy: MonitorPolicy, contract: Contract, bundle: Bundle) -> None:
    known = {"score", bundle.model.answer} | {field.name for field in contract.fields}
    if unknown := [name for name in policy.ignore if name not in known]:
        raise MlopsError(
            f"policy.yaml, monitor.ignore: there is no column {unknown[0]}",
            f"choose from {', '.join(sorted(known))}",
        )


def _inputs(
    reference: pl.DataFrame, own: pl.DataFrame, contract: Contract, policy: MonitorPolicy
) -> tuple[list[Pair], dict[str, str]]:
    meanings = _meanings(contract)
    pairs: list[Pair] = []
    left_out: dict[str, str] = {}
    for field in contract.fields:
        name = field.name
        if name in policy.ignore:
            left_out[name] = "ignored by policy.yaml"
        elif field.kind in _LEFT_OUT:
            left_out[name] = _LEFT_OUT[field.kind]
        elif name not in reference.columns or name not in own.columns:
            left_out[name] = "the reference and the prediction log do not both have it"
        else:
            pairs.append(Pair(name, "input", meanings.get(name, ""), reference[name], own[name]))
    return pairs, left_out


def _outputs(reference: pl.DataFrame, own: pl.DataFrame, bundle: Bundle, policy: MonitorPolicy) -> list[Pair]:
    facts = bundle.model
    if facts.kind == "number":
        score = Pair(facts.answer, "prediction", "What the model answers.", reference["score"], own["score"])
        pairs = [score]
    else:
        meaning = f"Probability that {facts.answer} is true, as the model sees it."
        score = Pair("score", "prediction", meaning, reference["score"], own["score"])
        decided = (reference["score"] >= facts.threshold).alias(facts.answer)
        meaning = f"What the model answers: true from a score of {facts.threshold:g} on."
        pairs = [score, Pair(facts.answer, "prediction", meaning, decided, own["answer"].cast(pl.Boolean))]
    return [pair for pair in pairs if pair.name not in policy.ignore]


def _answers(reference: pl.DataFrame, own: pl.DataFrame, bundle: Bundle) -> Answers:
    facts = bundle.model
    if facts.kind == "number":
        measure, before, now = "mean", reference["score"].mean(), own["score"].mean()
    else:
        measure = "share true"
        before, now = (reference["score"] >= facts.threshold).mean(), own["answer"].cast(pl.Boolean).mean()
    return msgspec.convert({"name": facts.answer, "measure": measure, "reference": before, "now": now}, Answers)


def _summary(findings: list[Finding], predictions: int, policy: MonitorPolicy) -> str:
    if predictions < policy.min_rows:
        return f"{predictions:,} predictions by the champion, at least {policy.min_rows:,} are needed"
    if not findings:
        return "there is no column to compare"
    worst = findings[0]
    if worst.verdict is Verdict.OK:
        return f"all {len(findings)} columns look like the reference"
    alike = sum(finding.verdict is worst.verdict for finding in findings[1:])
    if not alike:
        return worst.sentence
    return f"{worst.sentence}, and {alike} more column{'s are' if alike > 1 else ' is'} over the limit"


def _next_step(verdict: Verdict, missing_rows: int) -> str:
    if verdict is Verdict.ACT:
        return "train on newer rows: set new dates in params.yaml, then run mlops pipeline"
    if verdict is Verdict.WATCH:
        return "look again when there are more predictions"
    if verdict is Verdict.INSUFFICIENT_DATA and missing_rows:
        return f"run this again after {missing_rows:,} more predictions"
    if verdict is Verdict.INSUFFICIENT_DATA:
        return "train on more rows, or lower monitor.min_rows in policy.yaml"
    return "nothing to do"


def _meanings(contract: Contract) -> dict[str, str]:
    """Find the description of each field in the contract's JSON schema."""
    schema = contract.json_schema["components"][contract.row.__name__]["properties"]
    return {name: _description(facts) for name, facts in schema.items()}


def _description(facts: dict[str, Any]) -> str:
    choices = (choice.get("description", "") for choice in facts.get("anyOf", []))
    return str(facts.get("description") or next(filter(None, choices), ""))


def _time(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None
