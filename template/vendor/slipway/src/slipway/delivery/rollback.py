"""Going back to the version before: at once, or as a proposal."""

from __future__ import annotations

from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.delivery import deploy, environments, newest, target
from slipway.delivery.ledger import Hold
from slipway.forge import git, hosting
from slipway.forge.proposals import Proposal
from slipway.settings.environment import Release
from slipway.settings.project import Project


def previous(project: Project, name: str) -> Release:
    """The champion before the current one, read from the history of the environment's file.

    What was rolled back is not gone back to: after 1, 2 and a rollback to 1, nothing is before 1.
    """
    path = environments.relative(project, name)
    current = environments.champion(project, name)
    before: list[Release] = []
    for commit in git.git(project.root, "log", "--reverse", "--format=%H", "--", path).split():
        text = git.at_commit(project.root, commit, path)
        release = environments.decoded(text).champion if text else None
        if release in before:
            before = before[: before.index(release)]
        before += [release] if release else []
    if len(before) > 1:
        return before[-2]
    raise MlopsError(
        f"{name} has had no champion before version {current.version}",
        f"mlops promote {environments.FIRST} --version N, with a version that the registry still has",
    )


def propose(project: Project, name: str) -> Proposal:
    """Propose the previous champion."""
    git.require_branch(project.root)
    with project.only_one("promote"):
        environments.require_committed(project, name)
        release = previous(project, name)
        branch, title = branch_of(name, release), environments.proposal_title(release, name)
        changes = _changes(project, name, release)
        return environments.propose_change(project, name, changes, branch, _message(name, release), title)


def roll_back(project: Project, name: str, log: Log = print) -> Release:
    """Serve the previous champion, then commit that to this branch; returns it. Safe to run again.

    It is served first: where that fails, Git still says what runs, and where Git fails, the ledger of this machine
    keeps the version that was left from coming back. Where a cluster pulls, the commit is all there is to do.
    """
    git.require_branch(project.root)
    with project.only_one("promote"):
        environments.require_committed(project, name)
        newest.require_not_before(project, name)  # an old run of a workflow that is run again
        left, release = environments.champion(project, name), previous(project, name)
        text = environments.changed_file(project, name, _changes(project, name, release))
        environments.require_signed(project, release, environments.load(project, name))
        if not target.is_pulled(project, environments.load(project, name)):
            hold = Hold(release=left, at="", named_by=newest.named_by(project, name, left))
            deploy.put_back(project, name, environments.decoded(text), hold, log)
        _commit(project, name, text, release)
    return release


def publish(project: Project, name: str, release: Release) -> str:
    """Send the commit of a rollback to where main is, or propose it there; returns one sentence on what came of it."""
    branch = branch_of(name, release)
    try:
        return hosting.of(project).publish(branch)
    except MlopsError as error:
        raise MlopsError(
            f"{_state(project, name, release)}, but the commit that says so was not sent: {error.problem}",
            f"git push origin HEAD:{branch}, then merge {branch}; do not roll back again, which goes one more back",
        ) from error


def _state(project: Project, name: str, release: Release) -> str:
    if target.is_pulled(project, environments.load(project, name)):
        return f"{name} shall go back to version {release.version}"
    return f"{name} answers with version {release.version}"


def branch_of(name: str, release: Release) -> str:
    """The branch on which a rollback is proposed."""
    return f"rollback/{name}-v{release.version}"


def _commit(project: Project, name: str, text: str, release: Release) -> None:
    texts = {project.root / path: new for path, new in environments.with_files_beside(project, name, text).items()}
    before = {path: path.read_bytes() for path in texts}
    try:
        for path, new in texts.items():
            path.write_text(new, encoding="utf-8", newline="\n")
        # At night the hooks of a laptop must not stand between an operator and the last good version.
        git.git(project.root, "commit", "--no-verify", "-m", _message(name, release), "--", *map(str, texts))
    except (MlopsError, OSError) as error:
        for path, old in before.items():
            path.write_bytes(old)
        reason = error.problem if isinstance(error, MlopsError) else str(error)
        raise MlopsError(
            f"{_state(project, name, release)}, but the commit that says so was not made: {reason}",
            f"solve this, then mlops rollback {name} again: it commits what runs",
        ) from error


def _changes(project: Project, name: str, release: Release) -> dict[str, Release | None]:
    tried = environments.load(project, name).challenger
    gone: dict[str, Release | None] = {"challenger": None} if tried and tried.version == release.version else {}
    return {"champion": release, **gone}


def _message(name: str, release: Release) -> str:
    return f"Roll {name} back to version {release.version}"
