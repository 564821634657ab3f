"""The process that keeps one environment's server alive and changes it without losing a request.

It owns the listening socket, so the address stays open while servers come and go: connections
wait in the socket's queue, and whichever server is ready takes them. It answers no request itself.
Beside the champion's servers it keeps those of a challenger, and tells the champion, in `traffic.json`,
which part of the requests they get.
`native.target.switch` runs this module as a program; its arguments are the folder for state and the environment.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Literal

import filelock

from slipway.base.errors import MlopsError
from slipway.delivery.beats import HeartbeatKeeper
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.native.state import Desired, State
from slipway.delivery.processes import KILL_AFTER_S, TICK_S, Group, log, open_listener
from slipway.delivery.target import Rival, Run, Traffic
from slipway.delivery.uploads import UploadKeeper


class Supervisor:
    """Makes what runs equal to what is wished for. Every `step` looks at what is true and does the next thing."""

    def __init__(self, place: EnvironmentFolder) -> None:
        self.is_stopping = False
        self._place = place
        self._wish: Desired | None = None
        self._candidate: Group | None = None
        self._serving: Group | None = None
        self._challenger: Group | None = None
        self._rival: Rival | None = None
        self._is_proven = False
        self._draining: dict[Group, float] = {}
        self._failure: tuple[str, str] | None = None
        self._traffic: Traffic | None = None
        self._written: State | None = None
        self._can_write = True
        self._uploads = UploadKeeper(place)
        self._beats = HeartbeatKeeper(place.state)
        self._address: str | None = None
        place.forget(Traffic)
        shutil.rmtree(place.folder / "counts", ignore_errors=True)

    def run(self) -> None:
        """Work until there is nothing to run any more."""
        while not self.is_stopping:
            self.step()
            if not (self._candidate or self._serving or self._draining):
                break
            time.sleep(TICK_S)
        self._end()

    def step(self) -> None:
        """Look at the wish and at every process, act on it, and write down what is true now."""
        self._read_wish()
        if self.is_stopping:
            return
        self._judge_candidate()
        if self._serving:
            self._serving.keep()
            self._beats.keep(self._serving.run, self._rival if self._traffic else None)
            self._uploads.keep(self._serving.run)
        self._keep_challenger()
        self._drain()
        self._write_state()

    def _read_wish(self) -> None:
        wish = self._place.read(Desired)
        if wish is None:
            self.is_stopping = True
            return
        if self._wish and wish.ticket == self._wish.ticket:
            return
        self._wish, self._failure = wish, None
        if self._address is None:
            self._address = wish.run.limits.log
        self._drop_candidate()
        serving = self._serving
        if not (serving and serving.run.matches(wish.run) and serving.is_ready and serving.is_alive):
            self._candidate = self._start(wish.run)
        if not self._failure:
            self._take_challenger(wish.challenger)

    def _start(self, run: Run) -> Group | None:
        try:
            listener = self._listener(run)
        except MlopsError as error:
            self._failure = (error.problem, error.next_step)
            return None
        try:
            return Group(run, listener, self._place)
        except OSError as error:
            self._close_unused(listener)
            self._failure = (f"its process cannot be started: {error}", "solve this, then deploy again")
            return None

    def _listener(self, run: Run) -> socket.socket:
        """The open socket when the address is the same, a new one otherwise."""
        if self._serving and (self._serving.run.host, self._serving.run.port) == (run.host, run.port):
            return self._serving.listener
        return open_listener(run)

    def _judge_candidate(self) -> None:
        candidate, wish = self._candidate, self._wish
        if candidate is None or wish is None:
            return
        is_alive = candidate.is_alive  # asked first: what it said before it died is then already here
        candidate.read_messages()
        if candidate.is_ready and is_alive:
            self._promote(candidate)
        elif not is_alive or time.monotonic() > candidate.born + wish.timeout_s:
            self._drop_candidate()
            self._failure = _reason(candidate, f"it was not ready within {wish.timeout_s:g} seconds", self._place)

    def _drop_candidate(self) -> None:
        if self._candidate:
            self._candidate.kill()
            self._close_unused(self._candidate.listener)
            self._candidate = None

    def _close_unused(self, listener: socket.socket) -> None:
        if self._serving is None or self._serving.listener is not listener:
            listener.close()

    def _promote(self, candidate: Group) -> None:
        old, self._serving, self._candidate = self._serving, candidate, None
        if old is not None:
            self._start_draining(old)

    def _start_draining(self, group: Group) -> None:
        group.terminate()
        self._draining[group] = time.monotonic() + KILL_AFTER_S

    def _take_challenger(self, rival: Rival | None) -> None:
        """Take a challenger in, let one go, or note that it gets another part of the traffic."""
        if self._challenger and not (rival and self._challenger.run.matches(rival.run)):
            self._end_challenge()
        self._rival = rival
        if rival and not self._challenger:
            self._challenger = self._start(rival.run)
            self._is_proven = False

    def _keep_challenger(self) -> None:
        """Judge a challenger that is new, keep one that has proven itself, and say which traffic it gets."""
        challenger, wish = self._challenger, self._wish
        if challenger and wish and not self._is_proven:
            is_alive = challenger.is_alive
            challenger.read_messages()
            self._is_proven = challenger.is_ready and is_alive
            if not is_alive or time.monotonic() > challenger.born + wish.timeout_s:
                self._end_challenge()
                late = f"it was not ready within {wish.timeout_s:g} seconds"
                self._failure = _reason(challenger, late, self._place)
        elif challenger:
            challenger.keep()
        self._direct_traffic()

    def _direct_traffic(self) -> None:
        traffic = None
        if self._challenger and self._rival and self._is_proven and self._challenger.is_ready:
            rival = self._rival
            traffic = Traffic(
                version=rival.run.version, socket=rival.run.host, counts=str(self._challenger.counts),
                mode=rival.mode, share=rival.share, key=rival.key,
            )  # fmt: skip
        if traffic == self._traffic:
            return
        try:
            if traffic:
                self._place.write(traffic)
            else:
                self._place.forget(Traffic)
        except OSError as error:  # tried again with the next step
            if self._can_write:
                log(f"the traffic cannot be directed: {error}")
            return
        self._traffic = traffic

    def _end_challenge(self) -> None:
        if self._challenger:
            self._start_draining(self._challenger)
            (self._place.state / self._challenger.run.host).unlink(missing_ok=True)
        self._challenger = self._rival = None
        self._direct_traffic()

    def _drain(self) -> None:
        for group, kill_at in list(self._draining.items()):
            group.read_messages()
            if not group.is_gone and time.monotonic() < kill_at:
                continue
            group.kill()
            del self._draining[group]
            self._close_unused(group.listener)

    def _write_state(self) -> None:
        state = self._state()
        if state == self._written:
            return
        try:
            self._place.write(state)
        except OSError as error:  # a full disk must not end what still answers
            if self._can_write:
                log(f"the state cannot be written: {error}")
            self._can_write = False
            return
        self._can_write = True
        self._written = state

    def _state(self) -> State:
        serving = self._serving
        problem, next_step = self._failure or (None, None)
        pids = serving.pids() if serving else []
        return State(
            ticket=self._wish.ticket if self._wish else "",
            phase=self._phase(),
            supervisor=os.getpid(),
            worker=pids[0] if pids else None,
            workers=pids,
            run=serving.run if serving else None,
            challenger=self._rival if self._traffic else None,
            challengers=self._challenger.pids() if self._challenger else [],
            since=serving.since if serving else None,
            restarts=sum(group.restarts for group in (serving, self._challenger) if group),
            draining=[pid for group in self._draining for pid in group.pids()],
            problem=problem,
            next_step=next_step,
            knows_privacy=True,
            knows_programs=True,
            knows_access=True,
            knows_labels=True,
            log=self._address or "",
        )

    def _phase(self) -> Literal["starting", "serving", "restarting", "failed"]:
        is_on_trial = self._challenger is not None and not self._is_proven
        is_draining = any(group.is_accepting for group in self._draining if group.run.role == "champion")
        if self._candidate or is_on_trial or is_draining:
            return "starting"
        if self._failure:
            return "failed"
        return "serving" if self._serving and self._serving.is_ready else "restarting"

    def _end(self) -> None:
        """Drain everything, then kill what is still there after `KILL_AFTER_S`."""
        self._place.forget(Traffic)
        groups = [group for group in (self._candidate, self._serving, self._challenger, *self._draining) if group]
        for group in groups:
            group.terminate()
        kill_at = time.monotonic() + KILL_AFTER_S
        while not all(group.is_gone for group in groups) and time.monotonic() < kill_at:
            time.sleep(TICK_S)
        for group in groups:
            group.kill()
        self._beats.end()
        self._uploads.end()


def _reason(group: Group, otherwise: str, place: EnvironmentFolder) -> tuple[str, str]:
    server = group.ended
    if server.failure:
        return server.failure.problem, server.failure.next_step
    code = server.exit_code
    ended = f"the server ended with code {code} before it was ready" if code != -signal.SIGKILL else otherwise
    return ended, f"read its log: {place.log}"


def main() -> None:
    """Supervise the environment named on the command line, unless somebody already does."""
    state, environment = Path(sys.argv[1]), sys.argv[2]
    place = EnvironmentFolder(state, environment)
    try:
        with place.lock(timeout_s=2):  # somebody may be looking whether it is held
            supervisor = Supervisor(place)

            def stop(_: int, __: FrameType | None) -> None:
                supervisor.is_stopping = True

            signal.signal(signal.SIGTERM, stop)
            signal.signal(signal.SIGINT, stop)
            supervisor.run()
    except filelock.Timeout:
        log(f"{environment} is already supervised")


if __name__ == "__main__":
    main()
