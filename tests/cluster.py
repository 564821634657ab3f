"""A whole Kubernetes node, built from the source that Debian has: see `.ci/kubernetes` and `tests/node`."""

import fcntl
import io
import os
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest
from engine import CACHE, Registry
from parts import needs, needs_root, part
from rendering import git
from running import Result, ran
from servers import process
from yaml import safe_load

#: As in `.ci/kubernetes`.
PROGRAMS = CACHE / "kubernetes-1.20.2"
NEEDED = ("containerd", "runc", "etcd", "conntrack", "bridge", "busybox", "iptables", "ip", "openssl")


@dataclass(frozen=True)
class Node:
    """A cluster of one node, `node-0`; `here` is this machine as seen from its pods."""

    folder: Path
    registry: Registry
    here: str = "10.77.0.2"
    there: str = "10.77.0.1"

    @property
    def env(self) -> dict[str, str]:
        """What makes kubectl use this cluster, and the one that the tests bring."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        return {"KUBECONFIG": str(self.folder / "kubeconfig"), "PATH": path}

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> Result:
        """Run a command of the client; `check` makes a failure an error of the test."""
        return ran([str(part("kubectl")), *arguments], os.environ | self.env, check=check, stdin=stdin)

    def is_ready(self, name: str = "node-0") -> bool:
        """Whether a node takes pods."""
        if not (self.folder / "kubeconfig").is_file():
            return False
        ready = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        return self.kubectl("get", "node", name, "-o", ready, check=False).stdout == "True"

    @contextmanager
    def joined(self, folder: Path) -> Iterator[str]:
        """The name of a second node, part of the cluster until the block ends; its pods have to be gone then."""
        first, name = _namespace(self.folder), "node-1"

        def link(namespace: str) -> None:
            _ip("link", "add", "second", "type", "veth", "peer", "name", "node", "netns", namespace)
            _ip("link", "set", "second", "netns", first)
            inside = ["nsenter", f"--net=/proc/{first}/ns/net", str(part("ip"))]
            for command in (
                ("address", "add", "10.77.1.2/30", "dev", "second"),
                ("link", "set", "second", "up"),
                ("route", "add", "10.78.1.0/24", "via", "10.77.1.1"),
            ):
                subprocess.run([*inside, *command], check=True)
            _ip("route", "replace", "10.77.1.0/30", "via", self.there)

        try:
            with _started(folder, 1, self.registry, link, lambda: self.is_ready(name)):
                yield name
        finally:
            self.kubectl("delete", "node", name, "--ignore-not-found")

    def address_of(self, service: str, namespace: str) -> str:
        """The address of a Service, with a way there from this machine."""
        told = self.kubectl("get", "service", service, "-n", namespace, "-o", "jsonpath={.spec.clusterIP}").stdout
        _ip("route", "replace", f"{told}/32", "via", self.there)
        return told


@contextmanager
def kubernetes_node(registry: Registry, folder: Path) -> Iterator[tuple[Node, "Door"]]:
    """A node, and the door through which it gets to the registry of images."""
    needs(*NEEDED)
    needs_root("kubelet")
    if not (PROGRAMS / ".complete").is_file():
        pytest.skip("there is no Kubernetes: .ci/kubernetes builds it")
    with ExitStack() as stack:
        # Pods of two nodes on one machine would share the kernel's groups of processes.
        lock = stack.enter_context((CACHE / "node.lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        node = Node(folder, registry)
        (folder / "bin").mkdir()
        (folder / "bin" / "kubectl").symlink_to(part("kubectl"))
        stack.callback(_forget_groups)
        stack.enter_context(_started(folder, 0, registry, _link, node.is_ready))
        yield node, stack.enter_context(Door(node.here, 5000, registry.address))


@contextmanager
def _started(
    folder: Path, number: int, registry: Registry, link: Callable[[str], None], is_ready: Callable[[], bool]
) -> Iterator[None]:
    """A node, for as long as the block lasts; `link` gets the process in whose namespace one end of a link belongs."""
    (folder / "pause.tar").write_bytes(_pause())
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
    command += ["--mount-proc", str(Path(__file__).with_name("node")), str(folder), str(PROGRAMS), str(number)]
    threading.Thread(target=lambda: link(_namespace(folder)), daemon=True).start()
    own_id = ["sh", "-c", 'echo $$ >"$SLIPWAY_PID"; exec "$@"', "sh"]
    env = {"SLIPWAY_PID": str(folder / "log.pid")}
    with process([*own_id, *command, registry.address], is_ready, folder / "node.log", env):
        yield


def _namespace(folder: Path) -> str:
    """The process that has the network of a node, as soon as there is one."""
    mine = Path("/proc/self/ns/net").readlink()
    while True:
        with suppress(OSError, ValueError):
            pid = int((folder / "log.pid").read_text("utf-8"))
            if Path(f"/proc/{pid}/ns/net").readlink() != mine:
                return str(pid)


def _link(namespace: str) -> None:
    """Link this machine with a node."""
    _ip("link", "add", "slipway-node", "type", "veth", "peer", "name", "node", "netns", namespace)
    _ip("address", "add", "10.77.0.2/30", "dev", "slipway-node")
    _ip("link", "set", "slipway-node", "up")


def _ip(*arguments: str) -> None:
    subprocess.run([str(part("ip")), *arguments], check=True)


def _forget_groups() -> None:
    """Remove the kernel's groups of processes, which are empty now."""
    for root in (one for name in ("kubepods", "k8s.io") for one in Path("/sys/fs/cgroup").glob(f"*/{name}")):
        for folder in sorted((path for path in [root, *root.rglob("*")] if path.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()


def _pause() -> bytes:
    """An image of one program that sleeps: it holds the network of a pod."""
    layer = _tar({"bin/busybox": part("busybox").read_bytes()})
    diff = f"sha256:{sha256(layer).hexdigest()}"
    entry = {"Entrypoint": ["/bin/busybox", "sleep", "2147483647"]}
    about = {"architecture": "amd64", "os": "linux", "config": entry, "rootfs": {"type": "layers", "diff_ids": [diff]}}
    config = dumps(about).encode()
    name = f"{sha256(config).hexdigest()}.json"
    listed = [{"Config": name, "RepoTags": ["example.test/pause:1"], "Layers": ["layer.tar"]}]
    return _tar({name: config, "layer.tar": layer, "manifest.json": dumps(listed).encode()})


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


class Puller:
    """Stands in for Argo CD and Flux: makes a namespace what a folder of a branch says, and prunes the rest.

    It looks every second, as long as the block lasts.
    """

    def __init__(self, node: Node, repository: Path, overlay: str, checkout: Path) -> None:
        self._node = node
        self._checkout, self._overlay = checkout, checkout / overlay
        git(checkout.parent, "clone", "--quiet", "--branch", "main", str(repository), str(checkout))
        self._applied, self._there = "", set[str]()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._pull_often)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _pull_often(self) -> None:
        while not self._is_over.wait(1):
            git(self._checkout, "pull", "--quiet", "--ff-only")
            commit = git(self._checkout, "rev-parse", "HEAD")
            if commit != self._applied:
                self._make_so()
                self._applied = commit

    def _make_so(self) -> None:
        made = self._node.kubectl("kustomize", str(self._overlay)).stdout
        how = ("--server-side", "--force-conflicts", "--field-manager=puller", "--output=name", "-f", "-")
        now = set(self._node.kubectl("apply", *how, stdin=made).stdout.split())
        namespace = safe_load((self._overlay / "kustomization.yaml").read_text("utf-8"))["namespace"]
        if gone := self._there - now:
            self._node.kubectl("delete", "--namespace", namespace, *sorted(gone))
        self._there = now


class Door:
    """Passes connections on to a server that listens on the loopback address alone, while it is open."""

    def __init__(self, host: str, port: int, to: str) -> None:
        where = urlsplit(to if "//" in to else f"//{to}")
        self._to = (where.hostname or "", where.port or 80)
        self._listener = socket.create_server((host, port))
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        self.is_open = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closed alone, it would go on listening until somebody comes.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Close every new connection at once for as long as the block lasts."""
        self.is_open = False
        try:
            yield
        finally:
            self.is_open = True

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if not self.is_open:
                return
            with socket.create_connection(self._to) as server:
                back = threading.Thread(target=self._pass, args=[server, client], daemon=True)
                back.start()
                self._pass(client, server)
                back.join()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while self.is_open and (received := source.recv(65536)):
                target.sendall(received)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
