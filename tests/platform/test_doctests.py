"""The examples in docstrings of the platform hold."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest
import slipway

ROOT = Path(slipway.__file__).parents[1]
WITH_EXAMPLES = [path for path in sorted(ROOT.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_hold(path: Path) -> None:
    module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))

    failed, attempted = doctest.testmod(module)

    assert attempted > 0
    assert failed == 0


def test_there_are_examples() -> None:
    assert WITH_EXAMPLES
