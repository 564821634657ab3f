"""Two names beside each other: what they mean, which one is better, how sure that is, and what has to be minded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from page_tree import parsed
from slipway.base.errors import MlopsError
from slipway.forge import git
from slipway.pages.compare_page import compare_page, write_compare_page
from slipway.registry import intervals
from slipway.registry.beside import beside
from slipway.registry.compare import compare
from slipway.registry.comparison import Winner, change_of, sentence_of
from slipway.registry.comparison_text import comparison_text
from slipway.registry.models import Registry
from slipway.registry.names import Meaning, meaning_of
from slipway.registry.reported import reported_by
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training.bundle import Bundle, seal
from slipway.training.tracking import connect, record

# MLflow's own, of its use of SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

REPORT = "reports/metrics.json"
Change = Callable[[dict[str, Any]], None]


class History:
    """A finished project in Git; each branch has other figures, made with other parameters or from other rows."""

    def __init__(self, project: Project) -> None:
        self.project, self.root = project, project.root
        git.git(self.root, "init", "--quiet", "--initial-branch=main")
        for key, value in (("user.name", "tests"), ("user.email", "tests@localhost"), ("commit.gpgSign", "false")):
            git.git(self.root, "config", key, value)
        self.commit()

    def commit(self, *, depth: int = 3, rows: str = "a" * 32, code: str = "b" * 32) -> str:
        lock = {
            "stages": {
                "split": {"outs": [{"path": "data/test.parquet", "md5": rows}]},
                "train": {"params": {"params.yaml": {"seed": 1, "model": {"max_depth": depth}}}},
                "evaluate": {"deps": [{"path": "src/flight_delays/metrics.py", "md5": code}]},
            }
        }
        (self.root / "dvc.lock").write_bytes(msgspec.yaml.encode(lock))
        git.git(self.root, "add", "--force", "dvc.lock", REPORT)
        git.git(self.root, "commit", "--quiet", "--allow-empty", "-m", "Try something")
        return git.head(self.root)

    def branch(self, name: str, change: Change | None = None, **made_from: Any) -> str:
        """Commit other figures on a branch, and go back to main."""
        git.git(self.root, "switch", "--quiet", "--create", name, "main")
        report = self.root / REPORT
        measured = msgspec.json.decode(report.read_bytes())
        if change:
            change(measured)
        report.write_bytes(msgspec.json.encode(measured))
        commit = self.commit(**made_from)
        git.git(self.root, "switch", "--quiet", "main")
        return commit


def gates(project: Project) -> dict[str, int]:
    """Each metric that has a gate, and whether more of it is better, 1, or less, -1."""
    return {name: 1 if gate.max is None else -1 for name, gate in project.policy.gates.metrics.items()}


@pytest.fixture(scope="module")
def history(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> History:
    root = tmp_path_factory.mktemp("history") / "project"
    shutil.copytree(finished.root, root)
    return History(Project(root))


@pytest.fixture(scope="module")
def deeper(history: History) -> str:
    """A branch with a deeper model, by a hundredth better in each metric that has a gate, and in each group."""

    def better(measured: dict[str, Any]) -> None:
        for name, sign in gates(history.project).items():
            measured["model"][name] *= 1 + sign / 100
        for band in measured["reliability"]["bands"]:
            band["happened"] *= 0.9
        for rule in history.project.policy.gates.slice_rules:
            for one in measured["slices"]:
                one["metrics"][rule.metric] *= 1 + (1 if rule.max is None else -1) / 100

    history.branch("deeper", better, depth=5)
    return "deeper"


def register(project: Project, sealed: Bundle) -> int:
    run = record(project, connect(project), {}, status="FAILED")
    made = seal(project.bundle, project.root / "made", msgspec.structs.replace(sealed.lineage, run_id=run))
    return Registry.open(project).register(made)[0].number


def test_a_branch_is_compared_with_another_by_what_each_reported(history: History, deeper: str) -> None:

    found = compare(history.project, "main", deeper)

    assert (found.first, found.second, found.how) == ("main", "deeper", "reported")
    known = gates(history.project)
    for name, sign in known.items():
        one, other = found.metrics[name]
        assert one
        assert other == pytest.approx(one * (1 + sign / 100))
    assert found.better == dict.fromkeys(known, "second")
    said = f"branch deeper is better than branch main in {len(known)} of {len(known)} metrics that have a gate"
    assert found.sentence == compare(history.project, deeper, "main").sentence == said
    assert found.params == {"model.max_depth": ("3", "5")}
    assert found.baseline.keys() == found.metrics.keys()
    assert found.remarks == []
    assert found.groups
    assert all((change_of(one.figures) or 0) * one.sign > 0 for one in found.groups)
    text = comparison_text(found)
    assert text.startswith(said)
    assert text.count("better\n") == len(known)
    assert "model.max_depth          3  5" in text


@pytest.mark.parametrize(
    ("better", "said"),
    [
        (
            ["second", "second", "first"],
            "run b is better than version 1 in 2 of 3 metrics that have a gate, and worse in 1",
        ),
        (["first", "neither"], "version 1 is better than run b in 1 of 2 metrics that have a gate"),
        (
            ["second", "first"],
            "neither version 1 nor run b is better: each is better in 1 of 2 metrics that have a gate",
        ),
        (["neither"], "neither version 1 nor run b is better: they are the same in 1 metric that has a gate"),
        ([], "no metric that has a gate is known of both version 1 and run b, so neither is called better"),
    ],
)
def test_the_sentence_names_the_one_that_is_better_in_more(better: list[Winner], said: str) -> None:
    sides = Meaning("version", "1", "v1", "version 1", "version:1"), Meaning("run", "b", "b", "run b", "b")

    assert sentence_of(sides, {str(place): one for place, one in enumerate(better)}) == said


def test_a_try_of_dvc_a_tag_and_a_beginning_of_an_id_are_found(history: History) -> None:
    commit = history.branch("elsewhere", depth=2)
    git.git(history.root, "update-ref", f"refs/exps/ab/{'c' * 38}/shallow", commit)
    git.git(history.root, "tag", "--annotate", "-m", "Keep it", "v0.1", commit)

    names = ["shallow", "v0.1", "elsewhere", commit, commit[:7], "refs/heads/elsewhere", "HEAD~0"]
    found = [meaning_of(history.project, name) for name in names]

    assert [one.key for one in found] == [commit] * 6 + [git.head(history.root)]
    words = ["try shallow", "tag v0.1", "branch elsewhere", *[f"commit {commit[:9]}"] * 2, "branch elsewhere"]
    assert [one.words for one in found[:-1]] == words
    # Of digits alone, as one beginning in seventeen is, it may have been meant as a version.
    short = commit[:6]
    refused = f"no version or alias '{short}'" if short.isdigit() else f"nothing is called {short}: .* and no run"
    with pytest.raises(MlopsError, match=refused):
        meaning_of(history.project, short)
    with pytest.raises(MlopsError, match="shallow and elsewhere are the same commit"):
        compare(history.project, "shallow", "elsewhere")


def test_a_name_with_two_meanings_is_refused_and_each_has_a_name_of_its_own(history: History, sealed: Bundle) -> None:
    number = register(history.project, sealed)
    commit = history.branch(str(number))

    with pytest.raises(MlopsError, match="1 can mean version 1 or branch 1") as refused:
        meaning_of(history.project, "1")

    assert refused.value.next_step == "say which: version:1 or refs/heads/1"
    assert refused.value.exit_code == 2
    version, branch = (meaning_of(history.project, name) for name in ("version:1", "refs/heads/1"))
    assert (version.kind, version.key) == ("version", "1")
    assert (branch.kind, branch.key) == ("commit", commit)
    found = compare(history.project, "version:1", "main")
    assert (found.first, found.second, found.how) == (1, "main", "reported")
    assert all(one == other for one, other in found.metrics.values())
    gated = len(history.project.policy.gates.metrics)
    same = f"they are the same in {gated} metrics that have a gate"
    assert found.sentence == f"neither version 1 nor branch main is better: {same}"
    assert any("test rows" in one for one in found.remarks)
    with pytest.raises(MlopsError, match="has no version or alias '9'"):
        meaning_of(history.project, "9")


def test_a_run_is_found_by_the_beginning_of_its_id(history: History, deeper: str) -> None:
    client = connect(history.project)
    run = record(history.project, client, {}, status="FINISHED")
    failed = record(history.project, client, {}, status="FAILED")

    found = compare(history.project, deeper, run[:9])

    assert found.sides[1].key == run
    assert found.sentence.startswith("branch deeper is better than run ")
    assert found.params == {"model.max_depth": ("5", "3")}
    assert found.remarks == []
    with pytest.raises(MlopsError, match=f"run {failed[:9]} holds no reports/metrics.json") as refused:
        compare(history.project, "main", failed)
    assert "trials of a search are measured on no test rows" in refused.value.next_step


def without_some(measured: dict[str, Any]) -> None:
    measured["model"] |= {"surprise": 0.5}
    del measured["reliability"]


@pytest.mark.parametrize(
    ("name", "change", "made_from", "said"),
    [
        ("rows", None, {"rows": "c" * 32}, ["mind: the two were measured on different test rows"]),
        ("unknown", None, {"rows": ""}, ["mind: on which test rows branch unknown was measured is not known"]),
        ("code", None, {"code": "c" * 32}, ["mind: metrics.py differs"]),
        ("less", without_some, {}, ["mind: branch main has no surprise", "mind: branch less does not say how far its"]),
    ],
)
def test_what_keeps_figures_from_being_compared_is_told(
    history: History, name: str, change: Change | None, made_from: dict[str, str], said: list[str]
) -> None:
    history.branch(name, change, **made_from)

    remarks = compare(history.project, "main", name).remarks

    assert len(remarks) == len(said)
    assert all(one.startswith(beginning) for one, beginning in zip(remarks, said, strict=True))


def test_a_commit_without_figures_is_refused(history: History) -> None:
    # Made beside the work tree, which other tests share.
    tree = git.git(history.root, "mktree", text="").strip()
    commit = git.git(history.root, "commit-tree", "-m", "Take the figures away", tree).strip()
    git.git(history.root, "branch", "empty", commit)

    with pytest.raises(MlopsError, match=r"branch empty holds no reports/metrics\.json, so there are no figures"):
        compare(history.project, "empty", "main")


DAYS, A_DAY = 40, 50


def flights() -> tuple[pl.DataFrame, Any, Any]:
    """Rows of forty days, what happened, and scores whose errors all rows of a day share."""
    assert CONTRACT.time
    chance = np.random.default_rng(1)
    days = np.repeat(np.arange(DAYS), A_DAY)
    frame = pl.DataFrame({CONTRACT.time: [datetime(2013, 1, 1) + timedelta(days=int(day)) for day in days]})
    truth = chance.random(DAYS * A_DAY)
    return frame, truth, (truth + chance.normal(size=DAYS)[days]).astype(np.float32)


def mean_error(truth: Any, scores: Any) -> dict[str, float]:
    return {"mean_error": float(np.mean(scores - truth))}


def width(found: intervals.ChangeIntervals) -> float:
    low, high = found.by_figure["mean_error"]
    return high - low


def test_both_models_are_asked_for_the_same_rows() -> None:
    """What both get wrong on the same day says nothing about which is better."""
    frame, truth, scores = flights()

    same = intervals.changes(frame, truth, (scores, scores), (mean_error, mean_error))
    shifted = intervals.changes(frame, truth, (scores, scores + np.float32(0.25)), (mean_error, mean_error))

    assert same.by_figure == {"mean_error": (0, 0)}
    assert shifted.by_figure["mean_error"] == pytest.approx((0.25, 0.25), abs=1e-4)
    assert shifted.drawn == "400 draws of 40 days"


def test_whole_days_are_drawn_where_rows_of_a_day_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, truth, scores = flights()
    both, measures = (truth.astype(np.float32), scores), (mean_error, mean_error)

    by_day = intervals.changes(frame, truth, both, measures)
    again = intervals.changes(frame, truth, both, measures)
    monkeypatch.setattr(intervals, "_days", lambda _: None)
    by_row = intervals.changes(frame, truth, both, measures)

    assert by_day == again
    assert by_row.drawn == "400 draws of 2,000 rows"
    # Days whose errors have a deviation of 1: 2 * 1.96 / sqrt(40).
    assert width(by_day) == pytest.approx(0.62, abs=0.15)
    assert width(by_row) < width(by_day) / 4


def test_a_figure_that_some_draws_do_not_decide_has_no_interval_and_that_is_told() -> None:
    frame, truth, scores = flights()

    def only_with_the_first_row(truth_of: Any, scores_of: Any) -> dict[str, float]:
        if truth[0] not in truth_of:
            raise ZeroDivisionError
        return mean_error(truth_of, scores_of) | {"undefined": float("nan")}

    found = intervals.changes(frame, truth, (scores, scores), (only_with_the_first_row, only_with_the_first_row))
    few = intervals.changes(frame[: 9 * A_DAY], truth[: 9 * A_DAY], (scores, scores), (mean_error, mean_error))

    assert found.by_figure == {}
    assert [one.partition(": ")[0] for one in found.remarks] == [
        "no interval for mean_error", "no interval for undefined",
    ]  # fmt: skip
    assert found.remarks[1].endswith("for 400 of 400 draws of rows")
    assert few.by_figure == {}
    assert few.remarks == ["no intervals: the test rows are of 9 days, and 10 are needed"]


def test_the_page_says_first_which_is_better_and_draws_what_changed(history: History, deeper: str) -> None:
    project = history.project
    both = [reported_by(project, meaning_of(project, name)) for name in ("main", deeper)]
    surely, *_, unsure = gates(project)
    signs = gates(project)
    low, high = sorted((signs[surely] * 0.01, signs[surely] * 0.03))
    bounds = {surely: (low, high), unsure: (-0.01, 0.03)}
    drawn = intervals.ChangeIntervals(bounds, "400 draws of 40 days", [])
    found = beside(project, (both[0], both[1]), "scored", remarks=["mind: the rows"], drawn=drawn, frozen="0" * 64)

    page = parsed(write_compare_page(project, found).read_text("utf-8"))

    assert compare_page(project, found) == (project.root / "reports" / "compare.html").read_text("utf-8")
    assert page.all("h1")[0].text == f"B{found.sentence[1:]}."
    assert "In 1 of 2 the change is more than chance: the interval of 95 % from 400 draws of 40 days" in page.text
    assert "Mind: the rows." in page.text
    rows = {row.all("th")[0].text: row.text for row in page.all("table", class_="figures")[0].all("tr")[1:]}
    assert {*found.metrics, "calibration_error"} <= rows.keys()
    assert rows[surely].endswith(f" {low:+.4f} to {high:+.4f} better")
    changes, groups = (chart.attributes["aria-label"] for chart in page.all("div", class_="spans"))
    assert f"{surely}: {signs[surely]:+.1f} % better" in changes
    assert all(f"{one.column} = {one.value}: " in groups for one in found.groups)
    (diagram,) = page.all("svg")
    bands = both[0].measured["reliability"]["bands"]
    assert len(diagram.all("path", class_="first")) == 1 + len(bands)
    assert len(diagram.all("path", class_="dot")) == 2 * len(bands)
    assert page.all("table", class_="params")[0].all("tr")[1].text == "model.max_depth 3 5"
    assert page.all("script") == []
