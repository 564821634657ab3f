"""How groups of rows are answered: what a rule of `gates.slices` may name beside the metrics of metrics.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from slipway.base.errors import MlopsError
from slipway.kinds.base import Kind
from slipway.settings.policy import MEAN_ANSWER, SHARE_OF, Policy, is_rate


def rate_names(kind: Kind) -> list[str]:
    """The names of the rates of a kind: one, or one for each class."""
    return [SHARE_OF + name for name in kind.classes] or [MEAN_ANSWER]


def rates(kind: Kind, answers: Sequence[Any]) -> dict[str, float]:
    """The mean answer, which is the share of yes, or the mean quantity; of classes, the share of answers of each."""
    if not kind.classes:
        return {MEAN_ANSWER: float(np.mean(answers))}
    return {SHARE_OF + name: float(np.mean([one == name for one in answers])) for name in kind.classes}


def require_rates(policy: Policy, kind: Kind) -> None:
    """Refuse a rule that names a rate of another kind, or of a class that there is not."""
    known = rate_names(kind)
    for rule in policy.gates.slice_rules:
        if is_rate(rule.metric) and rule.metric not in known:
            raise MlopsError(
                f"policy.yaml, gates.slices: this model has no {rule.metric}",
                f"choose from {', '.join(known)}, or a metric of metrics.py",
            )
