"""What does the work: the stages of the pipeline, and functions over chunks of rows.

`local` is this machine. `engine` below `[tool.mlops]` in pyproject.toml may name another one: an entry point of the
group `slipway.engine`, a class with what `Engine` asks for, made without arguments. Which engine works is no parameter
of the model: every one gives the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from slipway.base import plugins
from slipway.base.errors import MlopsError
from slipway.data import dvc
from slipway.settings.project import Project

GROUP = "slipway.engine"

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


class Engine(Protocol):
    """Where the work is done."""

    def run(self, project: Project, force: bool) -> bool:
        """Run the stages whose inputs have changed, or all by `force`; return whether all went well.

        What they make is in this checkout afterwards, `dvc.lock` with it.
        """
        ...

    def map(self, function: Callable[[Chunk], Result], chunks: Iterable[Chunk]) -> Iterator[Result]:
        """Yield what `function` returns for each chunk, in the order of the chunks.

        Function, chunks and results can be pickled. Take a chunk only when there is room for it: all of them may be
        more than memory holds. What `function` raises is raised here.
        """
        ...


class LocalEngine:
    """This machine: DVC runs the stages, and this process works on one chunk after the other."""

    def run(self, project: Project, force: bool) -> bool:
        """See `Engine`."""
        return dvc.repro(project, force)

    def map(self, function: Callable[[Chunk], Result], chunks: Iterable[Chunk]) -> Iterator[Result]:
        """See `Engine`."""
        return map(function, chunks)


LOCAL: Engine = LocalEngine()


def of(project: Project) -> Engine:
    """The engine that the project names. Raises `MlopsError` when nobody here brings it."""
    name = project.tool.engine
    if name == "local":
        return LOCAL
    if name not in (outside := plugins.names(GROUP)):
        raise MlopsError(
            f"pyproject.toml, tool.mlops.engine: there is no engine {name}",
            f"choose from {', '.join(['local', *outside])}, or install what provides {name} in the group {GROUP}",
        )
    made: Callable[[], Engine] = plugins.load(GROUP, name)
    return made()
