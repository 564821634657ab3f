"""The stages of the pipeline. Each loads what it needs and nothing else: DVC runs it again when any of that changes."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from slipway.base.errors import MlopsError
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


def run_stage(project: Project, name: str) -> None:
    """Run one stage alone, as DVC does."""
    if name not in STAGES:
        raise MlopsError(f"there is no stage {name}", f"choose from {', '.join(STAGES)}", exit_code=2)
    stage: Callable[[Project], None] = getattr(import_module(STAGES[name]), name)
    stage(project)
