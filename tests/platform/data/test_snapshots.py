"""Raw data from a database and from a bucket: taken whole or not at all, with a record of where it came from."""

from __future__ import annotations

import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl
import pytest
import yaml
from flight_delays.contract import CONTRACT
from servers import postgresql
from slipway import team
from slipway.base.buckets import Bucket
from slipway.base.errors import MlopsError
from slipway.contract.files import SOURCE
from slipway.data import databases, fetching, origins, snapshots
from slipway.data.stages import STAGES, run_stage
from slipway.evidence.trace import trace
from slipway.forge import git
from slipway.proposals.retrain import propose_retraining
from slipway.registry import register
from slipway.registry.models import Registry
from slipway.settings.params import DataParams, SnapshotParams
from slipway.settings.project import Project
from slipway.testing import small_copy
from slipway.training import pipeline
from slipway.training.bundle import seal
from slipway.training.tracking import PIPELINE, connect, record
from sqlalchemy import create_engine, text

DOCS = Path(__file__).parents[3] / "template" / "vendor" / "slipway" / "docs"
WHERE, QUERY = "data/raw/flights", "sql/flights.sql"
EVERYTHING = "select * from flights order by departs, carrier, flight, origin"


@pytest.fixture(scope="module")
def database(finished: Project) -> Iterator[str]:
    """PostgreSQL with the flights of a small project in a table, and with someone who needs a password."""
    rows = pl.read_parquet(finished.root / "data" / "valid.parquet").drop(SOURCE)
    with postgresql() as address:
        kinds = {name: _type_of(dtype) for name, dtype in rows.schema.items()}
        columns = ", ".join(f"{name} {of}" for name, of in kinds.items())
        values = ", ".join(f"cast(:{name} as {of})" for name, of in kinds.items())
        tidied = "create function tidied() returns int language sql as 'delete from flights returning 1'"
        engine = create_engine(address)
        with engine.begin() as connection:
            connection.execute(text(f"create table flights ({columns})"))
            connection.execute(text(f"insert into flights values ({values})"), rows.cast(pl.String).to_dicts())
            connection.execute(text(tidied))
            connection.execute(text("alter database postgres set timezone = 'America/New_York'"))
            connection.execute(text("create role guest login password 'right'"))
            hba = Path(str(connection.execute(text("show hba_file")).scalar()))
            hba.write_text(f"host all guest all scram-sha-256\n{hba.read_text('utf-8')}", encoding="utf-8")
            connection.execute(text("select pg_reload_conf()"))
        engine.dispose()
        yield address


def _type_of(dtype: pl.DataType) -> str:
    if dtype.is_integer():
        return "bigint"
    if dtype.is_float():
        return "double precision"
    return "timestamp" if dtype.is_temporal() else "text"


