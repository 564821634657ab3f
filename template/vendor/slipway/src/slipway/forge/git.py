"""What the platform asks of Git."""

from __future__ import annotations

import base64
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from slipway.base import programs
from slipway.base.errors import MlopsError

#: How long origin may take to say what it has, and to send it.
ANSWER_S, FETCH_S = 20, 120
#: What Git asks another machine for.
REMOTE = {"clone", "fetch", "ls-remote", "push"}


def git(
    root: Path,
    *arguments: str,
    check: bool = True,
    env: dict[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    text: str | None = None,
    timeout_s: float | None = None,
) -> str:
    """Run a git command in `root` and return what it prints; refuse when it fails."""
    # Helpers for passwords read what lets them in, and only where there is something to ask for.
    needed = (*programs.CLOUDS, *programs.FORGE) if REMOTE & set(arguments) else ()
    # A question for a password that nobody sees would be waited on for ever.
    environment = programs.environment(*needed, *programs.GIT_SETTINGS) | {"GIT_TERMINAL_PROMPT": "0"} | (env or {})
    environment = programs.with_git_settings(environment, settings or {})
    given = None if text is None else text.encode()
    command, install = ("git", "-C", str(root), *arguments), "install git and run this again"
    done = programs.run(*command, env=environment, stdin=given, install=install, timeout_s=timeout_s)
    if check and done.code:
        raise MlopsError(f"git {arguments[0]} failed: {done.errors.strip()}", "mend this in Git and run this again")
    return done.output


def head(root: Path) -> str:
    """The full id of the current commit."""
    found = git(root, "rev-parse", "--verify", "--quiet", "HEAD", check=False).strip()
    if not found:
        raise MlopsError("this repository has no commit yet", "mlops setup")
    return found


def last_change(root: Path, path: str) -> str:
    """The full id of the commit that changed a file last; empty where none has."""
    return git(root, "log", "-1", "--format=%H", "--", path, check=False).strip()


def changes(root: Path) -> list[str]:
    """Paths, from `root`, of files in it that differ from the current commit, untracked ones included."""
    asked = ("status", "--porcelain", "--no-renames", "--untracked-files=all", "-z", "--", ".")
    above = prefix(root)
    return sorted(entry[3:].removeprefix(above) for entry in git(root, *asked).split("\0") if entry)


def holds(root: Path) -> bool:
    """Whether a repository has `root` in its working tree, as its top or as a folder that it does not ignore."""
    if git(root, "rev-parse", "--is-inside-work-tree", check=False).strip() != "true":
        return False
    return not (prefix(root) and git(root, "check-ignore", "--", str(root), check=False).strip())


def prefix(root: Path) -> str:
    """The path from the top of the repository to `root`, with a slash at its end; empty where they are the same."""
    return git(root, "rev-parse", "--show-prefix").rstrip("\n")


def require_clean(root: Path, why: str) -> None:
    """Refuse to go on when the working tree differs from the commit that would be named."""
    changed = changes(root)
    if changed:
        files = ", ".join(changed[:5]) + (", …" if len(changed) > 5 else "")
        raise MlopsError(
            f"cannot {why} from a tree with changes in {len(changed)} file{'s'[: len(changed) > 1]}: {files}",
            "commit them; a model must name the commit that made it",
        )


def require_committed(root: Path, path: str) -> None:
    """Refuse a file, or a folder of files, that differs from the current commit, on which a proposal stands."""
    changed = [one for one in changes(root) if one in (path, f"{path}.dvc") or one.startswith(f"{path}/")]
    if changed:
        raise MlopsError(f"{changed[0]} has changes that are in no commit", "commit them first, then run this again")


def require_whole_history(root: Path) -> None:
    """Refuse a shallow clone: the commits that models name would be missing."""
    if git(root, "rev-parse", "--is-shallow-repository").strip() == "true":
        raise MlopsError("this is a shallow clone, in which lineage ends early", "git fetch --unshallow")


def require_branch(root: Path) -> str:
    """Return the current branch; refuse a detached head, whose commits belong to nothing."""
    branch = git(root, "branch", "--show-current").strip()
    if not branch:
        raise MlopsError("the head is detached, so a commit made here would be on no branch", "git switch main")
    return branch


def at_commit(root: Path, commit: str, path: str) -> str | None:
    """The text of a file at a commit, or None if it is not there."""
    listed = git(root, "ls-tree", "--name-only", commit, "--", path, check=False).strip()
    return git(root, "show", f"{commit}:./{path}") if listed else None


def since(root: Path, path: str, holds: Callable[[str], bool], *options: str) -> tuple[str, datetime] | None:
    """The commit from which on `holds` is true of a file's text, without a break, and its time; None if it is not.

    `options` of `git log` say which commits count.
    """
    first = None
    for line in git(root, "log", "--format=%H %cI", *options, "HEAD", "--", path).splitlines():
        commit, _, at = line.partition(" ")
        text = at_commit(root, commit, path)
        if text is None or not holds(text):
            break
        first = commit, datetime.fromisoformat(at)
    return first


def export(root: Path, commit: str, folder: Path) -> None:
    """Write the files of a commit into a folder."""
    if git(root, "cat-file", "-t", commit, check=False).strip() != "commit":
        raise MlopsError(f"commit {commit[:12]} is not in this clone", "git fetch --all --unshallow")
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place) / "commit.zip"
        git(root, "archive", "--format=zip", f"--output={archive}", commit)
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)


