"""Who may ask an environment's server: proposals that change it, and what a deployment tells the servers.

`mlops access` changes the block `access` of an environment's file, which holds digests of tokens alone. A deployment
writes `admitted.json` where the servers look for it, again and again, so that whoever is added or removed needs no
restart. Tokens are random and have 256 bits: guessing one is hopeless, so a plain digest protects them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import msgspec

from slipway.base import files
from slipway.base.errors import MlopsError
from slipway.delivery import environments, target
from slipway.delivery.target import Admitted, GuardedTarget, Run
from slipway.forge import git, proposals
from slipway.forge.proposals import Proposal, after_merge
from slipway.log import masks
from slipway.registry import packaging
from slipway.settings import edit
from slipway.settings.access import Access, Tls, Token, is_local
from slipway.settings.environment import Environment, Release
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

#: What a token begins with, so that whoever looks for secrets in texts finds it.
PREFIX = "mlops_"

PAGE = "vendor/slipway/docs/access.md"


@dataclass(frozen=True)
class Admission:
    """The token by which a deployment asks what it has deployed; empty where anybody may ask."""

    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What goes with a request."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def add(project: Project, environment: str, name: str, until: date | None = None) -> tuple[Proposal, str]:
    """Propose one more who may ask; returns the token, too, which is not kept anywhere.

    Raises `MlopsError` for a name that is taken, and for one that is none.
    """
    token = PREFIX + secrets.token_urlsafe(32)
    entry = Token(digest=digest_of(token), until=until)
    found = environments.load(project, environment).access
    if found and found.anyone:
        raise MlopsError(
            f"{_file(project, environment)} says that anyone may ask, so nobody needs a token",
            "take `anyone` out of its block `access` first",
        )
    if found and name in found.tokens:
        raise MlopsError(
            f"{environment} has a token with the name {name}",
            f"add the next one under another name, like {name}-2; remove {name} when nobody uses it any more",
        )
    facts = {key: value for key, value in msgspec.structs.asdict(entry).items() if value is not None}
    change: dict[str, Any]
    if not found:
        change = {"access": {"tokens": {name: facts}}}
    elif not found.tokens:
        change = {"access.tokens": {name: facts}}
    else:
        change = {f"access.tokens.{name}": facts}
    return _propose(
        project, environment, change, f"access/{environment}-{name}", f"Let {name} ask {environment}"
    ), token


def remove(project: Project, environment: str, name: str) -> Proposal:
    """Propose that the owner of a token may ask no more; refused for the last who may."""
    found = environments.load(project, environment).access
    if found is None or name not in found.tokens:
        known = ", ".join(found.tokens) if found else ""
        raise MlopsError(
            f"{environment} has no token with the name {name}", f"choose from {known}" if known else "nothing to do"
        )
    gone = f"access.tokens.{name}"
    if len(found.tokens) == 1:
        if found.issuer is None:
            raise MlopsError(
                f"{name} is the only one who may ask {environment}",
                f"add another one first: mlops access add NAME {environment}",
            )
        gone = "access.tokens"
    subject = f"Let {name} ask {environment} no more"
    return _propose(project, environment, {gone: edit.REMOVED}, f"access/{environment}-without-{name}", subject)


def _propose(project: Project, environment: str, places: Mapping[str, Any], branch: str, subject: str) -> Proposal:
    git.require_branch(project.root)
    with project.only_one("promote"):
        path = _file(project, environment)
        text = edit.edited((project.root / path).read_text("utf-8"), places, Environment, path)
        title, next_step = (
            f"{subject[0].lower()}{subject[1:]}: this is proposed",
            after_merge(branch, f"deploy {environment}"),
        )
        change = environments.with_files_beside(project, environment, text)
        return proposals.propose(project, branch, change, subject, title=title, next_step=next_step)


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return f"sha256:{sha256(token.encode()).hexdigest()}"


def listed(project: Project, environment: str, today: date) -> list[str]:
    """Who may ask, in a line each; with the name under which the log has them, where this machine knows that."""
    found = environments.load(project, environment).access
    if found is None or found.anyone:
        return ["anyone who reaches its address"]
    lines = []
    for name, token in found.tokens.items():
        until = f"until {token.until}" if token.until else ""
        late = ", which has passed" if token.until and token.until < today else ""
        lines.append(f"{name:<18}  {until + late or 'for good':<34}  {_in_log(project, environment, name)}".rstrip())
    if found.issuer:
        lines.append(f"whom {found.issuer.url} vouches for, to {found.issuer.audience}")
    return lines


def _in_log(project: Project, environment: str, name: str) -> str:
    try:
        return masks.mark_of(project.state, environment)(f"token:{name}")
    except MlopsError:
        return ""


def require_stated(project: Project, environment: str, wanted: Environment) -> None:
    """Refuse an address beyond this machine unless its file says who may ask there, and how tokens get there unread."""
    access, serve, path = wanted.access, wanted.serve, _file(project, environment)
    if is_local(serve.host) or (access and access.anyone):
        return
    if access is None:
        raise MlopsError(
            f"{path} lets others than this machine reach {serve.host}:{serve.port}, and does not say who may ask there",
            f"mlops access add NAME {environment}; or write anyone: true below access; {PAGE} tells more",
        )
    if not (serve.tls or serve.proxies or access.plain):
        raise MlopsError(
            f"tokens for {serve.host}:{serve.port} would cross the network for everybody to read",
            f"name a certificate in serve.tls or a proxy in serve.proxies of {path}; {PAGE} tells more",
        )


def guarded(project: Project, wanted: Environment, run: Run, release: Release, bundle: Bundle) -> Run:
    """The run with what its environment's file says of who may ask; refused where it would not be obeyed."""
    serve, access = wanted.serve, wanted.access
    is_guarded = access is not None and not access.anyone
    if not (is_guarded or serve.tls or serve.proxies):
        return run
    name, where = target.name_for(project, wanted), target.of(project, wanted)
    if is_guarded and not hasattr(where, "shared_folder"):
        raise MlopsError(f"the target {name} cannot be told who may ask", "name another target, or have it say so")
    is_closed = access is not None and access.metrics == "closed"
    if (serve.tls or serve.proxies or is_closed) and not getattr(where, "ends_tls", False):
        raise MlopsError(
            f"{name} has a proxy of its own, so serve.tls, serve.proxies and access.metrics are not for it",
            "take them out, and say access.plain: true where another proxy in front speaks HTTPS",
        )
    code = packaging.code_of(project, bundle, run.platform)
    if not packaging.serves_with(code, "guard"):
        raise MlopsError(
            f"the code of version {release.version} is older than `access` and would answer anybody",
            f"mlops promote {environments.FIRST} --version {release.version} --this-platform serves it with this one"
            if not where.needs_image
            else "register the version once more, then: mlops build --push",
        )
    if access and access.issuer and not packaging.requires(code, "pyjwt"):
        raise MlopsError(
            f"access names an issuer, and the code of version {release.version} cannot look at its tokens",
            "uv add 'slipway-mlops[jwt]', then register the version once more",
        )
    return msgspec.structs.replace(
        run, guarded=is_guarded, tls=_absolute(project, serve.tls), proxies=list(serve.proxies)
    )


