"""The rules that a contract's types can set, each given once: for a value, for a column, and in words.

`msgspec` holds requests against them and writes them into the JSON Schema. Everything else is read from this table:
what a data frame must keep, what the record of refusals says, and the sentences in which people are told.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: What a rule is set to: a number, or the pattern of a text.
Limit = float | str


@dataclass(frozen=True)
class Rule:
    """One rule. `keeps` and `column` get what is held against it and the rule's limit.

    `keeps` is for one value and tells true or false, `column` for a column of polars, which tells it for each row.
    `asks` says what the rule asks for, with the limit in place of the braces, `broken` what is wrong with a value
    that breaks it. `moves` is set where a limit can be moved to let more values in: the same rule with its limit
    included.
    """

    keeps: Callable[[Any, Any], bool]
    asks: str
    broken: str
    column: Callable[[Any, Any], Any]
    moves: str | None = None

    def sentence(self, limit: Limit) -> str:
        """What the rule asks for with this limit."""
        return self.asks.format(limit if isinstance(limit, str) else f"{limit:g}")


def _bound(name: str, sign: str, moves: str) -> Rule:
    compare: Callable[[Any, Any], Any] = getattr(operator, name)
    return Rule(compare, f"must be {sign} {{}}", f"is beyond its bound `{name}`", compare, moves)


def _is_multiple(value: Any, limit: Any) -> Any:
    return value % limit == 0


#: By the name that `msgspec.Meta` has for it, in the order in which a value is held against them.
RULES: dict[str, Rule] = {
    "ge": _bound("ge", ">=", moves="ge"),
    "gt": _bound("gt", ">", moves="ge"),
    "le": _bound("le", "<=", moves="le"),
    "lt": _bound("lt", "<", moves="le"),
    "multiple_of": Rule(_is_multiple, "must be a multiple of {}", "is no multiple of what it must be", _is_multiple),
    "min_length": Rule(
        lambda text, limit: len(text) >= limit,
        "must have at least {} characters",
        "is too short",
        lambda column, limit: column.str.len_chars() >= limit,
    ),
    "max_length": Rule(
        lambda text, limit: len(text) <= limit,
        "must have at most {} characters",
        "is too long",
        lambda column, limit: column.str.len_chars() <= limit,
    ),
    "pattern": Rule(
        lambda text, limit: re.search(limit, text) is not None,
        "must match {}",
        "does not match its pattern",
        lambda column, limit: column.str.contains(limit),
    ),
}

#: What is wrong with a value for which no rule of the table is to blame.
_OTHERS = {
    "category": "is none of its categories",
    "picture": "is not the picture that it must be",
    "missing": "is missing",
    "absent": "is left out by the client, which must send null or a value",
    "other": "has another type",
}


def in_words(name: str) -> str:
    """Say what is wrong with a value that broke this rule."""
    return RULES[name].broken if name in RULES else _OTHERS.get(name, _OTHERS["other"])
