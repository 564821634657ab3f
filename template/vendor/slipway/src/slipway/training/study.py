"""What a search asks of Optuna: the one module that knows it. Optuna is no dependency of the platform.

The next parameters follow from the seed and the finished trials alone: each trial is asked for by a sampler of its own,
seeded by its number. A trial is written down when it has ended, in one transaction. So a search that was killed goes on
as if nothing had happened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from slipway.base.errors import MlopsError
from slipway.base.numbers import significant
from slipway.settings.search import ParameterRange, Values
from slipway.training.tracking import sqlite_address

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

NEEDED = 'uv add --group dev "optuna>=5,<6"'
#: Digits of a number that is tried, and proposed as it was tried: more would tell nothing.
DIGITS = 4

Outcome = Literal["measured", "stopped", "failed"]


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters and what they are worth: the metric in each fold that was measured.

    A trial that was worse than most after some folds is `stopped`, one that raised is `failed`, with its reason.
    """

    number: int
    params: dict[str, Any]
    outcome: Outcome
    values: list[float]
    reason: str = ""

    @property
    def mean(self) -> float:
        """The mean over the folds that were measured."""
        return sum(self.values) / len(self.values)


def require_optuna() -> None:
    """Refuse to go on without Optuna, or with one of another major version."""
    try:
        import optuna
    except ImportError:
        raise MlopsError("a search needs Optuna, which is not installed in this environment", NEEDED) from None
    if not optuna.__version__.startswith("5."):
        raise MlopsError(f"a search needs Optuna 5, and {optuna.__version__} is installed", NEEDED)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Suggestion:
    """What to try next, and whether it is worth going on with after some folds."""

    params: dict[str, Any]
    trial: Trial

    def is_hopeless(self, values: list[float]) -> bool:
        """Whether the mean so far is worse than the median of the earlier trials after as many folds."""
        self.trial.report(sum(values) / len(values), len(values))
        return self.trial.should_prune()


class TrialStore:
    """The trials of one search in `path`, and what follows from them; `sign` is -1 where lower is better."""

    def __init__(self, path: Path, ranges: Mapping[str, Values], sign: int, seed: int) -> None:
        self._path, self._sign, self._seed = path, sign, seed
        self._spaces = {name: _space(values) for name, values in ranges.items()}
        self._frozen: list[FrozenTrial] = self._stored.get_trials() if path.is_file() else []

    @property
    def tried(self) -> list[Tried]:
        """All that has ended, the present parameters first."""
        return [msgspec.convert(one.user_attrs["tried"], Tried) for one in self._frozen]

    def suggest(self) -> Suggestion:
        """What to try next."""
        number = len(self._frozen)
        trial = self._replayed(number).ask(self._spaces)
        return Suggestion({name: self._as_tried(name, value) for name, value in trial.params.items()}, trial)

    def add(self, tried: Tried) -> None:
        """Write down what has ended."""
        from optuna.trial import TrialState, create_trial

        states = {"measured": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
        steps = {step: sum(tried.values[:step]) / step for step in range(1, len(tried.values) + 1)}
        facts: dict[str, Any] = {
            "state": states[tried.outcome],
            "value": None if tried.outcome == "failed" else tried.mean,
            "intermediate_values": steps,
            "user_attrs": {"tried": msgspec.to_builtins(tried)},
        }
        try:
            frozen = create_trial(params=tried.params, distributions=self._spaces, **facts)
        except ValueError:  # the present parameters may lie outside of the ranges: nothing follows from them then
            frozen = create_trial(**facts | {"state": TrialState.FAIL, "value": None, "intermediate_values": {}})
        self._stored.add_trial(frozen)
        self._frozen.append(frozen)

    def importance(self) -> dict[str, float]:
        """Which part of the differences between trials comes from each parameter alone; 1 in sum.

        Hutter, Hoos, Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014. Empty
        where too few trials tell.
        """
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        study = self._replayed(0)
        if len({one.value for one in study.trials if one.state.name == "COMPLETE"}) < len(self._spaces) + 2:
            return {}
        parts = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
        return {name: float(part) for name, part in parts.items()}

    @cached_property
    def _stored(self) -> Study:
        import optuna

        self._path.parent.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.RDBStorage(sqlite_address(self._path))
        return optuna.create_study(storage=storage, study_name="search", direction=self._direction, load_if_exists=True)

    @property
    def _direction(self) -> Literal["maximize", "minimize"]:
        return "maximize" if self._sign > 0 else "minimize"

    def _replayed(self, number: int) -> Study:
        """The finished trials in memory, with a sampler that depends on the seed and a trial's number alone."""
        import optuna

        digest = hashlib.sha256(f"{self._seed} {number}".encode()).digest()
        sampler = optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "big"))
        pruner = optuna.pruners.MedianPruner()
        study = optuna.create_study(direction=self._direction, sampler=sampler, pruner=pruner)
        study.add_trials(self._frozen)
        return study

    def _as_tried(self, name: str, value: Any) -> Any:
        """A number with few digits, inside its range."""
        from optuna.distributions import FloatDistribution

        space = self._spaces[name]
        if not isinstance(space, FloatDistribution):
            return value
        digits = DIGITS if space.step is None else 2 * DIGITS
        return min(max(significant(value, digits), space.low), space.high)


def _space(values: Values) -> BaseDistribution:
    from optuna import distributions

    if not isinstance(values, ParameterRange):
        return distributions.CategoricalDistribution(values)
    low, high, step = (cast("Any", number) for number in (values.low, values.high, values.step))
    if values.is_whole:
        return distributions.IntDistribution(low, high, log=values.log, step=step or 1)
    return distributions.FloatDistribution(float(low), float(high), log=values.log, step=step)
