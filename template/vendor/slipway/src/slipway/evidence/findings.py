"""What an audit says of one thing."""

from __future__ import annotations

from collections.abc import Iterable
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


def findings_text(found: Iterable[AuditFinding]) -> str:
    """The findings, one a line, and below each that does not hold or was not asked what to do or why."""
    lines = []
    for one in found:
        lines.append(f"{'FAIL' if not one.holds else 'ok  ' if one.is_asked else 'skip'}  {one.what}")
        if not one.is_asked:
            lines.append(f"      not asked: {one.detail}")
        elif not one.holds:
            lines.append(f"      {one.detail}")
    return "\n".join(lines)


def not_asked(what: str, why: str) -> AuditFinding:
    """A finding about what nobody here can know."""
    return AuditFinding(what, holds=True, detail=why, is_asked=False)
