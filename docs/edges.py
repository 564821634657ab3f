"""Write docs/edges.md, the table of links between components, from the tests that cut them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "edges.md"
TESTS = ROOT / "tests"

HEAD = """\
# Links between components, and the tests that cut them

A generated project is a chain from data to a watched answer. For each link there is a test that shows it whole, and
at least one that cuts it and must see the named complaint. `make docs` writes this page from the tests.

| link | between | fault | test |
|---|---|---|---|
"""


@dataclass(frozen=True)
class EdgeTest:
    """A test of one link; `fault` is empty where the link is whole."""

    edge: str
    link: str
    fault: str
    test: str


def edge_tests() -> Iterator[EdgeTest]:
    """Read the `edge` markers of the tests without running them, in the order of the links."""
    nodes = (node for path in sorted(TESTS.glob("*/test_*.py")) for node in ast.parse(path.read_text("utf-8")).body)
    found = (one for node in nodes if isinstance(node, ast.FunctionDef) for one in _marked(node))
    return iter(sorted(found, key=lambda one: (int(one.edge[1:]), bool(one.fault))))


def _marked(node: ast.FunctionDef) -> Iterator[EdgeTest]:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "edge":
            name, link = (ast.literal_eval(argument) for argument in mark.args)
            fault = {word.arg: ast.literal_eval(word.value) for word in mark.keywords}.get("fault", "")
            yield EdgeTest(name, link, fault, node.name)


def page() -> str:
    """Return the table as Markdown."""
    rows = (f"| {one.edge} | {one.link} | {one.fault or '(none)'} | `{one.test}` |\n" for one in edge_tests())
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
