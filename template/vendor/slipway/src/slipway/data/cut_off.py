"""What a run that was killed leaves half written: DVC writes its own files in place."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from slipway.base.errors import MlopsError
from slipway.base.files import Log, write
from slipway.forge import git
from slipway.settings.project import Project

#: Which processes of DVC read and write what; those that run no more it strikes out by itself.
_LOCKS = Path(".dvc", "tmp", "rwlock")
_LOCK = "dvc.lock"
#: How Git marks one. Not written out, as whoever looks for such lines would find this file.
_CONFLICT = b"<" * 7 + b" "


def mend(project: Project, log: Log) -> None:
    """Make the files of a killed run readable again, and say so; the caller sees to it that no other one runs.

    `dvc.lock` becomes that of the last commit. Refused is one in which Git has marked a conflict, which is no half.
    """
    locks, lock = project.root / _LOCKS, project.root / _LOCK
    if locks.is_file() and not _is_json(locks):
        locks.unlink()
        log(f"mind: {_LOCKS.as_posix()} was cut off, as a killed run leaves it; it is gone, and DVC writes it anew")
    if not lock.is_file() or _is_whole(lock):
        return
    committed = git.at_commit(project.root, "HEAD", _LOCK)
    if committed is not None and committed.encode() == lock.read_bytes():
        return  # nobody cut it off, and DVC says what is wrong with it
    if any(line.startswith(_CONFLICT) for line in lock.read_bytes().splitlines()):
        raise MlopsError(f"{_LOCK} has the marks of a conflict", f"git checkout --ours {_LOCK}, then: mlops pipeline")
    if committed is None:
        lock.unlink()
    else:
        write(lock, committed.encode())
    state = "gone, as no commit has one" if committed is None else "that of the last commit again"
    log(f"mind: {_LOCK} was cut off, as a killed run leaves it; it is {state}")


def require_whole(project: Project) -> None:
    """Refuse a `dvc.lock` that cannot be read; that there is none is no fault."""
    lock = project.root / _LOCK
    if lock.is_file() and not _is_whole(lock):
        raise MlopsError(f"{_LOCK} cannot be read, as after a run that was killed", "mlops pipeline")


def _is_whole(lock: Path) -> bool:
    """Whether DVC can read it, as it can where it was cut off after a whole entry."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(lock.read_bytes()))
    except (yaml.YAMLError, Invalid):
        return False
    return True


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except ValueError:
        return False
