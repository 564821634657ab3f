"""From a fresh copy or clone to a checkout that is ready to work: `mlops setup`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.data import place
from slipway.forge import git
from slipway.settings.project import Project
from slipway.training.tracking import store_uri


def setup(project: Project) -> Iterator[str]:
    """Make a checkout ready, step by step; each step is said, and may be run again.

    Raises `MlopsError` when Git does not know who commits.
    """
    root = project.root
    store_uri(project)  # refused now, where the folder cannot hold it
    if not git.holds(root):
        git.git(root, "init", "--quiet", "--initial-branch", "main")
        yield "started a Git repository on branch main"
    if above := git.prefix(root):
        yield f"this project is {above} in a larger repository: see vendor/slipway/docs/monorepo.md"
    yield _hooks(root)
    folder = place.local_folder(root)
    if folder is not None and not folder.is_dir():
        folder.mkdir(parents=True)
        yield f"made the data remote, the folder {folder}"
    project.state.mkdir(parents=True, exist_ok=True)
    if not git.git(root, "rev-parse", "--verify", "--quiet", "HEAD", check=False):
        _first_commit(root)
        yield "made the first commit"
    elif git.prefix(root) and not git.git(root, "ls-files", "--", ".").strip():
        yield "the files of this project are in no commit yet: git add . && git commit"
    yield from unheard(root)


def unheard(root: Path) -> Iterator[str]:
    """Say which workflows a merge would never start, as they wait for branches of other names."""
    branch = git.default_branch(root)
    for name in ("train.yml", "deploy.yml"):
        path = root / ".github" / "workflows" / name
        # A loader that leaves `on` a word; YAML's own takes it for yes.
        found = yaml.load(path.read_text("utf-8"), Loader=yaml.BaseLoader) if path.is_file() else {}  # noqa: S506
        branches = found.get("on", {}).get("push", {}).get("branches", [branch])
        if branch not in branches:
            yield f"a merge starts no {name}: it waits for {', '.join(branches)}; add {branch} to its `branches`"


def _hooks(root: Path) -> str:
    above = git.prefix(root)
    hook = root / git.git(root, "rev-parse", "--git-path", "hooks/pre-commit").strip()
    if above and hook.is_file() and f"--cd={above.rstrip('/')}" not in hook.read_text("utf-8", "replace"):
        return "the larger repository has commit hooks of its own, which stay as they are"
    prek, environment = str(Path(sys.executable).parent / "prek"), programs.environment() | {"NO_COLOR": "1"}
    done = programs.run(prek, "install", "--quiet", cwd=root, env=environment, install="uv sync")
    if done.code:
        return f"the commit hooks are not installed: {(done.errors or done.output).strip()}"
    return "installed the commit hooks"


def _first_commit(root: Path) -> None:
    if not git.git(root, "config", "user.email", check=False).strip():
        raise MlopsError(
            "Git does not know who you are, so it cannot make the first commit",
            'run: git config --global user.name "Your Name" && git config --global user.email you@example.com',
        )
    git.git(root, "add", "--all", "--", ".")
    git.git(root, "commit", "--quiet", "--no-verify", "-m", "Start the project")
