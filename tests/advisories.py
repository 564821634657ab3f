"""A database of known weaknesses on the loopback address, which speaks like the public one."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GHSA, CVE = "GHSA-aaaa-bbbb-cccc", "CVE-2026-1"
WEAKNESS = {
    "id": GHSA,
    "aliases": [CVE],
    "modified": "2026-01-01T00:00:00Z",
    "published": "2026-01-01T00:00:00Z",
    "summary": "Six is seven",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "six"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
        }
    ],
}


@contextmanager
def database(*known: str) -> Iterator[str]:
    """Answer that every package has these weaknesses."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            vulns = [{"id": one, "modified": WEAKNESS["modified"]} for one in known]
            self._say({"results": [{"vulns": vulns} for _ in asked]})

        def do_GET(self) -> None:
            self._say(WEAKNESS)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _say(self, what: object) -> None:
            content = json.dumps(what).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
