"""A challenger on a year of real flights: what really happened arrives later, and decides."""

import json
from pathlib import Path

import pytest
from rendering import git
from replay import answer, tell
from running import RunningProject, give_free_ports

STAGING = "deploy/environments/staging.yaml"

#: The flights are of 2013.
END = "2014-01-01"


# Four versions for all tests of this module, so one worker runs them.
pytestmark = pytest.mark.xdist_group("challenger")


@pytest.fixture(scope="module")
def four(trained: RunningProject, tmp_path_factory: pytest.TempPathFactory) -> RunningProject:
    """Version 1 learned from January to June, 2 from January to September, 3 and 4 from July to September alone.

    Version 3 has seen no winter. Version 4 was told of each flight that was late that it was not, and the other way
    round, as by a join gone wrong. The gates are lowered so that a trial can show it.
    """
    project = trained.copy(tmp_path_factory.mktemp("four") / "flights")
    project.edit("params.yaml", 'train_until: "2013-07-01"', 'train_until: "2013-10-01"')
    project.edit("params.yaml", 'test_until: "2013-09-01"', 'test_until: "2013-11-01"')
    for gate, low in (("min: 0.68", "min: 0.5"), ("margin: 0.02", "margin: -1"), ("margin: 0.003", "margin: -1")):
        project.edit("policy.yaml", gate, low)
    project.edit("policy.yaml", "min: 0.40", "min: 0.1")
    project.edit("policy.yaml", "min: 0.58", "min: 0.3")
    project.edit("policy.yaml", "smallest_gain: 0.01", "smallest_gain: 0.02")
    project.train_another(trees=150)
    recent = (
        "from pathlib import Path; import polars as pl; [Path('data', name).mkdir() for name in ('recent', 'wrong')];"
        "rows = pl.read_csv('data/sample/flights.csv.gz', infer_schema=False).filter(pl.col('departs') >= '2013-07');"
        "rows.write_csv('data/recent/flights.csv');"
        "late = pl.col('arr_delay').cast(pl.Int64) > 15;"
        "wrong = pl.when(late).then(pl.lit('0')).otherwise(pl.lit('60')).alias('arr_delay');"
        "rows.with_columns(wrong).write_csv('data/wrong/flights.csv')"
    )
    project.run("python", "-c", recent)
    project.edit("params.yaml", "data/sample/flights.csv.gz", "data/recent/flights.csv")
    project.train_another(trees=149)
    what_happened = (project.root / "data" / "valid.parquet").read_bytes()
    project.edit("params.yaml", "data/recent/flights.csv", "data/wrong/flights.csv")
    project.train_another(trees=148)
    (project.root / "data" / "valid.parquet").write_bytes(what_happened)
    return project


@pytest.fixture
def project(four: RunningProject, tmp_path: Path) -> RunningProject:
    copied = four.copy(tmp_path / "flights")
    give_free_ports(copied.root)
    copied.commit("Listen on ports of its own")
    return copied


def name_champion(project: RunningProject, version: int, day: str) -> None:
    """Name the champion of staging, on a day of the year the flights are of."""
    file = project.root / STAGING
    head = file.read_text("utf-8").partition("\nchampion:")[0]
    file.write_text(f"{head}\nchampion:\n{release(project, version)}", encoding="utf-8")
    commit_on(project, day)


def put_on_trial(project: RunningProject, champion: int, challenger: int, mode: str, day: str) -> None:
    """What `mlops challenge` proposes, accepted on a day of that year; and what staging answered from then on."""
    name_champion(project, champion, day)
    with (project.root / STAGING).open("a", encoding="utf-8") as file:
        file.write(f"\nchallenger:\n{release(project, challenger)}  mode: {mode}\n  share: 0.5\n")
    commit_on(project, day)
    role = {"canary": "challenger"}.get(mode, mode)
    answer(project, day, END, {"champion": champion, role: challenger})


def release(project: RunningProject, version: int) -> str:
    noted = project.tags(version)
    return f"  version: {version}\n  digest: {noted['digest']}\n  commit: {noted['commit']}\n"


