"""Carry a team's edits along when the template renames a file.

`copier update` knows no renames: it deletes the old file with whatever the team wrote into it and adds the new one.
A versioned migration calls this script after the update, in the project's folder, with the two paths:

    _migrations:
      - version: v0.2.0
        command: ["{{ _copier_python }}", "{{ _copier_conf.src_path }}/hooks/move.py", "old.yaml", "new.yaml"]

It merges three texts into the new file: the old file as the old version of the template rendered it, the old file as
the team committed it, and the new file. Only the standard library and the Copier that runs the update are used.
"""

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ANSWERS_FILE = ".copier-answers.yml"


class Problem(Exception):  # noqa: N818 - it is told to a person, as a problem and a next step
    """What keeps the edits from being carried along."""


def main(old: str, new: str) -> None:
    """Merge what the team wrote into `old` with what is now in `new`."""
    target = Path(new)
    if not target.is_file():
        raise Problem(f"this version of the template renders no {new}")
    if not _git_succeeds("cat-file", "-e", f"HEAD:./{old}"):
        # The team had deleted the file under its old name. It stays deleted under the new one.
        target.unlink()
        return
    theirs, edited = target.read_bytes(), _git("show", f"HEAD:./{old}")
    base = _rendered_before(old)
    if edited != base:
        _merge(target, base=base, edited=edited, theirs=theirs)


def _rendered_before(path: str) -> bytes:
    """Return the file as the version before this update rendered it from the answers of that time."""
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
        return (project / path).read_bytes()


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
    try:
        main(*sys.argv[1:])
    except Problem as problem:
        print(f"error: {sys.argv[1]} could not be carried over to {sys.argv[2]}: {problem}", file=sys.stderr)
        print(" next: git reset --hard, which takes the project back to before the update", file=sys.stderr)
        sys.exit(1)
