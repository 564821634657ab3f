"""Time and memory of the monitor's drift computation, beside Evidently's preset on the same frames, as Markdown.

Run it with the Python of a generated project, on Linux or macOS:

    uv run --project PROJECT python benchmarks/monitor.py

Reference and current have the same number of rows. Of 20 columns 12 are numbers (one value in fifty is missing),
3 whole numbers, 4 categories and one a flag; wider frames repeat them. Each size runs in a process of its own,
Evidently's in an environment that is thrown away. The time is the best of three; the peak is that of the whole
process, with both frames and all libraries in it.

    uv run --project PROJECT python benchmarks/monitor.py --logged 1 4 16 --beside PROJECT

writes prediction logs and labels of so many months, with as many rows a day in each, to folders that are thrown away,
and shows what a whole run of the monitor costs: the first, which judges every window, and the next one. `PROJECT` is
one whose pipeline has run; its policy is asked for quality and concept as well.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import shutil
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
#: The log that is judged: its environment, its end, its rows a day, and the days of a month.
LOGGED, LOGGED_DAILY, MONTH_DAYS = "measured", 1_000, 30.4
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
    parser.add_argument(
        "--logged", type=int, nargs="+", help="show what runs over logs of so many months cost, instead"
    )
    parser.add_argument("--beside", type=Path, help="the project whose bundle and policy these logs are judged by")
    parser.add_argument("--run", type=Path, help="judge a log in this process and print JSON")
    options = parser.parse_args()
    if options.logged:
        judge_logs(options.logged, options.beside)
        return
    if options.run:
        print(json.dumps(judge_log(options.run)))
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


def judge_logs(months: Sequence[int], project: Path) -> None:
    """Write a log of each length, judge it twice in processes of their own and print the table."""
    print(f"{machine()}\n")
    print("| months | rows in the log | MB | run | windows | processor, s | peak, MB |")
    print("|--:|--:|--:|---|--:|--:|--:|")
    for many in months:
        with tempfile.TemporaryDirectory() as folder:
            rows, megabytes = write_log(Path(folder), project, round(many * MONTH_DAYS))
            for name in ("first", "next"):
                found = _measured([sys.executable, __file__, "--run", folder])
                line = f"| {many} | {rows:,} | {megabytes:,.0f} | {name} | {found['windows']:.0f} |"
                print(f"{line} {found['seconds']:.1f} | {found['peak_mb']:,.0f} |", flush=True)


def write_log(root: Path, project: Path, days: int) -> tuple[int, float]:
    """Write days of predictions and labels, a file a day, beside a bundle; return their rows and megabytes."""
    import msgspec
    from slipway.log import predictions
    from slipway.settings.environment import Environment, Release, ServeAddress
    from slipway.settings.project import Project
    from slipway.team import CONTRACT
    from slipway.training.bundle import Lineage, seal

    for name in ("params.yaml", "policy.yaml", "pyproject.toml"):
        shutil.copyfile(project / name, root / name)
    lineage = Lineage(
        commit="0" * 40, repository="", run_id="0" * 32, pipeline="0" * 64, data=[], lock="0" * 64, python="",
        platform="",
    )  # fmt: skip
    bundle = seal(Project(project).bundle, root / "bundle", lineage)
    place = Project(root)
    place.environments.mkdir(parents=True)
    champion = Release(version=1, digest=bundle.digest, commit="0" * 40)
    named = Environment(alias=LOGGED, serve=ServeAddress(host="localhost", port=1), champion=champion)
    (place.environments / f"{LOGGED}.yaml").write_bytes(msgspec.yaml.encode(named))
    began = LOGGED_UNTIL - timedelta(days=days)
    dated = os.environ | {f"GIT_{who}_DATE": began.isoformat() for who in ("AUTHOR", "COMMITTER")}
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "Name the champion"]):
        subprocess.run(["git", "-c", "user.name=b", "-c", "user.email=b@b", *command], check=True, cwd=root, env=dated)
    folder, told = predictions.folder(place.state, LOGGED), root / "labels"
    folder.mkdir(parents=True)
    told.mkdir()
    rng, number, whole = np.random.default_rng(1), 0, 0
    names = [field.name for field in CONTRACT.outcome_fields]
    for day in range(days):
        lines, labels = [], [",".join(["id", *names])]
        for part, score in enumerate(rng.random(LOGGED_DAILY)):
            number += 1
            at = began + timedelta(days=day + part / LOGGED_DAILY)
            said = predictions.Prediction(
                f"{number:032x}-0", at, LOGGED, 1, bundle.digest, row_of(CONTRACT.fields, number, at), float(score),
                bool(score > 0.5),
            )  # fmt: skip
            lines.append(msgspec.json.encode(said))
            outcome = row_of(CONTRACT.outcome_fields, number, at)
            labels.append(",".join([said.id, *(str(outcome[name]) for name in names)]))
        content = b"\n".join(lines) + b"\n"
        (folder / f"{began + timedelta(days=day):%Y-%m-%d}.host.1.jsonl").write_bytes(content)
        (told / f"{began + timedelta(days=day):%Y-%m-%d}.csv").write_text("\n".join(labels) + "\n", encoding="utf-8")
        whole += len(content)
    return number, whole / 1e6


def row_of(fields: Sequence[Any], number: int, at: datetime) -> dict[str, Any]:
    """Values for fields of the project's contract."""
    made = {
        "number": number % 97 + 0.5,
        "integer": number % 31,
        "flag": number % 2 == 0,
        "text": f"text {number % 500}",
        "time": f"{at:%Y-%m-%dT%H:%M}",
    }
    return {
        field.name: field.categories[number % len(field.categories)] if field.categories else made[field.kind.value]
        for field in fields
    }


def judge_log(root: Path) -> dict[str, float]:
    """Run the monitor once, as known at the log's end."""
    from slipway.monitoring import run
    from slipway.settings.policy import LabelPolicy, QualityPolicy, WindowPolicy
    from slipway.settings.project import Project
    from slipway.training.bundle import Bundle

    project = Project(root)
    limits = project.policy.monitor
    project.policy.labels = LabelPolicy(source="labels", key=["id"], delay_days=1)
    limits.windows, limits.max_bias = WindowPolicy(days=7, last=4, need=2), 0.05
    limits.quality = QualityPolicy(metric=project.policy.gates.metric, drop=0.03, min_rows=500, action="propose")
    report = run.run(project, LOGGED, Bundle(root / "bundle"), until=LOGGED_UNTIL)
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return {"seconds": used.ru_utime + used.ru_stime, "peak_mb": peak, "windows": len(report.windows)}


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
