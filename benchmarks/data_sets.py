"""What it takes to put five data sets of other people into a project: files and lines written, commands, minutes.

    .venv/bin/python benchmarks/data_sets.py

Each set goes into a new project by its page `docs/your-own-data.md`: raw files behind a pointer; modules, parameters,
policy written; trained, registered, tested, served, and asked once. What is written lies in `tests/platform/own_data/`.
Minutes are those of the commands; nobody knows how long a person thinks. Packages are in uv's cache, unless the first
set fetches them. `--set NAME` measures one.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "docs")]

from own_data import NAMES, put  # noqa: E402 - found by the lines above
from rendering import Template, git, snapshot  # noqa: E402
from running import RunningProject, give_free_ports  # noqa: E402

SHAPES = {
    "titanic": "yes or no, no time, no key, texts with commas and quotes",
    "seattle": "a quantity, by time, categories",
    "tumours": "yes or no, 30 columns with spaces in their names",
    "hours": "a quantity, 12 files, several a month",
    "cancelled": "yes or no, one row in forty is a yes",
}
BEFORE, AFTER = "uv run mlops setup", "uv run dvc add data/raw"
#: What somebody types from there on.
COMMANDS = (
    "git add --all",
    "git commit --quiet --message 'Learn from our own data'",
    "uv run mlops pipeline",
    "git add --all",
    "git commit --quiet --message 'Record what the pipeline made'",
    "uv run mlops register",
    "uv run pytest --quiet",
    "uv run mlops promote staging",
    "git merge --quiet --no-edit promote/staging-v1",
    "uv run mlops deploy staging",
)


def run(root: Path, command: str) -> float:
    """Run a command as a person does; return the seconds it took."""
    started = time.perf_counter()
    done = subprocess.run(shlex.split(command), cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {command} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def measure(name: str, root: Path) -> dict[str, Any]:
    """Put a set into a new project and take it to an answer."""
    give_free_ports(root)
    project = RunningProject(root)
    seconds = run(root, BEFORE)
    written = put(name, root)
    git(root, "add", "--intent-to-add", *written)
    lines = [int(line.split()[0]) for line in git(root, "diff", "--numstat", "--", *written).splitlines()]
    seconds += sum(run(root, command) for command in (AFTER, *COMMANDS))
    row = json.loads((root / "model" / "bundle" / "golden.json").read_bytes())["rows"][0]
    answer = project.request("POST", "/predict", row)
    project.stop()
    if answer.status != 200:
        raise SystemExit(f"error: {name} answered {answer.status}\n next: read {root}/.mlops")
    figures = json.loads((root / "reports" / "metrics.json").read_bytes())
    metric, value = next(iter(figures["model"].items()))
    validation = json.loads((root / "reports" / "validation.json").read_bytes())
    return {
        "rows": validation["rows"], "files": len(written), "lines": sum(lines), "commands": len(COMMANDS) + 2,
        "minutes": seconds / 60, "result": f"{metric} {value:.3g}, baseline {figures['baseline'][metric]:.3g}",
    }  # fmt: skip


def rendered(template: Template, folder: Path, name: str) -> Path:
    """A new project with a data remote of its own."""
    return template.render(folder / name / "project", data_remote_url=str(folder / name / "remote"))


def main() -> None:
    """Measure each set, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=NAMES, help="measure this one alone")
    chosen = parser.parse_args().set
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ.pop("VIRTUAL_ENV", None)
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| set | shape | rows | files written | lines written | commands | minutes | on test rows |")
    print("|---|---|--:|--:|--:|--:|--:|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "template").mkdir()
        template = snapshot(place / "template")
        for name in [chosen] if chosen else NAMES:
            found = measure(name, rendered(template, place, name))
            print(
                f"| {name} | {SHAPES[name]} | {found['rows']:,} | {found['files']} | {found['lines']} "
                f"| {found['commands']} | {found['minutes']:.1f} | {found['result']} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