def asked(project: Project, snapshot: dict[str, str], query: str = EVERYTHING) -> Project:
    """A committed project, with a data remote, that takes its raw data from somewhere."""
    root = project.root
    settings = yaml.safe_load((root / "params.yaml").read_text("utf-8"))
    settings["data"] |= {"source": WHERE, "snapshot": snapshot}
    (root / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    (root / "sql").mkdir()
    (root / QUERY).write_text(f"{query}\n", encoding="utf-8")
    (root / ".gitignore").write_text("/.mlops/\n/data/*.parquet\n/model/\n/remote/\n", encoding="utf-8")
    (root / ".dvc").mkdir()
    lines = ["[core]", "    remote = here", "    analytics = false", "    autostage = true"]
    config = "\n".join([*lines, "['remote \"here\"']", "    url = ../remote", ""])
    (root / ".dvc" / "config").write_text(config, encoding="utf-8")
    (root / ".dvc" / ".gitignore").write_text("/cache\n/tmp\n/config.local\n", encoding="utf-8")
    (root / "remote").mkdir()
    git.git(root, "init", "--quiet", "--initial-branch=main")
    git.git(root, "config", "user.name", "Ada")
    git.git(root, "config", "user.email", "ada@example.com")
    commit(root)
    return Project(root)


def commit(root: Path) -> None:
    git.git(root, "add", "--all")
    git.git(root, "commit", "--quiet", "--allow-empty", "--message", "As it is")


@pytest.fixture
def queried(project: Project, database: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("DATA_SOURCE_URL", database)
    return asked(project, {"source": "env:DATA_SOURCE_URL", "query": QUERY})


@pytest.fixture
def filled(project: Project, address: str, request: pytest.FixtureRequest) -> Project:
    """A project that takes its raw data from two files in a bucket."""
    place = f"{address}/raw/{request.node.name}"
    raw = pl.read_parquet(project.root / "data" / "raw.parquet")
    half = raw.height // 2
    Bucket(place).create("2013/a.csv", raw.head(half).write_csv().encode())
    Bucket(place).create("2013/b.csv", raw.tail(-half).write_csv().encode())
    Bucket(place).create("_SUCCESS", b"")
    return asked(project, {"source": place})


def ask(project: Project, query: str) -> None:
    (project.root / QUERY).write_text(query, encoding="utf-8")
    commit(project.root)


def quiet(_: str) -> None:
    """Nobody listens."""


def state(project: Project) -> dict[str, bytes]:
    """All that a snapshot is made of, and what must not be left."""
    files = [path for path in (project.root / "data").rglob("*") if path.is_file() and path.parent.name != "data"]
    return {path.relative_to(project.root).as_posix(): path.read_bytes() for path in files}


def earlier(project: Project) -> dict[str, bytes]:
    """Commit a snapshot of before, as it would be in a checkout; returns all that it consists of."""
    record = origins.Snapshot(
        source="env:DATA_SOURCE_URL", query=QUERY, at=datetime(2013, 12, 31, tzinfo=UTC), rows=1, columns={},
        sha256="0" * 64, md5="0.dir", text_sha256=origins.digest(project.root / QUERY),
    )  # fmt: skip
    folder = project.root / WHERE
    folder.mkdir(parents=True)
    (folder / "part-00000.parquet").write_bytes(b"rows of before")
    outs = [{"md5": "0.dir", "size": 1, "nfiles": 1, "hash": "md5", "path": folder.name}]
    pointer = {"outs": outs, "meta": {"snapshot": msgspec.to_builtins(record)}}
    (project.root / f"{WHERE}.dvc").write_text(yaml.safe_dump(pointer), encoding="utf-8")
    (folder.parent / ".gitignore").write_text("/flights\n", encoding="utf-8")
    commit(project.root)
    return state(project)


# MLflow's own, of its use of SQLAlchemy.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_rows_of_a_query_train_the_model_that_the_same_rows_in_files_train(
    queried: Project, finished: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through parts of some rows, text and DVC nothing is lost: every byte of the bundle is the same."""
    monkeypatch.setattr(fetching, "BATCH_ROWS", 1_500)
    # Neither is a parameter, and both are the query's own.
    ask(queried, "-- 100 % of :them\n" + EVERYTHING.replace("order", "where ' :x' <> '%s' order") + ";\n")

    made = snapshots.take(queried, quiet)
    for name in STAGES:
        run_stage(queried, name)

    rows = pl.read_parquet(finished.root / "data" / "valid.parquet").height
    assert len(list((queried.root / WHERE).iterdir())) == -(-rows // 1_500) > 1
    assert content(queried.bundle) == content(finished.bundle)
    assert (made.record.rows, made.record.columns["departs"]) == (rows, "datetime")
    # What is registered says where its rows came from.
    outs = [{"path": "data/valid.parquet", "md5": "0"}]
    (queried.root / "dvc.lock").write_text(yaml.safe_dump({"stages": {"validate": {"outs": outs}}}), encoding="utf-8")
    (queried.root / "uv.lock").write_text("version = 1\n", encoding="utf-8")
    commit(queried.root)
    record(queried, connect(queried), {PIPELINE: pipeline.pipeline_digest(queried)}, status="FINISHED")
    registry = Registry.open(queried)
    version, _ = registry.register(seal(queried.bundle, queried.root / "made", register._lineage(queried, registry)))
    said = f"env:DATA_SOURCE_URL, {QUERY} sha256 {made.record.text_sha256[:12]}, {rows:,} rows at {made.record.at:%Y}-"
    assert said in trace(queried, str(version.number))["snapshot"]
    assert f"The raw data was taken from {said}" in (queried.root / "made" / "card.md").read_text("utf-8")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_bundle_of_other_raw_data_names_no_snapshot(bundle: Path) -> None:
    assert "snapshot" not in (bundle / "lineage.json").read_text("utf-8") + (bundle / "card.md").read_text("utf-8")


def test_what_a_team_prepares_of_a_snapshot_is_held_against_the_contract(
    queried: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The columns have other names there, and the team's own tests take some of the prepared rows."""
    settings = (queried.root / "params.yaml").read_text("utf-8")
    prepared = settings.replace(f"source: {WHERE}", f"source: data/prepared.parquet\n  raw: {WHERE}")
    (queried.root / "params.yaml").write_text(prepared, encoding="utf-8")
    ask(queried, "select departs, flight as number, 'AA' as line from flights")
    with pytest.raises(MlopsError, match=r"has no column .*carrier"):
        snapshots.take(Project(queried.root), quiet)
    names = [field.name for field in CONTRACT.fields + CONTRACT.outcome_fields if field.name != "carrier"]
    ask(queried, f"select {', '.join(names)}, carrier as line from flights")
    monkeypatch.setattr(team, "prepare", lambda: lambda raw: pl.read_parquet(raw).rename({"line": "carrier"}))

    made = snapshots.take(Project(queried.root), quiet)

    assert "line" in made.record.columns
    assert not (queried.root / "data" / "prepared.parquet").exists()
    assert {path.name for path in (queried.root / WHERE).iterdir()} == {"part-00000.parquet"}
    (queried.root / "small").mkdir()
    small = small_copy(queried.root, queried.root / "small").params.data
    assert (small.source, small.snapshot) == ("data/raw.parquet", None)


def test_a_snapshot_says_where_it_came_from_and_unchanged_rows_are_the_same_snapshot(queried: Project) -> None:
    with pytest.raises(MlopsError, match="there is no snapshot in data/raw/flights yet"):
        pipeline.run(queried, log=quiet)
    first = snapshots.take(queried, quiet)
    commit(queried.root)
    path = queried.root / f"{WHERE}.dvc"
    pointer = yaml.safe_load(path.read_text("utf-8"))

    again = snapshots.take(queried, quiet)

    told = pointer["meta"]["snapshot"]
    assert (told["source"], told["query"], told["text"]) == ("env:DATA_SOURCE_URL", QUERY, f"{EVERYTHING}\n")
    assert origins.taken(queried) == first.record
    assert (again.is_new, again.record) == (False, first.record)
    assert git.changes(queried.root) == []
    assert not (queried.root / "data" / ".snapshot").exists()
    assert origins.remarks(queried) == []
    ask(queried, f"{EVERYTHING} limit 9")
    assert "sql/flights.sql has changed since the snapshot was taken" in origins.remarks(queried)[0]
    # What somebody changes, DVC writes into the pointer when the pipeline runs.
    path.write_text(path.read_text("utf-8").replace(first.record.md5, "1.dir", 1), encoding="utf-8")
    with pytest.raises(MlopsError, match="was changed after it was taken from env:DATA_SOURCE_URL"):
        origins.taken(queried)


def test_files_of_a_bucket_train_the_model_that_the_same_rows_train(filled: Project, finished: Project) -> None:
    made = snapshots.take(filled, quiet)
    for name in STAGES:
        run_stage(filled, name)

    assert content(filled.bundle) == content(finished.bundle)
    assert sorted(path.name for path in (filled.root / WHERE / "2013").iterdir()) == ["a.csv", "b.csv"]
    assert (made.record.query, made.record.columns["departs"]) == ("", "String")


#: A query that cannot be a snapshot, with what is said of it.
REFUSED = {
    "no table": ("select * from nothing", 'database of DATA_SOURCE_URL: relation "nothing" does not exist'),
    "no column": ("select nothing from flights", 'column "nothing" does not exist'),
    "no row": ("select * from flights where carrier = ''", "sql/flights.sql gives no row"),
    "lacks a column": ("select departs from flights", r"part-00000\.parquet has no column .*carrier"),
    "a column twice": ("select carrier, carrier from flights", "sql/flights.sql gives carrier more than once"),
    "two statements": ("select 1; delete from flights", "sql/flights.sql holds a semicolon within its text"),
    "no statement": (" ; ", "sql/flights.sql holds no statement"),
    "writes": ("select tidied()", "cannot execute DELETE in a read-only transaction"),
    "changes rows": ("delete from flights", "cannot be read from the database of DATA_SOURCE_URL: syntax error"),
    "a key twice": ("select * from flights union all select * from flights", "the key is not unique"),
    "bytes": ("select carrier, '\\x00'::bytea as raw from flights", "gives a memoryview as raw in row 1"),
    "span": ("select '1 day'::interval as pause", "gives a timedelta as pause in row 1"),
    "infinity": ("select 'infinity'::timestamptz as departs", "gives infinity as departs in row 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_query_that_is_no_snapshot_is_refused_and_the_one_before_stays(
    queried: Project, database: str, name: str
) -> None:
    query, problem = REFUSED[name]
    ask(queried, query)
    before = earlier(queried)

    with pytest.raises(MlopsError, match=problem):
        snapshots.take(queried, quiet)

    assert state(queried) == before
    assert git.changes(queried.root) == []


#: An expression in the place of a column of the contract, and what the contract says of its first row.
VALUES = {
    "beyond 64 bits": ("flight", "9223372036854775808", r"flight: must be .* part-00000\.parquet:1 = 92233720"),
    "not whole": ("flight", "1.5::numeric", "flight: must be .* = 1.5"),
    "a neighbour": ("flight", "9007199254740993::float8", r"to lose none in 3 rows, .*:1 = 9007199254740992\.0"),
    "not a number": ("temp", "'NaN'::numeric", "temp: must be finite"),
    "a zone": ("departs", "departs at time zone 'America/New_York'", r"departs: must be .* = 2013-.*\+00:00"),
    "missing": ("carrier", "null", "carrier: a value is missing"),
    "a flag": ("flight", "true", "flight: must be .* = true"),
    "an empty text": ("carrier", "''", "carrier: must be"),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_what_the_contract_says_or_is_refused_with_its_row(queried: Project, name: str) -> None:
    column, value, problem = VALUES[name]
    others = [field.name for field in CONTRACT.fields + CONTRACT.outcome_fields if field.name != column]
    ask(queried, f"select {', '.join(others)}, {value} as {column} from flights order by 1 limit 3")

    with pytest.raises(MlopsError, match=problem) as refused:
        snapshots.take(queried, quiet)

    assert "change contract.py; then: mlops snapshot" in refused.value.next_step


def test_what_a_database_gives_is_text_to_the_digit(queried: Project) -> None:
    given = {
        "9223372036854775807": "9223372036854775807", "1.50::numeric": "1.50", "1e-7::float8": "1e-07",
        "'0.1'::real": "0.1", "true": "true", "'2013-07-01'::date": "2013-07-01", "null": None, "''": "",
        "timestamp '2013-07-01 17:30:00.123'": "2013-07-01T17:30:00.123000",
        "timestamptz '2013-07-01 17:30+02'": "2013-07-01T15:30:00+00:00",
    }  # fmt: skip
    ask(queried, f"select {', '.join(f'{value} as c{at}' for at, value in enumerate(given))}")
    rule = queried.params.data.snapshot
    assert rule is not None

    fetching.fetch_rows(queried, rule, QUERY, queried.root / "model", quiet)

    assert pl.read_parquet(queried.root / "model" / "part-00000.parquet").row(0) == tuple(given.values())


def test_a_query_is_in_a_commit(queried: Project) -> None:
    (queried.root / QUERY).write_text("select 1", encoding="utf-8")
    with pytest.raises(MlopsError, match=r"sql/flights\.sql has changes that are in no commit"):
        snapshots.take(queried, quiet)

    (queried.root / ".gitignore").write_text("/sql/\n/.mlops/\n", encoding="utf-8")
    git.git(queried.root, "rm", "--quiet", "--cached", QUERY)
    commit(queried.root)
    with pytest.raises(MlopsError, match=r"sql/flights\.sql is in no commit"):
        snapshots.take(queried, quiet)

    (queried.root / QUERY).unlink()
    with pytest.raises(MlopsError, match=r"data\.snapshot\.query: there is no file sql/flights\.sql"):
        snapshots.take(queried, quiet)


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql+psycopg2://u:geheim@127.0.0.1:{server.getsockname()[1]}/x"


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        (None, r"params\.yaml, data\.snapshot\.source: the environment has no DATA_SOURCE_URL"),
        ("postgresql+psycopg2://u:geheim@127.0.0.1:1/x", "database of DATA_SOURCE_URL: .*Connection refused"),
        ("{silent}", "database of DATA_SOURCE_URL: .*timeout expired"),
        ("{guarded}", 'password authentication failed for user "guest"'),
        ("sqlite:///geheim.db", r"there is no file geheim\.db"),
        ("postgresql+asyncpg://u:geheim@127.0.0.1/x", "database of DATA_SOURCE_URL: No module named 'asyncpg'"),
        (
            "mysql://u:geheim@127.0.0.1/x",
            "mysql in DATA_SOURCE_URL is not known to write nothing",
        ),
        ("postgresql+psycopg2://u:ein@geheim@127.0.0.1:1/x", 'could not translate host name "…@127.0.0.1"'),
        ("postgresql+psycopg2://u:geheim@127.0.0.1:port/x", "the port in its address is no number"),
        ("geheim", "database of DATA_SOURCE_URL: Could not parse"),
    ],
    ids=[
        "not set",
        "away",
        "silent",
        "wrong password",
        "no file",
        "no driver",
        "another",
        "an @",
        "a port",
        "no address",
    ],
)
def test_a_database_that_lets_nobody_in_is_told_without_its_password(
    queried: Project, database: str, silent: str, monkeypatch: pytest.MonkeyPatch, address: str | None, problem: str
) -> None:
    monkeypatch.setattr(databases, "CONNECT_S", 2)
    guarded = database.replace("tests@", "guest:geheim@")
    monkeypatch.setenv("DATA_SOURCE_URL", (address or "").format(silent=silent, guarded=guarded))
    before = earlier(queried)

    with pytest.raises(MlopsError, match=problem) as refused:
        snapshots.take(queried, quiet)

    assert "geheim" not in str(refused.value).replace("geheim.db", "")
    assert state(queried) == before


def test_sqlite_gives_rows_and_is_not_written(
    queried: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "raw.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table flights (carrier text, delay real)")
        connection.executemany("insert into flights values (?, ?)", [("AA", 1.5), ("UA", None)])
    monkeypatch.setenv("DATA_SOURCE_URL", f"sqlite:///{path}")
    ask(queried, "select * from flights order by carrier")
    rule = queried.params.data.snapshot
    assert rule is not None

    fetching.fetch_rows(queried, rule, QUERY, queried.root / "model", quiet)
    ask(queried, "delete from flights")
    with pytest.raises(MlopsError, match="attempt to write a readonly database"):
        snapshots.take(queried, quiet)

    assert pl.read_parquet(queried.root / "model" / "part-00000.parquet").rows() == [("AA", "1.5"), ("UA", None)]


def test_a_folder_that_no_snapshot_made_is_left_alone(queried: Project) -> None:
    (queried.root / WHERE).mkdir(parents=True)
    (queried.root / WHERE / "mine.csv").write_text("carrier\n", encoding="utf-8")

    with pytest.raises(MlopsError, match="data/raw/flights holds what no snapshot made, and would be lost"):
        snapshots.take(queried, quiet)


def test_a_project_whose_data_are_files_has_nothing_to_take(project: Project) -> None:
    with pytest.raises(MlopsError, match=r"params\.yaml names nothing that raw data could be taken from"):
        snapshots.take(project, quiet)


def test_a_disk_that_takes_no_more_leaves_the_snapshot_before(queried: Project) -> None:
    before, (soft, hard) = earlier(queried), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(MlopsError, match=r"the snapshot cannot be written: .*File too large"):
            snapshots.take(queried, quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert state(queried) == before


def test_what_is_in_a_bucket_is_refused_by_name(filled: Project, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = filled.params.data.snapshot
    assert rule is not None
    bucket, before = Bucket(rule.source), earlier(filled)

    def refused(problem: str, log: Callable[[str], None] = quiet) -> None:
        with pytest.raises(MlopsError, match=problem):
            snapshots.take(filled, log)
        assert state(filled) == before

    def writes(name: str) -> Callable[[str], None]:
        """Somebody who changes an object while the bucket is read."""

        def log(line: str) -> None:
            if " in s3://" in line:
                bucket.delete([name])
                bucket.create(name, b"carrier\nAA\n")

        return log

    refused("was changed while it was read", writes("zz.csv"))
    bucket.delete(["zz.csv"])
    refused("/2013/b.csv was changed while it was read", writes("2013/b.csv"))
    refused(r"2013/b\.csv has no column")
    bucket.create("2013/c.json", b"{}")
    refused(r"2013/c\.json is neither \.csv")
    filled.params.data.snapshot = SnapshotParams(source=f"{address}/nowhere")
    refused("there is nothing in s3://flights/logs/nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    refused("the bucket at s3://flights/logs/nowhere cannot be listed")


#: Takes a snapshot of a query that gives some parts, and then nothing for a minute.
SLOW = """
import sys
from slipway.data import fetching
from slipway.cli import main
fetching.BATCH_ROWS = 500
sys.argv = ["mlops", "snapshot"]
main()
"""


def test_a_process_that_is_killed_leaves_the_snapshot_before_and_nothing_to_commit(queried: Project) -> None:
    nap = "case when row_number() over (order by departs) = 2000 then pg_sleep(60)::text end as nap"
    ask(queried, f"select *, {nap} from flights")
    before = earlier(queried)
    draft = queried.root / "data" / ".snapshot"
    started = subprocess.Popen([sys.executable, "-c", SLOW], cwd=queried.root)
    try:
        deadline = time.monotonic() + 60
        while not list(draft.rglob("part-00001.parquet")):
            assert started.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()

    left = {path: content for path, content in state(queried).items() if ".snapshot" not in path}
    assert left == before
    assert git.changes(queried.root) == ["data/.snapshot/.gitignore"]
    ask(queried, "select 1 as carrier")
    with pytest.raises(MlopsError, match="has no column"):
        snapshots.take(queried, quiet)
    assert state(queried) == before


def test_newer_rows_of_the_source_are_proposed_for_learning(queried: Project) -> None:
    before, path = earlier(queried), f"{WHERE}.dvc"

    proposal = propose_retraining(queried, "arrivals have moved", log=quiet)

    assert (proposal.branch, proposal.is_new) == ("retrain/2013-12-31", True)
    assert state(queried) == before
    assert git.changes(queried.root) == []
    assert git.git(queried.root, "diff", "--name-only", "HEAD", proposal.branch).split() == [path, "params.yaml"]
    # Whoever reviews it fetches the rows from the remote.
    pointer = yaml.safe_load(git.at_commit(queried.root, proposal.branch, path) or "")
    md5 = pointer["outs"][0]["md5"]
    assert (queried.root / "remote" / "files" / "md5" / md5[:2] / md5[2:]).is_file()
    told = git.git(queried.root, "log", "-1", "--format=%B", proposal.branch)
    assert "The monitor found: arrivals have moved" in told
    assert f"- {WHERE} is taken from env:DATA_SOURCE_URL, {QUERY} sha256 " in told
    git.git(queried.root, "merge", "--quiet", proposal.branch)
    with pytest.raises(MlopsError, match=r"there is nothing newer to learn from: .* 2013-12-31") as refused:
        propose_retraining(Project(queried.root), log=quiet)
    assert (refused.value.exit_code, refused.value.next_step) == (
        3, "see that env:DATA_SOURCE_URL has newer rows, then: mlops retrain"
    )  # fmt: skip


def test_rows_that_nobody_else_could_fetch_are_not_proposed(queried: Project) -> None:
    with pytest.raises(MlopsError, match="there is no snapshot in data/raw/flights yet"):
        propose_retraining(queried, log=quiet)
    earlier(queried)
    (queried.root / ".dvc" / "config").write_text("", encoding="utf-8")

    with pytest.raises(MlopsError, match=r"newer rows cannot be proposed without a remote in \.dvc/config"):
        propose_retraining(queried, log=quiet)


def test_what_the_page_shows_can_be_set() -> None:
    page = (DOCS / "data.md").read_text("utf-8").partition("## From a query or a bucket")[2]
    blocks = re.findall(r"^```yaml\n(data:.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)

    found = [msgspec.convert(yaml.safe_load(block)["data"], DataParams).snapshot for block in blocks]

    assert found == [
        SnapshotParams(source="env:DATA_SOURCE_URL", query=QUERY),
        SnapshotParams(source="s3://lake/flights"),
    ]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"snapshot": {"source": "env:DATA_SOURCE_URL"}}, "belong together"),
        ({"snapshot": {"source": "s3://lake/flights", "query": QUERY}}, "belong together"),
        ({"snapshot": {"source": "https://example.com/flights"}}, "is no address of a bucket, which begins with s3://"),
        ({"snapshot": {"source": "s3://key:secret@lake/flights"}}, "its credentials belong in the environment"),
        ({"source": "data/raw.parquet"}, "a snapshot is a folder below data/"),
        ({"source": "elsewhere/raw"}, "a snapshot is a folder below data/"),
        ({"source": "data/../src"}, "a snapshot is a folder below data/"),
        ({"snapshot": {"source": "env:A", "query": QUERY}, "format": {"decimal": ","}}, "format is about files"),
    ],
)
def test_settings_that_cannot_hold_are_refused(given: dict[str, object], problem: str) -> None:
    usual = {"source": WHERE, "as_of": "2014-01-01", "snapshot": {"source": "s3://lake/flights"}}
    with pytest.raises(msgspec.ValidationError, match=problem):
        msgspec.convert(usual | given, DataParams)
