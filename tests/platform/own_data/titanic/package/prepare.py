"""From the list of passengers to rows."""

from pathlib import Path

import polars as pl

MISSING = ["", "?"]


def prepare(raw: Path) -> pl.DataFrame:
    """Number the passengers, who have no key, read question marks as missing, and call a fate by its name."""
    passengers = pl.read_csv(raw / "titanic.csv", infer_schema=False, null_values=MISSING)
    named = passengers.rename({"home.dest": "home"}).with_row_index("passenger", offset=1)
    return named.with_columns(pl.col("survived").replace_strict({"0": "no", "1": "yes"}))
