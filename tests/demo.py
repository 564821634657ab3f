"""The main job from an empty folder to a monitored answer: `make demo`."""

import argparse
import csv
import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ("staging", "production")
# September is after the months the model learned from and was tested on, so there is drift to find.
MONTH = "2013-09"
REPLAYED = 1000
CHUNK = 100
NUMBERS = {"flight": int, "distance": int}
NUMBERS_OR_NOTHING = ("temp", "humid", "wind_speed", "precip", "pressure", "visib")


@dataclass(frozen=True)
class Step:
    """A command of the project's that was run, with what it printed."""

    exit_code: int
    output: str


def main() -> int:
    """Generate a project and take its model to production and back to a verdict."""
    options = _options()
    start = time.monotonic()
    project = _generate(options.into)
    servers = {name: _free_port(project, name) for name in ENVIRONMENTS}
    try:
        answer = _live(project, servers)
    finally:
        if not options.keep:
            for name in ENVIRONMENTS:
                _mlops(project, "stop", name, say="Stop the server again", allowed=range(256))
    _tell_where(project, servers, answer, kept=options.keep)
    print(f"Done in {time.monotonic() - start:.0f} s.")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the servers running")
    parser.add_argument("--into", type=Path, default=ROOT / "demo", help="the folder to generate into")
    return parser.parse_args()


def _generate(into: Path) -> Path:
    project = into.resolve() / "flight-delays"
    # Only what an earlier demo made is ever removed.
    if project.exists() and not (project / ".copier-answers.yml").is_file():
        raise SystemExit(f"error: {project} exists and is not a demo's project\n next: make room there or use --into")
    _stop_earlier(project)
    for made in (project, into / "flight-delays-data"):
        shutil.rmtree(made, ignore_errors=True)
    command = ["copier", "copy", "--quiet", "--defaults", "--vcs-ref=HEAD", str(ROOT), str(project)]
    _run(ROOT, command, say="Generate a project with the default answers")
    _run(project, ["git", "init", "--quiet", "--initial-branch=main"])
    # A machine on which nobody has told Git a name yet can run the demo as well.
    if _run(project, ["git", "config", "user.email"], allowed=(0, 1)).exit_code:
        _run(project, ["git", "config", "user.name", "Demo"])
        _run(project, ["git", "config", "user.email", "demo@example.com"])
    return project


def _stop_earlier(project: Path) -> None:
    """Stop what an earlier `--keep` left running."""
    if (project / ".venv").is_dir():
        for name in ENVIRONMENTS:
            _run(project, ["uv", "run", "--no-sync", "mlops", "stop", name], allowed=range(256))


def _live(project: Path, servers: dict[str, int]) -> dict[str, Any]:
    """Run every step of a model's life; return the answer to the one request that is shown."""
    _mlops(project, "setup", say="Set it up: packages, hooks, data folder")
    _mlops(project, "pipeline", say="Train on real flights and judge the model")
    _commit(project, "The first model")
    _mlops(project, "register", say="Register the model that passed its gates")
    _into_environment(project, "staging")

    rows = list(_flights(project))
    staging = servers["staging"]
    with _step(f"Ask about one flight: {rows[0]['carrier']} {rows[0]['flight']} to {rows[0]['dest']}"):
        answer = _post(staging, rows[0])
    print(f"    {json.dumps(answer)}")
    with _step(f"Replay {len(rows):,} flights of September"):
        for first in range(0, len(rows), CHUNK):
            _post(staging, {"rows": rows[first : first + CHUNK]})
    # 3 says that something has to be done, which is a good answer to a month with drift.
    _mlops(project, "monitor", "staging", say="Judge these predictions", allowed=(0, 3), shown=True)
    _mlops(project, "trace", str(answer["id"]), say="Trace the answer back to its data", shown=True)
    _into_environment(project, "production")
    return answer


def _into_environment(project: Path, name: str) -> None:
    _mlops(project, "promote", name, say=f"Propose the model for {name}")
    merge = ["git", "merge", "--quiet", "--no-edit", f"promote/{name}-v1"]
    _run(project, merge, say="Merge the proposal, as a reviewer would")
    _mlops(project, "deploy", name, say=f"Make {name} what its file says")


def _commit(project: Path, message: str) -> None:
    _run(project, ["git", "add", "--all"])
    _run(project, ["git", "commit", "--quiet", "--message", message], say=f"Commit: {message}")


def _mlops(
    project: Path, *arguments: str, say: str, allowed: tuple[int, ...] | range = (0,), shown: bool = False
) -> Step:
    done = _run(project, ["uv", "run", "mlops", *arguments], say=say, allowed=allowed)
    if shown:
        print("\n".join(f"    {line}" for line in done.output.splitlines()))
    return done


def _run(folder: Path, command: list[str], *, say: str = "", allowed: tuple[int, ...] | range = (0,)) -> Step:
    with _step(f"{say}: {' '.join(command)}" if say and command[0] == "uv" else say):
        done = subprocess.run(
            command,
            cwd=folder,
            env=_environment(),
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
    if done.returncode not in allowed:
        print(done.stdout, file=sys.stderr)
        raise SystemExit(f"error: {' '.join(command)} ended with {done.returncode}\n next: look above, and in {folder}")
    return Step(done.returncode, done.stdout)


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    tools = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([tools, environment.get("PATH", "")])
    return environment


@contextmanager
def _step(say: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    if not say:
        yield
        return
    print(f"{say} ...", flush=True)
    start = time.monotonic()
    yield
    print(f"    {time.monotonic() - start:.1f} s", flush=True)


def _free_port(project: Path, environment: str) -> int:
    """Give an environment a port that is free on this machine, in the file that says where it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    path = project / "deploy" / "environments" / f"{environment}.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    lines = [f"  port: {port}\n" if line.startswith("  port:") else line for line in lines]
    path.write_text("".join(lines), encoding="utf-8")
    return port


def _flights(project: Path) -> Iterator[dict[str, object]]:
    """Yield the first flights of the month as a booking system would ask about them, without their arrival."""
    with gzip.open(project / "data" / "sample" / "flights.csv.gz", "rt", encoding="utf-8") as packed:
        month = (line for line in csv.DictReader(io.StringIO(packed.read())) if line["departs"].startswith(MONTH))
        for line, _ in zip(month, range(REPLAYED), strict=False):
            yield _request(line)


def _request(line: dict[str, str]) -> dict[str, object]:
    row: dict[str, object] = {name: value for name, value in line.items() if name != "arr_delay"}
    row["departs"] = f"{line['departs']}:00"
    row |= {name: kind(line[name]) for name, kind in NUMBERS.items()}
    row |= {name: float(line[name]) if line[name] else None for name in NUMBERS_OR_NOTHING}
    return row


def _post(port: int, body: object) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as refusal:
        raise SystemExit(f"error: the server refused a request: {refusal.read().decode()}") from None
    return answer


def _tell_where(project: Path, servers: dict[str, int], answer: dict[str, Any], *, kept: bool) -> None:
    print(f"\nThe project    {project}")
    print(f"The data       {project.parent / 'flight-delays-data'}")
    print(f"The reports    {project / 'reports'}")
    print(f"The last id    {answer['id']}")
    for name, port in servers.items():
        print(f"{name:<15}" + (f"http://127.0.0.1:{port}" if kept else "stopped; `--keep` leaves it running"))


if __name__ == "__main__":
    sys.exit(main())
