"""A proposal of other parameters, as a search or a comparison has found them: values of `model` in `params.yaml`."""

from __future__ import annotations

from hashlib import sha256

from slipway.base.numbers import shown
from slipway.forge import git, proposals
from slipway.forge.proposals import Proposal
from slipway.settings.params import PARAMS, with_model
from slipway.settings.project import Project
from slipway.team import PACKAGE
from slipway.training.search_result import BestParameters, shown_value


def require_proposable(project: Project) -> None:
    """Refuse what would be used and no commit holds: a branch would not make what was found."""
    git.require_branch(project.root)
    for path in (PARAMS, "policy.yaml", f"src/{PACKAGE.replace('.', '/')}"):
        git.require_committed(project.root, path)


def propose_better(project: Project, result: BestParameters) -> Proposal:
    """Put the values that were found on a branch of its own, without touching the working tree."""
    require_proposable(project)
    text = with_model((project.root / PARAMS).read_text("utf-8"), result.changes)
    branch = f"search/{sha256(text.encode()).hexdigest()[:8]}"
    then = f"git switch {branch}, uv run mlops pipeline, commit dvc.lock and reports, uv run mlops register"
    title = f"{len(result.changes)} better parameter{'s'[: len(result.changes) > 1]} proposed"
    with project.only_one("promote"):
        return proposals.propose(
            project, branch, {PARAMS: text}, _message(result), title=title, next_step=then, replace=False
        )


def _message(result: BestParameters) -> str:
    now = {name: shown_value(value) for name, value in result.present.params.items()}
    listed = "\n".join(
        f"- {name}: {now.get(name, 'nothing')} becomes {shown_value(value)}" for name, value in result.changes.items()
    )
    return (
        f"Use {result.subject}\n\n{listed}\n\n"
        f"By {result.folds} of {result.rows:,} training rows, the mean of {result.metric} is "
        f"{shown(result.best.mean)}, at present {shown(result.present.mean)}.\n"
        f"{result.sentence[0].upper()}{result.sentence[1:]}.\n\n"
        "The test rows were not looked at; the gates judge on them as always.\n"
    )
