"""A flight in numbers."""

from slipway import Column, Columns


def features(rows: Columns) -> dict[str, Column]:
    """Take the day of the year, the hour, and what the timetable says."""
    seconds = rows["leaves"].astype("int64")
    known = {name: rows[name] for name in ("carrier", "origin", "distance")}
    return known | {"hour": seconds % 86_400 / 3600, "day": seconds // 86_400 % 365}
