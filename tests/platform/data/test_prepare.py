"""From raw files to training rows: what comes in stays in or is named, and a batch that is refused changes nothing."""

from __future__ import annotations

import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from slipway.base.errors import MlopsError
from slipway.contract.files import SOURCE, read_raw
from slipway.contract.rows import FieldKind
from slipway.data import labels
from slipway.data.prepare import ingest, split, validate
from slipway.settings.params import FileFormat
from slipway.settings.policy import LabelPolicy
from slipway.settings.project import Project

OUTCOME = CONTRACT.outcome_fields[0].name


def raw_of(project: Project) -> pl.DataFrame:
    return read_raw(project.root / "data" / "raw.parquet").drop(SOURCE)


def with_source(project: Project, raw: pl.DataFrame, name: str = "data/raw.parquet", form: str = "") -> Project:
    """The project with other raw data, written in another form."""
    path = project.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    raw.write_parquet(path) if name.endswith(".parquet") else raw.write_csv(path, separator=";")
    params = project.root / "params.yaml"
    text = params.read_text("utf-8").replace("source: data/raw.parquet\n", f"source: {name}\n{form}")
    params.write_text(text, encoding="utf-8")
    return Project(project.root)


def test_what_the_contract_does_not_know_is_left_out_by_name(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = raw_of(project)

    ingest(with_source(project, raw.with_columns(tail_number=pl.lit("N1"), tags=pl.lit([1]))))

    told = capsys.readouterr().err
    assert f"ingest: {raw.height:,} rows from data/raw.parquet, 1 file\n" in told
    assert "columns that the contract does not know are left out: tags, tail_number\n" in told
    assert pl.read_parquet(project.root / "data" / "ingested.parquet").drop(SOURCE).equals(raw)


def test_how_files_are_written_is_named_in_the_parameters(project: Project) -> None:
    time = str(CONTRACT.time)
    before = pl.read_parquet(project.root / "data" / "valid.parquet").drop(SOURCE)
    numbers = [field.name for field in CONTRACT.fields if field.kind is FieldKind.NUMBER]
    raw = raw_of(project).with_columns(
        pl.col(time).str.to_datetime().dt.to_string("%d/%m/%Y %H:%M"),
        *(pl.col(name).str.replace(".", ",", literal=True) for name in numbers),
    )
    form = "  format: {separator: ';', decimal: ',', time: '%d/%m/%Y %H:%M'}\n"

    other = with_source(project, raw, "data/raw.csv", form)
    ingest(other)
    validate(other)

    assert pl.read_parquet(project.root / "data" / "valid.parquet").drop(SOURCE).equals(before)


def test_a_batch_that_is_refused_leaves_the_last_good_one(project: Project) -> None:
    kept = {path: (project.root / path).read_bytes() for path in ("data/valid.parquet", "reports/validation.json")}
    raw = raw_of(project)

    with pytest.raises(MlopsError, match="there is no row in"):
        ingest(with_source(project, raw.head(0)))
    ingest(with_source(project, raw.with_columns(pl.lit(None, pl.String).alias(OUTCOME))))
    with pytest.raises(MlopsError, match=f"{OUTCOME}: a value is missing"):
        validate(project)

    assert {path: (project.root / path).read_bytes() for path in kept} == kept


def test_a_column_without_any_value_is_no_reason_to_stop(project: Project) -> None:
    empty = next(field.name for field in CONTRACT.fields if field.optional and field.kind is FieldKind.NUMBER)

    ingest(with_source(project, raw_of(project).with_columns(pl.lit(None, pl.String).alias(empty))))
    validate(project)

    assert pl.read_parquet(project.root / "data" / "valid.parquet")[empty].null_count() > 0


def test_rows_that_a_split_by_time_leaves_out_are_counted(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    valid = pl.read_parquet(project.root / "data" / "valid.parquet")
    end = project.params.split.test_until
    later = valid.filter(pl.col(str(CONTRACT.time)) >= end).height

    split(project)

    told = f"split: {later:,} of {valid.height:,} rows are in neither: {later:,} from split.test_until on, {end}\n"
    assert later > 0
    assert told in capsys.readouterr().err


def test_labels_are_read_by_the_same_code_as_rows(project: Project) -> None:
    key = [*CONTRACT.key]
    raw = raw_of(project).head(20).select(*key, OUTCOME).with_columns(extra=pl.lit("x"))
    source = project.root / "labels" / "year=2013" / "late.CSV"
    source.parent.mkdir(parents=True)
    written = raw.with_columns(pl.when(pl.int_range(pl.len()) > 2).then(OUTCOME)).rename({OUTCOME: "result"})
    written.write_csv(source, separator=";")
    rule = LabelPolicy(
        source="labels", key=key, columns={"result": OUTCOME}, format=FileFormat(separator=";"), min_share=0.5
    )  # fmt: skip

    found = labels.read(project, rule)

    assert found.frame.height == 17
    assert found.remarks == ["without an outcome yet, and unknown: 3 labels"]
    (source.parent / "more.xlsx").write_bytes(b"PK")
    assert "more.xlsx is neither" in labels.read(project, rule).remarks[0]


def test_a_folder_without_labels_has_none_yet(project: Project) -> None:
    rule = LabelPolicy(source="labels", key=[*CONTRACT.key])
    (project.root / "labels").mkdir()
    (project.root / "labels" / ".gitkeep").touch()

    found = labels.read(project, rule)

    assert (found.frame.height, found.remarks) == (0, ["there are no labels in labels yet"])
