"""Engines: what runs by one gives what it gives here, whatever happens to a worker, and who cannot work says so."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from outside import Install, naming
from slipway.base.errors import MlopsError
from slipway.serving import batch
from slipway.settings.project import Project
from slipway.training import engines
from slipway.training.bundle import Bundle
from slipway.training.engines import Mapper, WorkLostError
from slipway.training.engines.work import code, work
from slipway.training.scoring import Scorer

#: An engine of threads, which says what it was given.
ELSEWHERE = """
from concurrent.futures import ThreadPoolExecutor

SETTINGS, POOLS = [], []

def threads(settings):
    SETTINGS.append(settings)
    POOLS.append(ThreadPoolExecutor(2))
    return POOLS[-1]
"""


class Sums:
    """Adds two numbers, and does what its chunk says before."""

    def __call__(self, chunk: tuple[int, object]) -> int:
        number, before = chunk
        if isinstance(before, MlopsError | ValueError):
            raise before
        if isinstance(before, Path) and not before.exists():
            before.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if before == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return number + 1 if before != "lambda" else lambda: None  # type: ignore[return-value]


@pytest.fixture
def said() -> list[str]:
    """What an engine says while it works."""
    return []


@pytest.fixture
def processes(project: Project, said: list[str]) -> Iterator[Mapper]:
    """Two processes of this machine."""
    project.tool.engine_workers = 2
    with engines.opened(project, said.append) as engine:
        yield engine


def test_this_process_does_the_work_where_no_engine_is_named(project: Project) -> None:
    with engines.opened(project, print) as engine:
        assert engine is engines.HERE


def test_an_engine_that_nobody_brings_is_refused_with_those_there_are(project: Project, install: Install) -> None:
    install(ELSEWHERE, engines.GROUP, "threads")

    with (
        pytest.raises(MlopsError, match=r"pyproject\.toml, tool\.mlops\.engine: there is no engine spark") as refused,
        engines.opened(naming(project, "spark"), print),
    ):
        pass

    assert refused.value.next_step.startswith("choose from local, dask, ray, slurm, outside0, or install")


def test_an_engine_that_a_variable_names_is_told_by_the_variable(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    naming(project, "dask")
    monkeypatch.setenv("MLOPS_ENGINE", "spark")

    with (
        pytest.raises(MlopsError, match=r"^error: the variable MLOPS_ENGINE: there is no engine spark"),
        engines.opened(Project(project.root), print),
    ):
        pass


@pytest.mark.parametrize(("engine", "module"), [("dask", "dask"), ("ray", "ray"), ("slurm", "dask_jobqueue")])
def test_an_engine_whose_client_is_not_installed_is_refused_with_how_to_get_it(
    project: Project, engine: str, module: str
) -> None:
    """In a process of its own, in which nothing of the engine is loaded."""
    told = f"""
import sys
sys.modules[{module!r}] = None
from slipway.settings.project import Project
from slipway.training import engines
with engines.opened(Project.find(), print):
    pass
"""
    naming(project, engine)

    ended = subprocess.run([sys.executable, "-c", told], cwd=project.root, capture_output=True, text=True, check=False)

    assert f"tool.mlops.engine: {engine} needs {module}, which is not installed here" in ended.stderr
    assert f"uv add --group train 'slipway-mlops[{engine}]'" in ended.stderr


@pytest.mark.parametrize(
    ("engine", "address", "problem"),
    [
        ("dask", "tcp://127.0.0.1:{port}", r"no Dask cluster answers at tcp://127\.0\.0\.1:\d+: Connection refused"),
        ("ray", "127.0.0.1:{port}", r"no Ray cluster answers at 127\.0\.0\.1:\d+: Connection refused"),
        ("dask", "", r"tool\.mlops\.engine_address: nothing is no address of a Dask cluster"),
        ("slurm", "", r"with engine slurm, nothing says how many jobs there may be"),
    ],
)
def test_a_cluster_that_cannot_be_reached_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch, engine: str, address: str, problem: str
) -> None:
    with socket.socket() as taken:  # nobody listens at a port that is bound alone
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLOPS_ENGINE", engine)
        monkeypatch.setenv("MLOPS_ENGINE_ADDRESS", address.format(port=taken.getsockname()[1]))

        with pytest.raises(MlopsError, match=problem), engines.opened(Project(project.root), print) as there:
            list(there.map(Sums(), [(1, None)]))


def test_an_engine_from_outside_gets_its_settings_and_is_given_a_chunk_when_there_is_room(
    project: Project, install: Install
) -> None:
    outside = install(ELSEWHERE, engines.GROUP, "threads")
    made = naming(project, "outside0")
    made.tool.engine_address, made.tool.engine_workers = "there", 2
    taken: list[int] = []

    def chunks() -> Iterator[tuple[int, None]]:
        for number in range(9):
            taken.append(number)
            yield number, None

    with engines.opened(made, print) as engine:
        results = engine.map(Sums(), chunks())
        assert next(results) == 1
        assert taken == [0, 1, 2, 3]
        assert [*results] == [2, 3, 4, 5, 6, 7, 8, 9]

    (settings,) = outside.SETTINGS
    assert (settings.address, settings.workers) == ("there", 2)
    with pytest.raises(RuntimeError, match="after shutdown"):
        outside.POOLS[0].submit(print)


def test_a_worker_that_is_killed_costs_no_result(processes: Mapper, said: list[str], tmp_path: Path) -> None:
    chunks = [(number, tmp_path / "killed" if number == 5 else None) for number in range(20)]

    assert [*processes.map(Sums(), chunks)] == [*range(1, 21)]
    assert any("a worker was lost" in line for line in said)


def test_work_that_kills_every_worker_is_given_up_by_name(processes: Mapper) -> None:
    results = processes.map(Sums(), [(1, None), (2, None), (3, "die"), (4, None)])

    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(WorkLostError, match=r"has not done \(3, 'die'\): its worker was lost 4 times"):
        next(results)


@pytest.mark.parametrize("wait", [True, False])
def test_processes_that_have_lost_one_are_let_go_with_what_was_on_its_way(wait: bool) -> None:
    program = f"""
