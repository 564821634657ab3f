"""Carry a project over to 0.4.0, in which the platform lies in `vendor/slipway` and no more in the team's package.

What a team has changed in the platform, its pages, the tests and the dependencies goes with them. Its own modules go
on importing `.mlops.schema`, and are told what else they import from a place that is gone.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import migrate
import yaml

SLIPWAY = "vendor/slipway/src/slipway"
#: Where each module of `src/<package>/mlops` is now. Where it has become several, an edit goes to the first of them
#: that still has the lines around it.
MODULES = {
    "__init__.py": "__init__.py",
    "__main__.py": "__main__.py",
    "audit.py": "evidence/audit.py",
    "backtest.py": "training/backtest.py training/ageing.py",
    "backtest_page.py": "pages/backtest_page.py",
    "batch.py": "serving/batch.py",
    "bundle.py": "training/bundle.py",
    "cli.py": "cli/__init__.py cli/delivery.py cli/experiment.py cli/training.py cli/serving.py cli/monitoring.py",
    "compare.py": "registry/compare.py",
    "compose.py": "delivery/compose/target.py delivery/compose/stack.py",
    "concept.py": "monitoring/concept.py training/reference.py",
    "connections.py": "workspace/connections.py",
    "container.py": "delivery/compose/container.py",
    "containers.py": "cli/containers.py",
    "counts.py": "serving/counts.py training/histogram.py",
    "data.py": "data/prepare.py",
    "deploy.py": "delivery/deploy.py delivery/target.py",
    "docker.py": "delivery/docker.py",
    "drift.py": "monitoring/drift.py monitoring/bins.py monitoring/psi.py",
    "endpoint.py": "serving/endpoint.py serving/limits.py serving/context.py",
    "environments.py": "delivery/environments.py",
    "errors.py": "base/errors.py",
    "evaluation.py": "training/gates.py training/evaluate.py",
    "experiment.py": "experiment/statistics.py",
    "explanation.py": "serving/explain.py",
    "export.py": "training/export.py training/reference.py",
    "faces.py": "serving/protocols/base.py serving/protocols/predict.py",
    "frames.py": "contract/frames.py contract/files.py",
    "front.py": "serving/challenger.py",
    "git.py": "forge/git.py",
    "github.py": "forge/github.py",
    "history.py": "monitoring/windows.py experiment/trial.py",
    "history_page.py": "pages/history_page.py",
    "images.py": "delivery/compose/images.py",
    "inference.py": "serving/protocols/inference.py",
    "invocations.py": "serving/protocols/invocations.py",
    "labels.py": "data/labels.py",
    "live.py": "experiment/trial.py experiment/samples.py",
    "monitor.py": "monitoring/run.py monitoring/judge.py monitoring/report.py monitoring/checks.py",
    "native.py": "delivery/native/target.py delivery/native/state.py delivery/folder.py delivery/target.py",
    "observed.py": "serving/latency.py",
    "openapi.py": "serving/openapi.py",
    "packaging.py": "registry/packaging.py",
    "page.html": "serving/page.html",
    "personal.py": "log/personal.py",
    "pipeline.py": "training/pipeline.py data/stages.py",
    "predictions.py": "log/predictions.py log/store.py",
    "predictor.py": "serving/predictor.py",
    "privacy.py": "log/masks.py",
    "problems.py": "contract/problems.py",
    "process.py": "delivery/processes.py",
    "project.py": "settings/project.py settings/policy.py settings/params.py settings/environment.py settings/base.py",
    "quality.py": "monitoring/quality.py proposals/rollback.py",
    "refusals.py": "log/refusals.py",
    "registration.py": "registry/register.py",
    "registry.py": "registry/models.py",
    "remote.py": "data/dvc.py",
    "report.css": "pages/report.css",
    "report.py": "pages/monitor_page.py pages/render.py",
    "retraining.py": "proposals/retrain.py",
    "rewriting.py": "proposals/contract_edit.py",
    "schema.py": "contract/rows.py contract/columns.py",
    "scoring.py": "training/scoring.py",
    "server.py": "serving/app.py serving/run.py",
    "services.py": "delivery/compose/services.py",
    "signing.py": "registry/signing.py",
    "skew.py": "monitoring/skew.py",
    "supervisor.py": "delivery/native/supervisor.py",
    "telemetry.py": "serving/metrics.py",
    "template.py": "template/update.py template/rendering.py template/branches.py template/audit.py",
    "trace.py": "evidence/trace.py",
    "tracking.py": "training/tracking.py",
    "training.py": "training/train.py",
    "trials.py": "delivery/compose/image_check.py",
    "widening.py": "proposals/widen.py monitoring/refused.py",
    "wire.py": "serving/fastpath.py serving/asgi.py",
    "worker.py": "serving/worker.py serving/link.py",
    "workspace.py": "workspace/setup.py",
}
PAGES = {f"docs/{name}.md": [f"vendor/slipway/docs/{name}.md"] for name in ("challenger", "monitoring", "serving")}
#: Tests of the platform, which are not the project's any more.
DROPPED = ["backtest", "batch", "concept", "experiment", "history", "monitor", "pipeline"]
DROPPED = [f"tests/test_{name}.py" for name in [*DROPPED, "privacy", "proposals", "protocols", "server", "skew"]]
#: The team's from now on, so that this version brings them a last time.
BROUGHT = ["tests/conftest.py", *(f"tests/test_{name}.py" for name in ("contract", "features", "flights", "model"))]
#: What the team's own modules may go on importing from `.mlops.schema`.
PUBLIC = ["Column", "Columns", "Contract", "Row"]
SHIM = f'''"""Where the names of the contract were before 0.4.0. `mlops template audit` says when it can go."""

from slipway import {", ".join(PUBLIC)}

__all__ = [{", ".join(f'"{name}"' for name in PUBLIC)}]
'''


def carry() -> None:
    """Do all of it, in the project's folder, after Copier has written the new files."""
    answers = yaml.safe_load(migrate.git("show", f"HEAD:./{migrate.ANSWERS_FILE}"))
    package = answers["package_name"]
    places = {f"src/{package}/mlops/{old}": _places(new) for old, new in MODULES.items()} | PAGES
    with migrate.rendered_before() as before, migrate.rendered_now("tests", "pyproject.toml") as now:
        edited = migrate.edited(before, [*places, *DROPPED, *BROUGHT, "pyproject.toml"])
        for old, text in edited.items():
            base = (before / old).read_bytes()
            # A version after this one may have moved a part again.
            parts = [part for part in places.get(old, []) if Path(part).is_file()]
            if parts:
                follow(old, parts, base=base, edited=text)
            elif old in places or old in DROPPED:
                migrate.drop_file(old, base=base)
        for name in BROUGHT:
            if (before / name).is_file() and (now / name).is_file():
                bring(name, before, now, edited)
        if (text := edited.get("pyproject.toml")) and (now / "pyproject.toml").is_file():
            carry_dependencies("pyproject.toml", before, now, text.decode())
    write_shim(Path("src", package, "mlops", "schema.py"))
    if answers.get("target") == "compose":
        for path in sorted(Path("deploy", "environments").glob("*.yaml")):
            name_target(path)
    for sentence in told(package):
        print(sentence, file=sys.stderr)


