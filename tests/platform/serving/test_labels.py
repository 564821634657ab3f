"""Labels that are posted: on record before they are answered, checked by the contract, read as those of files are."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flight_delays.contract import CONTRACT
from running import free_port
from slipway.base import http
from slipway.base.errors import MlopsError
from slipway.data import labels
from slipway.delivery import labels as intake
from slipway.delivery.access import Admission, digest_of
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.native import target as native
from slipway.delivery.native.state import State
from slipway.delivery.target import Admitted, Run
from slipway.evidence import trace
from slipway.log import erasure, masks, posted, predictions
from slipway.log.posted import LabelForm, LabelLog, PostedLabel
from slipway.log.store import FolderSink, LogPlace
from slipway.log.upload import Uploader
from slipway.monitoring import run as monitor
from slipway.serving import run as server_program
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.settings.access import Token
from slipway.settings.environment import Environment, Release, ServeAddress
from slipway.settings.policy import LabelPolicy, ServingPolicy, WindowPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle, Lineage, seal
from slipway.training.scoring import Scorer
from starlette.testclient import TestClient

(OUTCOME,) = (field.name for field in CONTRACT.outcome_fields)
BY_ID = LabelPolicy(source="data/labels", key=["id"])
FORM = LabelForm(key=["id"], needed=[OUTCOME])
TOKEN = "mlops_" + "a" * 43
LIMITS = ServingPolicy(max_body_kb=64, max_rows=4, requests_per_second=10_000, return_score=False)


@dataclass
class LabelledServer:
    """A supervised server of two processes that asks who asks, and is told what happened."""

    project: Project
    run: Run

    def ask(self, path: str, content: Any = None, token: str | None = TOKEN) -> http.Answer:
        body = content if isinstance(content, bytes | None) else json.dumps(content).encode()
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return http.ask(self.run.host, self.run.port, path, body=body, headers=headers)

    def counted(self) -> dict[str, int]:
        """What became of labels, by the metric, which each process tells the others ten times a second."""
        time.sleep(0.5)
        found = re.findall(r'^mlops_labels_total\{outcome="(\w+)"\} (\d+)', self.ask("/metrics").text, re.MULTILINE)
        return {outcome: int(number) for outcome, number in found}

    @property
    def pids(self) -> list[int]:
        state = native.status(self.project, "test")
        assert state is not None
        return state.workers

    def kill(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)

    @property
    def recorded(self) -> list[PostedLabel]:
        return [label for label in posted.read(self.project, "test") if label is not None]


# The supervisor is to outlive whoever started it, so nobody waits for its end.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def server(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelledServer]:
    root = tmp_path_factory.mktemp("labelled") / "project"
    shutil.copytree(finished.root, root)
    (root / "deploy").mkdir(exist_ok=True)
    project = Project(root)
    facts: dict[str, Any] = dict.fromkeys(
        ["commit", "repository", "run_id", "pipeline", "lock", "python", "platform"], "0"
    )
    bundle = seal(finished.bundle, root.parent / "bundle", Lineage(data=[], **facts))
    masks.make_key(project.state, "test")
    admitted = Admitted(deploying=digest_of("nobody has it"), tokens={"billing": Token(digest=digest_of(TOKEN))})
    folder = native.shared_folder(project, "test")
    folder.mkdir(parents=True)
    (folder / "admitted.json").write_bytes(msgspec.json.encode(admitted))
    run = Run(
        environment="test", version=1, digest=bundle.digest, commit="", bundle=str(bundle.path), workers=2,
        python=sys.executable, host="127.0.0.1", port=free_port(), source="cache", limits=LIMITS, guarded=True,
        labels=FORM,
    )  # fmt: skip
    native.switch(project, run, log=lambda _: None)
    try:
        yield LabelledServer(project, run)
    finally:
        native.stop(project, "test")


# ---------------------------------------------------------------------------- taken


def test_what_is_answered_is_on_record_though_the_servers_are_killed_at_once(server: LabelledServer) -> None:
    """With who said so and when, and from whichever of the processes took it."""
    before, asked_at = len(server.recorded), datetime.now(UTC)

    answers = [server.ask("/labels", {"id": f"killed-{number}", OUTCOME: number}) for number in range(20)]
    known = {"id": "known", OUTCOME: 5.0, "at": "2013-07-01T19:30:00+02:00"}
    answers.append(server.ask("/labels", [{"id": "many", OUTCOME: -3}, known]))
    loaded = [Path(f"/proc/{pid}/maps").read_text("utf-8") for pid in server.pids]
    server.kill()

    assert [answer.status for answer in answers] == [200] * 21
    assert answers[-1].json() == {"accepted": 2}
    found = server.recorded[before:]
    assert sorted((one.key["id"], one.outcome[OUTCOME]) for one in found) == sorted(
        [*((f"killed-{number}", number) for number in range(20)), ("many", -3), ("known", 5)]
    )
    assert {one.identity for one in found} == {masks.mark_of(server.project.state, "test")("token:billing")}
    assert all(asked_at <= one.at <= datetime.now(UTC) for one in found)
    (told,) = (one for one in found if one.key["id"] == "known")
    assert told.time == datetime(2013, 7, 1, 17, 30, tzinfo=UTC)
    assert not any("sklearn" in libraries for libraries in loaded)  # no server has it


WRONG: dict[str, tuple[object, int, str, str]] = {
    "a value beyond the contract": ({"id": "a", OUTCOME: 9999}, 422, f"#/{OUTCOME}", "2000"),
    "another type": ({"id": "a", OUTCOME: "late"}, 422, f"#/{OUTCOME}", "Expected int, got"),
    "a fraction": ({"id": "a", OUTCOME: 1.5}, 422, f"#/{OUTCOME}", "1.5"),
    "no value": ({"id": "a"}, 422, f"#/{OUTCOME}", "is missing"),
    "null": ({"id": "a", OUTCOME: None}, 422, f"#/{OUTCOME}", "null"),
    "no id": ({OUTCOME: 1}, 422, "#/id", "must be the id of a prediction"),
    "a number as id": ({"id": 7, OUTCOME: 1}, 422, "#/id", "must be the id of a prediction"),
    "more than a label": ({"id": "a", OUTCOME: 1, "dest": "BOS"}, 422, "#/dest", "not a field of the contract"),
    "a plain time": ({"id": "a", OUTCOME: 1, "at": "2013-07-01T17:30:00"}, 422, "#/at", "with a zone"),
    "a time to come": ({"id": "a", OUTCOME: 1, "at": "2100-07-01T17:30:00Z"}, 422, "#/at", "to come"),
    "one of three": ([{"id": "a", OUTCOME: 1}, {"id": "b", OUTCOME: None}, 3], 422, f"#/1/{OUTCOME}", "null"),
    "too many": ([{"id": "a", OUTCOME: 1}] * 5, 413, "", "5 labels are more than the 4"),
    "none": ([], 422, "", "neither a label nor a list"),
    "a text": ("late", 422, "", "neither a label nor a list"),
    "no JSON": (b"{", 400, "", "the body is not JSON"),
    "too large": ([{"id": "a" * 70_000, OUTCOME: 1}], 413, "", "larger than 64 kB"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_right_is_refused_by_name_and_nothing_of_it_is_recorded(
    server: LabelledServer, name: str
) -> None:
    content, status, pointer, said = WRONG[name]
    before = len(server.recorded)

    answer = server.ask("/labels", content)

    assert answer.status == status
    told = answer.json()
    assert said in msgspec.json.encode(told).decode()
    assert [one["pointer"] for one in told.get("errors", [])][:1] == ([pointer] if pointer else [])
    assert len(server.recorded) == before


def test_an_item_of_many_is_named_with_its_place(server: LabelledServer) -> None:
    told = server.ask("/labels", [{"id": "a", OUTCOME: 1}, {"id": "b", OUTCOME: 9999}, 3]).json()

    assert told["detail"] == "none of 3 labels is recorded: 2 cannot be right"
    assert [one["pointer"] for one in told["errors"]] == [f"#/1/{OUTCOME}", "#/2"]


def test_who_may_not_ask_may_not_tell_and_everything_is_counted(server: LabelledServer) -> None:
    before = server.counted()
    refused = server.ask("/labels", {"id": "a", OUTCOME: 1}, token=None)
    server.ask("/labels", [{"id": "a", OUTCOME: 1}] * 3)
    server.ask("/labels", [{"id": "a", OUTCOME: 1}, {"id": "b"}])

    assert refused.status == 401
    assert server.counted() == before | {"accepted": before["accepted"] + 3, "refused": before["refused"] + 3}


def test_a_label_that_cannot_be_written_is_not_answered_as_one_that_is(server: LabelledServer) -> None:
    """Unlike a prediction, of which the answer is more than its line."""
    folder = server.project.state / posted.LOG / "test"
    away = folder.rename(folder.with_name("away"))
    folder.write_text("no folder")
    server.kill()  # what is open stays open
    try:
        answer = server.ask("/labels", {"id": "a", OUTCOME: 1})
        predicted = server.ask("/predict", Bundle(Path(server.run.bundle)).golden.rows[0])
    finally:
        folder.unlink()
        away.rename(folder)

    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["detail"] == "labels cannot be recorded here now; send them again"
    assert predicted.status == 200
    assert server.ask("/labels", {"id": "a", OUTCOME: 1}).status == 200


def test_the_description_has_labels_only_where_some_are_taken(server: LabelledServer, sealed: Bundle) -> None:
    described = server.ask("/openapi.json").json()
    served = Served("test", 1, sealed.digest, "0" * 40, "cache")
    client = TestClient(create_app(ServingContext(Scorer(sealed), served, LIMITS)))

    assert "/labels" in described["paths"]
    assert described["components"]["schemas"]["Label"]["required"] == ["id", OUTCOME]
    elsewhere = client.get("/openapi.json").json()
    assert "/labels" not in elsewhere["paths"]
    assert "Label" not in elsewhere["components"]["schemas"]
    assert client.post("/labels", json={"id": "a", OUTCOME: 1}).status_code == 404
    assert "mlops_labels" not in client.get("/metrics").text


# ---------------------------------------------------------------------------- read


def tell(project: Project, *lines: str) -> None:
    folder = project.root / "data" / "labels"
    folder.mkdir(exist_ok=True)
    (folder / "all.csv").write_text("\n".join(lines), encoding="utf-8")


def post(project: Project, *told: tuple[str, int], at: datetime | None = None) -> None:
    log = LabelLog(project.state, "test", FORM)
    now = at or datetime.now(UTC)
    log.write([PostedLabel(now, {"id": id_}, {OUTCOME: value}) for id_, value in told])
    log.close()


def truths(project: Project, rule: LabelPolicy = BY_ID) -> dict[str, bool]:
    """Which predictions were late after all: more than 15 minutes."""
    found = labels.read(project, rule, "test").frame
    return {id_: bool(late) for id_, late in found.select("id", labels.TRUTH).iter_rows()}


def test_labels_that_were_posted_say_what_the_same_in_a_file_say(
    project: Project, sealed: Bundle, server: LabelledServer
) -> None:
    """To the monitor: its verdict, its page, and each of its numbers."""
    rows = sealed.golden.rows * 4
    now = datetime.now(UTC)
    folder = predictions.folder(project.state, "test")
    folder.mkdir(parents=True)
    with (folder / f"{now:%Y-%m-%d}.host.1.jsonl").open("wb") as file:
        for number, row in enumerate(rows):
            score = number * 7 % 100 / 100
            made = predictions.Prediction(f"{number}", now, "test", 1, sealed.digest, row, score, score > 0.5)
            file.write(msgspec.json.encode(made) + b"\n")
    told = [(f"{number}", number * 11 % 40) for number in range(len(rows))] + [("nobody", 3), ("0", 0)]

    def judged() -> dict[str, Any]:
        one = Project(project.root)
        one.policy.monitor.windows, one.policy.monitor.min_rows = WindowPolicy(days=1), 20
        one.policy.labels, one.policy.monitor.quality = BY_ID, None  # that part needs Git
        return dict(msgspec.to_builtins(monitor.run(one, "test", sealed, until=now + timedelta(seconds=1))))

    tell(project, f"id,{OUTCOME}", *(f"{id_},{value}" for id_, value in told))
    by_file = judged()
    shutil.rmtree(project.root / "data" / "labels")
    post(project, *told)
    by_post = judged()

    one, other = by_file.pop("labels"), by_post.pop("labels")
    assert by_post == by_file
    assert by_post["windows"][-1]["quality"][0]["labelled"] == len(rows)
    assert (other["read"], other["posted"], other["files"], other["unknown"]) == (one["read"], one["read"], 0, 1)
    assert other["again"] == one["again"] == 1
    assert "without a prediction in this log: 1 of" in " ".join(other["remarks"])


def test_the_latest_correction_to_come_counts_also_over_a_file(project: Project) -> None:
    tell(project, f"id,{OUTCOME}", "a,0", "b,0", "c,90")
    morning = datetime(2030, 1, 1, 8, tzinfo=UTC)
    post(project, ("a", 90), ("b", 0), at=morning + timedelta(hours=2))
    post(project, ("b", 90), ("b", 80), at=morning + timedelta(hours=3))
    post(project, ("a", 0), at=morning)  # written later by another process, and it came earlier

    found = labels.read(project, BY_ID, "test").counts

    assert truths(project) == {"a": True, "b": True, "c": True}
    assert (found.read, found.posted, found.corrected, found.again) == (8, 5, 2, 0)
    assert found.sentence == "3 labels in 1 file, and 5 posted"


def test_a_file_that_says_when_a_label_was_written_may_overrule_a_post(project: Project) -> None:
    tell(project, f"id,{OUTCOME},told", "a,90,2030-01-01T09:00", "b,90,2030-01-01T07:00")
    post(project, ("a", 0), ("b", 0), at=datetime(2030, 1, 1, 8, tzinfo=UTC))

    assert truths(project, msgspec.structs.replace(BY_ID, time="told")) == {"a": True, "b": False}


def test_a_line_that_holds_no_label_and_one_that_breaks_todays_contract_are_counted(project: Project) -> None:
    post(project, ("a", 0), ("b", 9999))
    (path,) = (project.state / posted.LOG / "test").glob("*.jsonl")
    path.write_bytes(path.read_bytes() + b'{"at": torn\n\n')

    found = labels.read(project, BY_ID, "test").counts

    assert (found.read, found.refused) == (3, 2)
    assert "refused, and not counted: 2 labels; no JSON object in 1 line" in found.remarks[0]


def test_a_hashed_key_is_never_on_record_and_finds_its_prediction(project: Project, sealed: Bundle) -> None:
    """By the columns of the contract: one is hashed, another is a time."""
    key, (hashed, *_) = list(CONTRACT.key), [f.name for f in CONTRACT.fields if f.name == "flight"]
    masks.make_key(project.state, "test")
    mask = masks.Mask({hashed: "hash"}, (masks.folder(project.state, "test") / "log.key").read_bytes())
    row = sealed.golden.rows[0]
    held = mask(msgspec.convert(row, CONTRACT.row))
    made = predictions.Prediction("a", datetime.now(UTC), "test", 1, sealed.digest, held, 0.5, True)
    FolderSink(LogPlace(project.state, "predictions", "test")).append(msgspec.json.encode(made) + b"\n")
    rule = LabelPolicy(source="data/labels", key=key)
    settings = server_program.ServerSettings(
        bundle=sealed.path, state=project.state, limits=LIMITS, environment="test", hidden={hashed: "hash"},
        labels=LabelForm(key=key, needed=[OUTCOME]),
    )  # fmt: skip

    with TestClient(create_app(server_program._context(settings))) as client:
        told = {name: row[name] for name in key} | {OUTCOME: 90}
        assert client.post("/labels", json=told).json() == {"accepted": 1}
        assert client.post("/labels", json={"id": "a", OUTCOME: 90}).status_code == 422

    (line,) = (project.state / posted.LOG / "test").glob("*.jsonl")
    assert msgspec.json.decode(line.read_bytes())["key"][hashed].startswith("hmac:")
    read = predictions.read(project, "test", mask=mask)
    joined = labels.join(read, labels.read(project, rule, "test", mask), rule, datetime.now(UTC))
    assert joined[labels.TRUTH].to_list() == [1.0]


def test_labels_go_to_the_bucket_of_the_log_and_are_read_and_erased_from_anywhere(
    project: Project, sealed: Bundle, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.root / "policy.yaml"
    text = path.read_text("utf-8")
    path.write_text(text.replace("\nserving:\n", f"\nserving:\n  log: {address}/told\n"), encoding="utf-8")
    here = Project(project.root)
    settings = server_program.ServerSettings(
        bundle=sealed.path, state=here.state, limits=here.policy.serving, environment="test", labels=FORM
    )
    log = server_program._context(settings).labels
    assert log is not None
    log.write([PostedLabel(datetime.now(UTC), {"id": id_}, {OUTCOME: 90}) for id_ in "ab"])
    spooled = truths(here)
    uploaded = Uploader(here.state, "test", here.policy.serving.log, print).once()
    log.write([PostedLabel(datetime.now(UTC), {"id": "a"}, {OUTCOME: 0})])
    log.close()
    both = truths(here)
    monkeypatch.setenv("MLOPS_STATE", str(project.root / "another-machine"))
    elsewhere = Project(project.root)

    assert (spooled, uploaded, both) == ({"a": True, "b": True}, 1, {"a": False, "b": True})
    assert truths(elsewhere) == spooled
    assert erasure.erase(elsewhere, "test", "id=b").labels == 1
    assert truths(elsewhere) == {"a": True}


def test_a_trace_says_what_happened_and_who_says_so(project: Project, sealed: Bundle) -> None:
    now = datetime.now(UTC)
    made = predictions.Prediction("a", now, "test", 1, sealed.digest, sealed.golden.rows[0], 0.5, True)
    project.policy.labels = BY_ID

    assert trace._label(project, made) == {}
    post(project, ("b", 0), ("a", 90), at=datetime(2030, 1, 1, 8, tzinfo=UTC))
    assert trace._label(project, made) == {"label": "1, by posted:2 of 2030-01-01T08:00:00Z"}


# ---------------------------------------------------------------------------- kept, and not kept


def test_old_labels_go_with_old_predictions(project: Project) -> None:
    folder = project.state / posted.LOG / "test"
    folder.mkdir(parents=True)
    for day in ("2029-12-30", "2030-01-02"):
        (folder / f"{day}.host.1.jsonl").touch()

    deleted = predictions.forget(project, "test", 1, datetime(2030, 1, 2, 12, tzinfo=UTC))

    assert deleted == 1
    assert [path.name[:10] for path in folder.iterdir()] == ["2030-01-02"]


def test_the_labels_of_a_subject_are_erased_with_its_predictions(project: Project, sealed: Bundle) -> None:
    rows = sealed.golden.rows
    subject = rows[0]["flight"]
    folder = predictions.folder(project.state, "test")
    folder.mkdir(parents=True)
    with (folder / "2030-01-01.host.1.jsonl").open("wb") as file:
        for number, row in enumerate(rows):
            made = predictions.Prediction(f"{number}", datetime.now(UTC), "test", 1, sealed.digest, row, 0.5, True)
            file.write(msgspec.json.encode(made) + b"\n")
    theirs = {f"{number}" for number, row in enumerate(rows) if row["flight"] == subject}
    post(project, *((f"{number}", 1) for number in range(len(rows))))

    rehearsed = erasure.erase(project, "test", f"flight={subject}", dry_run=True)
    done = erasure.erase(project, "test", f"flight={subject}")

    assert rehearsed.labels == done.labels == done.predictions == len(theirs)
    assert {*truths(project)} == {f"{number}" for number in range(len(rows))} - theirs
    assert erasure.erase(project, "test", "id=99999").labels == 0
    other = next(one for one in truths(project))
    assert erasure.erase(project, "test", f"id={other}").labels == 1
    assert other not in truths(project)


# ---------------------------------------------------------------------------- deployed


def wanting(project: Project, sealed: Bundle) -> tuple[Environment, Run, Release]:
    release = Release(version=3, digest=sealed.digest, commit="0" * 40)
    project.environments.mkdir(parents=True, exist_ok=True)
    (project.environments / "test.yaml").touch()
    run = Run(
        environment="test", version=3, digest=sealed.digest, commit="", bundle=str(sealed.path), python="",
        host="127.0.0.1", port=1, source="cache", limits=LIMITS,
    )  # fmt: skip
    serve = ServeAddress(host="127.0.0.1", port=1, labels=True)
    return Environment(alias="test", serve=serve, champion=release, target="native"), run, release


def test_labels_that_nothing_would_read_or_no_code_would_take_are_refused_before_anything_stops(
    project: Project, sealed: Bundle
) -> None:
    wanted, run, release = wanting(project, sealed)
    project.policy.labels = None
    with pytest.raises(MlopsError, match=r"has serve\.labels, and policy.yaml does not say how a label finds") as told:
        intake.taking(project, wanted, run, release, sealed)
    assert told.value.next_step.startswith("mlops policy add labels")

    project.policy.labels = BY_ID
    wheel = sealed.path / "slipway_mlops-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as code:
        code.writestr("slipway/serving/guard.py", "")
    with pytest.raises(MlopsError, match=r"the code of version 3 is older than serve\.labels and takes none"):
        intake.taking(project, wanted, run, release, sealed)
    said: list[str] = []
    assert intake.taking(project, wanted, run, release, sealed, said.append) is run  # a rollback does not wait
    assert said[0].endswith("takes none: who posts labels gets 404 until another version answers")

    with zipfile.ZipFile(wheel, "a") as code:
        code.writestr("slipway/serving/label_route.py", "")
    assert intake.taking(project, wanted, run, release, sealed).labels == FORM
    off = msgspec.structs.replace(wanted, serve=msgspec.structs.replace(wanted.serve, labels=False))
    assert intake.taking(project, off, run, release, sealed) is run


def test_an_older_supervisor_that_would_hand_no_labels_on_is_not_used(project: Project, sealed: Bundle) -> None:
    run = wanting(project, sealed)[1]
    place = EnvironmentFolder(project.state, "test")
    with place.lock():
        place.write(State(ticket="", phase="serving", supervisor=1, run=run, knows_access=True))

        with pytest.raises(MlopsError, match="belong to a platform that takes no labels"):
            native.switch(project, msgspec.structs.replace(run, labels=FORM))


def test_a_deployment_looks_whether_labels_are_taken(server: LabelledServer) -> None:
    before = server.counted()

    intake.require_taken(server.run, Admission(TOKEN), "its log")
    with pytest.raises(MlopsError, match="the deployed server takes no labels: 401"):
        intake.require_taken(server.run, Admission(), "its log")

    assert server.counted()["accepted"] == before["accepted"]