def commit_on(project: RunningProject, day: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_COMMITTER_DATE", f"{day}T00:00:00+00:00")
        project.commit("Change staging")


@pytest.mark.parametrize(
    ("champion", "challenger", "mode", "since", "until", "verdict", "gain"),
    [
        pytest.param(1, 2, "shadow", "2013-10-01", "2013-11-01", "keep", 0.002, id="three more months change little"),
        pytest.param(1, 4, "shadow", "2013-11-01", "2013-12-01", "stop", None, id="what is wrong does harm"),
        pytest.param(4, 1, "canary", "2013-11-01", "2013-12-01", "promote", None, id="what is right is better"),
    ],
)
def test_a_verdict_on_real_flights_becomes_a_proposed_change(
    project: RunningProject,
    champion: int,
    challenger: int,
    mode: str,
    since: str,
    until: str,
    verdict: str,
    gain: float | None,
) -> None:
    put_on_trial(project, champion, challenger, mode, since)
    tell(project, until)
    before = git(project.root, "rev-parse", "HEAD")

    compared = json.loads(project.mlops("compare", "--live", "staging", "--until", until, "--json").stdout)
    decided = project.mlops("decide", "staging", "--until", until)

    assert compared["verdict"]["decision"] == verdict
    assert gain is None or compared["gain"] == pytest.approx(gain, abs=0.002)  # as vendor/slipway/docs/challenger.md
    assert [arm["version"] for arm in compared["arms"]] == [champion, challenger]
    assert all(0.9 < arm["labelled"] / arm["predictions"] < 1 for arm in compared["arms"])
    branch = f"decide/staging-v{challenger}"
    proposed = git(project.root, "show", f"{branch}:{STAGING}")
    winner = challenger if verdict == "promote" else champion
    assert f"champion:\n{release(project, winner)}" in proposed
    assert "challenger" not in proposed
    assert git(project.root, "diff", "--name-only", "HEAD", branch).split() == [STAGING]
    assert git(project.root, "rev-parse", "HEAD") == before
    assert f"in branch {branch}" in decided.stdout


@pytest.mark.parametrize(
    ("champion", "challenger", "mode", "gain"), [(1, 3, "shadow", -0.030), (3, 1, "canary", 0.061)]
)
def test_a_month_that_favours_one_version_settles_nothing_and_says_as_how_many_days_it_counts(
    project: RunningProject, champion: int, challenger: int, mode: str, gain: float
) -> None:
    """In December a version that has seen no winter is worse; in the three months until then it hardly is."""
    put_on_trial(project, champion, challenger, mode, "2013-12-01")
    tell(project, "2014-01-01")

    compared = json.loads(project.mlops("compare", "--live", "staging", "--until", "2014-01-01", "--json").stdout)
    decided = project.mlops("decide", "staging", "--until", "2014-01-01").stdout

    assert compared["gain"] == pytest.approx(gain, abs=0.002)  # as vendor/slipway/docs/challenger.md says
    assert compared["verdict"]["decision"] == "wait"
    assert compared["effective"] < 0.5 * compared["stretches"]
    assert any(one.startswith("30 stretches of 24 hours may be like") for one in compared["remarks"])
    assert "nothing to propose yet" in decided


def test_a_trial_waits_while_labels_are_few_and_says_what_is_missing(project: RunningProject) -> None:
    """A week settles nothing yet; a month of which only a week has labels must not settle anything."""
    put_on_trial(project, 3, 1, "shadow", "2013-12-01")
    tell(project, "2013-12-08")

    early = project.mlops("compare", "--live", "staging", "--until", "2013-12-08").stdout
    decided = project.mlops("decide", "staging", "--until", "2013-12-08").stdout
    unlabelled = json.loads(project.mlops("compare", "--live", "staging", "--until", "2014-01-01", "--json").stdout)

    assert "wait: 411 labelled rows of each version, at least 500 are needed" in early
    assert "nothing to propose yet" in decided
    assert unlabelled["verdict"]["decision"] == "wait"
    assert (
        "predictions that should have a label by now have one, labels.min_share asks for 90%"
        in (unlabelled["verdict"]["reason"])
    )
    assert "decide/" not in git(project.root, "branch", "--list")


def test_a_rule_changed_during_the_trial_does_not_hold_and_is_told(project: RunningProject) -> None:
    put_on_trial(project, 1, 3, "shadow", "2013-12-01")
    tell(project, "2014-01-01")
    before = project.mlops("compare", "--live", "staging", "--until", "2014-01-01").stdout
    project.edit("policy.yaml", "metric: brier\n  # The smallest", "metric: recall\n  # The smallest")
    project.commit("Choose another metric after the fact")

    after = project.mlops("compare", "--live", "staging", "--until", "2014-01-01").stdout

    assert "policy.yaml was changed" not in before
    assert "mind: `experiment` in policy.yaml was changed after this trial began; the earlier one holds" in after
    assert after.splitlines()[-2:] == before.splitlines()[-2:]


def test_shadows_are_compared_on_the_requests_that_both_answered(project: RunningProject) -> None:
    put_on_trial(project, 1, 3, "shadow", "2013-12-01")
    tell(project, "2014-01-01")
    shadow = project.root / ".mlops/predictions/staging/2013-12-03.shadow.jsonl"
    lost = len(shadow.read_bytes().splitlines())
    shadow.unlink()

    said = project.mlops("compare", "--live", "staging", "--until", "2014-01-01").stdout

    assert f"{lost} labelled predictions have no counterpart and are left out" in said


def test_no_verdict_without_two_versions_and_a_rule_made_before(project: RunningProject) -> None:
    name_champion(project, 1, "2013-12-01")
    alone = project.mlops("compare", "--live", "staging", check=False)
    put_on_trial(project, 1, 1, "canary", "2013-12-01")
    same = project.mlops("compare", "--live", "staging", check=False)
    text = (project.root / "policy.yaml").read_text("utf-8")
    (project.root / "policy.yaml").write_text(text.split("# What a challenger must show")[0].rstrip() + "\n", "utf-8")
    file = project.root / STAGING
    file.write_text(file.read_text("utf-8").replace(release(project, 1) + "  mode", release(project, 2) + "  mode"))
    project.commit("Begin a trial without a rule")
    lawless = project.mlops("compare", "--live", "staging", check=False)

    assert alone.stderr.startswith("error: staging names no challenger")
    assert same.stderr.startswith("error: champion and challenger of staging are the same version, 1")
    assert lawless.stderr.startswith("error: policy.yaml had no `experiment` when this trial began")
    assert (alone.exit_code, same.exit_code, lawless.exit_code) == (1, 1, 1)


def fail_in_winter(project: RunningProject, action: str) -> None:
    """Version 1, then version 3, which answers in December and is not up to it."""
    project.edit("policy.yaml", "drop: 0.03", "limit: 0.15")
    project.edit("policy.yaml", "action: propose", f"action: {action}")
    name_champion(project, 1, "2013-10-01")
    name_champion(project, 3, "2013-12-01")
    answer(project, "2013-12-01", END, {"champion": 3})


def test_a_champion_that_fails_its_labels_is_proposed_to_be_rolled_back(project: RunningProject) -> None:
    fail_in_winter(project, "propose")

    unlabelled = project.mlops("monitor", "staging", check=False)
    branches = git(project.root, "branch", "--list")
    tell(project, "2014-01-01")
    dry = project.mlops("monitor", "staging", "--dry-run", check=False)
    then = project.mlops("monitor", "staging", "--until", "2014-01-01", check=False)
    branches += git(project.root, "branch", "--list")
    labelled = project.mlops("monitor", "staging", check=False)

    assert "quality unknown: 0 of 1,997 predictions that should have a label by now have one" in unlabelled.stdout
    assert "rollback/" not in branches
    assert dry.exit_code == then.exit_code == labelled.exit_code == 3
    assert "quality broken: brier is 0.2" in labelled.stdout
    assert "next: mlops rollback staging" in labelled.stdout
    assert "version 1 is proposed for staging in branch rollback/staging-v1" in labelled.stderr
    assert f"champion:\n{release(project, 1)}" in git(project.root, "show", f"rollback/staging-v1:{STAGING}")


def test_a_champion_that_fails_its_labels_is_rolled_back_where_the_policy_says_perform(project: RunningProject) -> None:
    fail_in_winter(project, "perform")
    tell(project, "2014-01-01")

    result = project.mlops("monitor", "staging", check=False)

    answering = project.request("GET", "/version").body["version"]
    project.stop()
    assert "staging is back at version 1" in result.stderr
    assert answering == 1
    assert git(project.root, "log", "-1", "--format=%s").strip() == "Roll staging back to version 1"
