"""Another distribution adds a protocol or a place for the log, and the team adds endpoints, without a change here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import flight_delays
import msgspec
import pytest
from flight_delays.contract import CONTRACT
from slipway import team as team_of_this_project
from slipway.base.errors import MlopsError
from slipway.log import predictions, refusals
from slipway.log.predictions import PredictionLog
from slipway.log.refusals import RefusalLog
from slipway.log.store import FolderSink, LogPlace
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.settings.policy import ServingPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer
from starlette.testclient import TestClient

POLICY = ServingPolicy(max_body_kb=64, max_rows=8, requests_per_second=10_000, return_score=False)

#: Rows as lists of values, in the order of the contract's columns.
LISTS = """
import msgspec
from flight_delays.contract import CONTRACT
from slipway.serving.protocols.base import Question, document, rows_of

NAMES = [field.name for field in CONTRACT.fields]

class Lists:
    routes = ("/lists",)

    def __init__(self, model):
        self._model = model

    def pages(self, is_ready):
        return {"/lists/columns": lambda: (200, NAMES)}

    def describe(self):
        told = {"summary": "Lists of values", "responses": {"200": {"description": "Answers."}}}
        return {"paths": {"/lists": {"post": told}, "/lists/columns": {"get": told}}}

    def read(self, body):
        rows = rows_of([dict(zip(NAMES, row)) for row in document(body)["lists"]], self._model.max_rows)
        return Question(rows, lambda made: {"answers": [one.answer for one in made]})

    def value(self, body, column):
        return None

    def refuse(self, problem):
        return problem.body(lists="refused")
"""

#: Keeps lines in memory, by log and environment.
MEMORY = """
from collections import defaultdict
KEPT = defaultdict(list)

class Memory:
    def __init__(self, place):
        self._lines = KEPT[place.address, place.log, place.environment]

    def append(self, lines):
        self._lines += lines.splitlines()

    def scan(self, since, until):
        yield from self._lines

    def find(self, id_):
        yield from (line for line in self._lines if f'"{id_}"'.encode() in line)

    def forget(self, day):
        gone = len(self._lines)
        self._lines.clear()
        return gone

    def close(self):
        pass
