"""This machine: this process by itself, or several of its like."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import Executor, ProcessPoolExecutor, process

from slipway.training.engines.base import EngineSettings


def opened(settings: EngineSettings) -> Executor:
    """Processes of this machine. They are spawned, as everywhere: a fork of a process with threads may hang."""
    return ProcessPoolExecutor(settings.workers, multiprocessing.get_context("spawn"), _end_with_client)


def _let_go_and_join(manager: process._ExecutorManagerThread) -> None:
    """Close this end of the pipe before waiting for what is on its way to a process that was killed.

    Python does so itself since 3.11.5; until then it waits for ever for somebody to read that (its issue 94777).
    """
    manager.call_queue._reader.close()  # type: ignore[attr-defined]
    _join(manager)


_join = process._ExecutorManagerThread.join_executor_internals
if sys.version_info < (3, 11, 5):
    process._ExecutorManagerThread.join_executor_internals = _let_go_and_join  # type: ignore[assignment,method-assign]


def _end_with_client() -> None:
    """Leave interrupts to the client, and end when it has ended: Python's own workers outlive one that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client = multiprocessing.parent_process()

    def watch() -> None:
        if client is not None:
            client.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
