"""Ways to single pods from this machine, by `kubectl port-forward`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.base import http, programs
from slipway.base.errors import MlopsError
from slipway.delivery import known
from slipway.delivery.kubernetes.cluster import PORT, Cluster, Pod


@contextmanager
def to(place: Cluster, pod: Pod) -> Iterator[int]:
    """The port of this machine behind which a pod is for as long as the block lasts."""
    command = place.command("port-forward", f"pod/{pod.name}", f":{PORT}", "--address", "127.0.0.1")
    with subprocess.Popen(  # noqa: S603 - arguments without a shell
        command, env=programs.environment(*programs.CLOUDS), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as forwarding:
        try:
            said = next(iter(forwarding.stdout or ()), b"").decode()
            found = re.search(r"127\.0\.0\.1:(\d+) ->", said)
            if not found:
                raise MlopsError(f"kubectl port-forward reaches no pod: {said.strip()}", " ".join(command))
            yield int(found[1])
        finally:
            forwarding.terminate()


def challenger_at(port: int, certificate: Path | None) -> tuple[str, str, float] | None:
    """Version, mode and share of the challenger that the server behind a port says it has."""
    try:
        return known.challenger_in(http.ask("127.0.0.1", port, "/metrics", certificate=certificate).text)
    except OSError:
        return None
