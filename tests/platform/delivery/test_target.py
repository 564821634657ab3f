"""What runs an environment: a target found by its name, also one from outside, and the way from one to another."""

# ruff: noqa: ARG002 - a target is told more than a small one needs

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest
from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.delivery import deploy, environments, target
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.native import target as native
from slipway.delivery.native.state import Desired, State
from slipway.delivery.target import Rival, Run
from slipway.forge import git
from slipway.registry.models import cache_folder
from slipway.settings.project import Project
from slipway.training.bundle import Bundle


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


PORT, OTHER_PORT = free_port(), free_port()
ENVIRONMENT = """\
alias: staging
target: TARGET
serve:
  host: 127.0.0.1
  port: PORT
champion:
  version: 1
  digest: DIGEST
  commit: {commit}
""".format(commit="a" * 40)


@dataclass(frozen=True)
class Answering:
    run: Run
    server: HTTPServer
    challenger: Rival | None = None

    @property
    def version(self) -> int:
        return self.run.version

    @property
    def digest(self) -> str:
        return self.run.digest


def quiet(line: str) -> None:
    """Take a line about the progress, and leave it."""


class Small:
    """A target of some ten lines: a thread that says which model it is."""

    def __init__(self, name: str, *, needs_image: bool = False) -> None:
        self.name = name
        self.needs_image = needs_image
        self.is_broken = False
        self.events: list[str] = []
        self._answering: Answering | None = None

    def prepare(self, project: Project, run: Run, bundle: Bundle) -> Run:
        return run

    def switch(self, project: Project, run: Run, rival: Rival | None, *, log: Log) -> None:
        if self.is_broken:
            raise MlopsError(f"{self.name} is broken", "mend it")
        self.stop(project, run.environment)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                body = json.dumps({"model": {"digest": run.digest}}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        server = HTTPServer((run.host, run.port), Handler)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        self._answering = Answering(run, server)
        self.events.append("on")

    def status(self, project: Project, environment: str) -> Answering | None:
        return self._answering

    def stop(self, project: Project, environment: str) -> bool:
        if self._answering is None:
            return False
        self._answering.server.shutdown()
        self._answering.server.server_close()
        self._answering = None
        self.events.append("off")
        return True

    def log_of(self, project: Project, environment: str) -> str:
        return "nowhere"


ONE, TWO, BOXED = Small("one"), Small("two"), Small("boxed", needs_image=True)


@pytest.fixture(autouse=True)
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Project) -> Iterator[None]:
    """Another distribution, with three targets."""
    facts = tmp_path / "plugs" / "plugs-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: plugs\nVersion: 1.0\n", encoding="utf-8")
    lines = "\n".join(f"{one.name} = {__name__}:{one.name.upper()}" for one in (ONE, TWO, BOXED))
    (facts / "entry_points.txt").write_text(f"[{target.GROUP}]\n{lines}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(facts.parent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # nobody there: deploying does not depend on it
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("MLOPS_STATE", raising=False)
    yield
    for one in (ONE, TWO, BOXED):
        one.stop(project, "staging")
        one.is_broken = False
        one.events.clear()


@pytest.fixture
def names(project: Project, sealed: Bundle) -> Callable[..., None]:
    """Change staging's file to what a review has accepted."""
    shutil.copytree(sealed.path, cache_folder(project, sealed.digest))
    git.git(project.root, "init", "--quiet")
    for key, value in (("user.name", "tests"), ("user.email", "tests@localhost"), ("commit.gpgSign", "false")):
        git.git(project.root, "config", key, value)
    project.environments.mkdir(parents=True)

    def name(wanted: str, port: int = PORT) -> None:
        text = ENVIRONMENT.replace("TARGET", wanted).replace("PORT", str(port)).replace("DIGEST", sealed.digest)
        (project.environments / "staging.yaml").write_text(text, encoding="utf-8")
        git.git(project.root, "add", "--force", "deploy")
        git.git(project.root, "commit", "--quiet", "--allow-empty", "--no-verify", "-m", f"Run staging on {wanted}")

    return name


def test_a_target_from_outside_runs_what_an_environment_names(project: Project, names: Callable[..., None]) -> None:
    names("one")

    deploy.deploy(project, "staging", quiet)

    (found,) = deploy.running(project, "staging")
    assert (found.target, found.running.version) == ("one", 1)
    assert deploy.stop(project, "staging")
    assert deploy.running(project, "staging") == []


def test_a_target_that_nobody_has_is_refused_with_those_there_are(project: Project, names: Callable[..., None]) -> None:
    names("nomad")

    with pytest.raises(MlopsError, match="there is no target nomad") as refused:
        deploy.deploy(project, "staging", quiet)

    assert refused.value.next_step.startswith("choose from boxed, ")
    assert "native" in refused.value.next_step


def test_moving_to_another_target_stops_the_old_one_after_the_new_one_answers(
    project: Project, names: Callable[..., None]
) -> None:
    names("one")
    deploy.deploy(project, "staging", quiet)
    names("two", port=OTHER_PORT)
    TWO.events = ONE.events  # both in one list, in order
    told: list[str] = []

    deploy.deploy(project, "staging", told.append)

    assert ONE.events == ["on", "on", "off"]
    assert [one.target for one in deploy.running(project, "staging")] == ["two"]
    assert "one has stopped: two answers for staging now" in told
    TWO.events = []


def test_moving_to_another_target_on_the_same_port_stops_the_old_one_first_and_says_so(
    project: Project, names: Callable[..., None]
) -> None:
    names("one")
    deploy.deploy(project, "staging", quiet)
    names("two")
    told: list[str] = []

    deploy.deploy(project, "staging", told.append)

    assert ONE.events == ["on", "off"]
    assert [one.target for one in deploy.running(project, "staging")] == ["two"]
    assert any(f"one stops first, as two needs its port {PORT}" in line for line in told)


def test_the_old_target_answers_again_when_the_new_one_cannot(project: Project, names: Callable[..., None]) -> None:
    names("one")
    deploy.deploy(project, "staging", quiet)
    names("two")
    TWO.is_broken = True

    with pytest.raises(MlopsError, match="two is broken"):
        deploy.deploy(project, "staging", quiet)

    assert ONE.events == ["on", "off", "on"]
    assert [one.target for one in deploy.running(project, "staging")] == ["one"]


def test_a_release_without_an_image_is_refused_by_a_target_that_needs_one_and_nothing_stops(
    project: Project, names: Callable[..., None]
) -> None:
    names("one")
    deploy.deploy(project, "staging", quiet)
    names("boxed")

    with pytest.raises(MlopsError, match="version 1 names no image, and boxed runs staging from one") as refused:
        deploy.deploy(project, "staging", quiet)

    assert "mlops build --push" in refused.value.next_step
    assert ONE.events == ["on"]


def test_a_supervisor_of_an_earlier_release_is_not_given_code_that_it_cannot_start(project: Project) -> None:
    """It would start the server of its own layout, which another bundle does not hold."""
    place = EnvironmentFolder(project.state, "test")
    run = Run(
        environment="test", version=2, digest="", commit="", bundle="", python="", host="127.0.0.1", port=1,
        source="cache", limits=project.policy.serving, program="slipway.serving.run",
    )  # fmt: skip
    with place.lock():
        place.write(State(ticket="", phase="serving", supervisor=1))

        with pytest.raises(MlopsError, match="cannot start the code of version 2") as refused:
            native.switch(project, run)

    assert refused.value.next_step == "mlops stop test, then mlops deploy test"
    assert place.read(Desired) is None


def test_a_step_that_builds_images_is_green_where_no_engine_is(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pytest.importorskip("slipway.delivery.compose.images")
    (project.root / images.BUILD_FILE).parent.mkdir()
    (project.root / images.BUILD_FILE).touch()
    project.__dict__["tool"] = msgspec.structs.replace(project.tool, image="acme/flights")
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []

    assert images.possible(project, ["serve"], push=True, log=said.append) == ([], False)
    assert said == ["no images are built: docker is not installed"]


def test_a_file_without_a_target_follows_what_an_older_project_said(
    project: Project, names: Callable[..., None]
) -> None:
    names("one")
    path = project.environments / "staging.yaml"
    path.write_text(path.read_text("utf-8").replace("target: one\n", ""), encoding="utf-8")
    wanted = environments.load(project, "staging")
    project.__dict__["tool"] = msgspec.structs.replace(project.tool, target="two")

    assert target.of(project, wanted) is TWO
