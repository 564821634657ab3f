"""Small objects of a log become few, and whoever reads meanwhile sees each line once, whatever is killed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec
import polars as pl
import pytest
from slipway.base.buckets import Bucket
from slipway.base.errors import MlopsError
from slipway.log import joining, parquet
from slipway.log.bucket import BucketSink
from slipway.log.store import LogPlace
from slipway.log.upload import Uploader

NAMES = (f"joined{number}" for number in count())
DAY = date(2013, 7, 1)
OBJECTS = 60
#: Joins a few objects at a time, and stands still when it has changed the bucket so many times.
JOINER = """
import sys
import time
from datetime import date
from pathlib import Path
import obstore
from slipway.log import joining
from slipway.log.bucket import BucketSink
from slipway.log.store import LogPlace

def change(function, *arguments, **keywords):
    if not changes:
        print("stands still", flush=True)
        time.sleep(600)
    changes.pop()
    return function(*arguments, **keywords)

changes, put, delete = [None] * int(sys.argv[4]), obstore.put, obstore.delete
obstore.put = lambda *arguments, **keywords: change(put, *arguments, **keywords)
obstore.delete = lambda store, names: [change(delete, store, name) for name in names]
joining.ENOUGH_ROWS = 12
BucketSink(LogPlace(Path(sys.argv[1]), "predictions", sys.argv[2], sys.argv[3])).join(date.max)
"""
#: After how many changes each joiner is killed: before the first, between writes, while it deletes what another one
#: joined, between later writes, and while it deletes what it has joined itself.
MOMENTS = (0, 3, 9, 12, 30)


@pytest.fixture
def place(tmp_path: Path, address: str) -> LogPlace:
    """The log of an environment that has none yet."""
    return LogPlace(tmp_path, "predictions", next(NAMES), address)


@pytest.fixture
def bucket(place: LogPlace) -> Bucket:
    return Bucket(f"{place.address}/predictions/{place.environment}")


def told(bucket: Bucket, objects: int, first: int = 0) -> None:
    """What some machines have uploaded on a day: two lines in an object, and what is nobody's prediction."""
    for number in range(first, first + objects):
        lines = [b'{"id":"%d-%d","score":%s}' % (number, part, [b"0.5", b"1"][number % 2]) for part in range(2)]
        odd = [b'{"id":"torn', b"[]"] if number % 7 == 3 else []
        name = f"day={DAY}/host{number}.1.{number}.000000000000.parquet"
        bucket.create(name, parquet.encode(b"\n".join([*lines, *odd]) + b"\n"))


def read(place: LogPlace) -> Counter[bytes]:
    return Counter(line for line in BucketSink(place).scan(None, None) if line.strip())


def is_of(id_: str) -> Callable[[bytes], bool]:
    return lambda line: b'"%s"' % id_.encode() in line


def test_each_line_is_there_once_and_found_by_its_id(place: LogPlace, bucket: Bucket) -> None:
    told(bucket, OBJECTS)
    before, sink = read(place), BucketSink(place)

    assert sink.join(DAY) == 0
    assert sink.join(date.max) == OBJECTS

    assert read(place) == before
    assert max(before.values()) == OBJECTS // 7 + 1  # what was torn; each prediction is there once
    # Scores are numbers of two types, and no object holds both.
    assert len(bucket.list()) <= 4
    assert [*sink.find("42-1")] == [b'{"id":"42-1","score":0.5}\n']
    assert [file.day for file in sink.files()] == [DAY]
    assert sink.join(date.max) == 0
    told(bucket, 2, OBJECTS)
    assert sink.join(date.max) in (0, 2)
    assert len(read(place)) == len(before) + 4
    assert sink.forget(DAY) > 0
    assert read(place) == Counter()


@pytest.mark.parametrize("after", [0, 1, 5])
def test_who_reads_while_objects_are_joined_reads_each_line_once(place: LogPlace, bucket: Bucket, after: int) -> None:
    """What was listed goes under the hands of the reader, who has fetched some of it ahead."""
    told(bucket, OBJECTS)
    before, lines = read(place), BucketSink(place).scan(None, None)

    found = [next(lines) for _ in range(after)]
    BucketSink(place).join(date.max)
    found += lines

    assert Counter(found) == before


def test_kill_9_loses_and_doubles_nothing_for_whoever_reads_meanwhile(
    place: LogPlace, bucket: Bucket, tmp_path: Path
) -> None:
    told(bucket, OBJECTS)
    before = read(place)
    command = [sys.executable, "-c", JOINER, str(tmp_path / "other"), place.environment, place.address]

    for moment in MOMENTS:
        with subprocess.Popen([*command, str(moment)], stdout=subprocess.PIPE) as joiner:
            assert joiner.stdout is not None
            assert joiner.stdout.readline() == b"stands still\n"
            meanwhile = read(place)
            joiner.kill()
        assert read(place) == meanwhile == before
    done = subprocess.run([*command, str(OBJECTS**2)], check=False)

    assert done.returncode == 0
    assert read(place) == before
    assert len(bucket.list()) < OBJECTS / 3


