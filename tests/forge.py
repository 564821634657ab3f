"""A small GitHub on the loopback address: repositories over HTTP, and the few calls that a project makes.

Git's own server program does the work for repositories. Anybody may read; pushing and calling take the token,
as there, so that a job whose token was forgotten or is not allowed to push fails here, too.
"""

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hub import BOT, Hub
from rendering import git

TOKEN = "a-token-of-a-job"
API = "/api/v3"


@dataclass
class Forge:
    """What is on the server. `calls` has every call that changed something; `refuses` maps a path's end to a reason."""

    folder: Path
    address: str = ""
    #: Whether reading takes a token, too.
    is_private: bool = False
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    refuses: dict[str, str] = field(default_factory=dict)
    hubs: dict[str, Hub] = field(default_factory=dict)
    #: Who comes with which token.
    logins: dict[str, str] = field(default_factory=lambda: {TOKEN: BOT})

    @property
    def env(self) -> dict[str, str]:
        """What a job gets to know of its forge."""
        return {"GITHUB_SERVER_URL": self.address, "GITHUB_API_URL": self.address + API}

    def create(self, repository: str, branch: str = "main") -> str:
        """Make an empty repository with this default branch; return its address."""
        self.hubs[repository] = Hub.create(repository, self.folder, branch)
        return f"{self.address}/{repository}"

    def token_of(self, login: str) -> str:
        """A token of a person."""
        token = f"a-token-of-{login}"
        self.logins[token] = login
        return token

    def git(self, repository: str, *arguments: str) -> str:
        """Run git in a repository of the server."""
        return git(self.folder / repository, *arguments)

    def branches(self, repository: str) -> set[str]:
        """The branches of a repository."""
        return set(self.hubs[repository].heads())

    def answer(self, method: str, address: str, body: dict[str, Any] | None, login: str = BOT) -> tuple[int, Any]:
        """Do what an authorised call asks for."""
        url = urlsplit(address)
        for end, reason in self.refuses.items():
            if url.path.endswith(end) and method != "GET":
                return 403, {"message": reason}
        if method != "GET":
            self.calls.append((method, url.path, body))
        _, repos, owner, name, *rest = [*url.path.split("/"), "", ""]
        hub = self.hubs.get(f"{owner}/{name}")
        if repos != "repos" or hub is None:
            return 404, {"message": "Not Found"}
        return hub.answer(method, "/".join(["", *filter(None, rest)]).rstrip("/"), url.query, body or {}, login)


@contextmanager
def forge(folder: Path) -> Iterator[Forge]:
    """Serve repositories below a folder until the block ends."""
    there = Forge(folder)

    class Handler(_Handler):
        forge = there

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield there
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    forge: Forge

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Say nothing: what matters is in `calls`."""

    def _handle(self) -> None:
        url = urlsplit(self.path)
        content = self._content()
        if url.path.startswith(API):
            self._call(self.path.removeprefix(API), content)
        elif self._login() is None and ("git-receive-pack" in self.path or self.forge.is_private):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="forge"')
            self.end_headers()
        else:
            self._git(url.path, url.query, content)

    def _login(self) -> str | None:
        """Who comes, by the token."""
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        token = base64.b64decode(given).decode().partition(":")[2] if kind.lower() == "basic" else given
        return self.forge.logins.get(token)

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _call(self, path: str, content: bytes) -> None:
        login = self._login()
        if login is not None:
            status, said = self.forge.answer(self.command, path, json.loads(content) if content else None, login)
        else:
            status, said = 401, {"message": "Bad credentials"}
        self.send_response(status)
        self.end_headers()
        if said is not None:
            self.wfile.write(json.dumps(said).encode())

    def _git(self, path: str, query: str, content: bytes) -> None:
        login = self._login() or "nobody"
        hub = next((hub for name, hub in self.forge.hubs.items() if path.startswith(f"/{name}/")), None)
        pushes = hub is not None and path.endswith("git-receive-pack") and self.command == "POST"
        before = hub.heads() if hub and pushes else {}
        env = {"GIT_PROJECT_ROOT": str(self.forge.folder), "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": login}
        env |= {"PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command}
        env |= {"CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(content))}
        env |= {"HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", "")}
        env |= {"GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
        done = subprocess.run(
            ["git", "http-backend"], input=content, env=os.environ | env, capture_output=True, check=True
        )
        if hub and pushes:
            hub.pushed(before, login)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(lines.pop("Status", "200").split()[0]))
        for name, value in lines.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
