"""What other distributions add to the monitor, and how findings become one verdict whatever their order."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from slipway.base import plugins
from slipway.base.errors import MlopsError
from slipway.base.files import write_json
from slipway.contract.rows import Contract, Row
from slipway.monitoring import checks
from slipway.monitoring.bins import BinCounts
from slipway.monitoring.checks import CHECKS, RETRAIN, CheckContext, Finding, MonitorCheck, Rank, combine
from slipway.monitoring.concept import Concept, ConceptState
from slipway.monitoring.drift import Verdict, find
from slipway.monitoring.judge import judge_log
from slipway.monitoring.psi import measure
from slipway.monitoring.report import Report, report_of, report_text
from slipway.monitoring.skew import Skew, SkewState
from slipway.monitoring.windows import Window
from slipway.pages.history_page import history_page
from slipway.pages.monitor_page import monitor_page
from slipway.settings.policy import MonitorPolicy
from slipway.training.bundle import SUMS, Bundle, ModelFacts

NOW = datetime(2013, 10, 1, tzinfo=UTC)
Add = Callable[[str, str, str], None]


class Parcel(Row):
    weight: float
    pieces: int


class Delivery(Row):
    days: int


CONTRACT = Contract(row=Parcel, outcome=Delivery, key=("weight",))

#: What somebody else might write: the greatest distance of two distribution functions, with a bound of its chance
#: (P. Massart, 1990), and a check that looks at the log itself.
OTHERS = """
import math
import numpy as np
from slipway.monitoring.checks import Finding
from slipway.monitoring.drift import Scale, Size, Verdict

SCALE = Scale("ks", "greatest distance of distribution functions", watch=0.2, act=0.4)

def ks(pair, limits):
    before, now = (np.sort(side.to_numpy()) for side in (pair.reference, pair.current))
    places = np.concatenate([before, now])
    parts = [np.searchsorted(side, places, "right") / len(side) for side in (before, now)]
    far = np.abs(parts[0] - parts[1]).max()
    rows = len(before) * len(now) / (len(before) + len(now))
    return Size(float(far), min(1.0, 2 * math.exp(-2 * rows * far**2)), SCALE)

def silence(context):
    quiet = context.now - context.log["at"].max()
    if quiet.days < 7:
        return None
    return Finding(
        check="silence", rank=70, verdict=Verdict.ACT, sentence=f"nothing was asked for {quiet.days} days",
        next_step="ask whose requests those were",
    )
