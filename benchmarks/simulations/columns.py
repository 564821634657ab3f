"""Columns and scores: false alarms where nothing changes, and what is found where something does.

Rows are of twelve columns of different shapes. A part of the variance of each is common to a day, and days follow
each other as an autoregressive series of order 1 does; the window begins long after the reference ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr, pdtr
from slipway.base.files import write_json
from slipway.contract.rows import Contract, Row
from slipway.monitoring import domain
from slipway.monitoring.days import Days
from slipway.monitoring.drift import Side, Verdict, find
from slipway.monitoring.judge import judge_log
from slipway.settings.policy import MonitorPolicy
from slipway.training.bundle import SUMS, Bundle, ModelFacts
from truth import Bar, Cell

Floats = NDArray[np.float64]

#: That of a new project.
POLICY = MonitorPolicy(min_rows=200, watch=0.1, act=0.25, p_value=0.01)

#: Of the first trial. What the rules hold was chosen on others, from 2,000,000 on.
SEED = 9_000_000

COLUMNS = 12
POISSON = pdtr(np.arange(30), 3)
TWELVE = np.cumsum([0.3, 0.2, 0.1, 0.1, 0.06, 0.06, 0.05, 0.04, 0.03, 0.03, 0.02, 0.01])
ZIPF = np.cumsum(1 / np.arange(1, 103) ** 1.1) / (1 / np.arange(1, 103) ** 1.1).sum()


@dataclass(frozen=True)
class World:
    """Rows by day, of the reference and of now, and how alike they are: within a day, and with the day before."""

    days: int = 180
    rows: int = 27
    window: int = 7
    rows_now: int = 143
    within: float = 0.0
    neighbours: float = 0.0
    timed: bool = True

    def sides(self, seed: int) -> tuple[pl.DataFrame, pl.DataFrame, Days | None]:
        """The rows of both, and their days."""
        rng = np.random.default_rng([SEED + seed, self.days, int(100 * self.within), int(100 * self.neighbours)])
        before, now = (
            frame(self._latent(rng, days, rows))
            for days, rows in ((self.days, self.rows), (self.window, self.rows_now))
        )
        times = (_times(self.days, self.rows), _times(self.window, self.rows_now))
        return before, now, Days.of(*times) if self.timed else None

    def _latent(self, rng: np.random.Generator, days: int, rows: int) -> Floats:
        steps = rng.standard_normal((days, COLUMNS))
        for day in range(1, days):
            steps[day] = self.neighbours * steps[day - 1] + np.sqrt(1 - self.neighbours**2) * steps[day]
        common = np.sqrt(self.within) * np.repeat(steps, rows, axis=0)
        own: Floats = common + np.sqrt(1 - self.within) * rng.standard_normal((days * rows, COLUMNS))
        return own


#: Changes the rows of now, which are handed in, with a source of chance.
Change = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]


def frame(latent: Floats) -> pl.DataFrame:
    """Columns of many shapes, from as many of the normal distribution."""
    u = ndtr(latent)
    return pl.DataFrame({
        "normal": latent[:, 0],
        "lognormal": np.exp(latent[:, 1]),
        "uniform": u[:, 2],
        "cauchy": np.tan(np.pi * (u[:, 3] - 0.5)),
        "zeros": np.where(u[:, 4] < 0.6, 0, -np.log1p(-u[:, 4])),
        "count": np.searchsorted(POISSON, u[:, 5]),
        "flag": u[:, 6] < 0.1,
        "three": _named([0.5, 0.8], u[:, 7]),
        "twelve": _named(TWELVE[:-1], u[:, 8]),
        "beta": u[:, 9] ** 2,
        "code": (u[:, 10] * 10).astype(np.int64),
        "text": _named(ZIPF[:-1], u[:, 11]),
    })  # fmt: skip


def _named(edges: Iterable[float], u: Floats) -> pl.Series:
    return pl.Series(np.searchsorted(np.asarray(edges), u)).cast(pl.String)


def _times(days: int, rows: int) -> pl.Series:
    first = np.datetime64("2026-01-01", "us")
    return pl.Series(np.repeat(first + np.arange(days).astype("timedelta64[D]"), rows))


def shifted(column: str, by: float) -> Change:
    """Add to a column."""
    return lambda now, _: now.with_columns(pl.col(column) + by)


def some(share: float, **changed: pl.Expr) -> Change:
    """Change columns in a share of rows."""

    def change(now: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        hit = pl.Series(rng.random(now.height) < share)
        return now.with_columns(
            pl.when(hit).then(to).otherwise(pl.col(name)).alias(name) for name, to in changed.items()
        )

    return change


def unchanged(now: pl.DataFrame, _: np.random.Generator) -> pl.DataFrame:
    """As it is."""
    return now


ALARM = (Verdict.ACT, Verdict.WATCH)
QUIET, LATE = Bar(most=0.01), Bar(least=0.95)

#: The world in words, the world, what counts as an alarm, and the bar; then what changes, and in which column.
ACT = (Verdict.ACT,)
FALSE: list[tuple[str, World, tuple[Verdict, ...], Bar]] = [
    ("rows without a time", World(timed=False), ALARM, QUIET),
    ("180 days, rows are draws of their own", World(), ALARM, QUIET),
    ("180 days, 10 % of the variance by day", World(within=0.1), ALARM, QUIET),
    ("180 days, 30 % of the variance by day", World(within=0.3), ALARM, QUIET),
    ("the same, lag-1 autocorrelation of days 0.35", World(within=0.3, neighbours=0.35), ACT, Bar(most=0.05)),
    ("the same, 0.7", World(within=0.3, neighbours=0.7), ACT, Bar(most=0.05)),
    ("50 % by day, 0.9", World(within=0.5, neighbours=0.9), ACT, Bar(most=0.07)),
    ("20 days, 30 % by day, 0.7", World(20, 250, within=0.3, neighbours=0.7), ACT, Bar(most=0.05)),
]
TRUE: list[tuple[str, World, Change, str, Bar | None]] = [
    ("90 days, shift of 0.75 sigma", World(90, 55, rows_now=714), shifted("normal", 0.75), "normal", LATE),
    ("5 years, shift of 0.75 sigma", World(1825, 3, rows_now=714), shifted("normal", 0.75), "normal", LATE),
    ("30 % by day, shift of 1 sigma", World(within=0.3), shifted("normal", 1), "normal", None),
    (
        "30 % by day, lag-1 0.7, shift of 2 sigma",
        World(within=0.3, neighbours=0.7),
        shifted("normal", 2),
        "normal",
        None,
    ),
    ("5 % missing", World(), some(0.05, uniform=pl.lit(None)), "uniform", LATE),
    ("a new category in 5 % of rows", World(), some(0.05, three=pl.lit("new")), "three", LATE),
    ("code 7, a tenth of rows, becomes 8", World(), some(1, code=pl.col("code").replace(7, 8)), "code", LATE),
    (
        "10 % of texts are new, each another",
        World(),
        some(0.1, text=pl.lit("new ") + pl.int_range(pl.len()).cast(pl.String)),
        "text",
        LATE,
    ),
    ("2 % of rows times 100", World(), some(0.02, normal=pl.col("normal") * 100), "normal", LATE),
    ("2 % of rows times 100, skewed", World(), some(0.02, lognormal=pl.col("lognormal") * 100), "lognormal", LATE),
    ("flag from 10 to 30 %", World(), some(0.222, flag=pl.lit(value=True)), "flag", LATE),
]


def cells(trials: int, *, peers: int) -> Iterator[Cell]:
    """False alarms, detection, scores of a model that overfits, and the classifier."""
    for world, simulated, alarms, bar in FALSE:
        words = "false act" if alarms == ACT else "false watch or act"
        yield _counted(Cell(world, words, 0, trials, bar), simulated, unchanged, None, alarms, peers=peers)
    for world, simulated, change, column, least in TRUE:
        yield _counted(Cell(world, "found", 0, trials, least), simulated, change, column, ALARM, peers=peers)
    yield forest()
    yield from _together(max(10, trials // 20))


def _counted(
    cell: Cell, world: World, change: Change, column: str | None, alarms: tuple[Verdict, ...], *, peers: int
) -> Cell:
    hits, unknown = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(cell.trials):
            before, now, days = world.sides(seed)
            now = change(now, np.random.default_rng(seed))
            found = find(before, now, POLICY, days)
            hits += any(one.verdict in alarms and column in (None, one.name) for one in found)
            unknown += found[0].verdict is Verdict.INSUFFICIENT_DATA
            if seed < peers:
                before.write_parquet(f"{folder}/{seed}.before.parquet")
                now.write_parquet(f"{folder}/{seed}.now.parquet")
        many = min(peers, cell.trials)
        others = {name: (_asked(name, Path(folder), column), many) for name in PEERS} if many else {}
    remark = f"insufficient data in {unknown / cell.trials:.1%}" if unknown else ""
    return Cell(cell.world, cell.counted, hits, cell.trials, cell.bar, others, remark)


class Loan(Row):
    """What a model is asked about."""

    income: float
    debt: float
    term: float


class Repaid(Row):
    """What becomes known."""

    repaid: bool


LOANS = Contract(row=Loan, outcome=Repaid, key=("income",))
INPUTS = [field.name for field in LOANS.fields]


def forest(trials: int = 10, trees: int = 100) -> Cell:
    """A random forest, which knows the rows that it learned from by heart, on rows of the same population."""
    from sklearn.ensemble import RandomForestClassifier

    alarms = 0
    for seed in range(trials):
        rng = np.random.default_rng([seed, 3])
        rows = rng.standard_normal((6_000, 3))
        truth = rng.random(6_000) < ndtr(rows @ [1, 0.5, -1] - 0.5)
        parts = [slice(0, 3_000), slice(3_000, 4_500), slice(4_500, 6_000)]
        model = RandomForestClassifier(trees, random_state=seed, n_jobs=1).fit(rows[parts[0]], truth[parts[0]])
        train, test, asked = (
            pl.DataFrame(rows[part], INPUTS).with_columns(score=model.predict_proba(rows[part])[:, 1]) for part in parts
        )
        with tempfile.TemporaryDirectory() as folder:
            bundle = _bundle(Path(folder), train, test.select("score"))
            log = asked.with_columns(pl.lit(1).alias("version"), digest=pl.lit(bundle.digest), at=pl.lit(0))
            alarms += judge_log(bundle, log, POLICY, LOANS).drift in ALARM
    return Cell("a random forest, rows of the same population", "false watch or act", alarms, trials, Bar(most=0))


def _bundle(folder: Path, train: pl.DataFrame, test: pl.DataFrame) -> Bundle:
    facts = ModelFacts(name="loans", answer="repaid", kind="class", threshold=0.5, features=INPUTS, contract="")
    write_json(folder / "model.json", facts)
    (folder / SUMS).write_text("loans")
    bundle = Bundle(folder)
    train.write_parquet(bundle.reference)
    test.write_parquet(bundle.tested)
    return bundle


def _together(trials: int) -> Iterator[Cell]:
    """The classifier: where nothing changes, where only days differ, and where two columns go apart."""
    policy = MonitorPolicy(min_rows=200, watch=0.1, act=0.25, p_value=0.01, max_domain_auc=0.65)
    worlds: list[tuple[str, World, float, float, Bar]] = [
        ("180 days, 30 % by day, lag-1 0.7", World(within=0.3, neighbours=0.7), 0, 0, Bar(most=0.05)),
        ("two columns become one another's mirror", World(), 0, -1, Bar(least=0.95)),
        ("two columns' correlation goes from 0.8 to -0.8", World(), 0.8, -0.8, Bar(least=0.95)),
    ]
    for words, world, was, becomes, bar in worlds:
        hits = 0
        for seed in range(trials):
            before, now, days = world.sides(seed)
            found = domain.measure(Side(_tied(before, was), _tied(now, becomes), days), policy)
            hits += found is not None and found.verdict is Verdict.WATCH
        counted = "found by the classifier" if bar.least else "false watch of the classifier"
        yield Cell(words, counted, hits, trials, bar)


def _tied(rows: pl.DataFrame, correlation: float) -> pl.DataFrame:
    """Let two columns have a correlation, each its own distribution as before."""
    own = np.sqrt(1 - correlation**2) * pl.col("lognormal").log()
    return rows.with_columns(lognormal=(correlation * pl.col("normal") + own).exp())


PEERS: dict[str, tuple[str, ...]] = {
    "Evidently": ("evidently", "pandas<3", "pyarrow"),
    "NannyML": ("nannyml", "statsmodels", "pandas<3", "pyarrow"),
}

#: Prints for each window whether a column is flagged: the one that is named, or any.
ASK = """
import json, sys, warnings
from pathlib import Path
import pandas as pd
warnings.simplefilter("ignore")
name, folder, column = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

