"""Reports of the monitor about weeks that were like the reference, or not, without a project and without training."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl
from slipway.base.files import write_json
from slipway.contract.rows import Contract, Row
from slipway.monitoring.checks import CHECKS, CheckContext
from slipway.monitoring.drift import moved
from slipway.monitoring.judge import JudgedLog, judge_log
from slipway.monitoring.quality import Quality, QualityState, Stretch
from slipway.monitoring.report import Report, report_of
from slipway.monitoring.windows import VersionQuality, Window
from slipway.settings.policy import MonitorPolicy, WindowPolicy
from slipway.training.bundle import SUMS, Bundle, ModelFacts

NOW = datetime(2030, 6, 30, tzinfo=UTC)
LIMITS = MonitorPolicy(
    min_rows=200, watch=0.1, act=0.25, p_value=0.01, max_bias=0.05, windows=WindowPolicy(days=7, last=4, need=2)
)


class Parcel(Row):
    weight: float
    pieces: int


class Delivery(Row):
    late: bool


CONTRACT = Contract(row=Parcel, outcome=Delivery, key=("pieces",))


def made_champion(folder: Path) -> Bundle:
    """A bundle in a folder."""
    facts = ModelFacts(name="parcels", answer="late", kind="class", threshold=0.5, features=[], contract="")
    write_json(folder / "model.json", facts)
    parcels(2000, seed=1).write_parquet(folder / "reference.parquet")
    parcels(2000, seed=3).select("score").write_parquet(folder / "tested.parquet")
    (folder / SUMS).write_text("the champion")
    return Bundle(folder)


def parcels(count: int, seed: int, heavier: float = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    weight = rng.normal(5 + heavier, 1, count)
    return pl.DataFrame({"weight": weight, "pieces": rng.poisson(2, count), "score": rng.beta(2, 6, count)})


def judged(champion: Bundle, part: pl.DataFrame, digest: str = "") -> JudgedLog:
    log = part.with_columns(
        at=pl.lit(NOW), version=pl.lit(7), digest=pl.lit(digest or champion.digest), answer=pl.col("score")
    )
    return judge_log(champion, log, LIMITS, CONTRACT)


def week(champion: Bundle, back: int, kind: str) -> Window:
    """A week that ended `back` weeks ago; its columns have "moved", or not."""
    part = parcels(100 if kind == "few" else 1000, seed=back + 10, heavier=1.5 if kind in ("moved", "other") else 0)
    found = judged(champion, part)
    columns = found.columns
    return Window(
        since=NOW - timedelta(days=7 * (back + 1)),
        until=NOW - timedelta(days=7 * back),
        version=7,
        digest="sha256:other" if kind == "other" else champion.digest,
        predictions=found.predictions,
        verdict=found.drift,
        drift=found.drift,
        sentence=found.sentence,
        sizes={one.name: one.size for one in columns if kind != "few"},
        untold=["weight"] if kind == "untold" else [],
        moved={one.name: one.verdict for one in moved(columns)},
        quality=[],
        scales=[columns[0].scale],
    )


def told(
    champion: Bundle, weeks: str, labels: VersionQuality | list[VersionQuality] | None = None, **facts: object
) -> Report:
    """What the monitor says after weeks of these kinds, the oldest first; `labels` are those of each week."""
    kinds = weeks.split()
    windows = [week(champion, back, kind) for back, kind in zip(range(len(kinds))[::-1], kinds, strict=True)]
    if labels:
        each = labels if isinstance(labels, list) else [labels] * len(windows)
        windows = [msgspec.structs.replace(one, quality=[known]) for one, known in zip(windows, each, strict=True)]
    latest = parcels(100 if kinds[-1] == "few" else 1000, seed=10, heavier=1.5 if kinds[-1] == "moved" else 0)
    context = CheckContext(
        environment="production", bundle=champion, log=pl.DataFrame({"at": [NOW] * 1000 * len(kinds)}), limits=LIMITS,
        judged=judged(champion, latest), now=NOW, start=windows[-1].since, windows=windows,
    )  # fmt: skip
    return report_of(dataclasses.replace(context, **cast("dict[str, Any]", facts)), CHECKS.values())


def labels(value: float, *, limit: float | None = 0.2, is_worse: bool = False, **facts: object) -> VersionQuality:
    known = VersionQuality(
        version=7, metric="brier", due=700, labelled=690, value=value, low=value - 0.02, high=value + 0.02, unknown="",
        groups={"service = day": value, "service = night": value + 0.05}, limit=limit, is_worse=is_worse,
    )  # fmt: skip
    return msgspec.structs.replace(known, **facts)


def broken(p_value: float = 1e-6) -> Quality:
    stretch = Stretch(days=14, labelled=1380, value=0.28, p_value=p_value)
    return Quality(
        state=QualityState.BROKEN, sentence="brier is 0.2800 on 1,380 labelled predictions of 14 days", metric="brier",
        value=0.28, limit=0.2, labelled=1380, days=14, stretches=[stretch],
    )  # fmt: skip


def begin(place: int, weeks: int) -> datetime:
    return NOW - timedelta(days=7 * (weeks - place))
