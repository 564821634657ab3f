"""How often one client may ask."""

from __future__ import annotations

from time import monotonic

from slipway.contract.problems import Problem


class RateLimit:
    """Lets each client send `per_second` requests a second, with a second's worth at once.

    A client is an identity, or an address where nobody is asked for one. It is remembered as one number, the time at
    which its bucket is full again, and only until then.
    """

    MAX_CLIENTS = 10_000

    def __init__(self, per_second: int) -> None:
        self._interval = 1 / per_second
        self._full_at: dict[str, float] = {}

    def take(self, client: str, kind: str = "address") -> None:
        """Let one request through, or refuse it with the time to wait; `kind` is what of the client is known."""
        now = monotonic()
        full_at = max(self._full_at.get(client, 0.0), now) + self._interval
        if full_at - now > 1 + self._interval / 2:
            raise Problem(429, f"too many requests from this {kind}", headers={"retry-after": "1"})
        self._full_at[client] = full_at
        if len(self._full_at) > self.MAX_CLIENTS:
            self._forget(now)

    def _forget(self, now: float) -> None:
        self._full_at = {client: at for client, at in self._full_at.items() if at > now}
        if len(self._full_at) > self.MAX_CLIENTS:  # a flood from many addresses: start over rather than grow
            self._full_at.clear()
