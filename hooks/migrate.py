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
Only the standard library and the Copier that runs the update are used.
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

ANSWERS_FILE = ".copier-answers.yml"


class Problem(Exception):  # noqa: N818 - it is told to a person, as a problem and a next step
    """What keeps the work from being carried along."""


def move(old: str, new: str) -> None:
    """Merge what the team wrote into `old`, a file or all files of a folder, with what is now in `new`."""
    with _rendered_before() as before:
        names = [path.relative_to(before) for path in _files(before / old)]
        for name in names:
            target = Path(new) / name.relative_to(old)
            _move_file(name.as_posix(), target, base=(before / name).read_bytes())


def drop(path: str) -> None:
    """Keep a file that the template no longer has where the team has edited it, and say so."""
    with _rendered_before() as before:
        for name in (found.relative_to(before) for found in _files(before / path)):
            text = _committed(name.as_posix())
            if text is not None and text != (before / name).read_bytes():
                _git("checkout", "HEAD", "--", f"./{name.as_posix()}")
                print(f"kept {name.as_posix()}: you have edited it, and the template no longer has it", file=sys.stderr)


def answer(old: str, new: str) -> None:
    """Give the question `new` the answer that `old` had. Runs before the update, so that Copier reads it."""
    path = Path(ANSWERS_FILE)
    text = path.read_text(encoding="utf-8")
    if not re.search(rf"^{re.escape(new)}:", text, flags=re.MULTILINE):
        path.write_text(re.sub(rf"^{re.escape(old)}:", f"{new}:", text, flags=re.MULTILINE), encoding="utf-8")


def _move_file(old: str, target: Path, *, base: bytes) -> None:
    if not target.is_file():
        raise Problem(f"this version of the template renders no {target.as_posix()}")
    edited = _committed(old)
    if edited is None:
        # The team had deleted the file under its old name. It stays deleted under the new one.
        target.unlink()
    elif edited != base:
        _merge(target, base=base, edited=edited, theirs=target.read_bytes())


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(found for found in path.rglob("*") if found.is_file())


def _committed(path: str) -> bytes | None:
    """Return a file as the team committed it, or None where there is none."""
    return _git("show", f"HEAD:./{path}") if _git_succeeds("cat-file", "-e", f"HEAD:./{path}") else None


@contextmanager
def _rendered_before() -> Iterator[Path]:
    """The project as the version before this update rendered it from the answers of that time."""
    template, version = Path(__file__).resolve().parents[1], os.environ["VERSION_FROM"]
    with tempfile.TemporaryDirectory() as folder:
        source, project, answers = (Path(folder) / name for name in ("template", "project", "answers.yml"))
        # An archive, not a clone: it works from any state of Copier's own copy of the template.
        with zipfile.ZipFile(io.BytesIO(_git("archive", "--format=zip", version, folder=template))) as archive:
            archive.extractall(source)
        # Keys with an underscore are Copier's notes about itself, not answers.
        recorded = _git("show", f"HEAD:./{ANSWERS_FILE}").splitlines(keepends=True)
        answers.write_bytes(b"".join(line for line in recorded if not line.startswith(b"_")))
        command = [sys.executable, "-m", "copier", "copy", "--quiet", "--defaults", "--skip-tasks"]
        _run([*command, "--data-file", str(answers), str(source), str(project)])
        yield project


def _merge(target: Path, *, base: bytes, edited: bytes, theirs: bytes) -> None:
    """Write the merged text; where both sides changed a line, write both and tell Git, as Copier does."""
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
        raise Problem(f"git cannot merge {target}: {done.stderr.decode().strip()}")
    target.write_bytes(done.stdout)
    if done.returncode:
        _mark_unmerged(target, base=base, edited=edited, theirs=theirs)


def _mark_unmerged(target: Path, *, base: bytes, edited: bytes, theirs: bytes) -> None:
    mode = "100755" if os.access(target, os.X_OK) else "100644"
    path = _git("rev-parse", "--show-prefix").decode().strip() + target.as_posix()
    entries = [f"0 {'0' * 40}\t{path}"]
    for stage, text in enumerate((base, edited, theirs), start=1):
        digest = _git("hash-object", "-w", "--stdin", given=text).decode().strip()
        entries.append(f"{mode} {digest} {stage}\t{path}")
    _git("update-index", "--index-info", given="\n".join(entries).encode() + b"\n")


def _git(*arguments: str, folder: Path | None = None, given: bytes | None = None) -> bytes:
    return _run(["git", *arguments], folder=folder, given=given)


def _git_succeeds(*arguments: str) -> bool:
    return subprocess.run(["git", *arguments], capture_output=True, check=False).returncode == 0


def _run(command: list[str], *, folder: Path | None = None, given: bytes | None = None) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False, cwd=folder, input=given)
    if done.returncode:
        raise Problem(f"{' '.join(command[:3])} says: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"move": move, "drop": drop, "answer": answer}
    try:
        commands[sys.argv[1]](*sys.argv[2:])
    except Problem as problem:
        print(f"error: {' '.join(sys.argv[1:])} could not be done: {problem}", file=sys.stderr)
        print(" next: git reset --hard, which takes the project back to before the update", file=sys.stderr)
        sys.exit(1)
