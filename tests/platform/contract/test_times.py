"""One rule for zones: of raw rows, of requests and of the prediction log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
import numpy as np
import polars as pl
import pytest
from msgspec import Meta
from slipway.contract.columns import columns as request_columns
from slipway.contract.files import SOURCE
from slipway.contract.frames import columns, parse
from slipway.contract.rows import Contract, Row, fields_of

WITHOUT, WITH = "2013-07-01T17:30:00", "2013-07-01T19:30:00+02:00"


class Plain(Row):
    """A time that says nothing of a zone."""

    at_time: datetime


class Zoned(Row):
    """A time that must have a zone."""

    at_time: Annotated[datetime, Meta(tz=True)]


class Outcome(Row):
    """Anything."""

    happened: bool


def contract(row: type[Row]) -> Contract:
    return Contract(row=row, outcome=Outcome, key=("at_time",))


@pytest.mark.parametrize("row", [Plain, Zoned])
@pytest.mark.parametrize("text", [WITHOUT, WITH, "2013-07-01T17:30:00Z"])
def test_a_zone_is_taken_or_refused_by_the_same_sentence_wherever_a_time_comes_from(row: Any, text: str) -> None:
    (field,) = fields_of(row)
    is_right = (text != WITHOUT) is field.zoned

    frame, violations = parse(pl.DataFrame({"at_time": [text], SOURCE: ["a.csv:1"]}), (field,))
    assert [one.rule for one in violations] == ([] if is_right else [f"must be {field.type_in_words}"])
    assert field.type_in_words.startswith("a time with a zone" if field.zoned else "a time without a zone")

    moment = msgspec.convert(text, datetime)
    assert field.broken_by(moment) == (None if is_right else "other")
    asked = row(at_time=moment)
    assert contract(row).settle(asked) == (None if is_right else field)
    if is_right:
        same = np.datetime64(WITHOUT)
        assert frame.height == 1
        assert columns(frame, (field,))["at_time"][0] == request_columns([asked], (field,))["at_time"][0] == same


def test_times_an_hour_apart_when_clocks_go_back_are_two_rows_where_they_have_a_zone() -> None:
    texts = ["2013-11-03T01:30:00-04:00", "2013-11-03T01:30:00-05:00"]
    raw = pl.DataFrame({"at_time": texts, SOURCE: ["a.csv:1", "a.csv:2"]})

    frame, violations = parse(raw, fields_of(Zoned))

    assert violations == []
    assert frame["at_time"].dt.to_string("%Y-%m-%dT%H:%M").to_list() == ["2013-11-03T05:30", "2013-11-03T06:30"]


def test_a_row_with_a_zone_can_be_asked_for_again() -> None:
    (row,) = msgspec.convert([{"at_time": WITH}], list[Zoned])
    assert contract(Zoned).settle(row) is None

    assert msgspec.json.decode(msgspec.json.encode(row), type=Zoned) == row
