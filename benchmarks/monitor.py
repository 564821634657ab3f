"""Time and memory of the monitor's drift computation, beside Evidently's preset on the same frames, as Markdown.

Run it with the Python of a generated project, on Linux or macOS:

    uv run --project PROJECT python benchmarks/monitor.py

Reference and current have the same number of rows. Of 20 columns 12 are numbers (one value in fifty is missing),
3 whole numbers, 4 categories and one a flag; wider frames repeat them. Each size runs in a process of its own,
Evidently's in an environment that is thrown away. The time is the best of three; the peak is that of the whole
process, with both frames and all libraries in it.

    uv run --project PROJECT python benchmarks/monitor.py --logged 1000000 10000000

writes prediction logs of so many rows, a year long, of the project's contract, to a folder that is thrown away, and
shows what reading costs: all of the log, which is what a run of the monitor without `--since` reads, and the last four
weeks.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

#: Rows and columns.
SIZES = ((10_000, 20), (100_000, 20), (1_000_000, 20), (10_000_000, 20), (100_000, 100), (100_000, 500))
#: Of these, the ones that Evidently is asked for as well.
BESIDE = ((10_000, 20), (100_000, 20), (1_000_000, 20))
REPEATS = 3
#: The log that is read: its environment, its end and its length.
LOGGED, LOGGED_DAYS = "measured", 365
LOGGED_UNTIL = datetime(2026, 6, 1, tzinfo=UTC)
#: The reference is half a year, what is judged a week.
DAYS_BEFORE, DAYS_NOW = 180, 7
PEER = (
    "uv",
    "run",
    "--quiet",
    "--no-project",
    "--with",
    "evidently",
    "--with",
    "pandas<3",
    "--with",
    "polars[pyarrow]",
)
AIRPORTS = [f"airport {number}" for number in range(100)]


def main() -> None:
    """Measure each size and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--package", default="", help="the package of a project of 0.3.0 or earlier, with the platform in it"
    )
    parser.add_argument("--rows", type=int, help="measure one size in this process and print JSON")
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--peer", action="store_true", help="measure Evidently")
    parser.add_argument("--logged", type=int, nargs="+", help="show what reading logs of so many rows costs, instead")
    parser.add_argument("--read", nargs=2, help="read a log, whole or its last days, in this process and print JSON")
    options = parser.parse_args()
    if options.logged:
        read_logs(options.logged)
        return
    if options.read:
        print(json.dumps(read_log(Path(options.read[0]), float(options.read[1]))))
        return
    if options.rows:
        frames = [frame(options.rows, options.columns, seed) for seed in (1, 2)]
        megabytes = sum(one.estimated_size() for one in frames) / 1e6
        if options.peer:
            found = measure(evidently(), *(one.to_pandas() for one in frames))
        else:
            found = measure(ours(options.package, options.rows), *frames)
        print(json.dumps(found | {"frames_mb": megabytes}))
        return
    print(f"{machine()}\n")
    print("| rows of each frame | columns | seconds | frames, MB | peak, MB | Evidently, s | times | peak, MB |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for rows, columns in SIZES:
        size = [__file__, "--rows", str(rows), "--columns", str(columns)]
        own = _measured([sys.executable, *size, "--package", options.package])
        line = f"| {rows:,} | {columns} | {own['seconds']:.3f} | {own['frames_mb']:,.0f} | {own['peak_mb']:,.0f} |"
        if (rows, columns) in BESIDE:
            peer = _measured([*PEER, "python", "-W", "ignore", *size, "--peer"])
            times = peer["seconds"] / own["seconds"]
            line += f" {peer['seconds']:.2f} | {times:.0f} | {peer['peak_mb']:,.0f} |"
        else:
            line += " | | |"
        print(line, flush=True)


def read_logs(sizes: Sequence[int]) -> None:
    """Write a log of each size, read it in processes of their own and print the table."""
    print(f"{machine()}\n")
    print("| rows in the log | MB | read | rows | seconds | peak, MB |")
    print("|--:|--:|---|--:|--:|--:|")
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            megabytes = write_log(Path(folder), rows)
            for name, days in (("all of it", LOGGED_DAYS), ("the last four weeks", 28)):
                found = _measured([sys.executable, __file__, "--read", folder, str(days)])
                line = f"| {rows:,} | {megabytes:,.0f} | {name} | {found['rows']:,.0f} | {found['seconds']:.1f} |"
                print(f"{line} {found['peak_mb']:,.0f} |", flush=True)


def write_log(root: Path, rows: int) -> float:
    """Write a year of predictions, a file a day, and return their megabytes."""
    import msgspec
    from slipway.log import predictions
    from slipway.settings.project import Project

    folder = predictions.folder(Project(root).state, LOGGED)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    whole, number = 0, 0
    for day in range(LOGGED_DAYS):
        here = rows * (day + 1) // LOGGED_DAYS - rows * day // LOGGED_DAYS
        at, scores = LOGGED_UNTIL - timedelta(days=LOGGED_DAYS - day), rng.random(here)
        lines = []
        for score in scores:
            number += 1
            row = _row(number)
            said = predictions.Prediction(
                f"{number:032x}-0", at, LOGGED, 1, "0" * 64, row, float(score), bool(score > 0.5)
            )
            lines.append(msgspec.json.encode(said))
        content = b"\n".join(lines) + b"\n"
        (folder / f"{at:%Y-%m-%d}.host.1.jsonl").write_bytes(content)
        whole += len(content)
    return whole / 1e6


def _row(number: int) -> dict[str, Any]:
    """A row of the project's contract."""
    from slipway.team import CONTRACT

    made = {
        "number": number % 97 + 0.5,
        "integer": number % 31,
        "flag": number % 2 == 0,
        "text": f"text {number % 500}",
    }
    made["time"] = "2026-01-01T12:00"
    return {
        field.name: field.categories[number % len(field.categories)] if field.categories else made[field.kind.value]
        for field in CONTRACT.fields
    }


def read_log(root: Path, days: float) -> dict[str, float]:
    """Read the last days of a log once."""
    from slipway.log import predictions
    from slipway.settings.project import Project

    begin = time.perf_counter()
    log = predictions.read(Project(root), LOGGED, LOGGED_UNTIL - timedelta(days=days), LOGGED_UNTIL)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return {"seconds": time.perf_counter() - begin, "peak_mb": peak, "rows": log.height}


def ours(package: str, rows: int) -> Callable[[pl.DataFrame, pl.DataFrame], object]:
    """The monitor's own computation, from two frames and the times of their rows to findings."""
    earlier = [f"{package}.mlops.drift", f"{package}.mlops.project"]
    names = earlier if package else ["slipway.monitoring.drift", "slipway.settings.policy"]
    drift, settings = map(importlib.import_module, names)
    limits = settings.MonitorPolicy(min_rows=200, watch=0.1, act=0.25, p_value=0.01)
    then, today = (_times(rows, days) for days in (DAYS_BEFORE, DAYS_NOW))
    return lambda before, now: drift.find(before, now, limits, drift.Days.of(then, today))


def _times(rows: int, days: int) -> pl.Series:
    minute = pl.int_range(rows, eager=True) * days * 24 * 60 // rows
    return pl.select(pl.datetime(2026, 1, 1) + pl.duration(minutes=minute)).to_series()


def evidently() -> Callable[[Any, Any], object]:
    """Evidently's standard drift preset; its frames are those of pandas."""
    from evidently import Report
    from evidently.presets import DataDriftPreset

    return lambda before, now: Report([DataDriftPreset()]).run(now, before).dict()


def measure(work: Callable[[Any, Any], object], before: object, now: object) -> dict[str, float]:
    """Compare two frames."""
    seconds = [_seconds(work, before, now) for _ in range(REPEATS)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": min(seconds), "peak_mb": peak / (1e6 if sys.platform == "darwin" else 1e3)}


def _measured(command: Sequence[str]) -> dict[str, float]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def frame(rows: int, columns: int, seed: int) -> pl.DataFrame:
    """Return rows of columns, drawn one by one so that the drawing needs little memory."""
    rng = np.random.default_rng(seed)
    made: list[pl.Series] = []
    while len(made) < columns:
        made += [series.alias(f"{series.name} ({len(made)})") for series in _twenty(rows, rng)]
    return pl.DataFrame(made[:columns])


def _twenty(rows: int, rng: np.random.Generator) -> list[pl.Series]:
    columns: list[pl.Series] = []
    for number in range(12):
        values = rng.normal(50, 10, rows)
        values[rng.random(rows) < 0.02] = np.nan
        columns.append(pl.Series(f"number {number}", values, nan_to_null=True))
    columns += [pl.Series(f"whole {mean}", rng.poisson(mean, rows)) for mean in (1, 10, 1000)]
    for groups in (3, 10, 30, 100):
        names = pl.Series(AIRPORTS[:groups])
        columns.append(names.gather(pl.Series(rng.integers(0, groups, rows))).alias(f"groups {groups}"))
    return [*columns, pl.Series("flag", rng.random(rows) < 0.1)]


def machine() -> str:
    """Name the machine and the versions that were measured."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text("utf-8").splitlines() if facts.exists() else []
    model = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.processor())
    return (
        f"{model}, {os.cpu_count()} cores; {platform.system()}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, Polars {pl.__version__}"
    )


def _seconds(work: Any, *arguments: Any) -> float:  # noqa: ANN401
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
