"""Carry a team's work along when the template renames, moves or drops a file, or renames an answer.

`copier update` knows no renames: it deletes the old file with whatever the team wrote into it and adds the new one.
Versioned migrations call this script in the project's folder, with one of three commands:

    _migrations:
      - version: v0.3.0
        command: ["{{ _copier_python }}", "{{ _copier_conf.src_path }}/hooks/migrate.py", move, old.yaml, new.yaml]
      - version: v0.3.0
        command: ["{{ _copier_python }}", "{{ _copier_conf.src_path }}/hooks/migrate.py", drop, old.yaml]
      - version: v0.3.0
        when: "{{ _stage == 'before' }}"
        command: ["{{ _copier_python }}", "{{ _copier_conf.src_path }}/hooks/migrate.py", answer, old_key, new_key]

`move` takes a file or a folder and merges three texts into the new file: the old one as the old version rendered it,
the old one as the team committed it, and the new one. `drop` keeps a file that the team has edited, and says so.
`answer` carries a value over to a question's new name.
A version that moves more than a few files has a script of its own beside this one, which renders once for all of them.
Only the Copier that runs the update, and what it needs itself, is used.
"""

import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import copier
import yaml

ANSWERS_FILE = ".copier-answers.yml"


class Problem(Exception):  # noqa: N818 - it is told to a person, as a problem and a next step
    """What keeps the work from being carried along."""


def move(old: str, new: str) -> None:
    """Merge what the team wrote into `old`, a file or all files of a folder, with what is now in `new`."""
    with rendered_before() as before:
        names = [path.relative_to(before) for path in _files(before / old)]
        for name in names:
            target = Path(new) / name.relative_to(old)
            _move_file(name.as_posix(), target, base=(before / name).read_bytes())


def drop(path: str) -> None:
    """Keep a file that the template no longer has where the team has edited it, and say so."""
    with rendered_before() as before:
        for found in _files(before / path):
            drop_file(found.relative_to(before).as_posix(), base=found.read_bytes())


def answer(old: str, new: str) -> None:
    """Give the question `new` the answer that `old` had. Runs before the update, so that Copier reads it."""
    path = Path(ANSWERS_FILE)
    text = path.read_text(encoding="utf-8")
    if not re.search(rf"^{re.escape(new)}:", text, flags=re.MULTILINE):
        path.write_text(re.sub(rf"^{re.escape(old)}:", f"{new}:", text, flags=re.MULTILINE), encoding="utf-8")


def drop_file(path: str, *, base: bytes) -> None:
    """Keep one file that the template no longer has where the team has edited it, and say so."""
    text = committed(path)
    if text is not None and text != base:
        git("checkout", "HEAD", "--", f"./{path}")
        print(f"kept {path}: you have edited it, and the template no longer has it", file=sys.stderr)


def _move_file(old: str, target: Path, *, base: bytes) -> None:
    if not target.is_file():
        raise Problem(f"this version of the template renders no {target.as_posix()}")
    edited = committed(old)
    if edited is None:
        # The team had deleted the file under its old name. It stays deleted under the new one.
        target.unlink()
    elif edited != base:
        write_merged(target, base=base, edited=edited, theirs=target.read_bytes())


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(found for found in path.rglob("*") if found.is_file())


def committed(path: str) -> bytes | None:
    """Return a file as the team committed it, or None where there is none."""
    return git("show", f"HEAD:./{path}") if _git_succeeds("cat-file", "-e", f"HEAD:./{path}") else None


def edited(before: Path, names: list[str]) -> dict[str, bytes | None]:
    """Of files that the version before had, those that the team has edited, and None for those that it has deleted."""
    had = [name for name in names if (before / name).is_file()]
    listed = (entry.split("\t", 1) for entry in git("ls-tree", "-r", "-z", "HEAD").decode().split("\0") if entry)
    digests = {name: about.split()[2] for about, name in listed}
    paths = "".join(f"{before / name}\n" for name in had).encode()
    made = git("hash-object", "--no-filters", "--stdin-paths", given=paths).decode().split()
    differ = [name for name, digest in zip(had, made, strict=True) if digests.get(name) != digest]
    return {name: committed(name) for name in differ}


@contextmanager
def rendered_before() -> Iterator[Path]:
    """The project as the version before this update rendered it from the answers of that time."""
    with _rendered(os.environ["VERSION_FROM"], git("show", f"HEAD:./{ANSWERS_FILE}")) as project:
        yield project


