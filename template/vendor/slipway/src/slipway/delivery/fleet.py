"""All machines that serve an environment: what `mlops status` says of them, where their log is in a bucket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue

from msgspec.structs import replace

from slipway.base.buckets import is_bucket
from slipway.base.errors import MlopsError
from slipway.base.numbers import counted
from slipway.delivery import deploy, environments, target
from slipway.delivery.beats import HeartbeatKeeper
from slipway.forge import git
from slipway.log import heartbeats
from slipway.log.heartbeats import STALE_S, Heartbeat, ServedVersion
from slipway.settings.environment import Environment, Release
from slipway.settings.project import Project

#: So long a bucket may take to say who is there; then this machine alone is shown.
PATIENCE_S = 8


def describe(project: Project, names: Sequence[str], now: datetime) -> dict[str, list[str]]:
    """A line for each machine that serves an environment, by the environment; nothing where no log is in a bucket.

    Where the bucket is away a line says so, and one is there for what this machine serves.
    """
    address = project.policy.serving.log
    if not is_bucket(address):
        return {}
    found = _asked(address, names)
    if isinstance(found, MlopsError):
        here = {name: heartbeats.local(project.state, name) for name in names}
        away = f"other machines are not known: {found.problem}"
        return {name: [away, *_lines(project, name, here[name], now)] for name in names}
    return {name: _lines(project, name, found[name], now) for name in names}


def looker(project: Project, environment: str) -> Callable[[], None]:
    """What says again and again what this machine serves, where no supervisor does: of containers, for one."""
    keeper = HeartbeatKeeper(project.state)

    def look() -> None:
        since = datetime.now(UTC) - timedelta(seconds=STALE_S)
        others = [beat for beat in heartbeats.local(project.state, environment) if beat.started != keeper.started]
        found = next(iter(deploy.running(project, environment)), None)
        if found and found.running.run and all(beat.seen < since for beat in others):
            keeper.keep(found.running.run, found.running.challenger)
        else:
            keeper.end()

    return look


def _asked(address: str, names: Sequence[str]) -> dict[str, list[Heartbeat]] | MlopsError:
    """What the bucket knows, or why not. A thread that hangs is left behind: it must not keep the command."""
    answers: SimpleQueue[dict[str, list[Heartbeat]] | MlopsError] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(heartbeats.read(address, names, PATIENCE_S))
        except MlopsError as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=PATIENCE_S)
    except Empty:
        return MlopsError(f"the bucket at {address} does not answer within {PATIENCE_S} seconds", "try again")


def _lines(project: Project, name: str, beats: Sequence[Heartbeat], now: datetime) -> list[str]:
    wanted = environments.load(project, name)
    if target.is_pulled(project, wanted) and wanted.champion:
        beats = _with_commit(project, name, beats, wanted.champion.digest)
    return [_line(beat, wanted, now) for beat in sorted(beats, key=lambda beat: (beat.machine, beat.started))]


def _with_commit(project: Project, name: str, beats: Sequence[Heartbeat], digest: str) -> list[Heartbeat]:
    """Heartbeats with the commit that names the champion: none can stand in a file that a cluster pulls by it."""
    path = environments.relative(project, name)
    found = git.since(project.root, path, lambda text: _digest(text) == digest, "--first-parent")

    def named(one: ServedVersion) -> ServedVersion:
        return replace(one, commit=found[0]) if found and one.digest == digest else one

    return [replace(beat, served=[*map(named, beat.served)]) for beat in beats]


def _digest(text: str) -> str:
    champion = environments.decoded(text).champion
    return champion.digest if champion else ""


def _line(beat: Heartbeat, wanted: Environment, now: datetime) -> str:
    silent_s = (now - beat.seen).total_seconds()
    parts = [beat.machine, *map(_version, beat.served)]
    parts += [counted(beat.workers, "worker"), f"since {beat.started.astimezone(UTC):%Y-%m-%d %H:%M}"]
    parts.append(f"seen {_age(silent_s)} ago")
    if silent_s > STALE_S:
        parts.append("stale: it has missed three heartbeats, and may be gone")
    if others := _others(beat.served, wanted):
        parts.append(f"not what {beat.environment}.yaml says: {', '.join(others)}")
    return ", ".join(parts)


def _version(one: ServedVersion) -> str:
    platform = f" on platform {one.platform[:19]}" if one.platform else ""
    commit = f" by commit {one.commit[:9]}" if one.commit else ""
    share = f" of {one.share:.0%}" if one.share else ""
    return f"{one.role}{share} version {one.version} {one.digest[:19]}{platform}{commit}"


def _others(served: Sequence[ServedVersion], wanted: Environment) -> list[str]:
    """What of a machine the environment's file says otherwise."""
    challenger = wanted.challenger
    roles: dict[str, Release | None] = {"champion": wanted.champion}
    roles |= {challenger.mode: challenger} if challenger else {}
    there = {one.role: one for one in served}
    said = []
    for role in dict.fromkeys([*roles, *there]):
        asked, is_there = roles.get(role), there.get(role)
        if asked is None and is_there is not None:
            said.append(f"no {role}")
        elif asked is not None and (is_there is None or is_there.digest != asked.digest):
            said.append(f"{role} version {asked.version} {asked.digest[:19]}")
        elif asked is not None and asked.platform and is_there and is_there.platform != asked.platform.digest:
            said.append(f"platform {asked.platform.digest[:19]}")
    return said


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(int(seconds // size), unit)
    return counted(max(0, round(seconds)), "second")
