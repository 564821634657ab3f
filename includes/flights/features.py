"""How a flight becomes the numbers that the model sees. Yours to change."""

from __future__ import annotations

from slipway import Column, Columns

SECONDS_A_DAY = 86_400


def features(rows: Columns) -> dict[str, Column]:
    """Turn columns of the contract into features, one value per row.

    Training, batches and the server all call this one function, with thousands of rows or
    with one. Keep it to array arithmetic, then it is fast for both.
    """
    departs = rows["departs"].astype("int64")
    return {
        "hour": departs % SECONDS_A_DAY / 3600,
        "weekday": (departs // SECONDS_A_DAY + 3) % 7,  # 1970-01-01 was a Thursday; Monday is 0
        "carrier": rows["carrier"],
        "origin": rows["origin"],
        "distance": rows["distance"],
        "temp": rows["temp"],
        "humid": rows["humid"],
        "wind_speed": rows["wind_speed"],
        "precip": rows["precip"],
        "pressure": rows["pressure"],
        "visib": rows["visib"],
    }
