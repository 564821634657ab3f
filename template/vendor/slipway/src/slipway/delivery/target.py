"""What runs models: the seam between deploying a version and whatever serves it.

A target is found by its name, which an environment's file says. Other distributions bring one under the
entry-point group `slipway.target`: a module or an object with the functions of `Target`. Nothing but this registry
knows which targets there are.

The structures here are what a target, its servers and the rest of the platform tell each other.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, cast

import msgspec

from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.log.posted import LabelForm
from slipway.settings.access import Issuer, Tls, Token
from slipway.settings.environment import Environment, Platform
from slipway.settings.policy import Hidden, ServingPolicy
from slipway.settings.project import Project

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from slipway.training.bundle import Bundle

GROUP = "slipway.target"

#: The targets that come with the platform, and their modules.
_OWN = {name: f"slipway.delivery.{name}.target" for name in ("compose", "kubernetes", "native")}


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A model version on its way to an address: which bundle, served by what, within which limits.

    A challenger's `host` is the path of its socket, as seen from the folder for state, and its port is 0.
    `privacy` says which columns the log does not hold as they are. `program` and `supervisor` are the modules that
    the bundle's own code is started by; runs that earlier releases wrote down name none. `platform` is the one that
    serves it, where that is not the one in the bundle. Where it is `guarded`, only those may ask whom `Admitted` names.
    Where there are `labels`, it takes what has this form. Others are told `platform_digest`, and by which `file_commit`
    of the environment's file it was deployed.
    """

    environment: str
    version: int
    digest: str
    commit: str
    bundle: str
    python: str
    host: str
    port: int
    source: str
    limits: ServingPolicy
    image: str = ""
    workers: int = 1
    role: Literal["champion", "challenger"] = "champion"
    privacy: dict[str, Hidden] = {}
    program: str = ""
    supervisor: str = ""
    platform: Platform | None = None
    guarded: bool = False
    tls: Tls | None = None
    proxies: list[str] = []
    labels: LabelForm | None = None
    platform_digest: str = ""
    file_commit: str = ""

    def matches(self, other: Run) -> bool:
        """Whether both answer the same at the same address.

        Where the bundle was found is no difference, nor which commit said so; programs and the platform's digest
        follow from bundle and platform.
        """
        told = ("source", "program", "supervisor", "platform_digest", "file_commit")
        same = {name: getattr(other, name) for name in told}
        return msgspec.structs.replace(self, **same) == other


class Rival(msgspec.Struct, frozen=True, kw_only=True):
    """A challenger, and which part of the traffic it gets; see `settings.environment.Challenger`."""

    run: Run
    mode: Literal["canary", "shadow"]
    share: float
    key: str | None = None

    def matches(self, other: Rival) -> bool:
        """Whether both get the same traffic and answer the same."""
        return self.run.matches(other.run) and msgspec.structs.replace(self, run=other.run) == other


def beside_champion(run: Run) -> Run:
    """The run as a challenger, listening where only its champion finds it.

    Seen from the folder for state, in which servers run: a socket's path must be short.
    """
    path = f"environments/{run.environment}/v{run.version}-{run.digest[-8:]}.sock"
    return msgspec.structs.replace(run, role="challenger", host=path, port=0, workers=1)


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """`traffic.json`: what the champion must know of a challenger that is ready; `counts` is its folder of counts."""

    version: int
    socket: str
    counts: str
    mode: Literal["canary", "shadow"]
    share: float
    key: str | None = None


