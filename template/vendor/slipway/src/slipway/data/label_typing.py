"""Labels as the contract has them: text becomes values, and what breaks a rule is left out and told."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from slipway import team
from slipway.contract.files import SOURCE
from slipway.contract.frames import Violation, columns, sift
from slipway.contract.rows import Field
from slipway.contract.texts import moments
from slipway.log.masks import MARK, Mask
from slipway.settings.policy import LabelPolicy
from slipway.team import CONTRACT

#: When a label was written, beside columns of any name.
WRITTEN = "(written)"
SHOWN = 3


def typed(told: pl.DataFrame, rule: LabelPolicy, mask: Mask | None = None) -> tuple[pl.DataFrame, list[Violation]]:
    """Give text its types by the contract's own rules; say which of them rows broke, and leave these rows out.

    What a `mask` hashes of the key is a hash in the end, and may be one already.
    """
    if mask is None:
        return _checked(told, rule, [])
    hashed = [name for name in rule.key if name in mask.hashed]
    parts, violations = [], []
    for part, done in _by_hashes(told, hashed):
        made, broken = _checked(part, rule, done)
        for name in [name for name in hashed if name not in done]:
            made = made.with_columns(pl.Series(name, [mask.hash(name, value) for value in made[name]], pl.String))
        parts.append(made)
        violations += broken
    return pl.concat(parts), violations


def _by_hashes(told: pl.DataFrame, hashed: list[str]) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    """Rows in which the same columns are hashes already, and which these are; at least once, also without any."""
    if not hashed or told.is_empty():
        yield told, []
        return
    is_done = told.select(pl.col(name).str.starts_with(MARK).fill_null(False) for name in hashed)
    for pattern in is_done.unique(maintain_order=True).rows(named=True):
        of_it = is_done.select(pl.all_horizontal(pl.col(name) == done for name, done in pattern.items())).to_series()
        yield told.filter(of_it), [name for name, done in pattern.items() if done]


def _checked(told: pl.DataFrame, rule: LabelPolicy, hashed: list[str]) -> tuple[pl.DataFrame, list[Violation]]:
    fields: tuple[Field, ...] = (
        *(field for field in CONTRACT.fields if field.name in rule.key and field.name not in hashed),
        *CONTRACT.outcome_fields,
    )
    made, violations = sift(told, fields, rule.format)
    beside = [name for name in ("id", *hashed, WRITTEN) if name in told.columns]
    made = made.join(told.select(SOURCE, *beside), on=SOURCE, how="left", maintain_order="left") if beside else made
    if WRITTEN in beside:
        text, form = pl.col(WRITTEN), rule.format.time
        plain = moments(text, zoned=False, form=form, unit="us").dt.replace_time_zone("UTC")
        made = made.with_columns(pl.coalesce(moments(text, zoned=True, form=form, unit="us"), plain).alias(WRITTEN))
    for name, rule_broken in (("id", "a value is missing"), (WRITTEN, "must be a time")):
        lacking = made.filter(pl.col(name).is_null()) if name in beside else made.clear()
        if lacking.height:
            column, first = rule.time if name == WRITTEN else name, lacking[SOURCE].head(SHOWN).to_list()
            violations.append(Violation(str(column), rule_broken, lacking.height, first))
            made = made.filter(pl.col(name).is_not_null())
    order = [name for name in told.columns if name in made.columns]
    return made.select(order), violations


def of_a_class(typed: pl.DataFrame) -> tuple[pl.DataFrame, list[Violation]]:
    """The labels of the classes that model.py names, if it names some, and what is said of others."""
    classes = team.classes()
    if not classes or typed.is_empty():
        return typed, []
    places = pl.Series(team.model.target(columns(typed, CONTRACT.outcome_fields)), strict=False).cast(pl.Float64)
    is_one = places.is_in([*map(float, range(len(classes)))]).fill_null(False)
    if is_one.all():
        return typed, []
    others, names = typed.filter(~is_one), ", ".join(field.name for field in CONTRACT.outcome_fields)
    rule = f"target in model.py gives no place in CLASSES, which are {', '.join(classes)}"
    return typed.filter(is_one), [Violation(names, rule, others.height, others[SOURCE].head(SHOWN).to_list())]
