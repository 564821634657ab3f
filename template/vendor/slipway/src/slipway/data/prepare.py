"""The stages `prepare`, `ingest`, `validate` and `split`: from raw files to rows that may be learned from."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from slipway import team
from slipway.base.errors import MlopsError
from slipway.base.files import write_json
from slipway.base.mapper import HERE, Chunk, Mapper, Result
from slipway.base.numbers import counted
from slipway.base.progress import Progress
from slipway.contract.agreement import require_split
from slipway.contract.files import SOURCE, read_raw
from slipway.contract.found import RawFile, files_of
from slipway.contract.frames import ROW, Repeated, Violation, duplicates, merged, parse, repeated
from slipway.contract.stretches import stretches
from slipway.data import partitions
from slipway.data.partitions import RangeSorter, StretchChecker, StretchReader, write_table
from slipway.settings.params import SplitParams
from slipway.settings.project import Project
from slipway.team import CONTRACT

_PREPARE = "prepare.py in your package"
_MEND = "mend the data, or if the world has changed, propose another contract: mlops widen"


def prepare(project: Project) -> None:
    """Have the team's own function make one table of files that are not rows yet."""
    function, data = team.prepare(), project.params.data
    if function is None:
        raise MlopsError(f"there is no {_PREPARE}", "write it, or take the stage prepare out of dvc.yaml")
    if data.raw is None or not data.source.endswith(".parquet"):
        raise MlopsError(
            f"the stage prepare makes data.source of data.raw, and params.yaml says {data.source} and {data.raw}",
            "name the files in data.raw, and in data.source the table that is made of them: data/prepared.parquet",
        )
    made = function(project.root / data.raw)
    write_table(_table(made), project.root / data.source)
    _log(f"prepare: {made.height:,} rows from {data.raw}")


def _table(made: object) -> pl.DataFrame:
    if not isinstance(made, pl.DataFrame):
        raise MlopsError(f"prepare in {_PREPARE} returns {type(made).__name__}", "return a polars.DataFrame")
    return made


def read_delivered(project: Project, names: Sequence[str] | None = None, folder: Path | None = None) -> pl.DataFrame:
    """The raw rows, all columns or those with `names`, made anew of what is delivered where the team prepares it.

    `folder` is read instead of what params.yaml says is delivered.
    """
    data, function = project.params.data, team.prepare()
    if folder is None:
        if function is not None:
            prepare(project)
        return read_raw(project.root / data.source, data.format, names)
    if function is None:
        return read_raw(folder, data.format, names)
    with tempfile.TemporaryDirectory(prefix="prepared-") as place:
        table = Path(place) / Path(data.source).name
        write_table(_table(function(folder)), table)
        return read_raw(table, data.format, names)


def require_prepared(project: Project) -> None:
    """Refuse a `prepare` of the team's that no stage runs."""
    if team.prepare() is None:
        return
    written: dict[str, Any] = msgspec.yaml.decode((project.root / "dvc.yaml").read_bytes())
    if "prepare" not in written.get("stages", {}):
        raise MlopsError(
            f"{_PREPARE} is there, and dvc.yaml has no stage prepare that runs it",
            "add the stage, as docs/your-own-data.md shows it",
        )


def ingest(project: Project, engine: Mapper = HERE) -> None:
    """Collect the raw files into one table of text, each row with its source.

    Raises `MlopsError` when they hold no row.
    """
    data = project.params.data
    files = files_of(project.root / data.source)
    with partitions.workplace(project.root) as folder:
        found = _mapped(engine, StretchReader(folder, data.format), [*stretches(files, partitions.PART)])
        rows = sum(number for number, _ in found)
        if not rows:
            raise MlopsError(f"there is no row in {data.source}", "is that all? `dvc pull` fetches what the remote has")
        write_table(pl.scan_ipc(sorted(folder.glob("*.arrow"))), project.root / "data" / "ingested.parquet")
    _log(f"ingest: {counted(rows, 'row')} from {data.source}, {counted(len(files), 'file')}")
    if unused := sorted(set[str]().union(*(names for _, names in found))):
        _log(f"ingest: columns that the contract does not know are left out: {', '.join(unused)}")


def validate(project: Project, engine: Mapper = HERE) -> None:
    """Hold every row against the contract; refuse the whole batch when one row breaks it.

    `data/valid.parquet` is replaced only when all is well, so a bad batch leaves the earlier one.
    """
    table, form = project.root / "data" / "ingested.parquet", project.params.data.format
    rows = pl.scan_parquet(table).select(pl.len()).collect().item()
    parts = [*stretches([RawFile(table, table.name)], partitions.height(rows))]
    with partitions.workplace(project.root) as folder:
        checked = _mapped(engine, StretchChecker(folder, form, partitions.bounds(table, rows, form)), parts)
        violations = merged(violation for one in checked for violation in one.violations)
        if violations:
            raise _refused(rows, violations, _MEND)
        made = _mapped(engine, RangeSorter(folder), [*partitions.ranges(checked)])
        latest = max((one.newest for one in checked if one.newest), default=None)
        if violations := _of_all([one.repeated for one in made], latest, rows, project):
            raise _refused(rows, violations, _MEND)
        valid = pl.scan_ipc([one.part for one in made])
        facts = partitions.profile([one.facts for one in made], valid)
        write_table(valid, project.root / "data" / "valid.parquet")
    write_json(project.root / "reports" / "validation.json", facts)
    _log(f"validate: {counted(rows, 'row')} kept the contract")


