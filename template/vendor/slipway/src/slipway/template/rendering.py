"""What the template makes of a project's answers, rendered outside of the project and stored in its Git database."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import yaml

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.forge.git import git

ANSWERS = ".copier-answers.yml"
SHORT = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}
# Whoever runs this may have hooks, signatures, line ends or a sparse checkout that have no place in a temporary folder.
QUIET = {
    "core.hooksPath": os.devnull,
    "core.autocrlf": "false",
    "core.sparseCheckout": "false",
    "commit.gpgSign": "false",
}  # fmt: skip
NOBODY = {"NAME": "mlops", "EMAIL": "mlops@localhost"}


@dataclass(frozen=True)
class Record:
    """What a commit says of the template that it was made from: its address, its version, and the answers."""

    text: str
    source: str
    version: str
    answers: dict[str, object]

    @property
    def address(self) -> str:
        """The template's address as Git reads it; Copier knows short ones."""
        source = self.source.removeprefix("git+")
        start = source[:3]
        return SHORT[start] + source[3:] if start in SHORT else source

    def moved(self, source: str | None) -> Record:
        """The same of a template that is elsewhere now."""
        if source is None:
            return self
        answers = self.answers | {"_src_path": source}
        return Record(yaml.safe_dump(answers, allow_unicode=True, sort_keys=False), source, self.version, answers)


def record_of(root: Path) -> Record:
    """What the last commit says of its template. Raises `MlopsError` where that is nothing, or cannot be read."""
    return _read(git(root, "show", f"HEAD:./{ANSWERS}", check=False))


def record_in(folder: Path) -> Record:
    """What a rendered project says of its template."""
    return _read((folder / ANSWERS).read_text("utf-8"))


def _read(text: str) -> Record:
    restore = f"restore it: git log --patch -- {ANSWERS}"
    try:
        answers = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise MlopsError(f"{ANSWERS} of the last commit cannot be read as YAML: {said}", restore) from None
    if not isinstance(answers, dict) or not all(
        isinstance(answers.get(key), str) and answers[key] for key in ("_commit", "_src_path")
    ):
        raise MlopsError(f"the last commit has no {ANSWERS} that names a template and its version", restore)
    return Record(text, answers["_src_path"], answers["_commit"], answers)


@contextmanager
def rendered(root: Path, record: Record) -> Iterator[Path]:
    """A repository with nothing but what a version makes of its answers."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / root.name
        folder.mkdir()
        (folder / ANSWERS).write_text(record.text, "utf-8")
        run_copier(root, record, "recopy", "--overwrite", "--vcs-ref=:current:", str(folder))
        git(folder, "init", "--quiet", settings=QUIET)
        save(folder, "The recorded version")
        yield folder


def save(folder: Path, message: str) -> None:
    """Commit all files of a temporary repository."""
    who = ("-c", f"user.name={NOBODY['NAME']}", "-c", f"user.email={NOBODY['EMAIL']}")
    git(folder, "add", "--all", "--force", settings=QUIET)
    git(folder, *who, "commit", "--quiet", "--allow-empty", "-m", message, settings=QUIET)


def store(root: Path, folder: Path, message: str, parent: str | None = None) -> str:
    """Store the files of a folder as a commit that is on no branch, at the project's place in its repository."""
    place = git(root, "rev-parse", "--show-prefix").strip()
    database = git(root, "rev-parse", "--absolute-git-dir").strip()
    with index_of(root) as index:
        where = (f"--git-dir={database}", "--work-tree=.")
        git(folder, *where, "add", "--all", "--force", env=index, settings=QUIET)
        tree = git(root, "write-tree", env=index).strip()
        if place:
            git(root, "read-tree", "--empty", env=index, settings=QUIET)
            git(root, "read-tree", f"--prefix={place}", tree, env=index, settings=QUIET)
            tree = git(root, "write-tree", env=index).strip()
    return commit_of(root, tree, message, parent)