def tree_with(root: Path, texts: Mapping[str, str]) -> str:
    """The current commit's tree with other texts, by path; the working tree and its index stay as they are."""
    with tempfile.TemporaryDirectory() as folder:
        index, above = {"GIT_INDEX_FILE": str(Path(folder) / "index")}, prefix(root)
        git(root, "read-tree", "HEAD", env=index)
        for path, text in texts.items():
            blob = git(root, "hash-object", "-w", "--stdin", text=text).strip()
            git(root, "update-index", "--add", "--cacheinfo", f"100644,{blob},{above}{path}", env=index)
        return git(root, "write-tree", env=index).strip()


def commit_tree(root: Path, branch: str, tree: str, message: str) -> None:
    """Put a whole tree on a branch of its own, as a change of the current commit."""
    signed = git(root, "config", "--type=bool", "commit.gpgSign", check=False).strip() == "true"
    commit = git(root, "commit-tree", *["-S"][: int(signed)], tree, "-p", "HEAD", "-m", message).strip()
    git(root, "update-ref", f"refs/heads/{branch}", commit)


def has_origin(root: Path) -> bool:
    """Whether this clone knows where its changes are reviewed."""
    return "origin" in git(root, "remote").split()


def ask_origin(root: Path, *arguments: str, check: bool = True, timeout_s: float | None = None) -> str:
    """Run a git command that talks to origin; a workflow's token is used where there is one, and written nowhere."""
    token, server = os.environ.get("GITHUB_TOKEN"), os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    settings = {}
    if token and git(root, "remote", "get-url", "origin").startswith(server):
        basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        settings = {f"http.{server}/.extraheader": f"AUTHORIZATION: basic {basic}"}
    return git(root, *arguments, settings=settings, check=check, timeout_s=timeout_s)


def push(root: Path, branch: str, *, over: str | None = None) -> None:
    """Send a branch to origin; where it has other commits, only if the newest of them is `over`."""
    lease = [] if over is None else [f"--force-with-lease=refs/heads/{branch}:{over}"]
    try:
        ask_origin(root, "push", "--quiet", *lease, "origin", f"refs/heads/{branch}")
    except MlopsError as refused:
        if "refusing to allow" not in refused.problem:
            raise
        # GitHub lets no workflow's own token change workflows.
        raise MlopsError(
            refused.problem, "set the secret TEMPLATE_TOKEN, a person's token with the right `workflow`: docs/ci.md"
        ) from None


