"""Where things are in a project, and its settings."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from slipway.base.errors import MlopsError
from slipway.settings.base import Settings, read_settings
from slipway.settings.params import Params
from slipway.settings.policy import Policy


class ToolSettings(Settings):
    """`[tool.mlops]` in `pyproject.toml`.

    `target` is that of environment files which name none. `engine` does the work, at `engine_address`, by so many
    workers at a time: see `docs/engines.md`. `delivery` says what changes a cluster: who deploys (`push`), or a
    controller in it that pulls from Git.
    """

    model: str
    tracking_uri: str
    target: str = "native"
    image: str = ""
    engine: str = "local"
    engine_address: str = ""
    engine_workers: Annotated[int, msgspec.Meta(ge=1)] | None = None
    delivery: Literal["push", "argocd", "flux"] = "push"


#: Variables of the environment for what differs by the machine that works on one checkout.
FROM_OUTSIDE = {
    "tracking_uri": "MLFLOW_TRACKING_URI",
    "engine": "MLOPS_ENGINE",
    "engine_address": "MLOPS_ENGINE_ADDRESS",
}


def source_of(key: str) -> str:
    """Where a setting of `[tool.mlops]` stands, of which something is told."""
    variable = FROM_OUTSIDE.get(key, "")
    return f"the variable {variable}" if os.environ.get(variable) else f"pyproject.toml, tool.mlops.{key}"


@dataclass(frozen=True)
class Project:
    """A checkout of the project; everything local that is not under Git lives in `.mlops/`."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """Find the project that holds `start` (the current folder by default)."""
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "dvc.yaml").is_file() and (folder / "policy.yaml").is_file():
                return cls(folder)
        raise MlopsError(
            f"{here} is not inside a project: no dvc.yaml with a policy.yaml beside it",
            "change into the project's folder",
        )

    @property
    def state(self) -> Path:
        """Local state: tracking store, bundle cache, prediction logs, running environments.

        A machine that deploys from checkouts that come and go keeps it elsewhere: `MLOPS_STATE` names the folder.
        """
        return Path(os.environ.get("MLOPS_STATE") or self.root / ".mlops").absolute()

    @property
    def bundle(self) -> Path:
        """The bundle that the pipeline made last."""
        return self.root / "model" / "bundle"

    @property
    def environments(self) -> Path:
        """The folder of environment files."""
        return self.root / "deploy" / "environments"

    @cached_property
    def params(self) -> Params:
        """`params.yaml`, typed."""
        return read_settings(self.root / "params.yaml", Params)

    @cached_property
    def policy(self) -> Policy:
        """`policy.yaml`, typed."""
        return read_settings(self.root / "policy.yaml", Policy)

    @cached_property
    def tool(self) -> ToolSettings:
        """`[tool.mlops]`, typed; what `FROM_OUTSIDE` names wins over the file."""
        table = tomllib.loads((self.root / "pyproject.toml").read_text("utf-8"))["tool"]["mlops"]
        outside = {key: value for key, name in FROM_OUTSIDE.items() if (value := os.environ.get(name))}
        try:
            return msgspec.convert(table | outside, ToolSettings)
        except msgspec.ValidationError as error:
            raise MlopsError(f"pyproject.toml, tool.mlops: {error}", "mend it there") from None

    @contextmanager
    def only_one(self, what: str, wait_s: float = 0) -> Iterator[None]:
        """Let one process at a time do `what` in this checkout; a second one is refused, or says that it waits."""
        import filelock

        self.state.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.state / f"{what.replace(' ', '-')}.lock")
        try:
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                if not wait_s:
                    raise
                sys.stderr.write(f"another `mlops {what}` is running; waiting for it, {wait_s:g} s at the most\n")
                lock.acquire(timeout=wait_s)
        except filelock.Timeout as busy:
            raise MlopsError(
                f"another `mlops {what}` is running in {self.root}", "wait until it has ended, then run this again"
            ) from busy
        try:
            yield
        finally:
            lock.release()
