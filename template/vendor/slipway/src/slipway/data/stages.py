"""The stages of the pipeline. Each loads what it needs and nothing else: DVC runs it again when any of that changes."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from slipway.base.errors import MlopsError
from slipway.base.mapper import HERE, Mapper
from slipway.settings.project import Project

#: Stage name -> the module that holds the function of that name. The order is that of dvc.yaml.
STAGES = {
    "ingest": "slipway.data.prepare",
    "validate": "slipway.data.prepare",
    "split": "slipway.data.prepare",
    "train": "slipway.training.train",
    "evaluate": "slipway.training.evaluate",
    "export": "slipway.training.export",
}


#: Those that an engine can do in parts.
IN_PARTS = ("ingest", "validate")

#: Only in projects whose team has written a prepare.py, and in their dvc.yaml.
OPTIONAL = {"prepare": "slipway.data.prepare"}


def planned(project: Project) -> list[str]:
    """The stages of this project, in their order."""
    return [*OPTIONAL, *STAGES] if project.params.data.raw else [*STAGES]


def run_stage(project: Project, name: str, engine: Mapper = HERE) -> None:
    """Run one stage alone, as DVC does; one of those `IN_PARTS` by an engine."""
    stages = OPTIONAL | STAGES
    if name not in stages:
        raise MlopsError(f"there is no stage {name}", f"choose from {', '.join(stages)}", exit_code=2)
    stage: Callable[..., None] = getattr(import_module(stages[name]), name)
    stage(project, engine) if name in IN_PARTS else stage(project)
