"""How fast a generated project's server is, beside an application that does nothing.

Both run on the same server settings, one process each, and are asked in turns by `wrk` with one
thread and eight connections. The server does everything it does in production: it checks each
row against the contract, scores it, counts it and records it. Needs `wrk`, and a project whose
pipeline has run:

    python benchmarks/serving.py PROJECT
"""

import argparse
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 5
SECONDS = 6
WARM_UP_SECONDS = 2

SERVERS = {
    "no-op": """
import sys
from {package}.mlops.worker import Link, Worker, listen

BODY = b"x" * 170
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"170")]


class App:
    is_draining = False

    async def __call__(self, scope, receive, send):
        await receive()
        await send({{"type": "http.response.start", "status": 200, "headers": HEADERS}})
        await send({{"type": "http.response.body", "body": BODY}})


Worker(App(), listen("127.0.0.1", int(sys.argv[1])), Link(None)).serve_until_told()
""",
    "server": """
import sys
from pathlib import Path
from {package}.mlops.bundle import Bundle, DataVersion, Lineage, seal
from {package}.mlops.project import Project
from {package}.mlops.server import run

project, folder = Project(Path.cwd()), Path(sys.argv[2])
project.policy.serving.requests_per_second = 10**9  # one client asks for everything here
unknown = dict.fromkeys(["commit", "repository", "run_id", "pipeline", "lock", "python", "platform"], "-")
sealed = seal(project.bundle, folder / "bundle", Lineage(data=[DataVersion(path="-", md5="-")], **unknown))
run(sealed.path, project=project, environment="benchmark", version=1, port=int(sys.argv[1]))
""",
}

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
    package = next((project / "src").glob("*/mlops")).parent.name
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.monotonic()
    python = project / ".venv" / "bin" / "python"
    code = SERVERS[name].format(package=package)
    with subprocess.Popen([python, "-c", code, str(port), str(folder)], cwd=project) as process:
        try:
            _wait(port, process)
            yield Server(process, port, time.monotonic() - started)
        finally:
            process.terminate()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise SystemExit("error: a server did not start\n next: run the project's pipeline, then this again")


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
    """The result as Markdown, the ratio first."""

    def middle(name: str, what: str) -> float:
        return statistics.median(getattr(one, what) for one in rounds[name])

    ratios = [ours.per_second / noop.per_second for noop, ours in zip(rounds["no-op"], rounds["server"], strict=True)]
    spread = f"median of {len(ratios)} rounds, from {min(ratios):.0%} to {max(ratios):.0%}"
    lines = [
        f"**{statistics.median(ratios):.0%}** of the no-op's requests a second ({spread}).",
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


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path, help="A generated project whose pipeline has run.")
    project = parser.parse_args().project.resolve()
    about = machine()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        golden = json.loads((project / "model" / "bundle" / "golden.json").read_bytes())["rows"]
        (folder / "rows").write_text("".join(json.dumps(row) + "\n" for row in golden), encoding="utf-8")
        script = folder / "post.lua"
        script.write_text(LUA.replace("ROWS", str(folder / "rows")), encoding="utf-8")
        rounds: dict[str, list[Round]] = {"no-op": [], "server": []}
        with serving(project, "no-op", folder) as noop, serving(project, "server", folder) as server:
            servers = {"no-op": noop, "server": server}
            for one in servers.values():
                load(one, script, WARM_UP_SECONDS)
            for _ in range(ROUNDS):
                for name, one in servers.items():
                    rounds[name].append(load(one, script, SECONDS))
            print(f"{about}\n\n{table(rounds, servers)}")


if __name__ == "__main__":
    main()
