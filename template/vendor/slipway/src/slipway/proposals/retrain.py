"""A proposal to learn from newer rows: the data window of `params.yaml`, moved to the newest raw row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path

from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.contract.frames import parse
from slipway.data import dvc, origins, snapshots
from slipway.data.prepare import read_delivered
from slipway.data.snapshots import Draft
from slipway.forge import git, proposals
from slipway.forge.proposals import Proposal
from slipway.settings import edit
from slipway.settings.params import Params
from slipway.settings.project import Project
from slipway.team import CONTRACT

PARAMS = "params.yaml"


def propose_retraining(project: Project, finding: str | None = None, log: Log = print) -> Proposal:
    """Put a moved window on a branch of its own, without touching the working tree.

    Where raw data is taken from a query or a bucket, it is taken anew, and its snapshot is part of the proposal.
    Refused with exit code 3 when no raw row is newer than the window in `params.yaml`. Proposed twice, a window
    stays one branch.
    """
    git.require_branch(project.root)
    git.require_committed(project.root, PARAMS)
    if project.params.data.snapshot is None:
        return _propose(project, finding, None)
    _require_time()
    snapshots.require_sendable(project)
    with snapshots.draft(project, log) as taken:
        return _propose(project, finding, taken)


def _propose(project: Project, finding: str | None, taken: Draft | None) -> Proposal:
    data = project.params.data
    newest = newest_day(project, taken.folder if taken else None)
    changes = moved(project.params, newest)
    if not changes:
        rows = f"see that {taken.record.source} has newer rows" if taken else f"add newer rows to {data.delivered}"
        raise MlopsError(
            f"there is nothing newer to learn from: the newest raw row is of {newest}, as params.yaml has it",
            f"{rows}{'' if taken else ' and commit them'}, then: mlops retrain",
            exit_code=3,
        )
    git.require_committed(project.root, data.delivered)
    texts = {PARAMS: edit.edited((project.root / PARAMS).read_text("utf-8"), changes, Params, PARAMS)}
    if taken:
        snapshots.send(project, taken)
        texts[origins.pointer_of(project)] = taken.pointer
    branch, message = f"retrain/{newest}", _message(project.params, changes, newest, finding, taken)
    title = f"rows until {newest} are proposed for learning"
    then = f"git switch {branch}, uv run mlops pipeline, commit dvc.lock and reports, uv run mlops register"
    with project.only_one("promote"):
        return proposals.propose(project, branch, texts, message, title=title, next_step=then, replace=False)


def _require_time() -> None:
    if CONTRACT.time is None:
        raise MlopsError(
            "contract.py names no time, so nobody can tell which rows are new",
            "add the new rows, set data.as_of in params.yaml, then: mlops pipeline",
        )


def newest_day(project: Project, folder: Path | None = None) -> date:
    """The day of the newest raw row, of those in `folder` if it is given; else it fetches what only the remote has."""
    _require_time()
    if folder is None:
        dvc.pull_raw(project)
    (field,) = (field for field in CONTRACT.fields if field.name == CONTRACT.time)
    typed, _ = parse(read_delivered(project, [field.name], folder), (field,), project.params.data.format)
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


def _message(
    params: Params, changes: Mapping[str, date], newest: date, finding: str | None, taken: Draft | None
) -> str:
    why = f"The monitor found: {' '.join(finding.split())}\n\n" if finding else ""
    before = {"data.as_of": params.data.as_of}
    before |= {f"split.{key}": getattr(params.split, key) for key in ("train_until", "test_until")}
    listed = "\n".join(f"- {place}: {before[place]} becomes {day}" for place, day in changes.items())
    rows = f"\n- {params.data.delivered} is taken from {taken.record}" if taken and taken.is_new else ""
    return f"Learn from rows until {newest}\n\n{why}{listed}{rows}\n"
