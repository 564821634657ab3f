"""An engine that comes from outside, as a distribution that is installed beside this one."""

from __future__ import annotations

import pickle
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from outside import Install, naming
from slipway.base.errors import MlopsError
from slipway.forge import git
from slipway.serving import batch
from slipway.settings.policy import QualityPolicy
from slipway.settings.project import Project
from slipway.training import backtest, engines, pipeline
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer
from slipway.training.tracking import connect, find_run

#: Works in another process, which gets everything by pickle; it holds two chunks at most.
ELSEWHERE = """
import multiprocessing
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from slipway.base.errors import MlopsError
from slipway.data.stages import run_stage

RAN, MAPPED = [], []

class Elsewhere:
    stages = ["evaluate", "export"]

    def run(self, project, force):
        RAN.append(force)
        for stage in self.stages:
            run_stage(project, stage)
        (project.root / "dvc.lock").write_text("schema: '2.0'")
        return bool(self.stages)

    def map(self, function, chunks):
        waiting = deque()
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            for chunk in chunks:
                MAPPED.append(chunk)
                waiting.append(pool.submit(function, chunk))
                if len(waiting) == 2:
                    yield waiting.popleft().result()
            yield from (one.result() for one in waiting)

def refuse(chunk):
    raise MlopsError(f"{chunk} is refused", "mend it", exit_code=3)
"""


def test_this_machine_does_the_work_where_no_engine_is_named(project: Project) -> None:
    assert engines.of(project) is engines.LOCAL


def test_an_engine_that_nobody_brings_is_refused_with_those_there_are(project: Project, install: Install) -> None:
    install(ELSEWHERE, engines.GROUP, "Elsewhere")

    with pytest.raises(MlopsError, match=r"pyproject\.toml, tool\.mlops\.engine: there is no engine ray") as refused:
        pipeline.run(naming(project, "ray"))

    assert refused.value.next_step.startswith("choose from local, outside0, or install")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own
def test_an_engine_from_outside_runs_the_stages(
    project: Project, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = install(ELSEWHERE, engines.GROUP, "Elsewhere")
    made = naming(project, "outside0")
    git.git(made.root, "init", "--quiet")
    git.git(made.root, "commit", "--quiet", "--allow-empty", "-m", "Begin")
    figures = made.root / "reports" / "metrics.json"
    figures.unlink()

    checks = pipeline.run(made, force=True)

    assert outside.RAN == [True]
    assert figures.is_file()
    assert checks
    assert find_run(made, connect(made), pipeline.pipeline_digest(made))
    monkeypatch.setattr(outside.Elsewhere, "stages", [])
    with pytest.raises(MlopsError, match="a stage of the pipeline failed"):
        pipeline.run(made)


def test_an_engine_from_outside_maps_the_chunks_of_a_batch(
    project: Project, sealed: Bundle, tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = install(ELSEWHERE, engines.GROUP, "Elsewhere")
    monkeypatch.setattr(batch, "CHUNK", 30)
    source, scorer = tmp_path / "rows.parquet", Scorer(sealed)
    pl.read_parquet(project.root / "data" / "raw.parquet").head(100).write_parquet(source)
    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"

    batch.predict(scorer, source, here, with_score=True, log=print)
    engine = engines.of(naming(project, "outside0"))
    rows = batch.predict(scorer, source, there, with_score=True, log=print, engine=engine)

    assert rows == 100
    assert [chunk.rows for chunk in outside.MAPPED] == [30, 30, 30, 10]
    assert pl.read_parquet(there).equals(pl.read_parquet(here))


@pytest.mark.skipif(CONTRACT.time is None, reason="rows without a time have no age")
def test_an_engine_from_outside_maps_the_cut_offs_of_a_back_test(project: Project, install: Install) -> None:
    outside = install(ELSEWHERE, engines.GROUP, "Elsewhere")
    rules = project.policy
    metric = next(iter(rules.gates.metrics))
    rules.monitor.min_rows = 20
    rules.monitor.quality = QualityPolicy(metric=metric, min_rows=1, action="propose", drop=0.03)
    times = pl.read_parquet(project.root / "data" / "valid.parquet")[str(CONTRACT.time)]
    window = timedelta(days=(times.max() - times.min()).days // 4)  # type: ignore[operator,union-attr]

    here = backtest.run(project, window, None, print)
    project.tool.engine = "outside0"
    there = backtest.run(project, window, None, print)

    assert [sample.cut_off for sample in outside.MAPPED] == sorted({one.cut_off for one in here.measured})
    assert there == here


def test_what_a_function_refuses_elsewhere_is_refused_here(project: Project, install: Install) -> None:
    outside = install(ELSEWHERE, engines.GROUP, "Elsewhere")
    engine = engines.of(naming(project, "outside0"))

    with pytest.raises(MlopsError, match="chunk 1 is refused") as refused:
        [*engine.map(outside.refuse, ["chunk 1", "chunk 2"])]

    assert (refused.value.next_step, refused.value.exit_code) == ("mend it", 3)
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)
