"""How a tumour becomes the numbers that the model sees."""

from slipway import Column, Columns


def features(rows: Columns) -> dict[str, Column]:
    """Take every measure as it is."""
    return {name: rows[name] for name in rows if name != "sample no."}
