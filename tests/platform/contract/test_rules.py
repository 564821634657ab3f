"""Each rule of a contract stands in one table, and everybody who holds values against it reads it there."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import polars as pl
import pytest
from msgspec import Meta
from slipway.contract.files import SOURCE
from slipway.contract.frames import parse
from slipway.contract.rows import Field, Row, fields_of
from slipway.contract.rules import RULES, in_words
from slipway.log.refusals import kept

#: For each rule: a type that sets it, a value that keeps it, one that breaks it.
CASES: dict[str, tuple[Any, Any, Any]] = {
    "ge": (Annotated[int, Meta(ge=3)], 3, 2),
    "gt": (Annotated[int, Meta(gt=3)], 4, 3),
    "le": (Annotated[float, Meta(le=3)], 3.0, 3.5),
    "lt": (Annotated[float, Meta(lt=3)], 2.5, 3.0),
    "multiple_of": (Annotated[int, Meta(multiple_of=6)], 12, 13),
    "min_length": (Annotated[str, Meta(min_length=2)], "éé", "é"),
    "max_length": (Annotated[str, Meta(max_length=2)], "éé", "ééé"),
    "pattern": (Annotated[str, Meta(pattern="^[A-Z]{2}$")], "AB", "ab"),
}


def row_type(declared: Any) -> type[Row]:
    return msgspec.defstruct("Box", [("size", declared)], bases=(Row,))  # type: ignore[return-value]


def complaints(field: Field, value: Any) -> list[str]:
    raw = pl.DataFrame([{"size": str(value), SOURCE: "row 1"}])
    return [violation.rule for violation in parse(raw, (field,))[1]]


def test_every_rule_of_the_table_has_a_case() -> None:
    assert CASES.keys() == RULES.keys()


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_is_held_against_requests_values_and_columns_alike(rule: str) -> None:
    declared, good, bad = CASES[rule]
    row = row_type(declared)
    (field,) = fields_of(row)

    assert msgspec.convert({"size": good}, row)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"size": bad}, row)

    assert (field.broken_by(good), field.broken_by(bad)) == (None, rule)
    assert (complaints(field, good), complaints(field, bad)) == ([], [RULES[rule].sentence(dict(field.limits)[rule])])


@pytest.mark.parametrize("rule", CASES)
def test_a_broken_rule_is_recorded_with_its_value_and_told_in_words_of_its_own(rule: str) -> None:
    declared, _, bad = CASES[rule]
    (field,) = fields_of(row_type(declared))
    is_free_text = field.kind.value == "text" and rule != "pattern"

    assert kept(field, rule, bad) == (None if is_free_text else msgspec.json.encode(bad).decode())
    assert in_words(rule) not in (in_words("other"), "")


def test_one_entry_of_the_table_is_all_that_a_rule_is(monkeypatch: pytest.MonkeyPatch) -> None:
    declared, _, bad = CASES["multiple_of"]
    entry = RULES["multiple_of"]

    monkeypatch.delitem(RULES, "multiple_of")
    (unknown,) = fields_of(row_type(declared))
    assert (unknown.broken_by(bad), complaints(unknown, bad), in_words("multiple_of")) == (None, [], in_words("other"))

    monkeypatch.setitem(RULES, "multiple_of", entry)
    (known,) = fields_of(row_type(declared))
    assert known.broken_by(bad) == "multiple_of"
    assert complaints(known, bad) == ["must be a multiple of 6"]
    assert in_words("multiple_of") == "is no multiple of what it must be"


def test_a_bound_that_moves_leaves_the_other_limits_as_they_are() -> None:
    (field,) = fields_of(row_type(Annotated[int, Meta(ge=0, le=60, multiple_of=6)]))

    wider = field.with_bounds([("ge", 0.0), ("le", 66.0)])

    assert (wider.broken_by(66), wider.broken_by(65), wider.broken_by(72)) == (None, "multiple_of", "le")
