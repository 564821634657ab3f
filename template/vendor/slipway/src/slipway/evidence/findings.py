"""What an audit says of one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditFinding:
    """What was looked at, whether it holds, and what to do if not.

    What could not be asked is not known to hold: `is_asked` is false then, and `detail` says why.
    """

    what: str
    holds: bool
    detail: str
    is_asked: bool = True


def not_asked(what: str, why: str) -> AuditFinding:
    """A finding about what nobody here can know."""
    return AuditFinding(what, holds=True, detail=why, is_asked=False)
