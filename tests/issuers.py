"""An issuer of JSON Web Tokens on the loopback address, whose keys and moods a test changes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "flights"
_MAKERS: dict[str, tuple[Any, Any]] = {
    "RS256": (lambda: rsa.generate_private_key(65537, 2048), RSAAlgorithm),
    "ES256": (lambda: ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate, OKPAlgorithm),
}


class OpenIdIssuer:
    """What such a server publishes, and what it signs."""

    def __init__(self, *algorithms: str) -> None:
        self.url = ""
        self.is_away = False
        self.asked = 0
        self.keys: dict[str, Any] = {}
        self.published: dict[str, dict[str, Any]] = {}
        for algorithm in algorithms:
            self.new_key(algorithm, algorithm)

    def new_key(self, name: str, algorithm: str) -> None:
        """Make a key and publish its public half."""
        make, kind = _MAKERS[algorithm]
        self.keys[name] = make()
        public = json.loads(kind.to_jwk(self.keys[name].public_key()))
        self.published[name] = {"kid": name, "use": "sig", "alg": algorithm} | public

    def claims(self, **changed: object) -> dict[str, Any]:
        """What a good token says; a member that is changed to `None` goes."""
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "ada@example.com", "iat": now, "exp": now + 600}
        return {name: value for name, value in (said | changed).items() if value is not None}

    def token(self, key: str = "ES256", *, headers: dict[str, Any] | None = None, **changed: object) -> str:
        """A token that is signed with one of the keys."""
        algorithm = self.published[key]["alg"]
        return jwt.encode(self.claims(**changed), self.keys[key], algorithm, {"kid": key} | (headers or {}))


@contextmanager
def openid_issuer(*algorithms: str) -> Iterator[OpenIdIssuer]:
    """Serve what an issuer publishes, on a free port."""
    issuer = OpenIdIssuer(*algorithms)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            pages: dict[str, Any] = {
                "/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"},
                "/keys": {"keys": [*issuer.published.values()]},
            }
            body = json.dumps(pages.get(self.path, {})).encode()
            self.send_response(503 if issuer.is_away else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
