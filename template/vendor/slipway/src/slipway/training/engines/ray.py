"""Ray: the workers of a cluster that runs already."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from typing import Any

import ray

from slipway.training.engines.base import RETRIES, Engine, EngineSettings, require_answer, unreachable


def opened(settings: EngineSettings) -> RayEngine:
    """The workers of the cluster whose head is at `tool.mlops.engine_address`."""
    home = settings.address, 6379, "Ray"
    require_answer(*home)
    # Ray would end this process, without a word, a minute after its head has gone.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "86400")
    try:
        ray.init(settings.address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True)
    except Exception as error:
        raise unreachable("Ray", settings.address, error) from error
    return RayEngine(home)


class RayEngine(Engine):
    """A driver of a cluster, which begins a task again whose worker was lost, up to `RETRIES` times."""

    def __init__(self, home: tuple[str, int, str]) -> None:
        self.home, self._remote = home, cache(ray.remote)  # each is sent to the head once
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 0)))

    def share(self, content: bytes) -> Any:
        """See `Engine`."""
        return ray.put(content)

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        """See `Executor`."""
        future: Future[Any] = self._remote(function).options(max_retries=RETRIES).remote(*given, **named).future()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster, which drops what is not done."""
        del wait, cancel_futures
        ray.shutdown()
