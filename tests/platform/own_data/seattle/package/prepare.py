"""From the file of the weather service to rows."""

from pathlib import Path

import polars as pl


def prepare(raw: Path) -> pl.DataFrame:
    """Write days as 2012-01-31 and not with strokes."""
    days = pl.read_csv(raw / "seattle-weather.csv", infer_schema=False)
    return days.with_columns(pl.col("date").str.replace_all("/", "-"))
