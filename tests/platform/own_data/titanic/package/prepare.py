"""From the list of passengers to rows."""

from pathlib import Path

import polars as pl

MISSING = ["", "?"]


def prepare(raw: Path) -> pl.DataFrame:
    """Number the passengers, who have no key, and read question marks as missing."""
    passengers = pl.read_csv(raw / "titanic.csv", infer_schema=False, null_values=MISSING)
    return passengers.rename({"home.dest": "home"}).with_row_index("passenger", offset=1)
