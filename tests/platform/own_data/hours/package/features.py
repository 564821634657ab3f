"""An hour in numbers."""

from slipway import Column, Columns

MEASURES = ("origin", "temp", "wind_dir", "wind_speed", "pressure", "visib", "precip")


def features(rows: Columns) -> dict[str, Column]:
    """Take what was measured, and the hour of the day."""
    return {name: rows[name] for name in MEASURES} | {"hour": rows["measured"].astype("int64") % 86_400 / 3600}