class Admitted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`admitted.json`: who may ask a server that is guarded; without a file that can be read, nobody.

    `deploying` is the digest of the token by which this machine asks; empty where it asks nothing.
    """

    deploying: str
    tokens: dict[str, Token] = {}
    issuer: Issuer | None = None
    closes_metrics: bool = False


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a server process is started with: run, folder for state, listening socket, socket for its messages.

    `traffic` is the file and `counts` the folder of that name. `limits` are all of them: those of the run are
    only what the code of an earlier release, to which somebody rolls back, understands. `admitted` is the file of that
    name, for a run that is guarded.
    """

    run: Run
    state: str
    fd: int
    link: int
    limits: ServingPolicy | None = None
    traffic: str | None = None
    counts: str | None = None
    admitted: str | None = None


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of JSON from a server process to whoever started it.

    `event` is `ready`, `alive`, `draining` or `failed`; what another release says beside that is passed over.
    """

    event: str
    problem: str = ""
    next_step: str = ""


class Running(Protocol):
    """What is known of whatever runs."""

    @property
    def run(self) -> Run | None:
        """What answers requests."""

    @property
    def challenger(self) -> Rival | None:
        """What answers a part of them."""

    @property
    def version(self) -> int | None:
        """Its version."""

    @property
    def digest(self) -> str:
        """The digest of its bundle."""


class Target(Protocol):
    """What runs models."""

    @property
    def needs_image(self) -> bool:
        """Whether a release must name a container image to run here."""

    def prepare(self, project: Project, run: Run, bundle: Bundle) -> Run:
        """Get ready what a run needs, and return it with that; refuse what cannot run here.

        Nothing that runs is touched, so it is asked before anything is stopped.
        """

    def switch(self, project: Project, run: Run, rival: Rival | None, *, log: Log) -> None:
        """Let `run` answer the requests of its environment, and `rival` its part of them.

        Returns when the new server has proven itself and the old one takes no more requests; raises `MlopsError`,
        with the old one still answering, when it cannot prove itself. Safe to run again.
        """

    def status(self, project: Project, environment: str) -> Running | None:
        """What runs in an environment; `None`, without asking anything far away, where this target runs nothing."""

    def stop(self, project: Project, environment: str) -> bool:
        """Stop an environment after its last request; returns whether anything was running."""

    def log_of(self, project: Project, environment: str) -> str:
        """The command or file that shows what a server had to say."""


class GuardedTarget(Target, Protocol):
    """A target whose servers can be told who may ask. Without this, an environment that says so is refused there.

    With `ends_tls` they speak HTTPS themselves, by `Run.tls`, and believe `Run.proxies`. Where they are elsewhere,
    `has_keys` says that they find the keys of their log there, and `notice_s` how long they may take to notice a file.
    """

    @property
    def ends_tls(self) -> bool:
        """Whether servers speak HTTPS themselves."""

    @property
    def has_keys(self) -> bool:
        """Whether no key of the log is made on this machine."""

    @property
    def notice_s(self) -> float:
        """How long servers may take until they notice a file that has changed."""

    def shared_folder(self, project: Project, environment: str) -> Path:
        """The folder in which the servers of an environment find `admitted.json`."""


class ClusterTarget(Target, Protocol):
    """A target on other machines, which need not be reached by the addresses of environments' files.

    Its image holds the bundle, too (`holds_bundle`). Without `tries_challengers`, an environment that names one is
    refused there. Where it `pulls`, `switch` waits until something else has made it so, and nothing is `reached`.
    """

    @property
    def holds_bundle(self) -> bool:
        """Whether a release's image has to hold its bundle."""

    @property
    def tries_challengers(self) -> bool:
        """Whether a second version can run beside the champion."""

    def pulls(self, project: Project) -> bool:
        """Whether something in the cluster makes it what Git says, so that nobody here does."""

    def files_beside(self, project: Project, environment: str, wanted: Environment) -> dict[str, str]:
        """The text of each file that has to say the same as the environment's, by its path."""

    def address(self, project: Project, environment: str) -> str:
        """Where clients find an environment."""

    def reached(self, project: Project, run: Run) -> Generator[Run]:
        """Each server that answers with `run`, at an address of this machine until the next one is asked for."""


def reach(project: Project, name: str, run: Run) -> AbstractContextManager[Iterator[Run]]:
    """The servers of a run on the target `name`, each at the address by which this machine reaches it."""
    where = find(name)
    if hasattr(where, "reached"):
        return closing(cast(ClusterTarget, where).reached(project, run))
    return nullcontext(iter([run]))


def finds_keys(project: Project, wanted: Environment) -> bool:
    """Whether servers of an environment find the keys of their log where they are, so that none is made here."""
    return bool(getattr(of(project, wanted), "has_keys", False))


def address_of(project: Project, environment: str, wanted: Environment) -> str:
    """Where clients find an environment."""
    where = of(project, wanted)
    if hasattr(where, "address"):
        return cast(ClusterTarget, where).address(project, environment)
    return f"http://{wanted.serve.host}:{wanted.serve.port}"


def is_pulled(project: Project, wanted: Environment) -> bool:
    """Whether something in a cluster makes an environment what Git says, so that nobody here does."""
    where = of(project, wanted)
    return hasattr(where, "pulls") and cast(ClusterTarget, where).pulls(project)


def require_challengers(project: Project, environment: str, wanted: Environment) -> None:
    """Refuse a challenger where the target runs one version alone."""
    if not getattr(of(project, wanted), "tries_challengers", True):
        raise MlopsError(
            f"{name_for(project, wanted)} runs one version of {environment}, so it can try no challenger there",
            f"mlops challenge {environment} --end; or try it in an environment with another target",
        )


def names() -> list[str]:
    """The targets that an environment's file can name here."""
    return sorted({*_OWN, *_plugged()})


def find(name: str) -> Target:
    """The target of this name; refused with the names there are when there is none."""
    if name not in names():
        raise MlopsError(f"there is no target {name}", f"choose from {', '.join(names())}", exit_code=2)
    outside = _plugged().get(name)
    return cast(Target, outside.load() if outside else import_module(_OWN[name]))


def name_for(project: Project, wanted: Environment) -> str:
    """The name of the target that an environment asks for; older files say none, and pyproject.toml does."""
    return wanted.target or project.tool.target


def of(project: Project, wanted: Environment) -> Target:
    """The target that an environment asks for."""
    return find(name_for(project, wanted))


def _plugged() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {one.name: one for one in entry_points(group=GROUP)}
