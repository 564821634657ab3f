"""Changing named values in a YAML file that belongs to the team, and nothing else in it.

A parser says where a value stands; only that part of the text is replaced, so comments, quotes, order, anchors and
indentation stay byte for byte. The result is read again and refused when it is not exactly what was meant: where
another setting shares a value by an anchor, for example.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import msgspec
import yaml

from slipway.base.errors import MlopsError

#: As the new value of a place: its key goes, too.
REMOVED: Final = object()

_INDENT = "  "
# Its C twin tells the same positions, ten times as fast.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _CannotError(Exception):
    """The text cannot be changed at this place."""


@dataclass
class _Node:
    """A value or a key, and where it stands in the text; a mapping has pairs, other collections have none."""

    start: int
    end: int
    column: int = 0
    text: str = ""
    style: str | None = None
    anchor: str | None = None
    is_alias: bool = False
    is_flow: bool = False
    pairs: list[tuple[_Node, _Node]] | None = None
    items: list[_Node] = field(default_factory=list)

    def get(self, key: str) -> tuple[_Node, _Node] | None:
        """A key of a mapping with its value."""
        return next((pair for pair in self.pairs or [] if pair[0].text == key), None)


def edited(text: str, changes: Mapping[str, Any], kind: type[Any], name: str) -> str:
    """The text of the file `name` with other values; everything else stays as it is.

    `changes` maps a place, such as `champion.version`, to its new value: a scalar, a list of scalars, a mapping that
    holds exactly what shall stand there, or `REMOVED`. `kind` is the type that the file is read as.

    Raises `MlopsError` when the result would not be the old settings with these changes.
    """
    listed = ", ".join(f"{place}: {_told(value)}" for place, value in changes.items())
    refusal = MlopsError(f"{name} cannot be changed in these places alone", f"set by hand: {listed}")
    try:
        wanted = _plain(text)
        new = text
        for place, value in changes.items():
            path = place.split(".")
            new = _with(new, path, value)
            _put(wanted, path, value)
        is_as_wanted: bool = msgspec.convert(_plain(new), kind) == msgspec.convert(wanted, kind)
    except (_CannotError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise refusal from error
    if not is_as_wanted:
        raise refusal
    return new


def inserted(text: str, place: str, block: str, name: str) -> str:
    """The text of the file `name` with a commented block of settings at the end of the mapping at `place`.

    An empty place is the file itself. Raises `MlopsError` when a key of the block is there already, or where the
    mapping is written in one line.
    """
    try:
        wanted, added = _plain(text), _plain(block)
        target = _mapping(_tree(text), place.split(".") if place else [])
        if target.is_flow or not target.pairs:
            raise _CannotError(f"{place} is not written as an indented block")
        new = _insert_lines(text, target, block.strip("\n").splitlines(), blank_before=not place)
        inner = wanted
        for key in place.split(".") if place else []:
            inner = inner[key]
        is_as_wanted = not added.keys() & inner.keys()
        inner |= added
        is_as_wanted = is_as_wanted and _plain(new) == wanted
    except (_CannotError, yaml.YAMLError) as error:
        raise MlopsError(f"{name} cannot take this block: {error}", f"add it by hand:\n{block}") from error
    if not is_as_wanted:
        raise MlopsError(f"{name} cannot take this block and keep the rest", f"add it by hand:\n{block}")
    return new


def _told(value: Any) -> str:
    if value is REMOVED:
        return "(no such line)"
    return json.dumps(value, default=str) if isinstance(value, Mapping) else _scalar(value)


def _plain(text: str) -> dict[str, Any]:
    """What a text says, with shared values told apart; a key that stands twice is refused, as its last value wins."""
    _refuse_doubled(_tree(text))
    value = _unshared(yaml.load(text, Loader=_LOADER))  # noqa: S506 - a safe one
    if not isinstance(value, dict):
        raise _CannotError("it holds no settings")
    return value


def _unshared(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unshared(one) for key, one in value.items()}
    return [_unshared(one) for one in value] if isinstance(value, list) else value


def _refuse_doubled(node: _Node) -> None:
    keys = [key.text for key, _ in node.pairs or []]
    if len(keys) != len(set(keys)):
        raise _CannotError(f"a key stands twice in {', '.join(keys)}")
    for one in [*node.items, *(value for _, value in node.pairs or [])]:
        _refuse_doubled(one)


def _put(settings: dict[str, Any], path: list[str], value: Any) -> None:
    *parents, key = path
    for parent in parents:
        settings = settings[parent]
    if value is REMOVED:
        settings.pop(key, None)
    else:
        settings[key] = _unshared(dict(value)) if isinstance(value, Mapping) else value


def _tree(text: str) -> _Node:
    """Parse a text into nodes with their positions; aliases stay aliases."""
    events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            return _node(event, events)
    raise _CannotError("it is empty")


def _node(event: Any, events: Iterator[Any]) -> _Node:
    start, end, column = event.start_mark.index, event.end_mark.index, event.start_mark.column
    if isinstance(event, yaml.AliasEvent):
        return _Node(start, end, column, text=f"*{event.anchor}", is_alias=True)
    if isinstance(event, yaml.ScalarEvent):
        return _Node(start, end, column, text=event.value, style=event.style, anchor=event.anchor)
    found = _Node(start, end, column, anchor=event.anchor, is_flow=bool(event.flow_style))
    inside: list[_Node] = []
    while not isinstance(following := next(events), yaml.CollectionEndEvent):
        inside.append(_node(following, events))
    if isinstance(event, yaml.MappingStartEvent):
        found.pairs = list(zip(inside[::2], inside[1::2], strict=True))
    else:
        found.items = inside
    # A block ends, for its parser, where the next thing begins, behind comments that are not its own.
    closing: Any = following
    found.end = closing.end_mark.index if found.is_flow or not inside else inside[-1].end
    return found


def _mapping(node: _Node, path: list[str]) -> _Node:
    for key in path:
        pair = node.get(key)
        if pair is None:
            raise _CannotError(f"there is no {key}")
        node = pair[1]
    if node.pairs is None:
        raise _CannotError(f"{'.'.join(path)} holds no settings of its own")
    return node


def _with(text: str, path: list[str], value: Any) -> str:
    parent = _mapping(_tree(text), path[:-1])
    pair = parent.get(path[-1])
    if value is REMOVED:
        return text if pair is None else _remove(text, parent, pair)
    if pair is None:
        return _add(text, parent, path[-1], value)
    old = pair[1]
    if not isinstance(value, Mapping):
        is_list_in_a_line = old.is_flow and old.pairs is None and isinstance(value, list)
        if (old.pairs is not None or old.items) and not is_list_in_a_line:
            raise _CannotError(f"{'.'.join(path)} is more than one value")
        return _replace(text, old, _scalar(value, old.style))
    if old.pairs is None:
        return _unfold(text, parent, pair, value)
    for key, one in value.items():
        text = _with(text, [*path, key], one)
    for key in [key.text for key, _ in old.pairs if key.text not in value]:
        text = _with(text, [*path, key], REMOVED)
    return text


def _scalar(value: Any, style: str | None = None) -> str:
    """Write a value for YAML, in the quotes that its predecessor had, and in quotes where it needs them."""
    if isinstance(value, str | date) and style in ("'", '"'):
        doubled = str(value).replace("'", "''")
        return f"'{doubled}'" if style == "'" else json.dumps(str(value), ensure_ascii=False)
    plain = str(value) if isinstance(value, str | date) else json.dumps(value)
    if isinstance(value, float) and "." not in plain:
        plain = plain.replace("e", ".0e")  # 1e-05 is a text in YAML 1.1
    try:
        is_safe = yaml.safe_load(f"{{key: {plain}}}") == yaml.safe_load(f"key: {plain}") == {"key": value}
    except yaml.YAMLError:
        is_safe = False
    return plain if is_safe else json.dumps(plain, ensure_ascii=False)


def _flow(value: Mapping[str, Any]) -> str:
    return f"{{{', '.join(f'{key}: {_scalar(one)}' for key, one in value.items())}}}"


def _lines(key: str, value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        return [f"{key}: {_scalar(value)}"]
    return [f"{key}:", *(_INDENT + line for name, one in value.items() for line in _lines(name, one))]


def _replace(text: str, old: _Node, new: str) -> str:
    before = f"&{old.anchor} " if old.anchor else ""
    before = f" {before}" if text[old.start - 1] == ":" else before
    after = "\n" if old.style in ("|", ">") else ""
    return text[: old.start] + before + new + after + text[old.end :]


def _unfold(text: str, parent: _Node, pair: tuple[_Node, _Node], value: Mapping[str, Any]) -> str:
    """Write a mapping where one value stood, such as `null`."""
    key, old = pair
    if parent.is_flow:
        return _replace(text, old, _flow(value))
    start = old.start
    while text[start - 1] in " \t" and start > key.end:
        start -= 1
    anchor = f" &{old.anchor}" if old.anchor else ""
    text = text[:start] + anchor + text[old.end :]
    lines = [" " * key.column + _INDENT + line for name, one in value.items() for line in _lines(name, one)]
    return _after_line(text, start + len(anchor), lines)


def _add(text: str, parent: _Node, key: str, value: Any) -> str:
    if not parent.is_flow and parent.pairs:
        return _insert_lines(text, parent, _lines(key, value), blank_before=isinstance(value, Mapping))
    new = f"{key}: {_flow(value) if isinstance(value, Mapping) else _scalar(value)}"
    if parent.pairs:
        at = parent.pairs[-1][1].end
        return f"{text[:at]}, {new}{text[at:]}"
    return f"{text[: parent.end - 1]}{new}{text[parent.end - 1 :]}"


def _insert_lines(text: str, block: _Node, lines: list[str], *, blank_before: bool) -> str:
    """Put lines below the last one of a block, and below the comments that end it."""
    pairs = block.pairs or []
    column = pairs[0][0].column
    at = _end_of_comments(text, pairs[-1][1].end, column)
    indented = [" " * column + line if line else "" for line in lines]
    return _after_line(text, at, ["", *indented] if blank_before else indented)


def _after_line(text: str, at: int, lines: list[str]) -> str:
    at = _line_end(text, at)
    before = text[:at] if text[:at].endswith("\n") else text[:at] + "\n"
    return before + "".join(f"{line}\n" for line in lines) + text[at:]


def _line_end(text: str, at: int) -> int:
    """The place behind the line that holds what ends at `at`; a block of text ends with its line."""
    if at and text[at - 1] == "\n":
        return at
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _end_of_comments(text: str, at: int, column: int) -> int:
    """The end of the last comment that follows from `column` on."""
    at = reached = _line_end(text, at)
    while at < len(text):
        end = _line_end(text, at + 1) if text[at] != "\n" else at + 1
        line = text[at:end]
        indent = len(line) - len(line.lstrip(" "))
        if line.strip() and (not line.lstrip().startswith("#") or indent < column):
            break
        at = end
        reached = end if line.strip() else reached
    return reached


def _remove(text: str, parent: _Node, pair: tuple[_Node, _Node]) -> str:
    key, value = pair
    pairs = parent.pairs or []
    if parent.is_flow:
        return _remove_in_line(text, pairs, pairs.index(pair))
    start = text.rfind("\n", 0, key.start) + 1
    if text[start : key.start].strip():
        raise _CannotError(f"{key.text} does not begin its line")
    end = _line_end(text, max(value.end, key.end))
    before, after = text[:start], text[end:]
    if re.search(r"(^|\n)[ \t]*\n\Z", before) and (not after.strip() or after.startswith("\n")):
        before = before.rstrip(" \t\n") + "\n"
    return before + after


def _remove_in_line(text: str, pairs: list[tuple[_Node, _Node]], index: int) -> str:
    """Remove a pair of a mapping in braces with the comma behind it, or else the one before; comments stay."""
    start, end = pairs[index][0].start, pairs[index][1].end
    behind = text[end:].lstrip()
    if behind.startswith(","):
        end = len(text) - len(behind) + 1
        while text[end : end + 1] == " " and text[end : end + 2] != " #":
            end += 1
    elif index and text[pairs[index - 1][1].end : start].strip() == ",":
        start = pairs[index - 1][1].end
    return text[:start] + text[end:]
