"""The stages of the pipeline. Each loads what it needs and nothing else: DVC runs it again when any of that changes."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from .errors import MlopsError
from .project import Project

#: Stage name -> the module that holds the function of that name. The order is that of dvc.yaml.
STAGES = {
    "ingest": "data",
    "validate": "data",
    "split": "data",
    "train": "training",
    "evaluate": "evaluation",
    "export": "export",
}


def run_stage(project: Project, name: str) -> None:
    """Run one stage alone, as DVC does."""
    if name not in STAGES:
        raise MlopsError(f"there is no stage {name}", f"choose from {', '.join(STAGES)}", exit_code=2)
    stage: Callable[[Project], None] = getattr(import_module(f".{STAGES[name]}", __package__), name)
    stage(project)