def default_branch(root: Path) -> str:
    """The branch that origin shows first, whose files say what runs; without an origin, the one of this checkout."""
    told = ask_origin(root, "ls-remote", "--symref", "origin", "HEAD", check=False) if has_origin(root) else ""
    if told.startswith("ref: refs/heads/"):
        return told.removeprefix("ref: refs/heads/").split()[0]
    return git(root, "branch", "--show-current").strip() or "main"


def is_ancestor(root: Path, commit: str, later: str) -> bool:
    """Whether a commit is in the history of another, or the same; not where one of them is not in this clone."""
    return bool(later) and git(root, "merge-base", commit, later, check=False).strip() == commit


@dataclass(frozen=True)
class Newest:
    """The newest commit of a branch at origin, which this clone has then, too."""

    branch: str
    commit: str


def newest_at_origin(root: Path) -> Newest | None:
    """The newest commit of the current branch at origin, or of origin's main one where it does not have that.

    `None` where there is no origin, or nothing in it; refused where it does not answer.
    """
    if not has_origin(root):
        return None
    own = f"refs/heads/{git(root, 'branch', '--show-current').strip()}"
    listed = ask_origin(root, "ls-remote", "--symref", "origin", "HEAD", own, timeout_s=ANSWER_S)
    lines = [(left, name) for left, _, name in (line.partition("\t") for line in listed.splitlines())]
    found = {name: left for left, name in lines if not left.startswith("ref: ")}
    main = next((left.removeprefix("ref: ") for left, _ in lines if left.startswith("ref: ")), "HEAD")
    branch = own if own in found else main
    commit = found.get(branch, found.get("HEAD"))
    if commit is None:
        return None
    if git(root, "cat-file", "-t", commit, check=False).strip() != "commit":
        ask_origin(root, "fetch", "--quiet", "--no-tags", "origin", branch, timeout_s=FETCH_S)
    return Newest(branch.removeprefix("refs/heads/"), commit)


def has_branch(root: Path, branch: str) -> bool:
    """Whether a branch is here or at origin."""
    here = git(root, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", check=False)
    return bool(here) or is_at_origin(root, branch)


def is_at_origin(root: Path, branch: str) -> bool:
    """Whether origin has a branch; this clone may not have fetched it."""
    return has_origin(root) and bool(ask_origin(root, "ls-remote", "--heads", "origin", f"refs/heads/{branch}"))


def fetched(root: Path, branch: str) -> str | None:
    """The newest commit of a branch of origin, which is here afterwards; None if origin has no such branch."""
    if not is_at_origin(root, branch):
        return None
    there = f"refs/remotes/origin/{branch}"
    ask_origin(root, "fetch", "--quiet", "origin", f"+refs/heads/{branch}:{there}")
    return git(root, "rev-parse", there).strip()


def tree_of(root: Path, commit: str) -> str:
    """The id of all files of a commit: equal where no file differs."""
    return git(root, "rev-parse", f"{commit}^{{tree}}").strip()


def is_alike(root: Path, first: str, second: str, paths: list[str]) -> bool:
    """Whether two commits have the same content at `paths`; not when one of them is not in this clone."""
    listed = [git(root, "ls-tree", commit, "--", *paths, check=False) for commit in (first, second)]
    return bool(listed[0]) and listed[0] == listed[1]


def only_at(root: Path, commit: str, branch: str, kept: str) -> list[str]:
    """Commits before one of origin's branch that neither another of its branches nor `kept` holds; merges left out."""
    others = f"--exclude=origin/{branch}", "--remotes=origin"
    return git(root, "rev-list", "--no-merges", commit, "--not", kept, *others).split()


def at_last_change(root: Path, paths: list[str]) -> str:
    """The newest commit that changed one of `paths`: later commits make the same model."""
    return git(root, "log", "-1", "--format=%H", "--", *paths).strip()
