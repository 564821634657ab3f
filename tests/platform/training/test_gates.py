"""What a policy can ask of groups, of scores and of answers beside limits for metrics."""

from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
import yaml
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from slipway import kinds
from slipway.base.errors import MlopsError
from slipway.base.files import write_json
from slipway.settings.params import Costs, DecisionParams
from slipway.settings.policy import MEAN_ANSWER, CalibrationGate, Gates, LimitGate, SliceGate
from slipway.settings.policy_add import add
from slipway.settings.project import Project
from slipway.training.agreement import require_agreement
from slipway.training.bundle import Bundle
from slipway.training.costs import cost_of_answers
from slipway.training.gates import GateResult, checks_of, costs_in_words
from slipway.training.reliability import reliability

LIMITS = LimitGate(model_megabytes=5, one_row_ms=5)
NO_COST = {"model_megabytes": 1.0, "one_row_ms": 1.0}


def asked(measured: dict[str, Any], *rules: SliceGate, error: float | None = None) -> list[GateResult]:
    """What the gates say beside size and time."""
    calibration = None if error is None else CalibrationGate(max_error=error)
    gates = Gates(metrics={}, slices=[*rules], limits=LIMITS, calibration=calibration)
    return [*checks_of(gates, {"model": {}, "baseline": {}, "slices": [], "rows": 900} | measured, NO_COST)][:-2]


def group(value: str, rows: int, share: float) -> dict[str, Any]:
    return {"column": "sex", "value": value, "rows": rows, "metrics": {MEAN_ANSWER: share, "recall": share / 2}}


@pytest.mark.parametrize(("most", "passed"), [(0.25, True), (0.15, False)])
def test_two_groups_may_differ_by_so_much(most: float, passed: bool) -> None:
    rule = SliceGate(columns=["sex"], metric=MEAN_ANSWER, min_rows=100, max_gap=most)
    # The fourth is too small to be compared.
    groups = [group("f", 300, 0.3), group("m", 500, 0.5), group("x", 200, 0.4), group("y", 99, 0.9)]

    (check,) = asked({"slices": groups}, rule)

    assert check.gate == f"gap of {MEAN_ANSWER} between sex = f (0.3, 300 rows) and m (0.5, 500 rows)"
    assert check.value == pytest.approx(0.2)
    assert check.passed is passed


def test_a_gap_that_nobody_can_see_is_refused() -> None:
    rule = SliceGate(columns=["sex"], metric="recall", min_rows=100, max_gap=0.5)

    (check,) = asked({"slices": [group("f", 300, 0.3), group("m", 99, 0.5)]}, rule)

    assert not check.passed
    assert "fewer than two groups of 100 rows have the metric" in str(check)


@pytest.mark.parametrize(("most", "passed"), [(0.04, True), (0.03, False)])
def test_scores_may_be_so_far_from_what_happened(most: float, passed: bool) -> None:
    (check,) = asked({"reliability": {"error": 0.035, "chance": 0.012}}, error=most)

    assert check.passed is passed
    assert str(check) == (
        f"calibration_error is 0.035, the gate asks for at most {most:g}; 0.012 is what chance makes of 900 rows"
    )


def test_a_policy_may_ask_what_an_earlier_evaluation_did_not_measure() -> None:
    (check,) = asked({}, error=0.04)

    assert not check.passed


def draws(rows: int, *, off: float) -> tuple[NDArray[Any], NDArray[Any]]:
    chance = np.random.default_rng(5)
    scores = chance.beta(2, 5, rows).astype(np.float32)
    return scores, chance.random(rows) < np.clip(scores + off, 0, 1)


def test_the_bands_are_those_of_a_reliability_diagram() -> None:
    scores, truth = draws(5_000, off=0.1)

    found = reliability(scores, truth)

    happened, expected = calibration_curve(truth, scores, n_bins=10, strategy="quantile")
    assert [band.happened for band in found.bands] == pytest.approx(happened, rel=1e-4)
    assert [band.expected for band in found.bands] == pytest.approx(expected, rel=1e-4)
    assert found.error == pytest.approx(0.1, abs=0.02)


def test_chance_alone_makes_the_error_that_is_told() -> None:
    told = [reliability(*draws(rows, off=0.0)) for rows in (2_000, 20_000)]

    assert [one.error for one in told] == pytest.approx([one.chance for one in told], rel=0.5)
    assert told[0].chance == pytest.approx(told[1].chance * 10**0.5, rel=0.1)


def test_equal_scores_are_one_band_and_a_few_rows_one_too() -> None:
    assert [band.rows for band in reliability(np.full(600, 0.25), np.arange(600) % 4 == 0).bands] == [600]
    assert len(reliability(*draws(60, off=0.0)).bands) == 1


