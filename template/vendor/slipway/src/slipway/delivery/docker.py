"""What the platform asks of Docker."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.base.programs import Done
from slipway.settings.project import Project

INSTALL = "install Docker Engine with its compose plugin"

#: No rights beyond those of a plain process, and nothing to write on but memory.
CONFINED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")  # noqa: S108


def docker(*arguments: str, check: bool = True, env: dict[str, str] | None = None, stdin: bytes | None = None) -> Done:
    """Run a docker command; refuse with its own last words when it fails."""
    # Docker's helpers for passwords read the credentials of the cloud whose registry it is.
    settings = programs.environment(*programs.CLOUDS) | {"DOCKER_BUILDKIT": "1"} | (env or {})
    done = programs.run("docker", *arguments, env=settings, stdin=stdin, install=INSTALL)
    if check and done.code:
        what = " ".join(word for word in arguments[:2] if not word.startswith("-"))
        raise MlopsError(f"docker {what} ended with {done.code}: {done.last_words()}", "solve this, then run it again")
    return done


def engine_problem() -> str:
    """Why no container engine can be used here, in part of a sentence; empty when one answers."""
    if not shutil.which("docker"):
        return "docker is not installed"
    done = docker("version", "--format", "{{.Server.Version}}", check=False)
    return f"no container engine answers: {done.last_words(1)}" if done.code else ""


def missing_login(project: Project) -> str:
    """The login that Docker lacks for the registry of images; empty when it has one."""
    first, slash, _ = project.tool.image.partition("/")
    # Docker reads a first part without a dot or a port as a folder of its own Hub, which it calls by this name.
    host = first if slash and (set(first) & {".", ":"}) else "https://index.docker.io/v1/"
    config = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    known = json.loads(config.read_bytes()) if config.is_file() else {}
    return "" if host in {**known.get("auths", {}), **known.get("credHelpers", {})} else f"a login at {host}"


def inspect(kind: str, name: str) -> dict[str, Any] | None:
    """What Docker knows of an image, a container or a network; `None` when it knows of none."""
    done = docker(kind, "inspect", name, check=False)
    if done.code:
        return None
    found: list[dict[str, Any]] = json.loads(done.output)
    return found[0]


def labels(image: str) -> dict[str, str]:
    """The labels of an image, which is fetched when it is not here; by its digest it is always the same one."""
    found = inspect("image", image)
    if found is None:
        docker("pull", "--quiet", image)
        found = inspect("image", image) or {}
    given: dict[str, str] | None = found.get("Config", {}).get("Labels")
    return given or {}


def require_network(name: str) -> None:
    """Make the network on which environments and services find each other, unless it is there."""
    if inspect("network", name) is None:
        docker("network", "create", name)


def compose(project: str, file: Path, *arguments: str, env: dict[str, str]) -> None:
    """Run a compose command."""
    docker("compose", "--project-name", project, "--file", str(file), *arguments, env=env)
