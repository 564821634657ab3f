"""This machine: this process by itself, or several of its like."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Executor, ProcessPoolExecutor

from slipway.training.engines.base import EngineSettings


def opened(settings: EngineSettings) -> Executor:
    """Processes of this machine. They are spawned, as everywhere: a fork of a process with threads may hang."""
    return ProcessPoolExecutor(settings.workers, multiprocessing.get_context("spawn"), _end_with_client)


def _end_with_client() -> None:
    """Leave interrupts to the client, and end when it has ended: Python's own workers outlive one that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client = multiprocessing.parent_process()

    def watch() -> None:
        if client is not None:
            client.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
