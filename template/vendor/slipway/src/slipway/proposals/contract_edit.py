"""Changing one field in the source of `contract.py`, and nothing else in it.

The place is found in the syntax tree, the text around it stays as it is, and the result is loaded: it must hold the
one change that was asked for. What clients sent comes in as the text of a literal, never as code.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from types import ModuleType
from typing import Any

import msgspec

from slipway.contract.rows import Contract, Field, Row
from slipway.team import PACKAGE


class CannotEditError(Exception):
    """The source cannot be changed as asked; the text says why, and calls the field "it"."""


@dataclass(frozen=True)
class Edit:
    """Text that takes the place of what stands between two positions, in bytes of the source."""

    start: int
    end: int
    text: str


def accept(source: str, field: Field, wider: Field, values: Sequence[Any]) -> str:
    """Return the source with `field` as `wider` has it: more categories, moved bounds, or a value that may be missing.

    Raises `CannotEditError` when the place is not found, and when what comes out is not this contract with a field
    that takes `values`.
    """
    content = source.encode()
    try:
        with loaded(source) as before:
            edits = _edits(_Source(content), before, field, wider)
            for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
                content = content[: edit.start] + edit.text.encode() + content[edit.end :]
            with loaded(content.decode()) as after:
                _prove(before, after, wider, values)
    except (SyntaxError, NameError, TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise CannotEditError(f"with it contract.py would not load: {error}") from None
    return content.decode()


@contextmanager
def loaded(source: str) -> Iterator[Contract]:
    """Load a contract from its source, as a module of this package; it is gone when the block ends."""
    module = ModuleType(f"{PACKAGE}.contract_{sha256(source.encode()).hexdigest()[:16]}")
    module.__package__ = PACKAGE
    # The types in annotations are looked up in the module by its name.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, "contract.py", "exec"), module.__dict__)  # noqa: S102 - the project's own code, and a literal
        yield module.__dict__["CONTRACT"]
    finally:
        del sys.modules[module.__name__]


def quoted(text: str) -> str:
    """Write a text as a Python literal that shows everything that does not print.

    >>> print(quoted("ZZ"), quoted('"] + exit() #'), quoted("a\\nb"))
    "ZZ" '"] + exit() #' 'a\\nb'
    """
    return f'"{text}"' if text.isprintable() and '"' not in text and "\\" not in text else repr(text)


class _Source:
    """A parsed module: its classes, its aliases of types, and positions in bytes."""

    def __init__(self, content: bytes) -> None:
        self.tree = ast.parse(content)
        self.classes = {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}
        self._aliases = dict(_assigned(self.tree.body))
        starts = [0]
        for line in content.split(b"\n"):
            starts.append(starts[-1] + len(line) + 1)
        self._starts = starts

    def annotation(self, row: type[Row], name: str) -> ast.expr:
        """The annotation of a field, in its class or one above it."""
        for ancestor in row.__mro__:
            body = self.classes[ancestor.__name__].body if ancestor.__name__ in self.classes else []
            for node in body:
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
                    return node.annotation
        raise CannotEditError("it is not declared under this name in contract.py")

    def reached(self, node: ast.expr, through: frozenset[str] = frozenset()) -> Iterator[ast.AST]:
        """Everything an annotation is made of, the aliases it names included."""
        for part in ast.walk(node):
            yield part
            if isinstance(part, ast.Name) and part.id in self._aliases and part.id not in through:
                yield from self.reached(self._aliases[part.id], through | {part.id})

    def span(self, node: ast.expr | ast.keyword) -> tuple[int, int]:
        """Where a node begins and ends."""
        assert node.end_lineno is not None and node.end_col_offset is not None  # noqa: S101 - the parser fills them
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset


def _assigned(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value
        elif type(node).__name__ == "TypeAlias":  # `type Carrier = ...`, from Python 3.12 on
            yield node.name.id, node.value  # type: ignore[attr-defined]


def _edits(source: _Source, contract: Contract, field: Field, wider: Field) -> list[Edit]:
    row = contract.row if field.name in {one.name for one in contract.fields} else contract.outcome
    annotation = source.annotation(row, field.name)
    edits = []
    if added := wider.categories[len(field.categories) :]:
        edits.append(_more_categories(source, annotation, added))
    for (operator, limit), (new_operator, new_limit) in zip(field.bounds, wider.bounds, strict=True):
        if (operator, limit) != (new_operator, new_limit):
            edits.append(_moved_bound(source, annotation, operator, f"{new_operator}={_number(new_limit)}"))
    if wider.optional and not field.optional:
        if field.name in (*contract.key, contract.time):
            raise CannotEditError("a row is found by it, so it cannot be missing")
        if isinstance(annotation, ast.Constant):
            raise CannotEditError("its type stands in quotes")
        end = source.span(annotation)[1]
        edits.append(Edit(end, end, " | None"))
    return edits


def _more_categories(source: _Source, annotation: ast.expr, added: Sequence[str]) -> Edit:
    """Add to the end of the list; its order means nothing, the contract sorts it."""
    lists = [node for node in source.reached(annotation) if isinstance(node, ast.Subscript)]
    found = [node for node in lists if _name(node.value) == "Literal"]
    if len(found) != 1:
        raise CannotEditError(f"its categories stand in {len(found)} places of contract.py, not in one Literal")
    known = found[0].slice.elts if isinstance(found[0].slice, ast.Tuple) else [found[0].slice]
    last, before = known[-1], known[-2] if len(known) > 1 else found[0].value
    # A list with a line for each category stays one.
    gap = f",\n{' ' * last.col_offset}" if last.lineno > (before.end_lineno or 0) else ", "
    end = source.span(last)[1]
    return Edit(end, end, "".join(gap + quoted(category) for category in added))


def _moved_bound(source: _Source, annotation: ast.expr, operator: str, text: str) -> Edit:
    found = [
        keyword
        for node in source.reached(annotation)
        if isinstance(node, ast.Call) and _name(node.func) == "Meta"
        for keyword in node.keywords
        if keyword.arg == operator
    ]
    if len(found) != 1:
        raise CannotEditError(f"its bound `{operator}` stands in {len(found)} places of contract.py, not in one Meta")
    return Edit(*source.span(found[0]), text)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _number(limit: float) -> str:
    return str(int(limit)) if isinstance(limit, float) and limit.is_integer() and abs(limit) < 2**53 else repr(limit)


def _prove(before: Contract, after: Contract, wider: Field, values: Sequence[Any]) -> None:
    """Refuse whatever is not the contract from before with this one field wider."""
    for old, new, rows in (
        (before.fields, after.fields, (before.row, after.row)),
        (before.outcome_fields, after.outcome_fields, (before.outcome, after.outcome)),
    ):
        if other := [now.name for was, now in zip(old, new, strict=True) if was != now and now.name != wider.name]:
            raise CannotEditError(f"it shares its type with {', '.join(other)}; give it one of its own")
        if any(now.name == wider.name and _sorted(now) != _sorted(wider) for now in new):
            raise CannotEditError("contract.py holds its rule in another way than is known here")
        for name, type_ in _types(rows[1]).items():
            for value in values if name == wider.name else ():
                msgspec.convert(value, type_)
        described = [{name: text for name, text in _described(row).items() if name != wider.name} for row in rows]
        if described[0] != described[1]:
            raise CannotEditError("it cannot be changed without changing another field")
    facts = [(one.key, one.time, one.max_age_days) for one in (before, after)]
    if facts[0] != facts[1]:
        raise CannotEditError("it cannot be changed without changing the contract's key, time or age")


def _sorted(field: Field) -> Field:
    bounds = sorted((rule, float(limit)) for rule, limit in field.bounds)
    return dataclasses.replace(field.with_bounds(bounds), categories=tuple(sorted(field.categories)))


def _types(row: type[Row]) -> dict[str, Any]:
    return {info.encode_name: info.type for info in msgspec.structs.fields(row)}


def _described(row: type[Row]) -> dict[str, Any]:
    (_,), components = msgspec.json.schema_components([row])
    described: dict[str, Any] = components[row.__name__]["properties"]
    return described
