"""The native deploy target: one supervised server process per environment, on this machine.

    .mlops/environments/<environment>/
        desired.json      what shall run: written by `switch`, removed by `stop`
        state.json        what does run: written by the supervisor
        admitted.json     who may ask, where not everybody may
        traffic.json      which part of the requests the challenger gets: read again and again by the champion
        *.sock            where the challenger listens
        counts/           what each server process has counted, summed up by whichever is asked
        supervisor.lock   held by the supervisor as long as it lives
        server.log        what supervisor and servers have to say

`.mlops/targets/<environment>.json` says where that answers, for Prometheus: written by `switch`, removed by `stop`.

The JSON files are replaced in one step, and the lock goes with its process, so that whatever is
killed at whatever moment, the next `switch` finds out what is true and goes on from there.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from pathlib import Path

import msgspec

from slipway.base import programs
from slipway.base.buckets import is_bucket
from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.native.state import Desired, State
from slipway.delivery.target import Rival, Run
from slipway.registry import packaging
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

POLL_S = 0.05
_NOT_FOR_SERVERS = ("ACTIONS_", "DVC_", "GIT_", "GITHUB_", "MLFLOW_", "PIP_", "RUNNER_", "UV_")

#: What supervises a run that names no supervisor of its own.
SUPERVISOR = f"{__package__}.supervisor"

#: A process runs the code in its bundle, so a release needs no image.
needs_image = False

#: A process speaks HTTPS itself, and is told whose word it may take for who asks.
ends_tls = True


def prepare(project: Project, run: Run, bundle: Bundle) -> Run:
    """Install the code that shall answer, and return the run with its interpreter and its programs.

    Refused is another platform than the bundle's own that answers the golden rows otherwise.
    """
    python = packaging.install(project, bundle, run.platform)
    if run.platform:
        packaging.require_same_answers(project, bundle, python, run.platform)
    programs = packaging.programs_of(bundle)
    return msgspec.structs.replace(run, python=str(python), program=programs.server, supervisor=programs.supervisor)


def switch(project: Project, run: Run, rival: Rival | None = None, timeout_s: float = 60, log: Log = print) -> None:
    """Let `run` answer the requests of its environment, and `rival` its part of them; no request fails meanwhile.

    Returns when the new server has proven itself and the old one takes no more connections.
    If it cannot prove itself, the old one stays and the reason is raised. Safe to run again.
    """
    _require_unix()
    place = EnvironmentFolder(project.state, run.environment)
    before = status(project, run.environment)
    if before and before.phase == "serving" and _runs(before, run, rival):
        place.announce(run)
        log(f"version {run.version} already answers on {run.host}:{run.port}")
        return
    for one in (run, rival.run) if rival else (run,):
        _require_supervisor_for(one, before)
    wish = Desired(secrets.token_hex(8), run, timeout_s, rival)
    place.folder.mkdir(parents=True, exist_ok=True)
    place.write(wish)
    state = _wait(place, wish)
    if state.phase == "failed":
        stays = f"; version {state.run.version} goes on serving" if state.run else ""
        failed = rival.run if rival and state.run and state.run.matches(run) else run
        raise MlopsError(
            f"version {failed.version} was not deployed to {run.environment}: {state.problem}{stays}",
            state.next_step or f"read the server's log: {place.log}",
        )
    if not _runs(state, run, rival):
        raise MlopsError(
            f"the servers of {run.environment} belong to a platform that knows neither workers nor challengers",
            f"mlops stop {run.environment}, then mlops deploy {run.environment}",
        )
    place.announce(run)
    log(f"version {run.version} answers on {run.host}:{run.port}")
    if rival:
        log(f"version {rival.run.version} challenges it: {rival.mode} of {rival.share:.0%}")


def _require_supervisor_for(run: Run, before: State | None) -> None:
    """Refuse a run that a supervisor of an earlier release, which is still there, would start wrongly."""
    if before is None:
        return
    if run.privacy and not before.knows_privacy:
        problem = f"belong to a platform that would log {', '.join(run.privacy)} as it is"
    elif (run.guarded or run.tls) and not before.knows_access:
        problem = "belong to a platform that would answer anybody"
    elif run.labels and not before.knows_labels:
        problem = "belong to a platform that takes no labels"
    elif run.program and not before.knows_programs and not run.program.endswith(packaging.EARLIER_SERVER):
        problem = f"belong to a platform that cannot start the code of version {run.version}"
    elif is_bucket(run.limits.log) and run.limits.log != before.log:
        problem = f"were started without what lets them into {run.limits.log}"
    else:
        return
    raise MlopsError(
        f"the servers of {run.environment} {problem}",
        f"mlops stop {run.environment}, then mlops deploy {run.environment}",
    )


def _runs(state: State, run: Run, rival: Rival | None) -> bool:
    """Whether this is what runs already."""
    if state.run is None or not state.run.matches(run):
        return False
    if rival is None or state.challenger is None:
        return rival is state.challenger
    return state.challenger.matches(rival)


def shared_folder(project: Project, environment: str) -> Path:
    """The folder in which the servers of an environment look for what they are told."""
    return EnvironmentFolder(project.state, environment).folder


def status(project: Project, environment: str) -> State | None:
    """What runs in an environment; `None` when nothing does."""
    place = EnvironmentFolder(project.state, environment)
    if not place.folder.is_dir() or not place.is_supervised():
        return None
    return place.read(State)


def log_of(project: Project, environment: str) -> str:
    """The file that holds what supervisor and servers had to say."""
    return str(EnvironmentFolder(project.state, environment).log)


def stop(project: Project, environment: str, timeout_s: float = 30) -> bool:
    """Stop an environment after its last request; returns whether anything was running."""
    place = EnvironmentFolder(project.state, environment)
    if not place.folder.is_dir():
        return False
    place.forget(Desired)
    place.target.unlink(missing_ok=True)
    was_running = place.is_supervised()
    deadline = time.monotonic() + timeout_s
    while place.is_supervised():
        if time.monotonic() > deadline:
            raise MlopsError(
                f"the supervisor of {environment} does not end", f"look at its log, then stop it by hand: {place.log}"
            )
        time.sleep(POLL_S)
    place.forget(State)
    return was_running


def _require_unix() -> None:
    if os.name == "nt":
        raise MlopsError(
            "deploy hands a listening socket from one process to the next, which Windows does not offer",
            "deploy from Linux, macOS or WSL; here, serve in the foreground: mlops serve",
        )


def _wait(place: EnvironmentFolder, wish: Desired) -> State:
    """Wait until a supervisor, started when there is none, has answered this wish."""
    deadline = time.monotonic() + wish.timeout_s + 30  # it keeps the time itself; this is for when it cannot
    started: list[subprocess.Popen[bytes]] = []
    while time.monotonic() < deadline:
        # Asked before the file is read: what a supervisor wrote before it ended is then there.
        is_supervised = any(child.poll() is None for child in started) or place.is_supervised()
        state = place.read(State)
        if state and state.ticket == wish.ticket and state.phase in ("serving", "failed"):
            return state
        if not is_supervised:
            # One that was just ending had no time for this wish. Two that end are a fault.
            if len(started) == 2:
                break
            started.append(_start_supervisor(place, wish.run))
        time.sleep(POLL_S)
    state = place.read(State)
    by_hand = f"; if it hangs, end its process {state.supervisor}, then deploy again" if state else ""
    raise MlopsError(f"the supervisor of {wish.run.environment} gave no answer", f"read its log: {place.log}{by_hand}")


def _start_supervisor(place: EnvironmentFolder, run: Run) -> subprocess.Popen[bytes]:
    with place.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own module, no shell
            # The release's own interpreter: this checkout may be gone tomorrow.
            [run.python, "-P", "-m", run.supervisor or SUPERVISOR, str(place.state), place.folder.name],
            cwd=place.state,
            env=server_environment(*(programs.CLOUDS if is_bucket(run.limits.log) else ())),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # outlives the terminal that deployed
        )


def server_environment(*needed: str) -> dict[str, str]:
    """What a server may know of the job or the terminal that deployed it: no credentials but `needed`.

    A runner ends every process in which it finds its own RUNNER_ variables, when a job is over.
    """
    given = programs.environment(*needed)
    return {name: value for name, value in given.items() if not name.startswith(_NOT_FOR_SERVERS)}