def test_each_row_counts_the_same() -> None:
    """A tenth of the rows, in a band of its own, is wrong by 0.8; of the others every score is what happened."""
    scores, truth = np.repeat([0.0, 0.8], [900, 100]), np.zeros(1_000)

    found = reliability(scores, truth)

    assert [(band.rows, band.happened) for band in found.bands] == [(900, 0), (100, 0)]
    assert found.error == pytest.approx(0.08)


def test_costs_give_the_threshold_that_costs_least() -> None:
    costs = Costs(false_positive=1, false_negative=4)
    scores, truth = draws(40_000, off=0.0)

    found = cost_of_answers(costs, scores, truth)

    def cost(threshold: float) -> float:
        yes = scores >= threshold
        return float((1 * (yes & ~truth) + 4 * (~yes & truth)).mean())

    assert found.threshold == pytest.approx(0.2)
    assert found.mean_cost == pytest.approx(cost(0.2), rel=1e-4)
    assert found.best_mean_cost == pytest.approx(min(map(cost, np.unique(scores)[::20])), rel=1e-3)
    assert found.best_mean_cost <= found.mean_cost <= 1.01 * found.best_mean_cost
    # Probabilities that are all too small are told by what the best threshold would have cost.
    assert cost_of_answers(costs, scores / 4, truth).mean_cost > 1.2 * found.best_mean_cost


def test_the_pipeline_says_what_answers_cost(project: Project) -> None:
    costs = cost_of_answers(Costs(false_positive=1, false_negative=4), *draws(2_000, off=0.0))
    write_json(project.root / "reports" / "metrics.json", {"model": {}, "costs": costs})

    assert costs_in_words(project).startswith("from a score of 0.2000 on, which the costs in params.yaml ask for,")


def test_rows_with_equal_scores_get_the_same_answer() -> None:
    found = cost_of_answers(Costs(false_positive=1, false_negative=1), np.full(4, 0.3), np.array([1, 1, 1, 0]))

    assert (found.mean_cost, found.best_mean_cost, found.best_threshold) == (0.75, 0.25, 0.3)


def test_a_threshold_and_costs_are_one_too_many(project: Project) -> None:
    path = project.root / "params.yaml"
    params = yaml.safe_load(path.read_text("utf-8"))
    params["decision"] = {"threshold": 0.3, "costs": {"false_positive": 1, "false_negative": 3}}
    path.write_text(yaml.safe_dump(params), encoding="utf-8")

    with pytest.raises(MlopsError, match="decision has a threshold and costs, which give another one"):
        assert project.params

    params["decision"].pop("threshold")
    path.write_text(yaml.safe_dump(params), encoding="utf-8")
    assert Project(project.root).params.decision.wanted == 0.25
    assert DecisionParams().wanted == 0.5


def test_costs_decide_nothing_where_the_answer_is_a_quantity(project: Project, finished: Project) -> None:
    path = project.root / "params.yaml"
    params = yaml.safe_load(path.read_text("utf-8"))
    params["decision"] = {"costs": {"false_positive": 1, "false_negative": 3}}
    path.write_text(yaml.safe_dump(params), encoding="utf-8")

    if kinds.named(Bundle(finished.bundle).model.kind).has_positives:
        require_agreement(project, print)
    else:
        with pytest.raises(MlopsError, match="answers no yes or no"):
            require_agreement(project, print)


def test_an_evaluation_says_what_scores_answers_and_groups_are_like(finished: Project) -> None:
    column = next(name for rule in finished.policy.gates.slice_rules for name in rule.columns)
    scored = pl.read_parquet(Bundle(finished.bundle).tested)
    measured = msgspec.json.decode((finished.root / "reports" / "metrics.json").read_bytes())

    assert sum(band["rows"] for band in measured["reliability"]["bands"]) == measured["rows"] == scored.height
    expected = reliability(scored["score"].to_numpy(), scored["truth"].to_numpy())
    assert measured["reliability"]["error"] == pytest.approx(expected.error, rel=1e-3)
    parts = [one for one in measured["slices"] if one["column"] == column]
    assert all(MEAN_ANSWER in one["metrics"] for one in parts)


def test_the_block_for_calibration_is_a_limit_in_the_unit_of_the_answer(project: Project, finished: Project) -> None:
    add(project, ["gates.calibration"])

    rule = Project(project.root).policy.gates.calibration
    measured = msgspec.json.decode((finished.root / "reports" / "metrics.json").read_bytes())
    assert rule is not None
    assert measured["reliability"]["chance"] < rule.max_error
