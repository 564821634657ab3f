"""A project whose target is containers, with an engine and a registry of images of its own."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from engine import Engine, Registry, services_image
from rendering import git
from running import RunningProject

#: Debian's build of the proxy stands in the place of the official one, whose registry a test cannot reach.
PROXY = """
FROM {services}
USER haproxy
STOPSIGNAL SIGUSR1
"""
PROXY_IMAGE = {"PROXY_IMAGE": "haproxy-of-debian"}


def image_name(images: Registry) -> str:
    """Return the name under which a project keeps its images in the tests' registry."""
    return f"{images.address}/acme/flights"


@dataclass(frozen=True)
class ContainerProject(RunningProject):
    """Its commands use the tests' engine."""

    engine: Engine
    images: Registry
    #: An engine tells projects apart by their names.
    slug: str = "flight-delays"

    @property
    def image(self) -> str:
        """The name of its images, without a tag."""
        return image_name(self.images)

    def environment(self) -> dict[str, str]:
        """That of a shell with the tests' engine, and with Debian's proxy in the place of the official image."""
        path = os.pathsep.join([str(self.engine.path), os.environ["PATH"]])
        own = {"DOCKER_CONFIG": str(self.engine.folder / "config"), "PATH": path}
        return super().environment() | self.engine.env | own | PROXY_IMAGE

    def ship(self) -> str:
        """Build, try and push the serve image; return its name by digest."""
        return self.mlops("build", "serve", "--push").stdout.split()[-1]

    def container(self, service: str, environment: str = "staging") -> dict[str, Any] | None:
        """What the engine knows of a service of an environment."""
        found = self.engine.docker("inspect", f"{self.slug}-{environment}-{service}-1", check=False)
        return json.loads(found.stdout)[0] if found.exit_code == 0 else None

    def serving(self) -> dict[str, Any]:
        """The one server that there is."""
        found = [one for one in map(self.container, ("blue", "green")) if one]
        assert len(found) == 1
        return found[0]

    @contextmanager
    def changed(self, path: str, old: str, new: str) -> Iterator[None]:
        """Change a file in a commit of its own, for as long as the block lasts."""
        before = git(self.root, "rev-parse", "HEAD").strip()
        self.edit(path, old, new)
        self.commit(f"Change {path}")
        try:
            yield
        finally:
            git(self.root, "reset", "--quiet", "--hard", before)

    def name_image(self, image: str) -> None:
        """Let staging name another image, as somebody would who edits the file and commits it."""
        path = self.root / "deploy" / "environments" / "staging.yaml"
        text, found = re.subn(r"(?m)^  image: .*$", f"  image: {image}", path.read_text("utf-8"), count=1)
        assert found, "staging names no image yet"
        path.write_text(text, encoding="utf-8")
        self.commit("Name another image")


def run_staging_in_containers(project: RunningProject) -> None:
    """Let staging run in containers, too, by the one line that its file has for that."""
    project.edit("deploy/environments/staging.yaml", "target: native", "target: compose")
    project.commit("Run staging in containers")


def log_in(engine: Engine, images: Registry) -> None:
    """Let the engine's own client push and pull."""
    login = ("--username", images.username, "--password-stdin", images.address)
    engine.docker("login", *login, stdin=images.password)


def with_proxy(engine: Engine) -> None:
    """Make the proxy's image."""
    proxy = PROXY.format(services=services_image(engine))
    engine.docker("build", "--quiet", "--tag", PROXY_IMAGE["PROXY_IMAGE"], "-", stdin=proxy)
