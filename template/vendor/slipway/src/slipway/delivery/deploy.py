"""Making an environment match its file, on the target that the file names, wherever it ran before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec

from slipway.base import http
from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.delivery import access, beside, environments, labels, ledger, newest, target
from slipway.delivery.access import Admission
from slipway.delivery.target import Rival, Run, Running
from slipway.forge import git
from slipway.log import masks
from slipway.registry import packaging, readable, signing
from slipway.registry.models import Registry, bundle_of
from slipway.settings.environment import Environment, Release
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

#: How long a rollback waits for a deployment that is under way, or the other way round.
TURN_S = 600


@dataclass(frozen=True)
class Found:
    """What runs in an environment, and the name of the target that runs it."""

    target: str
    running: Running


def deploy(project: Project, name: str, log: Log = print, *, force: bool = False) -> Release:
    """Serve the champion that the environment's file names; returns it. Safe to run again.

    The new version proves itself before it gets a request, the old one answers until then
    and stays if the new one fails. The alias in the registry follows what runs.
    Refused is a file of which main says otherwise by now, unless `force` asks for it all the same.
    """
    with project.only_one(f"deploy {name}", wait_s=TURN_S):
        environments.require_committed(project, name)
        if not force:
            newest.require_newest(project, name, log)
        beside.require_level(project, name, environments.load(project, name))
        return _make_so(project, name, environments.load(project, name), ledger.DEPLOYED, None, log)


def put_back(project: Project, name: str, wanted: Environment, left: ledger.Hold, log: Log = print) -> Release:
    """Serve the champion of `wanted` in the place of the one that the environment's file still names."""
    with project.only_one(f"deploy {name}", wait_s=TURN_S):
        return _make_so(project, name, wanted, ledger.ROLLED_BACK, left, log)


def _make_so(
    project: Project, name: str, wanted: Environment, outcome: str, left: ledger.Hold | None, log: Log
) -> Release:
    release, here = environments.named(wanted, name), git.head(project.root)
    access.require_stated(project, name, wanted)
    bundle, source = bundle_of(project, release.version, release.digest)
    signing.verify(project, release, bundle)
    run, rival = _run(project, wanted, name, release, bundle, source), _rival(project, name, wanted)
    run = access.guarded(project, wanted, run, release, bundle)
    run = labels.taking(project, wanted, run, release, bundle, log if left else None)
    move = _Move(project, wanted, running(project, name), log)
    move.make_room(run)
    admission = access.admit(project, wanted, run)
    log_place = move.switch(run, rival)
    try:
        if not target.is_pulled(project, wanted):
            _prove(project, wanted, run, bundle, admission, log_place)
    except MlopsError:
        move.take_back(name)
        ledger.write(project, name, release, ledger.TAKEN_BACK)
        raise
    # Before anything that may fail: what was left must not come back.
    ledger.write(project, name, release, outcome, here, left)
    _move_alias(project, wanted.alias, release, log)
    if wanted.challenger:
        ledger.write(project, name, wanted.challenger, f"deployed as {wanted.challenger.mode}")
    move.finish(name)
    access.open_up(project, wanted, run)
    return release


def running(project: Project, name: str) -> list[Found]:
    """What runs in an environment, on the target that its file names first; while it moves, on two of them."""
    asked = target.name_for(project, environments.load(project, name))
    target.find(asked)  # refused when there is none
    others = [other for other in target.names() if other != asked]
    found = [(one, target.find(one).status(project, name)) for one in (asked, *others)]
    return [Found(one, status) for one, status in found if status]


def stop(project: Project, name: str) -> bool:
    """Stop whatever runs in an environment, on whichever target; returns whether anything was running."""
    asked = target.name_for(project, environments.load(project, name))
    where = dict.fromkeys([asked, *(found.target for found in running(project, name))])
    stopped = [target.find(one).stop(project, name) for one in where]
    return any(stopped)


