"""The gates: figures of the last evaluation, held against the limits in `policy.yaml`.

They are asked whenever an answer is needed, and no answer is stored: the policy may have changed since.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from slipway.base.errors import MlopsError
from slipway.base.numbers import shown
from slipway.forge import git
from slipway.settings.policy import Gates, SliceGate
from slipway.settings.project import Project
from slipway.training.confusion import Confusion
from slipway.training.costs import CostOfAnswers
from slipway.training.reliability import Reliability, worst_of

Metrics = dict[str, float]

#: Where the figures are, in every commit.
REPORT = "reports/metrics.json"


@dataclass(frozen=True)
class GateResult:
    """One figure held against one limit."""

    gate: str
    value: float | None
    limit: str
    passed: bool

    def __str__(self) -> str:
        value = "none" if self.value is None else f"{self.value:.4g}"
        return f"{self.gate} is {value}, the gate asks for {self.limit}"


def as_markdown(project: Project, checks: list[GateResult], reference: str) -> str:
    """What a reviewer wants to know of this model: each metric beside that of another commit, and each gate."""
    earlier = git.at_commit(project.root, reference, REPORT)
    before: Metrics = msgspec.json.decode(earlier)["model"] if earlier else {}
    measured = msgspec.json.decode((project.root / REPORT).read_bytes())
    now: Metrics = measured["model"]
    lines = [f"| metric | {reference} | here | change |", "|---|--:|--:|--:|"]
    for name, value in now.items():
        old = before.get(name)
        change = ("", "") if old is None else (shown(old), shown(value - old, "+"))
        lines.append(f"| {name} | {change[0]} | {shown(value)} | {change[1]} |")
    lines += ["", "| gate | value | limit | |", "|---|--:|---|---|"]
    for check in checks:
        figure = "none" if check.value is None else f"{check.value:.4g}"
        lines.append(f"| {check.gate} | {figure} | {check.limit} | {'passed' if check.passed else '**refused**'} |")
    if costs := costs_in_words(project):
        lines += ["", costs]
    if "confusion" in measured:
        lines += ["", *msgspec.convert(measured["confusion"], Confusion).markdown()]
    return "\n".join(lines)


def costs_in_words(project: Project) -> str:
    """What answers cost in the last evaluation; empty where params.yaml names no costs."""
    measured = msgspec.json.decode((project.root / REPORT).read_bytes())
    return str(msgspec.convert(measured["costs"], CostOfAnswers)) if "costs" in measured else ""


def sample_markdown(project: Project, sample: str) -> str:
    """The figures of a rehearsal, which no gate judges."""
    now: Metrics = msgspec.json.decode((project.root / REPORT).read_bytes())["model"]
    lines = [f"| metric | on {sample} |", "|---|--:|", *(f"| {name} | {value:.4f} |" for name, value in now.items())]
    return "\n".join(lines)


def check_gates(project: Project) -> list[GateResult]:
    """Hold the figures of the last evaluation against `policy.yaml`, the failed ones first."""
    reports = project.root / "reports"
    try:
        measured = msgspec.json.decode((reports / "metrics.json").read_bytes())
        cost = msgspec.json.decode((reports / "cost.json").read_bytes())
    except FileNotFoundError:
        raise MlopsError("nothing was evaluated in this checkout", "mlops pipeline") from None
    checks = list(checks_of(project.policy.gates, measured, cost))
    return sorted(checks, key=lambda check: check.passed)


def checks_of(gates: Gates, measured: dict[str, Any], cost: Metrics) -> Iterator[GateResult]:
    """Yield one check for each limit in the policy. A figure that is missing fails."""
    for name, gate in gates.metrics.items():
        value, baseline = measured["model"].get(name), measured["baseline"].get(name)
        yield from _limits(name, value, gate.min, gate.max)
        if gate.margin is not None:
            yield _margin(name, value, baseline, gate.margin, higher_is_better=gate.max is None)
    for rule in gates.slice_rules:
        yield from _slice_checks(rule, measured["slices"])
        yield from _gap_checks(rule, measured["slices"])
    if gates.calibration is not None:
        yield from _calibration(measured, gates.calibration.max_error)
    yield from _limits("model_megabytes", cost.get("model_megabytes"), None, gates.limits.model_megabytes)
    yield from _limits("one_row_ms", cost.get("one_row_ms"), None, gates.limits.one_row_ms)


def _slice_checks(rule: SliceGate, slices: list[dict[str, Any]]) -> Iterator[GateResult]:
    for one in slices:
        if one["column"] in rule.columns and one["rows"] >= rule.min_rows:
            name = f"{rule.metric} of {one['column']} = {one['value']} ({one['rows']:,} rows)"
            yield from _limits(name, one["metrics"].get(rule.metric), rule.min, rule.max)


def _gap_checks(rule: SliceGate, slices: list[dict[str, Any]]) -> Iterator[GateResult]:
    """The largest difference between two groups of each column; with fewer than two to compare it fails."""
    for column in rule.columns if rule.max_gap is not None else []:
        inside = [one for one in slices if one["column"] == column and one["rows"] >= rule.min_rows]
        known = sorted(
            (one["metrics"][rule.metric], one["value"], one["rows"]) for one in inside if rule.metric in one["metrics"]
        )
        limit = f"at most {rule.max_gap:g}"
        if len(known) < 2:
            few = f"{limit}, and fewer than two groups of {rule.min_rows:,} rows have the metric"
            yield GateResult(f"gap of {rule.metric} between values of {column}", None, few, passed=False)
            continue
        (low, lowest, some), (high, highest, others) = known[0], known[-1]
        name = (
            f"gap of {rule.metric} between {column} = {lowest} ({low:.4g}, {some:,} rows) "
            f"and {highest} ({high:.4g}, {others:,} rows)"
        )
        yield GateResult(name, high - low, limit, high - low <= rule.max_gap)


def _calibration(measured: dict[str, Any], most: float) -> Iterator[GateResult]:
    """The error of the scores; of several classes that of the answer's probability, and that of the worst class."""
    yield _error("calibration_error", measured.get("reliability", {}), measured["rows"], most)
    if "confusion" in measured:
        each = msgspec.convert(measured.get("reliability_by_class", {}), dict[str, Reliability])
        worst = worst_of(each) if each else "each class"
        found = msgspec.to_builtins(each.get(worst, {}))
        yield _error(f"calibration_error of {worst}", found, measured["rows"], most)


