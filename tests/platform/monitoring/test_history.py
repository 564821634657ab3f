from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import escape

import msgspec
import polars as pl
import pytest
import yaml
from flight_delays.contract import CONTRACT
from slipway.base.errors import MlopsError
from slipway.data.labels import KnownLabels
from slipway.monitoring import windows as history
from slipway.monitoring.checks import CHECKS, CheckContext
from slipway.monitoring.drift import Verdict
from slipway.monitoring.judge import judge_log
from slipway.monitoring.report import Report, report_of
from slipway.monitoring.windows import Window
from slipway.pages.history_page import history_page, write_history_page
from slipway.pages.monitor_page import monitor_page
from slipway.settings.base import read_settings
from slipway.settings.policy import LabelPolicy, Policy, QualityPolicy, WindowPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

NOW = datetime(2030, 6, 30, tzinfo=UTC)
RULE = WindowPolicy(days=7, last=3, need=2)
OUTCOME = [field.name for field in CONTRACT.outcome_fields]


def window(verdict: Verdict, digest: str = "own") -> Window:
    return Window(
        since=NOW,
        until=NOW,
        version=1,
        digest=digest,
        predictions=1,
        verdict=verdict,
        sentence="",
        sizes={},
        moved={},
        quality=[],
    )


def test_windows_end_now_and_the_last_ones_are_there_even_when_they_are_empty() -> None:
    ages = [0.001, 6.999, 7, 20.9, 99]
    log = pl.DataFrame({"at": [NOW - timedelta(days=age) for age in ages], "age": ages})

    windows = list(history.cut(log, NOW, RULE))

    assert [part["age"].to_list() for _, _, part in windows] == [[99], [20.9], [], [0.001, 6.999, 7]]
    assert [(since, until) for since, until, _ in windows] == [
        (NOW - timedelta(days=days), NOW - timedelta(days=days - 7)) for days in (105, 21, 14, 7)
    ]


ACT, WATCH, OK, FEW = Verdict.ACT, Verdict.WATCH, Verdict.OK, Verdict.INSUFFICIENT_DATA


@pytest.mark.parametrize(
    ("verdicts", "together", "acting"),
    [
        ([ACT, OK, ACT], ACT, 2),
        ([ACT, ACT], ACT, 2),
        ([ACT], WATCH, 1),
        ([OK, OK, ACT], WATCH, 1),
        ([ACT, OK, OK, ACT], WATCH, 1),  # the first one is too long ago
        ([ACT, ACT, OK], OK, 2),
        ([ACT, ACT, WATCH], WATCH, 2),
        ([ACT, ACT, FEW], FEW, 2),
    ],
)
def test_to_act_the_latest_window_and_enough_of_the_last_must_ask(
    verdicts: list[Verdict], together: Verdict, acting: int
) -> None:
    assert history.together([window(one) for one in verdicts], "own", RULE) == (together, acting)


def test_windows_of_the_version_before_do_not_speak_for_the_champion() -> None:
    windows = [window(ACT, "other"), window(ACT, "other"), window(ACT)]

    assert history.together(windows, "own", RULE) == (WATCH, 1)
    assert history.together(windows, "new", RULE) == (FEW, 0)


def test_a_rule_that_no_windows_can_meet_is_refused(project: Project) -> None:
    path = project.root / "policy.yaml"
    policy = yaml.safe_load(path.read_text("utf-8"))
    policy["monitor"]["windows"] = {"last": 1, "need": 2}
    path.write_text(yaml.safe_dump(policy), encoding="utf-8")

    with pytest.raises(MlopsError, match=r"monitor.windows.need is 2, and only the last 1 windows are judged"):
        read_settings(path, Policy)


@pytest.fixture
def answered(project: Project, sealed: Bundle) -> pl.DataFrame:
    """A log of two weeks, 300 rows a week: in the second one the same few rows come again and again."""
    project.policy.monitor.quality = None  # without it the metric is that of the slices
    project.policy.monitor.min_rows = 200
    project.policy.gates.slice_rules[0].min_rows = 50
    project.policy.labels = LabelPolicy(source="data/labels", key=["id"], delay_days=1)
    rows = pl.read_parquet(project.root / "data" / "test.parquet").sample(600, seed=1, with_replacement=True)
    scores = pl.read_parquet(sealed.reference)["score"].sample(600, seed=1, with_replacement=True)
    odd = pl.concat([rows.head(300), *[rows.head(20)] * 15])
    known = odd.select(OUTCOME).with_columns(id=pl.int_range(pl.len()).cast(pl.String))
    (project.root / "data" / "labels").mkdir()
    known.write_csv(project.root / "data" / "labels" / "known.csv")
    times = [NOW - timedelta(days=14 - 14 * (place + 0.5) / 600) for place in range(600)]
    as_read = [pl.col(pl.Enum).cast(pl.String), pl.col(pl.Datetime).cast(pl.Datetime("us"))]
    log = odd.select(field.name for field in CONTRACT.fields).with_columns(as_read)
    return log.with_columns(
        id=known["id"],
        at=pl.Series(times),
        version=pl.lit(1),
        digest=pl.lit(sealed.digest),
        role=pl.lit("champion"),
        score=scores,
        answer=scores,
    )


def windows_of(project: Project, sealed: Bundle, log: pl.DataFrame) -> list[Window]:
    known = KnownLabels.of(project)
    return history.judge_windows(project, sealed, known.join(log, NOW) if known else log, NOW, RULE)


