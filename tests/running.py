"""A generated project that a test works in, the way its user would: by commands."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import warm
from rendering import git

#: Of a command that hangs. Images are built and pushed on a slow machine in five minutes.
TIMEOUT_S = 900
#: What a policy can demand beyond what a new project's does. A test cuts the last of them off.
DEMANDS = (
    *("monitor.windows", "monitor.refused", "serving.load", "privacy"),
    *("labels", "monitor.bias", "monitor.quality", "experiment"),
)


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    body: Any


def ran(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    check: bool = True,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> Result:
    """Run a program to its end; `check` makes a failure an error of the test."""
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
    )
    return _result(done, check)


def _result(done: "subprocess.CompletedProcess[str]", check: bool) -> Result:
    if check and done.returncode:
        raise AssertionError(f"{' '.join(done.args)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return Result(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class RunningProject:
    """A project on disk, with its environment made."""

    root: Path

    def environment(self) -> dict[str, str]:
        """The variables under which its commands run."""
        return dict(os.environ)

    def run(self, *command: str, check: bool = True, env: dict[str, str] | None = None) -> Result:
        """Run a command inside the project's environment; `check` makes a failure an error of the test."""
        own = self.environment() | (env or {})
        return ran(["uv", "run", "--quiet", "--frozen", *command], own, check=check, cwd=self.root)

    def mlops(self, *arguments: str, check: bool = True, env: dict[str, str] | None = None) -> Result:
        """Run a command of the project's own command line."""
        done = warm.run(self.root, [*arguments], _activated(self.root, self.environment() | (env or {})), TIMEOUT_S)
        return _result(done, check) if done else self.run("mlops", *arguments, check=check, env=env)

    @contextmanager
    def started(self, *arguments: str, env: dict[str, str] | None = None) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a command of the project for as long as the block lasts, or until it ends by itself."""
        command = [str(self.root / ".venv" / "bin" / "mlops"), *arguments]
        with subprocess.Popen(command, cwd=self.root, env=self.environment() | (env or {})) as process:
            try:
                yield process
            finally:
                process.kill()

    def kill_after(self, seconds: float, *arguments: str) -> None:
        """Start a command of the project and kill it with all its children, as a lost machine would."""
        started = subprocess.Popen(
            ["uv", "run", "--quiet", "--frozen", "mlops", *arguments],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            started.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
            # DVC takes a process for one that runs until the system has forgotten it.
            with suppress(ProcessLookupError):
                while True:
                    os.killpg(started.pid, 0)
                    time.sleep(0.05)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file; it is an error of the test when there is nothing to replace."""
        file = self.root / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{path} does not hold {old!r}"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def commit(self, message: str) -> None:
        """Commit everything, as a person in a hurry: without the hooks."""
        git(self.root, "add", "--all")
        git(self.root, "commit", "--quiet", "--no-verify", "--allow-empty", "--message", message)

    def release(self, environment: str, *options: str) -> None:
        """Promote the newest version, or what `options` say, to an environment, accept the proposal, and deploy it."""
        self._accept("promote", environment, *options)

    def challenge(self, environment: str, *options: str) -> None:
        """Propose a challenger or its end, accept the proposal, and deploy it."""
        self._accept("challenge", environment, *options)

    def _accept(self, command: str, environment: str, *options: str) -> None:
        branch = re.search(r"in branch (\S+)", self.mlops(command, environment, *options).stdout)
        assert branch is not None
        git(self.root, "merge", "--quiet", "--no-edit", branch[1])
        self.mlops("deploy", environment)

    def train_another(self, trees: int) -> None:
        """Make and register a version that differs from the others."""
        text = (self.root / "params.yaml").read_text(encoding="utf-8")
        changed = re.sub(r"n_estimators: \d+", f"n_estimators: {trees}", text)
        (self.root / "params.yaml").write_text(changed, encoding="utf-8")
        self.mlops("pipeline")
        self.commit(f"Use {trees} trees")
        self.mlops("register")

    def versions(self) -> list[dict[str, Any]]:
        """What the local registry holds, read past the project's own code."""
        with sqlite3.connect(self.root / ".mlops" / "mlflow.db") as store:
            store.row_factory = sqlite3.Row
            if not store.execute("select 1 from sqlite_master where name = 'model_versions'").fetchone():
                return []
            return [dict(row) for row in store.execute("select * from model_versions order by version")]

    def tags(self, version: int) -> dict[str, str]:
        """What the local registry notes of a version: its digest, its commit and more."""
        with sqlite3.connect(self.root / ".mlops" / "mlflow.db") as store:
            return dict(store.execute("select key, value from model_version_tags where version = ?", [version]))

    def request(
        self, method: str, path: str, body: object = None, environment: str = "staging", token: str = ""
    ) -> Answer:
        """Send a request to the server of an environment, with a token if it asks for one."""
        request = urllib.request.Request(
            self.address(environment) + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return Answer(response.status, json.load(response))
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, json.load(refused))

    def text(self, path: str, environment: str = "staging") -> str:
        """A page of the server of an environment, as text."""
        with urllib.request.urlopen(self.address(environment) + path, timeout=10) as response:
            page: bytes = response.read()
        return page.decode()

    def address(self, environment: str) -> str:
        """Where the server of an environment listens."""
        port = re.search(r"port: (\d+)", (self.root / f"deploy/environments/{environment}.yaml").read_text("utf-8"))
        assert port is not None
        return f"http://127.0.0.1:{port[1]}"

    def flights(self, count: int, months: Sequence[int] = (9,)) -> list[dict[str, Any]]:
        """Rows of the sample as a client would send them, drawn from some months."""
        code = (
            "import json, polars as pl; from flight_delays.contract import CONTRACT;"
            "frame = pl.read_parquet('data/valid.parquet');"
            f"rows = frame.filter(pl.col('departs').dt.month().is_in({[*months]})).sample({count}, seed=1);"
            "rows = rows.select(f.name for f in CONTRACT.fields)"
            ".with_columns(pl.col('departs').dt.strftime('%Y-%m-%dT%H:%M:%S'));"
            "print(json.dumps(rows.to_dicts()))"
        )
        rows: list[dict[str, Any]] = json.loads(self.run("python", "-c", code).stdout)
        return rows

    def flights_of_one_airport(self) -> list[dict[str, Any]]:
        """250 rows of months that the model has learned, of one airport alone: the monitor asks to act for certain.

        Every day is unlike the reference then, while September's weather differs from spring's as seasons do.
        """
        return [row for row in self.flights(900, range(1, 7)) if row["origin"] == "JFK"][:250]

    def copy(self, target: Path) -> "RunningProject":
        """A second checkout with the same history, data, runs and versions."""
        shutil.copytree(self.root, target, ignore=shutil.ignore_patterns(".venv", "bundles", "*.log"))
        _share_environment(self.root, target)
        _move_store(target / ".mlops" / "mlflow.db", self.root, target)
        remote = self.root.parent / f"{self.root.name}-data"
        shutil.copytree(remote, target.parent / f"{target.name}-data")
        # As `dvc remote modify --local` writes it, in no time.
        settings = f"['remote \"storage\"']\n    url = ../../{target.name}-data\n"
        (target / ".dvc" / "config.local").write_text(settings, encoding="utf-8")
        return RunningProject(target)

    def stop(self) -> None:
        """Stop whatever this project serves."""
        for name in ("staging", "production"):
            if (self.root / ".mlops" / "environments" / name).is_dir():
                self.mlops("stop", name)