"""

Install = Callable[[str, str, str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution of one module, which names one entry point."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)

    def write(module: str, source: str, group: str, point: str) -> None:
        about = site / f"{module}-1.dist-info"
        about.mkdir(parents=True)
        (site / f"{module}.py").write_text(source)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(f"[{group}]\n{point}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return write


def client_for(bundle: Bundle, policy: ServingPolicy = POLICY, log: PredictionLog | None = None) -> TestClient:
    served = Served("test", 7, bundle.digest, "0" * 40, "registry")
    return TestClient(create_app(ServingContext(Scorer(bundle), served, policy, log)))


def in_order(row: dict[str, Any]) -> list[Any]:
    return [row[field.name] for field in CONTRACT.fields]


def test_a_protocol_from_outside_answers_and_is_described(install: Install, sealed: Bundle) -> None:
    install("other_lists", LISTS, "slipway.protocol", "lists = other_lists:Lists")
    client, rows = client_for(sealed), sealed.golden.rows[:2]

    answers = client.post("/lists", json={"lists": [in_order(row) for row in rows]}).json()["answers"]

    expected = client.post("/predict", json={"rows": rows}).json()["predictions"]
    assert answers == [one[sealed.model.answer] for one in expected]
    assert client.get("/lists/columns").json() == [field.name for field in CONTRACT.fields]
    assert client.post("/lists", json={"lists": [[]]}).json()["lists"] == "refused"
    assert {"/lists", "/lists/columns", "/predict"} <= client.get("/openapi.json").json()["paths"].keys()


def test_a_protocol_that_the_policy_leaves_out_is_neither_answered_nor_described(sealed: Bundle) -> None:
    client = client_for(sealed, msgspec.structs.replace(POLICY, protocols=["invocations"]))

    paths = client.get("/openapi.json").json()["paths"]

    assert {"/predict", "/invocations", "/ping"} <= paths.keys()
    assert not [path for path in paths if path.startswith("/v2")]
    assert client.get("/v2").status_code == 404
    with pytest.raises(MlopsError, match="there is no protocol tensors"):
        client_for(sealed, msgspec.structs.replace(POLICY, protocols=["tensors"]))


def test_two_protocols_with_a_route_in_common_are_refused(install: Install, sealed: Bundle) -> None:
    install("same_route", LISTS.replace("/lists", "/predict"), "slipway.protocol", "same = same_route:Lists")

    with pytest.raises(MlopsError, match="have a route in common"):
        client_for(sealed)


def test_what_nobody_describes_is_not_served(install: Install, sealed: Bundle) -> None:
    install("silent", LISTS.replace('{"paths": {', '{"other": {'), "slipway.protocol", "silent = silent:Lists")

    with pytest.raises(MlopsError, match="/lists is answered here and described nowhere"):
        client_for(sealed)


def test_an_extension_that_cannot_be_loaded_is_named(install: Install, sealed: Bundle) -> None:
    install("broken", "import nothing_of_that_name", "slipway.protocol", "broken = broken:Broken")

    with pytest.raises(MlopsError, match=r"slipway\.protocol names broken as broken:Broken, which cannot be loaded"):
        client_for(sealed)


@pytest.mark.parametrize("version", [7, None])
def test_every_path_that_is_described_is_there(sealed: Bundle, version: int | None) -> None:
    """And is one of the model that answers: no placeholder is left, and no reference leads nowhere."""
    served = Served("test", version, sealed.digest, "0" * 40, "registry")
    client = TestClient(create_app(ServingContext(Scorer(sealed), served, POLICY)))
    api = client.get("/openapi.json").json()

    for path, methods in api["paths"].items():
        assert "{" not in path
        for method in methods:
            assert client.request(method, path).status_code in (200, 415, 422, 400)
    for reference in _references(api):
        part = api
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def _references(part: Any) -> Iterator[str]:
    for key, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if key == "$ref":
            yield value
        else:
            yield from _references(value)


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Write the team's `routes.py`, into a folder that is a part of its package until the test is over."""
    monkeypatch.setattr(flight_delays, "__path__", [*flight_delays.__path__, str(tmp_path / "team")])

    def write(source: str) -> None:
        (tmp_path / "team").mkdir()
        (tmp_path / "team" / "routes.py").write_text(source)

    yield write
    sys.modules.pop("flight_delays.routes", None)
    team_of_this_project._part.cache_clear()


TEAM = '''
def fares(asked):
    """What a flight costs."""
    return {"fare": 2 * int(asked["miles"])}

def quote(asked):
    if not isinstance(asked, dict):
        raise ValueError("a quote needs an object")
    return asked

def routes(model):
    return {"GET /fares": fares, "POST /quote": quote}
'''


def test_an_endpoint_of_the_team_answers_and_is_described(team: Callable[[str], None], sealed: Bundle) -> None:
    team(TEAM)
    client = client_for(sealed)

    assert client.get("/fares?miles=21").json() == {"fare": 42}
    assert client.post("/quote", json={"a": 1}).json() == {"a": 1}
    assert client.post("/quote", json=[]).json()["detail"] == "a quote needs an object"
    assert client.post("/quote", content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert client.post("/quote", content=b" " * 70_000).status_code == 413
    assert client.get("/openapi.json").json()["paths"]["/fares"]["get"]["summary"] == "What a flight costs."


def test_the_endpoint_that_the_page_shows_answers(team: Callable[[str], None], sealed: Bundle) -> None:
    page = (Path(__file__).parents[3] / "template" / "vendor" / "slipway" / "docs" / "serving.md").read_text("utf-8")
    team(page.partition("## Endpoints of your own")[2].partition("```python\n")[2].partition("```")[0])
    client = client_for(sealed)

    assert client.get("/fares?miles=21").json() == {"fare": 42}
    assert client.get("/fares?miles=far").status_code == 422
    assert client.get("/openapi.json").json()["paths"]["/fares"]["get"]["summary"] == "What a flight costs."


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def routes(model): return {'GET /predict': print}", "/predict is answered by the platform"),
        ("def routes(model): return {'PUT /fares': print}", "'PUT /fares' is no endpoint"),
        ("ROUTES = {}", r"routes\.py defines no routes"),
    ],
)
def test_an_endpoint_of_the_team_that_does_not_fit_is_refused(
    team: Callable[[str], None], sealed: Bundle, source: str, sentence: str
) -> None:
    team(source)

    with pytest.raises(MlopsError, match=sentence):
        client_for(sealed)


