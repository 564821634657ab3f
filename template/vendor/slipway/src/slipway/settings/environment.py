"""The files in `deploy/environments/`: which version shall run where."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from slipway.settings.access import Access, Tls, require_network
from slipway.settings.base import Count, Settings, Share


class Platform(Settings):
    """The platform's code: its version, the digest of its wheel, and a commit of this project that makes it."""

    version: str
    digest: Annotated[str, Meta(pattern="^sha256:[0-9a-f]{64}$")]
    commit: Annotated[str, Meta(pattern="^[0-9a-f]{40}$")]


class Release(Settings, omit_defaults=True):
    """A model version, pinned: the digest says which bytes, the commit says which code.

    `image` holds that code where containers run it; it is pinned by a digest of its own. `platform` serves the
    version in the place of the one that it was registered with.
    """

    version: Count
    digest: Annotated[str, Meta(pattern="^sha256:[0-9a-f]{64}$")]
    commit: Annotated[str, Meta(pattern="^[0-9a-f]{40}$")]
    image: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}$")] | None = None
    platform: Platform | None = None


class Challenger(Release, kw_only=True):
    """A second version beside the champion.

    In a `canary` it answers a part of the requests, in a `shadow` it gets copies and its answers are only
    recorded. `share` is that part. `key` names the column whose value decides who answers, so that equal
    values always meet the same version; without it the whole request decides.
    """

    mode: Literal["canary", "shadow"]
    share: Share = -1.0  # as `mode` has it, until somebody says otherwise
    key: str | None = None

    def __post_init__(self) -> None:
        if self.share < 0:
            self.share = {"canary": 0.1, "shadow": 1.0}[self.mode]


class ServeAddress(Settings):
    """Where the server of an environment listens, and how many processes answer there.

    With `tls` it speaks HTTPS. `proxies` are the addresses or networks whose X-Forwarded-For is believed. With
    `labels` it is told at `/labels` what happened.
    """

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)]
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    labels: bool = False
    tls: Tls | None = None
    proxies: list[str] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        for proxy in self.proxies:
            try:
                require_network(proxy)
            except ValueError:
                raise ValueError(f"serve.proxies holds {proxy}, which is no address and no network") from None


class Environment(Settings):
    """`deploy/environments/<name>.yaml`: the desired state of one environment.

    `target` names what runs it; a file without one follows `[tool.mlops]`, where earlier releases asked. `access` says
    who may ask; without it, whoever reaches the address.
    """

    alias: str
    serve: ServeAddress
    champion: Release | None
    challenger: Challenger | None = None
    target: str | None = None
    access: Access | None = None