def _activated(root: Path, env: dict[str, str]) -> dict[str, str]:
    """The variables under which uv runs a command of a project."""
    path = os.pathsep.join([str(root / ".venv" / "bin"), env["PATH"]])
    return env | {"PATH": path, "VIRTUAL_ENV": str(root / ".venv"), "UV_RUN_RECURSION_DEPTH": "1"}


def _share_environment(old: Path, new: Path) -> None:
    """Give a copy the packages of the original, compiled as they are, by links: nothing is installed again.

    What names the original's folder is written anew: scripts, and where the team's and the platform's code is.
    """
    shutil.copytree(old / ".venv", new / ".venv", symlinks=True, copy_function=os.link)
    (packages,) = (new / ".venv" / "lib").glob("python*/site-packages")
    for path in (*(new / ".venv" / "bin").iterdir(), *packages.glob("*.pth"), *packages.glob("*/direct_url.json")):
        content = b"" if path.is_symlink() else path.read_bytes()
        if str(old).encode() in content:
            mode = path.stat().st_mode
            path.unlink()  # the original has the same file
            path.write_bytes(content.replace(str(old).encode(), str(new).encode()))
            path.chmod(mode)


def _move_store(store: Path, old: Path, new: Path) -> None:
    """The store of runs names its artefacts by absolute paths."""
    places = {"experiments": "artifact_location", "runs": "artifact_uri", "model_versions": "source"}
    with sqlite3.connect(store) as connection:
        for table, column in places.items():
            connection.execute(f"update {table} set {column} = replace({column}, ?, ?)", (str(old), str(new)))


