"""Batches: in chunks as in one piece, killed as undisturbed, and in the same memory however many rows there are."""

from __future__ import annotations

import contextlib
import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from slipway.base.errors import MlopsError
from slipway.contract.files import read_raw
from slipway.contract.frames import columns, parse
from slipway.serving import batch
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer

#: Predicts a file as the command does, with small chunks and without asking a registry; prints the peak of its memory.
PROGRAM = """
import resource, sys
from pathlib import Path
from slipway.serving import batch
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer

bundle, source, target, batch.CHUNK = *map(Path, sys.argv[1:4]), int(sys.argv[4])
batch.predict(Scorer(Bundle(bundle)), source, target, with_score=True, log=print)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def predict(bundle: Bundle, source: Path, target: Path) -> pl.DataFrame:
    batch.predict(Scorer(bundle), source, target, with_score=True, log=print)
    return pl.read_parquet(target) if target.suffix == ".parquet" else pl.read_csv(target)


def raw_rows(finished: Project, folder: Path, name: str = "rows.csv", rows: int = 1000) -> Path:
    """A file of rows to predict, in one of the formats; a small data set comes again and again."""
    known = pl.read_parquet(finished.root / "data" / "raw.parquet")
    frame = pl.concat([known] * (1 + rows // known.height)).head(rows)
    path = folder / name
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(frame.write_csv().encode()))
    else:
        frame.write_csv(path)
    return path


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.parquet"])
def test_chunks_give_the_rows_and_scores_of_one_piece(
    finished: Project, sealed: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source = raw_rows(finished, tmp_path, name)
    whole, _ = parse(read_raw(source), CONTRACT.fields)
    scorer = Scorer(sealed)
    scores = scorer.told(scorer.scores(columns(whole, CONTRACT.fields)))
    monkeypatch.setattr(batch, "CHUNK", 37)

    predicted = predict(sealed, source, tmp_path / "answers.parquet")

    assert predicted["score"].to_list() == pytest.approx(scores.tolist(), abs=1e-6)
    assert predicted.select(CONTRACT.key).equals(whole.select(CONTRACT.key))
    assert set(predicted["model"]) == {sealed.digest}
    with pytest.raises(MlopsError, match="must not come back as training data or labels"):
        read_raw(tmp_path / "answers.parquet")


def test_a_score_does_not_depend_on_the_number_of_threads(finished: Project, sealed: Bundle) -> None:
    """Not in its last bit, which a sum over trees has by the order in which threads add."""
    known = pl.read_parquet(finished.root / "data" / "valid.parquet")
    rows = columns(pl.concat([known] * (1 + 1000 // known.height)), CONTRACT.fields)

    one, three = (Scorer(sealed, threads).scores(rows) for threads in (1, 3))

    assert np.array_equal(one, three)


def test_a_folder_is_read_in_the_order_of_its_files(finished: Project, sealed: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    raw_rows(finished, folder, "2.parquet", rows=20)
    raw_rows(finished, folder, "1.csv", rows=30)
    first = predict(sealed, folder / "1.csv", tmp_path / "1.csv")

    both = predict(sealed, folder, tmp_path / "both.csv")

    assert both.head(30).equals(first)
    assert both.tail(20).equals(first.head(20))


def test_a_batch_killed_at_any_moment_has_each_row_once_in_the_end(
    finished: Project, sealed: Bundle, tmp_path: Path
) -> None:
    source, target = raw_rows(finished, tmp_path), tmp_path / "killed.csv"
    expected = predict(sealed, source, tmp_path / "undisturbed.csv")
    command = [sys.executable, "-c", PROGRAM, str(sealed.path), str(source), str(target), "10"]
    parts = 0
    for _ in range(60):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
            while running.poll() is None:
                # Not by the clock: killed whenever some more parts are there, wherever the run is then.
                now = len(list(tmp_path.glob(".killed.csv.parts/*.arrow")))
                if now > parts + 7:
                    parts = now
                    running.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(0.01)
        if running.returncode == 0:
            break

    assert parts > 50
    assert pl.read_csv(target).equals(expected)
    assert not (tmp_path / ".killed.csv.parts").exists()


def test_parts_of_other_rows_are_not_used(finished: Project, sealed: Bundle, tmp_path: Path) -> None:
    source, target = raw_rows(finished, tmp_path, rows=50), tmp_path / "answers.csv"
    parts = tmp_path / ".answers.csv.parts"
    other = predict(sealed, source, tmp_path / "other.parquet")
    parts.mkdir()
    (parts / batch.PLAN).write_bytes(batch._plan(Scorer(sealed), source, with_score=True))
    other.drop("model").write_ipc(parts / "000000-00000000.arrow")
    raw_rows(finished, tmp_path, rows=60)

    assert predict(sealed, source, target).height == 60


def test_broken_rows_of_all_chunks_are_counted_and_nothing_is_written(
    finished: Project, sealed: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, name = raw_rows(finished, tmp_path), next(field.name for field in CONTRACT.fields if not field.optional)
    broken = pl.int_range(pl.len()).is_in([500, 900])
    frame = pl.read_csv(source, infer_schema=False)
    frame.with_columns(pl.when(~broken).then(name).alias(name)).write_csv(source)
    monkeypatch.setattr(batch, "CHUNK", 137)

    with pytest.raises(MlopsError, match=rf"{name}: a value is missing in 2 rows, first rows\.csv:501"):
        predict(sealed, source, tmp_path / "answers.csv")

    assert [path.name for path in tmp_path.glob("*answers*")] == []


@pytest.mark.skipif(sys.platform == "win32", reason="the peak of a process's memory is read the POSIX way")
def test_ten_times_the_rows_need_no_more_memory(finished: Project, sealed: Bundle, tmp_path: Path) -> None:
    few, many = tmp_path / "few.parquet", tmp_path / "many.parquet"
    rows = pl.read_parquet(finished.root / "data" / "raw.parquet")
    pl.concat([rows] * 10).write_parquet(few, row_group_size=5_000)
    pl.concat([rows] * 100).write_parquet(many, row_group_size=5_000)

    def peak(source: Path) -> int:
        command = [sys.executable, "-c", PROGRAM, str(sealed.path), str(source), f"{source}.csv", "5000"]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])

    assert peak(many) < 1.3 * peak(few)
