"""A subject's lines go from the log, whoever writes to it meanwhile, and a record says so."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import msgspec
import pytest
from flight_delays.contract import CONTRACT
from slipway.base.errors import MlopsError
from slipway.cli import app
from slipway.log import erasure, masks, predictions, refusals
from slipway.log.bucket import BucketSink
from slipway.log.predictions import Prediction
from slipway.log.refusals import Refusal
from slipway.log.store import FolderSink, LogPlace, sink_of
from slipway.settings.project import Project
from typer.testing import CliRunner

SUBJECT, OTHER = [field.name for field in CONTRACT.fields if not field.optional][:2]


def line(id_: str, **row: object) -> bytes:
    made = Prediction(id_, datetime.now(UTC), "test", 1, "", row, 0.5, True)
    return msgspec.json.encode(made) + b"\n"


def left(project: Project) -> list[str]:
    found = predictions._predictions(project, "test", None, None, with_rows=True)
    return [one.id if one else "torn" for one in found]


def test_a_server_goes_on_writing_to_a_file_out_of_which_lines_were_erased(project: Project) -> None:
    sink = FolderSink(LogPlace(project.state, "predictions", "test"))
    sink.append(line("a", **{SUBJECT: "x"}) + line("b", **{OTHER: "x"}) + b'{"torn "x"\n')

    done = erasure.erase(project, "test", f"{SUBJECT}=x", "request 7")
    sink.append(line("c", **{SUBJECT: "y"}))

    assert (done.predictions, done.refusals) == (1, 0)
    assert left(project) == ["b", "torn", "c"]
    (path,) = predictions.folder(project.state, "test").glob("*.jsonl")
    assert path.read_bytes().count(b"\n") == 4
    (record,) = erasure.records(project, "test")
    assert (record.id, record.key, record.ticket) == (done.id, SUBJECT, "request 7")
    assert b"=x" not in msgspec.json.encode(record)


@pytest.mark.parametrize(("written", "value"), [("12", 12), ("12.5", 12.5), ("12.0", 12), ("true", True), ("x", "x")])
def test_a_value_is_found_as_a_person_writes_it(project: Project, written: str, value: object) -> None:
    FolderSink(LogPlace(project.state, "predictions", "test")).append(
        line("a", **{SUBJECT: value}) + line("b", **{SUBJECT: f"{value}0"})
    )

    assert erasure.erase(project, "test", f"{SUBJECT}={written}").predictions == 1
    assert left(project) == ["b"]


def test_a_hashed_value_is_found_by_its_hash_and_as_it_was_before_the_rule(project: Project) -> None:
    place = masks.folder(project.state, "test")
    place.mkdir(parents=True)
    (place / "log.key").write_bytes(b"k" * masks.KEY_BYTES)
    hashed = masks.Mask({SUBJECT: "hash"}, b"k" * masks.KEY_BYTES).hash(SUBJECT, "x")
    FolderSink(LogPlace(project.state, "predictions", "test")).append(
        line("a", **{SUBJECT: hashed}) + line("b", **{SUBJECT: "x"}) + line("c", **{SUBJECT: "y"})
    )

    assert erasure.erase(project, "test", f"{SUBJECT}=x").predictions == 2
    assert left(project) == ["c"]


def test_refused_values_of_a_subject_and_answers_by_their_id_go_as_well(project: Project) -> None:
    FolderSink(LogPlace(project.state, "predictions", "test")).append(line("a") + line("ab"))
    told = [Refusal(datetime.now(UTC), name, "category", 1, '"x"') for name in (SUBJECT, OTHER)]
    FolderSink(LogPlace(project.state, "refused", "test")).append(msgspec.json.Encoder().encode_lines(told))

    assert erasure.erase(project, "test", f"{SUBJECT}=x").refusals == 1
    assert [one.field for one in refusals.read(project, "test")] == [OTHER]
    assert erasure.erase(project, "test", "id=a").predictions == 1
    assert left(project) == ["ab"]


@pytest.mark.parametrize("key", ["nobody=x", SUBJECT, f"{SUBJECT}=", "=x"])
def test_a_key_that_names_nobody_is_refused(project: Project, key: str) -> None:
    with pytest.raises(MlopsError, match="names no column and value") as told:
        erasure.erase(project, "test", key)

    assert told.value.exit_code == 2


def test_the_commands_upload_erase_and_look(project: Project, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    text = (project.root / "policy.yaml").read_text("utf-8")
    refused = CliRunner().invoke(app, ["upload", "test"])
    changed = text.replace("\nserving:\n", f"\nserving:\n  log: {address}/commands\n")
    (project.root / "policy.yaml").write_text(changed, encoding="utf-8")
    here = Project(project.root)
    sink_of(here, "predictions", "test").append(line("a", **{SUBJECT: "x"}) + line("b"))

    uploaded = CliRunner().invoke(app, ["upload", "test"])
    joined = CliRunner().invoke(app, ["upload", "test", "--join"])
    never = CliRunner().invoke(app, ["upload", "test", "--join", "--follow"])
    counted = CliRunner().invoke(app, ["privacy", "erase", "test", "--key", f"{SUBJECT}=x", "--dry-run"])
    erased = CliRunner().invoke(app, ["privacy", "erase", "test", "--key", f"{SUBJECT}=x"])
    looked = CliRunner().invoke(app, ["privacy"])

    assert "keeps the log in no bucket" in str(refused.exception)
    assert uploaded.stdout == f"uploaded to {address}/commands: 1 object\n"
    assert joined.stdout.splitlines()[1:] == ["joined into larger ones: 0 objects"]
    assert "with --follow there is no end" in str(never.exception)
    assert getattr(never.exception, "exit_code", None) == 2
    assert counted.stdout.startswith("1 predictions and 0 refusals")
    assert counted.stdout.endswith("nothing changed\n")
    assert "erased; record " in erased.stdout
    assert left(here) == ["b"]
    assert len(erasure.records(here, "test")) == 1
    assert "looked at: " in looked.stdout


def test_a_bucket_without_its_library_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(MlopsError, match="obstore is not installed here, and s3://a/b/predictions/test is a bucket"):
        [*BucketSink(LogPlace(project.state, "predictions", "test", "s3://a/b")).scan(None, None)]
