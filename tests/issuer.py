"""A forge that signs tokens for its jobs, as GitHub does, and a cloud that takes them, as Google's and Azure's do."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

HOST = "127.0.0.1"


@dataclass
class Issuer:
    """Who signs, for a job whose subject is `subject`; `served` are the audiences for which a job has asked."""

    subject: str
    address: str = ""
    trusted: str = ""
    served: list[str] = field(default_factory=list)
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    @property
    def variables(self) -> dict[str, str]:
        """What a job with the permission `id-token: write` has in its environment."""
        address = f"{self.address}/token?api-version=2.0"
        return {"ACTIONS_ID_TOKEN_REQUEST_URL": address, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "a job's own"}

    def token(self, audience: str) -> str:
        """A token as a job shows it, good for some minutes."""
        now = int(time.time())
        claims = {"iss": self.address, "sub": self.subject, "aud": audience, "iat": now, "exp": now + 300}
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "one"})

    def answer(self, path: str, query: dict[str, list[str]], bearer: str) -> tuple[int, Any]:
        """What is said to somebody who gets this path."""
        if path == "/token" and bearer == "Bearer a job's own":
            self.served.append(query["audience"][0])
            return 200, {"value": self.token(query["audience"][0])}
        if path == "/.well-known/openid-configuration":
            return 200, {"issuer": self.address, "jwks_uri": f"{self.address}/keys"}
        if path == "/keys":
            public = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
            return 200, {"keys": [public | {"kid": "one", "alg": "RS256", "use": "sig"}]}
        return 403, {"message": "no job of this forge"}

    def exchange(self, form: dict[str, list[str]], audience: str, subject: str) -> tuple[int, Any]:
        """A token of the cloud for one of the forge that is for `audience` and of `subject`."""
        try:
            token = (form.get("subject_token") or form["client_assertion"])[0]
            shown = jwt.decode(token, self.key.public_key(), ["RS256"], audience=audience)
        except jwt.InvalidTokenError as problem:
            return 400, {"error": "invalid_grant", "error_description": str(problem)}
        if shown["sub"] != subject:
            return 400, {"error": "unauthorized_client", "error_description": f"{shown['sub']} is not {subject}"}
        given = {"access_token": "let in", "token_type": "Bearer", "expires_in": 3600}
        return 200, given | {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}


@contextmanager
def issuer(subject: str, certificate: Path | None = None) -> Iterator[Issuer]:
    """A forge whose jobs have this subject, also by TLS. Its cloud takes what is for `trusted` and of `SUBJECT`."""
    forge = Issuer(subject)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            self._say(*forge.answer(asked.path, parse_qs(asked.query), self.headers.get("Authorization", "")))

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._say(*forge.exchange(form, forge.trusted, SUBJECT))

        def _say(self, status: int, body: object) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    scheme = "http"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket, scheme = context.wrap_socket(server.socket, server_side=True), "https"
    forge.address = f"{scheme}://{HOST}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()


#: What `docs/ci.md` of a project tells a cloud to trust.
SUBJECT = "repo:acme/flight-delays:environment:training"
