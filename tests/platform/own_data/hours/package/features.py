"""An hour in numbers."""

from slipway import Column, Columns

MEASURES = ("origin", "temp", "wind_dir", "wind_speed", "pressure", "visib", "precip")


def features(rows: Columns) -> dict[str, Column]:
    """Take what was measured, the hour of the day, and the year, of which there is one so far."""
    measured = rows["measured"]
    when = {"hour": measured.astype("int64") % 86_400 / 3600, "year": measured.astype("datetime64[Y]").astype("int64")}
    return {name: rows[name] for name in MEASURES} | when
