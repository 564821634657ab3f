"""The team's package: the only module that imports it.

The project's `pyproject.toml` names the package in the entry point `slipway.project`. What the platform needs of it are
four modules:

    contract.py    CONTRACT
    features.py    features(rows)
    model.py       ANSWER, target(outcomes), build(seed, **params), baseline(features, seed); CLASSES, if it has some
    metrics.py     metrics(truth, scores, threshold)

Two more need not be there: routes.py adds endpoints to the server, and prepare.py makes one table of raw files that are
not rows yet. Each is imported when something of it is asked for, so that a server needs no training library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from slipway.base.errors import MlopsError
from slipway.contract.columns import Column, Columns
from slipway.contract.rows import Contract

GROUP = "slipway.project"

#: What stands beside the answer in every reply.
_BESIDE_THE_ANSWER = ("id", "score", "model", "contributions")
#: What only answers with classes have beside them, in a reply and in the log.
PROBABILITIES = "probabilities"


class Model(Protocol):
    """`model.py`: what is predicted, by which estimator, and what it must beat."""

    #: The name of the prediction in every answer, log and report.
    ANSWER: str

    def target(self, outcomes: Columns) -> Column:
        """Return what the model learns, one value per row."""

    def build(self, seed: int, **params: Any) -> Any:
        """Return the untrained estimator; `params` is the `model` part of params.yaml."""

    def baseline(self, features: list[str], seed: int) -> Any:
        """Return the simple estimator that must be beaten."""


class Features(Protocol):
    """`features` of `features.py`."""

    def __call__(self, rows: Columns) -> dict[str, Column]:
        """Turn columns of the contract into features, one value per row."""


class Metrics(Protocol):
    """`metrics` of `metrics.py`."""

    def __call__(self, truth: Column, scores: Column, threshold: Any) -> dict[str, float]:
        """Measure scores against what happened: with CLASSES, a column of scores for each, and a threshold for each."""


if TYPE_CHECKING:
    PACKAGE: str
    CONTRACT: Contract
    features: Features
    metrics: Metrics
    model: Model

#: What of the team's modules is asked for, by the name under which this module gives it.
_NEEDED = {
    "CONTRACT": ("contract", ("CONTRACT",)),
    "features": ("features", ("features",)),
    "metrics": ("metrics", ("metrics",)),
    "model": ("model", ("ANSWER", "target", "build", "baseline")),
}


def __getattr__(name: str) -> Any:
    """Give `PACKAGE`, `CONTRACT`, `features`, `metrics` or `model` of the project whose environment this is.

    Raises `MlopsError` when the project does not say which package is its own, or the package lacks what is needed.
    """
    if name == "PACKAGE":
        return _package()
    if name not in _NEEDED:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    module, needed = _NEEDED[name]
    return _part(_package(), module, needed)


def classes() -> tuple[str, ...]:
    """Return the classes that `model.py` names in `CLASSES`; without that, none.

    `target` gives the place of a row's class in it. Raises `MlopsError` for what cannot be that.
    """
    named, place = getattr(__getattr__("model"), "CLASSES", ()), _place(_package(), "model")
    if named == ():
        return ()
    texts = [name for name in named if isinstance(name, str) and name] if isinstance(named, tuple | list) else []
    if len(texts) < 2 or len({*texts}) < len(named):
        raise MlopsError(
            f"CLASSES in {place} is {named!r}, and it takes two or more names that differ",
            'mend it; it looks like: CLASSES = ("on time", "late", "very late")',
        )
    contract = __getattr__("CONTRACT")
    if PROBABILITIES in [__getattr__("model").ANSWER, *(field.name for field in contract.fields)]:
        raise MlopsError(
            f"with CLASSES, {PROBABILITIES} are something else in every reply and in the log",
            "name the column of the contract, or ANSWER, otherwise",
        )
    for field in contract.outcome_fields:
        if {*field.categories} == {*texts} and [*field.categories] != texts:
            raise MlopsError(
                f"CLASSES in {place} has the values of {field.name} in another order than the contract",
                f"take that of the contract, which numbers its column: {', '.join(field.categories)}",
            )
    return tuple(texts)


def routes() -> Callable[[Any], Mapping[str, Callable[[Any], Any]]] | None:
    """Return `routes` of the team's `routes.py`, which need not be there; see `serving/team_routes.py`."""
    if find_spec(f"{_package()}.routes") is None:
        return None
    found: Callable[[Any], Mapping[str, Callable[[Any], Any]]] = _part(_package(), "routes", ("routes",))
    return found


