"""The stages `prepare`, `ingest`, `validate` and `split`: from raw files to rows that may be learned from."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from slipway import team
from slipway.base.errors import MlopsError
from slipway.base.files import replacing, write_json
from slipway.base.numbers import counted, significant
from slipway.contract.agreement import require_split
from slipway.contract.files import SOURCE, read_raw, unused_columns
from slipway.contract.found import files_of
from slipway.contract.frames import Violation, duplicates, parse
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
    _write(_table(made), project.root / data.source)
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
        _write(_table(function(folder)), table)
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


def ingest(project: Project) -> None:
    """Collect the raw files into one table of text, each row with its source.

    Raises `MlopsError` when they hold no row.
    """
    data = project.params.data
    source = project.root / data.source
    raw = read_raw(source, data.format)
    if raw.is_empty():
        raise MlopsError(f"there is no row in {data.source}", "is that all? `dvc pull` fetches what the remote has")
    unused = unused_columns(source, data.format)
    _write(raw, project.root / "data" / "ingested.parquet")
    files = len(files_of(source))
    _log(f"ingest: {counted(raw.height, 'row')} from {data.source}, {counted(files, 'file')}")
    if unused:
        _log(f"ingest: columns that the contract does not know are left out: {', '.join(unused)}")


def validate(project: Project) -> None:
    """Hold every row against the contract; refuse the whole batch when one row breaks it.

    `data/valid.parquet` is replaced only when all is well, so a bad batch leaves the earlier one.
    """
    valid = kept(pl.read_parquet(project.root / "data" / "ingested.parquet"), project).sort(CONTRACT.key)
    profile = _profile(valid)
    _write(valid, project.root / "data" / "valid.parquet")
    write_json(project.root / "reports" / "validation.json", profile)
    _log(f"validate: {counted(valid.height, 'row')} kept the contract")


def kept(raw: pl.DataFrame, project: Project, next_step: str = _MEND) -> pl.DataFrame:
    """Raw rows with the contract's types. Raises `MlopsError`, with every rule that is broken, when one breaks it."""
    frame, violations = parse(raw, CONTRACT.fields + CONTRACT.outcome_fields, project.params.data.format)
    if not violations:
        violations = duplicates(frame, CONTRACT) + _staleness(frame, project)
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
        _write(rows, project.root / "data" / f"{name}.parquet")
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


def _staleness(frame: pl.DataFrame, project: Project) -> list[Violation]:
    if CONTRACT.time is None or CONTRACT.max_age_days is None:
        return []
    taken = datetime.combine(project.params.data.as_of, datetime.min.time())
    newest = frame[CONTRACT.time].dt.replace_time_zone(None).max()
    if isinstance(newest, datetime) and taken - newest <= timedelta(days=CONTRACT.max_age_days):
        return []
    rule = f"the newest row is more than {CONTRACT.max_age_days} days older than data.as_of, {taken:%Y-%m-%d}"
    return [Violation(CONTRACT.time, rule, frame.height, [f"newest {newest!s}"])]


def _refused(rows: int, violations: list[Violation], next_step: str) -> MlopsError:
    listed = "\n".join(f"  {violation}" for violation in violations)
    return MlopsError(
        f"the batch of {counted(rows, 'row')} breaks the contract, so none of it is used:\n{listed}", next_step
    )


def _profile(frame: pl.DataFrame) -> dict[str, object]:
    """Simple facts about each column, kept in Git so that a change of the data shows in review."""
    profile: dict[str, object] = {"rows": frame.height}
    for name in sorted(set(frame.columns) - {SOURCE}):
        column = frame[name]
        facts: dict[str, object] = {"missing": column.null_count(), "distinct": column.n_unique()}
        if column.dtype.is_numeric():
            mean = column.mean()
            known = {} if mean is None else {"mean": significant(float(str(mean)), 6)}
            facts |= {"min": column.min(), **known, "max": column.max()}
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
