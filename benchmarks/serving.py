"""How fast a generated project's server is, beside an application that does nothing.

Each runs in a process of its own and is asked in turns by `wrk` with one thread and eight connections, so that
what else the machine does falls on all of them. The no-op is an ASGI application on uvicorn as it comes. The
server does everything it does in production: it checks each row against the contract, scores it, counts it and
records it. Beside it: the same without the prediction log, and the same with a challenger in shadow that
scores a copy of every request. Needs `wrk`, and a project whose pipeline has run:

    python benchmarks/serving.py PROJECT
"""

import argparse
import http.client
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 5
SECONDS = 6
WARM_UP_SECONDS = 2

NOOP = """
import sys, uvicorn

BODY = b"x" * 170
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"170")]


async def app(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


uvicorn.run(app, port=int(sys.argv[1]), access_log=False, lifespan="off", ws="none", log_level="warning")
"""

SERVER = """
import socket, sys
from pathlib import Path
from slipway.serving.app import create_app
from slipway.training.bundle import Bundle
from slipway.serving.context import Served, ServingContext
from slipway.serving.link import Link
from slipway.log.predictions import PredictionLog
from slipway.settings.project import Project
from slipway.training.scoring import Scorer
from slipway.serving.worker import Worker, listen

port, name, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
bundle = Bundle(folder / "bundle").verify()
policy = Project(Path.cwd()).policy.serving
policy.requests_per_second = 10**9  # one client asks for everything here
policy.max_body_kb = 65_536
role = "challenger" if name == "challenger" else "champion"
log = None if name == "no log" else PredictionLog(folder, name, 1, bundle.digest)
traffic = folder / "traffic.json" if name == "shadow" else None
served = Served(name, 1, bundle.digest, "-", "cache", role)
guarded = {}
if name.startswith("guarded"):
    from slipway.serving.guard import Guard
    guarded = {"guard": Guard(folder / "admitted.json", "hmac:{:0>32}".format)}
app = create_app(ServingContext(Scorer(bundle), served, policy, log, traffic=traffic, **guarded))
if role == "challenger":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "challenger.sock"))
    listener.listen()
else:
    listener = listen("127.0.0.1", port)
Worker(app, listener, Link(None)).serve_until_told()
"""

SEAL = """
import sys
from pathlib import Path
from slipway.training.bundle import DataVersion, Lineage, seal
from slipway.settings.project import Project

unknown = dict.fromkeys(["commit", "repository", "run_id", "pipeline", "lock", "python", "platform"], "-")
seal(Project(Path.cwd()).bundle, Path(sys.argv[1]), Lineage(data=[DataVersion(path="-", md5="-")], **unknown))
"""

#: How the code above is written for a project of 0.3.0 or earlier, whose platform lies in the team's package: all its
#: modules in one folder, and these under other names.
EARLIER = {
    "slipway.serving.app ": "PACKAGE.mlops.server ",
    "slipway.serving.context import Served, ServingContext": "PACKAGE.mlops.endpoint import Served",
    "slipway.serving.link ": "PACKAGE.mlops.worker ",
    "create_app(ServingContext(Scorer(bundle), served, policy, log, traffic=traffic, **guarded))": (
        "create_app(Scorer(bundle), served, policy, log, traffic=traffic)"
    ),
}

#: In the order in which they are asked, round by round.
NAMES = ("no-op", "server", "no log", "shadow")
ROWS_PER_REQUEST = (1, 10, 100, 1_000, 10_000)

# Each request is made once, before the clock runs.
LUA = """
local requests, next_one = {}, 0
function init()
  for row in io.lines("ROWS") do
    requests[#requests + 1] = wrk.format("POST", "/predict", {["Content-Type"] = "application/json"}, row)
  end
end
function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end
"""


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    process: subprocess.Popen[bytes]
    port: int
    ready_after_s: float

    def memory_mb(self) -> float:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def cpu_s(self) -> float:
        """Processor time that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Round:
    """What `wrk` saw in one round."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


