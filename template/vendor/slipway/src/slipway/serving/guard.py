"""Who may ask this server: bearer tokens and JSON Web Tokens, looked at before anything else of a request.

`admitted.json` names them (see `delivery/access.py`) and may change at any time. A file that is missing or cannot be
read admits nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import partial
from hashlib import blake2b, sha256
from math import inf
from pathlib import Path
from secrets import token_bytes
from time import time as now
from typing import NamedTuple

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from slipway.base.errors import MlopsError
from slipway.contract.problems import Problem
from slipway.delivery.target import Admitted
from slipway.serving.asgi import IDENTITY, respond
from slipway.serving.issuer import TokenVerifier
from slipway.serving.protocols.base import Headers, Reply
from slipway.settings.access import Issuer, Token

logger = logging.getLogger(__name__)

#: Tokens of issuers have one or two kilobytes.
MAX_TOKEN = 8_192
_SCHEME = b"bearer "
#: So many verified tokens are remembered.
MAX_VERIFIED = 10_000

#: What says nothing of the model's answers, and whoever keeps servers alive has to ask.
OPEN = frozenset(("/", "/live", "/ready", "/version", "/ping", "/v2/health/live", "/v2/health/ready"))
METRICS = "/metrics"

#: How the one who deploys is called in the log.
DEPLOYING = "deploying"


class Known(NamedTuple):
    """Who a token belongs to, as the log has it, and until when it is taken."""

    identity: str
    until: float


class Guard:
    """Tells who asks, and refuses who may not."""

    def __init__(self, path: Path, mark: Callable[[str], str]) -> None:
        """`path` is that of `admitted.json`; `mark` makes of a name what the log may hold of it."""
        self._path = path
        self._mark = mark
        self._seen: tuple[int, int] | None = None
        self._problem = ""
        self._tokens: dict[bytes, Known] = {}
        self._verified: dict[bytes, Known] = {}
        self._keyed = blake2b(digest_size=32, key=token_bytes(32))
        self._issuer: Issuer | None = None
        self._verifier: TokenVerifier | None = None
        self._open = OPEN
        self._read()

    def tick(self) -> None:
        """Take notice of others who may ask, and of newer keys of the issuer. Called several times a second."""
        self._read()
        if self._verifier is not None:
            self._verifier.refresh_soon()

    def is_open(self, path: str) -> bool:
        """Whether anybody may ask for this path."""
        return path in self._open

    def identity(self, headers: Headers) -> str | None:
        """Who asks, where that is known without asking anybody else; `None` otherwise."""
        given = _given(headers)
        return self.identity_of(given[0]) if len(given) == 1 else None

    def identity_of(self, given: bytes) -> str | None:
        """Do what `identity` does, for the value of a request's one header Authorization."""
        # Digests decide, not the text: how long this takes says nothing of any token that is taken.
        if len(given) > len(_SCHEME) + MAX_TOKEN:
            return None
        found = self._verified.get(self._digest(given))
        if found is None:
            token = _token_in(given)
            found = self._tokens.get(sha256(token).digest()) if token is not None else None
            if found is None:
                return None
            self._remember(given, found)
        return found.identity if now() < found.until else None

    def _digest(self, given: bytes) -> bytes:
        """What is remembered of a header: SHA-256, by which files have tokens, costs a busy server much more."""
        digest = self._keyed.copy()
        digest.update(given)
        return digest.digest()

    def _remember(self, given: bytes, known: Known) -> None:
        if len(self._verified) >= MAX_VERIFIED:
            self._verified.clear()
        self._verified[self._digest(given)] = known

    async def admit(self, headers: Headers) -> str:
        """Who asks; raises `Problem` for whoever may not."""
        # One that was added this moment is not refused.
        found = self.identity(headers)
        if found is None:
            self._read()
            found = self.identity(headers)
        if found is not None:
            return found
        if self._problem:
            raise Problem(503, "nobody may ask at the moment; the server's log says why", headers={"retry-after": "1"})
        token = _bearer(headers)
        if token is None:
            raise _denied(_wrong(headers))
        if self._verifier is None or token.count(b".") != 2:
            raise _denied("this token is not known here, or no longer", "invalid_token")
        return await self._verify(self._verifier, token, _given(headers)[0])

    async def _verify(self, verifier: TokenVerifier, token: bytes, given: bytes) -> str:
        try:
            subject, until = await verifier.verify(token)
        except PermissionError as refused:
            raise _denied(str(refused), "invalid_token") from None
        except ConnectionError:
            raise Problem(
                503, "the keys of the issuer are not known here yet; ask again", headers={"retry-after": "1"}
            ) from None
        identity = self._mark(f"subject:{subject}")
        if verifier is self._verifier:
            self._remember(given, Known(identity, until))
        return identity

    def _read(self) -> None:
        try:
            facts = self._path.stat()
            seen = (facts.st_ino, facts.st_mtime_ns)
            if seen == self._seen:
                return
            admitted = msgspec.json.decode(self._path.read_bytes(), type=Admitted)
            self._admit(admitted)
        except (OSError, ValueError) as error:
            self._admit_nobody(f"{self._path} cannot be read: {error}")
        except MlopsError as error:
            self._admit_nobody(f"{error.problem}; next: {error.next_step}")
        else:
            self._seen, self._problem = seen, ""

    def _admit(self, admitted: Admitted) -> None:
        self._verified.clear()
        self._tokens = {bytes.fromhex(one.digest[7:]): self._known(name, one) for name, one in admitted.tokens.items()}
        self._tokens[bytes.fromhex(admitted.deploying[7:])] = Known(self._mark(DEPLOYING), inf)
        self._open = OPEN if admitted.closes_metrics else OPEN | {METRICS}
        if admitted.issuer != self._issuer:
            self._verifier = TokenVerifier(admitted.issuer, self._verified.clear) if admitted.issuer else None
            self._issuer = admitted.issuer

    def _known(self, name: str, token: Token) -> Known:
        last = datetime.combine(token.until, time(), UTC) + timedelta(days=1) if token.until else None
        return Known(self._mark(f"token:{name}"), last.timestamp() if last else inf)

    def _admit_nobody(self, problem: str) -> None:
        if problem != self._problem:
            logger.error("nobody may ask: %s", problem)
        self._seen, self._problem, self._issuer, self._verifier, self._open = None, problem, None, None, OPEN
        self._tokens.clear()
        self._verified.clear()


