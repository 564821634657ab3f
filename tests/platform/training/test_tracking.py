"""A tracking store in trouble: what exactly is wrong is said, before any work is done, with a step that mends it."""

from __future__ import annotations

import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest
from slipway.base.errors import MlopsError
from slipway.registry.models import Registry, bundle_of, cache_folder
from slipway.settings.project import Project
from slipway.training import pipeline
from slipway.training.bundle import Bundle, seal
from slipway.training.tracking import (
    PIPELINE,
    connect,
    experiment,
    find_deleted_run,
    find_run,
    record,
    shown,
    store_uri,
)

# MLflow's own, of its use of SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


def test_a_deleted_experiment_is_told_before_a_stage_runs_and_can_be_restored(project: Project) -> None:
    client = connect(project)
    client.delete_experiment(experiment(project, client))
    shutil.rmtree(project.root / "data")  # a stage would complain of this

    with pytest.raises(MlopsError, match="the experiment flight-delays was deleted in the tracking store") as refused:
        pipeline.run(project)

    named = re.search(r"mlflow experiments restore --experiment-id (\d+)", refused.value.next_step)
    assert named is not None
    client.restore_experiment(named[1])
    assert experiment(project, client) == named[1]


def test_a_deleted_run_is_found_as_what_it_is(project: Project) -> None:
    client = connect(project)
    (project.root / "dvc.lock").write_text("stages: {}\n", encoding="utf-8")
    run = record(project, client, {PIPELINE: "0" * 64}, status="FINISHED")
    assert (find_run(project, client, "0" * 64), find_deleted_run(project, client, "0" * 64)) == (run, None)

    client.delete_run(run)

    assert (find_run(project, client, "0" * 64), find_deleted_run(project, client, "0" * 64)) == (None, run)


def test_a_deleted_model_is_told_and_its_number_is_not_taken_for_another(project: Project, sealed: Bundle) -> None:
    """The number counts from 1 again, and a file of an environment still names the first of before."""
    registry = Registry.open(project)

    def register(note: str) -> Bundle:
        run = record(project, registry.client, {}, status="FAILED")
        lineage = msgspec.structs.replace(sealed.lineage, run_id=run, repository=note)
        made = seal(project.bundle, project.root / note, lineage)
        assert registry.register(made)[0].number == 1
        return made

    first = register("first")
    registry.client.delete_registered_model(registry.name)

    with pytest.raises(MlopsError, match="has no version 1 of flight-delays with sha256:"):
        bundle_of(project, 1, first.digest)
    register("second")
    shutil.rmtree(cache_folder(project, first.digest), ignore_errors=True)
    with pytest.raises(MlopsError, match=r"has another version 1, sha256:\w+, than the one with sha256:") as refused:
        bundle_of(project, 1, first.digest)
    assert "tool.mlops.tracking_uri" in refused.value.next_step


def test_a_store_that_cannot_be_used_from_here_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+pg8000://me:secret@127.0.0.1:1/runs")

    with pytest.raises(MlopsError, match=r"store postgresql\+pg8000://127\.0\.0\.1:1/runs cannot be used: No"):
        connect(project)


class WithoutDatabase(BaseHTTPRequestHandler):
    """Answers as MLflow's server does when its PostgreSQL is down."""

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/health" else 503)

    def do_POST(self) -> None:
        self._answer(503)

    def _answer(self, status: int) -> None:
        body = b"OK" if status == 200 else b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "connection refused"}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def test_of_a_server_without_its_database_nobody_is_told_to_start_the_server(
    finished: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with HTTPServer(("127.0.0.1", 0), WithoutDatabase) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")

        with pytest.raises(MlopsError, match="runs, but what it stands on does not answer") as refused:
            connect(Project(finished.root))
        server.shutdown()

    assert refused.value.next_step.startswith("start the server's database")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://me:secret@host:5000/x", "http://host:5000/x"),
        ("sqlite:////home/me@work/x.db", "sqlite:////home/me@work/x.db"),
    ],
)
def test_an_address_is_shown_without_its_password(uri: str, said: str) -> None:
    assert shown(uri) == said


@pytest.mark.parametrize("folder", ["a?b", "a%41b"])
def test_a_folder_that_an_address_cannot_hold_is_refused(project: Project, tmp_path: Path, folder: str) -> None:
    """Its versions would lie elsewhere, and begin with 1 again."""
    odd = Project(project.root.rename(tmp_path / folder))

    with pytest.raises(MlopsError, match="an SQLite store cannot be addressed at"):
        store_uri(odd)


def test_another_odd_folder_holds_its_store(project: Project, tmp_path: Path) -> None:
    odd = Project(project.root.rename(tmp_path / "a #b;c&d=e+f@g:h'i ä%j"))

    record(odd, connect(odd), {}, status="FAILED")

    assert (odd.state / "mlflow.db").is_file()
    assert list(tmp_path.iterdir()) == [odd.root]
