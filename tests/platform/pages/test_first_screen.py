"""What a reader gets of the monitor's page in thirty seconds, and why each verdict is what it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from monitored import LIMITS, begin, broken, judged, labels, parcels, told
from page_tree import answer, parsed, rows
from slipway.monitoring.bands import Band
from slipway.monitoring.checks import CHECKS, Finding
from slipway.monitoring.concept import Concept, ConceptState, Outcome
from slipway.monitoring.drift import Verdict, find
from slipway.monitoring.estimate import EstimateState, Expectation, QualityEstimate
from slipway.monitoring.quality import QualityState
from slipway.monitoring.windows import VersionQuality
from slipway.pages import runbook
from slipway.pages.history_page import history_page
from slipway.pages.monitor_page import monitor_page
from slipway.training.bundle import Bundle


def test_the_first_screen_says_what_since_when_how_sure_and_what_to_do(
    champion: Bundle, standard_project: Path
) -> None:
    report = told(champion, "like moved like moved moved")

    first = answer(monitor_page(report, standard_project))

    assert first["verdict"].text == "▲ act"
    assert first["what"].text.startswith("weight is above ")
    assert first["Since"].text == f"{begin(3, 5):%d %b %Y}, 2 windows without a break"
    size = report.columns[0].size
    assert first["How sure"].text == (
        f"population stability index {size:.2f}, limit 0.25; "
        "if nothing had changed it would be as large in fewer than 1 of 10,000 runs"
    )
    assert first["What to do"].text.startswith("mlops retrain --finding ")
    assert first["Read on"].text == "docs/runbook.md, ColumnsMoved"


@pytest.mark.parametrize(
    ("weeks", "first", "many"),
    [
        ("moved moved moved", 0, "3 windows without a break"),
        ("moved like moved", 2, "the latest window"),
        ("moved few moved", 0, "2 windows without a break"),
        ("moved untold moved", 0, "2 windows without a break"),
        ("moved other moved moved", 2, "2 windows without a break, the first of this version"),
        ("like like like", 0, "3 windows without a break"),
        ("moved like like", 1, "2 windows without a break"),
        ("moved few few", 1, "2 windows without a break"),
    ],
)
def test_a_finding_is_as_old_as_its_present_run(champion: Bundle, weeks: str, first: int, many: str) -> None:
    report = told(champion, weeks)

    page, past = parsed(monitor_page(report)), parsed(history_page(report))

    since = next(value for term, value in zip(page.all("dt"), page.all("dd"), strict=True) if term.text == "Since")
    assert since.text == f"{begin(first, len(weeks.split())):%d %b %Y}, {many}"
    name, _, place = since.all("a")[0].attributes["href"].partition("#")
    assert name == Path(report.history).name
    (window,) = past.all("details", id=place)
    assert since.text.startswith(window.all("b")[0].text)
    assert report.certainties[0].since == begin(first, len(weeks.split()))


def test_broken_quality_is_as_old_as_the_windows_beyond_the_limit(champion: Bundle) -> None:
    values = [0.28, 0.15, 0.21, 0.28, 0.29]
    report = told(champion, "like like like like like", [labels(value) for value in values], quality=broken())

    first = answer(monitor_page(report))

    assert first["Since"].text == f"{begin(2, 5):%d %b %Y}, 3 windows without a break"
    assert first["How sure"].text == "a champion at its limit would look as bad in fewer than 1 of 10,000 quarters"
    assert report.certainties[0].chance == 1e-6


def test_outcomes_that_differ_are_as_old_as_the_windows_that_show_it(champion: Bundle) -> None:
    def of(place: int) -> VersionQuality:
        happened = 0.4 if place > 1 else 0.25
        return labels(0.15, outcome=Outcome(expected=0.24, happened=happened, error=0.01, days=7))

    found = Concept(
        state=ConceptState.MOVED, sentence="late was true for 40.0 %", labelled=1000, p_value=0.0004,
        since=begin(0, 4),
    )  # fmt: skip

    first = answer(monitor_page(told(champion, "like like like like", [of(0), of(1), of(2), of(3)], concept=found)))

    assert first["Since"].text == f"{begin(2, 4):%d %b %Y}, 2 windows without a break"
    assert first["How sure"].text == "if nothing had changed labels would be as far off in 1 of 2,500 runs"


def test_of_several_findings_each_has_its_own_age_and_chance(champion: Bundle, standard_project: Path) -> None:
    parted = QualityEstimate(
        state=EstimateState.PARTED, sentence="brier should be 0.1600", metric="brier", p_value=0.003,
        latest=Expectation(value=0.16, low=0.15, high=0.17, rows=700),
    )  # fmt: skip
    report = told(champion, "like moved moved", labels(0.28), quality=broken(), estimate=parted)

    page = parsed(monitor_page(report, standard_project))

    cards = [one for one in page.all("section") if one.all("dl")]
    assert [card.all("h3")[0].text for card in cards] == ["Columns ▲ act", "Quality by the scores ◆ watch"]
    assert cards[0].all("dd")[0].text == f"{begin(1, 3):%d %b %Y}, 2 windows without a break"
    assert "would part as far in 1 of 333 runs" in cards[1].text
    assert [card.all("a")[-1].text for card in cards] == [
        "docs/runbook.md, ColumnsMoved", "docs/runbook.md, QualityDoubtful"
    ]  # fmt: skip


def test_what_is_not_known_stands_beside_what_is_well(champion: Bundle) -> None:
    unknown = msgspec.structs.replace(broken(), state=QualityState.UNKNOWN, value=None, stretches=[])

    first = answer(monitor_page(told(champion, "like like", quality=unknown)))

    assert first["verdict"].text == "● ok"
    assert first["Asked"].text == "Columns ● ok Quality by labels ○ insufficient data"


def test_one_column_of_which_nothing_is_known_does_not_stand_for_all(champion: Bundle) -> None:
    whole = judged(champion, parcels(1000, seed=10))
    one, *others = whole.columns
    untold = msgspec.structs.replace(one, verdict=Verdict.INSUFFICIENT_DATA)
    partly = msgspec.structs.replace(whole, columns=[untold, *others], drift=Verdict.INSUFFICIENT_DATA)
    known, few = told(champion, "few", judged=partly), told(champion, "few")

    sure = [answer(monitor_page(report))["How sure"].text for report in (known, few)]

    assert {column.verdict for column in others} == {Verdict.OK}
    assert sure == [
        "of it nothing is known, which does not mean that all is well",
        "nothing is known, which does not mean that all is well",
    ]


# ---------------------------------------------------------------------------- no verdict without its reason


def test_a_size_beyond_its_limit_is_not_ok_without_the_chance_that_explains_it(champion: Bundle) -> None:
    rng = np.random.default_rng(5)
    before, now = (pl.DataFrame({"many": rng.integers(0, 60, count).astype(str)}) for count in (2000, 200))
    report = msgspec.structs.replace(told(champion, "like"), columns=find(before, now, LIMITS))
    assert report.columns[0].size > LIMITS.watch

    (row,) = rows(parsed(monitor_page(report)).all("table")[-1])

    assert row["Verdict"].text == "● ok"
    assert row["Why"].text == "differs by no more than chance explains"
    assert float(row["Chance"].text) >= LIMITS.p_value


@pytest.mark.parametrize(
    ("known", "verdict", "why"),
    [
        (labels(0.28, is_worse=True), "▲ act", "brier is 0.2800, worse than the limit 0.2000"),
        (labels(0.21), "● ok", "the limit is within what chance explains"),
        (labels(0.15), "● ok", "better than the limit"),
        (labels(0.15, limit=None), "● ok", "no limit is set"),
        (
            labels(0.25, limit=None, estimate=Expectation(value=0.16, low=0.15, high=0.17, rows=700)),
            "◆ watch",
            "brier by labels is beyond all that scores let expect",
        ),
        (
            labels(0.15, outcome=Outcome(expected=0.1, happened=0.2, error=0.01, days=7)),
            "◆ watch",
            "something else happened than was expected",
        ),
        (
            msgspec.structs.replace(labels(0.15), value=None, unknown="0 labelled predictions"),
            "○ insufficient data",
            "unknown: 0 labelled",
        ),
    ],
    ids=["worse", "at the limit", "better", "no limit", "not as the scores say", "not as expected", "unknown"],
)
def test_a_window_has_the_verdict_that_its_own_figures_show(
    champion: Bundle, known: VersionQuality, verdict: str, why: str
) -> None:
    report = told(champion, "like", known)

    page, past = parsed(monitor_page(report)), parsed(history_page(report))

    (table,) = [one for one in past.all("table") if "What labels say" in one.text]
    (row,) = rows(table)
    assert row["Verdict"].text == verdict
    assert why in row["Why"].text
    # The window as a whole says no less than its labels: but of those unknown, its columns speak.
    (window,) = rows(next(one for one in page.all("table") if "Window by window" in one.text))
    assert window["Verdict"].text == ("● ok" if verdict[0] == "○" else verdict)
    assert (why in window["Why"].text) is (verdict[0] in "▲◆")
    assert past.all("details")[-1].all("b")[1].text == window["Verdict"].text


def test_an_odd_window_is_told_beside_a_verdict_that_all_is_well(champion: Bundle) -> None:
    odd = labels(0.15, outcome=Outcome(expected=0.1, happened=0.2, error=0.01, days=7))
    report = told(champion, "like like like", [labels(0.15), odd, labels(0.15)])

    (first,) = parsed(monitor_page(report)).all("div", class_="answer")

    assert report.verdict is Verdict.OK
    assert f"no trend by itself: {begin(1, 3):%d %b %Y} ◆ watch" in first.text


def test_bands_are_drawn_with_their_intervals_and_say_in_words_which_moved(champion: Bundle) -> None:
    bands = [
        Band("below 0.1", 0.08, 0.52, rows=300, p_value=1e-9, moved=True, margin=0.1),
        Band("above 0.1", 0.44, 0.52, rows=300, p_value=0.9, moved=False, margin=0.1),
        Band("above 0.9", 0.95, 0.93, rows=30, p_value=1e-4, moved=False, margin=0.01),
    ]
    found = Concept(state=ConceptState.MOVED, sentence="late was true for 40.0 %", labelled=600, bands=bands)

    page = parsed(monitor_page(told(champion, "like", concept=found)))

    (chart,) = page.all("div", class_="spans")
    assert chart.attributes["aria-label"].startswith(
        "What happened by score: 1 of 3 bands of scores are not as expected"
    )
    assert len(chart.all("i", class_="span")) == len(chart.all("i", class_="tick")) == 3
    table = rows(next(one for one in page.all("table") if "by the score" in one.text))
    assert [row["Verdict"].text for row in table] == ["▲ act", "● ok", "● ok"]
    assert [row["Between"].text for row in table] == ["42.0 % to 62.0 %", "42.0 % to 62.0 %", "92.0 % to 94.0 %"]
    assert [row["Why"].text for row in table][1:] == ["chance explains as much", "apart by less than monitor.max_bias"]


# ---------------------------------------------------------------------------- what to do


@pytest.mark.parametrize("size", ["standard", "small"])
@pytest.mark.parametrize("verdict", [Verdict.ACT, Verdict.INSUFFICIENT_DATA])
@pytest.mark.parametrize("check", CHECKS)
def test_each_finding_links_a_section_that_is_there(
    sized: Callable[[str], Path], size: str, check: str, verdict: Verdict
) -> None:
    root = sized(size)
    finding = Finding(check=check, rank=1, verdict=verdict, sentence="", next_step="")

    link = runbook.section(root, finding)

    assert link is not None
    path, _, anchor = link.href.partition("#")
    page = (root / "reports" / path).resolve()
    assert page.is_relative_to(root)
    heading = link.words.removeprefix(f"{page.relative_to(root)}, ")
    assert re.search(rf"^#+ {re.escape(heading)}$", page.read_text("utf-8"), flags=re.MULTILINE)
    assert anchor == re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
    assert path.endswith("runbook.md") is (size == "standard")


@pytest.fixture(scope="module")
def sized(render: Callable[..., Path], standard_project: Path) -> Callable[[str], Path]:
    """Projects of each size; rendered once."""
    made = {"standard": standard_project, "small": render(size="small")}
    return made.__getitem__


def test_a_team_writes_sections_of_its_own(tmp_path: Path) -> None:
    """About a check of another distribution; and where it left one out, the platform's page stands in."""
    page = tmp_path / "docs" / "runbook.md"
    page.parent.mkdir()
    page.write_text("# Ours\n\n## Silence\n\nAsk the shop.\n", encoding="utf-8")

    def link(check: str, verdict: Verdict = Verdict.ACT) -> str:
        finding = Finding(check=check, rank=1, verdict=verdict, sentence="", next_step="")
        found = runbook.section(tmp_path, finding)
        return found.href if found else ""

    assert link("Silence") == link("silence") == "../docs/runbook.md#silence"
    assert (link("noise"), link("drift"), link("silence", Verdict.OK)) == ("", "", "")
