"""How a scan becomes the numbers that the model sees. Yours to change."""

from __future__ import annotations

import numpy as np
from slipway import Column, Columns


def features(rows: Columns) -> dict[str, Column]:
    """Turn columns of the contract into features: for each row one value, or as many as there are pixels.

    Training, batches and the server all call this one function, with thousands of rows or
    with one. Keep it to array arithmetic, then it is fast for both.
    """
    return {"pixels": rows["picture"] / np.float32(255)}
