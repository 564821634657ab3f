"""What the platform says of a team's package that lacks something: one sentence that names the file, and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import slipway
from slipway import team
from slipway.base.errors import MlopsError
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.native.state import Desired, State
from slipway.delivery.native.supervisor import Supervisor
from slipway.delivery.target import Run
from slipway.settings.policy import ServingPolicy
from slipway.settings.project import Project

PLATFORM = str(Path(slipway.__file__).parents[1])
PATH_OF_TEAM = team.source("contract").parent
GOOD = {
    "contract": """
from slipway import Contract, Row
class Parcel(Row):
    weight: float
class Way(Row):
    days: float
CONTRACT = Contract(row=Parcel, outcome=Way, key=("weight",))
""",
    "features": "def features(rows): return rows",
    "metrics": "def metrics(truth, scores, threshold): return {}",
    "model": """
ANSWER = "slow"
def target(outcomes): return outcomes["days"]
def build(seed, **params): return None
def baseline(features, seed): return None
""",
}

#: What is asked for, the module that is written otherwise, how (not at all: `None`), and what is said of it.
FAULTS = [
    ("CONTRACT", "contract", None, "src/tiny/contract.py is missing"),
    ("CONTRACT", "contract", "", "src/tiny/contract.py defines no CONTRACT"),
    ("CONTRACT", "contract", "CONTRACT = {}", "CONTRACT in src/tiny/contract.py is not a slipway.Contract"),
    (
        "CONTRACT",
        "contract",
        "import nobody_has_this",
        "src/tiny/contract.py cannot be imported: ModuleNotFound",
    ),
    (
        "CONTRACT",
        "contract",
        "CONTRACT = (",
        "src/tiny/contract.py cannot be imported: SyntaxError: ",
    ),
    ("features", "features", None, "src/tiny/features.py is missing"),
    ("features", "features", "def feature(rows): ...", "src/tiny/features.py defines no features"),
    ("features", "features", "features = 1", "features in src/tiny/features.py is not a function"),
    ("metrics", "metrics", None, "src/tiny/metrics.py is missing"),
    ("metrics", "metrics", "", "src/tiny/metrics.py defines no metrics"),
    ("metrics", "metrics", "metrics = {}", "metrics in src/tiny/metrics.py is not a function"),
    ("model", "model", None, "src/tiny/model.py is missing"),
    ("model", "model", GOOD["model"].replace("ANSWER", "REPLY"), "src/tiny/model.py defines no ANSWER"),
    (
        "model",
        "model",
        GOOD["model"].replace('"slow"', '"weight"'),
        "ANSWER in src/tiny/model.py is weight, the name of a column of ev",
    ),
    (
        "model",
        "model",
        GOOD["model"].replace('"slow"', '"score"'),
        "ANSWER in src/tiny/model.py is score, the name of something else",
    ),
    ("model", "model", GOOD["model"].replace('"slow"', "1"), "ANSWER in src/tiny/model.py is 1, which is no name"),
    ("model", "model", GOOD["model"].replace("def target", "def aim"), "src/tiny/model.py defines no target"),
    ("model", "model", GOOD["model"].replace("def build", "def make"), "src/tiny/model.py defines no build"),
    ("model", "model", GOOD["model"] + "baseline = 0", "baseline in src/tiny/model.py is not a function"),
    ("prepare", "prepare", "", "src/tiny/prepare.py defines no prepare"),
    ("prepare", "prepare", "prepare = 1", "prepare in src/tiny/prepare.py is not a function"),
    ("routes", "routes", "", "src/tiny/routes.py defines no routes"),
    ("routes", "routes", "routes = {}", "routes in src/tiny/routes.py is not a function"),
]

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a team's package, and the entry points that name one."""

    def written(modules: dict[str, str | None], *packages: str) -> Path:
        site = tmp_path / "site"
        (site / "tiny").mkdir(parents=True)
        for module, text in ({"__init__": ""} | GOOD | modules).items():
            if text is not None:
                (site / "tiny" / f"{module}.py").write_text(text, encoding="utf-8")
        for package in packages:
            about = site / f"{package}-1.0.dist-info"
            about.mkdir()
            (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
            (about / "entry_points.txt").write_text(f"[{team.GROUP}]\nhere = {package}\n")
        return site

    return written


@pytest.fixture
def alone(write: Write, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """The same, and this process knows of no other team's package until the test is over."""
    others = [path for path in sys.path if not any(Path(path).glob("flight_delays-*.dist-info"))]

    def written(modules: dict[str, str | None], *packages: str) -> Path:
        site = write(modules, *packages)
        monkeypatch.setattr(sys, "path", [str(site), *others])
        forget()
        return site

    yield written
    monkeypatch.undo()
    forget()


def forget() -> None:
    """Let the next who asks for the team look for it."""
    team._package.cache_clear()
    team._part.cache_clear()
    # What another test patched there stays behind as a value that is not looked for again.
    for name in team._NEEDED.keys() & vars(team).keys():
        delattr(team, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tiny"]:
        del sys.modules[name]


def ask(name: str) -> None:
    getattr(team, name)() if name in ("prepare", "routes") else getattr(team, name)


def test_a_whole_package_is_found(alone: Write) -> None:
    site = alone({}, "tiny")

    assert team.PACKAGE == "tiny"
    assert [field.name for field in team.CONTRACT.fields] == ["weight"]
    assert team.features({}) == team.metrics(np.zeros(1), np.zeros(1), 0.5) == {}
    assert team.model.ANSWER == "slow"
    assert team.routes() is None
    assert team.prepare() is None
    assert team.source("features") == site / "tiny" / "features.py"


@pytest.mark.parametrize(("asked", "module", "text", "problem"), FAULTS)
def test_what_is_missing_or_wrong_is_named(
    alone: Write, asked: str, module: str, text: str | None, problem: str
) -> None:
    alone({module: text}, "tiny")

    with pytest.raises(MlopsError) as refused:
        ask(asked)

    assert refused.value.problem.startswith(problem)
    assert "\n" not in str(refused.value).replace("\n next: ", "", 1)
    assert refused.value.next_step.startswith(("restore it: git checkout -- src/tiny/", "add it; ", "mend it; "))


def test_classes_are_those_of_the_contract_in_its_order(alone: Write) -> None:
    """Its column holds places in its own list, so another order would take each class for another one."""
    sized = GOOD["contract"].replace("days: float", 'size: Literal["large", "small"]')
    contract = "from typing import Literal\n" + sized
    named = GOOD["model"] + 'CLASSES = ("small", "large")\n'
    alone({"contract": contract, "model": named}, "tiny")

    with pytest.raises(MlopsError) as refused:
        team.classes()

    assert refused.value.problem == (
        "CLASSES in src/tiny/model.py has the values of size in another order than the contract"
    )
    assert refused.value.next_step == "take that of the contract, which numbers its column: large, small"


def test_without_classes_there_are_none(alone: Write) -> None:
    alone({}, "tiny")

    assert team.classes() == ()


@pytest.mark.parametrize(("packages", "found"), [((), "none does"), (("other", "tiny"), "2 of them do: other, tiny")])
def test_exactly_one_package_is_the_projects(alone: Write, packages: tuple[str, ...], found: str) -> None:
    alone({}, *packages)

    with pytest.raises(MlopsError, match=rf'\[project\.entry-points\."slipway\.project"\] .* and {found}'):
        ask("CONTRACT")


def test_a_package_that_is_named_and_not_there_is_told(alone: Write) -> None:
    alone({}, "other")

    with pytest.raises(MlopsError, match=r"src/other/contract\.py is missing"):
        ask("CONTRACT")


@pytest.mark.parametrize(
    ("stage", "module", "text", "problem"),
    [
        ("validate", "contract", "CONTRACT = {}", "CONTRACT in src/tiny/contract.py is not a slipway.Contract"),
        ("train", "features", "", "src/tiny/features.py defines no features"),
    ],
)
def test_a_command_says_it_in_two_lines_and_ends_with_1(
    finished: Project, write: Write, stage: str, module: str, text: str | None, problem: str
) -> None:
    found = os.pathsep.join([PLATFORM, str(write({module: text}, "tiny"))])

    done = subprocess.run(
        [sys.executable, "-m", "slipway", "stage", stage],
        cwd=finished.root, env=os.environ | {"PYTHONPATH": found}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    error, next_step = done.stderr.splitlines()
    assert (error, next_step[:7]) == (f"error: {problem}", " next: ")


@pytest.mark.parametrize(("module", "text"), [("contract", "CONTRACT = ("), ("features", None)])
def test_scoring_as_a_program_says_it_in_two_lines(
    finished: Project, bundle: Path, write: Write, module: str, text: str | None
) -> None:
    """As `mlops compare` starts it, and `mlops deploy` for another platform."""
    good = {name: (PATH_OF_TEAM / f"{name}.py").read_text("utf-8") for name in ("contract", "features")}
    found = os.pathsep.join([PLATFORM, str(write(good | {module: text}, "tiny"))])

    done = subprocess.run(
        [sys.executable, "-m", "slipway.training.scoring", str(bundle)], input="[]",
        cwd=finished.root, env=os.environ | {"PYTHONPATH": found}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    error, next_step = done.stderr.splitlines()
    assert error.startswith(f"error: src/tiny/{module}.py ")
    assert next_step.startswith(" next: ")


def test_going_back_needs_nothing_of_the_teams_modules(finished: Project, write: Write) -> None:
    """The commit that broke them may be what somebody rolls back from."""
    found = os.pathsep.join([PLATFORM, str(write({"contract": "CONTRACT = ("}, "tiny"))])
    code = "import slipway.delivery.rollback, slipway.delivery.overview, slipway.delivery.native.target"

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=finished.root, env=os.environ | {"PYTHONPATH": found}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("packages", "text", "problem"),
    [
        (("tiny",), None, "src/tiny/contract.py is missing"),
        (("tiny",), "CONTRACT = (", "src/tiny/contract.py cannot be imported: SyntaxError: "),
        ((), GOOD["contract"], "exactly one package in this environment must be the project's"),
    ],
)
def test_a_server_that_lacks_it_tells_its_supervisor(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    packages: tuple[str, ...],
    text: str | None,
    problem: str,
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([PLATFORM, str(write({"contract": text}, *packages))]))
    place = EnvironmentFolder(tmp_path / "state", "test")
    place.folder.mkdir(parents=True)
    limits = ServingPolicy(max_body_kb=64, max_rows=8, requests_per_second=100, return_score=False)
    run = Run(
        environment="test", version=1, digest="", commit="", bundle=str(tmp_path), python=sys.executable,
        host="127.0.0.1", port=0, source="cache", limits=limits,
    )  # fmt: skip
    place.write(Desired(ticket="1", run=run, timeout_s=60))

    Supervisor(place).run()

    state = place.read(State)
    assert state is not None
    assert state.phase == "failed"
    assert (state.problem or "").startswith(problem)
