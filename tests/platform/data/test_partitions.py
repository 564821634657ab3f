"""Raw data in many parts: the tables, the profile and the refusals are those of one part, whoever works on them."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from slipway.base import progress
from slipway.base.errors import MlopsError
from slipway.base.files import sha256
from slipway.base.mapper import HERE
from slipway.contract.files import SOURCE, read_raw
from slipway.contract.frames import parse
from slipway.contract.rows import FieldKind
from slipway.data import partitions
from slipway.data.prepare import ingest, kept, validate
from slipway.settings.project import Project
from slipway.training import engines

MADE = ("data/ingested.parquet", "data/valid.parquet", "reports/validation.json")
FILES = 7


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little to a part that the example has many, of files and of ranges of keys."""
    monkeypatch.setattr(partitions, "PART", 100)
    monkeypatch.setattr(partitions, "SAMPLED", 3)
    monkeypatch.setattr(partitions, "DISTINCT", 500)


def rows_of(project: Project) -> pl.DataFrame:
    """The raw rows, in no order of their keys."""
    return read_raw(project.root / "data" / "raw.parquet").drop(SOURCE).sample(fraction=1, shuffle=True, seed=1)


def with_files(project: Project, rows: pl.DataFrame) -> Project:
    """The project with these raw rows in files of Parquet and text, each with a column that nobody knows."""
    folder = project.root / "data" / "raw"
    folder.mkdir()
    step = -(-rows.height // FILES)
    for number in range(FILES):
        part = rows[number * step : (number + 1) * step].with_columns(pl.lit("x").alias(f"extra{number}"))
        path = folder / f"{number}"
        part.write_csv(path.with_suffix(".csv")) if number % 3 == 1 else part.write_parquet(
            path.with_suffix(".parquet")
        )
    params = project.root / "params.yaml"
    params.write_text(params.read_text("utf-8").replace("source: data/raw.parquet", "source: data/raw"), "utf-8")
    return Project(project.root)


def made(project: Project, engine: engines.Mapper = HERE) -> dict[str, str]:
    """Ingest and validate; digests of what comes of it."""
    ingest(project, engine)
    validate(project, engine)
    assert not (project.root / ".mlops" / "parts").exists()
    return {path: sha256(project.root / path) for path in MADE}


def refusal(project: Project) -> str:
    """How the rows are refused."""
    ingest(project)
    with pytest.raises(MlopsError) as refused:
        validate(project)
    return str(refused.value)


def test_many_parts_make_the_bytes_of_one(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr(progress, "SAY_EVERY_S", math.inf)  # how far it is depends on how busy the machine is
    project = with_files(project, rows_of(project))
    raw = read_raw(project.root / "data" / "raw")
    expected = made(project)
    as_one = capsys.readouterr().err
    request.getfixturevalue("small_parts")

    assert made(project) == expected
    assert capsys.readouterr().err == as_one
    assert f"ingest: {raw.height:,} rows from data/raw, {FILES} files\n" in as_one
    assert f"left out: {', '.join(f'extra{number}' for number in range(FILES))}\n" in as_one

    project.tool.engine_workers = 2
    with engines.opened(project, print) as engine:
        assert made(project, engine) == expected
    monkeypatch.setattr(partitions, "PARTS", 3)
    assert made(project) == expected

    assert pl.read_parquet(project.root / MADE[0]).equals(raw)
    assert pl.read_parquet(project.root / MADE[1]).equals(kept(raw, project, "").sort(CONTRACT.key))


@pytest.mark.parametrize(
    ("rows", "height"),
    [(1, 1 << 18), (512 << 18, 1 << 18), ((512 << 18) + 1, 1 << 19), (10**9, 1 << 21), (10**10, 1 << 25)],
)
def test_a_table_has_no_more_parts_than_can_be_opened_for_each_range(rows: int, height: int) -> None:
    assert partitions.height(rows) == height
    assert -(-rows // height) <= partitions.PARTS


def test_a_profile_of_parts_is_that_of_all_rows(project: Project, small_parts: None) -> None:
    project = with_files(project, rows_of(project))
    made(project)

    valid = pl.read_parquet(project.root / "data" / "valid.parquet").drop(SOURCE)
    told = pl.read_json(project.root / "reports" / "validation.json")

    assert told["rows"].item() == valid.height
    for column in valid:
        facts = told[column.name].item()
        assert (facts["missing"], facts["distinct"]) == (column.null_count(), column.n_unique())
        if column.dtype.is_numeric():
            assert (facts["min"], facts["max"]) == (column.min(), column.max())
            assert facts["mean"] == pytest.approx(column.mean(), rel=1e-5)
        if column.dtype.is_temporal():
            assert (facts["min"], facts["max"]) == (str(column.min()), str(column.max()))


def test_rules_that_rows_of_many_parts_break_are_told_once_and_in_their_order(
    project: Project, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = next(field.name for field in CONTRACT.fields if field.kind is FieldKind.NUMBER)
    place, time = pl.int_range(pl.len()), str(CONTRACT.time)
    outcome, rows = CONTRACT.outcome_fields[-1].name, rows_of(project)
    rows = rows.with_columns(
        # The last column breaks a rule first, and one that has a hint breaks it in another part without any.
        pl.when(place % 250 == 249).then(pl.lit("1,5")).when(place == 70).then(pl.lit("x")).otherwise(number)
        .alias(number),
        pl.when(place < rows.height - 300).then(time).otherwise(pl.lit("gone")).alias(time),
        pl.when(place.is_between(3, 5)).then(None).otherwise(outcome).alias(outcome),
    )  # fmt: skip
    project = with_files(project, rows)

    in_parts = refusal(project)
    monkeypatch.setattr(partitions, "PART", 1 << 18)

    assert in_parts == refusal(project)
    assert f"{number}: must be a number" in in_parts
    assert "a decimal comma has to be named" in in_parts
    assert f"{time}: must be a time" in in_parts
    assert "in 300 rows, first 5.parquet:" in in_parts or "in 300 rows, first 6.parquet:" in in_parts
    assert in_parts.index(f"  {time}: ") < in_parts.index(f"  {number}: ") < in_parts.index(f"  {outcome}: ")


def test_keys_that_come_again_in_another_part_are_told_in_the_order_of_the_rows(
    project: Project, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(project)
    project = with_files(project, pl.concat([rows, rows[[900, 17, 333, 17]]]))

    in_parts = refusal(project)
    monkeypatch.setattr(partitions, "PART", 1 << 18)

    assert in_parts == refusal(project)
    assert f"{'+'.join(CONTRACT.key)}: the key is not unique in 4 rows, first 6.parquet:" in in_parts


def test_the_newest_row_of_any_part_tells_how_old_the_data_is(project: Project, small_parts: None) -> None:
    params = project.root / "params.yaml"
    old = params.read_text("utf-8").replace('as_of: "2014-01-01"', 'as_of: "2034-01-01"')
    rows = rows_of(project)
    project = with_files(project, rows)
    assert made(project)
    params.write_text(old.replace("source: data/raw.parquet", "source: data/raw"), "utf-8")

    newest = kept(read_raw(project.root / "data" / "raw"), project, "")[str(CONTRACT.time)].max()

    assert f"days older than data.as_of, 2034-01-01 in {rows.height:,} rows, first newest {newest!s}" in refusal(
        Project(project.root)
    )


class Killed:
    """Does the work, and leaves what workers leave that were killed before they gave a part its name."""

    threads = 1

    def map(self, function: Callable[[Any], Any], chunks: Iterable[Any]) -> Iterator[Any]:
        """See `Mapper`."""
        for chunk in chunks:
            yield function(chunk)
            for part in [*function.folder.glob("*.arrow")]:  # type: ignore[attr-defined]
                part.with_name(f"{part.name}.0.draft").write_bytes(part.read_bytes())
                part.with_name(f"{part.name}.1.draft").write_bytes(part.read_bytes()[:100])


def test_what_a_killed_worker_has_not_finished_is_read_by_nobody(project: Project, small_parts: None) -> None:
    project = with_files(project, rows_of(project))

    assert made(project, Killed()) == made(project)


def test_what_cannot_be_read_is_told_with_its_file_and_the_node(project: Project, small_parts: None) -> None:
    project = with_files(project, rows_of(project))
    broken = project.root / "data" / "raw" / "3.parquet"
    broken.write_bytes(broken.read_bytes()[:-1] + b"?")
    torn = project.root / "data" / "raw" / "4.csv"
    torn.write_text(torn.read_text("utf-8") + "x\n", encoding="utf-8")
    project.tool.engine_workers = 2

    with engines.opened(project, print) as engine:
        with pytest.raises(MlopsError, match=r"3\.parquet cannot be read"):
            ingest(project, engine)
        broken.unlink()
        with pytest.raises(MlopsError, match=r"line \d+ of .*4\.csv has 1 values") as refused:
            ingest(project, engine)

    assert f"at: on {socket.gethostname()}\n   at: in {torn}, by engine local" in str(refused.value)


def test_what_a_key_lacks_comes_first_as_in_a_sort(project: Project) -> None:
    frame = parse(read_raw(project.root / "data" / "raw.parquet"), CONTRACT.fields + CONTRACT.outcome_fields)[0]
    first = CONTRACT.key[0]
    some = frame.head(200).with_columns(pl.when(pl.int_range(pl.len()) % 9 > 0).then(first)).sort(CONTRACT.key)

    keys = some.select(CONTRACT.key)

    assert keys[first].null_count() == 23
    assert partitions._ends(keys, keys.rows()) == [*range(201)]


def test_the_bytes_of_a_table_depend_on_nothing_but_its_rows(tmp_path: Path) -> None:
    frame = pl.select(number=pl.int_range(200_000) * 7919 % 1013).with_columns(text=pl.col("number").cast(pl.String))
    parts = pl.concat([frame[:90_000], frame[90_000:]], rechunk=False)

    partitions.write_table(frame.rechunk(), tmp_path / "one.parquet")
    partitions.write_table(parts, tmp_path / "two.parquet")

    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_no_cluster_is_asked_for_the_sake_of_one_part(project: Project) -> None:
    class Silent:
        threads = 1

        def map(self, *given: object) -> Iterator[Any]:
            raise AssertionError(given)

    assert made(project, Silent()) == made(project)


def test_a_folder_that_a_worker_does_not_see_is_told(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1]})

    with pytest.raises(MlopsError, match="let the checkout lie in a folder that all nodes share"):
        partitions._put(frame, tmp_path / "gone" / "part.arrow")
