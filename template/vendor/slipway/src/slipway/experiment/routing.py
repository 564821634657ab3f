"""Whether one version answered all requests of a kind, though no `key` of the trial says so.

A client that names a version, or sends the same request again and again, meets the same version each time. Its rows
then tell of that client more than of the version, and however many days they come from, they are one and the same
draw: the days cannot show it. What the log holds of such a client can.
"""

from __future__ import annotations

import polars as pl

from slipway.contract.rows import Contract, FieldKind

#: Of so many requests that repeat a value the share is known.
LEAST_REPEATS = 50
#: How much more often than by chance the same version answers, of all that is more than chance (J. Cohen, "A
#: coefficient of agreement for nominal scales", Educational and Psychological Measurement 20(1), 1960).
MOST_AGREEMENT = 0.25
WHOLE = "the whole request"
_KINDS = {FieldKind.CATEGORY, FieldKind.INTEGER, FieldKind.TEXT, FieldKind.FLAG}
_ARM, _REQUEST = "(arm)", "(request)"


def always_the_same(champion: pl.DataFrame, challenger: pl.DataFrame, contract: Contract) -> dict[str, pl.Expr]:
    """By which columns requests were divided: their names, and the cluster of a row by each.

    Of a value that several requests have, the next request is compared with the one before it; rows of one request go
    together anyhow, and count once. A column that is a quantity or a time names no client, and is not looked at.
    """
    log = pl.concat([champion.with_columns(pl.lit(0).alias(_ARM)), challenger.with_columns(pl.lit(1).alias(_ARM))])
    log = log.with_columns(pl.col("id").str.replace(r"-[^-]*$", "").alias(_REQUEST)).sort("at", maintain_order=True)
    by = {field.name: pl.col(field.name) for field in contract.fields if field.kind in _KINDS}
    by[WHOLE] = pl.struct(field.name for field in contract.fields)
    share = log.select(pl.col(_ARM).mean()).item() if log.height else 0.0
    chance = share**2 + (1 - share) ** 2
    return {name: one for name, one in by.items() if _agreement(log, one, chance) > MOST_AGREEMENT}


def _agreement(log: pl.DataFrame, by: pl.Expr, chance: float) -> float:
    """From 0, as by chance, to 1, always the same version; 0 where too few requests tell."""
    seen = log.select(_ARM, _REQUEST, by.hash().alias("value"), by.is_null().alias("none")).filter(~pl.col("none"))
    firsts = seen.unique([_REQUEST, "value"], keep="first", maintain_order=True)
    same = firsts.select(pl.col(_ARM) == pl.col(_ARM).shift(1).over("value")).to_series().drop_nulls()
    share = same.mean()
    if len(same) < LEAST_REPEATS or chance == 1 or not isinstance(share, float):
        return 0.0
    return (share - chance) / (1 - chance)
