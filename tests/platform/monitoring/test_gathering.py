"""A log of more rows than `monitor.max_rows` is judged by an even part of them, which memory can hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from slipway.base.errors import MlopsError
from slipway.log import gathering, predictions, refusals
from slipway.log.gathering import Gathering
from slipway.log.predictions import Prediction
from slipway.log.refusals import Refusal
from slipway.monitoring import run as monitor
from slipway.monitoring.report import Report
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training.bundle import Bundle

ROWS, MOST = 6_000, 1_000
NOW = datetime(2023, 6, 30, tzinfo=UTC)


def made(number: int, sealed: Bundle) -> Prediction:
    row = sealed.golden.rows[number % len(sealed.golden.rows)]
    at = NOW - timedelta(days=5) + number * timedelta(days=5) / ROWS
    return Prediction(
        id=f"{number:032x}-0", at=at, environment="test", version=1, digest=sealed.digest, row=row,
        score=number % 100 / 100, answer=True,
    )  # fmt: skip


@pytest.fixture
def logged(project: Project, sealed: Bundle) -> Project:
    """Some thousand answers, and half as many refusals of a field."""
    folder = predictions.folder(project.state, "test")
    folder.mkdir(parents=True)
    lines = [msgspec.json.encode(made(number, sealed)) for number in range(ROWS)]
    (folder / f"{NOW:%Y-%m-%d}.host.1.jsonl").write_bytes(b"\n".join([*lines, b""]))
    refused = refusals.folder(project.state, "test")
    refused.mkdir(parents=True)
    one = Refusal(NOW - timedelta(days=1), CONTRACT.fields[0].name, "missing", ROWS // 2, None)
    (refused / f"{NOW:%Y-%m-%d}.host.1.jsonl").write_bytes(msgspec.json.encode(one) + b"\n")
    return project


@pytest.fixture
def judged(logged: Project, sealed: Bundle) -> Callable[..., Report]:
    def report(most: int | None) -> Report:
        logged.policy.monitor.max_rows = most
        return monitor.run(logged, "test", sealed, since=NOW - timedelta(days=7), until=NOW)

    return report


def test_a_part_is_judged_like_the_whole_and_that_is_told(judged: Callable[..., Report]) -> None:
    whole, part = judged(None), judged(MOST)

    assert (whole.logged.one_in, part.logged.one_in) == (1, 8)
    assert part.verdict == whole.verdict
    assert part.refused
    assert [one.share for one in part.refused] == pytest.approx([one.share for one in whole.refused], abs=0.02)
    assert part.logged.remarks == ["predictions that are judged: 1 in 8, chosen by their ids (monitor.max_rows)"]


def test_each_window_says_of_how_many_answers_it_is(logged: Project, sealed: Bundle) -> None:
    """Those that are judged anew in each run, and those of before, which are read by themselves and kept."""
    logged.policy.monitor.max_rows, logged.policy.monitor.quality = MOST, None
    # The log is one file, of its last day: an earlier window is read from that, and is of the rows of a day.
    later = NOW + timedelta(days=60)

    for until, rows in ((NOW, ROWS), (later, ROWS / 5)):
        windows = [one for one in monitor.run(logged, "test", sealed, until=until).windows if one.predictions]
        said = [re.findall(r"; ([\d,]+) of about ([\d,]+) predictions are judged$", one.sentence) for one in windows]
        (judged, answers) = ([int(one[part].replace(",", "")) for (one,) in said] for part in (0, 1))
        assert judged == [one.predictions for one in windows]
        assert sum(answers) == pytest.approx(rows, rel=0.1)
        assert sum(judged) <= rows / 2


def test_which_rows_are_the_part_depends_on_their_ids_alone(sealed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for chunk, order in ((50, 1), (1_700, -1)):
        monkeypatch.setattr(gathering, "CHUNK_ROWS", chunk)
        gathered = Gathering((), None, MOST)
        for number in range(ROWS)[::order]:
            gathered.add(made(number, sealed))
        frame = gathered.frame()
        found.append({*frame["id"]})

    assert found[0] == found[1]
    assert MOST / 2 < len(found[0]) <= MOST


def test_no_more_than_a_part_and_a_chunk_is_ever_held(sealed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "CHUNK_ROWS", 100)
    gathered = Gathering((), None, MOST)
    held = 0
    for number in range(ROWS):
        gathered.add(made(number, sealed))
        held = max(held, sum(frame.height for frame in gathered._frames) + len(gathered._chosen))

    assert held <= MOST + 100


def test_a_part_that_cannot_be_judged_is_refused(project: Project) -> None:
    path = project.root / "policy.yaml"
    text = path.read_text("utf-8").replace("\nmonitor:\n", "\nmonitor:\n  max_rows: 300\n", 1)
    path.write_text(text, encoding="utf-8")

    with pytest.raises(
        MlopsError, match=r"monitor\.max_rows must be at least twice min_rows for each of windows\.last"
    ):
        _ = Project(project.root).policy
