"""Every sink that ships, against a real store: what is written, read, found, erased, deleted and refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec
import pytest
from slipway.base.buckets import Bucket, path_in
from slipway.base.errors import MlopsError
from slipway.log import store as sinks
from slipway.log.bucket import BucketSink
from slipway.log.store import DatedSink, ErasingSink, LogPlace, Sink
from stores import LOGS, LogStore

NAMES = (f"environment{number}" for number in count())
OF_A_BUCKET = [name for name in LOGS if name != "folder"]


@pytest.fixture(scope="module", params=LOGS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogStore]:
    with LOGS[request.param](tmp_path_factory.mktemp(request.param)) as there:
        yield there


@pytest.fixture
def place(store: LogStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogPlace:
    """The log of an environment that has none yet, for the owner of the store."""
    be(monkeypatch, store.owner)
    return LogPlace(tmp_path, "predictions", next(NAMES), store.url)


def be(monkeypatch: pytest.MonkeyPatch, who: dict[str, str]) -> None:
    """Get in as somebody else, and as nobody who was there before."""
    for name in ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in who.items():
        monkeypatch.setenv(name, value)


def lines(*ids: str) -> bytes:
    return b"".join(b'{"id":"%s","score":0.5}\n' % one.encode() for one in ids)


def ids(sink: Sink) -> list[str]:
    return [msgspec.json.decode(line)["id"] for line in sink.scan(None, None) if line.strip()]


def written(place: LogPlace, *ids: str) -> Sink:
    """The sink, with lines in it, in the bucket where it has one."""
    sink = sinks.opened(place)
    sink.append(lines(*ids))
    sink.close()
    if isinstance(sink, BucketSink):
        sink.upload()
    return sink


def test_what_is_written_is_read_by_its_day_and_found_by_its_id(place: LogPlace, tmp_path: Path) -> None:
    sink, today = written(place, "a", "ab"), datetime.now(UTC)
    sink.append(lines("b"))

    assert sorted(ids(sink)) == ["a", "ab", "b"]
    assert len([line for line in sink.scan(today - timedelta(hours=1), None) if line.strip()]) == 3
    assert [*sink.scan(today - timedelta(days=9), today - timedelta(days=8))] == []
    assert [*sink.find("a")] == [lines("a")]
    assert isinstance(sink, DatedSink)
    assert {file.day for file in sink.files()} == {today.date()}
    if place.address:
        assert ids(BucketSink(place._replace(state=tmp_path / "other"))) == ["a", "ab"]


@pytest.mark.parametrize("store", OF_A_BUCKET, indirect=True)
def test_small_objects_are_joined_and_hold_the_same_lines(place: LogPlace, tmp_path: Path) -> None:
    for number in range(5):
        written(place._replace(state=tmp_path / str(number)), f"{number}-a", f"{number}-b")
    sink, tomorrow = BucketSink(place), datetime.now(UTC).date() + timedelta(days=1)
    before = sorted(ids(sink))

    assert (sink.join(tomorrow), sink.join(tomorrow)) == (5, 0)

    assert sorted(ids(sink)) == before
    assert len(Bucket(f"{place.address}/predictions/{place.environment}").list()) == 1
    assert sink.erase(lambda line: b"3-a" in line) == 1
    assert sorted(ids(sink)) == sorted({*before} - {"3-a"})


def test_a_subject_is_erased_and_the_rest_stays(place: LogPlace) -> None:
    sink = written(place, "a", "b", "c")
    sink.append(lines("b"))
    assert isinstance(sink, ErasingSink)

    assert sink.erase(lambda line: b'"b"' in line) == 2

    assert ids(sink) == ["a", "c"]


def test_days_that_are_old_are_deleted_and_no_other(place: LogPlace) -> None:
    place.folder.mkdir(parents=True)
    (place.folder / "2001-01-01.host.1.jsonl").write_bytes(lines("old"))
    (place.folder / "2001-01-02.host.1.jsonl").write_bytes(lines("older than today"))
    sink = written(place, "new")

    assert sink.forget(date(2001, 1, 1)) == 1
    assert sink.forget(date(2001, 1, 1)) == 0
    assert sorted(ids(sink)) == ["new", "older than today"]


@pytest.mark.parametrize("store", OF_A_BUCKET, indirect=True)
def test_an_upload_that_is_done_again_doubles_nothing(place: LogPlace) -> None:
    sink = sinks.opened(place)
    sink.append(lines("a", "b"))
    sink.close()
    (segment,) = place.folder.glob("*.segment")
    kept = segment.read_bytes()
    assert isinstance(sink, BucketSink)
    assert sink.upload() == 1

    segment.with_suffix(".closed").write_bytes(kept)

    assert sink.upload() == 1
    assert ids(sink) == ["a", "b"]


@pytest.mark.parametrize("store", OF_A_BUCKET, indirect=True)
def test_to_delete_what_is_not_there_is_no_fault_and_the_rest_goes(place: LogPlace) -> None:
    bucket = Bucket(f"{place.address}/{place.environment}")
    bucket.create("here", b"x")
    bucket.create("there", b"x")

    bucket.delete(["gone", "here", "gone, too", "there"])

    assert bucket.list() == []


@pytest.mark.parametrize("store", OF_A_BUCKET, indirect=True)
def test_who_has_no_right_is_told_in_a_sentence_and_loses_nothing(
    place: LogPlace, store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(place, "a")
    be(monkeypatch, store.reader)
    reading = sinks.opened(place)
    reading.append(lines("b"))
    assert isinstance(reading, BucketSink)
    with pytest.raises(MlopsError, match=r"^error: the bucket at .* cannot be written: "):
        reading.upload()
    assert ids(reading) == ["a", "b"]

    be(monkeypatch, store.writer)
    writing = BucketSink(place)
    assert writing.upload() == 1
    with pytest.raises(MlopsError, match=r"^error: the bucket at .* cannot be cleaned: "):
        writing.forget(datetime.now(UTC).date())
    assert sorted(ids(writing)) == ["a", "b"]


@pytest.mark.parametrize("store", OF_A_BUCKET, indirect=True)
def test_each_right_is_asked_for_by_name(place: LogPlace, store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for name, who in {"owner": store.owner, "reader": store.reader, "writer": store.writer}.items():
        be(monkeypatch, who)
        bucket = Bucket(f"{place.address}/{place.environment}")
        found[name] = [right for right, refusal in bucket.rights().items() if not refusal]

    assert found == {
        "owner": ["list", "write", "read", "delete"],
        "reader": ["list", "read"],
        "writer": ["list", "write", "read"],
    }


@pytest.mark.parametrize("store", ["az"], indirect=True)
def test_azure_is_reached_by_the_scheme_that_data_has_as_well(place: LogPlace, tmp_path: Path) -> None:
    written(place, "a")
    elsewhere = place._replace(state=tmp_path / "other", address=place.address.replace("az://", "azure://"))

    assert ids(sinks.opened(elsewhere)) == ["a"]


@pytest.mark.parametrize("store", OF_A_BUCKET, indirect=True)
def test_what_stands_for_a_folder_is_no_file(place: LogPlace, tmp_path: Path) -> None:
    """As labels and snapshots are read: web pages of some clouds make an empty object for a folder."""
    bucket = Bucket(f"{place.address}/{next(NAMES)}")
    bucket.put("2013/05/a.csv", b"a")
    bucket.put("2013/empty.csv", b"")
    with suppress(MlopsError):  # where an object cannot be beside what lies in it, there is none to pass over
        bucket.put("2013/05", b"")

    found = bucket.files()

    assert [one.name for one in found] == ["2013/05/a.csv", "2013/empty.csv"]
    for one in found:
        bucket.fetch(one, tmp_path / "copy")
    assert (tmp_path / "copy" / "2013" / "05" / "a.csv").read_bytes() == b"a"
    with pytest.raises(MlopsError, match=r"\.\./out, which is no path"):
        path_in(tmp_path / "copy", "../out")
