"""Tokens that somebody else has signed: JSON Web Tokens of one issuer, checked with the keys that it publishes.

Needs the extra `jwt`. Keys are fetched in a thread, kept, and fetched again from time to time or for a key that is not
known yet. Where the issuer is away, those that are known go on being taken.
"""

from __future__ import annotations

import asyncio
import logging
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from slipway.base.errors import MlopsError
from slipway.settings.access import Issuer, is_trustworthy

if TYPE_CHECKING:
    import jwt

logger = logging.getLogger(__name__)

#: Keys are looked up again after this long, and for an unknown one at most so often.
REFRESH_S = 300.0
REFETCH_S = 10.0
PATIENCE_S = 5.0
MAX_BYTES = 1_000_000

#: What each kind of key signs with. Nothing that is signed with a secret: the keys are public.
_ALGORITHMS = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_REQUIRED = ("exp", "iss", "aud", "sub")


class TokenVerifier:
    """Checks tokens of one issuer."""

    def __init__(self, issuer: Issuer, forget: Callable[[], None]) -> None:
        """`forget` is called when the issuer has other keys: what they have signed has to be looked at again."""
        require_code()
        self._issuer = issuer
        self._forget = forget
        self._keys: dict[str, tuple[jwt.PyJWK, tuple[str, ...]]] = {}
        self._fetched_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._is_away = False

    def refresh_soon(self) -> None:
        """Fetch the keys in the background when they are old; outside an event loop, do nothing."""
        if self._fetched_at is not None and monotonic() - self._fetched_at < REFRESH_S:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self._start()

    async def verify(self, token: bytes) -> tuple[str, float]:
        """Return the subject of a token, and until when that may be remembered.

        Raises `PermissionError` for a token that is not good, and `ConnectionError` while there is no key.
        """
        import jwt

        try:
            text = token.decode("ascii")
            header = jwt.get_unverified_header(text)
            key, algorithms = await self._key(header.get("kid"))
            claims = jwt.decode(
                text,
                key.key,
                algorithms=algorithms,
                audience=self._issuer.audience,
                issuer=self._issuer.url,
                leeway=self._issuer.leeway_s,
                options={"require": list(_REQUIRED)},
            )
            return claims["sub"], float(claims["exp"]) + self._issuer.leeway_s
        # A stranger has written it: numbers without an end, and brackets in brackets, are no faults of ours.
        except (jwt.PyJWTError, ArithmeticError, RecursionError, TypeError, ValueError) as error:
            raise PermissionError(f"the token is not taken: {error}") from None

    async def _key(self, name: object) -> tuple[jwt.PyJWK, tuple[str, ...]]:
        found = self._keys.get(str(name))
        if found is None and self._may_fetch():
            self._start()
        if found is None and self._fetching is not None:
            await asyncio.shield(self._fetching)
            found = self._keys.get(str(name))
        if found is not None:
            return found
        if not self._keys:
            raise ConnectionError("no keys")
        raise PermissionError(f"the token is not taken: the issuer has no key {str(name)[:60]}")

    def _may_fetch(self) -> bool:
        return self._fetched_at is None or monotonic() - self._fetched_at >= REFETCH_S

    def _start(self) -> None:
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())

    async def _fetch(self) -> None:
        try:
            keys = await asyncio.to_thread(_keys_of, self._issuer)
        except (OSError, ValueError, HTTPException) as error:
            if not self._is_away:
                kept = f"{len(self._keys)} known keys go on being taken" if self._keys else "nobody's token is taken"
                logger.error("the issuer %s gives no keys, %s: %s", self._issuer.url, kept, error)
            self._is_away = True
        else:
            self._is_away = False
            if {name: key[0].key for name, key in keys.items()} != {n: key[0].key for n, key in self._keys.items()}:
                self._forget()
            self._keys = keys
        finally:
            self._fetched_at = monotonic()
            self._fetching = None


def require_code() -> None:
    """Refuse where PyJWT and what it checks signatures with are not installed."""
    try:
        import cryptography
        import jwt
    except ImportError as error:
        raise MlopsError(
            f"access names an issuer, and the code that looks at its tokens is not installed ({error})",
            "uv add 'slipway-mlops[jwt]', then register the version once more",
        ) from None
    del cryptography, jwt


def _keys_of(issuer: Issuer) -> dict[str, tuple[jwt.PyJWK, tuple[str, ...]]]:
    """The public keys of an issuer by their names; raises `OSError` or `ValueError` where it gives none."""
    import jwt

    address = issuer.jwks or _configured(issuer)
    keys = {}
    for one in _fetched(address).get("keys", []):
        algorithms = _algorithms_of(one)
        if algorithms and one.get("use", "sig") == "sig" and "kid" in one:
            try:
                keys[str(one["kid"])] = jwt.PyJWK(one, algorithms[0]), algorithms
            except jwt.PyJWTError as error:
                logger.warning("a key of %s is left out: %s", issuer.url, error)
    if not keys:
        raise ValueError(f"{address} holds no public key that signs and has a name (kid)")
    return keys


def _algorithms_of(key: dict[str, Any]) -> tuple[str, ...]:
    known = _ALGORITHMS.get((str(key.get("kty")), str(key.get("crv", ""))), ())
    return tuple(one for one in known if key.get("alg", one) == one)


def _configured(issuer: Issuer) -> str:
    """Where the keys are, by the issuer's OpenID configuration."""
    told = _fetched(f"{issuer.url.rstrip('/')}/.well-known/openid-configuration")
    address = str(told.get("jwks_uri"))
    if told.get("issuer") != issuer.url:
        raise ValueError(f"it calls itself {told.get('issuer')}")
    if not is_trustworthy(address):
        raise ValueError(f"its keys are at {address}, and keys are only fetched from https://")
    return address


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: what is fetched comes from where it was said to be."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Nowhere."""
        return


def _fetched(address: str) -> dict[str, Any]:
    opener = urllib.request.build_opener(_Straight)
    with opener.open(address, timeout=PATIENCE_S) as answer:
        content = answer.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{address} answers with more than {MAX_BYTES:,} bytes")
    return msgspec.json.decode(content, type=dict[str, Any])
