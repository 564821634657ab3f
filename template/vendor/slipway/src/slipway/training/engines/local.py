"""This machine: this process by itself, or several of its like."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import Executor, ProcessPoolExecutor

from slipway.training.engines.base import EngineSettings


def opened(settings: EngineSettings) -> Executor:
    """Processes of this machine. They are spawned, as everywhere: a fork of a process with threads may hang."""
    return _Processes(settings.workers, multiprocessing.get_context("spawn"), _end_with_client)


class _Processes(ProcessPoolExecutor):
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let go of the processes, and of what was on its way to one that was killed.

        Before 3.11.5, Python waits for a pipe that nobody reads any more, and never ends (its issue 94777).
        """
        on_its_way = vars(self)["_call_queue"]  # none after the first time
        if vars(self)["_broken"] and on_its_way and sys.version_info < (3, 11, 5):
            on_its_way._reader.close()
        super().shutdown(wait, cancel_futures=cancel_futures)


def _end_with_client() -> None:
    """Leave interrupts to the client, and end when it has ended: Python's own workers outlive one that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client = multiprocessing.parent_process()

    def watch() -> None:
        if client is not None:
            client.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
