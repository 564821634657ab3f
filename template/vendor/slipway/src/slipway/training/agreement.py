"""Do the settings agree with the team's code? Tried on made-up rows in a second, before the pipeline does any work."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import yaml

from slipway import kinds, team
from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.contract.agreement import require_columns, require_split
from slipway.kinds import multiclass
from slipway.kinds.base import Kind, Threshold
from slipway.settings.policy import Policy, is_rate
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training import formats, team_code
from slipway.training.rates import require_rates


class _Limit(NamedTuple):
    """A limit for a metric, and where in policy.yaml it is."""

    place: str
    metric: str
    min: float | None
    max: float | None


def require_agreement(project: Project, log: Log) -> None:
    """Refuse a column, a metric, a limit or a parameter that contract.py, metrics.py or model.py contradict.

    What cannot be tried is said to `log`, and left alone.
    """
    policy = project.policy
    classes = team.classes()
    require_columns(policy, CONTRACT, team.model.ANSWER, map(multiclass.column, classes))
    require_split(project.params.split, CONTRACT)
    model = team_code.model_of(project)
    kind = kinds.of(model, classes)
    _require_format(project, model)
    if project.params.decision.costs and not kind.has_positives:
        raise MlopsError(
            "params.yaml, decision.costs: the model in model.py answers no yes or no, so that no threshold decides",
            "leave them out",
        )
    threshold = kind.threshold(project.params.decision.wanted)
    require_rates(policy, kind)
    limits = [*_limits(policy)]
    try:
        values = _of_a_perfect_model(kind, threshold)
    except MlopsError:
        raise
    except Exception as error:  # noqa: BLE001 - what the team measures may not be made for made-up rows
        log(f"mind: limits in policy.yaml were not tried: metrics.py raises {type(error).__name__} on made-up rows")
        return
    for limit in limits:
        _require_metric(limit, values)


def _require_format(project: Project, model: Any) -> None:
    """Refuse a format that does not hold the model, and a dvc.yaml that does not keep what `train` writes in it."""
    own = project.params.model_format
    form = formats.named(own.name) if own else formats.ONNX
    if not form.handles(model):
        others = formats.fitting(model)
        raise MlopsError(
            f"params.yaml, model_format: {form.name} keeps no {type(model).__name__}, which model.py builds",
            f"name {others}" if others else "leave it out",
        )
    stages = yaml.safe_load((project.root / "dvc.yaml").read_text("utf-8"))["stages"]
    path = f"model/{form.file}"
    wanted = [("train", "outs", path), ("evaluate", "deps", path), ("export", "deps", path)]
    wanted += [("train", "params", "model_format")] if own else []
    lacking = [
        f"{name} in the {key} of {stage}"
        for stage, key, name in wanted
        if stage in stages and name not in _listed(stages[stage].get(key, []))
    ]
    if lacking:
        raise MlopsError(
            f"dvc.yaml does not have {', '.join(lacking)}, as params.yaml asks for the format {form.name}",
            "put them in; vendor/slipway/docs/models.md has the lines",
        )


def _listed(entries: list[Any]) -> set[str]:
    """What a list in dvc.yaml names; an entry may have settings of its own."""
    return {name for entry in entries for name in (entry if isinstance(entry, dict) else [entry])}


def _limits(policy: Policy) -> Iterator[_Limit]:
    for name, gate in policy.gates.metrics.items():
        yield _Limit(f"gates.metrics.{name}", name, gate.min, gate.max)
    for rule in policy.gates.slice_rules:
        if not is_rate(rule.metric):
            yield _Limit("gates.slices", rule.metric, rule.min, rule.max)
    quality = policy.monitor.quality
    if quality and quality.limit is not None:
        is_more_better = policy.gates.metrics[quality.metric].sign > 0
        bounds = (quality.limit, None) if is_more_better else (None, quality.limit)
        yield _Limit("monitor.quality", quality.metric, *bounds)


def _of_a_perfect_model(kind: Kind, threshold: Threshold) -> dict[str, list[float]]:
    """What each metric is when every score is right, for truths of different shares and sizes."""
    values: dict[str, list[float]] = defaultdict(list)
    for truth in kind.examples():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            measured = team.metrics(truth, kind.certain(truth), threshold)
        for name, value in measured.items():
            values[name].append(float(value))
    return values


def _require_metric(limit: _Limit, values: dict[str, list[float]]) -> None:
    if limit.metric not in values:
        raise MlopsError(
            f"policy.yaml, {limit.place}: metrics.py gives no {limit.metric}",
            f"choose from {', '.join(sorted(values))}",
        )
    known = [value for value in values[limit.metric] if np.isfinite(value)]
    for key, bound, best, is_beyond in (
        ("min", limit.min, max(known, default=None), np.greater),
        ("max", limit.max, min(known, default=None), np.less),
    ):
        if bound is not None and best is not None and is_beyond(bound, best):
            raise MlopsError(
                f"policy.yaml, {limit.place}: {key} is {bound:g}, and a model that is always right has {best:g}",
                "a metric that is better when higher has a min in its own unit, one that is better when lower a max",
            )
