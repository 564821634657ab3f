"""What a day is like, in numbers."""

import numpy as np
from slipway import Column, Columns

DAYS_A_YEAR = 365.25


def features(rows: Columns) -> dict[str, Column]:
    """Place the day in its year, and take the rest as it is."""
    angle = 2 * np.pi * rows["date"].astype("datetime64[D]").astype("int64") / DAYS_A_YEAR
    taken = {name: rows[name] for name in ("temp_min", "wind", "precipitation", "weather")}
    return taken | {"winter": np.cos(angle), "spring": np.sin(angle)}
