"""A proposal to learn from newer rows: the data window of `params.yaml`, moved to the newest raw row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta

from slipway.base.errors import MlopsError
from slipway.contract.frames import parse
from slipway.data import dvc
from slipway.data.prepare import read_delivered
from slipway.forge import git, proposals
from slipway.forge.proposals import Proposal
from slipway.settings import edit
from slipway.settings.params import Params
from slipway.settings.project import Project
from slipway.team import CONTRACT

PARAMS = "params.yaml"


def propose_retraining(project: Project, finding: str | None = None) -> Proposal:
    """Put a moved window on a branch of its own, without touching the working tree.

    Refused with exit code 3 when no raw row is newer than the window in `params.yaml`. Proposed twice, a window
    stays one branch.
    """
    git.require_branch(project.root)
    git.require_committed(project.root, PARAMS)
    newest = newest_day(project)
    changes = moved(project.params, newest)
    if not changes:
        raise MlopsError(
            f"there is nothing newer to learn from: the newest raw row is of {newest}, as params.yaml has it",
            f"add newer rows to {project.params.data.delivered} and commit them, then: mlops retrain",
            exit_code=3,
        )
    git.require_committed(project.root, project.params.data.delivered)
    text = edit.edited((project.root / PARAMS).read_text("utf-8"), changes, Params, PARAMS)
    branch, message = f"retrain/{newest}", _message(project.params, changes, newest, finding)
    title = f"rows until {newest} are proposed for learning"
    then = f"git switch {branch}, uv run mlops pipeline, commit dvc.lock and reports, uv run mlops register"
    with project.only_one("promote"):
        return proposals.propose(project, branch, {PARAMS: text}, message, title=title, next_step=then, replace=False)


def newest_day(project: Project) -> date:
    """The day of the newest raw row; fetches raw data that only the remote has."""
    if CONTRACT.time is None:
        raise MlopsError(
            "contract.py names no time, so nobody can tell which rows are new",
            "add the new rows, set data.as_of in params.yaml, then: mlops pipeline",
        )
    dvc.pull_raw(project)
    (field,) = (field for field in CONTRACT.fields if field.name == CONTRACT.time)
    typed, _ = parse(read_delivered(project, [field.name]), (field,), project.params.data.format)
    newest = typed[field.name].max() if field.name in typed.columns else None
    if not isinstance(newest, datetime):
        raise MlopsError(f"no raw row has a time in its column {field.name}", "mend the data, or contract.py")
    return newest.date()


def moved(params: Params, newest: date) -> dict[str, date]:
    """The settings that change, by their place, so that the window ends with the newest day; none when it does already.

    The test window keeps its length, and everything before it is learned from. A split by digest has no window.
    """
    end = newest + timedelta(days=1)
    changes = {"data.as_of": end} if end > params.data.as_of else {}
    split = params.split
    if split.by == "digest":
        return changes
    if split.train_until is None or split.test_until is None:
        raise MlopsError(
            "a split by time needs train_until and test_until in params.yaml", "add them, or set split.by: digest"
        )
    if end <= split.test_until:
        return {}
    return changes | {"split.train_until": end - (split.test_until - split.train_until), "split.test_until": end}


def _message(params: Params, changes: Mapping[str, date], newest: date, finding: str | None) -> str:
    why = f"The monitor found: {' '.join(finding.split())}\n\n" if finding else ""
    before = {"data.as_of": params.data.as_of}
    before |= {f"split.{key}": getattr(params.split, key) for key in ("train_until", "test_until")}
    listed = "\n".join(f"- {place}: {before[place]} becomes {day}" for place, day in changes.items())
    return f"Learn from rows until {newest}\n\n{why}{listed}\n"
