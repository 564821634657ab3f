"""Running the pipeline, tracked: what `mlops pipeline` does."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.base.files import Log, sha256
from slipway.data import cut_off, dvc, origins
from slipway.data.prepare import require_prepared
from slipway.data.stages import planned, run_stage
from slipway.forge import git
from slipway.settings.project import Project
from slipway.training.agreement import require_agreement
from slipway.training.gates import GateResult, check_gates
from slipway.training.tracking import PIPELINE, connect, experiment, find_run, record


def run(project: Project, force: bool = False, log: Log = print) -> list[GateResult]:
    """Run what has changed, record the run, and judge the result against the policy."""
    require_agreement(project, log)  # a wrong setting is refused before any work is done
    require_prepared(project)
    for line in origins.remarks(project):
        log(f"mind: {line}")
    client = connect(project)
    experiment(project, client)
    if unformatted := to_be_formatted(project.root):
        sys.stderr.write(
            f"warning: the commit hooks will rewrite {', '.join(unformatted)}, and what is made here is stale then\n"
            " next: uv run ruff check --fix, uv run ruff format, and this once more\n"
        )
    with project.only_one("pipeline"):
        cut_off.mend(project, log)
        tags = _code_tags(project)
        if not dvc.repro(project, force):
            record(project, client, tags, status="FAILED")
            raise MlopsError(
                "a stage of the pipeline failed; its own message stands above", "mend it and run: mlops pipeline"
            )
        pipeline = pipeline_digest(project)
        if find_run(project, client, pipeline) is None:
            record(project, client, tags | {PIPELINE: pipeline}, status="FINISHED")
    return check_gates(project)


def rehearse(project: Project, sample: str) -> None:
    """Run every stage on the sample in Git, untracked: it shows that the code works, and nothing about the model.

    `dvc.lock` stays as it was, so what this leaves behind can never be registered.
    """
    tried = Project(project.root)
    if tried.params.data.raw:
        tried.params.data.raw = sample
    else:
        tried.params.data.source = sample
    with project.only_one("pipeline"):
        for name in planned(tried):
            run_stage(tried, name)


def to_be_formatted(root: Path) -> list[str]:
    """The modules of the team's that are not committed and that ruff would rewrite; none where there is no ruff."""
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    changed = [path for path in git.changes(root) if path.startswith("src/") and path.endswith(".py")]
    if ruff is None:
        return []
    judged = ("format", "--check"), ("check", "--diff")
    return [
        path for path in changed
        if (root / path).is_file()
        and any(programs.run(ruff, *how, path, cwd=root, install="uv sync").code for how in judged)
    ]  # fmt: skip


def commit(project: Project, subject: str = "Record what the pipeline made") -> str | None:
    """Commit what the pipeline made, for a job that has nobody to do so; `None` when nothing has changed."""
    made = [path for path in git.changes(project.root) if path == "dvc.lock" or path.startswith("reports/")]
    if not made:
        return None
    git.git(project.root, "add", "--", *made)
    git.git(project.root, "commit", "--no-verify", "--quiet", "-m", subject, "--", *made)
    return git.head(project.root)


def pipeline_digest(project: Project) -> str:
    """Digest of `dvc.lock`: every input and output of every stage."""
    lock = project.root / "dvc.lock"
    if not lock.is_file():
        raise MlopsError("the pipeline has not run in this checkout", "mlops pipeline")
    return sha256(lock)


def _code_tags(project: Project) -> dict[str, str]:
    return {"mlops.commit": git.head(project.root), "mlops.changed_files": ", ".join(git.changes(project.root))[:4000]}
