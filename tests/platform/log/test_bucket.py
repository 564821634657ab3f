"""A log in a bucket: nothing is lost or doubled, whatever is killed, and whoever reads it sees all servers."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from door import door
from parts import needs_root
from slipway.base.buckets import Bucket
from slipway.base.errors import MlopsError
from slipway.delivery import uploads
from slipway.log import parquet, spool
from slipway.log.bucket import BucketSink
from slipway.log.predictions import PredictionLog
from slipway.log.store import FolderSink, LogPlace, Sink
from slipway.log.upload import Uploader
from slipway.serving import run as server
from slipway.settings.policy import ServingPolicy

NAMES = (f"environment{number}" for number in count())

#: Says an id as soon as it is on record.
WRITER = """
import sys, time
from pathlib import Path
from slipway.log.spool import Spool
spool = Spool(Path(sys.argv[1]))
for number in range(10**9):
    spool.append(b'{"id":"%s-%d"}\\n' % (sys.argv[2].encode(), number))
    sys.stdout.write(f"{sys.argv[2]}-{number}\\n")
    sys.stdout.flush()
    time.sleep(0.001)
"""
UPLOADER = """
import sys
from pathlib import Path
from slipway.log.upload import Uploader
from slipway.serving import run as server
from slipway.settings.policy import ServingPolicy
Uploader(Path(sys.argv[1]), sys.argv[2], sys.argv[3], print).follow(0.02)
"""
#: Logs an answer where nothing is installed that could reach a bucket, and says what was imported.
BARE = """
import asyncio, sys
from pathlib import Path
sys.modules["obstore"] = sys.modules["polars"] = None
from slipway.log.predictions import PredictionLog
async def answer():
    log = PredictionLog(Path(sys.argv[1]), sys.argv[2], 1, "", address=sys.argv[3])
    log.add(["a"], [None], [0.5], [True])
    log.flush()
    print(log.written, log.waiting_s() is not None)
    log.close()
asyncio.run(answer())
"""


@pytest.fixture
def place(tmp_path: Path, address: str) -> LogPlace:
    """The log of an environment that has none yet."""
    return LogPlace(tmp_path, "predictions", next(NAMES), address)


def lines(*ids: str) -> bytes:
    return b"".join(b'{"id":"%s","score":0.5}\n' % one.encode() for one in ids)


def ids(sink: Sink) -> list[str]:
    return [msgspec.json.decode(line)["id"] for line in sink.scan(None, None) if line.strip()]


def spooled(place: LogPlace) -> list[str]:
    return [path.suffix for path in spool.spooled(place.folder)]


def wait_for(is_so: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def test_every_machine_reads_what_was_uploaded_and_its_own_spool(place: LogPlace, tmp_path: Path) -> None:
    sink, elsewhere = BucketSink(place), BucketSink(place._replace(state=tmp_path / "other"))
    sink.append(lines("a", "b"))
    assert sink.upload() == 1
    sink.append(lines("c"))
    elsewhere.append(lines("z"))

    assert sorted(ids(sink)) == ["a", "b", "c"]
    assert sorted(ids(elsewhere)) == ["a", "b", "z"]
    assert (sink.upload(), elsewhere.upload(), spooled(place)) == (1, 1, [])
    assert sorted(ids(sink)) == sorted(ids(elsewhere)) == ["a", "b", "c", "z"]


def test_a_log_is_read_by_day_and_an_answer_is_found_by_its_id(place: LogPlace) -> None:
    sink, today = BucketSink(place), datetime.now(UTC)
    sink.append(lines("a", "ab"))
    sink.upload()
    sink.append(lines("b"))

    assert [*sink.scan(today - timedelta(days=9), today - timedelta(days=8))] == []
    assert len([*sink.scan(today - timedelta(hours=1), None)]) == 3
    assert [*sink.find("a")] == [b'{"id":"a","score":0.5}\n']
    assert [*sink.find("b")] == [b'{"id":"b","score":0.5}\n']
    (file,) = sink.files()
    assert file.day == today.date()
    sink.append(lines("c"))
    assert sink.files() != [file]


def test_an_upload_that_was_killed_before_it_deleted_is_done_again_without_doubling(place: LogPlace) -> None:
    sink = BucketSink(place)
    sink.append(lines(*map(str, range(5))))
    (closed,) = spool.take(place.folder, date.min)
    kept = closed.read_bytes()
    sink.upload()

    closed.write_bytes(kept)

    assert ids(sink) == [*"01234"]
    assert sink.upload() == 1
    assert ids(sink) == [*"01234"]
    assert spooled(place) == []


def test_what_was_erased_does_not_come_back_by_an_upload_that_was_killed(place: LogPlace, tmp_path: Path) -> None:
    """Its machine does not know that it was done; somebody elsewhere has erased since, in one object all there was."""
    sink, elsewhere = BucketSink(place), BucketSink(place._replace(state=tmp_path / "other"))
    for block in (lines("a", "b"), lines("a")):
        sink.append(block)
        sink.close()
    kept = {path: path.read_bytes() for path in spool.take(place.folder, date.min)}
    sink.upload()
    assert elsewhere.erase(lambda line: b'"a"' in line) == 2

    for path, content in kept.items():
        path.write_bytes(content)
    sink.upload()

    assert ids(elsewhere) == ["b"]


def test_a_segment_that_is_closed_and_uploaded_while_it_is_read_is_read_once(place: LogPlace) -> None:
    """The reader has listed the bucket, and the spool is emptied under its hands."""
    sink, uploader = BucketSink(place), BucketSink(place)
    for one in "abc":
        sink.append(lines(one))
        uploader.upload() if one == "a" else spool.take(place.folder, date.min)

    reading = sink.scan(None, None)
    first = next(reading)
    uploader.upload()

    assert [first, *reading] == [lines(one) for one in "abc"]


def test_a_server_whose_machine_uploads_needs_nothing_that_reaches_the_bucket(
    place: LogPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its image may do without obstore and polars, some 200 MB; whoever uploads itself is refused without them."""
    command = [sys.executable, "-c", BARE, str(place.state), place.environment, place.address]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "True"]
    assert BucketSink(place).upload() == 1
    assert ids(BucketSink(place)) == ["a"]

    monkeypatch.setitem(sys.modules, "obstore", None)
    limits = ServingPolicy(
        max_body_kb=1, max_rows=1, requests_per_second=1, return_score=False, log=place.address
    )  # fmt: skip
    refused = f"obstore is not installed here, and {place.address} is a bucket"
    with pytest.raises(MlopsError, match=refused):
        server.run(server.ServerSettings(bundle=place.state, state=place.state, limits=limits))
    with pytest.raises(MlopsError, match=refused), uploads.beside(place.state, place.environment, place.address):
        pass
    elsewhere = server.ServerSettings(
        bundle=place.state, state=place.state, limits=limits, is_uploaded_elsewhere=True
    )  # fmt: skip
    with pytest.raises(MlopsError, match="bundle"):
        server.run(elsewhere)


