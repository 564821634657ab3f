"""The compose deploy target: a proxy that keeps the address, and behind it the server of one version.

    .mlops/environments/<environment>/
        proxy/haproxy.cfg       names the server that gets the requests
        servers/admitted.json   who may ask, where not everybody may
        servers/traffic.json    which part of them the challenger gets, and which: see `serving/challenger.py`
        servers/*.sock          where the challenger listens

A new version starts as a second server, `blue` or `green`, whichever is not in use. When it has proven
itself, the proxy is told; it gives new requests to the new server and lets the old one finish what it has.
A challenger is a server that only the champion reaches, in the folder that all servers share.
Docker knows the rest, so whatever is killed at whatever moment, the next `switch` finds out what is true
and goes on from there.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import msgspec

from slipway.base import http
from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.delivery import known, variables
from slipway.delivery.compose import image_check, images
from slipway.delivery.compose.stack import CHALLENGER, Stack, short_name
from slipway.delivery.docker import docker, require_network
from slipway.delivery.processes import open_listener
from slipway.delivery.target import Rival, Run
from slipway.log import masks
from slipway.log import predictions as predictions_log
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

#: A container runs the code in its image.
needs_image = True

COLOURS = ("blue", "green")

#: How long the proxy may take to let go of its last old connection: longer than it keeps an idle one.
DRAIN_S = 30

#: A server looks ten times a second whether it has a challenger.
NOTICE_S = 10


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What runs in an environment; `colour` is the name of the server that answers."""

    run: Run
    colour: str
    container: str
    challenger: Rival | None = None

    @property
    def version(self) -> int:
        """The version that answers."""
        return self.run.version

    @property
    def digest(self) -> str:
        """The digest of the bundle that answers."""
        return self.run.digest


def prepare(project: Project, run: Run, bundle: Bundle) -> Run:
    """Refuse a run whose image holds other code than made its bundle; an image brings its own interpreter."""
    del bundle
    if run.platform:
        raise MlopsError(
            f"containers run the platform in their image, so no other can serve version {run.version}",
            f"leave `platform` out of {run.environment}.yaml, or register the version once more and build its image",
        )
    images.require_code(project, run)
    return run


def switch(project: Project, run: Run, rival: Rival | None = None, timeout_s: float = 60, log: Log = print) -> None:
    """Let `run` answer the requests of its environment, and `rival` its part of them; no request fails meanwhile.

    Returns when the new server has proven itself and the old one is gone. If it cannot prove itself,
    the old one stays and the reason is raised. Safe to run again.
    """
    place = Stack(project, run.environment)
    before = status(project, run.environment)
    if not place.holds(run):
        open_listener(run, patience_s=0).close()  # refused now, while whatever runs still runs
    settings = _settings(project, run, place)
    if before and before.run.matches(run):
        colour = before.colour
        said = "already answers"
    else:
        colour = COLOURS[1] if before and before.colour == COLOURS[0] else COLOURS[0]
        said = "answers"
        stays = f"; version {before.version} goes on serving" if before else ""
        _start(place, colour, run, settings, stays, timeout_s)
    _turn_to(place, colour, run, settings)
    _drain(place, colour)
    log(f"version {run.version} {said} on {run.host}:{run.port}")
    if rival:
        _challenge(project, place, rival, run, timeout_s)
        log(f"version {rival.run.version} challenges it: {rival.mode} of {rival.share:.0%}")
    else:
        _end_challenge(place)


def shared_folder(project: Project, environment: str) -> Path:
    """The folder in which the servers of an environment look for what they are told."""
    return Stack(project, environment).servers


def status(project: Project, environment: str) -> Serving | None:
    """What runs in an environment; `None` when nothing does."""
    place = Stack(project, environment)
    run = place.running(place.colour) if place.colour else None
    if run is None:
        return None
    container = (place.container(place.colour) or {})["Id"]
    return Serving(run=run, colour=place.colour, container=container, challenger=_challenger(place))


def _challenger(place: Stack) -> Rival | None:
    run, traffic = place.running(CHALLENGER), place.traffic()
    if run is None or traffic is None:
        return None
    return Rival(run=run, mode=traffic.mode, share=traffic.share, key=traffic.key)


def log_of(project: Project, environment: str) -> str:
    """The command that shows what proxy and servers had to say."""
    return f"docker compose --project-name {Stack(project, environment).name} logs"


def stop(project: Project, environment: str, timeout_s: float = 30) -> bool:
    """Stop an environment after its last request; returns whether anything was running."""
    place = Stack(project, environment)
    was_running = status(project, environment) is not None
    # The address first, so that nobody asks a server that has gone.
    for service in ("proxy", *COLOURS, CHALLENGER):
        _remove(place, service, timeout_s)
    place.direct(None)
    docker("compose", "--project-name", place.name, "down")
    place.forget()
    return was_running


