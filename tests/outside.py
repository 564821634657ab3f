"""Other distributions, as somebody installs them beside the platform."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from slipway.base.plugins import plugged
from slipway.settings.project import Project

#: Takes the source of a module, a group, and what of the module is its entry point, which is named as the module.
Install = Callable[[str, str, str], ModuleType]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution with one module and one entry point where Python finds it, and takes it away again."""
    names: list[str] = []

    def installed(source: str, group: str, attribute: str) -> ModuleType:
        name = f"outside{len(names)}"
        names.append(name)
        about = tmp_path / "site" / f"{name}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}:{attribute}\n", encoding="utf-8")
        (about.parent / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(about.parent)
        plugged.cache_clear()
        return import_module(name)

    yield installed
    plugged.cache_clear()
    for name in names:
        sys.modules.pop(name, None)


def naming(project: Project, engine: str) -> Project:
    """A project that names its engine."""
    path = project.root / "pyproject.toml"
    text = path.read_text("utf-8").replace("[tool.mlops]\n", f'[tool.mlops]\nengine = "{engine}"\n')
    path.write_text(text, encoding="utf-8")
    return Project(project.root)
