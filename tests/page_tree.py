"""A page as a tree: parsed as a browser, or a screen reader, parses it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parts: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        words = "".join(part if isinstance(part, str) else f" {part.text} " for part in self.parts)
        return re.sub(r"\s+([.,:])", r"\1", " ".join(words.split()))

    def walk(self) -> Iterator[Element]:
        yield self
        for part in self.parts:
            if isinstance(part, Element):
                yield from part.walk()

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """All elements of a tag whose attributes are these; `class_` is one of the classes."""
        wanted = attributes.pop("class_", "")
        return [
            one for one in self.walk()
            if one.tag == tag and (not wanted or wanted in one.attributes.get("class", "").split())
            and all(one.attributes.get(name) == value for name, value in attributes.items())
        ]  # fmt: skip


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        made = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].parts.append(made)
        if tag not in {"meta", "br"}:
            self._open.append(made)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].parts.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].parts.append(data)


def parsed(page: str) -> Element:
    reader = _Reader()
    reader.feed(page)
    assert reader._open == [reader.root]
    return reader.root


def rows(table: Element) -> list[dict[str, Element]]:
    """The rows of a table by the names of its columns."""
    head, *body = table.all("tr")
    names = [cell.text for cell in head.all("th")]
    cells = [[part for part in row.parts if isinstance(part, Element)] for row in body]
    return [dict(zip(names, row, strict=True)) for row in cells]


def answer(page: str) -> dict[str, Element]:
    """The first screen: the verdict, what it says, and each line of it by its name."""
    (told,) = parsed(page).all("div", class_="answer")
    terms, values = told.all("dt"), told.all("dd")
    lines = {term.text: value for term, value in zip(terms, values, strict=True)}
    return lines | {"verdict": told.all("b")[0], "what": told.all("h1")[0]}
