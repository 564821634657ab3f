"""One HTTP request to a server of this project: over an address, or over a socket that has a path."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec


@dataclass(frozen=True)
class Answer:
    """What a server answered; the names of headers are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; raises `ValueError` when it is none."""
        return msgspec.json.decode(self.body, type=dict[str, Any])


def ask(
    host: str,
    port: int,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    unix_socket: str | None = None,
    certificate: Path | None = None,
    timeout_s: float = 5,
) -> Answer:
    """GET a path, or POST a JSON `body` to it; raises `OSError` when nobody answers, or not in HTTP.

    With a `certificate` it asks by HTTPS, and whoever shows another one than the first in this file is not asked.
    """
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        if certificate:
            connection = _pinned(host, port, certificate, timeout_s)
        if unix_socket:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(timeout_s)
            connection.sock.connect(unix_socket)
        sent = {"Content-Type": "application/json"} if body is not None else {}
        connection.request("GET" if body is None else "POST", path, body, {**sent, **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()})
    except http.client.HTTPException as error:
        raise ConnectionError(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()


def _pinned(host: str, port: int, certificate: Path, timeout_s: float) -> http.client.HTTPSConnection:
    """A connection to whoever shows this certificate, by whichever address it is reached."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    connection.connect()
    shown = connection.sock.getpeercert(binary_form=True)
    first = certificate.read_text("ascii", "replace").partition(ssl.PEM_FOOTER)[0].rpartition(ssl.PEM_HEADER)[2]
    if shown != ssl.PEM_cert_to_DER_cert(f"{ssl.PEM_HEADER}{first}{ssl.PEM_FOOTER}"):
        connection.close()
        raise ConnectionError(f"whoever answers does not show the certificate in {certificate}")
    return connection
