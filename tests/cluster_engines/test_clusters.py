"""The same work by each engine, on real clusters that lose workers and a node: the results are those of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster, dask_pods, dask_scheduler, ray_cluster, slurm_cluster, two_processes
from flight_delays.contract import CONTRACT
from slipway.base.errors import MlopsError
from slipway.settings.project import Project
from slipway.training import engines
from slipway.training.bundle import Lineage, seal

LIMIT_S = 600
KINDS = {"StretchReader", "StretchChecker", "RangeSorter", "PortionScorer", "Aged", "FoldModel", "CandidateModel"}

pytestmark = pytest.mark.skipif(CONTRACT.time is None, reason="rows without a time have no age")


@pytest.fixture(autouse=True, scope="module")
def importable(an_environment_of_its_own: None) -> None:
    """Let the workers import what the client sends."""
    os.environ["PYTHONPATH"] += os.pathsep + str(Path(__file__).parent)


@pytest.fixture(scope="module")
def known(finished: Project, importable: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A bundle, and what one process finds with it."""
    folder = tmp_path_factory.mktemp("known")
    digest = "0" * 64
    lineage = Lineage(
        commit=digest[:40], repository="tests", run_id=digest[:32], pipeline=digest, data=[], lock=digest, python="3",
        platform="any",
    )  # fmt: skip
    made = seal(finished.bundle, folder / "bundle", lineage)
    return made.path, found(finished, made.path, folder, Cluster())


def found(project: Project, bundle: Path, folder: Path, cluster: Cluster, *marks: Path) -> dict[str, Any]:
    client = [sys.executable, "-c", "from engine_client import main; main()"]
    command = [*cluster.prefix, *client, *map(str, (project.root, bundle, folder, *marks))]
    done = subprocess.run(
        command, env=os.environ | cluster.env, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # Ray says there what became of workers
    return result


#: Work without an end, of which it is soon said that it takes long.
ENDLESS = """
import sys, time
from pathlib import Path
from slipway.base.errors import MlopsError
from slipway.settings.project import Project
from slipway.training import engines
from slipway.training.engines import mapping

mapping.SILENT_S = 3.0
try:
    with engines.opened(Project(Path(sys.argv[1])), str) as engine:
        for _ in engine.map(time.sleep, [1] * 1000):
            print("done", flush=True)
except MlopsError as error:
    sys.exit(str(error))
"""


def told_when_the_head_goes(project: Project, cluster: Cluster) -> str:
    """What a client says whose scheduler is killed, for good, when it has had two results."""
    command = [*cluster.prefix, sys.executable, "-c", ENDLESS, str(project.root)]
    with subprocess.Popen(
        command, env=os.environ | cluster.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        for _ in range(2):
            assert next(client.stdout) == "done\n"
        cluster.lose_head()
        return client.communicate(timeout=LIMIT_S)[1]


@pytest.mark.parametrize(
    ("opened", "node"),
    [(two_processes, ""), (dask_pods, "dask worker tcp://"), (ray_cluster, "raylet/raylet "), (slurm_cluster, "")],
)
def test_an_engine_whose_workers_are_killed_finds_what_one_process_finds_and_one_without_a_head_says_so(
    opened: Callable[[Path], AbstractContextManager[Cluster]],
    node: str,
    known: tuple[Path, dict[str, Any]],
    finished: Project,
    tmp_path: Path,
) -> None:
    bundle, expected = known
    for made in ("cluster", "work", "marks"):
        (tmp_path / made).mkdir()

    with opened(tmp_path / "cluster") as cluster:
        result = found(finished, bundle, tmp_path / "work", cluster, tmp_path / "marks")
        without_head = told_when_the_head_goes(finished, cluster) if cluster.head else ""

    assert {mark.name for mark in (tmp_path / "marks").iterdir()} == KINDS  # each time one was killed
    assert node in (tmp_path / "marks" / "FoldModel").read_text("utf-8")  # and that time its node with it
    place = cluster.env.get("MLOPS_ENGINE_ADDRESS", "")
    assert not cluster.head or f" cluster answers at {place}: Connection refused\n" in without_head
    assert "Traceback" not in without_head
    assert result == expected


def test_a_partition_that_slurm_does_not_know_is_refused(
    finished: Project, importable: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slurm_cluster(tmp_path) as cluster:
        for name, value in (cluster.env | {"MLOPS_ENGINE_ADDRESS": "nowhere"}).items():
            monkeypatch.setenv(name, value)
        project = Project(finished.root)
        project.tool.engine_workers = 2

        refusal = r"Slurm takes no job from here: .*Invalid partition"
        with pytest.raises(MlopsError, match=refusal), engines.opened(project, print) as engine:
            [*engine.map(abs, [-1])]


def test_a_dask_cluster_without_workers_is_refused(
    finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.training.engines.dask.WORKER_S", 5.0)
    with dask_scheduler(tmp_path) as address:
        monkeypatch.setenv("MLOPS_ENGINE", "dask")
        monkeypatch.setenv("MLOPS_ENGINE_ADDRESS", address)

        refusal = rf"the Dask cluster at {address} has had no worker for 5 s"
        with pytest.raises(MlopsError, match=refusal), engines.opened(Project(finished.root), print) as engine:
            [*engine.map(abs, [-1])]
