"""Times and their zones: one rule for raw data, labels, batches, requests and the prediction log.

A time field takes times without a zone, and a time with one (`Z`, `+02:00`) is refused: which local time it means
nobody can tell. A field that declares `Meta(tz=True)` takes times with a zone alone, and each becomes that of UTC.
Both are refused with the same sentence, `asked`.
"""

from __future__ import annotations

from datetime import UTC, datetime


def kept(moment: datetime, *, zoned: bool) -> datetime | None:
    """Return a time as the contract keeps it, in UTC if its field is `zoned`; `None` where it breaks the rule.

    >>> kept(datetime(2013, 7, 1, 17, 30, tzinfo=UTC), zoned=False)
    >>> kept(datetime(2013, 7, 1, 17, 30), zoned=False)
    datetime.datetime(2013, 7, 1, 17, 30)
    """
    if (moment.tzinfo is not None) is not zoned:
        return None
    return moment.astimezone(UTC) if zoned else moment


def asked(*, zoned: bool) -> str:
    """What a time must be, as people are told."""
    return (
        "a time with a zone, like 2013-07-01T17:30:00Z" if zoned else "a time without a zone, like 2013-07-01T17:30:00"
    )
