"""The same flights through the libraries of models: how good, how large and how fast each is once it is served.

Some stand there twice, in ONNX and in the format of their library, whose ratio is to the same in ONNX: the price.

Each is trained, converted, evaluated and exported by the project's own stages, and then asked in turns by `wrk`, one
row a request. Needs `wrk`, and a project whose pipeline has run and that has all the libraries:

    uv add --group train lightgbm xgboost-cpu catboost onnxmltools skops
    python benchmarks/libraries.py PROJECT
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import SEAL, WARM_UP_SECONDS, Server, load, machine, package_of, post_script, python, serving, trained

ROUNDS, SECONDS = 5, 4

#: What stands behind `return` in `build`, at parameters of about the same effort.
LIBRARIES = {
    "logistic regression": "make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=1000))",
    "random forest": (
        "make_pipeline(SimpleImputer(), RandomForestClassifier(150, min_samples_leaf=20, random_state=seed))"
    ),
    "gradient boosting": (
        "make_pipeline(SimpleImputer(), GradientBoostingClassifier(n_estimators=150, learning_rate=0.05, max_depth=4, "
        "min_samples_leaf=50, subsample=0.5, max_features=0.5, random_state=seed))"
    ),
    "histogram boosting": "HistGradientBoostingClassifier(max_iter=150, learning_rate=0.05, random_state=seed)",
    "LightGBM": (
        "LGBMClassifier(n_estimators=150, learning_rate=0.05, num_leaves=15, deterministic=True, verbose=-1, "
        "random_state=seed)"
    ),
    "XGBoost": "XGBClassifier(n_estimators=150, learning_rate=0.05, max_depth=4, random_state=seed)",
    "CatBoost": (
        "CatBoostClassifier(iterations=150, learning_rate=0.1, depth=5, allow_writing_files=False, verbose=0, "
        "random_seed=seed)"
    ),
    "neural network": (
        "make_pipeline(SimpleImputer(), StandardScaler(), "
        "MLPClassifier((32, 16), early_stopping=True, random_state=seed))"
    ),
}

#: What is kept in the format of its library as well, and the types that its file holds.
OWN = {
    "histogram boosting": ("skops", [
        "functools.partial",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.utils.validation.check_array",
    ]),
    "LightGBM": ("lightgbm", []),
    "XGBoost": ("xgboost", []),
    "CatBoost": ("catboost", []),
}  # fmt: skip

MODEL = """
from catboost import CatBoostClassifier
from lightgbm import LGBMClassifier
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier


def build(seed, **params):
    return {estimator}
"""

TRAIN = """
import json, sys, time
from pathlib import Path
from slipway import kinds
from slipway.data.stages import run_stage
from slipway.settings.project import Project
from slipway.training import team_code
from slipway.training.train import format_of, learning_set

project = Project(Path.cwd())
names, rows, truth = learning_set(project.root / "data" / "train.parquet")
model = team_code.model_of(project)
started = time.perf_counter()
team_code.fit("model", model, names, rows, truth)
fitted = time.perf_counter()
format_of(project)[0].content(model, kinds.of(model), rows)
taken = {"fit": fitted - started, "export": time.perf_counter() - fitted}
for stage in ("train", "evaluate", "export"):
    run_stage(project, stage)
print(json.dumps(taken))
"""


@dataclass(frozen=True)
class Library:
    """What the stages say of the model of one library."""

    metrics: dict[str, float]
    megabytes: float
    fit_s: float
    export_s: float


def train(project: Path, estimator: str, folder: Path, own: tuple[str, list[str]] | None) -> Library:
    """Train a copy of the project with this estimator, in a format, and seal what it makes in the folder."""
    if own:
        asked = json.dumps({"name": own[0], "trusted": own[1]})  # which is YAML, too
        with (project / "params.yaml").open("a", encoding="utf-8") as params:
            params.write(f"\nmodel_format: {asked}\n")
    module = package_of(project) / "model.py"
    module.write_text(module.read_text("utf-8") + MODEL.format(estimator=estimator), encoding="utf-8")
    # The environment is that of the project this is a copy of, and finds that one's modules after these.
    ours = os.environ | {"PYTHONPATH": str(project / "src")}
    command = python(project, TRAIN)
    done = subprocess.run(command, cwd=project, check=True, stdout=subprocess.PIPE, text=True, env=ours)
    taken = json.loads(done.stdout.splitlines()[-1])
    subprocess.run(python(project, SEAL, str(folder / "bundle")), cwd=project, check=True)
    metrics = json.loads((project / "reports" / "metrics.json").read_bytes())["model"]
    cost = json.loads((project / "reports" / "cost.json").read_bytes())
    return Library(metrics, cost["model_megabytes"], taken["fit"], taken["export"])


def row(name: str, library: Library, per_second: list[float], first: list[float]) -> str:
    """One line of the table; speed is set against that of another line, round by round."""
    ratio = statistics.median(mine / theirs for mine, theirs in zip(per_second, first, strict=True))
    return (
        f"| {name} | {library.metrics['roc_auc']:.4f} | {library.metrics['brier']:.4f} | {library.megabytes:.2f} "
        f"| {library.fit_s:.2f} | {library.export_s:.2f} | {statistics.median(per_second):,.0f} | {ratio:.2f} |"
    )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=trained, help="A generated project whose pipeline has run.")
    project = parser.parse_args().project
    about = machine()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        place = Path(scratch)
        libraries: dict[str, Library] = {}
        servers: dict[str, Server] = {}
        both = {name: (estimator, None) for name, estimator in LIBRARIES.items()}
        owned = {f"{name} as {own[0]}": (LIBRARIES[name], own) for name, own in OWN.items()}
        for name, (estimator, own) in {**both, **owned}.items():
            copy, folder = place / name / project.name, place / name / "served"
            ignored: Any = shutil.ignore_patterns(".venv", ".git", ".mlops")
            shutil.copytree(project, copy, ignore=ignored)
            (copy / ".venv").symlink_to(project / ".venv")
            folder.mkdir()
            libraries[name] = train(copy, estimator, folder, own)
            servers[name] = stack.enter_context(serving(copy, "server", folder))
        golden = json.loads((project / "model" / "bundle" / "golden.json").read_bytes())["rows"]
        script = post_script(place, map(json.dumps, golden))
        for server in servers.values():
            load(server, script, WARM_UP_SECONDS)
        speeds: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, server in servers.items():
                speeds[name].append(load(server, script, SECONDS).per_second)
        first = next(iter(speeds))
        print(f"{about}\n\n| model | ROC AUC | Brier | MB | fit, s | export, s | requests/s | ratio |")
        print("|---|--:|--:|--:|--:|--:|--:|--:|")
        for name, library in libraries.items():
            other = name.partition(" as ")[0]  # the same in ONNX
            print(row(name, library, speeds[name], speeds[first if other == name else other]))


if __name__ == "__main__":
    main()
