"""Labels from a database and from a bucket say what the same labels in files say."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from flight_delays.contract import CONTRACT
from servers import postgresql
from slipway.base.buckets import Bucket
from slipway.base.errors import MlopsError
from slipway.data import label_files, labels
from slipway.data.labels import Labels
from slipway.settings.policy import LabelPolicy
from slipway.settings.project import Project
from sqlalchemy import create_engine, text

OUTCOME = CONTRACT.outcome_fields[0].name
#: Late, corrected, told again, waiting and wrong: `written` decides, not the order.
ROWS = [
    ("1", "30", "2013-07-03 10:00:00"),
    ("2", "7", "2013-07-01 10:00:00"),
    ("1", "5", "2013-07-02 10:00:00"),
    ("3", None, "2013-07-01 10:00:00"),
    ("2", "7", "2013-07-02 10:00:00"),
    ("4", "999999", "2013-07-01 10:00:00"),
]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """PostgreSQL with the labels in a table."""
    with postgresql() as address:
        engine = create_engine(address)
        with engine.begin() as connection:
            connection.execute(text("create table outcomes (answer text, late numeric, told timestamp)"))
            insert = text("insert into outcomes values (:a, :b, :c)")
            connection.execute(insert, [dict(zip("abc", row, strict=True)) for row in ROWS])
        engine.dispose()
        yield address


@pytest.fixture
def from_files(project: Project) -> Labels:
    folder = project.root / "data" / "labels"
    folder.mkdir()
    lines = [",".join(value or "" for value in row) for row in ROWS]
    (folder / "all.csv").write_text("\n".join([f"id,{OUTCOME},told", *lines]), encoding="utf-8")
    return labels.read(project, LabelPolicy(source="data/labels", key=["id"], time="told"))


def queried(**settings: object) -> LabelPolicy:
    given = {
        "source": "env:LABELS_DATABASE", "key": ["id"], "time": "told",
        "columns": {"answer": "id", "late": OUTCOME}, "query": "select answer, late, told from outcomes",
    }  # fmt: skip
    return msgspec.convert(given | settings, LabelPolicy)


def content(found: Labels) -> list[tuple[object, ...]]:
    return found.frame.sort("id")[["id", labels.TRUTH]].rows()


@pytest.mark.parametrize("rows", [2, 50_000])
def test_a_query_says_what_the_same_labels_in_a_file_say(
    project: Project, from_files: Labels, database: str, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(label_files, "BATCH_ROWS", rows)
    monkeypatch.setenv("LABELS_DATABASE", database)

    found = labels.read(project, queried())

    assert content(found) == content(from_files)
    counts, expected = msgspec.to_builtins(found.counts), msgspec.to_builtins(from_files.counts)
    told = ("read", "waiting", "refused", "again", "corrected")
    assert [counts[name] for name in told] == [expected[name] for name in told] == [6, 1, 1, 1, 1]
    assert found.counts.sentence == "6 labels in 1 query"
    assert found.remarks[0].endswith("first query:6 = 999999")


@pytest.mark.parametrize(
    ("given", "address", "problem"),
    [
        ({"query": "select 1"}, None, "labels.query gives no column answer, late, told"),
        ({"query": "select nothing"}, None, 'of LABELS_DATABASE: column "nothing" does not exist'),
        ({}, "", "labels.source: the environment has no LABELS_DATABASE"),
        ({}, "postgresql+psycopg2://u:geheim@127.0.0.1:1/x", "cannot be read from the database of LABELS_DATABASE"),
        ({}, "geheim", "cannot be read from the database of LABELS_DATABASE"),
        ({"query": "select array[1] as answer, 1 as late, now() as told"}, None, "labels.query gives a list as answer"),
        (
            {"query": "select 'a' as answer, 1 as late, now() as told, 'sha256:" + "a" * 64 + "' as model"},
            None,
            "labels.query holds predictions",
        ),
    ],
)
def test_what_a_database_cannot_give_is_told_without_its_password(
    project: Project,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    address: str | None,
    problem: str,
) -> None:
    monkeypatch.setenv("LABELS_DATABASE", database if address is None else address)

    with pytest.raises(MlopsError, match=problem) as told:
        labels.read(project, queried(**given))

    assert "geheim" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"query": None}, "belong together"),
        ({"source": "data/labels"}, "belong together"),
        ({"time": None}, "labels.query needs labels.time"),
        ({"format": {"decimal": ","}}, "labels.format is about files"),
    ],
)
def test_a_rule_for_a_query_that_cannot_hold_is_refused(given: dict[str, object], problem: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=problem):
        queried(**given)


def test_labels_in_a_bucket_say_what_the_same_files_in_a_folder_say(
    project: Project, from_files: Labels, address: str
) -> None:
    source = f"{address}/labels"
    path = project.root / "data" / "labels" / "all.csv"
    Bucket(source).create("2013/all.csv", path.read_bytes())
    Bucket(source).create("_SUCCESS", b"")

    found = labels.read(project, LabelPolicy(source=source, key=["id"], time="told"))

    assert content(found) == content(from_files)
    assert found.counts.files == 1
    empty = labels.read(project, LabelPolicy(source=f"{address}/nothing", key=["id"]))
    assert empty.remarks == [f"there are no labels in {address}/nothing yet"]