def _error(gate: str, found: dict[str, Any], rows: int, most: float) -> GateResult:
    error, chance = found.get("error"), found.get("chance")
    by_chance = "" if chance is None else f"; {chance:.4g} is what chance makes of {rows:,} rows"
    limit = f"at most {most:g}{by_chance}"
    return GateResult(gate, error, limit, error is not None and error <= most)


def _limits(name: str, value: float | None, low: float | None, high: float | None) -> Iterator[GateResult]:
    if low is not None:
        yield GateResult(name, value, f"at least {low:g}", value is not None and value >= low)
    if high is not None:
        yield GateResult(name, value, f"at most {high:g}", value is not None and value <= high)


def _margin(
    name: str, value: float | None, baseline: float | None, margin: float, *, higher_is_better: bool
) -> GateResult:
    limit = f"{margin:g} {'above' if higher_is_better else 'below'} the baseline's {baseline}"
    if value is None or baseline is None:
        return GateResult(name, value, limit, passed=False)
    gain = value - baseline if higher_is_better else baseline - value
    return GateResult(name, value, limit, gain >= margin)


def require_passed(checks: list[GateResult], what: str) -> None:
    """Refuse, with exit code 3, when a gate was not passed."""
    failed = [check for check in checks if not check.passed]
    if failed:
        raise MlopsError(
            f"{what} did not pass its gates: " + "; ".join(map(str, failed)),
            "improve the model, or have the change of a limit in policy.yaml reviewed",
            exit_code=3,
        )