def admit(project: Project, wanted: Environment, run: Run) -> Admission:
    """Tell the servers of an environment, those that run already too, who may ask from now on."""
    access = wanted.access
    if not run.guarded or access is None:
        return Admission()
    token = PREFIX + secrets.token_urlsafe(32)
    if not target.finds_keys(project, wanted):
        masks.make_key(project.state, run.environment)
    path = _admitted(project, wanted, run.environment)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Containers read it as a user of their own; there is no secret in it.
    files.write(path, msgspec.json.encode(admitted(access, token)), mode=0o644)
    return Admission(token)


def admitted(access: Access, token: str = "") -> Admitted:
    """What servers are told of who may ask, beside whoever has this token."""
    return Admitted(
        deploying=digest_of(token) if token else "",
        tokens=access.tokens,
        issuer=access.issuer,
        closes_metrics=access.metrics == "closed",
    )


def open_up(project: Project, wanted: Environment, run: Run) -> None:
    """Remove what nothing that runs looks at any more."""
    where = target.of(project, wanted)
    if not run.guarded and hasattr(where, "shared_folder"):
        _admitted(project, wanted, run.environment).unlink(missing_ok=True)


def _admitted(project: Project, wanted: Environment, environment: str) -> Path:
    return cast(GuardedTarget, target.of(project, wanted)).shared_folder(project, environment) / "admitted.json"


def _absolute(project: Project, tls: Tls | None) -> Tls | None:
    """A certificate by paths that a server finds, wherever it is started."""
    if tls is None:
        return None
    return Tls(certificate=str(project.root / tls.certificate), key=str(project.root / tls.key))


def _file(project: Project, environment: str) -> str:
    return environments.relative(project, environment)
