"""Two models beside each other: which one is better, by how much, and where.

Two registered versions are both scored on the test rows of this checkout. What a commit or a run made cannot be scored
here, so as soon as one of both is such, what each reported of itself is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import md5
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from slipway import team
from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.base.files import Log, sha256
from slipway.contract.frames import as_rows, columns
from slipway.kinds.base import Scores
from slipway.registry import packaging
from slipway.registry.beside import beside, doubts
from slipway.registry.comparison import CALIBRATION, Comparison
from slipway.registry.intervals import Measure, Truth, changes
from slipway.registry.models import Registry
from slipway.registry.names import Meaning, meaning_of
from slipway.registry.reported import TEST_ROWS, Reported, params_at, reported_by
from slipway.settings.project import Project
from slipway.training.bundle import Bundle, ModelFacts
from slipway.training.evaluate import figures_of, reliability_of
from slipway.training.team_code import require_classes, target_of


def compare(project: Project, first: str, second: str, log: Log = print) -> Comparison:
    """Compare two versions, branches, tags, commits or runs, whatever both names mean.

    Raises `MlopsError` when a name means nothing or several things, when both mean the same, and when one of them has
    no figures.
    """
    sides = meaning_of(project, first), meaning_of(project, second)
    if sides[0].key == sides[1].key:
        raise MlopsError(
            f"{first} and {second} are the same {sides[0].kind}, {sides[0].key}", "name two different ones"
        )
    if all(one.kind == "version" for one in sides):
        return _scored(project, sides, log)
    both = reported_by(project, sides[0]), reported_by(project, sides[1])
    return beside(project, both, "reported", remarks=doubts(both))


def _scored(project: Project, sides: tuple[Meaning, Meaning], log: Log) -> Comparison:
    """Score both versions, each by the code in its own bundle, on the test rows of this checkout."""
    registry = Registry.open(project)
    frozen = project.root / TEST_ROWS
    if not frozen.is_file():
        raise MlopsError("there are no test rows in this checkout", "mlops pipeline (or `dvc pull`)")
    bundles = registry.fetch(registry.find(sides[0].key)), registry.fetch(registry.find(sides[1].key))
    for side, bundle in zip(sides, bundles, strict=True):
        require_classes(bundle.model, side.words)
    frame = pl.read_parquet(frozen)
    truth = target_of(columns(frame, team.CONTRACT.outcome_fields))
    rows = msgspec.json.encode(as_rows(frame))
    scores = []
    for side, bundle in zip(sides, bundles, strict=True):
        log(f"scoring {side.words} on {len(truth):,} rows")
        scores.append(_scores(project, side, bundle, rows))
    log("drawing test rows anew, to see how sure each change is")
    drawn = changes(frame, truth, (scores[0], scores[1]), (_measure(bundles[0].model), _measure(bundles[1].model)))
    both = [
        Reported(
            meaning=side,
            measured=_plain(figures_of(project, bundle.model, truth, given)),
            params=params_at(project, bundle.lineage.commit),
        )
        for side, bundle, given in zip(sides, bundles, scores, strict=True)
    ]
    remarks = [*_remarks(bundles, frozen), *drawn.remarks]
    return beside(project, (both[0], both[1]), "scored", remarks=remarks, drawn=drawn, frozen=sha256(frozen))


def _scores(project: Project, side: Meaning, bundle: Bundle, rows: bytes) -> Scores:
    packaging.require_from_commit(project, bundle)
    python = packaging.install(project, bundle)
    program = packaging.programs_of(bundle).scoring
    done = programs.run(
        str(python), "-P", "-m", program, str(bundle.path), stdin=rows, install="mlops compare, once more"
    )
    if done.code:
        raise MlopsError(f"{side.words} could not be scored:\n{done.errors.strip()}", "see the message above")
    return np.array(msgspec.json.decode(done.raw), dtype=np.float32)


def _measure(facts: ModelFacts) -> Measure:
    """The team's metrics with the threshold of a model, and its calibration error."""

    def measure(truth: Truth, scores: Scores) -> Mapping[str, float]:
        error = reliability_of(facts, truth, scores).error
        return dict(team.metrics(truth, scores, facts.threshold)) | {CALIBRATION: error}

    return measure


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures as they are read from a report."""
    figures["model"] = {name: float(value) for name, value in figures["model"].items()}
    built: dict[str, Any] = msgspec.to_builtins(figures)
    return built


def _remarks(bundles: tuple[Bundle, Bundle], frozen: Path) -> list[str]:
    """What a reader must know before believing the figures."""
    data = [{one.path: one.md5 for one in bundle.lineage.data} for bundle in bundles]
    remarks = []
    if data[0].get("data/valid.parquet") != data[1].get("data/valid.parquet"):
        remarks.append("mind: the two versions were made from different data")
    here = md5(frozen.read_bytes(), usedforsecurity=False).hexdigest()
    if any(one.get(TEST_ROWS) != here for one in data):
        remarks.append("mind: these test rows are not those of every version; one may have learned from some of them")
    return remarks