"""


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Add:
    """Installs a distribution that offers one thing under a group and a name."""
    monkeypatch.syspath_prepend(tmp_path)

    def offer(group: str, name: str, value: str) -> None:
        (tmp_path / "others_of_the_team.py").write_text(OTHERS, encoding="utf-8")
        facts = tmp_path / f"others_{name}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: others-{name}\nVersion: 1.0\n", encoding="utf-8")
        (facts / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n", encoding="utf-8")

    return offer


@pytest.fixture
def champion(tmp_path: Path) -> Bundle:
    facts = ModelFacts(name="parcels", answer="days", kind="number", threshold=0.5, features=[], contract="")
    folder = tmp_path / "champion"
    folder.mkdir()
    write_json(folder / "model.json", facts)
    parcels(2000, seed=1).write_parquet(folder / "reference.parquet")
    parcels(2000, seed=3).select("score").write_parquet(folder / "tested.parquet")
    (folder / SUMS).write_text("the champion")
    return Bundle(folder)


def parcels(count: int, seed: int, heavier: float = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    weight = rng.normal(5 + heavier, 1, count)
    return pl.DataFrame({"weight": weight, "pieces": rng.poisson(2, count), "score": rng.normal(3, 1, count)})


def policy(**settings: object) -> MonitorPolicy:
    return MonitorPolicy(min_rows=200, watch=0.1, act=0.25, p_value=0.01, **settings)  # type: ignore[arg-type]


def context(champion: Bundle, rows: pl.DataFrame, limits: MonitorPolicy, at: datetime = NOW) -> CheckContext:
    log = rows.with_columns(at=pl.lit(at), version=pl.lit(7), digest=pl.lit(champion.digest), answer=pl.col("score"))
    return CheckContext(
        environment="production",
        bundle=champion,
        log=log,
        limits=limits,
        judged=judge_log(champion, log, limits, CONTRACT),
        now=NOW,
    )


def test_a_drift_test_of_another_distribution_judges_the_column_that_the_policy_names_it_for(
    champion: Bundle, add: Add
) -> None:
    add("slipway.drift", "ks", "others_of_the_team:ks")
    limits = policy(tests={"weight": "ks"})

    report = report_of(context(champion, parcels(1000, seed=2, heavier=1.5), limits), CHECKS.values())

    weight = report.columns[0]
    assert (weight.name, weight.verdict, weight.scale.name, weight.limit) == ("weight", Verdict.ACT, "ks", 0.4)
    assert weight.size == pytest.approx(0.547, abs=0.03)  # of two normal distributions, 1.5 apart
    assert {column.scale.name for column in report.columns[1:]} == {"psi"}
    assert [line.split()[1] for line in report_text(report).splitlines()[4:6]] == ["ks", "psi"]
    page = monitor_page(report)
    assert "of weight is the\ngreatest distance of distribution functions: 0 means the same shape, 0.2 is worth" in page
    assert "population stability index" in page


def test_a_test_for_all_columns_leaves_no_word_of_another_one(champion: Bundle, add: Add) -> None:
    add("slipway.drift", "ks", "others_of_the_team:ks")
    facts = context(champion, parcels(1000, seed=2), policy(tests={"default": "ks"}))
    report = report_of(facts, CHECKS.values())
    scales = [column.scale for column in report.columns]
    sizes = {column.name: column.size for column in report.columns}
    window = Window(
        since=NOW, until=NOW, version=7, digest="", predictions=1, verdict=Verdict.OK, sentence="", sizes=sizes,
        moved={}, quality=[], scales=scales,
    )  # fmt: skip
    with_windows = report_of(CheckContext(**vars(facts) | {"windows": [window]}), CHECKS.values())

    for page in (monitor_page(report), history_page(with_windows), report_text(report)):
        assert "population stability" not in page
        assert "psi" not in page
    assert "Greatest distance of distribution functions against the reference" in history_page(with_windows)


def test_without_a_setting_every_column_has_its_population_stability_index() -> None:
    before, now = parcels(2000, seed=1), parcels(1000, seed=2, heavier=0.5)

    found = find(before, now, policy())

    assert {column.name: column.size for column in found} == {
        name: measure(BinCounts.of(before[name], now[name]))[0] for name in now.columns
    }


def test_a_drift_test_that_nothing_offers_is_refused(champion: Bundle, add: Add) -> None:
    add("slipway.drift", "ks", "others_of_the_team:ks")

    with pytest.raises(MlopsError, match=r"policy.yaml, monitor.tests: there is no drift test kss") as refused:
        context(champion, parcels(1000, seed=2), policy(tests={"weight": "kss"}))

    assert refused.value.next_step == "choose from psi, ks, or install what offers it"


def test_a_drift_test_for_a_column_that_is_not_there_is_refused(champion: Bundle) -> None:
    with pytest.raises(MlopsError, match=r"policy.yaml, monitor.tests: there is no column wieght"):
        context(champion, parcels(1000, seed=2), policy(tests={"wieght": "psi"}))


def test_what_cannot_be_loaded_is_named_with_its_distribution(champion: Bundle, add: Add) -> None:
    add("slipway.drift", "ks", "others_of_the_team:gone")

    with pytest.raises(MlopsError, match=r"slipway.drift names ks as others_of_the_team:gone, which cannot be loaded"):
        context(champion, parcels(1000, seed=2), policy(tests={"weight": "ks"}))


@pytest.mark.parametrize("days", [6, 8])
def test_a_check_of_another_distribution_takes_part_in_the_verdict(champion: Bundle, add: Add, days: int) -> None:
    add("slipway.check", "silence", "others_of_the_team:silence")
    at = NOW - timedelta(days=days)

    report = report_of(context(champion, parcels(1000, seed=2), policy(), at), checks.installed())

    told = f"nothing was asked for {days} days"
    assert report.verdict is (Verdict.ACT if days == 8 else Verdict.OK)
    assert (report.summary == told, report.next_step == "ask whose requests those were") == (days == 8, days == 8)
    assert (f"silence act: {told}" in report_text(report)) is (days == 8)
    assert (f"<h1>{told}.</h1>" in monitor_page(report)) is (days == 8)


def everything(champion: Bundle) -> CheckContext:
    """A context in which columns and labels have moved, and logged answers are not the model's."""
    facts = context(champion, parcels(1000, seed=2, heavier=1.5), policy())
    moved = Concept(state=ConceptState.MOVED, sentence="days was 5 on average, 3 was expected", labelled=500)
    skewed = Skew(state=SkewState.SKEWED, sentence="score differs", next_step="deploy again")
    return CheckContext(**vars(facts) | {"concept": moved, "skew": skewed})


