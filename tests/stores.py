"""A real store of each kind that data can live in, or its maker's emulator, each with one who writes and one who reads.

Where the emulator lets everybody in, the one who only reads meets a gate before it that passes reading alone.
"""

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import servers
from parts import part
from running import free_port
from servers import process

HOST = "127.0.0.1"
#: Of Azurite; published by its makers, and of no worth elsewhere.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
Options = dict[str, str]


@dataclass(frozen=True)
class Access:
    """Options of DVC's remote, and variables, by which somebody uses a store."""

    options: Options = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataStore:
    """A place for data; `folder` is where its files lie when a web server shows them."""

    url: str
    writer: Access
    reader: Access
    folder: Path | None = None


def make_bucket(endpoint: str) -> None:
    """Make the bucket, as the owner of a store does before anybody can use it."""
    from botocore.session import get_session

    owner = {"aws_access_key_id": "owner", "aws_secret_access_key": "owner-secret"}
    client = get_session().create_client("s3", "us-east-1", endpoint_url=endpoint, **owner)
    client.create_bucket(Bucket="flights")
    client.close()


@contextmanager
def s3_store(folder: Path) -> Iterator[DataStore]:
    """SeaweedFS, whose identities have S3's rights."""
    with servers.s3_store(folder) as store:
        make_bucket(store.endpoint)
        place = {"endpointurl": store.endpoint}
        yield DataStore(store.url, Access(place, store.writer), Access(place, store.reader))


@contextmanager
def gs_store(folder: Path) -> Iterator[DataStore]:  # noqa: ARG001 - keeps everything in memory
    """An emulator of Google Cloud Storage; it lets everybody in, so who only reads meets a gate before it."""
    from gcp_storage_emulator.server import create_server

    port = free_port()
    server = create_server(HOST, port, in_memory=True, default_bucket="flights")
    server.start()
    try:
        with gate(port) as reading:
            yield DataStore("gs://flights/dvc", _google(port), _google(reading))
    finally:
        server.stop()


def _google(port: int) -> Access:
    address = f"http://{HOST}:{port}"
    return Access({"endpointurl": address, "allow_anonymous_login": "true"}, {"STORAGE_EMULATOR_HOST": address})


@contextmanager
def azure_store(folder: Path) -> Iterator[DataStore]:
    """Azurite, Microsoft's own emulator, with signatures that allow some things and not others."""
    from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

    port = free_port()
    address = f"http://{HOST}:{port}/{AZURE_ACCOUNT}"
    command = [
        str(part("azurite-blob")),
        "--blobHost",
        HOST,
        "--blobPort",
        str(port),
        "--silent",
        "--skipApiVersionCheck",
    ]
    command += ["--inMemoryPersistence", "--disableTelemetry"]
    with process(command, address, folder / "azurite.log"):
        with BlobServiceClient(address, credential=AZURE_KEY) as client:
            client.create_container("flights")

        def of(rights: str) -> Access:
            until = datetime.now(UTC) + timedelta(hours=1)
            allowed = ContainerSasPermissions.from_string(rights)
            token = generate_container_sas(
                AZURE_ACCOUNT, "flights", account_key=AZURE_KEY, permission=allowed, expiry=until
            )
            place = f"BlobEndpoint={address};SharedAccessSignature={token}"
            return Access({}, {"AZURE_STORAGE_CONNECTION_STRING": place})

        yield DataStore("azure://flights/dvc", of("racwl"), of("rl"))


@dataclass(frozen=True)
class LogStore:
    """A place for logs, and the variables by which the owner of its bucket, one who writes and one who reads get in."""

    url: str
    owner: dict[str, str]
    writer: dict[str, str]
    reader: dict[str, str]


@contextmanager
def s3_log(folder: Path) -> Iterator[LogStore]:
    """SeaweedFS, whose identities have S3's rights."""
    with servers.s3_store(folder) as store:
        make_bucket(store.endpoint)
        place = {"AWS_ENDPOINT_URL": store.endpoint, "AWS_REGION": "us-east-1"}
        yield LogStore("s3://flights/logs", store.owner | place, store.writer | place, store.reader | place)