def _settings(project: Project, run: Run, place: Stack) -> dict[str, str]:
    """The variables of `environment.yaml`."""
    predictions, refused, labels = (project.state / name / run.environment for name in predictions_log.LOGS)
    keys = masks.folder(project.state, run.environment)
    user = _user()
    for folder in (predictions, refused, labels, place.servers, keys):
        folder.mkdir(parents=True, exist_ok=True)
    for path in (predictions, refused, labels, place.servers, keys, *keys.iterdir()):
        if os.name != "nt" and os.getuid() == 0:
            os.chown(path, *map(int, user.split(":")))
    require_network(project.tool.model)
    settings = {
        "RUN": msgspec.json.encode(run).decode(),
        "IMAGE": run.image,
        "USER": user,
        "BUNDLE": run.bundle,
        "PREDICTIONS": str(predictions),
        "REFUSED": str(refused),
        "LABEL_LOG": str(labels),
        "SERVERS": str(place.servers),
        "KEYS": str(keys),
        "PROXY": str(place.proxy),
        "ADDRESS": f"{run.host}:{run.port}",
        "NETWORK": project.tool.model,
    }
    return variables.of(run) | {f"MLOPS_{name}": value for name, value in settings.items()}


def _user() -> str:
    """Whoever deploys owns the prediction log; never root."""
    if os.name == "nt" or os.getuid() == 0:
        return "10001:10001"
    return f"{os.getuid()}:{os.getgid()}"


def _start(place: Stack, service: str, run: Run, settings: dict[str, str], stays: str, timeout_s: float) -> None:
    """Start a server that nobody asks yet, and wait until it has proven itself; else say what `stays`."""
    try:
        place.compose("up", "--detach", "--no-deps", "--force-recreate", service, env=settings)
        image_check.await_ready((place.container(service) or {})["Id"], timeout_s)
    except MlopsError as error:
        _remove(place, service)
        raise MlopsError(
            f"version {run.version} was not deployed to {run.environment}: {error.problem}{stays}", error.next_step
        ) from None


def _challenge(project: Project, place: Stack, rival: Rival, champion: Run, timeout_s: float) -> None:
    """Give a challenger its part of the requests; a new part for the one that runs needs no other server."""
    running = place.running(CHALLENGER)
    if running is None or not running.matches(rival.run):
        _end_challenge(place)
        stays = f"; version {champion.version} goes on serving"
        # Compose reads the whole file, so the proxy's address has to be one.
        settings = _settings(project, rival.run, place) | {"MLOPS_ADDRESS": f"{champion.host}:{champion.port}"}
        _start(place, CHALLENGER, rival.run, settings, stays, timeout_s)
    place.direct(rival)
    wanted = (str(rival.run.version), rival.mode, rival.share)
    deadline = time.monotonic() + NOTICE_S
    while known.challenger_in(_ask(champion, "/metrics")[1]) != wanted:
        if time.monotonic() > deadline:
            _end_challenge(place)
            raise MlopsError(
                f"the server of version {champion.version} takes no notice of a challenger: its image is older",
                f"mlops promote {champion.environment}, with a version whose code knows challengers",
            )
        time.sleep(0.05)


def _end_challenge(place: Stack) -> None:
    place.direct(None)
    _remove(place, CHALLENGER)


def _turn_to(place: Stack, colour: str, run: Run, settings: dict[str, str]) -> None:
    """Let the proxy send requests to `colour`. It takes up a new configuration without closing its address."""
    if place.colour != colour:
        place.point_at(colour)
    place.compose("up", "--detach", "--no-deps", "proxy", env=settings)
    is_signalled = False
    deadline = time.monotonic() + DRAIN_S
    while (answering := _server_behind(run)) != colour:
        if time.monotonic() > deadline:
            raise MlopsError(
                f"the proxy of {run.environment} does not turn to the new server", f"docker logs {place.name}-proxy-1"
            )
        if answering and not is_signalled:
            docker("kill", "--signal", "USR2", f"{place.name}-proxy-1")
            is_signalled = True
        time.sleep(0.05)


def _server_behind(run: Run) -> str:
    """The server that the proxy asks now; empty while it answers nothing."""
    return _ask(run, "/ready")[0]


def _ask(run: Run, path: str) -> tuple[str, str]:
    """Who answers at an address, and what; both empty while nobody does."""
    try:
        answer = http.ask(run.host, run.port, path)
    except OSError:
        return "", ""
    return answer.headers.get("x-server", ""), answer.text


def _drain(place: Stack, colour: str) -> None:
    """Remove the server that is not asked any more, when the proxy has let go of its last connection."""
    deadline = time.monotonic() + DRAIN_S
    others = [other for other in COLOURS if other != colour and place.container(other)]
    while others and time.monotonic() < deadline:
        listed = docker("top", f"{place.name}-proxy-1", "-eo", "pid,comm").output.splitlines()
        if len(listed) <= 3:  # a heading, the master and one worker: the worker for old connections has ended
            break
        time.sleep(0.1)
    for other in others:
        _remove(place, other)


def _remove(place: Stack, service: str, timeout_s: float = 30) -> None:
    """Stop a server after its last request, and remove what it has counted."""
    if found := place.container(service):
        docker("stop", "--time", str(round(timeout_s)), found["Id"])
        docker("rm", "--force", found["Id"])
        shutil.rmtree(place.servers / "counts" / short_name(found), ignore_errors=True)
