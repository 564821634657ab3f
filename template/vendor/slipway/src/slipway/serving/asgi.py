"""Reading a request and writing its answer as ASGI has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Message, Receive, Scope, Send

from slipway.contract.problems import Problem
from slipway.serving.protocols.base import Headers, Reply, Request, WireProtocol

#: A request that has not arrived in full after this long is given up; so is a connection without one.
READ_S = 20

#: The header by which a deployment says that it asks only to see whether it is answered.
PROBE = b"mlops-probe"

#: The name of who asks: of a scope's member, and of the header by which a champion tells its challenger.
IDENTITY = "mlops-identity"

#: The number of a version has no more; converting longer texts is refused by Python itself.
MAX_DIGITS = 9


def request_of(protocol: WireProtocol, body: bytes, scope: Scope) -> Request:
    """A request whose body has been read; raises `Problem` where its headers ask for what cannot be."""
    client = scope["client"][0] if scope["client"] else ""
    headers = dict(scope["headers"])
    who = scope.get(IDENTITY, "")
    version = asked_version(headers)
    return Request(protocol, scope["path"], body, client, version, is_probe=PROBE in headers, identity=who)


async def read_body(
    max_bytes: int, scope: Scope, receive: Receive, require: Callable[[Headers], None] | None = None
) -> bytes:
    """Read a body to its end: one of JSON, or what `require` lets in by its headers.

    Raises `Problem` for one that must not be read, and `ConnectionResetError` when it ends early.
    """
    (require or require_json)(scope["headers"])
    if int(dict(scope["headers"]).get(b"content-length", b"0")) > max_bytes:
        raise too_large(max_bytes)
    try:
        async with asyncio.timeout(READ_S):
            return await _read(max_bytes, receive)
    except TimeoutError:
        raise Problem(
            408, f"the body did not arrive within {READ_S} seconds", headers={"connection": "close"}
        ) from None


async def _read(max_bytes: int, receive: Receive) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise too_large(max_bytes)
        more = message.get("more_body", False)
    return bytes(body)


def too_large(max_bytes: int) -> Problem:
    """The refusal of a body that is larger than the policy allows."""
    # The rest of the body is not read, so the connection cannot be used again.
    return Problem(413, f"the body is larger than {max_bytes // 1024} kB", headers={"connection": "close"})


def require_plain(headers: Headers) -> None:
    """Refuse a body that is declared as compressed."""
    if packed := [value for name, value in headers if name == b"content-encoding" and value.lower() != b"identity"]:
        word = packed[0][:60].decode("latin-1")
        raise Problem(415, f"the body is compressed (content-encoding: {word}); send it as it is")


def require_json(headers: Headers) -> None:
    """Refuse a body that is declared as something else, or as compressed."""
    require_plain(headers)
    # Browsers let any page send other types to this machine; JSON they ask about first.
    if any(name == b"content-type" and b"json" not in value.lower() for name, value in headers):
        raise Problem(415, "the body must be JSON: send the header Content-Type: application/json")


def asked_version(headers: dict[bytes, bytes]) -> int | None:
    """The one version that the client wants to hear, if it says so."""
    asked = headers.get(b"mlops-version")
    if asked is None:
        return None
    if not asked.isdigit() or len(asked) > MAX_DIGITS:
        raise Problem(400, f"the header mlops-version names no version: {asked[:60].decode('latin-1')}")
    return int(asked)


async def respond(send: Send, reply: Reply) -> None:
    """Write an answer the ASGI way."""
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def send_and_close(send: Send, message: Message) -> None:
    """Make the client open another connection next time, which the new version will answer."""
    if message["type"] == "http.response.start":
        kept = [(name, value) for name, value in message["headers"] if name != b"connection"]
        message = {**message, "headers": [*kept, (b"connection", b"close")]}
    await send(message)
