"""Targets of some ten lines, as another distribution brings them, and environments that name them."""

# ruff: noqa: ARG002 - a target is told more than a small one needs

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest
from running import free_port
from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.delivery import target
from slipway.delivery.target import Rival, Run
from slipway.forge import git
from slipway.registry.models import cache_folder
from slipway.settings.project import Project
from slipway.training.bundle import Bundle, Lineage, seal

PORT, OTHER_PORT = free_port(), free_port()
ENVIRONMENT = """\
alias: staging
target: TARGET
serve:
  host: 127.0.0.1
  port: PORT
champion:
  version: VERSION
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
            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
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

    def hang(self) -> None:
        """Go on listening, and answer nobody."""
        assert self._answering is not None
        self._answering.server.shutdown()

    def log_of(self, project: Project, environment: str) -> str:
        return "nowhere"


ONE, TWO, BOXED = Small("one"), Small("two"), Small("boxed", needs_image=True)


@pytest.fixture
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
def names(project: Project, lineage: Lineage, tmp_path: Path) -> Callable[..., None]:
    """Change staging's file to what a review has accepted; every version has a bundle of its own."""
    git.git(project.root, "init", "--quiet", "--initial-branch", "main")
    for key, value in (("user.name", "tests"), ("user.email", "tests@localhost"), ("commit.gpgSign", "false")):
        git.git(project.root, "config", key, value)
    project.environments.mkdir(parents=True)

    @cache
    def digest(version: int) -> str:
        own = msgspec.structs.replace(lineage, commit=f"{version:040}")
        made = seal(project.bundle, tmp_path / f"bundle-{version}", own)
        shutil.copytree(made.path, cache_folder(project, made.digest))
        return made.digest

    def name(wanted: str, port: int = PORT, version: int = 1) -> None:
        values = {"TARGET": wanted, "PORT": str(port), "VERSION": str(version), "DIGEST": digest(version)}
        text = ENVIRONMENT
        for word, value in values.items():
            text = text.replace(word, value)
        (project.environments / "staging.yaml").write_text(text, encoding="utf-8")
        git.git(project.root, "add", "--force", "deploy")
        subject = f"Run version {version} in staging on {wanted}"
        git.git(project.root, "commit", "--quiet", "--allow-empty", "--no-verify", "-m", subject)

    return name
