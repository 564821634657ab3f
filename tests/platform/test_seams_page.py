"""The page about what can be added from outside: each seam is on it, and each example does what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from outside import Install, naming
from sklearn.linear_model import LinearRegression, PoissonRegressor
from sklearn.model_selection import GridSearchCV
from slipway import kinds
from slipway.delivery import target
from slipway.delivery.target import Run
from slipway.forge import hosting
from slipway.log import store
from slipway.log.store import LogPlace
from slipway.monitoring import checks, drift
from slipway.monitoring.checks import CheckContext
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.settings.policy import MonitorPolicy, ServingPolicy
from slipway.settings.project import Project
from slipway.training import engines
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer
from slipway.training.train import convert
from starlette.testclient import TestClient

VENDORED = Path(__file__).parents[2] / "template" / "vendor" / "slipway"
PAGE = (VENDORED / "docs" / "seams.md").read_text("utf-8")
#: Group, form and module, of each row that has a group.
TABLE = re.findall(r"^\|[^|]+\| `(slipway\.\w+)` \|[^|]+\| `(\w+)` in `([\w/]+)\.py` \|", PAGE, flags=re.MULTILINE)
EXAMPLES = dict(re.findall(r"^## (slipway\.\w+)\n.*?^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL))
SERVING = ServingPolicy(max_body_kb=64, max_rows=8, requests_per_second=10_000, return_score=False)
Add = Callable[[str], ModuleType]
#: The name that `install` gives the first thing from outside.
NAME = "outside0"


def test_every_seam_of_the_platform_is_in_the_table_with_its_form() -> None:
    sources = [path.read_text("utf-8") for path in (VENDORED / "src").rglob("*.py")]
    groups = {group for text in sources for group in re.findall(r'^GROUP = "(slipway\.\w+)"', text, flags=re.MULTILINE)}

    assert {group for group, _, _ in TABLE} == EXAMPLES.keys() == groups - {"slipway.project"}
    for _, form, module in TABLE:
        assert hasattr(import_module(f"slipway.{module.replace('/', '.')}"), form)


@pytest.mark.parametrize("group", EXAMPLES)
def test_an_example_is_short(group: str) -> None:
    assert len([line for line in EXAMPLES[group].splitlines() if line]) <= 14


@pytest.fixture
def add(install: Install) -> Add:
    """Installs the example of a group: what it defines last is the entry point."""

    def installed(group: str) -> ModuleType:
        last = re.findall(r"^(?:class |def )?([A-Za-z]+)(?:\(|:| =)", EXAMPLES[group], flags=re.MULTILINE)[-1]
        return install(EXAMPLES[group], group, last)

    return installed


def test_the_kind_of_the_page_answers_with_whole_numbers(add: Add) -> None:
    add("slipway.kind")
    kind = kinds.of(PoissonRegressor())

    assert kind is kinds.named("count")
    assert kind.answers(np.array([1.6], np.float32), 0.5) == [2]
    assert kinds.of(LinearRegression()).name == "number"


def test_the_exporter_of_the_page_converts_what_no_other_does(add: Add, tmp_path: Path) -> None:
    add("slipway.exporter")
    rows = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    search = GridSearchCV(LinearRegression(), {"fit_intercept": [True]}).fit(rows, rows.sum(1))

    convert(search, kinds.named("number"), rows, tmp_path / "model.onnx")  # it proves the scores


def test_the_target_of_the_page_notes_what_it_was_asked_for(add: Add, project: Project, sealed: Bundle) -> None:
    add("slipway.target")
    run = Run(
        environment="test", version=3, digest=sealed.digest, commit="", bundle="", python="", host="", port=1,
        source="cache", limits=SERVING,
    )  # fmt: skip
    found = target.find(NAME)

    found.switch(project, found.prepare(project, run, sealed), None, log=print)

    running = target.find(NAME).status(project, "test")
    assert running is not None
    assert (running.version, running.digest, running.run, running.challenger) == (3, sealed.digest, run, None)
    assert found.stop(project, "test")
    assert not found.stop(project, "test")
    assert found.log_of(project, "test") == "there is none"


def test_the_engine_of_the_page_keeps_the_order_of_the_chunks(add: Add, project: Project) -> None:
    add("slipway.engine")
    made = naming(project, NAME)
    made.tool.engine_workers = 2

    with engines.opened(made, print) as engine:
        found = [*engine.map(abs, range(-9, 0))]

    assert found == [9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_the_log_of_the_page_is_kept_in_the_folder_of_its_address(add: Add, tmp_path: Path) -> None:
    add("slipway.log")
    sink = store.opened(LogPlace(tmp_path / "here", "predictions", "test", f"{NAME}:{tmp_path / 'share'}"))

    sink.append(b"{}\n")
    sink.close()

    assert [*sink.scan(None, None)] == [b"{}\n"]
    assert [path.name for path in (tmp_path / "share" / "predictions").iterdir()] == ["test"]
    assert not (tmp_path / "here").exists()


def test_the_drift_test_of_the_page_measures_the_column_that_the_policy_names(add: Add) -> None:
    add("slipway.drift")
    draws = np.random.default_rng(1).normal(size=(2, 1000))
    before, now = (pl.DataFrame({"weight": half, "pieces": half}) for half in (draws[0], draws[1] + 1.5))
    limits = MonitorPolicy(min_rows=200, watch=0.1, act=0.25, p_value=0.01, tests={"weight": NAME})

    found = {column.name: column for column in drift.find(before, now, limits)}

    assert found["weight"].size == pytest.approx(0.547, abs=0.05)  # of two normal distributions, 1.5 apart
    assert {name: column.scale.name for name, column in found.items()} == {"weight": "ks", "pieces": "psi"}


@pytest.mark.parametrize(("days", "said"), [(6, []), (8, ["nothing was asked for 8 days"])])
def test_the_check_of_the_page_finds_silence(add: Add, days: int, said: list[str]) -> None:
    add("slipway.check")
    now = datetime(2013, 10, 9, tzinfo=UTC)
    log = pl.DataFrame({"at": [now - timedelta(days=days)]})
    (check,) = [one for one in checks.installed() if one not in checks.CHECKS.values()]

    found = checks.findings_of(cast(CheckContext, SimpleNamespace(now=now, log=log)), [check])

    assert [one.sentence for one in found] == said


def test_the_protocol_of_the_page_answers_a_list_of_rows(add: Add, sealed: Bundle) -> None:
    add("slipway.protocol")
    served = Served("test", 7, sealed.digest, "0" * 40, "registry")
    client = TestClient(create_app(ServingContext(Scorer(sealed), served, SERVING)))
    rows = sealed.golden.rows[:2]

    answers: dict[str, Any] = client.post("/rows", json=rows).json()

    expected = client.post("/predict", json={"rows": rows}).json()
    name = sealed.model.answer
    assert [one[name] for one in answers["predictions"]] == [one[name] for one in expected["predictions"]]
    assert client.post("/rows", content=b"[", headers={"content-type": "application/json"}).status_code == 400
    assert "/rows" in client.get("/openapi.json").json()["paths"]


def test_the_host_of_the_page_takes_the_projects_that_are_its_business(add: Add, project: Project) -> None:
    outside = add("slipway.forge")
    assert not isinstance(hosting.of(project), outside.Mailed)

    (project.root / "MAINTAINERS").touch()

    assert hosting.of(project).propose("retrain") == "send it to the list: git format-patch main..retrain"
