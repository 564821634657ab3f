"""What is refused where a contract is read, in one sentence, before anything is done with it."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta
from slipway.base.errors import MlopsError
from slipway.contract.rows import LOGGED, Contract, Row


class Colour(Enum):
    """Two of them."""

    RED = "red"


def rows(**fields: Any) -> type[Row]:
    return msgspec.defstruct("Box", [*fields.items()], bases=(Row,))  # type: ignore[return-value]


OUTCOME = rows(broken=bool)


@pytest.mark.parametrize("name", sorted({*LOGGED, "rows", "truth", "is_due", "source_row"}))
@pytest.mark.parametrize("is_outcome", [False, True], ids=["row", "outcome"])
def test_a_name_that_means_something_else_is_refused(name: str, is_outcome: bool) -> None:
    row = rows(size=int) if is_outcome else rows(size=int, **{name: float})
    outcome = rows(**{name: float}) if is_outcome else OUTCOME

    with pytest.raises(MlopsError, match=rf"contract\.py cannot name a field {name}: .*\n next: give it another name"):
        Contract(row=row, outcome=outcome, key=("size",))


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (Literal[1, 2, 3], r'gives grade a category that is a number: 1\n next: .* Literal\["1", "2", "3"\]'),
        (Literal["low", 2], r"gives grade a category that is a number: 2"),
        (Literal[1, 2] | None, r"gives grade a category that is a number: 1"),
        (list[int], r"gives grade a type that no column can have: List\n next: choose from float, int, bool, str"),
        (int | str, r"gives grade a type that no column can have: Union"),
        (Colour, r"gives grade a type that no column can have: Enum"),
        (bytes, r"gives grade a type that no column can have: Bytes"),
        (Any, r"gives grade a type that no column can have: Any"),
    ],
)
def test_a_type_that_no_column_has_is_refused(declared: Any, said: str) -> None:
    with pytest.raises(MlopsError, match=f"contract.py {said}"):
        Contract(row=rows(size=int, grade=declared), outcome=OUTCOME, key=("size",))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": ("width",)}, "names width as its key, which no request holds\n next: choose from size, at_noon"),
        ({"key": ()}, r"has no key\n next: name the fields"),
        ({"time": "noon"}, "names noon as its time, which no request holds"),
        ({"time": "size"}, "names size as its time, which is of the type integer"),
        ({"outcome": rows(size=int)}, "names size in a row and in its outcome"),
        ({"row": rows(model=str), "key": ("model",)}, "has model in its key"),
        ({"row": int}, "holds <class 'int'>, which is no Row"),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(change: dict[str, Any], said: str) -> None:
    facts: dict[str, Any] = {"row": rows(size=int, at_noon=datetime), "outcome": OUTCOME, "key": ("size",)}

    with pytest.raises(MlopsError, match=f"contract.py {said}"):
        Contract(**facts | change)


def test_categories_are_texts_and_numbers_have_bounds() -> None:
    row = rows(grade=Literal["1", "2"], stars=Annotated[int, Meta(ge=1, le=3)] | None)

    contract = Contract(row=row, outcome=OUTCOME, key=("grade",))

    assert [field.categories for field in contract.fields] == [("1", "2"), ()]
