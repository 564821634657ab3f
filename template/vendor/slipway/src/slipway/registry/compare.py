"""Two registry versions on the same rows: which one is better, by how much, and where."""

from __future__ import annotations

from hashlib import md5
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from slipway import team
from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.base.files import Log, sha256
from slipway.base.numbers import shown
from slipway.contract.frames import as_rows, columns
from slipway.kinds.base import Scores
from slipway.registry import packaging
from slipway.registry.models import Registry, Version
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training.bundle import Bundle
from slipway.training.team_code import require_classes, target_of


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of two versions on one frozen set of rows."""

    first: int
    second: int
    rows: int
    frozen: str
    metrics: dict[str, tuple[float | None, float | None]]
    remarks: list[str]

    def __str__(self) -> str:
        width = max(map(len, self.metrics))
        head = f"{'':{width}}  {f'v{self.first}':>9}  {f'v{self.second}':>9}  {'change':>9}"
        lines = [f"{self.rows:,} test rows of this checkout, data/test.parquet {self.frozen[:12]}", "", head]
        for name, (a, b) in self.metrics.items():
            change = "" if a is None or b is None else f"{shown(b - a, '+'):>9}"
            lines.append(f"{name:{width}}  {_shown(a)}  {_shown(b)}  {change}")
        return "\n".join(lines + [""] * bool(self.remarks) + self.remarks)


def compare_versions(project: Project, first: str, second: str, log: Log = print) -> Comparison:
    """Score both versions, each by the code in its own bundle, on the test rows of this checkout."""
    registry = Registry.open(project)
    versions = registry.find(first), registry.find(second)
    if versions[0].digest == versions[1].digest:
        raise MlopsError(f"{first} and {second} are the same version, {versions[0].number}", "name two different ones")
    frozen = project.root / "data" / "test.parquet"
    if not frozen.is_file():
        raise MlopsError("there are no test rows in this checkout", "mlops pipeline (or `dvc pull`)")
    bundles = registry.fetch(versions[0]), registry.fetch(versions[1])
    for version, bundle in zip(versions, bundles, strict=True):
        require_classes(bundle.model, f"version {version.number}")
    frame = pl.read_parquet(frozen)
    truth = target_of(columns(frame, CONTRACT.outcome_fields))
    rows = msgspec.json.encode(as_rows(frame))
    figures = []
    for version, bundle in zip(versions, bundles, strict=True):
        log(f"scoring version {version.number} on {len(truth):,} rows")
        scores = _scores(project, version, bundle, rows)
        figures.append(team.metrics(truth, scores, bundle.model.threshold))
    return Comparison(
        first=versions[0].number,
        second=versions[1].number,
        rows=len(truth),
        frozen=sha256(frozen),
        metrics={name: (figures[0].get(name), figures[1].get(name)) for name in sorted(figures[0] | figures[1])},
        remarks=_remarks(bundles, frozen),
    )


def _scores(project: Project, version: Version, bundle: Bundle, rows: bytes) -> Scores:
    packaging.require_from_commit(project, bundle)
    python = packaging.install(project, bundle)
    program = packaging.programs_of(bundle).scoring
    done = programs.run(
        str(python), "-P", "-m", program, str(bundle.path), stdin=rows, install="mlops compare, once more"
    )
    if done.code:
        raise MlopsError(
            f"version {version.number} could not be scored:\n{done.errors.strip()}", "see the message above"
        )
    return np.array(msgspec.json.decode(done.raw), dtype=np.float32)


def _remarks(bundles: tuple[Bundle, Bundle], frozen: Path) -> list[str]:
    """What a reader must know before believing the figures."""
    data = [{one.path: one.md5 for one in bundle.lineage.data} for bundle in bundles]
    remarks = []
    if data[0].get("data/valid.parquet") != data[1].get("data/valid.parquet"):
        remarks.append("mind: the two versions were made from different data")
    here = md5(frozen.read_bytes(), usedforsecurity=False).hexdigest()
    if any(one.get("data/test.parquet") != here for one in data):
        remarks.append("mind: these test rows are not those of every version; one may have learned from some of them")
    return remarks


def _shown(value: float | None) -> str:
    return f"{'none':>9}" if value is None else f"{shown(value):>9}"
