"""Blocks of settings that `policy.yaml` may hold, and adding one with its comments: `mlops policy`.

Each block is a file in `policy_blocks/`, named after its place: `monitor.quality.yaml` goes below `monitor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import msgspec
import yaml

from slipway.base.errors import MlopsError
from slipway.settings import edit
from slipway.settings.policy import MetricGate, Policy
from slipway.settings.project import Project

POLICY = "policy.yaml"
_FOLDER = Path(__file__).with_name("policy_blocks")


@dataclass(frozen=True)
class Block:
    """Settings that belong together; `parent` is where they go, and empty for the file itself."""

    name: str
    text: str

    @property
    def parent(self) -> str:
        """The place of the mapping that they become a part of."""
        return self.name.rpartition(".")[0]

    @property
    def line(self) -> str:
        """What they are for: the first sentence of their comment."""
        comment = " ".join(line.removeprefix("# ") for line in self.text.splitlines() if line.startswith("# "))
        return comment.partition(". ")[0].rstrip(".")

    def is_in(self, settings: dict[str, Any]) -> bool:
        """Whether one of its keys is set."""
        place = settings.get(self.parent, {}) if self.parent else settings
        return bool(yaml.safe_load(self.text).keys() & place.keys())


def blocks() -> list[Block]:
    """Everything that can be added, in the order of names."""
    return [Block(path.stem, path.read_text("utf-8")) for path in sorted(_FOLDER.glob("*.yaml"))]


def listed(project: Project) -> list[tuple[Block, bool]]:
    """Each block, and whether this project's policy has it."""
    settings = yaml.safe_load((project.root / POLICY).read_text("utf-8"))
    return [(block, block.is_in(settings)) for block in blocks()]


def add(project: Project, names: list[str]) -> None:
    """Add blocks to `policy.yaml`, all of them or none, and keep the rest of the file as it is.

    Raises `MlopsError` for a name that is unknown, for a block that is there, and where the result would be no
    policy, as where a block needs another one.
    """
    path = project.root / POLICY
    text, policy = path.read_text("utf-8"), project.policy
    known = {block.name: block for block in blocks()}
    for name in names:
        if name not in known:
            raise MlopsError(f"there is no block {name}", f"choose from {', '.join(known)}", exit_code=2)
        block = known[name]
        if block.is_in(yaml.safe_load(text)):
            raise MlopsError(f"{POLICY} has {name} already", f"change it there: {path}")
        text = edit.inserted(text, block.parent, _filled(block.text, policy), POLICY)
    try:
        msgspec.convert(yaml.safe_load(text), Policy)
    except msgspec.ValidationError as error:
        reason = str(error).partition(" - at `$")[0]
        needed = [name for name in known if f"needs {name}" in reason]
        raise MlopsError(
            f"{POLICY} would be refused: {reason}", f"mlops policy add {' '.join([*needed, *names])}"
        ) from None
    path.write_text(text, encoding="utf-8", newline="\n")


def _filled(text: str, policy: Policy) -> str:
    """Name the metric that the gates hold against a `max`, an error, or else their first, and sizes in its unit."""
    gates = policy.gates.metrics
    metric = next((name for name, gate in gates.items() if gate.max is not None), next(iter(gates), ""))
    if "$metric" in text and not metric:
        raise MlopsError(f"{POLICY} gates no metric, so none can be watched", "add one below gates.metrics")
    gate = gates.get(metric, MetricGate())
    limit = abs(gate.max or gate.min or 1.0)
    gain = gate.margin or 0.02 * limit
    sizes = {"gain": gain, "drop": 10 * gain, "bias": limit / 4}
    return Template(text).substitute(metric=metric, **{name: f"{size:.3g}" for name, size in sizes.items()})