def test_a_large_segment_becomes_several_objects(place: LogPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "PART_BYTES", 60)
    sink, wanted = BucketSink(place), [f"{number:03}" for number in range(20)]
    for one in wanted:
        sink.append(lines(one))

    assert sink.upload() == 7
    assert ids(sink) == wanted


def test_a_server_never_waits_for_who_takes_its_segment(place: LogPlace) -> None:
    """It begins another one."""
    writer = spool.Spool(place.folder)
    writer.append(lines("a"))
    (segment,) = spool.spooled(place.folder)

    with segment.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer.append(lines("b"))
        (closed,) = spool.take(place.folder, date.min)

    assert closed.read_bytes() == lines("b")
    writer.append(lines("c"))
    assert segment.read_bytes() == lines("a")
    assert len(spool.spooled(place.folder)) == 3


@contextmanager
def running(script: str, *arguments: str, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    with out.open("ab") as file:
        process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_nothing_that_was_acknowledged_is_lost_or_doubled_by_kill_9(place: LogPlace, tmp_path: Path) -> None:
    chance, elsewhere, said = random.Random(7), BucketSink(place._replace(state=tmp_path / "other")), tmp_path / "said"
    uploader = UPLOADER, str(place.state), place.environment, place.address

    for turn in range(3):
        before = len(elsewhere.files() and ids(elsewhere))
        with (
            running(WRITER, str(place.folder), f"one{turn}", out=said),
            running(WRITER, str(place.folder), f"two{turn}", out=said),
            running(*uploader, out=tmp_path / "uploads"),
        ):
            wait_for(lambda before=before: len(ids(elsewhere)) > before)  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.2))
    BucketSink(place).upload()

    found, acknowledged = ids(elsewhere), said.read_text().split()
    assert len(acknowledged) > 200
    assert set(acknowledged) <= set(found)
    assert len(found) == len(set(found))
    assert spooled(place) == []


