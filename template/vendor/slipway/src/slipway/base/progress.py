"""How far long work is."""

from __future__ import annotations

import time

from slipway.base.files import Log
from slipway.base.numbers import counted

SAY_EVERY_S = 2.0


class Progress:
    """Says now and then how much is done, how fast, and, where `total` is known, for how long it will go on."""

    def __init__(self, log: Log, noun: str, total: int | None = None) -> None:
        self._log, self._noun, self._total = log, noun, total
        self._started = self._said = time.monotonic()
        self._done = self._found = 0

    def add(self, done: int, found: int = 0) -> None:
        """So much more is done, of which `found` was there from before, and says nothing about the speed."""
        self._done, self._found = self._done + done, self._found + found
        now = time.monotonic()
        if now - self._said >= SAY_EVERY_S:
            self._said = now
            rate = (self._done - self._found) / (now - self._started)
            self._log(progress(self._done, self._total, self._noun, rate))


def progress(done: int, total: int | None, noun: str, rate: float) -> str:
    """How far it is at `rate` a second.

    >>> progress(1200, 4200, "row", 50.0)
    '1,200 of 4,200 rows, 50 a second, 60 s left'
    >>> progress(1, None, "trial", 0.126)
    '1 trial, 0.13 a second'
    """
    amount = counted(done, noun) if total is None else f"{done:,} of {counted(total, noun)}"
    speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    left = f", {(total - done) / rate:,.0f} s left" if total is not None and rate > 0 else ""
    return f"{amount}, {speed} a second{left}"
