"""Whether what this commit says of an environment still holds: main may have said otherwise since.

An old run that somebody runs again, an old checkout, or a merge after a rollback would otherwise bring a version back
that nobody asked for.
"""

from __future__ import annotations

from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.delivery import environments, ledger
from slipway.delivery.ledger import Hold
from slipway.forge import git
from slipway.settings.environment import Release
from slipway.settings.project import Project


def require_newest(project: Project, name: str, log: Log) -> None:
    """Refuse a file that names what was rolled back from, or that a later commit has changed.

    Looked at are the last deployment on this machine and, where origin answers, the branch there that is deployed: the
    current one, or the main one where origin does not have that.
    """
    release = environments.champion(project, name)
    if held := hold_on(project, name, release):
        raise MlopsError(
            f"{name} was rolled back from version {release.version} on {held.at[:16].replace('T', ' ')}, and "
            f"{environments.relative(project, name)} still names it",
            f"merge the rollback, or promote a version; mlops rollback {name} serves the one before again, and "
            f"mlops deploy {name} --force brings version {release.version} back",
        )
    require_not_before(project, name)
    _require_origin(project, name, git.head(project.root), log)


def require_not_before(project: Project, name: str) -> None:
    """Refuse a commit of before the last deployment on this machine, unless it says the same."""
    here, last = git.head(project.root), ledger.last_checkout(project, name)
    if last != here and git.is_ancestor(project.root, here, last):
        _require_same(project, name, last, "a later commit was deployed here, in which it names")


def hold_on(project: Project, name: str, release: Release) -> Hold | None:
    """The hold on a release that still counts: no commit since the rollback has named it anew."""
    held = ledger.hold_on(project, name, release)
    if held is None:
        return None
    git.require_whole_history(project.root)
    return held if named_by(project, name, release) == held.named_by else None


def named_by(project: Project, name: str, release: Release) -> str:
    """The commit of this line of history since which an environment's file names this champion; empty without one."""
    path = environments.relative(project, name)
    found = git.since(project.root, path, lambda text: environments.decoded(text).champion == release, "--first-parent")
    return found[0] if found else ""


def _require_origin(project: Project, name: str, here: str, log: Log) -> None:
    try:
        newest = git.newest_at_origin(project.root)
    except MlopsError as away:
        log(f"nobody knows whether a later commit says otherwise of {name}: {away.problem}")
        return
    if newest is None or newest.commit == here:
        return
    if git.is_ancestor(project.root, newest.commit, here):
        log(f"this commit is not on {newest.branch} at origin yet")
        return
    _require_same(project, name, newest.commit, f"on {newest.branch} at origin it names")


def _require_same(project: Project, name: str, later: str, where: str) -> None:
    path = environments.relative(project, name)
    text, here = git.at_commit(project.root, later, path), git.at_commit(project.root, "HEAD", path)
    if text == here:
        return
    named = environments.decoded(text).champion if text else None
    says = f"version {named.version}" if named else "no champion"
    raise MlopsError(
        f"this commit is not the newest that says what {name} runs: {path} names version "
        f"{environments.champion(project, name).version} here, and {where} {says}",
        f"git pull, then mlops deploy {name}; to go back: mlops rollback {name}; mlops deploy {name} --force deploys "
        "this commit all the same",
    )
