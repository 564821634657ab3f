"""What the platform asks of DVC: running the pipeline, and moving data to and from the remote."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.base.files import write
from slipway.data import access, place, rights
from slipway.settings.project import Project


class DataVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder of data as DVC names it; `md5` is DVC's address of the content."""

    path: str
    md5: str


def dvc(project: Project, *arguments: str, quiet: bool = True) -> tuple[int, str, str]:
    """Run a DVC command; returns exit code, output and complaints. Not quiet: it prints as it goes."""
    with access.opened(project.root) as environment:
        done = programs.run(
            sys.executable, "-m", "dvc", *arguments,
            cwd=project.root, env=environment, capture=quiet, install="uv sync",
        )  # fmt: skip
    return done.code, done.output, done.errors


def repro(project: Project, force: bool = False) -> bool:
    """Run the stages whose inputs have changed; return whether all went well."""
    options: list[str] = []
    if has_pointers(project):
        # Data that only the remote has is fetched for the stages that need it.
        options.append("--pull")
        _forget_lost(project)
    options += ["--force"] if force else []
    return dvc(project, "repro", *options, quiet=False)[0] == 0


def _forget_lost(project: Project) -> None:
    """Let DVC run a stage again whose output is gone and in no remote, since Git alone keeps it.

    With `--pull` it takes such an output for one that can be fetched, and skips the stage for ever.
    """
    lock = project.root / "dvc.lock"
    if not lock.is_file():
        return
    known: dict[str, Any] = msgspec.yaml.decode(lock.read_bytes())
    kept_by_git = _uncached(project)
    stages = known.get("stages", {}).values()
    lost = [one for one in stages for out in one.get("outs", []) if _is_lost(project, out["path"], kept_by_git)]
    for stage in lost:
        stage["cmd"] = ""
    if lost:
        write(lock, msgspec.yaml.encode(known))


def _is_lost(project: Project, path: str, kept_by_git: set[str]) -> bool:
    return path in kept_by_git and not (project.root / path).exists()


def _uncached(project: Project) -> set[str]:
    """The outputs that dvc.yaml does not let DVC keep."""
    written: dict[str, Any] = msgspec.yaml.decode((project.root / "dvc.yaml").read_bytes())
    outputs = [
        one
        for stage in written.get("stages", {}).values()
        for part in ("outs", "metrics", "plots")
        for one in stage.get(part, [])
        if isinstance(one, dict)
    ]
    return {path for one in outputs for path, how in one.items() if not how.get("cache", True)}


def pull_raw(project: Project) -> None:
    """Fetch the raw data that is kept behind a `.dvc` file and not here yet."""
    pointers = [path for path in (project.root / "data").rglob("*.dvc") if not path.with_suffix("").exists()]
    if not pointers:
        return
    rights.demand(project, "the data remote did not give the raw data", "read")
    code, _, complaint = dvc(project, "pull", *map(str, pointers))
    if code:
        raise MlopsError(f"the data remote did not give the raw data: {_last(complaint)}", "see: dvc remote list")


def has_pointers(project: Project) -> bool:
    """Whether raw data is kept outside Git, behind a `.dvc` file."""
    return any((project.root / "data").rglob("*.dvc"))


def share(project: Project, other: Project) -> None:
    """Let another checkout of the same repository use the cache and the remotes of this one.

    It gets the outputs that its `dvc.lock` names, as far as the cache has them, so that no stage runs for those again.
    """
    code, output, complaint = dvc(project, "cache", "dir")
    if code:
        raise MlopsError(f"the cache of DVC cannot be found: {_last(complaint)}", "see: dvc cache dir")
    place.share(project.root, (project.root / ".dvc" / output.strip()).resolve(), other.root)
    dvc(other, "checkout", "--quiet")


def add(project: Project, path: Path) -> None:
    """Have DVC keep a file or folder, with a pointer beside it."""
    code, _, complaint = dvc(project, "add", "--quiet", str(path))
    if code:
        raise MlopsError(f"DVC did not take {path}: {_last(complaint)}", "see: dvc add -v")


def push(project: Project, *pointers: Path) -> None:
    """Send what some pointers name to the remote, or else every output that `dvc.lock` names."""
    rights.demand(project, "the data remote did not take the data", "list", "write")
    code, _, complaint = dvc(project, "push", *map(str, pointers))
    if code:
        raise MlopsError(
            f"the data remote did not take the data: {_last(complaint)}", "see: dvc remote list; then dvc push -v"
        )


def stale(project: Project) -> list[str]:
    """Stages and pointers whose files are not what `dvc.lock` says."""
    code, output, complaint = dvc(project, "status", "--json")
    if code:
        raise MlopsError(
            f"the pipeline cannot be read: {_last(complaint)}", "correct what it names, and run: mlops pipeline"
        )
    found: dict[str, Any] = msgspec.json.decode(output or "{}")
    return sorted(found)


def not_in_remote(project: Project) -> list[str]:
    """Paths that a pointer names and the remote does not have."""
    code, output, complaint = dvc(project, "data", "status", "--not-in-remote", "--json")
    if code:
        raise MlopsError(f"the data remote does not answer: {_last(complaint)}", "see: dvc remote list")
    found: dict[str, Any] = msgspec.json.decode(output or "{}")
    return sorted(found.get("not_in_remote", []))


def data_versions(project: Project) -> list[DataVersion]:
    """Every data file that the locked pipeline read or made, with its content's address."""
    lock: dict[str, Any] = msgspec.yaml.decode((project.root / "dvc.lock").read_bytes())
    seen: dict[str, str] = {}
    for stage in lock.get("stages", {}).values():
        for item in [*stage.get("deps", []), *stage.get("outs", [])]:
            if item["path"].startswith("data/") and item.get("md5"):
                seen[item["path"]] = item["md5"]
    return [DataVersion(path=path, md5=md5) for path, md5 in sorted(seen.items())]


def _last(complaint: str) -> str:
    lines = [line for line in complaint.splitlines() if line.strip() and "dvc.org/support" not in line]
    return lines[-1].removeprefix("ERROR: ") if lines else "no reason given"
