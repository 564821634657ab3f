"""The template as a user meets it: a tagged commit that Copier renders into a folder."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copier
from questions import questions

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Template:
    """A Git repository that holds the work tree, changes included, as one commit with a version tag."""

    path: Path
    version: str

    def render(self, destination: Path, version: str | None = None, **answers: str) -> Path:
        """Render a project of the newest or another version with these answers and the defaults for all others."""
        # Copier passes over a key it does not know, so that a misspelt one would test nothing.
        unknown = answers.keys() - {question.key for question in questions()}
        if unknown:
            raise KeyError(f"copier.yml has no question {', '.join(sorted(unknown))}")
        copier.run_copy(str(self.path), destination, data=answers, vcs_ref=version, defaults=True, quiet=True)
        return destination

    def release(self, version: str, change: Callable[[Path], Any]) -> "Template":
        """Change the template's files, commit them and tag the commit with this version."""
        change(self.path)
        commit(self.path, f"Release {version}")
        git(self.path, "tag", version)
        return Template(self.path, version)


def snapshot(destination: Path, *, platform: bool = True) -> Template:
    """Copy the work tree into a repository of its own. The tags of this one may not have travelled with a clone.

    Without the platform's modules, which are the same in every project, a project is rendered in half the time.
    """
    destination.mkdir(parents=True, exist_ok=True)
    git(destination, "init", "--quiet", "--initial-branch=main")
    return _add_work_tree(destination, platform=platform)


def history(destination: Path, *, platform: bool = True) -> Template:
    """Make a repository of every release and, as the newest version, the work tree; see `snapshot`."""
    destination.mkdir(parents=True, exist_ok=True)
    git(destination, "init", "--quiet", "--initial-branch=main")
    for version, released in releases().items():
        _empty(destination)
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", released], check=True, capture_output=True).stdout
        # The first Pythons 3.11 cannot unpack an archive safely by themselves.
        subprocess.run(["tar", "--extract", "--directory", str(destination)], input=archive, check=True)
        commit(destination, f"Release {version}")
        git(destination, "tag", version)
    _empty(destination)
    return _add_work_tree(destination, platform=platform)


def releases() -> dict[str, str]:
    """Return the commit of each released version, the oldest first."""
    return tomllib.loads((ROOT / "releases.toml").read_text(encoding="utf-8"))


def _empty(repository: Path) -> None:
    git(repository, "rm", "-r", "--quiet", "--ignore-unmatch", ".")


def _add_work_tree(destination: Path, *, platform: bool) -> Template:
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    for name in filter(None, listed):
        source, copy = ROOT / name, destination / name
        if source.is_file() and (platform or not name.startswith("template/vendor/slipway/src/")):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
    commit(destination, "The work tree")
    version = newest_version((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    git(destination, "tag", version)
    return Template(destination, version)


def newest_version(changelog: str) -> str:
    """Return the tag that belongs to the topmost version of the changelog."""
    found = re.search(r"^## \[(\d+\.\d+\.\d+)\]", changelog, flags=re.MULTILINE)
    if found is None:
        raise ValueError("CHANGELOG.md has no heading like ## [0.1.0]")
    return f"v{found[1]}"


def commit(repository: Path, message: str) -> None:
    """Commit everything in the repository."""
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", message)


def git(repository: Path, *arguments: str) -> str:
    """Run git in the repository and return what it prints."""
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout


def files(project: Path) -> dict[str, Path]:
    """Return each file of a project by its path inside it, as POSIX writes it."""
    found = (path for path in project.rglob("*") if path.is_file())
    named = {path.relative_to(project).as_posix(): path for path in found}
    return {name: path for name, path in sorted(named.items()) if not name.startswith(".git/")}
