"""Trying an image before anybody gets it: confined as it will be in production, at the work that it is for."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from slipway import kinds
from slipway.base.errors import MlopsError
from slipway.base.programs import last_words
from slipway.delivery.deploy import ask
from slipway.delivery.docker import CONFINED, docker, inspect
from slipway.forge import git
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

READY_S = 60


def try_out(project: Project, use: str, image: str, bundle: Bundle | None) -> None:
    """Refuse an image that runs as root or cannot do its work: answer with `bundle`, or train without one."""
    user = str((inspect("image", image) or {})["Config"]["User"])
    if user.partition(":")[0] in ("", "0", "root"):
        raise MlopsError(f"the {use} image runs as root", "put into docker/Dockerfile: USER 10001:10001")
    if bundle:
        _try_serving(project, image, bundle)
    else:
        _try_working(project, use, image)


def _try_working(project: Project, use: str, image: str) -> None:
    """Import what the work needs; where the data is in Git, train on it."""
    from slipway.data.stages import planned

    modules = ["dvc", "mlflow", "skl2onnx", "slipway.monitoring.run", "slipway.training.train"]
    steps = [f"python -c 'import {', '.join(modules)}'"]
    if use == "train" and git.git(project.root, "ls-files", "--", project.params.data.delivered).strip():
        steps += [f"mlops stage {stage}" for stage in planned(project)]
    tried = docker("run", "--rm", *CONFINED, "--volume", "/project", image, "sh", "-ec", "\n".join(steps), check=False)
    if tried.code:
        raise MlopsError(
            f"the {use} image cannot do its work: {tried.last_words(1)}",
            "add what is missing to the group `train` in pyproject.toml, then: uv lock",
        )


def _try_serving(project: Project, image: str, bundle: Bundle) -> None:
    """Let the image answer the bundle's golden rows."""
    container = docker(
        "run", "--detach", *CONFINED, "--volume", "/project/.mlops", "--publish", "127.0.0.1::8000",
        "--volume", f"{bundle.path.resolve()}:/bundle:ro", *_settings(project, bundle), image,
    ).output.strip()  # fmt: skip
    try:
        await_ready(container)
        _ask_golden_rows(bundle, _port(container))
    finally:
        docker("rm", "--force", "--volumes", container)


def _settings(project: Project, bundle: Bundle) -> Iterable[str]:
    limits = msgspec.json.encode(project.policy.serving).decode()
    settings = {"DIGEST": bundle.digest, "COMMIT": bundle.lineage.commit, "LIMITS": limits}
    for name, value in (settings | {"VERSION": "0", "ENVIRONMENT": "trial", "SOURCE": "cache"}).items():
        yield from ("--env", f"MLOPS_{name}={value}")


def await_ready(container: str, timeout_s: float = READY_S) -> None:
    """Return when the server in a container has proven itself; raise its own complaint when it has ended."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found: dict[str, Any] = inspect("container", container) or {"State": {"Status": "gone"}}
        if found["State"]["Status"] not in ("created", "running") or found["RestartCount"]:
            break
        if docker("exec", container, *_health_check(found), check=False).code == 0:
            return
        time.sleep(0.1)
    else:
        raise MlopsError(f"it was not ready within {timeout_s:g} seconds", f"docker logs {container}")
    said = docker("logs", container, check=False).errors
    found_error = re.search(r"^error: (.*)\n next: (.*)$", said, flags=re.MULTILINE)
    problem, next_step = (
        found_error.groups() if found_error else (f"its server ended: {last_words(said)}", "solve this, then try again")
    )
    raise MlopsError(problem, next_step)


def _health_check(container: dict[str, Any]) -> list[str]:
    """The command by which the image itself tells whether it is ready: its code may be that of an earlier release."""
    kind, *command = container["Config"].get("Healthcheck", {}).get("Test") or ["NONE"]
    if kind != "CMD":
        raise MlopsError("the serve image has no HEALTHCHECK that is a command", "restore it in docker/Dockerfile")
    return list(command)


def _ask_golden_rows(bundle: Bundle, port: int) -> None:
    rows = msgspec.json.encode({"rows": bundle.golden.rows}).decode()
    kind = kinds.named(bundle.model.kind, bundle.model.classes)
    answered = ask("127.0.0.1", port, "POST", "/predict", rows)
    for row, score in zip(answered.get("predictions", []), bundle.golden.scores, strict=True):
        said = row[bundle.model.answer]
        expected = kind.answers(np.array([score]), bundle.model.threshold)[0]
        is_close = said == expected if isinstance(expected, str) else math.isclose(said, expected, rel_tol=1e-3)
        if not is_close:
            raise MlopsError(
                f"the serve image answers {said} to a golden row with score {score}", "build it from the model's commit"
            )


def _port(container: str) -> int:
    found = docker("port", container, "8000/tcp").output.splitlines()[0]
    return int(found.rpartition(":")[2])
