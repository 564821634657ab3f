"""How long the first minutes with Slipway take: from `copier copy` to an answered request.

Run it on a quiet machine: `.venv/bin/python benchmarks/first_minutes.py`. It prints a Markdown table
with the machine named. Packages are cached by a first, unmeasured set-up; `--cold` measures that too.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "docs"))

from rendering import snapshot  # noqa: E402
from running import RunningProject, give_free_ports  # noqa: E402

LIMITS_S = {
    "copier copy --defaults": 1.5,
    "uv run mlops setup, packages cached": None,
    "uv run mlops pipeline": 60,
    "dvc repro, nothing changed": 5,
    "mlops --help": 0.5,
    "from project to answered request, cached": 120,
    "from project to answered request, cold": 300,
}


def run(*command: str, cwd: Path) -> float:
    """Run a command and return the seconds it took."""
    started = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)
    return time.perf_counter() - started


def median(measure: Callable[[], float], runs: int) -> float:
    """Return the median of several measurements."""
    return statistics.median(measure() for _ in range(runs))


def to_an_answer(root: Path, taken: dict[str, float]) -> float:
    """Take a fresh project to its first answer; return the seconds, and note the parts."""
    started = time.perf_counter()
    give_free_ports(root)
    project = RunningProject(root)
    taken["uv run mlops setup, packages cached"] = run("uv", "run", "mlops", "setup", cwd=root)
    taken["uv run mlops pipeline"] = run("uv", "run", "mlops", "pipeline", cwd=root)
    project.commit("Train the first model")
    project.mlops("register")
    project.release("staging")
    answer = project.request("POST", "/predict", project.flights(1)[0])
    total = time.perf_counter() - started
    project.stop()
    if answer.status != 200:
        raise SystemExit(f"error: the server answered {answer.status}\n next: read {root}/.mlops")
    return total


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cold", action="store_true", help="measure once with an empty package cache, too")
    options = parser.parse_args()
    taken: dict[str, float] = {}
    # The tools that `make demo` installed, before those of the machine.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        template = snapshot(Path(folder) / "template")
        fresh = iter(Path(folder) / f"p{number}" / "flights" for number in range(100))

        def copy() -> float:
            target = next(fresh)
            return run("copier", "copy", "--defaults", "--quiet", str(template.path), str(target), cwd=Path(folder))

        if options.cold:
            os.environ["UV_CACHE_DIR"] = str(Path(folder) / "cache")
            taken["from project to answered request, cold"] = to_an_answer(
                template.render(Path(folder) / "cold" / "flights"), {}
            )
            del os.environ["UV_CACHE_DIR"]
        to_an_answer(template.render(Path(folder) / "warm" / "flights"), {})
        taken["copier copy --defaults"] = median(copy, runs=5)
        root = template.render(Path(folder) / "measured" / "flights")
        taken["from project to answered request, cached"] = to_an_answer(root, taken)
        tools = root / ".venv" / "bin"
        taken["dvc repro, nothing changed"] = median(lambda: run(str(tools / "dvc"), "repro", cwd=root), runs=3)
        taken["mlops --help"] = median(lambda: run(str(tools / "mlops"), "--help", cwd=root), runs=5)
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| what | seconds | limit |\n|---|--:|--:|")
    for name, limit in LIMITS_S.items():
        if name in taken:
            print(f"| {name} | {taken[name]:.2f} | {'' if limit is None else limit} |")


if __name__ == "__main__":
    main()
