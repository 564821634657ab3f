"""Making an environment match its file, on the project's target: a process of this machine, or containers."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from . import environments, git, native
from .bundle import Bundle
from .errors import MlopsError
from .project import Environment, Project, Release
from .registry import Registry, Version, cached

#: What decides how a model answers, besides its bundle: code, dependencies, and their lock.
CODE = ("src", "pyproject.toml", "uv.lock")


class Target(Protocol):
    """What runs models: `native`, or the module that is named like the project's target."""

    def switch(self, project: Project, run: native.Run, *, say: native.Say) -> None:
        """Let `run` answer the requests of its environment."""

    def status(self, project: Project, environment: str) -> Running | None:
        """What runs in an environment; `None` when nothing does."""

    def stop(self, project: Project, environment: str) -> bool:
        """Stop an environment; returns whether anything was running."""


class Running(Protocol):
    """What is known of whatever runs."""

    @property
    def version(self) -> int | None:
        """The version that answers."""

    @property
    def digest(self) -> str:
        """The digest of the bundle that answers."""


def target(project: Project) -> Target:
    """The target of this project. Only a project that uses containers has the module for them."""
    return cast(Target, import_module(f".{project.tool.target}", __package__))


def deploy(project: Project, name: str, say: native.Say = print) -> Release:
    """Serve the champion that the environment's file names; returns it. Safe to run again.

    The new version proves itself before it gets a request, the old one answers until then
    and stays if the new one fails. The alias in the registry follows what runs.
    """
    with project.only_one(f"deploy {name}"):
        environments.require_committed(project, name)
        wanted = environments.load(project, name)
        release = environments.champion(project, name)
        bundle, source = _bundle(project, release)
        code, python = _code(project, release, say)
        target(project).switch(project, _run(wanted, name, release, bundle, source, code, python), say=say)
        _smoke_test(wanted, release, bundle)
        _move_alias(project, wanted.alias, release, say)
    return release


def _run(
    wanted: Environment, name: str, release: Release, bundle: Bundle, source: str, code: str, python: str
) -> native.Run:
    return native.Run(
        environment=name,
        version=release.version,
        digest=release.digest,
        commit=release.commit,
        bundle=str(bundle.path),
        code=code,
        python=python,
        host=wanted.serve.host,
        port=wanted.serve.port,
        source=source,
        image=release.image or "",
    )


def _code(project: Project, release: Release, say: native.Say) -> tuple[str, str]:
    """Folder and interpreter for a process; an image brings its own."""
    if project.tool.target != "native":
        return "", ""
    code, python = release_code(project, release.commit, say)
    return str(code), str(python)


def _bundle(project: Project, release: Release) -> tuple[Bundle, str]:
    """The release's bundle, verified against the digest that was reviewed, and where it was found."""
    local = cached(project, release.digest)
    if local:
        return local, "cache"
    registry = Registry.open(project)
    found = registry.find(str(release.version))
    promised = Version(found.number, release.digest, found.commit, found.run_id, found.source)
    return registry.fetch(promised), "registry"


def release_code(project: Project, commit: str, say: native.Say) -> tuple[Path, Path]:
    """Folder and interpreter that serve a model: the code of the commit that trained it.

    That is this checkout when its code is the same, else a checkout of its own in `.mlops/releases`,
    with an environment made from that commit's lock.
    """
    if not git.git(project.root, "cat-file", "-t", commit, check=False).strip() == "commit":
        raise MlopsError(
            f"commit {commit[:12]}, which made this model, is not in this clone", "git fetch --unshallow --all"
        )
    changed = git.git(project.root, "diff", "--name-only", commit, "--", *CODE)
    untracked = git.git(project.root, "ls-files", "--others", "--exclude-standard", "--", *CODE)
    if not changed.strip() and not untracked.strip():
        return project.root, Path(sys.executable)
    folder = project.state / "releases" / commit[:12]
    python = folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.is_file():
        say(f"the code has changed since commit {commit[:12]}: preparing that commit's own environment")
        git.git(project.root, "worktree", "prune")
        shutil.rmtree(folder, ignore_errors=True)
        git.git(project.root, "worktree", "add", "--force", "--detach", str(folder), commit)
        _sync(folder)
    return folder, python


def _sync(folder: Path) -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        raise MlopsError(
            "uv is not on PATH, so the release's environment cannot be made",
            "install uv, or run this through: uv run mlops",
        )
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(  # noqa: S603 - fixed program, arguments without a shell
        [uv, "sync", "--frozen", "--no-default-groups", "--quiet"],
        cwd=folder, env=kept, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise MlopsError(
            f"the release's environment could not be made: {done.stderr.strip()[-300:]}", "mend this and deploy again"
        )


def _smoke_test(wanted: Environment, release: Release, bundle: Bundle) -> None:
    """Ask what was deployed a question with a known answer, over the same address as clients do."""
    row = json.dumps(bundle.golden.rows[0])
    deadline = time.monotonic() + 15
    answered: dict[str, Any] = {}
    while time.monotonic() < deadline:
        answered = ask(wanted.serve.host, wanted.serve.port, "POST", "/predict", row)
        if answered.get("model", {}).get("digest") == release.digest:
            return
        time.sleep(0.1)  # the old version may answer until it has let go of the address
    raise MlopsError(
        f"the deployed server does not answer with version {release.version}: {answered}",
        "read its log: .mlops/environments/<environment>/server.log",
    )


def ask(host: str, port: int, method: str, path: str, body: str | None = None) -> dict[str, Any]:
    """Send one request to a server of this project and return its JSON answer."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, ValueError) as error:
        raise MlopsError(
            f"no answer from http://{host}:{port}{path}: {error}", "is it deployed? see: mlops status"
        ) from error
    finally:
        connection.close()
    return answer


def _move_alias(project: Project, alias: str, release: Release, say: native.Say) -> None:
    try:
        Registry.open(project).set_alias(alias, release.version)
    except MlopsError as away:
        # What runs is right; only its mirror is late. A rollback must not depend on the registry.
        say(f"the alias {alias} was not moved: {away.problem}; deploy again when the registry is back")