@contextmanager
def index_of(root: Path, commit: str | None = None) -> Iterator[dict[str, str]]:
    """The environment in which Git has an index of its own: an empty one, or that of a commit."""
    with tempfile.TemporaryDirectory() as made:
        index = {"GIT_INDEX_FILE": str(Path(made) / "index")}
        if commit:
            git(root, "read-tree", commit, env=index, settings=QUIET)
        yield index


def commit_of(root: Path, tree: str, message: str, parent: str | None = None) -> str:
    """Make a commit of a tree that is on no branch, in nobody's name where Git does not know who this is."""
    known = git(root, "var", "GIT_COMMITTER_IDENT", check=False) and git(root, "var", "GIT_AUTHOR_IDENT", check=False)
    who = {f"GIT_{role}_{key}": text for role in ("AUTHOR", "COMMITTER") for key, text in NOBODY.items()}
    parents = ["-p", parent] if parent else []
    return git(root, "commit-tree", tree, *parents, "-m", message, env={} if known else who).strip()


def keep(root: Path, record: Record, commit: str) -> None:
    """Remember a rendering, for when the template cannot be reached; where that fails, nothing else does."""
    git(root, "update-ref", _kept_at(record), commit, check=False)


def kept(root: Path, record: Record) -> str:
    """The rendering that is remembered for these answers; empty when there is none."""
    return git(root, "rev-parse", "--verify", "--quiet", _kept_at(record), check=False).strip()


def _kept_at(record: Record) -> str:
    return f"refs/slipway/{sha256(record.text.encode()).hexdigest()[:16]}"


def newest(root: Path, record: Record) -> str:
    """The newest released version; trial versions, like v2.0.0rc1, are taken by name only."""
    tags = _told(root, record, "--tags", "--refs").split()[1::2]
    names = (tag.removeprefix("refs/tags/") for tag in tags)
    released = [name for name in names if re.fullmatch(r"v?\d+\.\d+\.\d+", name)]
    return max([record.version, *released], key=number)


def _told(root: Path, record: Record, *what: str) -> str:
    """Ask the template's repository for its branches or tags; refused with a way on where it does not answer."""
    try:
        return git(root, "ls-remote", *what, record.address)
    except MlopsError as error:
        said = next((line for line in error.problem.splitlines() if "fatal: " in line), error.problem)
        raise MlopsError(
            f"the template at {record.source} does not answer: {said.partition('fatal: ')[2] or said}",
            "see whether you are online and may read it; where it has moved: mlops template update --from ADDRESS",
        ) from None


def number(text: str) -> tuple[int, ...]:
    """The first version number in a text, to be compared; empty where there is none."""
    found = re.search(r"\d+\.\d+\.\d+", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def changelog(root: Path, record: Record, version: str) -> str:
    """The template's changelog as of a version; empty where it has none."""
    with tempfile.TemporaryDirectory() as folder:
        what = ("--quiet", "--no-checkout", "--depth=1", f"--branch={version}")
        git(root, "clone", *what, record.address, folder, settings=QUIET, check=False)
        return git(Path(folder), "show", "HEAD:CHANGELOG.md", check=False)


def run_copier(root: Path, record: Record, command: str, *arguments: str) -> None:
    """Run Copier on a temporary folder, with no credentials but those of the forge that may hold the template."""
    kept = programs.environment(*programs.FORGE, *programs.GIT_SETTINGS) | {"GIT_TERMINAL_PROMPT": "0"}
    environment = programs.with_git_settings(kept, QUIET)
    how = (sys.executable, "-m", "copier", command, "--quiet", "--defaults", *arguments)
    done = programs.run(*how, cwd=root, env=environment, install="uv sync")
    if done.code == 4:
        raise MlopsError("this update runs scripts of the template, to carry files along that it moves",
                         "read its hooks/, then run this again with --trust")  # fmt: skip
    if done.code:
        _told(root, record)
        raise MlopsError(
            f"copier {command} says: {done.last_words(1) or 'nothing'}",
            "mend this; nothing has been changed here. Is it installed? uv sync",
        )
