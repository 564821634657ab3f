"""Write docs/remotes.md: every kind of data remote that the form offers, and what proves each."""

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from questions import questions

if TYPE_CHECKING:
    from slipway.data.remotes import Remote

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "remotes.md"
TESTS = ROOT / "tests" / "platform" / "data"
sys.path.insert(0, str(ROOT / "template" / "vendor" / "slipway" / "src"))

HEAD = """\
# Data remotes, and what proves each

`data_remote` chooses one. What each needs says a project's own page,
[Data remotes](../template/vendor/slipway/docs/remotes.md); here is what each was tried with.
`make docs` writes this page from the table of kinds and from the tests.

"""
MIDDLE = """
| choice | address | extra | tried with | how a job gets in | and who takes its identity |
|---|---|---|---|---|---|
"""


def page() -> str:
    """Return the tables as Markdown."""
    from slipway.data.remotes import REMOTES

    offered = {
        value for question in questions() if question.key == "data_remote" for value in question.choices.values()
    }
    tests = [f"- `{name}`\n" for name in _functions(TESTS / "test_stores.py") if name.startswith("test_")]
    rows = [_row(kind) for kind in REMOTES if kind.kind in offered]
    return HEAD + "Each kind but the folder passes\n\n" + "".join(tests) + MIDDLE + "".join(rows)


def _row(kind: "Remote") -> str:
    # A server of tests/stores.py has the name of the kind, and says in its first line what it is.
    server = _functions(ROOT / "tests" / "stores.py").get(f"{kind.kind}_store")
    tried = server.splitlines()[0].rstrip(".") if server else "a folder, in the tests of `tests/lifecycle`"
    ways = ["its own identity"] * bool(kind.identity) + ["a stored secret"] * bool(kind.secrets)
    proofs = [name for name in _functions(TESTS / "test_identity.py") if name.startswith(f"test_{kind.kind}_takes")]
    cells = [
        f"`{kind.kind}`",
        ", ".join(f"`{scheme}://`" for scheme in kind.schemes) or "a folder",
        f"`{kind.extra}`" if kind.extra else "none",
        tried,
        " or ".join(ways) or "not at all: a folder is on no other machine",
        f"`{proofs[0]}`" if proofs else "none",
    ]
    return "| " + " | ".join(cells) + " |\n"


def _functions(path: Path) -> dict[str, str]:
    """The names of a module's functions, each with what it says of itself."""
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name: ast.get_docstring(node) or "" for node in tree.body if isinstance(node, ast.FunctionDef)}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
