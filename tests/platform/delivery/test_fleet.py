"""What `mlops status` says of all machines that serve an environment: who is there, since when, and with what."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec
import pytest
from running import free_port
from slipway.base.buckets import Bucket, StoredObject
from slipway.cli import app
from slipway.delivery import fleet
from slipway.delivery.beats import HeartbeatKeeper
from slipway.delivery.native import target as native
from slipway.delivery.target import Rival, Run
from slipway.log import heartbeats
from slipway.log.heartbeats import STALE_S, Heartbeat, HeartbeatSync, ServedVersion
from slipway.settings.environment import Challenger, Environment, Platform, Release, ServeAddress
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from typer.testing import CliRunner

NOW = datetime(2030, 6, 30, 12, tzinfo=UTC)
FOLDERS = (f"fleet{number}" for number in count())
ONE, TWO, THREE = (f"sha256:{letter * 64}" for letter in "abc")
SERVE = ServeAddress(host="127.0.0.1", port=1)


def shared(project: Project, address: str, champion: Release | None = None) -> Project:
    """The project with its log in a bucket, and an environment that names a champion."""
    path = project.root / "policy.yaml"
    text = path.read_text("utf-8")
    path.write_text(text.replace("\nserving:\n", f"\nserving:\n  log: {address}\n"), encoding="utf-8")
    project.environments.mkdir(parents=True, exist_ok=True)
    wanted = Environment(alias="test", serve=SERVE, champion=champion, target="native")
    (project.environments / "test.yaml").write_bytes(msgspec.yaml.encode(wanted))
    return Project(project.root)


def run_of(project: Project, bundle: Bundle, version: int) -> Run:
    (project.root / "deploy").mkdir(exist_ok=True)
    return Run(
        environment="test", version=version, digest=bundle.digest, commit="", bundle=str(bundle.path),
        python=sys.executable, host="127.0.0.1", port=free_port(), source="cache", limits=project.policy.serving,
        platform_digest=THREE, file_commit="d" * 40,
    )  # fmt: skip


def eventually(project: Project, machines: int, now: datetime | None = None) -> list[str]:
    deadline = time.monotonic() + 30
    while len(lines := fleet.describe(project, ["test"], now or datetime.now(UTC))["test"]) != machines:
        assert time.monotonic() < deadline, lines
        time.sleep(0.1)
    return lines


# The supervisor is to outlive whoever started it, so nobody waits for its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_servers_of_one_bucket_see_each_other_until_they_stop_or_fall_silent(
    project: Project, sealed: Bundle, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = Release(version=1, digest=sealed.digest, commit="0" * 40)
    place = f"{address}/{next(FOLDERS)}"
    here = shared(project, place, champion)
    shutil.copytree(here.root, tmp_path / "another-machine")
    there = Project(tmp_path / "another-machine")
    other = Bundle(Path(shutil.copytree(sealed.path, tmp_path / "other")))
    native.switch(here, run_of(here, sealed, 1), log=lambda _: None)
    try:
        native.switch(there, run_of(there, other, 2), log=lambda _: None)
        wanted = msgspec.structs.replace(champion, digest=ONE)
        both = eventually(there, 2)
        shared(there, place, wanted)
        monkeypatch.chdir(here.root)
        said = CliRunner().invoke(app, ["status"]).stdout
        state = native.status(there, "test")
        assert state is not None
        os.killpg(state.supervisor, signal.SIGKILL)
    finally:
        native.stop(here, "test")
        native.stop(there, "test")

    name = socket.gethostname()
    assert [line.split(",")[:2] for line in both] == [
        [name, f" champion version {version} {sealed.digest[:19]} on platform {THREE[:19]} by commit ddddddddd"]
        for version in (1, 2)
    ]
    assert all("1 worker, since " in line and " ago" in line and "stale" not in line for line in both)
    assert said.count(f"  {name}, champion version ") == 2
    (left,) = eventually(here, 1, datetime.now(UTC) + timedelta(seconds=STALE_S + 1))
    assert "champion version 2" in left
    assert left.endswith("seen 2 minutes ago, stale: it has missed three heartbeats, and may be gone")
    (told,) = fleet.describe(there, ["test"], datetime.now(UTC))["test"]
    assert told.endswith(f"not what test.yaml says: champion version 1 {ONE[:19]}")


def beat(seen: datetime = NOW, machine: str = "one", *served: ServedVersion) -> Heartbeat:
    return Heartbeat(
        environment="test", machine=machine, started=seen - timedelta(days=1), seen=seen, address="127.0.0.1:1",
        workers=2, served=[*served] or [ServedVersion("champion", 1, ONE)],
    )  # fmt: skip


@pytest.fixture(params=["refuses", "hangs"])
def away(request: pytest.FixtureRequest, address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No bucket: nobody listens at its address, or somebody who never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1] if request.param == "hangs" else free_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        yield


def test_a_bucket_that_is_away_is_told_in_time_beside_what_is_here(
    project: Project, away: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fleet.PATIENCE_S < 10
    monkeypatch.setattr(fleet, "PATIENCE_S", 2)
    made = shared(project, "s3://flights/away")
    heartbeats.write(made.state, beat(datetime.now(UTC)))
    begun = time.monotonic()

    told, here = fleet.describe(made, ["test"], datetime.now(UTC))["test"]

    assert time.monotonic() - begun < 10
    assert told.startswith("other machines are not known: the bucket at s3://flights/away")
    assert here.startswith("one, champion version 1")


def test_a_log_on_this_machine_has_no_heartbeats(project: Project, sealed: Bundle) -> None:
    keeper = HeartbeatKeeper(project.state)

    keeper.keep(run_of(project, sealed, 1), None)

    assert fleet.describe(project, ["test"], NOW) == {}
    assert not heartbeats.folder(project.state, "test").parent.exists()


def test_a_machine_that_stops_while_heartbeats_are_read_is_not_told(
    project: Project, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, listed = f"{address}/{next(FOLDERS)}", Bucket.list
    made, bucket = shared(project, place), Bucket(f"{place}/fleet/test")
    bucket.put("one.json", msgspec.json.encode(beat(NOW, "one")))
    gone = StoredObject("test/two.json", 1, "")
    monkeypatch.setattr(Bucket, "list", lambda self: [*listed(self), gone])

    told = fleet.describe(made, ["test"], NOW)["test"]
    heartbeats.write(made.state, beat(datetime.now(UTC), "alive"))
    HeartbeatSync(made.state, "test", place).sync()

    assert [line.partition(",")[0] for line in told] == ["one"]
    assert {one.name for one in listed(bucket)} >= {"one.json"}


def test_what_a_killed_machine_left_is_removed_after_a_week_by_another(project: Project, address: str) -> None:
    place = f"{address}/{next(FOLDERS)}"
    made, bucket = shared(project, place), Bucket(f"{place}/fleet/test")
    ages = {"gone": timedelta(days=8), "silent": timedelta(days=6)}
    for machine, age in ages.items():
        bucket.put(f"{machine}.json", msgspec.json.encode(beat(datetime.now(UTC) - age, machine)))
    bucket.put("notes.txt", b"somebody else's")
    heartbeats.write(made.state, beat(datetime.now(UTC), "alive"))

    HeartbeatSync(made.state, "test", place).sync()

    assert {one.name.partition(".")[0] for one in bucket.list()} == {"alive", "silent", "notes"}
    assert [line.partition(",")[0] for line in fleet.describe(made, ["test"], datetime.now(UTC))["test"]] == [
        "alive", "silent",
    ]  # fmt: skip


def test_a_machine_says_again_what_it_serves_and_at_once_when_that_changes(
    project: Project, sealed: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left by a supervisor that was killed is no machine."""
    made = shared(project, "s3://flights/never-asked")
    run = run_of(made, sealed, 1)
    heartbeats.write(made.state, beat(NOW, "killed"))
    keeper = HeartbeatKeeper(made.state)

    keeper.keep(run, None)
    (first,) = heartbeats.local(made.state, "test")
    keeper.keep(run, None)
    assert heartbeats.local(made.state, "test") == [first]
    keeper.keep(run, Rival(run=msgspec.structs.replace(run, version=2), mode="shadow", share=1))
    (second,) = heartbeats.local(made.state, "test")
    monkeypatch.setattr(keeper, "_next_at", 0.0)
    keeper.keep(run, Rival(run=msgspec.structs.replace(run, version=2), mode="shadow", share=1))
    (third,) = heartbeats.local(made.state, "test")
    keeper.end()

    assert [(one.role, one.version) for one in second.served] == [("champion", 1), ("shadow", 2)]
    assert (first.machine, first.started) == (socket.gethostname(), third.started)
    assert first.seen < second.seen < third.seen
    assert heartbeats.local(made.state, "test") == []


