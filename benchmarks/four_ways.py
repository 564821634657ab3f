"""One project whose work each engine does on two workers, as a Markdown table: seconds, and digests of what is made.

    .venv/bin/python benchmarks/four_ways.py [--files 12] [--engines local dask ray slurm]

Raw data is the example's sample so many times. Before each engine all that was made is removed, DVC's cache with it, so
that every stage runs. Ray and Slurm need root.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENGINES = ("one process", "local", "dask", "ray", "slurm")
EXTRAS = "slipway-mlops[dask,ray,slurm]"
SETTINGS = """
search:
  metric: roc_auc
  trials: 2
  ranges:
    n_estimators: {low: 10, high: 30}
    max_depth: [2, 3, 4]
"""
#: Each command, and where what it makes lies; without a place, it is what it says. A report of the pipeline has a time.
COMMANDS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("pipeline",), ("data/valid.parquet", "reports/validation.json", "model/bundle")),
    (("backtest", "--json"), ()),
    (("search",), ()),
    (("batch", "data/raw", "answers.parquet"), ("answers.parquet",)),
)


def ran(root: Path, *command: str) -> bytes:
    """Run a command in the project; returns what it says."""
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=False)
    if done.returncode not in {0, 3}:  # a search that finds nothing better ends with 3
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout


def files(place: Path) -> list[Path]:
    """A file, or all those of a folder in their order."""
    found = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return found or sys.exit(f"{place} was not made")


def forget(root: Path) -> None:
    """Remove all that was made."""
    for place in (".dvc/cache", ".mlops/search", "model"):
        shutil.rmtree(root / place, ignore_errors=True)
    made = root / "dvc.lock", root / "answers.parquet", root / "reports" / "validation.json"
    for path in (*made, *(root / "data").glob("*.parquet")):
        path.unlink(missing_ok=True)


def row(name: str, root: Path) -> str:
    """Each command by an engine."""
    import clusters

    opened = {"dask": clusters.dask_cluster, "ray": clusters.ray_cluster}
    told = [name]
    forget(root)
    programs = root / ".venv" / "bin"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if name in opened:
            cluster = opened[name](folder, programs)
        else:
            cluster = clusters.slurm_cluster(folder) if name == "slurm" else clusters.two_processes(folder)
        with cluster as found:
            settings = root / "pyproject.toml"
            workers = f"engine_workers = {1 if name == 'one process' else 2}"
            settings.write_text(re.sub(r"engine_workers = \d", workers, settings.read_text("utf-8")), "utf-8")
            variables = [f"{key}={value}" for key, value in found.env.items()]
            for command, made in COMMANDS:
                started = time.perf_counter()
                said = ran(root, *found.prefix, "env", *variables, str(programs / "mlops"), *command)
                taken = time.perf_counter() - started
                content = b"".join(path.read_bytes() for place in made for path in files(root / place)) or said
                digest = hashlib.sha256(content).hexdigest()[:8]
                told.append(f"{taken:.1f} {digest}")
    return f"| {' | '.join(told)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    asked = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    sys.path[:0] = [str(ROOT / path) for path in ("tests", "docs", "benchmarks")]
    from engine_curves import project_of

    with tempfile.TemporaryDirectory() as place:
        root = project_of(asked.files, Path(place), platform=True)
        (root / "params.yaml").open("a", encoding="utf-8").write(SETTINGS)
        settings = root / "pyproject.toml"
        settings.write_text(
            settings.read_text("utf-8").replace("[tool.mlops]\n", "[tool.mlops]\nengine_workers = 2\n"), "utf-8"
        )
        ran(root, "uv", "add", "--quiet", "--group", "train", EXTRAS, "optuna>=5,<6")
        ran(root, "uv", "run", "--quiet", "mlops", "policy", "add", "labels", "monitor.quality")
        ran(root, "uv", "run", "--quiet", "mlops", "setup")
        ran(root, "uv", "run", "--quiet", "mlops", "pipeline", "--commit")
        ran(root, "uv", "run", "--quiet", "mlops", "register")
        heads = ["engine", *(command[0] for command, _ in COMMANDS)]
        print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
        for name in asked.engines:
            print(row(name, root), flush=True)


if __name__ == "__main__":
    main()
