"""A project whose policy keeps the log in a bucket: its servers, its monitor, its traces, and what is erased."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import pytest
from flight_delays.contract import CONTRACT
from running import free_port
from slipway import team
from slipway.base import http
from slipway.base.buckets import Bucket
from slipway.base.errors import MlopsError
from slipway.contract.problems import FieldError
from slipway.delivery import uploads
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.native import target as native
from slipway.delivery.native.state import State
from slipway.delivery.target import Run
from slipway.log import erasure, personal, predictions, spool
from slipway.log.bucket import BucketSink
from slipway.log.posted import LabelForm, PostedLabel
from slipway.log.predictions import Prediction, PredictionLog
from slipway.log.store import LogPlace
from slipway.log.upload import Uploader
from slipway.monitoring import run as monitor
from slipway.serving import run as server
from slipway.settings.policy import LabelPolicy, WindowPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

FOLDERS = (f"logs{number}" for number in count())
NOW = datetime(2023, 6, 30, 15, tzinfo=UTC)
SUBJECT = next(field.name for field in CONTRACT.fields if not field.optional)


def in_a_bucket(project: Project, address: str) -> Project:
    """The project, with its log in a folder of a bucket that has none yet."""
    path = project.root / "policy.yaml"
    text = path.read_text("utf-8")
    path.write_text(text.replace("\nserving:\n", f"\nserving:\n  log: {address}/{next(FOLDERS)}\n"), encoding="utf-8")
    return Project(project.root)


def logged(project: Project, sealed: Bundle, days: int, daily: int = 4) -> None:
    """What was asked on so many days, as a folder of this machine holds it, and what happened."""
    folder = predictions.folder(project.state, "test")
    folder.mkdir(parents=True, exist_ok=True)
    (project.root / "data" / "labels").mkdir(parents=True, exist_ok=True)
    told = [f"id,{CONTRACT.outcome_fields[0].name}"]
    for back in range(days):
        day, lines = NOW - timedelta(days=back), []
        for part in range(daily):
            number = day.toordinal() * daily + part
            made = Prediction(
                id=f"{number}", at=day.replace(hour=3 * part), environment="test", version=1, digest=sealed.digest,
                row=sealed.golden.rows[number % len(sealed.golden.rows)], score=number * 7 % 100 / 100, answer=True,
            )  # fmt: skip
            lines.append(msgspec.json.encode(made))
            told.append(f"{number},{number * 11 % 40}")
        (folder / f"{day:%Y-%m-%d}.host.1.jsonl").write_bytes(b"\n".join([*lines, b'{"torn', b""]))
    (project.root / "data" / "labels" / "all.csv").write_text("\n".join(told), encoding="utf-8")


def uploaded(project: Project) -> int:
    return Uploader(project.state, "test", project.policy.serving.log, print).once()


def wait_for(is_so: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def test_the_monitor_says_of_a_bucket_what_it_says_of_a_folder(
    project: Project, sealed: Bundle, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The team's metrics are its own affair, and take most of the time of a run: a plain one stands for them.
    metric = project.policy.gates.metric
    monkeypatch.setitem(vars(team), "metrics", lambda truth, scores, _: {metric: float(np.mean((truth - scores) ** 2))})
    project.environments.mkdir(parents=True, exist_ok=True)
    (project.environments / "test.yaml").touch()

    def judged(one: Project) -> object:
        one.policy.monitor.windows, one.policy.monitor.min_rows = WindowPolicy(days=10, last=2, need=2), 20
        one.policy.labels = LabelPolicy(source="data/labels", key=["id"], delay_days=1)
        one.policy.monitor.quality = None  # that part needs Git
        return msgspec.to_builtins(monitor.run(one, "test", sealed, until=NOW))

    logged(project, sealed, 45)
    expected = judged(project)
    made = in_a_bucket(project, address)
    assert uploaded(made) == 45
    monkeypatch.setenv("MLOPS_STATE", str(project.root / "another-machine"))
    elsewhere = Project(made.root)

    assert judged(elsewhere) == expected
    assert not predictions.folder(elsewhere.state, "test").exists()
    found = predictions.find(elsewhere, str(NOW.toordinal() * 4))
    assert found is not None
    assert found.row == sealed.golden.rows[NOW.toordinal() * 4 % len(sealed.golden.rows)]
    assert personal.scan(elsewhere).looked_at["log of test"] == 180


def test_whatever_a_server_records_is_in_the_bucket(project: Project, sealed: Bundle, address: str) -> None:
    made = in_a_bucket(project, address)
    settings = server.ServerSettings(
        bundle=sealed.path, state=made.state, limits=made.policy.serving, environment="test",
        labels=LabelForm(key=["id"], needed=[]),
    )  # fmt: skip
    context = server._context(settings)
    assert context.log
    assert context.refusals
    assert context.labels

    async def predicted(log: PredictionLog) -> None:
        log.add(["a-1-0"], [msgspec.convert(sealed.golden.rows[0], CONTRACT.row)], [0.5], [True])
        log.close()

    asyncio.run(predicted(context.log))
    context.refusals.add([FieldError(f"#/{SUBJECT}", "is missing", SUBJECT)])
    context.refusals.close()
    context.labels.write([PostedLabel(NOW, {"id": "a-1-0"}, {})])
    context.labels.close()

    assert uploaded(made) == 3
    found = Bucket(made.policy.serving.log).files()
    assert {one.name.partition("/")[0] for one in found} == {"predictions", "refused", "labels"}


@pytest.fixture
def run(project: Project, sealed: Bundle, address: str) -> Run:
    return Run(
        environment="test", version=1, digest=sealed.digest, commit="", bundle=str(sealed.path),
        python=sys.executable, host="127.0.0.1", port=free_port(), source="cache",
        limits=in_a_bucket(project, address).policy.serving,
    )  # fmt: skip


def waiting_s(run: Run) -> float:
    """What the metric says."""
    text = http.ask(run.host, run.port, "/metrics").text
    return float(re.findall(r"^mlops_prediction_log_waiting_seconds (\S+)", text, re.MULTILINE)[0])


def quiet(_: str) -> None:
    """Nobody listens."""


# The supervisor is to outlive whoever started it, so nobody waits for its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_supervised_server_answers_is_in_the_bucket_when_it_has_stopped(
    project: Project, sealed: Bundle, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / "deploy").mkdir(exist_ok=True)
    native.switch(project, run, log=quiet)
    try:
        state = native.status(project, "test")
        assert state is not None
        given = Path(f"/proc/{state.worker}/environ").read_bytes()
        rows = [msgspec.json.encode(row) for row in sealed.golden.rows[:3]]
        asked = [http.ask(run.host, run.port, "/predict", body=row) for row in rows]
        refused = http.ask(run.host, run.port, "/predict", body=rows[0].replace(b":", b":{}x,", 1))
        wait_for(lambda: waiting_s(run) > 0)  # it is written within a twentieth of a second
    finally:
        native.stop(project, "test")

    monkeypatch.setenv("MLOPS_STATE", str(project.root / "another-machine"))
    elsewhere = Project(project.root)
    assert [answer.status for answer in asked] == [200] * 3
    assert refused.status == 400
    assert b"AWS_SECRET" not in given
    assert predictions.read(elsewhere, "test").height == 3


def test_what_serve_answers_is_in_the_bucket_when_it_has_ended(project: Project, address: str) -> None:
    place = LogPlace(project.state, "predictions", "local", f"{address}/{next(FOLDERS)}")
    sink = BucketSink(place)

    with uploads.beside(project.state, "local", place.address):
        sink.append(b'{"id":"a"}\n')

    assert spool.spooled(place.folder) == []
    assert [*sink.scan(None, None)] == [b'{"id":"a"}\n']


def test_a_supervisor_without_the_credentials_is_not_used(project: Project, run: Run) -> None:
    place = EnvironmentFolder(project.state, "test")
    with place.lock():
        place.write(State(ticket="", phase="serving", supervisor=1, knows_privacy=True, knows_programs=True))

        with pytest.raises(MlopsError, match=r"were started without what lets them into s3://flights") as told:
            native.switch(project, run)

    assert told.value.next_step == "mlops stop test, then mlops deploy test"


def test_an_upload_that_was_killed_is_started_again(
    project: Project, run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(uploads, "RETRY_S", 0)
    place = EnvironmentFolder(project.state, "test")
    place.folder.mkdir(parents=True)
    sink = BucketSink(LogPlace(project.state, "predictions", "test", run.limits.log))
    sink.append(b'{"id":"a"}\n')
    keeper = uploads.UploadKeeper(place)
    keeper.keep(run)
    assert keeper._process is not None
    killed = keeper._process
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()

    keeper.keep(run)
    assert keeper._process is not killed
    keeper.keep(None)
    keeper.end()

    assert "the upload of the log ended with code -9, and is started again" in capfd.readouterr().err
    assert sink.scan(None, None) is not None


@pytest.mark.parametrize("is_kept_in", ["folder", "bucket"])
def test_a_subject_is_erased_from_the_log_with_a_record(
    project: Project, sealed: Bundle, address: str, is_kept_in: str
) -> None:
    logged(project, sealed, 6)
    made = in_a_bucket(project, address) if is_kept_in == "bucket" else project
    value = sealed.golden.rows[0][SUBJECT]
    told = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    before = predictions.read(made, "test")
    theirs = _count(made, value)
    assert 0 < theirs < before.height

    rehearsed = erasure.erase(made, "test", f"{SUBJECT}={told}", dry_run=True)
    assert _count(made, value) == rehearsed.predictions == theirs
    done = erasure.erase(made, "test", f"{SUBJECT}={told}", "request 7")

    assert (done.predictions, _count(made, value)) == (theirs, 0)
    left = predictions.read_counted(made, "test")
    assert (left.frame.height, left.counts.torn) == (before.height - theirs, 6)
    assert [(one.id, one.ticket, one.predictions) for one in erasure.records(made, "test")] == [
        (done.id, "request 7", theirs)
    ]
    assert erasure.erase(made, "test", f"{SUBJECT}={told}").predictions == 0


def _count(project: Project, value: object) -> int:
    found = predictions._predictions(project, "test", None, None, with_rows=True)
    return sum(one is not None and one.row[SUBJECT] == value for one in found)
