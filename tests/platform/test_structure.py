"""The platform's structure: which component may use which, and what keeps a module findable."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "template" / "vendor" / "slipway" / "src"
PLATFORM = SOURCES / "slipway"
DOCS = SOURCES.parent / "docs"
TEAM = "flight_delays"

#: Each component may use those before it. What lies beside them in `slipway/` itself may be used by all.
ORDER = [
    "base", "settings", "contract", "forge", "kinds", "log", "data", "training", "registry", "delivery", "serving",
    "experiment", "monitoring", "proposals", "pages", "evidence", "workspace", "template", "cli",
]  # fmt: skip

MOST_LINES = 330


@cache
def modules() -> dict[str, Path]:
    """Return the platform's modules by their dotted names."""
    paths = PLATFORM.rglob("*.py")
    return {".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


@cache
def imports(module: str) -> frozenset[str]:
    """Return what a module imports, inside functions, too: modules of the platform by their whole name."""
    return frozenset(_imports(modules()[module]))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules() else str(node.module)


def component(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (PLATFORM / parts[1]).is_dir() else ""


def platform_imports(module: str) -> set[str]:
    return {name for name in imports(module) if name.partition(".")[0] == "slipway"}


@pytest.mark.parametrize("module", modules())
def test_imports_run_one_way(module: str) -> None:
    here = component(module)
    used = {component(name) for name in platform_imports(module)} - {"", here}

    # What lies beside the components is for all of them, so it stands on few; `mlops` and the fixtures stand on all.
    allowed = ORDER[: ORDER.index(here)] if here else ["base", "contract"]

    assert used <= set(allowed) or module in ("slipway.__main__", "slipway.testing")


def test_no_module_imports_itself_through_others() -> None:
    graph = {module: platform_imports(module) & modules().keys() - {module} for module in modules()}
    left = dict(graph)
    while free := [module for module, used in left.items() if not used & left.keys()]:
        for module in free:
            del left[module]

    assert not left


@pytest.mark.parametrize("module", modules())
def test_only_one_module_imports_the_team(module: str) -> None:
    assert TEAM not in modules()[module].read_text(encoding="utf-8") or module == "slipway.team"


def test_a_model_is_loaded_where_it_is_used_and_not_with_a_module() -> None:
    """Its library takes a second to load, of which a command that only looks has no use."""
    loaded = {
        f"{module}: {alias.name}"
        for module, path in modules().items()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and node.module == "slipway.team"
        for alias in node.names
        if alias.name in ("features", "metrics", "model")
    }
    assert not loaded


@pytest.mark.parametrize("module", modules())
def test_nothing_imports_a_target(module: str) -> None:
    """A target is found by its name, so that one from outside is as good as these."""
    targets = tuple(f"slipway.delivery.{name}" for name in ("compose", "kubernetes", "native"))
    used = {name for name in platform_imports(module) if name.startswith(targets)}
    own = ".".join(module.split(".")[:3])

    assert all(name.startswith(own) for name in used) or module == "slipway.cli.containers"


@pytest.mark.parametrize("module", modules())
def test_a_module_fits_one_thought(module: str) -> None:
    assert len(modules()[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_a_public_class_has_a_name_of_its_own() -> None:
    found = defaultdict(list)
    for module, path in modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)

    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_no_file_is_a_template() -> None:
    """Every tool reads the sources as they lie here."""
    files = [path for path in PLATFORM.parents[1].rglob("*") if path.is_file() and "__pycache__" not in path.parts]

    assert not [path for path in files if path.suffix == ".jinja" and "pages" not in path.parts]
    assert not [path for path in files if "{" in path.name]


def named_modules(path: Path) -> set[str]:
    return set(re.findall(r"`([a-z_/]+\.py)`", path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", [*modules().values(), *DOCS.rglob("*.md")], ids=lambda path: path.name)
def test_a_module_that_a_sentence_names_is_there(path: Path) -> None:
    of_the_team = {"contract.py", "features.py", "model.py", "metrics.py", "prepare.py", "routes.py", "conftest.py"}
    known = ["/" + there.relative_to(PLATFORM).as_posix() for there in modules().values()]
    named = named_modules(path) - of_the_team

    assert not {name for name in named if not any(one.endswith(f"/{name}") for one in known)}
