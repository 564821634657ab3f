"""How cost grows: with the features of a model, the rows of a request, and the versions in the registry.

    uv run --no-project --with matplotlib python benchmarks/growth.py PROJECT

Prints tables and draws `benchmarks/growth.svg`. For the features, a copy of the project gets a contract of 10, 100
and 1,000 numbers and the project's own kind of estimator, trained on them; its server is asked by `wrk` as in
`serving.py`, beside an application that does nothing with the same requests. For the versions, a copy's registry gets
1, 10 and 100 of them, and the commands that read it are timed. Needs `wrk`, and a project with a registered version.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import matplotlib as mpl
from serving import SEAL, load, machine, package_of, post_in_turns, post_script, python, serving

FEATURES = (10, 100, 1_000)
ROWS = (1, 10, 100, 1_000, 10_000)
VERSIONS = (1, 10, 100)
SECONDS = 5
ROUNDS = 3

#: More numbers than this in one request are a body that no policy lets in.
MOST_NUMBERS = 1_000_000

CONTRACT = """
from typing import Annotated

from msgspec import Meta

from slipway import Contract, Row

Measure = Annotated[float, Meta(ge=-10, le=10)]


class Part(Row):
FIELDS


class Test(Row):
    fault: float


CONTRACT = Contract(row=Part, outcome=Test, key=("x0",))
"""

TEAM = {
    "features.py": "def features(rows):\n    return {name: rows[name] for name in rows}\n",
    "model.py": """
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

ANSWER = "faulty"


def target(outcomes):
    return outcomes["fault"] > 0


def build(seed, **params):
    return GradientBoostingClassifier(random_state=seed, **params)


def baseline(features, seed):
    return LogisticRegression(random_state=seed)
""",
}

MAKE = """
import sys
import numpy as np, polars as pl
from pathlib import Path
from PACKAGE.contract import CONTRACT
from slipway.training import export, train
from slipway.base.files import write_json
from slipway.settings.project import Project

project, names = Project.find(), [field.name for field in CONTRACT.fields]
draw = np.random.default_rng(project.params.seed)
for name in ("train", "test"):
    values = draw.normal(size=(2_000, len(names))).clip(-10, 10)
    fault = values[:, :5].sum(axis=1) + draw.normal(size=len(values))
    table = {"fault": fault, **dict(zip(names, values.T))}
    Path("data").mkdir(exist_ok=True)
    pl.DataFrame(table).write_parquet(f"data/{name}.parquet")
train.train(project)
write_json(Path("reports/metrics.json"), {"model": {}, "baseline": {}, "rows": 2_000, "slices": []})
export.export(project)
"""

REGISTER = """
import sys, tempfile
import msgspec
from pathlib import Path
from slipway.training.bundle import seal
from slipway.settings.project import Project
from slipway.registry.models import Registry

project = Project.find()
registry = Registry.open(project)
first = registry.fetch(registry.find("1"))
while (number := len(registry.versions())) < int(sys.argv[1]):
    with tempfile.TemporaryDirectory() as folder:
        other = msgspec.structs.replace(first.lineage, platform=f"machine {number}")
        registry.register(seal(project.bundle, Path(folder) / "bundle", other))
"""

#: They look for versions, each in its own way.
COMMANDS = ("trace latest", "trace 1", "register", "audit", "status")


def with_features(project: Path, count: int, root: Path) -> Path:
    """Copy a project's own files and give it a model of `count` features."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=project, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project / name, root / name)
    (root / ".venv").symlink_to(project / ".venv")
    package = package_of(root)
    fields = "\n".join(f"    x{number}: Measure" for number in range(count))
    for name, text in {"contract.py": CONTRACT.replace("FIELDS", fields), **TEAM}.items():
        (package / name).write_text(text, encoding="utf-8")
    os.environ["PYTHONPATH"] = str(root / "src")  # before the project that the environment was made for
    subprocess.run(python(root, MAKE), cwd=root, check=True)
    return root


