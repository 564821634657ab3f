"""The stages `prepare`, `ingest`, `validate` and `split`: from raw files to rows that may be learned from."""

from __future__ import annotations

import hashlib
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from slipway import team
from slipway.base.errors import MlopsError
from slipway.base.files import replacing, write_json
from slipway.contract.files import SOURCE, read_raw
from slipway.contract.frames import Violation, duplicates, parse
from slipway.settings.params import SplitParams
from slipway.settings.project import Project
from slipway.team import CONTRACT

_PREPARE = "prepare.py in your package"


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
    if not isinstance(made, pl.DataFrame):
        raise MlopsError(f"prepare in {_PREPARE} returns {type(made).__name__}", "return a polars.DataFrame")
    _write(made, project.root / data.source)
    _log(f"prepare: {made.height:,} rows from {data.raw}")


def read_delivered(project: Project) -> pl.DataFrame:
    """The raw rows as text, made anew of what is delivered where the team prepares it."""
    if team.prepare() is not None:
        prepare(project)
    return read_raw(project.root / project.params.data.source)


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


def ingest(project: Project) -> None:
    """Collect the raw files into one table of text, each row with its source."""
    raw = read_raw(project.root / project.params.data.source)
    _write(raw, project.root / "data" / "ingested.parquet")
    _log(f"ingest: {raw.height:,} rows from {project.params.data.source}")


def validate(project: Project) -> None:
    """Hold every row against the contract; refuse the whole batch when one row breaks it.

    `data/valid.parquet` is replaced only when all is well, so a bad batch leaves the earlier one.
    """
    raw = pl.read_parquet(project.root / "data" / "ingested.parquet")
    frame, violations = parse(raw, CONTRACT.fields + CONTRACT.outcome_fields)
    if not violations:
        violations = duplicates(frame, CONTRACT) + _staleness(frame, project)
    if violations:
        raise _refused(raw.height, violations)
    valid = frame.sort(CONTRACT.key)
    _write(valid, project.root / "data" / "valid.parquet")
    write_json(project.root / "reports" / "validation.json", _profile(valid))
    _log(f"validate: {valid.height:,} rows keep the contract")


def split(project: Project) -> None:
    """Tell training rows from test rows, by time or by a stable digest of each row's key."""
    valid = pl.read_parquet(project.root / "data" / "valid.parquet")
    train, test = split_rows(valid, project.params.split)
    for name, rows in (("train", train), ("test", test)):
        if rows.is_empty():
            raise MlopsError(
                f"the split leaves no {name} rows out of {valid.height:,}",
                "choose other dates or another share in params.yaml, split",
            )
        _write(rows, project.root / "data" / f"{name}.parquet")
    _log(f"split: {train.height:,} rows to train on, {test.height:,} to test on")


def split_rows(frame: pl.DataFrame, how: SplitParams) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return training and test rows.

    By time, rows after `test_until` are in neither: they are the future, which monitoring meets.
    By digest, a row keeps its side when other rows are added or removed, on every machine.
    """
    if how.by == "time":
        if CONTRACT.time is None or how.train_until is None or how.test_until is None:
            raise MlopsError(
                "a split by time needs a time in the contract, and train_until and test_until in params.yaml",
                "add what is missing, or set split.by: digest",
            )
        when = pl.col(CONTRACT.time)
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


def _staleness(frame: pl.DataFrame, project: Project) -> list[Violation]:
    if CONTRACT.time is None or CONTRACT.max_age_days is None:
        return []
    taken = datetime.combine(project.params.data.as_of, datetime.min.time())
    newest = frame[CONTRACT.time].max()
    if isinstance(newest, datetime) and taken - newest <= timedelta(days=CONTRACT.max_age_days):
        return []
    rule = f"the newest row is more than {CONTRACT.max_age_days} days older than data.as_of, {taken:%Y-%m-%d}"
    return [Violation(CONTRACT.time, rule, frame.height, [f"newest {newest!s}"])]


def _refused(rows: int, violations: list[Violation]) -> MlopsError:
    listed = "\n".join(f"  {violation}" for violation in violations)
    return MlopsError(
        f"the batch of {rows:,} rows breaks the contract, so none of it is used:\n{listed}",
        "mend the data, or if the world has changed, propose another contract: mlops widen",
    )


def _profile(frame: pl.DataFrame) -> dict[str, object]:
    """Simple facts about each column, kept in Git so that a change of the data shows in review."""
    profile: dict[str, object] = {"rows": frame.height}
    for name in sorted(set(frame.columns) - {SOURCE}):
        column = frame[name]
        facts: dict[str, object] = {"missing": column.null_count(), "distinct": column.n_unique()}
        if column.dtype.is_numeric():
            facts |= {"min": column.min(), "mean": round(float(str(column.mean())), 4), "max": column.max()}
        elif column.dtype.is_temporal():
            facts |= {"min": str(column.min()), "max": str(column.max())}
        profile[name] = facts
    return profile


def _write(frame: pl.DataFrame, path: Path) -> None:
    """Write all or nothing: a killed process leaves the earlier file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        frame.write_parquet(draft, compression="zstd")


def _log(line: str) -> None:
    sys.stderr.write(line + "\n")
