"""The Compose project of an environment: its containers, its proxy, and who gets which requests."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from slipway.base import files
from slipway.delivery.docker import compose, inspect
from slipway.delivery.target import Rival, Run, Traffic
from slipway.settings.project import Project

CHALLENGER = "challenger"


class Stack:
    """The Compose project of an environment, and the folder of its proxy."""

    def __init__(self, project: Project, environment: str) -> None:
        self.name = f"{project.tool.model}-{environment}"
        folder = project.state / "environments" / environment
        self.proxy = folder / "proxy"
        self.servers = folder / "servers"
        self._inside = f"/project/.mlops/environments/{environment}"
        self._files = project.root / "deploy" / "compose"
        self._config = self.proxy / "haproxy.cfg"

    @property
    def colour(self) -> str:
        """The server that gets the requests; empty before the first."""
        text = self._config.read_text("utf-8") if self._config.is_file() else ""
        found = re.search(r"^ +server (\w+) ", text, flags=re.MULTILINE)
        return found[1] if found else ""

    def point_at(self, colour: str) -> None:
        """Write the configuration in which `colour` gets the requests."""
        self.proxy.mkdir(parents=True, exist_ok=True)
        text = (self._files / "haproxy.cfg").read_text("utf-8")
        files.write(self._config, text.replace("COLOUR", colour).encode())

    def forget(self) -> None:
        """Remove the configuration, so that nobody asks Docker about an environment that it does not run."""
        self._config.unlink(missing_ok=True)

    def container(self, service: str) -> dict[str, Any] | None:
        """What Docker knows of a service of this environment."""
        return inspect("container", f"{self.name}-{service}-1")

    def running(self, service: str) -> Run | None:
        """What a service runs; `None` when it is not running."""
        found = self.container(service)
        if found is None or not found["State"]["Running"]:
            return None
        return msgspec.json.decode(found["Config"]["Labels"]["mlops.run"], type=Run)

    def traffic(self) -> Traffic | None:
        """What the champion knows of a challenger."""
        path = self.servers / "traffic.json"
        return msgspec.json.decode(path.read_bytes(), type=Traffic) if path.is_file() else None

    def direct(self, rival: Rival | None) -> None:
        """Tell the champion which part of the requests a challenger gets; `None` when it has none."""
        path = self.servers / "traffic.json"
        if rival is None:
            path.unlink(missing_ok=True)
            return
        traffic = Traffic(
            version=rival.run.version, socket=rival.run.host, mode=rival.mode, share=rival.share, key=rival.key,
            counts=f"{self._inside}/counts/{short_name(self.container(CHALLENGER) or {})}",
        )  # fmt: skip
        files.write(path, msgspec.json.encode(traffic), mode=0o644)

    def holds(self, run: Run) -> bool:
        """Whether the proxy listens where `run` wants to."""
        proxy = self.container("proxy")
        wanted = {"8000/tcp": [{"HostIp": run.host, "HostPort": str(run.port)}]}
        return bool(proxy and proxy["State"]["Running"] and proxy["HostConfig"]["PortBindings"] == wanted)

    def compose(self, *arguments: str, env: dict[str, str]) -> None:
        """Run a compose command for this environment."""
        compose(self.name, self._files / "environment.yaml", *arguments, env=env)


def short_name(container: dict[str, Any]) -> str:
    """The name that a container gives itself, and the folder in which its servers count."""
    return str(container.get("Config", {}).get("Hostname", ""))
