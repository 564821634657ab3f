"""The page of the last evaluation says what the gates say, and draws whether scores mean what they say."""

import msgspec
import pytest
from page_tree import parsed
from slipway.base.numbers import shown
from slipway.pages.evaluation_page import write_evaluation_page
from slipway.settings.project import Project
from slipway.training.gates import GateResult, check_gates

REFUSED = GateResult("gap of recall between sex = f (0.2, 300 rows) and m (0.5, 400 rows)", 0.3, "at most 0.1", False)


@pytest.mark.parametrize(
    ("more", "said"), [([], "This model passes all {} gates."), ([REFUSED], "1 of {} gates refuse this model.")]
)
def test_the_page_says_first_whether_a_model_passes(finished: Project, more: list[GateResult], said: str) -> None:
    passed = [check for check in check_gates(finished) if check.passed]

    page = parsed(write_evaluation_page(finished, [*more, *passed]).read_text("utf-8"))

    assert page.all("h1")[0].text == said.format(len(passed) + len(more))
    rows = page.all("table", class_="gates")[0].all("tr")[1:]
    assert len(rows) == len(passed) + len(more)
    assert [row.text for row in rows if row.text.startswith("refused")] == [
        f"refused {check.gate} {check.value:.4g} {check.limit}" for check in more
    ]


def test_the_diagram_has_a_point_for_each_band_and_says_them_in_words(finished: Project) -> None:
    measured = msgspec.json.decode((finished.root / "reports" / "metrics.json").read_bytes())["reliability"]

    page = parsed(write_evaluation_page(finished, []).read_text("utf-8"))

    (drawing,) = page.all("svg")
    assert len(drawing.all("path", class_="dot")) == len(measured["bands"]) >= 5
    assert len(drawing.all("path", class_="same")) == 1
    for band in measured["bands"]:
        assert (
            f"{shown(band['expected'])} expected, {shown(band['happened'])} happened"
            in drawing.attributes["aria-label"]
        )
    assert f"{measured['error']:.4g} apart" in page.text


def test_every_group_stands_there_with_its_rows(finished: Project) -> None:
    slices = msgspec.json.decode((finished.root / "reports" / "metrics.json").read_bytes())["slices"]

    page = parsed(write_evaluation_page(finished, []).read_text("utf-8"))

    rows = [row.text for row in page.all("table", class_="figures")[1].all("tr")[1:]]
    assert [row.split(" = ")[0] for row in rows] == [one["column"] for one in slices]
    for row, one in zip(rows, slices, strict=True):
        assert row.startswith(f"{one['column']} = {one['value']} {one['rows']:,} ")
