"""How time and memory of work by an engine grow with rows, trials and workers, as Markdown tables.

    .venv/bin/python benchmarks/engine_curves.py [--rows 100000 1000000 10000000] [--trials 1 10 50] [--workers 1 2 4]

Rows: the example's sample so many times, 24,000 to a file, passes the stages `ingest` and `validate`. Trials: each is
scored in the folds of a search on the sample. Workers are processes of this machine, and one of them is no engine.
Memory is the most that the client, or one of its workers, held for itself when asked ten times a second, with what they
have loaded, which is 60 to 170 MB; what is read from files is not counted, since the system may take it back.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATHS = ("benchmarks", "docs", "tests", "template/vendor/slipway/src", "tests/platform/teams/binary")
FILE_ROWS = 24_000


def project_of(files: int, folder: Path, *, platform: bool = False) -> Path:
    """A project whose raw data is the example's sample so many times, departing a millisecond later in each file."""
    import polars as pl
    from rendering import snapshot

    root = snapshot(folder / "template", platform=platform).render(folder / "flight-delays")
    sample = pl.read_csv(root / "data" / "sample" / "flights.csv.gz", infer_schema=False)
    (root / "data" / "raw").mkdir()
    for number in range(files):
        moment = pl.col("departs").str.to_datetime(time_unit="ms") + pl.duration(milliseconds=number, time_unit="ms")
        rows = sample.with_columns(moment.dt.to_string("%Y-%m-%dT%H:%M:%S%.3f").alias("departs"))
        rows.write_csv(root / "data" / "raw" / f"{number:05}.csv")
    params = root / "params.yaml"
    text = params.read_text("utf-8").replace("source: data/sample/flights.csv.gz", "source: data/raw")
    params.write_text(text, encoding="utf-8")
    return root


def measured(root: str, workers: int, trials: int) -> float:
    """Seconds for so many trials, or without any for the rows."""
    from slipway.data.stages import run_stage
    from slipway.settings.project import Project
    from slipway.training import engines
    from slipway.training.exam import Exam

    project = Project(Path(root))
    project.tool.engine_workers = workers
    if trials:
        for stage in ("ingest", "validate", "split"):
            run_stage(project, stage)
    started = time.perf_counter()
    with engines.opened(project, lambda _: None) as engine:
        if trials:
            exam = Exam.of(project, next(iter(project.policy.gates.metrics)), 3, engine)
            for trial in range(trials):
                _ = [*exam.values({"n_estimators": 60 + trial})]
        else:
            for stage in ("ingest", "validate"):
                run_stage(project, stage, engine)
    return time.perf_counter() - started


def watched(command: list[str], root: Path) -> tuple[float, float, float]:
    """What a client says last, and the most MB that it and the largest of its workers held."""
    client, worker = 0.0, 0.0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        with subprocess.Popen(command, cwd=root, stdout=said) as running:
            while running.poll() is None:
                client = max(client, held(running.pid))
                worker = max([worker, *map(held, children(running.pid))])
                time.sleep(0.1)
        said.seek(0)
        return float(said.read().splitlines()[-1]), client, worker


def held(process: int) -> float:
    """MB that a process holds for itself; none if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text("utf-8")
    except OSError:
        return 0.0
    found = re.search(r"^RssAnon:\s+(\d+)", status, flags=re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def children(process: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text("utf-8")
    except OSError:
        return []
    own = [int(one) for one in text.split()]
    return own + [far for one in own for far in children(one)]


def print_curve(noun: str, amounts: list[int], workers: list[int]) -> None:
    """Print a row for each amount and number of workers, each from a client of its own."""
    print(f"| {noun} | workers | s | MB of the client | MB of a worker |\n|--:|--:|--:|--:|--:|")
    for amount in amounts:
        with tempfile.TemporaryDirectory() as folder:
            files, trials = (-(-amount // FILE_ROWS), 0) if noun == "rows" else (1, amount)
            root = project_of(files, Path(folder))
            for count in workers:
                given = f"{str(root)!r}, {count}, {trials}"
                call = f"import engine_curves as here; print(here.measured({given}))"
                seconds, client, worker = watched([sys.executable, "-c", call], root)
                told = f"{worker:,.0f}" if count > 1 else "-"
                print(f"| {amount:,} | {count} | {seconds:,.1f} | {client:,.0f} | {told} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--trials", type=int, nargs="*", default=[1, 10, 50])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(str(ROOT / path) for path in PATHS)
    sys.path[:0] = [str(ROOT / path) for path in PATHS]
    for noun, amounts in (("rows", asked.rows), ("trials", asked.trials)):
        if amounts:
            print_curve(noun, amounts, asked.workers)


if __name__ == "__main__":
    main()