def _mapped(engine: Mapper, function: Callable[[Chunk], Result], chunks: list[Chunk]) -> list[Result]:
    """Results in their order; a cluster that the engine may need is not asked for the sake of one chunk."""
    progress, found = Progress(_log, "part", len(chunks)), list[Result]()
    for result in (engine if len(chunks) > 1 else HERE).map(function, chunks):
        found.append(result)
        progress.add(1)
    return found


def kept(raw: pl.DataFrame, project: Project, next_step: str) -> pl.DataFrame:
    """Raw rows with the contract's types. Raises `MlopsError`, with every rule that is broken, when one breaks it."""
    frame, violations = parse(raw, CONTRACT.fields + CONTRACT.outcome_fields, project.params.data.format)
    if not violations:
        found = repeated(frame.with_row_index(ROW), CONTRACT)
        violations = _of_all([found], partitions.newest(frame), frame.height, project)
    if violations:
        raise _refused(raw.height, violations, next_step)
    return frame


def split(project: Project) -> None:
    """Tell training rows from test rows, by time or by a stable digest of each row's key."""
    valid = _with_outcome(pl.read_parquet(project.root / "data" / "valid.parquet"), project.params.split)
    train, test = split_rows(valid, project.params.split)
    for name, rows in (("train", train), ("test", test)):
        if rows.is_empty():
            raise MlopsError(
                f"the split leaves no {name} rows out of {valid.height:,}",
                "choose other dates or another share in params.yaml, split",
            )
        write_table(rows, project.root / "data" / f"{name}.parquet")
    _log(f"split: {counted(train.height, 'row')} to train on, {test.height:,} to test on")
    if left_out := valid.height - train.height - test.height:
        _log(f"split: {left_out:,} of {valid.height:,} rows are in neither: {_left_out(valid, project.params.split)}")


def _left_out(valid: pl.DataFrame, how: SplitParams) -> str:
    """Say which rows a split by time leaves out."""
    when = pl.col(str(CONTRACT.time))
    later, unknown = valid.select((when >= how.test_until).sum().alias("later"), when.null_count()).row(0)
    told = [f"{later:,} from split.test_until on, {how.test_until}"] if later else []
    return ", ".join([*told, f"{unknown:,} without a time"] if unknown else told)


def _with_outcome(frame: pl.DataFrame, how: SplitParams) -> pl.DataFrame:
    """Refuse or leave out rows of which it is not known what happened; a target would take them for something."""
    names = [field.name for field in CONTRACT.outcome_fields if field.optional]
    unknown = frame.filter(pl.any_horizontal(pl.col(names).is_null())) if names else frame.clear()
    if unknown.is_empty() or how.missing_outcomes == "keep":
        return frame
    lacking = ", ".join(name for name in names if unknown[name].null_count())
    if how.missing_outcomes == "drop":
        _log(f"split: left out {counted(unknown.height, 'row')} without {lacking}")
        return frame.drop_nulls(names)
    raise MlopsError(
        f"{unknown.height:,} of {counted(frame.height, 'row')} have no {lacking}, first {unknown[SOURCE][0]}",
        "in params.yaml, `split.missing_outcomes: drop` leaves such rows out, `keep` lets target judge them",
    )


def split_rows(frame: pl.DataFrame, how: SplitParams) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return training and test rows.

    By time, rows after `test_until` are in neither: they are the future, which monitoring meets.
    By digest, a row keeps its side when other rows are added or removed, on every machine.
    """
    if how.by == "time":
        require_split(how, CONTRACT)
        when = pl.col(str(CONTRACT.time))
        train = frame.filter(when < how.train_until)
        return train, frame.filter((when >= how.train_until) & (when < how.test_until))
    share = pl.Series([stable_share(row) for row in frame.select(CONTRACT.key).iter_rows()])
    return frame.filter(share >= how.test_share), frame.filter(share < how.test_share)


def stable_share(key: tuple[object, ...]) -> float:
    """Map a row's key to a number in [0, 1) that depends on nothing but the key.

    >>> stable_share(("a", 1))
    0.5141306901658262
    """
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _of_all(found: list[Repeated], latest: datetime | None, rows: int, project: Project) -> list[Violation]:
    """What no row breaks by itself: keys that come again, and data that is too old."""
    return duplicates(found, CONTRACT) + _staleness(latest, rows, project)


def _staleness(latest: datetime | None, rows: int, project: Project) -> list[Violation]:
    if CONTRACT.time is None or CONTRACT.max_age_days is None:
        return []
    taken = datetime.combine(project.params.data.as_of, datetime.min.time())
    if latest is not None and taken - latest <= timedelta(days=CONTRACT.max_age_days):
        return []
    rule = f"the newest row is more than {CONTRACT.max_age_days} days older than data.as_of, {taken:%Y-%m-%d}"
    return [Violation(CONTRACT.time, rule, rows, [f"newest {latest!s}"])]


def _refused(rows: int, violations: list[Violation], next_step: str) -> MlopsError:
    listed = "\n".join(f"  {violation}" for violation in violations)
    return MlopsError(
        f"the batch of {counted(rows, 'row')} breaks the contract, so none of it is used:\n{listed}", next_step
    )


def _log(line: str) -> None:
    sys.stderr.write(line + "\n")
