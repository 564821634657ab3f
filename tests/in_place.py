"""The platform as it lies in template/vendor/slipway/src, with the example's four modules as the team's.

Nothing is installed for it: `platform/teams/<problem>` holds links to the modules of the template, and the entry point
by which the platform finds them. `SLIPWAY_PROBLEM=regression` or `multiclass` takes another example.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from outside import install
from rendering import ROOT, Template

PROBLEM = os.environ.get("SLIPWAY_PROBLEM", "binary")
PATHS = [
    str(ROOT / "template" / "vendor" / "slipway" / "src"), str(ROOT / "tests" / "platform" / "teams" / PROBLEM)
]  # fmt: skip
# Before anything of the platform is imported, which asks for the team's modules.
sys.path[:0] = PATHS

from slipway.testing import bundle, finished, lineage, project, sealed  # noqa: E402

__all__ = [
    "a_store_of_its_own", "an_environment_of_its_own", "bundle", "finished", "install", "lineage", "project",
    "project_root", "sealed",
]  # fmt: skip


@pytest.fixture(scope="session")
def project_root(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings, pages and raw rows of a project that was made with the default answers."""
    return template.render(tmp_path_factory.mktemp("project") / "flight-delays", problem=PROBLEM)


@pytest.fixture(scope="module", autouse=True)
def an_environment_of_its_own(clean_environment: None) -> Iterator[None]:
    """Let the programs that the platform starts find what this process has found, and nobody else.

    The platform runs in this process and settles variables for MLflow and DVC, which must not reach the projects of
    other tests.
    """
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join(PATHS)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def a_store_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back what MLflow sets when it opens a store: it would win over what the next project names."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