def released(version: int, digest: str, platform: str = "") -> Release:
    newer = Platform(version="1", digest=platform, commit="0" * 40) if platform else None
    return Release(version=version, digest=digest, commit="0" * 40, platform=newer)


@pytest.mark.parametrize(
    ("wanted", "served", "said"),
    [
        (released(1, ONE), [("champion", 1, ONE)], ""),
        (released(2, TWO), [("champion", 1, ONE)], f"champion version 2 {TWO[:19]}"),
        (released(1, TWO), [("champion", 1, ONE)], f"champion version 1 {TWO[:19]}"),
        (None, [("champion", 1, ONE)], "no champion"),
        (released(1, ONE, TWO), [("champion", 1, ONE, TWO)], ""),
        (released(1, ONE, TWO), [("champion", 1, ONE, THREE)], f"platform {TWO[:19]}"),
        (released(1, ONE), [("champion", 1, ONE), ("shadow", 2, TWO)], "no shadow"),
        ("trial", [("champion", 1, ONE)], f"canary version 2 {TWO[:19]}"),
        ("trial", [("champion", 1, ONE), ("canary", 2, TWO)], ""),
        ("trial", [("champion", 1, ONE), ("shadow", 2, TWO)], f"canary version 2 {TWO[:19]}, no shadow"),
    ],
)
def test_a_machine_that_serves_something_else_than_the_file_says_is_named(
    wanted: Release | str | None, served: list[tuple[str, int, str]], said: str
) -> None:
    on_trial = Challenger(version=2, digest=TWO, commit="0" * 40, mode="canary") if wanted == "trial" else None
    champion = released(1, ONE) if isinstance(wanted, str) else wanted
    file = Environment(alias="test", serve=SERVE, champion=champion, challenger=on_trial)

    line = fleet._line(beat(NOW, "one", *(ServedVersion(*one) for one in served)), file, NOW)

    assert line.partition("not what test.yaml says: ")[2] == said
