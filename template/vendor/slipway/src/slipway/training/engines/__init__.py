"""What works on chunks of rows, trials and windows: this process, processes beside it, or a cluster.

`engine` below `[tool.mlops]` in pyproject.toml names it, and `docs/engines.md` says what else there is to set. It may
be an entry point of the group `slipway.engine`: a function that takes `EngineSettings` and returns a
`concurrent.futures.Executor`, of which `Engine` is one that says how many workers it has. Which engine works is no
parameter of the model: every one gives the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import cast

from slipway.base import plugins
from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.base.mapper import HERE, Mapper
from slipway.settings.project import Project, source_of
from slipway.training.engines.base import Engine, EngineSettings, WorkLostError
from slipway.training.engines.mapping import There

__all__ = ["GROUP", "HERE", "Engine", "EngineSettings", "Mapper", "WorkLostError", "opened"]

GROUP = "slipway.engine"

Opening = Callable[[EngineSettings], Executor]

_OWN = ("local", "dask", "ray", "slurm")  # each with its function `opened` in the module of its name


@contextmanager
def opened(project: Project, log: Log) -> Iterator[Mapper]:
    """Open the engine that the project names, and close it again. It is not asked before there is a chunk.

    Raises `MlopsError` when nobody here brings it, its client is not installed, or the cluster does not answer.
    """
    tool = project.tool
    if tool.engine == "local" and (tool.engine_workers or 1) == 1:
        yield HERE
        return
    settings = EngineSettings(tool.engine_address, tool.engine_workers, project.state, log)
    there = There(tool.engine, partial(_found(tool.engine), settings), tool.engine_workers, log)
    try:
        yield there
    except BaseException:
        there.close(in_vain=True)
        raise
    there.close()


def _found(name: str) -> Opening:
    if name in _OWN:
        try:
            return cast("Opening", import_module(f"{__name__}.{name}").opened)
        except ModuleNotFoundError as error:
            raise MlopsError(
                f"{source_of('engine')}: {name} needs {error.name}, which is not installed here",
                f"uv add --group train 'slipway-mlops[{name}]'",
            ) from None
    if name not in (outside := plugins.names(GROUP)):
        raise MlopsError(
            f"{source_of('engine')}: there is no engine {name}",
            f"choose from {', '.join([*_OWN, *outside])}, or install what provides {name} in the group {GROUP}",
        )
    return cast("Opening", plugins.load(GROUP, name))