def by_features(project: Path, scratch: Path) -> dict[int, dict[str, float | dict[int, float]]]:
    """Measure the server and the no-op for each number of features, and the time of requests with many rows."""
    found = {}
    for count in FEATURES:
        root = with_features(project, count, scratch / f"features-{count}")
        folder = scratch / f"serving-{count}"
        folder.mkdir()
        subprocess.run(python(root, SEAL, str(folder / "bundle")), cwd=root, check=True)
        draw = random.Random(count)
        rows: list[object] = [
            {f"x{n}": round(draw.gauss(0, 1), 4) for n in range(count)}
            for _ in range(min(1_000, MOST_NUMBERS // count))
        ]
        script = post_script(folder, map(json.dumps, rows[:50]))
        with ExitStack() as stack:
            servers = [stack.enter_context(serving(root, name, folder)) for name in ("no-op", "server")]
            rounds = [[load(server, script, SECONDS) for server in servers] for _ in range(ROUNDS)]
            sizes = [size for size in ROWS if size * count <= MOST_NUMBERS]
            found[count] = {
                "per_second": statistics.median(server.per_second for _, server in rounds),
                "ratio": statistics.median(server.per_second / noop.per_second for noop, server in rounds),
                "memory": servers[1].memory_mb(),
                "ready": servers[1].ready_after_s,
                "rows": {size: took * 1000 for size, took in post_in_turns(servers[1], rows, sizes).items()},
            }
    del os.environ["PYTHONPATH"]
    return found


def by_versions(project: Path, scratch: Path) -> dict[int, dict[str, float]]:
    """Time the commands that read a registry of 1, 10 and 100 versions."""
    root = scratch / "versions"
    shutil.copytree(project, root, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    env = os.environ | {"VIRTUAL_ENV": ""}
    subprocess.run(["uv", "sync", "--quiet"], cwd=root, env=env, check=True)
    found = {}
    for count in VERSIONS:
        subprocess.run(python(root, REGISTER, str(count)), cwd=root, check=True)
        found[count] = {
            command: statistics.median(
                _seconds([str(root / ".venv/bin/mlops"), *command.split()], root) for _ in range(3)
            )
            for command in COMMANDS
        }
    return found


def _seconds(command: list[str], folder: Path) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} did not work\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def tables(features: dict[int, dict[str, float | dict[int, float]]], versions: dict[int, dict[str, float]]) -> str:
    """The result as Markdown."""
    lines = ["| features | requests/s | of the no-op's | memory MB | ready after s |", "|--:|--:|--:|--:|--:|"]
    for count, one in features.items():
        figures = "{per_second:,.0f} | {ratio:.2f} | {memory:.0f} | {ready:.1f}".format(**one)
        lines.append(f"| {count:,} | {figures} |")
    lines += ["", f"| ms a request, rows | {' | '.join(f'{size:,}' for size in ROWS)} |", "|--:|" + "--:|" * len(ROWS)]
    for count, one in features.items():
        shown = [f"{one['rows'][size]:.2f}" if size in one["rows"] else "" for size in ROWS]
        lines.append(f"| {count:,} features | {' | '.join(shown)} |")
    lines += ["", f"| seconds, versions | {' | '.join(map(str, VERSIONS))} |", "|---|" + "--:|" * len(VERSIONS)]
    for command in COMMANDS:
        lines.append(f"| mlops {command} | {' | '.join(f'{one[command]:.2f}' for one in versions.values())} |")
    return "\n".join(lines)


def draw(
    features: dict[int, dict[str, float | dict[int, float]]], versions: dict[int, dict[str, float]], target: Path
) -> None:
    """Three curves, on logarithmic axes: a straight line of slope one is cost in proportion."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    left.plot(list(features), [1e6 / one["per_second"] for one in features.values()], marker="o")
    left.set(title="one row", xlabel="features", ylabel="µs a request")
    for count, one in features.items():
        middle.plot(list(one["rows"]), list(one["rows"].values()), marker="o", label=f"{count:,} features")
    middle.set(title="many rows", xlabel="rows a request", ylabel="ms a request")
    middle.legend()
    for command in COMMANDS:
        right.plot(list(versions), [one[command] for one in versions.values()], marker="o", label=f"mlops {command}")
    right.set(title="registry", xlabel="versions", ylabel="seconds", ylim=(0.1, 100))
    right.legend()
    for axes in (left, middle, right):
        axes.set(xscale="log", yscale="log")
        axes.grid(alpha=0.3)
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    """Measure, print the tables and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path, help="A generated project with a registered version.")
    project = parser.parse_args().project.resolve()
    about = machine()
    with tempfile.TemporaryDirectory() as scratch:
        features, versions = by_features(project, Path(scratch)), by_versions(project, Path(scratch))
    print(f"{about}\n\n{tables(features, versions)}")
    draw(features, versions, Path(__file__).with_suffix(".svg"))


if __name__ == "__main__":
    main()
