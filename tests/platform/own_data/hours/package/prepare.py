"""From a file for each airport and month to rows."""

from pathlib import Path

import polars as pl


def prepare(raw: Path) -> pl.DataFrame:
    """Put the files together, and make the local hour, which the files have in parts."""
    files = [pl.read_csv(path, infer_schema=False, null_values="NA") for path in sorted(raw.glob("*.csv"))]
    parts = [pl.col(part).cast(pl.Int32) for part in ("year", "month", "day", "hour")]
    return pl.concat(files).with_columns(pl.datetime(*parts).alias("measured")).filter(pl.col("humid").is_not_null())
