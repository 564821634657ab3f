"""Real servers for the tests, each on a free port of the loopback address, stopped in the end."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from running import free_port

START_S = 120

#: The newest version that the generated project's client was tried with.
MLFLOW = "mlflow==3.17.2"


@contextmanager
def process(
    command: list[str], ready: str | Callable[[], bool], log: Path, env: dict[str, str] | None = None
) -> Iterator[None]:
    """Run a server until the block ends; the block starts when `ready` holds or, an address, answers anything."""
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | (env or {}), start_new_session=True)
        try:
            _wait(server, ready, log)
            yield
        finally:
            # The whole group: some servers leave workers behind when only their first process ends.
            os.killpg(server.pid, 15)
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, 9)
                server.wait(timeout=20)


def _wait(server: "subprocess.Popen[bytes]", ready: str | Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        if _answers(ready) if isinstance(ready, str) else ready():
            return
        time.sleep(0.2)
    raise AssertionError(f"{ready} does not answer\n{log.read_text(errors='replace')[-3000:]}")


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Bucket:
    """A bucket in an S3 store with two identities."""

    endpoint: str
    url: str

    @property
    def writer(self) -> dict[str, str]:
        """Credentials that may read and write."""
        return {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "writer-secret"}

    @property
    def reader(self) -> dict[str, str]:
        """Credentials that may read and nothing else."""
        return {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret"}


@contextmanager
def s3_store(folder: Path) -> Iterator[Bucket]:
    """SeaweedFS, with a bucket named `flights`."""
    identities = [
        {"name": name, "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}], "actions": actions}
        for name, actions in {"writer": ["Admin", "Read", "Write", "List"], "reader": ["Read", "List"]}.items()
    ]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": identities}), encoding="utf-8")
    port = free_port()
    ports = {name: free_port() for name in ("master", "volume", "filer")}
    grpc = [f"-{name}.port.grpc={free_port()}" for name in ports] + [f"-s3.port.grpc={free_port()}"]
    command = ["weed", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.port={port}"]
    command += [f"-s3.config={config}", "-volume.max=0", "-master.volumeSizeLimitMB=64"]
    command += [f"-{name}.port={number}" for name, number in ports.items()] + grpc
    endpoint = f"http://127.0.0.1:{port}"
    with process(command, f"{endpoint}/status", folder / "weed.log"):
        yield Bucket(endpoint, "s3://flights/dvc")


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """MLflow's own server on SQLite, with artefacts proxied."""
    address = f"http://127.0.0.1:{port}"
    command = ["uv", "tool", "run", "--quiet", "--from", MLFLOW, "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with process(command, f"{address}/health", folder / "mlflow.log", quiet):
        yield address
