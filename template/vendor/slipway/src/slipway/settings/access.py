"""Who may ask an environment's server: what its file says under `access`, and under `serve` of how it is reached."""

from __future__ import annotations

from datetime import date
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from slipway.settings.base import Settings

TokenName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,39}$")]


class Token(Settings, omit_defaults=True):
    """A bearer token: the SHA-256 of its text, and the last day, in UTC, on which it is taken."""

    digest: Annotated[str, Meta(pattern="^sha256:[0-9a-f]{64}$")]
    until: date | None = None


class Issuer(Settings, omit_defaults=True):
    """Whose JSON Web Tokens are taken, if they are meant for `audience`.

    `jwks` is where its keys are; without it, its OpenID configuration says so. Its clock and this one may differ by
    `leeway_s` seconds.
    """

    url: str
    audience: str
    jwks: str | None = None
    leeway_s: Annotated[int, Meta(ge=0, le=300)] = 30

    def __post_init__(self) -> None:
        for name, address in (("url", self.url), ("jwks", self.jwks)):
            if address is not None and not is_trustworthy(address):
                raise ValueError(f"access.issuer.{name} is {address}, and keys are only fetched from https://")


class Access(Settings, omit_defaults=True):
    """Who may ask: the owners of `tokens`, and whomever the `issuer` vouches for.

    `anyone` says that whoever reaches the address may ask, which an address beyond this machine needs said.
    `plain` says that tokens may cross the network as they are: something else encrypts them. `metrics` can be closed,
    too; health is open.
    """

    tokens: dict[TokenName, Token] = msgspec.field(default_factory=dict)
    issuer: Issuer | None = None
    anyone: bool = False
    plain: bool = False
    metrics: Literal["open", "closed"] = "open"

    def __post_init__(self) -> None:
        is_somebody_named = bool(self.tokens) or self.issuer is not None
        if self.anyone and is_somebody_named:
            raise ValueError("access says anyone and names tokens or an issuer; it is one or the other")
        if not self.anyone and not is_somebody_named:
            raise ValueError("access names nobody; it holds tokens, an issuer, or anyone: true")


class Tls(Settings):
    """Files in PEM: a certificate with what signed it, and its key."""

    certificate: str
    key: str


def is_trustworthy(address: str) -> bool:
    """Whether what an address answers comes from whom it names: by TLS, or from this machine."""
    url = urlsplit(address)
    return bool(url.hostname) and (url.scheme == "https" or (url.scheme == "http" and is_local(url.hostname or "")))


def is_local(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_network(address: str) -> None:
    """Raise `ValueError` for what is neither an address nor a network."""
    ip_network(address, strict=False)
