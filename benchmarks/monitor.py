"""Time and memory of the monitor's drift computation, as a Markdown table.

Run it with the Python of a generated project, on Linux or macOS:

    uv run --project PROJECT python benchmarks/monitor.py --package flight_delays

Reference and current have the same number of rows and 20 columns: 12 numbers (one value in fifty is missing),
3 whole numbers, 4 categories and a flag. Each size runs in a process of its own. The time is the best of three;
the peak is that of the whole process, with both frames and all libraries in it.
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
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SIZES = (10_000, 100_000, 1_000_000)
REPEATS = 3
AIRPORTS = [f"airport {number}" for number in range(100)]


def main() -> None:
    """Measure each size and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--package", default="flight_delays", help="the package of the generated project")
    parser.add_argument("--rows", type=int, help="measure one size in this process and print JSON")
    options = parser.parse_args()
    if options.rows:
        print(json.dumps(measure(options.package, options.rows)))
        return
    print(f"{machine()}\n")
    print("| rows, before and now each | columns | seconds | both frames, MB | peak of the process, MB |")
    print("|--:|--:|--:|--:|--:|")
    for rows in SIZES:
        command = [sys.executable, __file__, "--package", options.package, "--rows", str(rows)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(
            "| {rows:,} | {columns} | {seconds:.3f} | {frames_mb:,.0f} | {peak_mb:,.0f} |".format(
                **json.loads(done.stdout)
            )
        )


def measure(package: str, rows: int) -> dict[str, float]:
    """Compare two frames of this many rows."""
    drift = importlib.import_module(f"{package}.mlops.drift")
    project = importlib.import_module(f"{package}.mlops.project")
    limits = project.MonitorPolicy(min_rows=200, watch=0.1, act=0.25, p_value=0.01)
    before, now = frame(rows, seed=1), frame(rows, seed=2)
    seconds = [_seconds(drift.find, before, now, limits) for _ in range(REPEATS)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": rows,
        "columns": before.width,
        "seconds": min(seconds),
        "frames_mb": (before.estimated_size() + now.estimated_size()) / 1e6,
        "peak_mb": peak / (1e6 if sys.platform == "darwin" else 1e3),
    }


def frame(rows: int, seed: int) -> pl.DataFrame:
    """Return rows of twenty columns, drawn column by column so that the drawing needs little memory."""
    rng = np.random.default_rng(seed)
    columns: list[pl.Series] = []
    for number in range(12):
        values = rng.normal(50, 10, rows)
        values[rng.random(rows) < 0.02] = np.nan
        columns.append(pl.Series(f"number {number}", values, nan_to_null=True))
    columns += [pl.Series(f"whole {mean}", rng.poisson(mean, rows)) for mean in (1, 10, 1000)]
    for groups in (3, 10, 30, 100):
        names = pl.Series(AIRPORTS[:groups])
        columns.append(names.gather(pl.Series(rng.integers(0, groups, rows))).alias(f"groups {groups}"))
    columns.append(pl.Series("flag", rng.random(rows) < 0.1))
    return pl.DataFrame(columns)


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