@contextmanager
def rendered_now(*names: str) -> Iterator[Path]:
    """Some files and folders of the root as this version renders them: Copier leaves the team's own as they are."""
    with _rendered("HEAD", Path(ANSWERS_FILE).read_bytes(), names) as project:
        yield project


@contextmanager
def _rendered(version: str, recorded: bytes, names: tuple[str, ...] = ()) -> Iterator[Path]:
    template = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        source, project = Path(folder) / "template", Path(folder) / "project"
        # An archive, not a clone: it works from any state of Copier's own copy of the template.
        with zipfile.ZipFile(io.BytesIO(git("archive", "--format=zip", version, folder=template))) as archive:
            archive.extractall(source, [name for name in archive.namelist() if _is_rendered(name, names)])
        # Keys with an underscore are Copier's notes about itself, not answers.
        answers = {key: value for key, value in yaml.safe_load(recorded).items() if not key.startswith("_")}
        copier.run_copy(str(source), project, data=answers, defaults=True, quiet=True, skip_tasks=True)
        yield project


def _is_rendered(name: str, wanted: tuple[str, ...]) -> bool:
    """Whether a file of the template's repository is needed to render all or some names of a project's root."""
    first, _, rest = name.partition("/")
    if first == "template" and wanted:
        return rest.partition("/")[0].removesuffix(".jinja") in wanted
    return first not in ("benchmarks", "docs", "tests")


def write_merged(target: Path, *, base: bytes, edited: bytes, theirs: bytes) -> None:
    """Write the merged text; where both sides changed a line, write both and tell Git, as Copier does."""
    text, conflicts = merged(base=base, edited=edited, theirs=theirs)
    target.write_bytes(text)
    if conflicts:
        _mark_unmerged(target, base=base, edited=edited, theirs=theirs)


def merged(*, base: bytes, edited: bytes, theirs: bytes) -> tuple[bytes, int]:
    """Return the text in which both sides' changes are, and in how many places both changed a line."""
    versions = {"before updating": edited, "last update": base, "after updating": theirs}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / label for label in versions]
        for path, text in zip(paths, versions.values(), strict=True):
            path.write_bytes(text)
        labels = [part for label in versions for part in ("-L", label)]
        done = subprocess.run(
            ["git", "merge-file", "--stdout", *labels, *map(str, paths)], capture_output=True, check=False
        )
    # The exit status counts the conflicts; above 127 it is an error.
    if done.returncode > 127:
        raise Problem(f"git cannot merge: {done.stderr.decode().strip()}")
    return done.stdout, done.returncode


def _mark_unmerged(target: Path, *, base: bytes, edited: bytes, theirs: bytes) -> None:
    mode = "100755" if os.access(target, os.X_OK) else "100644"
    path = git("rev-parse", "--show-prefix").decode().strip() + target.as_posix()
    entries = [f"0 {'0' * 40}\t{path}"]
    for stage, text in enumerate((base, edited, theirs), start=1):
        digest = git("hash-object", "-w", "--stdin", given=text).decode().strip()
        entries.append(f"{mode} {digest} {stage}\t{path}")
    git("update-index", "--index-info", given="\n".join(entries).encode() + b"\n")


def git(*arguments: str, folder: Path | None = None, given: bytes | None = None) -> bytes:
    """Run Git and return what it prints."""
    return _run(["git", *arguments], folder=folder, given=given)


def _git_succeeds(*arguments: str) -> bool:
    return subprocess.run(["git", *arguments], capture_output=True, check=False).returncode == 0


def _run(command: list[str], *, folder: Path | None = None, given: bytes | None = None) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False, cwd=folder, input=given)
    if done.returncode:
        raise Problem(f"{' '.join(command[:3])} says: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def main(commands: dict[str, Callable[..., None]], arguments: list[str]) -> None:
    """Run a command, and say of a problem what to do next."""
    try:
        # Inside of one of Git's own hooks, Git would look elsewhere than in the project's folder.
        for name in git("rev-parse", "--local-env-vars").decode().split():
            os.environ.pop(name, None)
        commands[arguments[0]](*arguments[1:])
    except Problem as problem:
        print(f"error: {' '.join(arguments)} could not be done: {problem}", file=sys.stderr)
        print(" next: git reset --hard, which takes the project back to before the update", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main({"move": move, "drop": drop, "answer": answer}, sys.argv[1:])