def follow(old: str, parts: list[str], *, base: bytes, edited: bytes | None) -> None:
    """Merge what the team wrote into a file of the platform with what is now in the first part that takes it whole."""
    if edited is None:
        print(f"{parts[0]} is there, though you had deleted {old}: the platform comes as a whole", file=sys.stderr)
        return
    for part in map(Path, parts):
        text, conflicts = migrate.merged(base=base, edited=edited, theirs=part.read_bytes())
        if not conflicts:
            part.write_bytes(text)
            return
    migrate.write_merged(Path(parts[0]), base=base, edited=edited, theirs=Path(parts[0]).read_bytes())


def bring(name: str, before: Path, now: Path, edited: dict[str, bytes | None]) -> None:
    """Make the new text of a test that the team has not edited, merge one that it has, leave what is only its own."""
    path, theirs = Path(name), (now / name).read_bytes()
    if name not in edited:
        path.write_bytes(theirs)
        return
    text = edited[name]
    _settle(name)
    if text is None:
        # Copier brings back what was deleted of the team's files.
        path.unlink(missing_ok=True)
    elif re.search(rb"\bmlops\b", text):
        migrate.write_merged(path, base=(before / name).read_bytes(), edited=text, theirs=theirs)
    else:
        path.write_bytes(text)