def evidently(before, now):
    from evidently import Report
    from evidently.presets import DataDriftPreset
    found = []
    for one in Report([DataDriftPreset()]).run(now, before).dict()["metrics"]:
        config = one.get("config", {})
        if config.get("type", "").endswith("ValueDrift"):
            value, limit = float(one["value"]), float(config.get("threshold", 0.05))
            is_p = "p_value" in config.get("method", "")
            if value < limit if is_p else value >= limit:
                found.append(config["column"])
    return found

def nannyml(before, now):
    import nannyml
    chunk = {"chunk_size": len(now)}
    columns = list(before)
    calculator = nannyml.UnivariateDriftCalculator(column_names=columns, **chunk).fit(before)
    frame = calculator.calculate(now).filter(period="analysis").to_df()
    alerts = frame.xs("alert", axis=1, level=2)
    return sorted({column for column, _ in alerts.columns[alerts.any()]})

hits = 0
for path in sorted(folder.glob("*.before.parquet")):
    before, now = pd.read_parquet(path), pd.read_parquet(str(path).replace("before", "now"))
    found = {"Evidently": evidently, "NannyML": nannyml}[name](before, now)
    hits += column in found if column else bool(found)
print(json.dumps(hits))
"""


def _asked(name: str, folder: Path, column: str | None) -> int:
    """In how many of the windows a peer's preset flags the column, or any; in an environment that is thrown away."""
    packages = [word for one in PEERS[name] for word in ("--with", one)]
    python = ["--python", "3.11"] if name == "NannyML" else []
    command = ["uv", "run", "--quiet", "--no-project", *python, *packages, "python", "-c", ASK, name, str(folder)]
    silent = os.environ | {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "PYTHONPATH": ""}
    done = subprocess.run([*command, column or ""], check=True, stdout=subprocess.PIPE, text=True, env=silent)
    return int(json.loads(done.stdout.splitlines()[-1]))