def orders() -> Iterator[tuple[MonitorCheck, ...]]:
    yield from permutations(CHECKS.values())


def test_the_order_of_checks_changes_nothing(champion: Bundle) -> None:
    facts = everything(champion)
    without_skew = CheckContext(**vars(facts) | {"skew": None})

    for known in (facts, without_skew):
        reports: list[Report] = [report_of(known, order) for order in orders()]
        assert all(report == reports[0] for report in reports)
    assert [one.check for one in reports[0].findings] == ["concept", "drift"]


def finding(rank: int, verdict: Verdict = Verdict.ACT, next_step: str = RETRAIN, *, final: bool = False) -> Finding:
    return Finding(
        check=f"check {rank}", rank=rank, verdict=verdict, sentence=f"it's {rank}", next_step=next_step, final=final
    )  # fmt: skip


BOTH = shlex.quote("it's 30; it's 10")


@pytest.mark.parametrize(
    ("found", "summary", "next_step"),
    [
        ([finding(30), finding(10)], "it's 30; it's 10", f"mlops retrain --finding {BOTH}"),
        ([finding(40, next_step="look"), finding(30, next_step="do")], "it's 40; it's 30", "look, then do"),
        ([finding(50, next_step="mend", final=True), finding(30)], "it's 50", "mend"),
        ([finding(10, next_step="do"), finding(60, Verdict.WATCH, "look")], "it's 10", "do"),
        ([finding(60, Verdict.WATCH, "look"), finding(10, Verdict.WATCH, "wait")], "it's 60", "look"),
        ([finding(20, Verdict.WATCH, "look"), finding(60, Verdict.INSUFFICIENT_DATA, "wait")], "it's 20", "look"),
    ],
    ids=["one step for two", "two steps", "a final one", "the worst first", "one look is enough", "a look before none"],
)
def test_findings_become_one_verdict(found: list[Finding], summary: str, next_step: str) -> None:
    for order in (found, found[::-1]):
        sorted_ones = checks.findings_of(None, [lambda _, one=one: one for one in order])  # type: ignore[arg-type, misc]

        assert combine(sorted_ones) == (found[0].verdict, summary, next_step)


def test_quality_outranks_skew_and_skew_what_columns_say() -> None:
    assert sorted(Rank, reverse=True) == [
        Rank.QUALITY, Rank.SKEW, Rank.REFUSED, Rank.CONCEPT, Rank.ESTIMATE, Rank.AGE, Rank.DRIFT, Rank.DOMAIN,
    ]  # fmt: skip


def test_what_a_group_offers_is_listed_by_name(add: Add) -> None:
    add("slipway.check", "zeal", "others_of_the_team:silence")
    add("slipway.check", "care", "others_of_the_team:silence")

    assert plugins.names("slipway.check") == ["care", "zeal"]
    assert [name for name, _ in plugins.load_all("slipway.check")] == ["care", "zeal"]
