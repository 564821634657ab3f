"""The template without the platform's modules: hundreds of projects are rendered here, and all have the same."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import Template, snapshot


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return snapshot(tmp_path_factory.mktemp("template"), platform=False)


@pytest.fixture(scope="session")
def render(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that renders a new project from the given answers."""

    def rendered(**answers: str) -> Path:
        return template.render(tmp_path_factory.mktemp("project"), **answers)

    return rendered


@pytest.fixture(scope="session")
def standard_project(render: Callable[..., Path]) -> Path:
    """A project as `copier copy --defaults` makes it. Tests only look at it."""
    return render()
