"""What a project's tests use: fixtures, by `pytest_plugins = ["slipway.testing"]` in its `conftest.py`, and functions.

Needs pytest, which a project names itself, and the extra `testing`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from slipway import kinds, team
from slipway.contract.columns import columns as request_columns
from slipway.contract.files import SOURCE, read_raw
from slipway.contract.frames import columns, parse
from slipway.contract.rows import FieldKind
from slipway.data.dvc import DataVersion
from slipway.data.raw import at_hand
from slipway.data.stages import STAGES, run_stage
from slipway.kinds.base import Matrix, Scores
from slipway.settings.edit import REMOVED, edited
from slipway.settings.params import Params
from slipway.settings.project import Project
from slipway.training.bundle import Bundle, Lineage, seal
from slipway.training.train import learning_set, train

if TYPE_CHECKING:
    from starlette.testclient import TestClient

__all__ = [
    "SOURCE",
    "Bundle",
    "FieldKind",
    "Project",
    "columns",
    "learning_set",
    "parse",
    "predicted",
    "request_columns",
    "train",
]

ROWS = 4_000


def predicted(estimator: Any, rows: Matrix) -> Scores:
    """Return the scores of a fitted estimator, as the server would give them."""
    return kinds.of(estimator, team.classes()).predicted(estimator, rows)


def small_copy(root: Path, target: Path) -> Project:
    """Copy the settings of the project in `root`, and some thousand rows of its raw data, into a folder."""
    for name in ("dvc.yaml", "params.yaml", "policy.yaml", "pyproject.toml"):
        shutil.copyfile(root / name, target / name)
    shutil.copytree(root / "docs", target / "docs")
    data = Project(root).params.data
    made, delivered = team.prepare(), at_hand(Project(root))
    if delivered is None:
        pytest.skip("no data here, and params.yaml names no data.sample that stays in Git")
    path = root / delivered
    raw = made(path) if made and data.raw else read_raw(path, data.format).drop(SOURCE)
    (target / "data").mkdir()
    raw.gather_every(max(1, raw.height // ROWS)).write_parquet(target / "data" / "raw.parquet")
    params = target / "params.yaml"
    # Its rows are a part of the snapshot, which names a folder.
    here = {"data.source": "data/raw.parquet"} | ({"data.snapshot": REMOVED} if data.snapshot else {})
    params.write_text(edited(params.read_text("utf-8"), here, Params, params.name), encoding="utf-8")
    return Project(target)


@pytest.fixture(scope="session")
def project_root(pytestconfig: pytest.Config) -> Path:
    """The folder of the project that is tested."""
    return pytestconfig.rootpath


@pytest.fixture(scope="session")
def finished(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project whose stages have all run. Tests must not change it."""
    project = small_copy(project_root, tmp_path_factory.mktemp("finished"))
    for stage in STAGES:
        run_stage(project, stage)
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """The same, to be changed at will."""
    shutil.copytree(finished.root, tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture
def lineage() -> Lineage:
    """Where a model might have come from."""
    return Lineage(
        commit="0" * 40,
        repository="tests",
        run_id="0" * 32,
        pipeline="0" * 64,
        data=[DataVersion(path="data/sample", md5="0" * 32)],
        lock="0" * 64,
        python="3",
        platform="any",
    )


@pytest.fixture
def bundle(finished: Project, lineage: Lineage, tmp_path: Path) -> Path:
    """The folder of a sealed bundle."""
    return seal(finished.bundle, tmp_path / "bundle", lineage).path


@pytest.fixture
def sealed(bundle: Path) -> Bundle:
    """A sealed bundle."""
    return Bundle(bundle)


@pytest.fixture
def client(finished: Project, sealed: Bundle) -> TestClient:
    """A client of a server that answers with the finished project's model, and tells the score."""
    from starlette.testclient import TestClient

    from slipway.serving.app import create_app
    from slipway.serving.context import Served, ServingContext
    from slipway.training.scoring import Scorer

    served = Served("test", 1, sealed.digest, sealed.lineage.commit, "cache")
    policy = msgspec.structs.replace(finished.policy.serving, return_score=True)
    return TestClient(create_app(ServingContext(Scorer(sealed), served, policy)))
