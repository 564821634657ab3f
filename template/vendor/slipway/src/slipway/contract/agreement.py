"""Do policy.yaml and params.yaml name columns that there are? Asked before any work is done."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from slipway.base.errors import MlopsError
from slipway.contract import logged
from slipway.contract.rows import Contract
from slipway.settings.params import SplitParams
from slipway.settings.policy import Policy


def require_columns(policy: Policy, contract: Contract, answer: str, more: Iterable[str] = ()) -> None:
    """Refuse a name in policy.yaml that no column has; `answer` is that of the prediction, beside which is `more`."""
    asked = [field.name for field in contract.fields]
    outcome = [field.name for field in contract.outcome_fields]
    compared = [*logged.with_numbers(contract, asked), "score", answer, *more]
    for number, rule in enumerate(policy.gates.slice_rules, start=1):
        _require("gates.slices" if number == 1 else f"gates.slices, rule {number}", rule.columns, [*asked, *outcome])
    _require("monitor.ignore", policy.monitor.ignore, compared)
    _require("monitor.tests", policy.monitor.tests, [*compared, "default"])
    _require("privacy.fields", policy.privacy.fields, asked)
    if policy.labels:
        if not policy.labels.key:
            raise MlopsError(
                "policy.yaml, labels.key: it is empty, so no label finds its prediction", "name [id], or columns"
            )
        _require("labels.key", policy.labels.key, [*asked, "id"])
        _require("labels.columns", policy.labels.columns.values(), [*policy.labels.key, *outcome])


def require_split(split: SplitParams, contract: Contract) -> None:
    """Refuse a split that lacks what it goes by, or that ends before it begins."""
    if split.by != "time":
        return
    if contract.time is None or split.train_until is None or split.test_until is None:
        raise MlopsError(
            "a split by time needs a time in the contract, and train_until and test_until in params.yaml",
            "add what is missing, or set split.by: digest",
        )
    if split.test_until <= split.train_until:
        raise MlopsError(
            f"params.yaml, split: test_until is {split.test_until}, not after train_until, {split.train_until}",
            "test on what came after the training rows",
        )


def _require(place: str, named: Iterable[str], known: Collection[str]) -> None:
    for name in named:
        if name not in known:
            raise MlopsError(f"policy.yaml, {place}: there is no column {name}", f"choose from {', '.join(known)}")
