"""Dask: the workers of a scheduler that runs already."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

import dask
from distributed import Client

from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.training.engines.base import SILENT_S, WORKER_S, Engine, EngineSettings, require_answer, unreachable

#: Beyond this a function goes to each worker once, and not with each task.
SHARED_FROM = 1 << 20


def opened(settings: EngineSettings) -> DaskEngine:
    """The workers of the scheduler at `tool.mlops.engine_address`."""
    home = settings.address, 8786, "Dask"
    require_answer(*home)
    address = settings.address if "://" in settings.address else f"tcp://{settings.address}"
    try:
        client = Client(address, timeout=WORKER_S, set_as_default=False)
    except Exception as error:
        raise unreachable("Dask", address, error) from error
    return DaskEngine(client, settings.log, WORKER_S, home)


class DaskEngine(Engine):
    """A client of a scheduler, which begins a task again whose worker was lost, three times if it is set so.

    That number is the scheduler's own: `distributed.scheduler.allowed-failures`. The first worker is waited for, at
    most for `limit_s` seconds.
    """

    def __init__(self, client: Client, log: Log, limit_s: float, home: tuple[str, int, str] | None = None) -> None:
        # What a chunk weighs is known; Dask would warn of each.
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"})
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._client, self.home = client, home
        waited, look_s = 0.0, min(SILENT_S, limit_s)
        while not (workers := client.nthreads()):
            if waited >= limit_s:
                place = client.scheduler.address
                self.shutdown()
                raise MlopsError(
                    f"the Dask cluster at {place} has had no worker for {waited:g} s",
                    f"start some: dask worker {place} --nthreads 1",
                )
            if waited:
                log(f"engine: no worker yet, after {waited:,.0f} s")
            with suppress(TimeoutError):
                client.wait_for_workers(1, timeout=look_s)
            waited += look_s
        self.workers = sum(workers.values())
        self._executor: Executor = client.get_executor(pure=False)

    def share(self, content: bytes) -> Any:
        """See `Engine`."""
        if len(content) < SHARED_FROM:
            return content
        # As a task of its own, the scheduler can have it done again: what is scattered is lost with its workers.
        return self._client.submit(bytes, content, pure=False)

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        """See `Executor`."""
        return self._executor.submit(function, *given, **named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; the scheduler drops what is not done."""
        del wait, cancel_futures
        self._client.close()
