"""Real servers for the tests, each on a free port of the loopback address, stopped in the end."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from parts import needs, part
from running import free_port

START_S = 120

#: The newest version that the generated project's client was tried with.
MLFLOW = "mlflow==3.17.2"


@contextmanager
def process(
    command: list[str],
    ready: str | Callable[[], bool],
    log: Path,
    env: dict[str, str] | None = None,
    *,
    end: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    """Run a server until the block ends; the block starts when `ready` holds or, an address, answers anything."""
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | (env or {}), start_new_session=True)
        try:
            _wait(server, ready, log)
            yield
        finally:
            # The whole group: some servers leave workers behind when only their first process ends.
            with suppress(ProcessLookupError):
                os.killpg(server.pid, end)
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


#: What `docs/ci.md` of a project allows the job that trains.
WRITING = {
    "Effect": "Allow",
    "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
    "Resource": ["arn:aws:s3:::flights", "arn:aws:s3:::flights/*"],
}


#: A role of a store that trusts a forge.
ROLE = "arn:aws:iam::000000000000:role/data"


@dataclass(frozen=True)
class Bucket:
    """A bucket in an S3 store with some identities."""

    endpoint: str
    url: str

    @property
    def owner(self) -> dict[str, str]:
        """Credentials of who makes the bucket."""
        return {"AWS_ACCESS_KEY_ID": "owner", "AWS_SECRET_ACCESS_KEY": "owner-secret"}

    @property
    def writer(self) -> dict[str, str]:
        """Credentials that may read and write, and not delete: the rights that a project's guide asks for."""
        return {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "writer-secret"}

    def of(self, name: str) -> dict[str, str]:
        """Credentials of one of the others: `sender` may not read, `guesser` may not list."""
        return {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": f"{name}-secret"}

    @property
    def reader(self) -> dict[str, str]:
        """Credentials that may read and nothing else."""
        return {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret"}


def _trusting(issuer: str, subject: str) -> dict[str, object]:
    """The configuration of a store whose role `data` is for jobs with this subject, of the forge at this address."""
    provider = {"issuer": issuer, "clientId": "sts.amazonaws.com", "jwksUri": f"{issuer}/keys"}
    trust = {"Effect": "Allow", "Principal": {"Federated": "forge"}, "Action": ["sts:AssumeRoleWithWebIdentity"]}
    trust |= {"Condition": {"StringEquals": {"oidc:sub": subject}}}
    session = {"Effect": "Allow", "Action": ["sts:ValidateSession"], "Resource": ["*"]}
    role = {"roleName": "data", "roleArn": ROLE, "attachedPolicies": ["write"]}
    key = base64.b64encode(b"signs what this store gives out.").decode()
    return {
        "sts": {"tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "store", "signingKey": key},
        "providers": [{"name": "forge", "type": "oidc", "enabled": True, "config": provider}],
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "roles": [role | {"trustPolicy": {"Version": "2012-10-17", "Statement": [trust]}}],
        "policies": [{"name": "write", "document": {"Version": "2012-10-17", "Statement": [WRITING, session]}}],
    }


@contextmanager
def s3_store(folder: Path, trusted: tuple[str, str] | None = None) -> Iterator[Bucket]:
    """SeaweedFS, with a bucket named `flights`; `trusted` are a forge's address and the subject of its jobs."""
    rights = {
        "owner": {"actions": ["Admin", "Read", "Write", "List"]},
        "writer": {"policyNames": ["write"]},
        "reader": {"actions": ["Read", "List"]},
        "sender": {"actions": ["Write", "List"]},
        "guesser": {"actions": ["Read", "Write"]},
    }
    identities = [
        {"name": name, "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}], **given}
        for name, given in rights.items()
    ]
    policies = [{"name": "write", "content": json.dumps({"Version": "2012-10-17", "Statement": [WRITING]})}]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": identities, "policies": policies}), encoding="utf-8")
    port = free_port()
    ports = {name: free_port() for name in ("master", "volume", "filer")}
    grpc = [f"-{name}.port.grpc={free_port()}" for name in ports] + [f"-s3.port.grpc={free_port()}"]
    command = ["weed", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.port={port}"]
    command += [f"-s3.config={config}", "-volume.max=0", "-master.volumeSizeLimitMB=64"]
    # Two servers on ports of their own choice, which a second store on this machine could not have.
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{name}.port={number}" for name, number in ports.items()] + grpc
    if trusted:
        (folder / "iam.json").write_text(json.dumps(_trusting(*trusted)), encoding="utf-8")
        command += [f"-s3.iam.config={folder}/iam.json"]
    endpoint = f"http://127.0.0.1:{port}"
    # Nobody needs what it holds, and it would wait for clients that keep their connections.
    with process(command, f"{endpoint}/status", folder / "weed.log", end=signal.SIGKILL):
        yield Bucket(endpoint, "s3://flights/dvc")


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server with an empty database that asks for no password; yields its address for SQLAlchemy."""
    needs("postgres", "initdb")
    # Not below the folders of pytest, which its own user could not enter.
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        folder, user = Path(name), list[str]()
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root.
            shutil.chown(folder, "postgres", "postgres")
            user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data, port = str(folder / "data"), free_port()
        make = [*user, str(part("initdb")), "--pgdata", data, "--username=tests", "--auth=trust", "--encoding=UTF8"]
        subprocess.run([*make, "--no-sync", "--locale=C.UTF-8"], check=True, cwd=folder)
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        command = [*user, str(part("postgres")), "-D", data, *(f"--{key}={value}" for key, value in settings.items())]
        with process(command, lambda: _listens(port), folder / "postgresql.log"):
            # With the driver's name: without it, SQLAlchemy 2.1 takes another one than 2.0 did.
            yield f"postgresql+psycopg2://tests@127.0.0.1:{port}/postgres"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def mlflow_server(folder: Path, port: int, store: str | None = None) -> Iterator[str]:
    """MLflow's own server with artefacts proxied, on SQLite or on the store at this address."""
    address = f"http://127.0.0.1:{port}"
    command = ["uv", "tool", "run", "--quiet", "--from", MLFLOW, "--with", "psycopg2-binary", "mlflow", "server"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store or f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with process(command, f"{address}/health", folder / "mlflow.log", quiet):
        yield address


@contextmanager
def mlflow_on_postgresql(folder: Path, port: int) -> Iterator[str]:
    """MLflow's own server as a team runs it."""
    with postgresql() as store, mlflow_server(folder, port, store) as address:
        yield address


@contextmanager
def prometheus(folder: Path, config: str) -> Iterator[str]:
    """Prometheus with this configuration, whose relative paths start in the folder; yields its address."""
    (folder / "prometheus.yml").write_text(config, encoding="utf-8")
    place = f"127.0.0.1:{free_port()}"
    command = [str(part("prometheus")), f"--config.file={folder}/prometheus.yml", f"--web.listen-address={place}"]
    # It learns of an Alertmanager some seconds after its first alert, and would wait a minute to send that again.
    command += [f"--storage.tsdb.path={folder}/series", "--web.enable-lifecycle", "--rules.alert.resend-delay=1s"]
    with process(command, lambda: _ready(f"http://{place}/-/ready"), folder / "prometheus.log"):
        yield f"http://{place}"


@contextmanager
def alertmanager(folder: Path, config: str) -> Iterator[str]:
    """Alertmanager with this configuration and no others beside it; yields its address."""
    (folder / "alertmanager.yml").write_text(config, encoding="utf-8")
    place = f"127.0.0.1:{free_port()}"
    command = [str(part("prometheus-alertmanager")), f"--config.file={folder}/alertmanager.yml"]
    command += [f"--storage.path={folder}/alerts", f"--web.listen-address={place}", "--cluster.listen-address="]
    with process(command, lambda: _ready(f"http://{place}/-/ready"), folder / "alertmanager.log"):
        yield f"http://{place}"


def _ready(address: str) -> bool:
    """Whether it says so; both say 503 before."""
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except urllib.error.HTTPError as answer:
        answer.close()
        return False
    except OSError:
        return False
    return True