@contextmanager
def az_log(folder: Path) -> Iterator[LogStore]:
    """Azurite, Microsoft's own emulator, with signatures that allow some things and not others."""
    with azure_store(folder) as store:
        given = [one.variables["AZURE_STORAGE_CONNECTION_STRING"].split(";", 1) for one in (store.writer, store.reader)]
        place = {"AZURE_STORAGE_ACCOUNT_NAME": AZURE_ACCOUNT}
        place |= {"AZURE_STORAGE_ENDPOINT": given[0][0].removeprefix("BlobEndpoint=")}
        writer, reader = ({"AZURE_STORAGE_SAS_TOKEN": text.partition("=")[2]} for _, text in given)
        yield LogStore(
            "az://flights/logs", place | {"AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY}, place | writer, place | reader
        )


@contextmanager
def folder_log(folder: Path) -> Iterator[LogStore]:  # noqa: ARG001 - a sink has a folder of its own
    """A folder of this machine."""
    yield LogStore("", {}, {}, {})


@contextmanager
def ssh_store(folder: Path) -> Iterator[DataStore]:
    """AsyncSSH's own server, with a key for one who may write and a key for one who may not."""
    import asyncssh

    class ReadOnly(asyncssh.SFTPServer):
        """Files that can be looked at."""

        def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> NoReturn:  # noqa: ARG002
            raise asyncssh.SFTPPermissionDenied("this key may only read")

        def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
            return super().open(path, pflags, attrs) if pflags == asyncssh.FXF_READ else self.mkdir(path, attrs)

    keys = {name: asyncssh.generate_private_key("ssh-ed25519") for name in ("writer", "reader")}
    known = {name: key.export_public_key().decode() for name, key in keys.items()}

    def files(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        user = channel.get_connection().get_extra_info("username")
        return (ReadOnly if user == "reader" else asyncssh.SFTPServer)(channel)

    class Door(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self._conn = conn

        def begin_auth(self, username: str) -> bool:
            self._conn.set_authorized_keys(asyncssh.import_authorized_keys(known[username]))
            return True

    (folder / "ssh").mkdir()
    port = free_port()

    async def serve(stopped: asyncio.Event, started: threading.Event) -> None:
        host_keys = [asyncssh.generate_private_key("ssh-ed25519")]
        async with asyncssh.listen(HOST, port, server_factory=Door, server_host_keys=host_keys, sftp_factory=files):
            started.set()
            await stopped.wait()

    def of(name: str) -> Access:
        return Access({"user": name}, {"DATA_REMOTE_KEY": keys[name].export_private_key().decode()})

    with _looping(serve):
        yield DataStore(f"ssh://{HOST}:{port}{folder}/ssh", of("writer"), of("reader"))


@contextmanager
def _looping(serve: Callable[[asyncio.Event, threading.Event], Any]) -> Iterator[None]:
    """Run a server of asyncio beside the tests."""
    loop, stopped, started = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    def run() -> None:
        loop.run_until_complete(serve(stopped, started))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(20)


@contextmanager
def webdav_store(folder: Path) -> Iterator[DataStore]:
    """WsgiDAV, with a share for who writes and the same one, read-only, for who does not."""
    from cheroot.wsgi import Server
    from wsgidav.fs_dav_provider import FilesystemProvider
    from wsgidav.wsgidav_app import WsgiDAVApp

    root = folder / "webdav"
    # DVC makes no folder where it has been told that one is.
    (root / "dvc").mkdir(parents=True)
    users = {name: {"password": f"{name}'s secret"} for name in ("writer", "reader")}
    doors = {"writer": False, "reader": True}
    servers = {}
    for name, is_readonly in doors.items():
        config = {
            "provider_mapping": {"/flights": FilesystemProvider(str(root), readonly=is_readonly)},
            "simple_dc": {"user_mapping": {"*": {name: users[name]}}},
            "logging": {"enable": False}, "verbose": 0,
        }  # fmt: skip
        servers[name] = Server((HOST, 0), WsgiDAVApp(config))
        servers[name].prepare()
        threading.Thread(target=servers[name].serve, daemon=True).start()

    def of(name: str) -> Access:
        port = servers[name].bind_addr[1]
        given = {"DATA_REMOTE_USER": name, "DATA_REMOTE_PASSWORD": users[name]["password"]}
        return Access({"url": f"webdav://{HOST}:{port}/flights/dvc"}, given)

    try:
        yield DataStore(of("writer").options["url"], of("writer"), of("reader"))
    finally:
        for server in servers.values():
            server.stop()


@contextmanager
def http_store(folder: Path) -> Iterator[DataStore]:
    """A web server that shows a folder; nobody writes."""
    root = folder / "web"
    root.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with _serving(ThreadingHTTPServer((HOST, 0), partial(Quiet, directory=str(root)))) as port:
        anybody = Access()
        yield DataStore(f"http://{HOST}:{port}", anybody, anybody, root)


@contextmanager
def gate(port: int) -> Iterator[int]:
    """Pass on to a server what reads, refuse the rest as Google would; yields the port of the gate."""

    class Gate(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            onward = http.client.HTTPConnection(HOST, port, timeout=20)
            onward.request("GET", self.path, headers=dict(self.headers))
            answer = onward.getresponse()
            body = answer.read()
            self._answer(answer.status, body, answer.getheader("Content-Type") or "application/json")
            onward.close()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            message = "reader does not have storage.objects.create access to the Google Cloud Storage object."
            self._answer(403, json.dumps({"error": {"code": 403, "message": message}}).encode(), "application/json")

        do_PUT = do_DELETE = do_POST  # noqa: N815

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with _serving(ThreadingHTTPServer((HOST, 0), Gate)) as gate_port:
        yield gate_port


@contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


#: By kind of the platform's table.
STORES: dict[str, Callable[[Path], AbstractContextManager[DataStore]]] = {
    "s3": s3_store, "gs": gs_store, "azure": azure_store, "ssh": ssh_store, "webdav": webdav_store, "http": http_store,
}  # fmt: skip
#: By the scheme of `serving.log`.
LOGS: dict[str, Callable[[Path], AbstractContextManager[LogStore]]] = {
    "folder": folder_log, "s3": s3_log, "az": az_log,
}  # fmt: skip