def reported(project: Project, sealed: Bundle, log: pl.DataFrame, windows: list[Window]) -> Report:
    limits = project.policy.monitor
    context = CheckContext(
        environment="staging",
        bundle=sealed,
        log=log,
        limits=limits,
        judged=judge_log(sealed, log, limits),
        now=NOW,
        windows=windows,
    )
    return report_of(context, CHECKS.values())


def test_each_window_has_its_drift_its_labels_and_its_quality(
    project: Project, sealed: Bundle, answered: pl.DataFrame
) -> None:
    _, first, second = windows_of(project, sealed, answered)

    assert (first.predictions, second.predictions) == (300, 300)
    assert second.verdict is ACT
    assert ACT in second.moved.values()
    assert sum(second.sizes.values()) > sum(first.sizes.values())
    assert [(one.due, one.labelled) for one in (*first.quality, *second.quality)] == [(300, 300), (257, 257)]
    assert first.quality[0].value is not None
    assert first.quality[0].groups.keys() >= {
        f"{column} = {value}"
        for column in project.policy.gates.groups
        for value, rows in answered.head(300)[column].value_counts().iter_rows()
        if rows > 100
    }


def test_where_labels_are_missing_quality_is_unknown(project: Project, sealed: Bundle, answered: pl.DataFrame) -> None:
    told = project.root / "data" / "labels" / "known.csv"
    told.write_text("".join(told.read_text("utf-8").splitlines(keepends=True)[:250]), encoding="utf-8")

    _, first, second = windows_of(project, sealed, answered)

    assert (first.quality[0].value, second.quality[0].value) == (None, None)
    assert first.quality[0].unknown.startswith("249 of 300 predictions that should have a label by now have one")
    assert second.quality[0].unknown.startswith("0 labelled predictions, at least 200")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
def test_each_version_of_a_window_is_measured_by_itself(
    project: Project, sealed: Bundle, answered: pl.DataFrame
) -> None:
    gone = answered.head(250).with_columns(version=pl.lit(7), digest=pl.lit("sha256:gone"))

    _, first, second = windows_of(project, sealed, pl.concat([gone, answered.tail(350)]))

    assert (first.version, first.verdict) == (7, FEW)
    assert first.sentence == "the bundle of version 7 is not to be had"
    assert [(one.version, one.labelled) for one in first.quality] == [(7, 250), (1, 50)]
    assert (second.version, second.verdict) == (1, ACT)


def test_the_pages_tell_every_window(project: Project, sealed: Bundle, answered: pl.DataFrame) -> None:
    project.policy.monitor.windows = RULE
    windows = windows_of(project, sealed, answered)
    judged = reported(project, sealed, answered.tail(300), windows)

    write_history_page(judged, project.root)

    past = (project.root / "reports" / "monitor-staging-history.html").read_text("utf-8")
    assert 'href="monitor-staging-history.html"' in monitor_page(judged)
    assert past.count("<circle") == 4  # of each window its quality, and what happened
    assert past.count('<line class="expected"') == 2
    assert past.count('<details id="window-') == len(windows)
    assert all(f"<li>{escape(name)}: " in past for one in windows[-1].quality for name in one.groups)
    assert all(f'<th scope="row">{name}</th>' in past for name in windows[-1].sizes)
    marks = [verdict for each in windows for verdict in each.moved.values()]
    assert [past.count(f'<td class="{one.value}">') for one in (ACT, WATCH)] == [
        marks.count(one) for one in (ACT, WATCH)
    ]
    assert "of the last 3 windows ask to act, 2 are needed" in judged.summary


def test_three_years_of_weeks_are_a_page_below_two_megabytes(
    project: Project, sealed: Bundle, answered: pl.DataFrame
) -> None:
    *_, latest = windows_of(project, sealed, answered)
    known = msgspec.structs.replace(latest, sizes={f"column {number}": 0.123 for number in range(100)})
    weeks = [msgspec.structs.replace(known, since=known.since - timedelta(weeks=back)) for back in range(156)]
    judged = reported(project, sealed, answered, weeks)

    html = history_page(judged)

    assert html.count("<td>0.12</td>") == 156 * 100
    assert len(html.encode()) < 2_000_000


def test_a_window_whose_metric_is_beyond_the_limit_is_not_ok(
    project: Project, sealed: Bundle, answered: pl.DataFrame
) -> None:
    """Its columns are as they were; without labels nobody would know."""
    metric = next(iter(project.policy.gates.metrics))
    sign = project.policy.gates.metrics[metric].sign
    far = sign * 1e9
    rule = QualityPolicy(metric=metric, limit=far, min_rows=100, action="propose")
    judged = {}
    for limit in (far, -far):
        project.policy.monitor.quality = msgspec.structs.replace(rule, limit=limit)
        judged[limit] = windows_of(project, sealed, answered)[1]

    assert (judged[far].verdict, judged[far].quality[0].is_worse) == (ACT, True)
    assert judged[far].sentence.startswith(f"{metric} is ")
    assert (judged[-far].verdict, judged[-far].quality[0].is_worse) == (judged[-far].drift, False)
    assert judged[far].drift is judged[-far].drift
    assert history.together([judged[far]], sealed.digest, WindowPolicy())[0] is judged[far].drift