class Guarded:
    """An ASGI application that answers only to whom a guard admits; nothing of a request is read before that."""

    def __init__(self, app: ASGIApp, guard: Guard, refuse: Callable[[str, Problem], Reply]) -> None:
        self._app = app
        self._guard = guard
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with the identity of who asks; or refuse it."""
        if not self._guard.is_open(scope["path"]):
            try:
                scope[IDENTITY] = await self._guard.admit(scope["headers"])
            except Problem as problem:
                await respond(send, self._refuse(scope["path"], problem))
                return
        await self._app(scope, receive, send)


def introduced(app: ASGIApp) -> ASGIApp:
    """The application of a challenger, which only its champion reaches, and which believes it who asks."""
    return partial(_introduced, app)


async def _introduced(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    scope[IDENTITY] = dict(scope["headers"]).get(IDENTITY.encode(), b"").decode("latin-1")
    await app(scope, receive, send)


def _given(headers: Headers) -> Sequence[bytes]:
    return [value for name, value in headers if name == b"authorization"]


def _bearer(headers: Headers) -> bytes | None:
    """The token of a request; `None` for none, for two, and for what cannot be one."""
    given = _given(headers)
    return _token_in(given[0]) if len(given) == 1 else None


def _token_in(given: bytes) -> bytes | None:
    scheme, token = given[: len(_SCHEME)], given[len(_SCHEME) :]
    return token if scheme.lower() == _SCHEME and 0 < len(token) <= MAX_TOKEN else None


def _wrong(headers: Headers) -> str:
    """Why a request has no token."""
    given = _given(headers)
    if not given:
        return "only who is known may ask here: send the header Authorization: Bearer <token>"
    if len(given) > 1:
        return "the header Authorization stands there twice"
    if len(given[0]) > MAX_TOKEN:
        return "the token is too long to be one"
    return "the header Authorization must be: Bearer <token>"


def _denied(detail: str, error: str = "") -> Problem:
    challenge = f'Bearer error="{error}"' if error else "Bearer"
    return Problem(401, detail, headers={"www-authenticate": challenge})
