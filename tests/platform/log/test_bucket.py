"""A log in a bucket: nothing is lost or doubled, whatever is killed, and whoever reads it sees all servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec
import pytest
from slipway.log.bucket import BucketSink
from slipway.log.store import FolderSink, LogPlace

NAMES = (f"environment{number}" for number in count())


@pytest.fixture
def place(tmp_path: Path, address: str) -> LogPlace:
    """The log of an environment that has none yet."""
    return LogPlace(tmp_path, "predictions", next(NAMES), address)


def lines(*ids: str) -> bytes:
    return b"".join(b'{"id":"%s","score":0.5}\n' % one.encode() for one in ids)


def ids(sink: BucketSink | FolderSink) -> list[str]:
    return [msgspec.json.decode(line)["id"] for line in sink.scan(None, None)]


def test_what_is_uploaded_is_read_by_every_machine(place: LogPlace, tmp_path: Path) -> None:
    sink, elsewhere = BucketSink(place), BucketSink(place._replace(state=tmp_path / "other"))
    sink.append(lines("a", "b"))
    assert sink.upload() == 1
    sink.append(lines("c"))

    assert ids(sink) == ["a", "b", "c"]
    assert ids(elsewhere) == ["a", "b"]
    assert sink.upload() == 1
    assert ids(elsewhere) == ["a", "b", "c"]
    assert [path.name for path in place.folder.iterdir()] == ["upload.lock"]
    assert [*elsewhere.find("b")] == [b'{"id":"b","score":0.5}\n']
    now = datetime.now(UTC)
    assert [*elsewhere.scan(now - timedelta(days=9), now - timedelta(days=8))] == []
