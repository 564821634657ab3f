"""What it costs to ask who asks, and to keep the log in a bucket: processor time of a request, in one process.

Three servers stand beside each other without a network: one that asks nobody and logs into a folder, one to which one
of a thousand tokens comes with each request, and one that also spools its log for a bucket. Blocks of requests go to
them in turns, so that whatever else the machine does falls on all; the bytes of a request go in where its connection
would hand them in, and the answer is what would be written to it. What a network costs beside is the same for all, so
that the true ratios are nearer to 1.

    cd PROJECT && uv run --with obstore python .../benchmarks/access.py
"""

import argparse
import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import uvloop
from serving import SEAL, machine
from slipway.log.predictions import PredictionLog
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.serving.fastpath import Wire
from slipway.serving.guard import Guard
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer
from uvicorn.config import Config
from uvicorn.server import ServerState

ROUNDS, REQUESTS, WARM_UP, TOKENS = 400, 100, 2_000, 1_000
#: Nothing is uploaded here: a process of its own does that.
BUCKET = "s3://nobody/predictions"
NAMES = ("open, a folder", "tokens, a folder", "tokens, a bucket")


class Connection(asyncio.Transport):
    """Where answers are written to."""

    def __init__(self) -> None:
        """Nothing is answered yet."""
        super().__init__()
        self.answered = asyncio.Event()
        self.answer = b""

    def get_extra_info(self, name: str, default: object = None) -> object:
        """The client's address and the server's."""
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take an answer."""
        self.answer = bytes(data)
        self.answered.set()

    def is_closing(self) -> bool:
        """It never does."""
        return False

    def close(self) -> None:
        """End the run: an answer after which a server closes is none of those that are measured."""
        raise SystemExit(f"error: the server closed after {self.answer[:200]!r}")


def admitted(folder: Path) -> str:
    """Write who may ask; returns the token of one of them."""
    tokens = ["mlops_" + secrets.token_urlsafe(32) for _ in range(TOKENS)]
    digests = [f"sha256:{sha256(token.encode()).hexdigest()}" for token in tokens]
    named = {f"client-{number}": {"digest": digest} for number, digest in enumerate(digests)}
    content = {"deploying": digests[0], "tokens": named}
    (folder / "admitted.json").write_text(json.dumps(content), encoding="utf-8")
    return tokens[TOKENS // 2]


class Asked:
    """A server, and the requests that it gets."""

    def __init__(self, name: str, folder: Path, token: str, bundle: Bundle) -> None:
        """What it does is in its name; `folder` holds who may ask."""
        policy = Project(Path.cwd()).policy.serving
        policy.requests_per_second = 10**9  # one client asks for everything here
        state = folder / name
        state.mkdir()
        log = PredictionLog(state, "test", 1, bundle.digest, address=BUCKET if "bucket" in name else "")
        guard = Guard(folder / "admitted.json", "hmac:{:0>32}".format) if "tokens" in name else None
        served = Served("test", 1, bundle.digest, "-", "cache", "champion")
        app = create_app(ServingContext(Scorer(bundle), served, policy, log, guard=guard))
        config = Config(app, log_level="warning", lifespan="off", timeout_keep_alive=86_400)
        config.load()
        config.app = app
        self._wire = Wire(config=config, server_state=ServerState(), app_state={}, _loop=asyncio.get_running_loop())
        self._connection = Connection()
        self._wire.connection_made(self._connection)
        self._requests = [*_requests(bundle, token if guard else "")]

    async def block(self, requests: int) -> float:
        """The processor time of a request, in microseconds, over so many."""
        begin = time.process_time()
        for number in range(requests):
            self._connection.answered.clear()
            self._wire.data_received(self._requests[number % len(self._requests)])
            await self._connection.answered.wait()
        if not self._connection.answer.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"error: the server said {self._connection.answer[:200]!r}")
        return (time.process_time() - begin) / requests * 1e6


def _requests(bundle: Bundle, token: str) -> Iterator[bytes]:
    who = f"Authorization: Bearer {token}\r\n" if token else ""
    for row in bundle.golden.rows:
        body = json.dumps(row).encode()
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{who}"
        yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def measured(folder: Path, bundle: Bundle) -> dict[str, list[float]]:
    """Processor time of a request for each server, round by round."""
    token = admitted(folder)
    servers = {name: Asked(name, folder, token, bundle) for name in NAMES}
    for server in servers.values():
        await server.block(WARM_UP)
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    for turn in range(ROUNDS):
        for name in sorted(NAMES, reverse=turn % 2 == 1):
            found[name].append(await servers[name].block(REQUESTS))
    return found


def main() -> None:
    """Measure, and print the table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(name, "nobody")
    about = machine()
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-c", SEAL, str(Path(scratch) / "bundle")], check=True)
        found = uvloop.run(measured(Path(scratch), Bundle(Path(scratch) / "bundle").verify()))
    print(
        f"{about}\n\n| | processor µs/request, median | to the first, median of rounds (middle half) |\n|---|--:|--:|"
    )
    for name, times in found.items():
        ratios = [one / first for one, first in zip(times, found[NAMES[0]], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"| {name} | {statistics.median(times):.1f} | {middle:.3f} ({low:.3f} to {high:.3f}) |")


if __name__ == "__main__":
    main()