def keeping_elsewhere(root: Path, policy: str) -> Project:
    """A project whose policy keeps the log in memory."""
    text = policy.replace("\nserving:\n", '\nserving:\n  log: "memory:here"\n')
    assert text != policy
    (root / "policy.yaml").write_text(text, encoding="utf-8")
    return Project(root)


def test_a_log_is_kept_where_another_distribution_keeps_it(install: Install, project: Project, sealed: Bundle) -> None:
    install("memory_log", MEMORY, "slipway.log", "memory = memory_log:Memory")
    project.environments.mkdir(parents=True)
    (project.environments / "staging.yaml").touch()
    made = keeping_elsewhere(project.root, (project.root / "policy.yaml").read_text("utf-8"))
    log = PredictionLog(made.state, "staging", 7, sealed.digest, address=made.policy.serving.log)
    refused = RefusalLog(made.state, "staging", address=made.policy.serving.log)
    served = Served("staging", 7, sealed.digest, "0" * 40, "registry")
    row = sealed.golden.rows[0]

    with TestClient(create_app(ServingContext(Scorer(sealed), served, POLICY, log, refused))) as client:
        answer = client.post("/predict", json=row).json()
        client.post("/predict", json=row | {next(iter(row)): {}})
    log.close()
    refused.close()

    found = predictions.find(made, answer["id"])
    assert found is not None
    assert found.version == 7
    assert predictions.read(made, "staging").height == 1
    assert len(refusals.read(made, "staging")) == 1
    assert not predictions.folder(made.state, "staging").exists()
    assert predictions.forget(made, "staging", 1, datetime.now(UTC)) == 2


def test_an_address_that_nothing_keeps_a_log_at_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MlopsError, match="nothing here keeps a log at nowhere://x"):
        PredictionLog(tmp_path, "test", 7, "", address="nowhere://x")


def test_the_files_of_a_folder_are_those_of_a_day_and_a_process(tmp_path: Path) -> None:
    sink = FolderSink(LogPlace(tmp_path, "predictions", "test"))
    folder = tmp_path / "predictions" / "test"
    folder.mkdir(parents=True)
    for day in ("2001-01-01", "2001-01-02", "2001-01-03"):
        (folder / f"{day}.host.1.jsonl").write_bytes(b'{"id":"%s"}\n' % day.encode())
    (folder / "notes.jsonl").write_bytes(b"mine\n")

    since, until = datetime(2001, 1, 2, 9, tzinfo=UTC), datetime(2001, 1, 2, 23, 59, tzinfo=UTC)

    assert [*sink.scan(since, until)] == [b'{"id":"2001-01-02"}\n', b'{"id":"2001-01-03"}\n']
    assert [*sink.find("2001-01-01")] == [b'{"id":"2001-01-01"}\n']
    sink.append(b'{"id":"now"}\n')
    sink.close()
    assert [*sink.scan(datetime.now(UTC), None)] == [b'{"id":"now"}\n']
    assert sink.forget(date(2001, 1, 2)) == 2
    assert min(path.name[:10] for path in folder.iterdir()) == "2001-01-03"
    assert (folder / "notes.jsonl").exists()
