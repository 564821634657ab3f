"""What an engine costs beside two plain processes, as a Markdown table: to open, and for each piece of work.

    .venv/bin/python benchmarks/engines.py [--pieces 200] [--engines local dask ray slurm]

Clusters of two workers run on this machine, as in the tests. Each engine does `--pieces` pieces that take no time, then
as many of 50 ms each, which two workers cannot do in less than half of their sum; and a tenth as many of 8 MB. One
process does them in the same run, so that what else the machine does slows all alike. Ray and Slurm need root.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATHS = ("benchmarks", "docs", "tests", "template/vendor/slipway/src", "tests/platform/teams/binary")
PIECE_S = 0.05
ENGINES = ("one process", "local", "dask", "ray", "slurm")
HEADS = ("first piece after s", "ms for a piece of nothing", "beyond the ideal of 50 ms pieces", "MB/s there and back")


def piece(given: tuple[float, bytes]) -> bytes:
    """Take so long, and give back what came."""
    time.sleep(given[0])
    return given[1]


def measured(pieces: int) -> list[float]:
    """Run the pieces by the engine that the environment names."""
    from slipway.settings.project import FROM_OUTSIDE, Project, ToolSettings
    from slipway.training import engines

    workers = int(os.environ.get("WORKERS", "1"))
    named = {key: os.environ[name] for key, name in FROM_OUTSIDE.items() if name in os.environ}
    project = Project(Path(tempfile.mkdtemp()))
    project.__dict__["tool"] = ToolSettings(**{"model": "-", "tracking_uri": "-"} | named, engine_workers=workers)
    started, found = time.perf_counter(), list[float]()
    with engines.opened(project, lambda _: None) as engine:
        next(engine.map(piece, [(0.0, b"")]))
        found.append(time.perf_counter() - started)
        for given, count in (((0.0, b""), pieces), ((PIECE_S, b""), pieces), ((0.0, bytes(8 << 20)), pieces // 10)):
            started = time.perf_counter()
            for _ in engine.map(piece, [given] * count):
                pass
            found.append((time.perf_counter() - started) / count)
    ideal = PIECE_S / workers
    return [found[0], 1000 * found[1], found[2] / ideal - 1, 2 * 8 / found[3]]


def row(name: str, pieces: int) -> str:
    """A row of the table, from a client in a process of its own."""
    import clusters

    opened = {
        "local": clusters.two_processes, "dask": clusters.dask_cluster,
        "ray": clusters.ray_cluster, "slurm": clusters.slurm_cluster,
    }  # fmt: skip
    client = [sys.executable, "-c", f"import engines; print(engines.json.dumps(engines.measured({pieces})))"]
    with tempfile.TemporaryDirectory() as folder:
        if name not in opened:
            done = subprocess.run(client, capture_output=True, text=True, check=True)
        else:
            with opened[name](Path(folder)) as cluster:
                env = os.environ | {"WORKERS": "2"} | cluster.env
                done = subprocess.run([*cluster.prefix, *client], env=env, capture_output=True, text=True, check=True)
    first, nothing, beyond, speed = json.loads(done.stdout.splitlines()[-1])
    sent = f"{speed:,.0f}" if name in opened else "-"  # one process sends nothing
    return f"| {name} | {first:.1f} | {nothing:.2f} | {beyond:+.0%} | {sent} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", type=int, default=200)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(str(ROOT / path) for path in PATHS)
    sys.path[:0] = [str(ROOT / path) for path in PATHS]
    print(f"| engine | {' | '.join(HEADS)} |\n|---|{'--:|' * len(HEADS)}")
    for name in asked.engines:
        print(row(name, asked.pieces), flush=True)


if __name__ == "__main__":
    main()