@contextmanager
def serving(project: Path, name: str, folder: Path) -> Iterator[Server]:
    """Run one of the servers in the project's own environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.monotonic()
    code = NOOP if name == "no-op" else SERVER
    with subprocess.Popen(python(project, code, str(port), name, str(folder)), cwd=project) as process:
        try:
            wait_for = folder / "challenger.sock" if name == "challenger" else None
            _wait(process, lambda: wait_for.exists() if wait_for else _answers(port))
            yield Server(process, port, time.monotonic() - started)
        finally:
            process.terminate()


def trained(text: str) -> Path:
    """The project that an argument names."""
    project = Path(text).resolve()
    if not (project / "model" / "bundle" / "golden.json").exists():
        raise argparse.ArgumentTypeError(f"{text} holds no model; run the pipeline of a project, and name its folder")
    return project


def python(project: Path, code: str, *arguments: str) -> list[str]:
    """The command that runs code with the project's packages."""
    package = package_of(project)
    if (package / "mlops" / "project.py").exists():
        for ours, theirs in EARLIER.items():
            code = code.replace(ours, theirs)
        code = re.sub(r"\bslipway(\.\w+)*\.(\w+) import", r"PACKAGE.mlops.\2 import", code)
    return [str(project / ".venv" / "bin" / "python"), "-c", code.replace("PACKAGE", package.name), *arguments]


def package_of(project: Path) -> Path:
    """The folder of the team's package."""
    return next((project / "src").glob("*/contract.py")).parent


def _wait(process: subprocess.Popen[bytes], is_there: Callable[[], bool]) -> None:
    while process.poll() is None:
        if is_there():
            return
        time.sleep(0.01)
    raise SystemExit("error: a server did not start\n next: run the project's pipeline, then this again")


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1).close()
    except OSError:
        return False
    return True


def post_script(folder: Path, bodies: Iterable[str], path: str = "/predict", token: str = "") -> Path:
    """Write what `wrk` needs to send these bodies, one after the other and again, with a token if there is one."""
    (folder / "rows").write_text("\n".join(bodies), encoding="utf-8")
    script = folder / "post.lua"
    text = LUA.replace("ROWS", str(folder / "rows")).replace("/predict", path)
    if token:
        text = text.replace('"application/json"', f'"application/json", ["Authorization"] = "Bearer {token}"')
    script.write_text(text, encoding="utf-8")
    return script