def test_a_bucket_that_is_away_is_tried_for_ever_and_then_gets_everything(
    place: LogPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, said = BucketSink(place), list[str]()
    with door(urlsplit(os.environ["AWS_ENDPOINT_URL"]).port or 0) as way:
        monkeypatch.setenv("AWS_ENDPOINT_URL", way.address)
        uploader = Uploader(place.state, place.environment, place.address, said.append)
        way.is_open = False
        following = threading.Thread(target=uploader.follow, args=(0.02,), daemon=True)
        following.start()
        for number in range(2):  # four knocks are one try
            sink.append(lines(str(number)))
            wait_for(lambda number=number: way.refused > 4 * (number + 1))  # type: ignore[misc]
        assert len(spooled(place)) >= 1
        way.is_open = True
        wait_for(lambda: len(said) == 2)
        uploader.end()
        following.join()

        assert ids(sink) == [*"01"]
        assert spooled(place) == []
    assert said[0].startswith(
        "the log is not uploaded, waits on this machine and is tried again for ever: the bucket at"
    )
    assert said[1].startswith("the log is uploaded again, after")


def test_a_full_disk_costs_what_is_counted_and_an_upload_frees_it(place: LogPlace, tmp_path: Path) -> None:
    needs_root("a disk of its own")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True)
    try:
        there = place._replace(state=disk)

        async def answer() -> tuple[int, int]:
            log = PredictionLog(disk, place.environment, 1, "", address=place.address)
            for number in range(4_000):
                log.add([str(number)], [None], [0.5], [True])  # type: ignore[list-item]
                if number % 50 == 49:
                    log.flush()
                if number == 3_000:
                    assert log.failed
                    assert BucketSink(there).upload() == 1
            log.close()
            return log.written, log.failed

        written, failed = asyncio.run(answer())
        assert BucketSink(there).upload() == 1
        found = [line for line in BucketSink(place).scan(None, None) if line.endswith(b"}\n")]
        whole = [one for one in found if "id" in (msgspec.json.decode(one) if one.startswith(b"{") else {})]
    finally:
        subprocess.run(["umount", disk], check=True)

    assert written + failed == 4_000
    assert written <= len(whole) <= written + 50  # of a block that was torn some lines may be whole


def test_lines_come_back_from_parquet_as_they_were() -> None:
    told = [
        b'{"id":"a","at":"2026-11-29T16:00:00.000001Z","version":7,"score":0.1,"answer":true,"row":{"n":9007199254740993}}',
        b'{"id":"b","version":null,"score":1,"answer":12.5,"extra":[1,"x"]}',
        b'{"id":"torn',
        b"\xff\xfe\x00",
        b"[]",
        b"{}",
        b'{"row.json":1}',
        b'{"big":36893488147419103232}',
    ]

    content = parquet.encode(b"\n".join(told) + b"\n\n")

    assert [*parquet.decode(content)] == [line + b"\n" for line in told]
    assert [*parquet.with_id(content, "b")] == [told[1] + b"\n"]
    assert [*parquet.with_id(content, "torn")] == []
    assert [*parquet.decode(parquet.encode(b""))] == []


def test_old_days_are_deleted_and_looked_for_afterwards(place: LogPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, today = BucketSink(place), datetime.now(UTC).date()
    sink.append(lines("a"))
    sink.upload()
    left = place.folder / "2001-01-01.host.1.5.closed"
    left.write_bytes(lines("b"))
    sink.upload()
    left.write_bytes(lines("c"))
    Bucket(f"{place.address}/predictions/{place.environment}").create("ours/2001.parquet", b"of somebody else")

    for name, value in {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "writer-secret"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MlopsError, match=r"cannot be cleaned: .*Access Denied"):
        BucketSink(place).forget(date(2001, 1, 1))
    monkeypatch.undo()

    assert sink.forget(date(2001, 1, 1)) == 2
    assert sink.forget(date(2001, 1, 1)) == 0
    assert ids(sink) == ["a"]
    assert [file.day for file in sink.files()] == [today]


def test_what_was_logged_before_the_bucket_is_read_and_after_two_days_uploaded(place: LogPlace) -> None:
    FolderSink(place).append(lines("new"))
    (place.folder / "2001-01-01.host.1.jsonl").write_bytes(lines("old"))
    sink = BucketSink(place)

    assert ids(sink) == ["old", "new"]
    assert sink.upload() == 1
    assert spooled(place) == [".jsonl"]
    assert ids(sink) == ["old", "new"]


def test_a_bucket_that_cannot_be_used_is_told_in_a_sentence(place: LogPlace) -> None:
    sink = BucketSink(place._replace(address="s3://nobody-has-this/logs"))

    with pytest.raises(
        MlopsError, match=r"the bucket at s3://nobody-has-this/logs/predictions/environment.* cannot be listed"
    ):
        [*sink.scan(None, None)]