class _Move:
    """One deployment: from whatever runs, on whichever target, to what the environment's file says."""

    def __init__(self, project: Project, wanted: Environment, found: list[Found], log: Log) -> None:
        self._project = project
        self._here = target.name_for(project, wanted)
        self._own = [one for one in found if one.target == self._here]
        self._others = [one for one in found if one.target != self._here]
        self._stopped: list[Found] = []
        self._log = log

    def make_room(self, run: Run) -> None:
        """Stop what answers on the same port on another target: only one of both can have it."""
        for one in self._others:
            if one.running.run is None or one.running.run.port == run.port:
                self._log(
                    f"{one.target} stops first, as {self._here} needs its port {run.port}: "
                    f"until that is ready nobody answers for {run.environment}"
                )
                target.find(one.target).stop(self._project, run.environment)
                self._stopped.append(one)

    def switch(self, run: Run, rival: Rival | None) -> str:
        """Let `run` answer; returns where its log is. A target keeps what it ran itself when that fails."""
        where = target.find(self._here)
        try:
            where.switch(self._project, run, rival, log=self._log)
        except MlopsError:
            self._bring_back(self._stopped)
            raise
        return where.log_of(self._project, run.environment)

    def take_back(self, environment: str) -> None:
        """Let what answered before answer again, as the new version does not."""
        if not self._own:
            target.find(self._here).stop(self._project, environment)
        self._bring_back(self._own + self._stopped)

    def finish(self, environment: str) -> None:
        """Stop what answers no more, on every other target."""
        for one in self._others:
            if one not in self._stopped:
                target.find(one.target).stop(self._project, environment)
            self._log(f"{one.target} has stopped: {self._here} answers for {environment} now")

    def _bring_back(self, before: list[Found]) -> None:
        for one in before:
            run, where = one.running.run, target.find(one.target)
            if run is None:
                continue
            self._log(f"version {run.version} takes over again")
            if one in self._stopped:
                run = where.prepare(self._project, run, Bundle(Path(run.bundle)))
            where.switch(self._project, run, one.running.challenger, log=self._log)


def _run(project: Project, wanted: Environment, name: str, release: Release, bundle: Bundle, source: str) -> Run:
    hidden = masks.prepare(project, name, makes_key=not target.finds_keys(project, wanted))
    if hidden:
        _require_that_hides(bundle, release)
    run = Run(
        environment=name,
        version=release.version,
        digest=release.digest,
        commit=release.commit,
        bundle=str(bundle.path),
        python="",
        host=wanted.serve.host,
        port=wanted.serve.port,
        source=source,
        limits=project.policy.serving,
        workers=wanted.serve.workers,
        image=release.image or "",
        privacy=hidden,
        platform=packaging.differs(bundle, release.platform),
        platform_digest=_platform_digest(bundle, release),
        file_commit=git.last_change(project.root, environments.relative(project, name)),
    )
    if packaging.wheels(bundle.path):  # without any, the target says so
        readable.require_format(packaging.code_of(project, bundle, run.platform), bundle)
    where = target.of(project, wanted)
    if where.needs_image and not release.image:
        raise MlopsError(
            f"version {release.version} names no image, and {target.name_for(project, wanted)} runs {name} from one",
            f"from a checkout of its code: mlops build --push; then mlops promote {environments.FIRST} again",
        )
    return where.prepare(project, run, bundle)


def _platform_digest(bundle: Bundle, release: Release) -> str:
    """The digest of the platform that serves a version; empty where an earlier release made it a part of the team's."""
    own = (digest for name, digest in packaging.digests(bundle).items() if name.startswith(packaging.PLATFORM_WHEEL))
    return release.platform.digest if release.platform else next(own, "")


def _require_that_hides(bundle: Bundle, release: Release) -> None:
    """Refuse a version whose own code, which is what runs, knows of no columns to hide and would log them all."""
    if not packaging.hides_columns(bundle):
        raise MlopsError(
            f"the code of version {release.version} is older than privacy.fields and would log every column as it is",
            "name a version that was registered since, or change privacy.fields in policy.yaml",
        )