from slipway.training.engines import EngineSettings, local
if __name__ == "__main__":
    executor = local.opened(EngineSettings("", 2, None, print))
    lost, *_ = [executor.submit(__import__("os")._exit, 1), *(executor.submit(len, bytes(1 << 20)) for _ in range(8))]
    print(type(lost.exception()).__name__)
    executor.shutdown(wait={wait})
    executor.shutdown(wait={wait})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "BrokenProcessPool\n"


def test_what_a_function_raises_is_raised_here_with_its_chunk_and_its_worker(processes: Mapper) -> None:
    refusal = MlopsError("a row is broken", "mend it", exit_code=3)

    with pytest.raises(MlopsError, match="a row is broken") as refused:
        [*processes.map(Sums(), [(1, refusal)])]
    with pytest.raises(ValueError, match="own fault") as raised:
        [*processes.map(Sums(), [(1, ValueError("own fault"))])]

    assert (refused.value.problem, refused.value.next_step, refused.value.exit_code) == (
        "a row is broken",
        "mend it",
        3,
    )
    assert f"\n   at: on {socket.gethostname()}\n   at: in (1, " in str(refused.value)
    assert any("raise before" in note for note in raised.value.__notes__)  # the trace there


def test_a_result_that_cannot_be_sent_back_is_told(processes: Mapper) -> None:
    with pytest.raises(WorkLostError, match="a result cannot be sent back: "):
        [*processes.map(Sums(), [(1, "lambda")])]


def test_a_function_that_cannot_be_sent_is_told(processes: Mapper) -> None:
    with pytest.raises(WorkLostError, match="the work cannot be sent to a worker: "):
        [*processes.map(lambda chunk: chunk, [1])]


def test_a_worker_with_other_code_refuses() -> None:
    other = code() | {"slipway": "sha256:0"}

    is_done, found = pickle.loads(work(other, pickle.dumps(Sums()), pickle.dumps((1, None))))

    assert not is_done
    assert isinstance(found, WorkLostError)
    assert f"the worker on {socket.gethostname()} has other code than this client: slipway sha256:" in found.problem


def test_processes_end_with_a_client_that_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    client = subprocess.Popen([sys.executable, "-c", CLIENT, str(pids)])
    wait_for(lambda: pids.is_file() and len(pids.read_text().split()) == 2)

    client.kill()
    client.wait()

    wait_for(lambda: not any(is_running(int(pid)) for pid in pids.read_text().split()))


#: A client whose two processes write down who they are, and then wait for ever.
CLIENT = """
import sys, time
from pathlib import Path
from slipway.training.engines.base import EngineSettings
from slipway.training.engines.local import opened

if __name__ == "__main__":
    pool = opened(EngineSettings("", 2, Path(), print))
    pool.submit(time.sleep, 600), pool.submit(time.sleep, 600)
    while len(pool._processes) < 2:
        time.sleep(0.1)
    Path(sys.argv[1]).write_text(" ".join(str(pid) for pid in pool._processes))
    time.sleep(600)
"""


#: Predicts a file by two processes, in pieces of twenty rows.
BATCH = """
import sys
from pathlib import Path
from slipway.serving import batch
from slipway.settings.project import Project
from slipway.training import engines
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer

if __name__ == "__main__":
    root, bundle, source, target = map(Path, sys.argv[1:])
    batch.CHUNK, batch.CHUNKS_AT_ONCE = 10, 2
    project = Project(root)
    project.tool.engine_workers = 2
    with engines.opened(project, print) as engine:
        batch.predict(Scorer(Bundle(bundle)), source, target, with_score=True, log=print, engine=engine)
"""


def test_a_batch_whose_client_is_killed_goes_on_with_the_parts_that_are_there(
    project: Project, sealed: Bundle, tmp_path: Path
) -> None:
    source, target, undisturbed = (tmp_path / f"{name}.parquet" for name in ("rows", "answers", "undisturbed"))
    known = pl.read_parquet(project.root / "data" / "raw.parquet")
    pl.concat([known] * (1 + 4_000 // known.height)).head(4_000).write_parquet(source)
    batch.predict(Scorer(sealed), source, undisturbed, with_score=True, log=print)
    command = [sys.executable, "-c", BATCH, *map(str, (project.root, sealed.path, source, target))]
    with subprocess.Popen(command) as client:
        wait_for(lambda: len([*tmp_path.glob(".answers.parquet.parts/*.arrow")]) > 20)
        client.kill()
    assert not target.exists()
    part = min(tmp_path.glob(".answers.parquet.parts/*.arrow"))
    other = tmp_path / "other.arrow"
    pl.read_ipc(part).with_columns(score=pl.lit(2.0, pl.Float32)).write_ipc(other)
    other.replace(part)

    subprocess.run(command, check=True)

    expected, found = pl.read_parquet(undisturbed), pl.read_parquet(target)
    is_kept = found["score"] == 2.0
    assert is_kept.sum() == 10  # done once, and not again
    assert found.filter(~is_kept).equals(expected.filter(~is_kept))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_for(holds: Callable[[], bool], limit_s: float = 120) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)
