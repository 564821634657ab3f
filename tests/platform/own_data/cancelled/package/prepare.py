"""From the list of departures to rows."""

from pathlib import Path

import polars as pl


def prepare(raw: Path) -> pl.DataFrame:
    """Put the time together, and call a flight without a departure cancelled."""
    flights = pl.read_csv(raw / "flights.csv.gz", infer_schema=False, null_values="NA")
    parts = [pl.col(part).cast(pl.Int32) for part in ("year", "month", "day", "hour", "minute")]
    return flights.with_columns(pl.datetime(*parts).alias("leaves"), pl.col("dep_time").is_null().alias("cancelled"))
