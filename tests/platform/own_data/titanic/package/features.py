"""What is known of a passenger, in numbers."""

import numpy as np
from slipway import Column, Columns


def features(rows: Columns) -> dict[str, Column]:
    """Take numbers and codes as they are, and the title out of the name."""
    numbers = {name: rows[name] for name in ("pclass", "sex", "age", "sibsp", "parch", "fare", "embarked")}
    return numbers | {
        "is_master": np.char.find(rows["name"], ", Master.") >= 0,
        "has_cabin": rows["cabin"] != "",
    }
