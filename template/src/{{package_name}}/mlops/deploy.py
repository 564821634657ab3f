"""Making an environment match its file, on the project's target: a process of this machine, or containers."""

from __future__ import annotations

import http.client
import json
import time
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Protocol, cast

import msgspec

from . import environments, forge, native, packaging, privacy, signing
from .bundle import Bundle
from .errors import MlopsError
from .project import Environment, Project, Release
from .registry import Registry, Version, cached

#: Every deployment on this machine, a line each.
LEDGER = "ledger.jsonl"


class Target(Protocol):
    """What runs models: `native`, or the module that is named like the project's target."""

    def switch(self, project: Project, run: native.Run, rival: native.Rival | None, *, say: native.Say) -> None:
        """Let `run` answer the requests of its environment, and `rival` its part of them."""

    def status(self, project: Project, environment: str) -> Running | None:
        """What runs in an environment; `None` when nothing does."""

    def stop(self, project: Project, environment: str) -> bool:
        """Stop an environment; returns whether anything was running."""

    def log_of(self, project: Project, environment: str) -> str:
        """The command or file that shows what a server had to say."""


class Running(Protocol):
    """What is known of whatever runs."""

    @property
    def run(self) -> native.Run | None:
        """What answers requests."""

    @property
    def challenger(self) -> native.Rival | None:
        """What answers a part of them."""

    @property
    def version(self) -> int | None:
        """Its version."""

    @property
    def digest(self) -> str:
        """The digest of its bundle."""


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
        signing.verify(project, release, bundle)
        run, rival = _run(project, name, release, bundle, source), _rival(project, name, wanted)
        where = target(project)
        before = where.status(project, name)
        where.switch(project, run, rival, say=say)
        try:
            _smoke_test(wanted, release, bundle, where.log_of(project, name))
        except MlopsError:
            _restore(project, before, say)
            _write_ledger(project, name, release, "taken back")
            raise
        _move_alias(project, wanted.alias, release, say)
        _write_ledger(project, name, release, "deployed")
        if wanted.challenger:
            _write_ledger(project, name, wanted.challenger, f"deployed as {wanted.challenger.mode}")
    return release


def _run(project: Project, name: str, release: Release, bundle: Bundle, source: str) -> native.Run:
    serve = environments.load(project, name).serve
    hidden = privacy.prepare(project, name)
    if hidden:
        _require_that_hides(bundle, release)
    return native.Run(
        environment=name,
        version=release.version,
        digest=release.digest,
        commit=release.commit,
        bundle=str(bundle.path),
        # An image brings its own.
        python=str(packaging.install(project, bundle)) if project.tool.target == "native" else "",
        host=serve.host,
        port=serve.port,
        source=source,
        limits=project.policy.serving,
        workers=serve.workers,
        image=release.image or "",
        privacy=hidden,
    )


def _require_that_hides(bundle: Bundle, release: Release) -> None:
    """Refuse a version whose own code, which is what runs, knows of no columns to hide and would log them all."""
    if packaging.module_of(bundle, "mlops/privacy.py") is None:
        raise MlopsError(
            f"the code of version {release.version} is older than privacy.fields and would log every column as it is",
            "name a version that was registered since, or change privacy.fields in policy.yaml",
        )


def _rival(project: Project, name: str, wanted: Environment) -> native.Rival | None:
    """The challenger that the environment's file names, listening where only the champion finds it."""
    challenger = wanted.challenger
    if challenger is None:
        return None
    if wanted.champion and challenger.version == wanted.champion.version:
        raise MlopsError(
            f"{name}.yaml names version {challenger.version} as champion and as challenger",
            f"mlops challenge {name} --end",
        )
    environments.require_column(challenger.key)
    if project.policy.privacy.fields.get(challenger.key or "") == "drop":
        raise MlopsError(
            f"{name}.yaml lets {challenger.key} decide who answers, and privacy.fields drops it from the log",
            "hash it: then both versions can be compared",
        )
    bundle, source = _bundle(project, challenger)
    signing.verify(project, challenger, bundle)
    run = _run(project, name, challenger, bundle, source)
    # Seen from the folder for state, where servers are at home: a socket's path must be short.
    path = f"environments/{name}/v{challenger.version}-{challenger.digest[-8:]}.sock"
    at_home = msgspec.structs.replace(run, role="challenger", host=path, port=0, workers=1)
    return native.Rival(run=at_home, mode=challenger.mode, share=challenger.share, key=challenger.key)


def _bundle(project: Project, release: Release) -> tuple[Bundle, str]:
    """The release's bundle, verified against the digest that was reviewed, and where it was found."""
    local = cached(project, release.digest)
    if local:
        return local, "cache"
    registry = Registry.open(project)
    found = registry.find(str(release.version))
    promised = Version(found.number, release.digest, found.commit, found.run_id, found.source)
    return registry.fetch(promised), "registry"


def _smoke_test(wanted: Environment, release: Release, bundle: Bundle, log: str) -> None:
    """Ask what was deployed a question with a known answer, over the same address as clients do."""
    row = json.dumps(bundle.golden.rows[0])
    deadline = time.monotonic() + 15
    answered: dict[str, Any] = {}
    while time.monotonic() < deadline:
        answered = ask(wanted.serve.host, wanted.serve.port, "POST", "/predict", row, version=release.version)
        if answered.get("model", {}).get("digest") == release.digest:
            return
        time.sleep(0.1)  # the old version may answer until it has let go of the address
    raise MlopsError(
        f"the deployed server does not answer with version {release.version}: {answered}",
        f"read its log: {log}",
    )


def _restore(project: Project, before: Running | None, say: native.Say) -> None:
    """Let the version answer again that answered before."""
    if before and before.run:
        say(f"version {before.run.version} takes over again")
        target(project).switch(project, before.run, before.challenger, say=say)


def _write_ledger(project: Project, name: str, release: Release, outcome: str) -> None:
    """Note when which version came to this machine. What should run, and who said so, is in Git."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"at": at, "environment": name, "outcome": outcome, **msgspec.to_builtins(release)}
    with (project.state / LEDGER).open("ab") as ledger:
        ledger.write(msgspec.json.encode(entry) + b"\n")
    forge.of(project).summarize(f"{name}: version {release.version} {outcome} at {at}, `{release.digest}`")


def ask(
    host: str, port: int, method: str, path: str, body: str | None = None, version: int | None = None
) -> dict[str, Any]:
    """Send one request to a server of this project, or to one version of two; return its JSON answer."""
    headers = {"Content-Type": "application/json"} | ({"Mlops-Version": str(version)} if version else {})
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path, body, headers)
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