def load(server: Server, script: Path, seconds: int) -> Round:
    """Ask as fast as one thread can, over eight connections."""
    before = server.cpu_s()
    address = f"http://127.0.0.1:{server.port}/predict"
    command = ["wrk", "--threads", "1", "--connections", "8", "--duration", f"{seconds}s", "--latency"]
    output = subprocess.run([*command, "--script", str(script), address], capture_output=True, text=True, check=True)
    if "Non-2xx" in output.stdout or "Socket errors" in output.stdout:
        raise SystemExit(f"error: not every request was answered\n{output.stdout}")
    requests = int(_found(r"(\d+) requests in", output.stdout))
    return Round(
        per_second=float(_found(r"Requests/sec:\s+([\d.]+)", output.stdout)),
        p50_ms=_milliseconds(_found(r"(?m)^\s+50%\s+(\S+)", output.stdout)),
        p99_ms=_milliseconds(_found(r"(?m)^\s+99%\s+(\S+)", output.stdout)),
        cpu_us=(server.cpu_s() - before) / requests * 1e6,
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"error: wrk did not say {pattern}\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def machine() -> str:
    """Name the machine, because the figures mean nothing without it."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return f"{names[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before, {platform.platform()}"


def table(rounds: dict[str, list[Round]], servers: dict[str, Server]) -> str:
    """The result as Markdown, the ratios first."""

    def middle(name: str, what: str) -> float:
        return statistics.median(getattr(one, what) for one in rounds[name])

    def ratio(name: str, to: str, what: str = "per_second") -> str:
        pairs = zip(rounds[name], rounds[to], strict=True)
        found = [getattr(ours, what) / getattr(theirs, what) for ours, theirs in pairs]
        return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"

    ready = max(server.ready_after_s for server in servers.values())
    lines = [
        "| in the same run | median of the rounds' ratios (least to most) | limit |",
        "|---|---|---|",
        f"| requests/s, server to no-op | {ratio('server', 'no-op')} | at least 0.50 |",
        f"| p99, server to no-op | {ratio('server', 'no-op', 'p99_ms')} | at most 3 |",
        f"| requests/s, with the prediction log to without | {ratio('server', 'no log')} | at least 0.90 |",
        f"| requests/s, with a challenger in shadow to without | {ratio('shadow', 'server')} | at least 0.75 |",
        f"| processor time a request, server to no-op | {ratio('server', 'no-op', 'cpu_us')} | |",
        f"| processor time a request, champion with a shadow to without | {ratio('shadow', 'server', 'cpu_us')} | |",
        f"| start to ready, the slowest, seconds | {ready:.1f} | at most 2 |",
        "",
        "| | requests/s | p50 ms | p99 ms | processor µs/request | memory MB | ready after s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, server in servers.items():
        figures = [middle(name, what) for what in ("per_second", "p50_ms", "p99_ms", "cpu_us")]
        lines.append(
            f"| {name} | {figures[0]:,.0f} | {figures[1]:.2f} | {figures[2]:.2f} | {figures[3]:.0f} "
            f"| {server.memory_mb():.0f} | {server.ready_after_s:.1f} |"
        )
    return "\n".join(lines)


def by_size(server: Server, rows: list[object]) -> str:
    """How long a request with many rows takes, as Markdown."""
    lines = ["| rows a request | ms a request, median | rows/s |", "|---:|---:|---:|"]
    for size, took in post_in_turns(server, rows, ROWS_PER_REQUEST).items():
        lines.append(f"| {size:,} | {took * 1000:.2f} | {size / took:,.0f} |")
    return "\n".join(lines)


def post_in_turns(server: Server, rows: list[object], sizes: Sequence[int]) -> dict[int, float]:
    """Median seconds of a request with as many rows, one request after the other."""
    found = {}
    with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        for size in sizes:
            body = json.dumps({"rows": (rows * size)[:size]})
            found[size] = statistics.median(_ask(connection, body) for _ in range(times(size)))
    return found


def times(size: int) -> int:
    """How often a request of so many rows is sent."""
    return max(5, min(200, 5_000 // size))


def _ask(connection: http.client.HTTPConnection, body: str) -> float:
    start = time.perf_counter()
    connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    if response.status != 200:
        raise SystemExit(f"error: a request was answered with {response.status}")
    return time.perf_counter() - start


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=trained, help="A generated project whose pipeline has run.")
    project = parser.parse_args().project
    about = machine()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        subprocess.run(python(project, SEAL, str(folder / "bundle")), cwd=project, check=True)
        golden = json.loads((project / "model" / "bundle" / "golden.json").read_bytes())["rows"]
        script = post_script(folder, map(json.dumps, golden))
        stack.enter_context(serving(project, "challenger", folder))
        traffic = {"version": 2, "socket": str(folder / "challenger.sock"), "counts": str(folder)}
        traffic |= {"mode": "shadow", "share": 1.0}
        (folder / "traffic.json").write_text(json.dumps(traffic), encoding="utf-8")
        servers = {name: stack.enter_context(serving(project, name, folder)) for name in NAMES}
        rounds: dict[str, list[Round]] = {name: [] for name in NAMES}
        for one in servers.values():
            load(one, script, WARM_UP_SECONDS)
        for _ in range(ROUNDS):
            for name, one in servers.items():
                rounds[name].append(load(one, script, SECONDS))
                time.sleep(1)  # a shadow may still have copies to score
        print(f"{about}\n\n{table(rounds, servers)}\n\n{by_size(servers['server'], golden)}")


if __name__ == "__main__":
    main()
