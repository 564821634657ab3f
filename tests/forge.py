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

from rendering import git

TOKEN = "a-token-of-a-job"
API = "/api/v3"


@dataclass
class Forge:
    """What is on the server. `calls` has every call that changed something; `refuses` maps a path's end to a reason."""

    folder: Path
    address: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    rulesets: list[dict[str, Any]] = field(default_factory=list)
    refuses: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """What a job gets to know of its forge."""
        return {"GITHUB_SERVER_URL": self.address, "GITHUB_API_URL": self.address + API}

    def create(self, repository: str) -> str:
        """Make an empty repository; return its address."""
        path = self.folder / repository
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--bare", "--initial-branch=main")
        return f"{self.address}/{repository}"

    def git(self, repository: str, *arguments: str) -> str:
        """Run git in a repository of the server."""
        return git(self.folder / repository, *arguments)

    def branches(self, repository: str) -> set[str]:
        """The branches of a repository."""
        return set(self.git(repository, "for-each-ref", "--format=%(refname:short)", "refs/heads").split())

    def answer(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        """Do what an authorised call asks for."""
        for end, reason in self.refuses.items():
            if path.endswith(end):
                return 403, {"message": reason}
        if method != "GET":
            self.calls.append((method, path, body))
        if path.endswith("/pulls"):
            return 201, {"html_url": f"{self.address}/pull/{len(self.calls)}"}
        if path.endswith("/dispatches"):
            return 204, None
        if "/rulesets" in path:
            return self._answer_rulesets(method, path.rpartition("/rulesets")[2].strip("/"), body)
        return 404, {"message": "Not Found"}

    def _answer_rulesets(self, method: str, id_: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        if method == "GET":
            return 200, self.rulesets[int(id_)] if id_ else [{"id": r["id"], "name": r["name"]} for r in self.rulesets]
        number = int(id_) if id_ else len(self.rulesets)
        self.rulesets[number : number + 1] = [(body or {}) | {"id": number}]
        return 200, {}


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

    do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Say nothing: what matters is in `calls`."""

    def _handle(self) -> None:
        url = urlsplit(self.path)
        content = self._content()
        if url.path.startswith(API):
            self._call(url.path.removeprefix(API), content)
        elif "git-receive-pack" in self.path and not self._is_authorised():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="forge"')
            self.end_headers()
        else:
            self._git(url.path, url.query, content)

    def _is_authorised(self) -> bool:
        basic = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
        return self.headers.get("Authorization") in (f"basic {basic}", f"Basic {basic}", f"Bearer {TOKEN}")

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
        if self._is_authorised():
            status, said = self.forge.answer(self.command, path, json.loads(content) if content else None)
        else:
            status, said = 401, {"message": "Bad credentials"}
        self.send_response(status)
        self.end_headers()
        if said is not None:
            self.wfile.write(json.dumps(said).encode())

    def _git(self, path: str, query: str, content: bytes) -> None:
        env = {"GIT_PROJECT_ROOT": str(self.forge.folder), "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "job"}
        env |= {"PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command}
        env |= {"CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(content))}
        env |= {"HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", "")}
        env |= {"GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
        done = subprocess.run(
            ["git", "http-backend"], input=content, env=os.environ | env, capture_output=True, check=True
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(lines.pop("Status", "200").split()[0]))
        for name, value in lines.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