def carry_dependencies(name: str, before: Path, now: Path, edited: str) -> None:
    """Merge a team's settings with the new ones, and its dependencies into lists that hold nothing else any more."""
    base, theirs = ((folder / name).read_text("utf-8") for folder in (before, now))
    edited = edited.replace("\r\n", "\n")
    for key in ("dependencies", "train", "dev"):
        block = re.compile(rf"^{key} = \[\n(.*?)^\]", flags=re.MULTILINE | re.DOTALL)
        known, wanted, place = (block.search(text) for text in (base, edited, theirs))
        if known and wanted and place:
            added = [line for line in wanted[1].splitlines(keepends=True) if line not in known[1].splitlines(True)]
            edited = edited[: wanted.start(1)] + known[1] + edited[wanted.end(1) :]
            theirs = theirs[: place.end(1)] + "".join(added) + theirs[place.end(1) :]
    _settle(name)
    migrate.write_merged(Path(name), base=base.encode(), edited=edited.encode(), theirs=theirs.encode())


def write_shim(path: Path) -> None:
    """Let the team's modules import the names of the contract where they were."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(SHIM, encoding="utf-8")


def name_target(path: Path) -> None:
    """Write into an environment's file what has run it, above the lines that a team changes."""
    text = path.read_bytes().decode()
    if not re.search(r"^target:", text, flags=re.MULTILINE):
        place = re.search(r"^(?:#[^\n]*\n)?alias:", text, flags=re.MULTILINE)
        at = place.start() if place else 0
        path.write_bytes(f"{text[:at]}target: compose\n\n{text[at:]}".encode())


def told(package: str) -> Iterator[str]:
    """Say of each file of the team's what it imports from a place that is gone, and where that is now."""
    names = migrate.git("ls-files", "-z", "--cached", "--", "*.py").decode().split("\0")
    for name in sorted({name for name in names if name and not name.startswith("vendor/")}):
        path = Path(name)
        if path.is_file() and (gone := sorted(set(_imported(path, package)))):
            now = ", ".join(f"mlops.{module} is {new}" for module, new in gone)
            yield f"{name} imports what has moved: {now}"


def _imported(path: Path, package: str) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return
    for node in ast.walk(tree):
        for module, names in _modules(node, package):
            is_gone = module != "schema" or not set(names) <= set(PUBLIC)
            if is_gone and f"{module}.py" in MODULES:
                first = MODULES[f"{module}.py"].split()[0].removesuffix(".py").removesuffix("/__init__")
                yield module, f"slipway.{first.replace('/', '.')}"


def _modules(node: ast.AST, package: str) -> Iterator[tuple[str, list[str]]]:
    """Each module of `<package>.mlops` that a statement imports, and what of it."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.startswith(f"{package}.mlops."):
                yield alias.name.split(".")[2], ["*"]
    if isinstance(node, ast.ImportFrom):
        place = (node.module or "").removeprefix(f"{package}.") if not node.level else node.module or ""
        if place == "mlops":
            yield from ((alias.name, ["*"]) for alias in node.names)
        elif place.startswith("mlops."):
            yield place.split(".")[1], [alias.name for alias in node.names]


def _places(names: str) -> list[str]:
    return [f"{SLIPWAY}/{name}" for name in names.split()]


def _settle(name: str) -> None:
    """Take back that Copier has called a file unmerged."""
    migrate.git("reset", "--quiet", "--", f"./{name}")


if __name__ == "__main__":
    migrate.main({"carry": carry}, ["carry"])