def _rival(project: Project, name: str, wanted: Environment) -> Rival | None:
    """The challenger that the environment's file names, listening where only the champion finds it."""
    challenger = wanted.challenger
    if challenger is None:
        return None
    target.require_challengers(project, name, wanted)
    if wanted.champion and challenger.version == wanted.champion.version:
        raise MlopsError(
            f"{name}.yaml names version {challenger.version} as champion and as challenger",
            f"mlops challenge {name} --end",
        )
    environments.require_column(project, name, challenger.key)
    bundle, source = bundle_of(project, challenger.version, challenger.digest)
    signing.verify(project, challenger, bundle)
    run = _run(project, wanted, name, challenger, bundle, source)
    return Rival(run=target.beside_champion(run), mode=challenger.mode, share=challenger.share, key=challenger.key)


def _prove(
    project: Project, wanted: Environment, run: Run, bundle: Bundle, admission: Admission, log_place: str
) -> None:
    notice_s: float = getattr(target.of(project, wanted), "notice_s", 0)
    with target.reach(project, target.name_for(project, wanted), run) as servers:
        for at in servers:
            _smoke_test(at, bundle, admission, log_place, max(15, notice_s if run.guarded else 0))
            _require_guard(at, log_place)
            labels.require_taken(at, admission, log_place)


def _smoke_test(run: Run, bundle: Bundle, admission: Admission, log: str, patience_s: float) -> None:
    """Ask what was deployed a question with a known answer, over the same address as clients do."""
    row = msgspec.json.encode(bundle.golden.rows[0]).decode()
    deadline = time.monotonic() + patience_s
    answered: dict[str, Any] = {}
    while time.monotonic() < deadline:
        answered = ask(
            run.host, run.port, "POST", "/predict", row, version=run.version,
            is_probe=True, headers=admission.headers, certificate=_certificate(run),
        )  # fmt: skip
        if answered.get("model", {}).get("digest") == run.digest:
            return
        time.sleep(patience_s / 150)  # the old version may answer until it has let go of the address
    raise MlopsError(
        f"the deployed server does not answer with version {run.version}: {answered}",
        f"read its log: {log}",
    )


def _require_guard(run: Run, log: str) -> None:
    """Refuse a server that answers whoever asks, where only those may ask whom the environment's file names."""
    if not run.guarded:
        return
    answer = http.ask(run.host, run.port, "/predict", body=b"{}", certificate=_certificate(run), timeout_s=10)
    if answer.status != HTTPStatus.UNAUTHORIZED:
        raise MlopsError(
            f"the deployed server does not refuse who brings no token: {answer.status} {answer.text[:200]}",
            f"read its log: {log}; a file of deploy/ may be older than the platform: mlops template update",
        )


def _certificate(run: Run) -> Path | None:
    return Path(run.tls.certificate) if run.tls else None


def ask(
    host: str,
    port: int,
    method: str,
    path: str,
    body: str | None = None,
    version: int | None = None,
    *,
    is_probe: bool = False,
    headers: Mapping[str, str] | None = None,
    certificate: Path | None = None,
) -> dict[str, Any]:
    """Send one request to a server of this project, or to one version of two; return its JSON answer.

    What `is_probe` counts as no prediction; a server of an earlier release counts it all the same.
    """
    sent = body.encode() if body is not None else b"" if method == "POST" else None
    added = {"Mlops-Version": str(version)} if version else {}
    added |= {"Mlops-Probe": "1"} if is_probe else {}
    added |= headers or {}
    try:
        return http.ask(host, port, path, body=sent, headers=added, certificate=certificate, timeout_s=10).json()
    except (OSError, ValueError) as error:
        raise MlopsError(
            f"no answer from http://{host}:{port}{path}: {error}", "is it deployed? see: mlops status"
        ) from error


def _move_alias(project: Project, alias: str, release: Release, log: Log) -> None:
    try:
        registry = Registry.open(project)
        # The number alone may be that of another version by now.
        registry.set_alias(alias, registry.require(release.version, release.digest).number)
    except MlopsError as away:
        # What runs is right; only its mirror is late. A rollback must not depend on the registry.
        log(f"the alias {alias} was not moved: {away.problem}; next: {away.next_step}; then deploy again")
