"""What should run in an environment and what does, in a line: what `mlops status` prints."""

from __future__ import annotations

import http
from pathlib import Path

from slipway.base import http as client
from slipway.base.errors import MlopsError
from slipway.delivery import deploy, environments, newest, target
from slipway.delivery.target import Run
from slipway.settings.project import Project

#: A server that is well answers within milliseconds.
PATIENCE_S = 3


def describe(project: Project, name: str) -> str:
    """Tell what should run in an environment, what does, and whether it answers."""
    wanted = environments.load(project, name)
    asked = target.name_for(project, wanted)
    found = next(iter(deploy.running(project, name)), None)
    running = found.running if found else None
    parts = [f"should run version {wanted.champion.version}" if wanted.champion else "names no champion yet"]
    parts.append(f"runs version {running.version}, {running.digest[:19]}" if running else "runs nothing")
    if running and (run := running.run):
        parts += [f"served by platform {run.platform.version}, {run.platform.digest[:19]}"] if run.platform else []
        asked_at = found.target if found else asked
        parts += [] if _answers(project, asked_at, run) else [f"but does not answer at {run.host}:{run.port}"]
    if found and (restarts := getattr(running, "restarts", 0)):
        log = target.find(found.target).log_of(project, name)
        parts.append(f"started again {restarts} time{'s'[: restarts != 1]} (its log: {log})")
    if found and found.target != asked:
        parts.append(f"on {found.target}, and its file says {asked}")
    if running and (rival := running.challenger):
        parts.append(f"with version {rival.run.version} as {rival.mode} of {rival.share:.0%}")
    if wanted.champion and (held := newest.hold_on(project, name, wanted.champion)):
        parts.append(f"rolled back from version {wanted.champion.version} on {held.at[:10]}")
    return ", ".join(parts)


def _answers(project: Project, where: str, run: Run) -> bool:
    try:
        with target.reach(project, where, run) as servers:
            at = next(servers)
            certificate = Path(at.tls.certificate) if at.tls else None
            answer = client.ask(at.host, at.port, "/ready", certificate=certificate, timeout_s=PATIENCE_S)
            return answer.status == http.HTTPStatus.OK
    except (OSError, MlopsError):
        return False
