"""Does each kind of work once by the engine that the environment names, and prints a digest of each result.

    PROJECT BUNDLE FOLDER [MARKS]

With MARKS, a folder, the first worker that comes to each kind of work is killed in the middle of it; on Dask and Ray,
the whole node of the first that comes to a search.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from slipway.base.files import sha256
from slipway.data import partitions, prepare
from slipway.serving import batch
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training import backtest, engines
from slipway.training.bundle import Bundle
from slipway.training.candidates import CandidateModel
from slipway.training.engines import Mapper
from slipway.training.exam import Exam, FoldModel, FoldOfTrial
from slipway.training.scoring import Scorer

ROWS = 2_000


@dataclass(frozen=True)
class Kill:
    """Kills the process that calls it first, of all on all machines; in a job of Slurm the whole job.

    With `node`, it kills all that the node consists of: what watches over the process, and what began it.
    """

    mark: Path
    node: bool = False

    def __call__(self, *given: object) -> None:
        del given
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return
        if job := os.environ.get("SLURM_JOB_ID"):
            subprocess.run(["scancel", "--full", "--signal=KILL", job], check=True)
            time.sleep(600)
        others = set(of_this_session() if self.node else []) - {os.getpid()}
        self.mark.write_text("".join(map(command_of, others)), encoding="utf-8")
        for process in [*others, os.getpid()]:
            os.kill(process, signal.SIGKILL)


def of_this_session() -> list[int]:
    """The processes of the session in which a node was started."""
    found = []
    for place in Path("/proc").iterdir():
        with suppress(ProcessLookupError, ValueError):  # it has ended, or is no process
            if os.getsid(int(place.name)) == os.getsid(0):
                found.append(int(place.name))
    return found


def command_of(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text("utf-8").replace("\0", " ") + "\n"


@dataclass(frozen=True)
class Dying:
    """A function whose first caller dies when it has done the work, and not yet sent the result."""

    function: Callable[[Any], Any]
    kill: Kill

    def __call__(self, chunk: Any) -> Any:
        result = self.function(chunk)
        self.kill()
        return result


@dataclass
class Deadly:
    """An engine that loses a worker in the middle of each kind of work."""

    engine: Mapper
    marks: Path
    threads: int = 1

    def map(self, function: Callable[[Any], Any], chunks: Iterable[Any]) -> Iterator[Any]:
        loses_node = isinstance(function, FoldModel) and os.environ["MLOPS_ENGINE"] in ("dask", "ray")
        kill = Kill(self.marks / type(function).__name__, node=loses_node)
        if isinstance(function, batch.PortionScorer):  # after the first of its parts
            return self.engine.map(replace(function, tell=kill), chunks)
        return self.engine.map(Dying(function, kill), chunks)


def scored(project: Project, bundle: Bundle, folder: Path, engine: Mapper) -> str:
    """The answers and scores of rows in a Parquet file and in a CSV."""
    source, target = folder / "rows", folder / "answers.parquet"
    source.mkdir()
    known = pl.read_parquet(project.root / "data" / "raw.parquet")
    rows = pl.concat([known] * (1 + ROWS // known.height)).head(ROWS)
    rows.write_parquet(source / "1.parquet")
    rows.head(50).write_csv(source / "2.csv")
    batch.CHUNK, batch.CHUNKS_AT_ONCE = 100, 3
    batch.predict(Scorer(bundle), source, target, with_score=True, log=say, engine=engine)
    answers = pl.read_parquet(target)
    assert answers.height == ROWS + 50
    return digest(answers.write_ipc(None).getvalue())


def prepared(project: Project, folder: Path, engine: Mapper) -> str:
    """The tables that are made of raw data in several files, and what is told of them."""
    own = Project(folder / "project")
    source = own.root / "data" / "raw.parquet"
    source.mkdir(parents=True)
    shutil.copyfile(project.root / "params.yaml", own.root / "params.yaml")
    rows = pl.read_parquet(project.root / "data" / "raw.parquet")
    rows[::2].write_parquet(source / "1.parquet")
    rows[1::2].write_csv(source / "2.csv")
    partitions.PART = 400
    prepare.ingest(own, engine)
    prepare.validate(own, engine)
    made = "data/ingested.parquet", "data/valid.parquet", "reports/validation.json"
    return " ".join(sha256(own.root / path) for path in made)


def aged(project: Project, engine: Mapper) -> str:
    """A back-test with a few cut-offs."""
    times = pl.read_parquet(project.root / "data" / "valid.parquet")[str(CONTRACT.time)]
    window = timedelta(days=(times.max() - times.min()).days // 5)  # type: ignore[operator,union-attr]
    past = backtest.Past(backtest._rows(project, str(CONTRACT.time)), str(CONTRACT.time), 20)
    starts = backtest.cut_offs(past.frame[0, past.time], past.frame[-1, past.time], window, None)
    learn = backtest.TeamModel(project.params, next(iter(project.policy.gates.metrics)))
    found = [*backtest.measure(past, starts, window, None, learn, sign=1, log=say, engine=engine)]
    assert len(found) > 3
    return digest(msgspec.json.encode(found))


def searched(project: Project, engine: Mapper) -> str:
    """The folds of two trials."""
    exam = Exam.of(project, next(iter(project.policy.gates.metrics)), 3, engine)
    values = [[*exam.values({"n_estimators": trees})] for trees in (5, 6)]
    return digest(msgspec.json.encode([*values, exam.values_anew({"n_estimators": 5})]))


def compared(project: Project, engine: Mapper) -> str:
    """The folds of two candidates, one of which the library refuses."""
    exam = Exam.of(project, next(iter(project.policy.gates.metrics)), 3, engine)
    values: list[dict[str, Any]] = [{"n_estimators": 3}, {"n_estimators": 3, "subsample": 7.5}]
    trials = [FoldOfTrial(params, fold, False, str(params)) for params in values for fold in range(exam.folds)]
    found = [*engine.map(CandidateModel(exam.model), trials)]
    assert [bool(fold.reason) for fold in found] == [False] * 3 + [True] * 3
    return digest(msgspec.json.encode([(fold.figures, fold.reason) for fold in found]))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> None:
    root, bundle, folder = map(Path, sys.argv[1:4])
    project = Project(root)
    project.tool.engine_workers = int(os.environ["WORKERS"]) if "WORKERS" in os.environ else None
    if project.tool.engine in ("dask", "slurm"):  # the functions here are small, and a large one goes another way
        vars(import_module("slipway.training.engines.dask"))["SHARED_FROM"] = 1_000
    with engines.opened(project, say) as engine:
        used = Deadly(engine, Path(sys.argv[4])) if len(sys.argv) > 4 else engine
        found = {
            "ingest and validation": prepared(project, folder, used),
            "batch": scored(project, Bundle(bundle), folder, used),
            "back-test": aged(project, used),
            "search": searched(project, used),
            "candidates": compared(project, used),
        }
    sys.stdout.write(json.dumps(found))
