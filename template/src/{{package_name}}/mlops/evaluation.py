"""The stage `evaluate`, and the gates that its figures must pass.

Figures go to `reports/metrics.json`, equal on every machine; time and size go to `reports/cost.json`.
Gates are judged from these files and `policy.yaml` whenever they are needed, never stored as a verdict.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl

from .. import metrics as team
from ..contract import CONTRACT
from . import git
from .bundle import ModelFacts, write_json
from .errors import MlopsError
from .frames import columns
from .project import Gates, Project
from .scoring import OnnxModel, matrix
from .training import learning_set

Metrics = dict[str, float]

#: Where the figures are, in every commit.
REPORT = "reports/metrics.json"


@dataclass(frozen=True)
class Check:
    """One figure held against one limit."""

    gate: str
    value: float | None
    limit: str
    passed: bool

    def __str__(self) -> str:
        value = "none" if self.value is None else f"{self.value:.4g}"
        return f"{self.gate} is {value}, the gate asks for {self.limit}"


def as_markdown(project: Project, checks: list[Check], reference: str) -> str:
    """What a reviewer wants to know of this model: each metric beside that of another commit, and each gate."""
    earlier = git.at_commit(project.root, reference, REPORT)
    before: Metrics = msgspec.json.decode(earlier)["model"] if earlier else {}
    now: Metrics = msgspec.json.decode((project.root / REPORT).read_bytes())["model"]
    lines = [f"| metric | {reference} | here | change |", "|---|--:|--:|--:|"]
    for name, value in now.items():
        old = before.get(name)
        change = ("", "") if old is None else (f"{old:.4f}", f"{value - old:+z.4f}")
        lines.append(f"| {name} | {change[0]} | {value:.4f} | {change[1]} |")
    lines += ["", "| gate | value | limit | |", "|---|--:|---|---|"]
    for check in checks:
        figure = "none" if check.value is None else f"{check.value:.4g}"
        lines.append(f"| {check.gate} | {figure} | {check.limit} | {'passed' if check.passed else '**refused**'} |")
    return "\n".join(lines)


def evaluate(project: Project) -> None:
    """Measure model and baseline on the test rows, as a whole and by slice."""
    root = project.root
    facts = msgspec.json.decode((root / "model" / "model.json").read_bytes(), type=ModelFacts)
    _, rows, truth = learning_set(root / "data" / "test.parquet")
    model = OnnxModel(root / "model" / "model.onnx", facts.kind)
    scores = model(rows)
    baseline = OnnxModel(root / "model" / "baseline.onnx", facts.kind)(rows)
    measured = {
        "rows": len(truth),
        "model": _rounded(team.metrics(truth, scores, facts.threshold)),
        "baseline": _rounded(team.metrics(truth, baseline, facts.threshold)),
        "slices": _slices(project, truth, scores, facts.threshold),
    }
    write_json(root / "reports" / "metrics.json", measured)
    write_json(root / "reports" / "cost.json", _cost(project, model, facts.features))


def _slices(project: Project, truth: Any, scores: Any, threshold: float) -> list[dict[str, Any]]:
    test = pl.read_parquet(project.root / "data" / "test.parquet")
    found: list[dict[str, Any]] = []
    for name in project.policy.gates.slices.columns:
        if name not in test.columns:
            raise MlopsError(
                f"policy.yaml, gates.slices.columns: there is no column {name} in the contract",
                f"choose from {', '.join(field.name for field in CONTRACT.fields)}",
            )
        for (value,), group in test.with_row_index().group_by([name], maintain_order=True):
            inside = group["index"].to_numpy()
            figures = _rounded(team.metrics(truth[inside], scores[inside], threshold))
            found.append({"column": name, "value": str(value), "rows": len(inside), "metrics": figures})
    return sorted(found, key=lambda one: (one["column"], one["value"]))


def _cost(project: Project, model: OnnxModel, names: list[str]) -> dict[str, float]:
    """Size of the model, and the median time from one row to its score, features included."""
    one = pl.read_parquet(project.root / "data" / "test.parquet").head(1)
    row = columns(one, CONTRACT.fields)
    taken = []
    for _ in range(200):
        started = time.perf_counter()
        model(matrix(row, names)[1])
        taken.append(time.perf_counter() - started)
    size = (project.root / "model" / "model.onnx").stat().st_size
    return {"model_megabytes": round(size / 1e6, 3), "one_row_ms": round(float(np.median(taken)) * 1e3, 4)}


def _rounded(figures: Metrics) -> Metrics:
    # Six digits keep the files equal across machines whose last bits differ.
    return {name: round(value, 6) for name, value in sorted(figures.items())}


def judge(project: Project) -> list[Check]:
    """Hold the figures of the last evaluation against `policy.yaml`, the failed ones first."""
    reports = project.root / "reports"
    try:
        measured = msgspec.json.decode((reports / "metrics.json").read_bytes())
        cost = msgspec.json.decode((reports / "cost.json").read_bytes())
    except FileNotFoundError:
        raise MlopsError("nothing was evaluated in this checkout", "mlops pipeline") from None
    checks = list(judge_figures(project.policy.gates, measured, cost))
    return sorted(checks, key=lambda check: check.passed)


def judge_figures(gates: Gates, measured: dict[str, Any], cost: Metrics) -> Iterator[Check]:
    """Yield one check for each limit in the policy. A figure that is missing fails."""
    for name, gate in gates.metrics.items():
        value, baseline = measured["model"].get(name), measured["baseline"].get(name)
        yield from _limits(name, value, gate.min, gate.max)
        if gate.margin is not None:
            yield _margin(name, value, baseline, gate.margin, higher_is_better=gate.max is None)
    rule = gates.slices
    for one in measured["slices"]:
        if one["column"] in rule.columns and one["rows"] >= rule.min_rows:
            name = f"{rule.metric} of {one['column']} = {one['value']} ({one['rows']:,} rows)"
            yield from _limits(name, one["metrics"].get(rule.metric), rule.min, rule.max)
    yield from _limits("model_megabytes", cost.get("model_megabytes"), None, gates.limits.model_megabytes)
    yield from _limits("one_row_ms", cost.get("one_row_ms"), None, gates.limits.one_row_ms)


def _limits(name: str, value: float | None, low: float | None, high: float | None) -> Iterator[Check]:
    if low is not None:
        yield Check(name, value, f"at least {low:g}", value is not None and value >= low)
    if high is not None:
        yield Check(name, value, f"at most {high:g}", value is not None and value <= high)


def _margin(name: str, value: float | None, baseline: float | None, margin: float, *, higher_is_better: bool) -> Check:
    limit = f"{margin:g} {'above' if higher_is_better else 'below'} the baseline's {baseline}"
    if value is None or baseline is None:
        return Check(name, value, limit, passed=False)
    gain = value - baseline if higher_is_better else baseline - value
    return Check(name, value, limit, gain >= margin)


def require_passed(checks: list[Check], what: str) -> None:
    """Refuse, with exit code 3, when a gate was not passed."""
    failed = [check for check in checks if not check.passed]
    if failed:
        raise MlopsError(
            f"{what} did not pass its gates: " + "; ".join(map(str, failed)),
            "improve the model, or have the change of a limit in policy.yaml reviewed",
            exit_code=3,
        )
