"""Chunks on their way through an engine: as many as there is room for, in their order, and again where one was lost."""

from __future__ import annotations

import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass
from typing import Any

from slipway.base.files import Log
from slipway.base.mapper import Chunk, Result
from slipway.training.engines.base import RETRIES, SILENT_S, Engine, WorkLostError, require_answer
from slipway.training.engines.work import code, work

#: For each worker, so that none waits for this process.
CHUNKS_UNDER_WAY = 2


@dataclass
class _Task:
    name: str
    content: bytes
    future: Future[bytes]
    executor: Executor | None
    tries: int = 1


class There:
    """The workers of the engine that `opening` opens; `workers` limits the chunks under way."""

    threads = 1

    def __init__(self, name: str, opening: Callable[[], Executor], workers: int | None, log: Log) -> None:
        self._name, self._opening, self._workers, self._log = name, opening, workers, log
        self._executor: Executor | None = None
        self._last: tuple[Any, Any] = None, None

    def close(self, *, in_vain: bool = False) -> None:
        """Let go of the cluster; of one whose results nobody wants any more, without waiting for them."""
        if self._executor is not None:
            self._executor.shutdown(wait=not in_vain, cancel_futures=True)
        self._executor, self._last = None, (None, None)

    def map(self, function: Callable[[Chunk], Result], chunks: Iterable[Chunk]) -> Iterator[Result]:
        """See `Mapper`."""
        under_way = deque[_Task]()
        try:
            for chunk in chunks:
                content = _pickled(chunk, str(chunk))
                under_way.append(_Task(str(chunk), content, self._submit(function, content), self._executor))
                if len(under_way) == CHUNKS_UNDER_WAY * self._room:
                    yield self._result(function, under_way.popleft())
            while under_way:
                yield self._result(function, under_way.popleft())
        finally:  # of who takes no more results
            for task in under_way:
                task.future.cancel()

    @property
    def _room(self) -> int:
        return self._workers or getattr(self._open(), "workers", 0) or os.cpu_count() or 1

    def _open(self) -> Executor:
        self._executor = self._executor or self._opening()
        return self._executor

    def _submit(self, function: Callable[[Any], Any], content: bytes) -> Future[bytes]:
        executor = self._open()
        if self._last[0] is not function:
            sent = _pickled(function, "the work")
            self._last = function, executor.share(sent) if isinstance(executor, Engine) else sent
        try:
            return executor.submit(work, code(), self._last[1], content)
        except BrokenExecutor as error:
            broken = Future[bytes]()
            broken.set_exception(error)
            return broken

    def _result(self, function: Callable[[Any], Any], task: _Task) -> Any:
        """Wait for a task. One whose worker was lost runs again, and alone, so that the one at fault shows itself."""
        while True:
            try:
                is_done, found = pickle.loads(self._waited(task))  # noqa: S301 - what `work` has pickled
                break
            except BrokenExecutor as error:
                self._again(function, task, error)
            except (Exception, CancelledError) as error:
                raise self._lost(task, f"{type(error).__name__}: {error}") from error
        if is_done:
            return found
        found.add_note(f"in {task.name}, by engine {self._name}")
        raise found

    def _waited(self, task: _Task) -> bytes:
        waited = 0.0
        while not wait([task.future], SILENT_S).done:
            _require_there(task)
            waited += SILENT_S
            self._log(f"{self._name}: waiting for {task.name}, for {waited:,.0f} s")
        return task.future.result()

    def _again(self, function: Callable[[Any], Any], task: _Task, error: BrokenExecutor) -> None:
        if task.tries > RETRIES:
            raise self._lost(task, f"its worker was lost {task.tries} times") from error
        task.tries += 1
        if task.executor is self._executor:  # else it was opened anew for another task already
            self.close(in_vain=True)
        self._log(f"{self._name}: a worker was lost; {task.name} is done again")
        task.future, task.executor = self._submit(function, task.content), self._executor

    def _lost(self, task: _Task, reason: str) -> WorkLostError:
        _require_there(task)
        return WorkLostError(
            f"engine {self._name} has not done {task.name}: {reason.splitlines()[0]}",
            "look at the log of its workers, then run this again: what is finished stays",
        )


def _require_there(task: _Task) -> None:
    """Refuse to wait for a cluster that has gone."""
    if isinstance(task.executor, Engine) and task.executor.home:
        time.sleep(1)  # what is being killed still takes connections
        require_answer(*task.executor.home)


def _pickled(what: object, name: str) -> bytes:
    try:
        return pickle.dumps(what)
    except Exception as error:
        raise WorkLostError(
            f"{name} cannot be sent to a worker: {error}",
            "keep to what Python can pickle, or work here: MLOPS_ENGINE=local",
        ) from error
