"""How old a model may become: what the past says, and what the monitor makes of it."""

import json

from rendering import git
from running import RunningProject


def test_the_past_says_at_which_age_a_model_is_worse_and_where_to_write_that(trained_project: RunningProject) -> None:
    """The flights do not age within their year; the shipped page says so, with these figures."""
    told = trained_project.mlops("backtest")
    facts = json.loads(trained_project.mlops("backtest", "--window", "60d", "--history", "120d", "--json").stdout)

    assert "backtest: model 8 of 8, on 22,071 rows before 2013-12-02" in told.stderr
    assert "up to an age of 150 days no model was shown to be worse than a fresh one by 0.03 in brier" in told.stdout
    assert told.stdout.splitlines()[-1].startswith("next: set max_age_days: 180 below monitor in policy.yaml")
    assert (facts["window_days"], facts["history_days"], facts["drops_at_days"]) == (60, 120, None)
    assert [age["days"] for age in facts["ages"]] == [0, 60, 120, 180]
    assert (trained_project.root / facts["page"]).is_file()
    assert git(trained_project.root, "status", "--porcelain") == ""


def test_what_is_no_span_of_time_is_refused(trained_project: RunningProject) -> None:
    refused = trained_project.mlops("backtest", "--window", "monthly", check=False)

    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: --window monthly is no span of time\n next: write 30d")


def test_the_monitor_asks_for_a_younger_champion_where_the_policy_does(trained_project: RunningProject) -> None:
    trained_project.mlops("promote", "staging")
    git(trained_project.root, "merge", "--quiet", "--no-edit", "promote/staging-v1")
    trained_project.edit("policy.yaml", "  p_value: 0.01\n", "  p_value: 0.01\n  max_age_days: 90\n")

    young = trained_project.mlops("monitor", "staging", "--until", "2013-09-28").stdout
    old = trained_project.mlops("monitor", "staging", "--until", "2013-09-30").stdout

    assert "the champion learned from rows until 2013-06-30, 89 days ago, monitor.max_age_days is 90" in young
    assert young.splitlines()[-2].startswith("insufficient data: 0 predictions")
    assert old.splitlines()[-2:] == [
        "watch: the champion learned from rows until 2013-06-30, 91 days ago, monitor.max_age_days is 90",
        "next: mlops retrain",
    ]
