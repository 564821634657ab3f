"""The monitor's two pages: trends, what was left out, and that everybody can read them."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl
import pytest
from monitored import LIMITS, NOW, begin, broken, labels, told
from page_tree import Element, parsed, rows
from slipway.monitoring.bands import Band
from slipway.monitoring.concept import Concept, ConceptState, Outcome
from slipway.monitoring.drift import Verdict, find, moved
from slipway.monitoring.estimate import EstimateState, Expectation, QualityEstimate
from slipway.pages.history_page import history_page
from slipway.pages.monitor_page import monitor_page
from slipway.training.bundle import Bundle


def test_each_column_and_each_group_has_its_trend_with_its_limits(champion: Bundle) -> None:
    report = told(champion, "like moved few moved", labels(0.15))

    now, past = parsed(monitor_page(report)), parsed(history_page(report))

    cards = {one.all("h3")[0].text: one for one in past.all("section") if one.all("svg")}
    assert cards.keys() == {*report.windows[0].sizes, "service = day", "service = night"}
    for name, card in cards.items():
        (chart,) = card.all("svg")
        assert len(chart.all("path", class_="limit")) == (1 if name.startswith("service") else 2)
        assert len(chart.all("text")) >= 3 + 2  # numbers beside it, and two dates
        assert card.all("p")[0].text in chart.attributes["aria-label"]
    weight = cards["weight"]
    assert "moved in 2 of 4 windows, without a break since" in weight.text
    drawn = {one.attributes["class"]: one.attributes["d"] for one in weight.all("path")}
    assert drawn["found act"].count("M") == 2  # the marked windows
    assert drawn["line"].count("M") == 2  # a gap where too few rows were
    linked = {one.text: one.attributes["href"] for one in now.all("a") if "#column-" in one.attributes["href"]}
    ids = {one.attributes["id"] for one in past.walk() if "id" in one.attributes}
    assert linked.keys() == set(report.windows[0].sizes)
    assert {place.partition("#")[2] for place in linked.values()} <= ids
    assert len(ids) == len([one for one in past.walk() if "id" in one.attributes])


def test_what_nobody_can_tell_from_chance_has_its_size_and_is_marked_so(champion: Bundle) -> None:
    report = told(champion, "like untold like")
    weight = msgspec.structs.replace(
        next(one for one in report.columns if one.name == "weight"), verdict=Verdict.INSUFFICIENT_DATA, size=0.3
    )
    report = msgspec.structs.replace(report, columns=[weight])

    now, past = parsed(monitor_page(report)), parsed(history_page(report))

    (row,) = rows(now.all("table")[-1])
    assert (row["Verdict"].text, row["Moved by"].text, row["Chance"].text) == ("○ insufficient data", "0.300", "-")
    card = next(one for one in past.all("section") if one.all("h3")[0].text == "weight")
    assert "cannot be told from chance in 1" in card.text
    assert [one.attributes["d"].count("M") for one in card.all("path", class_="insufficient")] == [1]


def test_the_expected_metric_is_drawn_with_its_interval_beside_what_labels_said(champion: Bundle) -> None:
    expected = Expectation(value=0.16, low=0.15, high=0.17, rows=700)
    estimate = QualityEstimate(state=EstimateState.OK, sentence="brier should be", metric="brier", latest=expected)
    report = told(
        champion, "like like", [labels(0.18), labels(0.18, estimate=expected)], estimate=estimate
    )  # fmt: skip

    now, past = parsed(monitor_page(report)), parsed(history_page(report))

    (chart,) = now.all("div", class_="spans")
    assert [one.text for one in chart.all("span")][:4:3] == [
        "by the scores, now",
        "0.1800 (0.1600 to 0.2000)",
    ]
    assert "by the scores, now: 0.1600 (0.1457 to 0.1743)" in " ".join(
        chart.attributes["aria-label"].split()
    )  # fmt: skip
    (svg,) = [one for one in past.all("svg") if one.attributes["aria-label"].startswith("brier by window")]
    (box,) = svg.all("rect", class_="expected")
    (dot, other) = svg.all("circle")
    assert float(box.attributes["height"]) > 1
    assert dot.attributes["cy"] == other.attributes["cy"]
    assert len(svg.all("path", class_="axis")) >= 3  # more than two numbers beside it


# ---------------------------------------------------------------------------- everything left out


def test_everything_that_was_left_out_is_counted(champion: Bundle) -> None:
    log = pl.DataFrame({"at": [NOW] * 3000})
    report = told(champion, "like like", log=log)
    report = msgspec.structs.replace(report, other_versions=35, left_out={"sent": "a time always moves on"}, deleted=2)

    page = parsed(monitor_page(report))

    told_of = [one.text for one in page.all("li")]
    for line in (
        "1,000 predictions of the champion judged",
        "answered by other versions, and not judged here: 35 predictions",
        "before this window, and judged in windows of their own: 2,000 predictions",
        "not compared: sent, a time always moves on",
        "2 files of the log deleted, because of privacy.keep_days",
    ):
        assert line in told_of


# ---------------------------------------------------------------------------- for everybody


def both_pages(champion: Bundle) -> list[Element]:
    expected = Expectation(value=0.16, low=0.15, high=0.17, rows=700)
    bands = [Band("below 0.1", 0.08, 0.52, rows=300, p_value=1e-9, moved=True, margin=0.1)]
    report = told(
        champion,
        "like moved moved",
        labels(0.28, is_worse=True, estimate=expected, outcome=Outcome(expected=0.2, happened=0.3, error=0.01, days=7)),
        quality=broken(),
        concept=Concept(state=ConceptState.MOVED, sentence="late", labelled=600, bands=bands, p_value=0.5),
    )  # fmt: skip
    return [parsed(monitor_page(report)), parsed(history_page(report))]


def test_a_screen_reader_finds_its_way(champion: Bundle) -> None:
    for page in both_pages(champion):
        levels = [int(one.tag[1]) for one in page.walk() if re.fullmatch("h[1-6]", one.tag)]
        assert levels.count(1) == 1
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        for table in page.all("table"):
            assert table.all("caption")[0].text
            assert {one.attributes.get("scope") for one in table.all("th")} <= {"col", "row"}
            assert all(row.all("th") for row in table.all("tr"))
        pictures = [*page.all("svg"), *(one for one in page.all("div") if one.attributes.get("role") == "img")]
        assert pictures
        assert all(one.attributes.get("role") == "img" and ": " in one.attributes["aria-label"] for one in pictures
                   if "aria-label" in one.attributes or one.tag == "svg")  # fmt: skip
        for one in page.all("div", class_="wide"):
            assert (one.attributes["role"], one.attributes["tabindex"]) == ("region", "0")
            assert one.attributes["aria-label"]
        assert all(re.search("[a-z]", one.text) for one in page.all("b", class_="verdict"))  # not by colour alone
        assert len(page.all("main")) == 1
        assert page.all("html")[0].attributes["lang"] == "en"


def test_nothing_is_fetched_and_nothing_runs(champion: Bundle) -> None:
    for page in both_pages(champion):
        (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
        assert policy.attributes["content"].startswith("default-src 'none'; style-src 'unsafe-inline';")
        assert not [one for one in page.walk() if one.tag in {"script", "link", "img", "iframe", "object"}]
        assert not [name for one in page.walk() for name in one.attributes if name.startswith("on") or name == "src"]
        assert "url(" not in page.all("style")[0].text
        assert all(not re.match("[a-z]+:", one.attributes["href"]) for one in page.all("a"))


def luminance(colour: str) -> float:
    """As WCAG 2.2 defines it."""
    digits = colour * 2 if len(colour) == 3 else colour
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_by_4_5_to_1_and_bars_by_3_in_the_light_and_in_the_dark(champion: Bundle, scheme: str) -> None:
    style = both_pages(champion)[0].all("style")[0].text
    blocks = re.findall(r":root \{(.*?)\}", style)
    colours = dict(re.findall(r"--(\w+): #(\w+)", blocks[scheme == "dark"]))

    for ground in ("page", "card"):
        for ink in ("ink", "soft", "now", "act", "watch", "ok", "none"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        assert contrast(colours["before"], colours[ground]) >= 3


# ---------------------------------------------------------------------------- small and large


@pytest.mark.parametrize("many", [30, 300])
def test_of_many_columns_those_that_moved_come_first_and_the_quiet_are_folded(champion: Bundle, many: int) -> None:
    rng = np.random.default_rng(7)
    names = [f"column {number}" for number in range(many)]
    before, now = (pl.DataFrame(rng.normal(size=(1000, many)), names) for _ in range(2))
    columns = find(before, now.with_columns(pl.col("column 17") + 1, pl.col("column 3") + 2), LIMITS)
    report = told(champion, " ".join(["like"] * 4))
    sizes, found = {one.name: one.size for one in columns}, {one.name: one.verdict for one in moved(columns)}
    windows = [
        msgspec.structs.replace(report.windows[-1], since=begin(0, 1) - timedelta(weeks=back), sizes=sizes, moved=found)
        for back in range(104)
    ][::-1]  # fmt: skip
    report = msgspec.structs.replace(report, columns=columns, windows=windows)

    now_html, past_html = monitor_page(report), history_page(report)

    page, past = parsed(now_html), parsed(past_html)
    groups = [one for one in page.all("details") if one.all("table")]
    assert [one.all("summary")[0].text for one in groups] == ["Moved: 2 columns", f"Quiet: {many - 2} columns"]
    assert ["open" in one.attributes for one in groups] == [True, False]
    assert [row["Column"].text for row in rows(groups[0].all("table")[0])] == ["column 3", "column 17"]
    assert len(rows(groups[1].all("table")[0])) == many - 2
    trends = [one.all("h3")[0].text for one in past.all("section")]
    assert trends[:2] == ["column 3", "column 17"]
    assert len(trends) == many
    (folded,) = [one for one in past.all("details") if "did not move" in one.all("summary")[0].text]
    assert ("open" in folded.attributes, len(folded.all("section"))) == (False, many - 2)
    assert max(len(html.encode()) for html in (now_html, past_html)) < 2_000_000