def test_two_that_join_at_the_same_time_double_nothing(place: LogPlace, bucket: Bucket) -> None:
    """Each has listed other objects, and both have written before either deletes."""
    told(bucket, 6)
    before, names = read(place), [one.name for one in bucket.list()]
    for some in (names[:4], names[2:]):
        frames = [parquet.frame_of(bucket.held(name) or b"", name) for name in some]
        whole = pl.concat([one.cast({"score": pl.Float64}) for one in frames], how="diagonal")
        bucket.create(f"day={DAY}/joined.{some[0][-30:-8]}.parquet", parquet.packed(whole, some))

    ids = [msgspec.json.decode(line)["id"] for line in read(place) if line.startswith(b'{"id"') and b"}" in line]
    assert len(ids) == len({*ids}) == sum(b"}" in line for line in before)
    assert BucketSink(place).join(date.max) == 6
    again = [msgspec.json.decode(line)["id"] for line in read(place) if line.startswith(b'{"id"') and b"}" in line]
    assert sorted(again) == sorted(ids)


@pytest.mark.parametrize("moment", ["create", "delete"])
def test_what_is_erased_while_objects_are_joined_stays_erased(
    place: LogPlace, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """By another machine: after the objects were read, before they are written or before they are deleted."""
    told(bucket, 8)
    kept, elsewhere = read(place), BucketSink(place._replace(state=tmp_path / "other"))
    kept = Counter({line: number for line, number in kept.items() if not is_of("5-0")(line)})
    erased, own = list[int](), getattr(Bucket, moment)

    def interrupted(self: Bucket, *given: object) -> None:
        if not erased and given[0]:
            erased.append(0)
            erased[0] = elsewhere.erase(is_of("5-0"))
        own(self, *given)

    monkeypatch.setattr(Bucket, moment, interrupted)
    BucketSink(place).join(date.max)
    monkeypatch.undo()

    assert erased[0] >= 1
    assert read(place) == kept
    BucketSink(place).join(date.max)
    assert read(place) == kept


def test_what_is_joined_while_it_is_erased_from_is_erased(
    place: LogPlace, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another machine, after the objects were listed: what is erased from is gone then."""
    told(bucket, 8)
    kept = Counter({line: number for line, number in read(place).items() if not is_of("5-0")(line)})
    begun, own = list[str](), Bucket.held

    def interrupted(self: Bucket, name: str) -> bytes | None:
        if not begun:
            begun.append(name)
            assert BucketSink(place).join(date.max) == 8
        return own(self, name)

    monkeypatch.setattr(Bucket, "held", interrupted)
    erased = BucketSink(place._replace(state=tmp_path / "other")).erase(is_of("5-0"))

    assert erased == 1
    assert read(place) == kept


def test_what_was_erased_does_not_come_back_by_an_upload_that_is_done_again(place: LogPlace, bucket: Bucket) -> None:
    """Its machine was killed before it deleted what it had uploaded, and comes back when that is joined long since."""
    told(bucket, 4)
    sink, name = BucketSink(place), bucket.list()[0].name
    content = bucket.held(name) or b""
    sink.join(date.max)
    assert sink.erase(lambda line: is_of("0-0")(line) or is_of("0-1")(line)) == 2
    kept = read(place)

    bucket.create(name, content)

    assert read(place) == kept
    assert sink.join(date.max) == 1
    assert read(place) == kept


def test_who_may_not_delete_is_told_and_nothing_is_doubled(
    place: LogPlace, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(bucket, 4)
    before = read(place)
    for name, value in {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "writer-secret"}.items():
        monkeypatch.setenv(name, value)

    for _ in range(2):
        with pytest.raises(MlopsError, match=r"cannot be cleaned: .*Access Denied"):
            BucketSink(place).join(date.max)
        assert read(place) == before


def test_days_before_yesterday_are_joined_and_the_record_of_erasures_is_not(place: LogPlace) -> None:
    now = datetime.now(UTC)
    for log in ("predictions", "refused", "labels", "erasures"):
        there = Bucket(f"{place.address}/{log}/{place.environment}")
        for back in range(4):
            for number in range(3):
                name = f"day={now.date() - timedelta(days=back)}/host{number}.1.1.000000000000.parquet"
                there.create(name, parquet.encode(b'{"id":"a"}\n'))

    uploader = Uploader(place.state, place.environment, place.address, print)

    assert uploader.join(now) == 3 * 2 * 3
    left = [one.name for one in Bucket(f"{place.address}/predictions/{place.environment}").list()]
    assert [joining.is_joined(name) for name in left] == [True, True] + [False] * 6
    assert len(Bucket(f"{place.address}/erasures/{place.environment}").list()) == 12
