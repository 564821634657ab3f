"""The page about columns says what is so: each example is run, and the table is held against every type."""

from __future__ import annotations

import doctest
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
import pytest
from slipway.contract.columns import columns
from slipway.contract.rows import Row, fields_of
from slipway.settings.params import SplitParams

PAGE = Path(__file__).parents[2] / "template" / "vendor" / "slipway" / "docs" / "columns.md"
TEXT = PAGE.read_text("utf-8")
TYPES: dict[str, tuple[Any, Any]] = {
    "float": (float, 1.5),
    "int": (int, 7),
    "bool": (bool, True),
    'Literal["a", "b"]': (Literal["a", "b"], "b"),
    "str": (str, "x"),
    "datetime": (datetime, datetime(2013, 7, 1)),
}
#: Type, what the array holds, what a missing value is.
ROWS = re.findall(r"^\| `([^|]+)` \| ([^|]+) \| `([^|]+)` \|$", TEXT, flags=re.MULTILINE)


def test_the_examples_of_the_page_give_what_it_shows() -> None:
    done = doctest.testfile(str(PAGE), module_relative=False)

    assert (done.failed, done.attempted > 15) == (0, True)
    assert TEXT.count("```pycon") == TEXT.count("\n\n```\n")  # so that no example takes its end for output


@pytest.mark.parametrize(("declared", "holds", "missing"), ROWS)
def test_a_row_of_the_table_is_what_arrives(declared: str, holds: str, missing: str) -> None:
    kind, value = TYPES[declared]
    row = msgspec.defstruct("Box", [("size", kind | None)], bases=(Row,))
    rows: list[Any] = [row(size=value), row(size=None)]
    array = columns(rows, fields_of(row))["size"]  # type: ignore[arg-type]

    assert holds.startswith("texts" if array.dtype.kind == "U" else f"`{array.dtype}`")
    shown = repr(array.tolist()[1]) if array.dtype.kind in "iU" else str(array[1])
    assert shown.replace("''", '""') == missing
    assert np.asarray(array).shape == (2,)


def test_the_page_has_every_type_and_every_rule() -> None:
    assert [declared for declared, _, _ in ROWS] == [*TYPES]
    rules = get_args(msgspec.structs.fields(SplitParams)[-1].type)
    assert re.findall(r"^\| `(\w+)`[^|]*\| [^|]+ \|$", TEXT, flags=re.MULTILINE) == [*rules]
