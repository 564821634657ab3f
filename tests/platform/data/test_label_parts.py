"""Labels of which memory holds a part at a time say what they would say if it held all."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import time

import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from slipway.data import label_files, label_parts, labels
from slipway.data.labels import Labels
from slipway.settings.policy import LabelPolicy
from slipway.settings.project import Project

OUTCOME = CONTRACT.outcome_fields[0].name
BY_ID = LabelPolicy(source="data/labels", key=["id"], time="told")
ROWS = 3_000
#: Reads the labels of a project, then says how much memory that took at most, in kilobytes.
PROGRAM = """
import resource, sys
from pathlib import Path
from slipway.data import label_files, label_parts, labels
from slipway.settings.policy import LabelPolicy
from slipway.settings.project import Project
label_parts.PART_ROWS, label_files.BATCH_ROWS = 10_000, 5_000
project = Project(Path(sys.argv[1]))
project.policy.labels = LabelPolicy(source=sys.argv[2], key=["id"])
found = labels.KnownLabels.of(project)
print(found.labels.parts.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture
def told(project: Project) -> list[tuple[str, int, str]]:
    """Labels in two files of each form, of keys that come up to ten times, many of them at the same time."""
    draw = random.Random(7)
    rows = [
        (str(draw.randrange(ROWS // 3)), draw.randrange(3), f"2013-07-{draw.randrange(1, 29):02}T00:00:00")
        for _ in range(ROWS)
    ]
    folder, third = project.root / "data" / "labels", ROWS // 3
    folder.mkdir()
    frame = pl.DataFrame(rows, schema=["id", OUTCOME, "told"], orient="row")
    frame[:third].write_csv(folder / "a.csv")
    frame[third : 2 * third].cast(pl.String).write_parquet(folder / "b.parquet")
    frame[2 * third :].cast(pl.String).write_ndjson(folder / "c.jsonl")
    return rows


def said(found: Labels) -> tuple[list[tuple[str, str, float | None]], labels.LabelCounts]:
    return found.frame.sort("id").rows(), found.counts


@pytest.mark.parametrize(("part", "batch"), [(100_000, 50_000), (100, 70), (999, 35)])
def test_the_later_label_counts_however_many_rows_memory_holds(
    project: Project, told: list[tuple[str, int, str]], monkeypatch: pytest.MonkeyPatch, part: int, batch: int
) -> None:
    expected: dict[str, tuple[str, int]] = {}
    for id_, value, at in told:
        if id_ not in expected or at >= expected[id_][0]:
            expected[id_] = at, value
    whole = said(labels.read(project, BY_ID))
    monkeypatch.setattr(label_parts, "PART_ROWS", part)
    monkeypatch.setattr(label_files, "BATCH_ROWS", batch)
    monkeypatch.setattr(label_files, "_LARGE_BYTES", 0)

    found = labels.read(project, BY_ID)

    assert said(found) == whole
    places = {row[0]: row[1] for row in found.frame.select("id", "source_row").iter_rows()}
    lines = {f"a.csv:{number}": row for number, row in enumerate(told[: ROWS // 3], 1)}
    lines |= {f"b.parquet:{number}": row for number, row in enumerate(told[ROWS // 3 : 2 * ROWS // 3], 1)}
    lines |= {f"c.jsonl:{number}": row for number, row in enumerate(told[2 * ROWS // 3 :], 1)}
    assert {id_: (lines[place][2], lines[place][1]) for id_, place in places.items()} == expected
    assert found.counts.corrected + found.counts.again > len(expected) / 2


def test_what_finds_no_prediction_is_counted_over_all_parts(
    project: Project, told: list[tuple[str, int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.policy.labels = BY_ID
    log = pl.DataFrame({"id": [str(number) for number in range(0, ROWS // 3, 2)], "answer": 0.0}).with_columns(
        truth=pl.lit(None, pl.Float64)
    )
    counts = []
    for part in (100_000, 100):
        monkeypatch.setattr(label_parts, "PART_ROWS", part)
        known = labels.KnownLabels.of(project)
        assert known is not None
        counts.append(known.told(log, is_whole=True))

    assert counts[0] == counts[1]
    assert counts[0].unknown == len({id_ for id_, _, _ in told if int(id_) % 2})


def test_nothing_is_left_of_the_files_of_a_run_and_what_a_killed_one_left_goes(
    project: Project, told: list[tuple[str, int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_parts, "PART_ROWS", 100)
    left, new = (project.state / f"labels-of-a-run-{name}" for name in ("left", "new"))
    for path in (left, new):
        path.mkdir(parents=True)
        (path / "part-0.parquet").write_bytes(b"")
    os.utime(left, (time.time() - 2 * 86_400,) * 2)

    found = labels.read(project, BY_ID)
    (own,) = {*project.state.glob("labels-of-a-run-*")} - {new}

    assert own.stat().st_mode & 0o077 == 0
    del found
    gc.collect()
    assert [*project.state.glob("labels-of-a-run-*")] == [new]


@pytest.mark.parametrize("name", ["day.csv", "day.parquet"])
def test_a_large_file_that_is_torn_is_left_out_as_a_whole(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = project.root / "data" / "labels"
    folder.mkdir()
    frame = pl.DataFrame({"id": map(str, range(500)), OUTCOME: "7"})
    frame.write_csv(folder / name) if name.endswith("csv") else frame.write_parquet(folder / name)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole + b"1,2,3\n" if name.endswith("csv") else whole[:-100])
    monkeypatch.setattr(label_files, "_LARGE_BYTES", 0)
    monkeypatch.setattr(label_files, "BATCH_ROWS", 100)

    counts = labels.read(project, LabelPolicy(source="data/labels", key=["id"])).counts

    assert (counts.read, len(counts.left_out)) == (0, 1)
    assert name in counts.left_out[0]


@pytest.mark.skipif(sys.platform == "win32", reason="the peak of a process's memory is read the POSIX way")
def test_ten_times_the_labels_need_no_more_memory(project: Project) -> None:
    peaks = []
    for rows in (100_000, 1_000_000):
        folder = project.root / f"labels-{rows}"
        folder.mkdir()
        frame = pl.DataFrame({"id": pl.int_range(rows, eager=True), OUTCOME: 7})
        frame.write_csv(folder / "all.csv")
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(project.root), folder.name], check=True, capture_output=True, text=True,
        )  # fmt: skip
        kept, peak = map(int, done.stdout.split())
        assert kept == rows
        peaks.append(peak)

    assert peaks[1] - peaks[0] < 50_000
