"""How near a batch comes to the bare model, and how much memory it needs, as a Markdown table.

The bare model gets a matrix of features that is ready in memory, in chunks of the same size and with the same threads,
and its scores go nowhere. The batch reads a file, checks each row against the contract, computes features, scores,
decides and writes. Both run in turns in one process, so that what else the machine does slows both; on a busy
machine the processor time says more than the speed, because it leaves out the waiting for others. Peaks of memory are
those of processes of their own, one with a tenth of the rows. Needs a project whose pipeline has run:

    python benchmarks/batch.py PROJECT [--rows 1000000]
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
from pathlib import Path

ROUNDS = 5
FORMATS = ("parquet", "csv", "csv.gz")

COMMON = """
import gzip, json, math, os, resource, shutil, sys, time
from pathlib import Path
import polars as pl
from {package}.contract import CONTRACT
from slipway.serving import batch
from slipway.training.bundle import Bundle, DataVersion, Lineage, seal
from slipway.contract.frames import columns
from slipway.settings.project import Project
from slipway.training.scoring import Scorer, matrix

project, folder, rows = Project.find(), Path(sys.argv[1]), int(sys.argv[2])
unknown = dict.fromkeys(["commit", "repository", "run_id", "pipeline", "lock", "python", "platform"], "-")
place = folder / "bundle"
if not place.is_dir():
    seal(project.bundle, place, Lineage(data=[DataVersion(path="-", md5="-")], **unknown))
scorer = Scorer(Bundle(place), threads=os.cpu_count() or 1)


def predict(source):
    target = folder / "answers.parquet"
    target.unlink(missing_ok=True)
    clocks = time.perf_counter(), time.process_time()
    assert batch.predict(scorer, source, target, with_score=False, log=lambda line: None) == rows
    return (time.perf_counter() - clocks[0]) / rows, (time.process_time() - clocks[1]) / rows
"""

MAKE = """
names = [field.name for field in CONTRACT.fields]
known = pl.read_parquet(project.root / "data" / "valid.parquet").select(names)
frame = pl.concat([known.with_columns(pl.col(pl.Enum).cast(pl.String))] * math.ceil(rows / known.height)).head(rows)
frame.write_parquet(folder / f"{{rows}}.parquet", row_group_size=250_000)
frame.write_csv(folder / f"{{rows}}.csv", datetime_format="%Y-%m-%dT%H:%M:%S")
with (folder / f"{{rows}}.csv").open("rb") as text, gzip.open(folder / f"{{rows}}.csv.gz", "wb", 1) as packed:
    shutil.copyfileobj(text, packed)
"""

SPEED = """
ready = pl.read_parquet(folder / f"{{rows}}.parquet", n_rows=batch.CHUNK)
ready = matrix(columns(ready, CONTRACT.fields), scorer.facts.features)[1]


def bare():
    clocks, done = (time.perf_counter(), time.process_time()), rows // batch.CHUNK * batch.CHUNK
    for _ in range(rows // batch.CHUNK):
        scorer.score_matrix(ready)
    return (time.perf_counter() - clocks[0]) / done, (time.process_time() - clocks[1]) / done


bare()
for kind in sys.argv[3:]:
    for _ in range({rounds}):
        before, ours, after = bare(), predict(folder / f"{{rows}}.{{kind}}"), bare()
        print(json.dumps([kind, *((a + b) / 2 for a, b in zip(before, after)), *ours]), flush=True)
"""

PEAK = """
predict(folder / f"{{rows}}.{{sys.argv[3]}}")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path, help="a generated project whose pipeline has run")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    project, rows = options.project.resolve(), options.rows
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        for size in (rows, rows // 10):
            run(project, MAKE, folder, str(size))
        measured = [json.loads(line) for line in run(project, SPEED, folder, str(rows), *FORMATS).splitlines()]
        peaks = {
            kind: [float(run(project, PEAK, folder, str(size), kind)) for size in (rows // 10, rows)]
            for kind in FORMATS
        }
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {load:.1f} before; {rows:,} rows\n")
    print(
        "| | bare model, rows/s | batch, rows/s | of its speed | of its processor time | MB, a tenth of the rows | MB |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|")
    for kind in FORMATS:
        rounds = [figures for name, *figures in measured if name == kind]
        middle = [statistics.median(column) for column in zip(*rounds, strict=True)]
        speed = [bare / ours for bare, _, ours, _ in rounds]
        processor = [bare / ours for _, bare, _, ours in rounds]
        print(
            f"| .{kind} | {1 / middle[0]:,.0f} | {1 / middle[2]:,.0f} "
            f"| {share(speed)} | {share(processor)} "
            f"| {peaks[kind][0]:,.0f} | {peaks[kind][1]:,.0f} |"
        )


def share(ratios: list[float]) -> str:
    """The middle of the rounds, with the worst and the best."""
    return f"**{statistics.median(ratios):.0%}** ({min(ratios):.0%} to {max(ratios):.0%})"


def run(project: Path, code: str, *arguments: str) -> str:
    """Run code in the project's own environment; return what it prints."""
    package = next((project / "src").glob("*/contract.py")).parent.name
    program = (COMMON + code).format(package=package, rounds=ROUNDS)
    python = project / ".venv" / "bin" / "python"
    done = subprocess.run([python, "-c", program, *arguments], cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: a measurement stopped\n{done.stderr}\n next: run the project's pipeline")
    return done.stdout


if __name__ == "__main__":
    main()