def prepare() -> Callable[[Path], Any] | None:
    """Return `prepare` of the team's `prepare.py`, which need not be there; see the stage in `data/prepare.py`."""
    if find_spec(f"{_package()}.prepare") is None:
        return None
    found: Callable[[Path], Any] = _part(_package(), "prepare", ("prepare",))
    return found


def source(module: str) -> Path:
    """Return the file of one of the team's modules, such as `features`."""
    found = find_spec(f"{_package()}.{module}")
    if found is None or found.origin is None:
        raise _missing(_package(), module)
    return Path(found.origin)


@cache
def _package() -> str:
    names = sorted({entry.value for entry in entry_points(group=GROUP)})
    if len(names) != 1:
        found = f"{len(names)} of them do: {', '.join(names)}" if names else "none does"
        raise MlopsError(
            f'exactly one package in this environment must be the project\'s, by [project.entry-points."{GROUP}"] in '
            f"its pyproject.toml, and {found}",
            "run `uv sync` in the project's folder, and this through `uv run`",
        )
    return names[0]


@cache
def _part(package: str, module: str, needed: tuple[str, ...]) -> Any:
    place = _place(package, module)
    found = _imported(package, module)
    for name in needed:
        if not hasattr(found, name):
            raise MlopsError(f"{place} defines no {name}", f"add it; {_described(name)}")
        value = getattr(found, name)
        if name == "CONTRACT" and not isinstance(value, Contract):
            raise MlopsError(f"CONTRACT in {place} is not a slipway.Contract", f"mend it; {_described(name)}")
        if name not in ("CONTRACT", "ANSWER") and not callable(value):
            raise MlopsError(f"{name} in {place} is not a function", f"mend it; {_described(name)}")
        if name == "ANSWER":
            _require_free(value, place, [field.name for field in __getattr__("CONTRACT").fields])
    return found if module == "model" else getattr(found, needed[0])


def _require_free(answer: Any, place: str, columns: list[str]) -> None:
    """Refuse a name of the prediction that a reply, a batch or the monitor cannot tell from something else."""
    if not isinstance(answer, str) or not answer:
        raise MlopsError(f"ANSWER in {place} is {answer!r}, which is no name", f"mend it; {_described('ANSWER')}")
    for taken, what in ((columns, "a column of every request"), (_BESIDE_THE_ANSWER, "something else in every reply")):
        if answer in taken:
            raise MlopsError(f"ANSWER in {place} is {answer}, the name of {what}", "mend it; name what is predicted")


def _imported(package: str, module: str) -> ModuleType:
    try:
        if find_spec(package) is None or find_spec(f"{package}.{module}") is None:
            raise _missing(package, module)
        return import_module(f"{package}.{module}")
    except MlopsError:
        raise
    except Exception as error:
        raise MlopsError(
            f"{_place(package, module)} cannot be imported: {type(error).__name__}: {error}",
            f'mend it; this shows the line: uv run python -c "import {package}.{module}"',
        ) from error


def _place(package: str, module: str) -> str:
    return f"src/{package.replace('.', '/')}/{module}.py"


def _missing(package: str, module: str) -> MlopsError:
    place = _place(package, module)
    return MlopsError(f"{place} is missing", f"restore it: git checkout -- {place}")


def _described(name: str) -> str:
    words = {
        "CONTRACT": "CONTRACT = Contract(row=..., outcome=..., key=(...))",
        "features": "def features(rows: Columns) -> dict[str, Column]",
        "metrics": "def metrics(truth: Column, scores: Column, threshold: float) -> dict[str, float]",
        "ANSWER": "ANSWER = the name of the prediction, like 'late'",
        "target": "def target(outcomes: Columns) -> Column",
        "build": "def build(seed: int, **params) -> an estimator",
        "routes": 'def routes(model): return {"GET /path": function}, or there is no such file',
        "prepare": "def prepare(raw: Path) -> polars.DataFrame, or there is no such file",
        "baseline": "def baseline(features: list[str], seed: int) -> an estimator",
    }
    return f"it looks like: {words[name]}"