def make_bucket(project: RunningProject, endpoint: str, name: str, writer: dict[str, str]) -> None:
    """Make a bucket, as the owner of a store does before anybody can use it."""
    make = f"import boto3; boto3.client('s3', endpoint_url='{endpoint}').create_bucket(Bucket='{name}')"
    project.run("uv", "run", "--quiet", "--with", "boto3", "python", "-c", make, env=writer)


def free_port() -> int:
    """Return a port on the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def give_free_ports(root: Path) -> None:
    """Let a project's environments listen where nobody else does."""
    for path in (root / "deploy" / "environments").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"port: \d+", f"port: {free_port()}", text), encoding="utf-8")


def prepare(root: Path, *, demanding: bool = False) -> RunningProject:
    """Set a rendered project up, with ports of its own; a demanding one watches labels, trials and the log, too."""
    give_free_ports(root)
    _lock(root)
    subprocess.run(["uv", "sync", "--quiet"], cwd=root, check=True, timeout=TIMEOUT_S)
    project = RunningProject(root)
    if demanding:
        project.mlops("policy", "add", *DEMANDS)
        project.edit("policy.yaml", "key: [id]", "key: [departs, carrier, flight, origin]")
        project.edit("policy.yaml", "smallest_gain: 0.003", "smallest_gain: 0.01")
    project.mlops("setup")
    return project


def _lock(root: Path) -> None:
    """Lock a project as one with the same dependencies was locked in this run: asking the index takes ten seconds."""
    # The first releases had no platform beside the project.
    named = b"".join(path.read_bytes() for path in (root / "pyproject.toml", *root.glob("vendor/*/pyproject.toml")))
    key = hashlib.sha256(os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid())).encode() + named).hexdigest()
    known = Path(tempfile.gettempdir()) / f"slipway-lock-{key[:16]}"
    if known.is_file():
        shutil.copyfile(known, root / "uv.lock")
        return
    subprocess.run(["uv", "lock", "--quiet"], cwd=root, check=True, timeout=TIMEOUT_S)
    half = known.with_suffix(f".{os.getpid()}")
    shutil.copyfile(root / "uv.lock", half)
    half.replace(known)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder that `make` filled in that process of this run that asked for it first; the others wait."""
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared-{name}"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / ".complete").is_file():
            shutil.rmtree(shared, ignore_errors=True)
            shared.mkdir()
            make(shared)
            (shared / ".complete").touch()
    return shared


def train(project: RunningProject) -> RunningProject:
    """Run the pipeline, commit what it made, and register the model."""
    project.mlops("pipeline")
    project.commit("Train the first model")
    project.mlops("register")
    return project
