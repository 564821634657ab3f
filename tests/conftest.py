"""What all tests share: a clean environment, the template and a way to render it."""

import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from engine import Engine, Registry, base_image, docker_engine, oci_registry
from quick_copier import quick_copier
from rendering import Template, snapshot

GIT_SETTINGS = """\
[user]
    name = Test Person
    email = test@example.com
[init]
    defaultBranch = main
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where every part has to be there: in CI a test that did not run proves nothing."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("SLIPWAY_REQUIRE_ALL"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and SLIPWAY_REQUIRE_ALL is set: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep this machine's Git and Copier settings out of what is rendered."""
    settings = tmp_path_factory.mktemp("settings")
    (settings / "gitconfig").write_text(GIT_SETTINGS, encoding="utf-8")
    (settings / "copier.yml").write_text("{}\n", encoding="utf-8")

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("GIT_", "MLFLOW_", "DVC_", "MLOPS_"))]:
            patch.delenv(name)
        # A virtual environment of the tests must not become that of a rendered project.
        patch.delenv("VIRTUAL_ENV", raising=False)
        # Tests of a project, once these have begun, would have pytest delete in the end what these have made.
        patch.delenv("PYTEST_DEBUG_TEMPROOT", raising=False)
        # uv, ruff and copier are those of the interpreter that runs the tests.
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        patch.setenv("GIT_CONFIG_GLOBAL", str(settings / "gitconfig"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("COPIER_SETTINGS_PATH", str(settings / "copier.yml"))
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_rendering() -> Iterator[None]:
    """Quarter what a rendered project costs, of which the tests make hundreds."""
    with pytest.MonkeyPatch.context() as patch:
        quick_copier(patch)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return snapshot(tmp_path_factory.mktemp("template"))


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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that use a Docker engine on one worker, so that one engine is enough, but for a group's own."""
    for item in items:
        if "engine" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("engine"))


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker engine with the image that build files start from."""
    with docker_engine() as engine:
        base_image(engine)
        yield engine


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry of images that asks for a name and a password."""
    with oci_registry(tmp_path_factory.mktemp("registry"), login=True) as registry:
        yield registry
