"""From a second version back to the first: comparing, promoting, rolling back, and who may not."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import git
from running import RunningProject, prepare, train


def test_rolling_back_answers_with_the_earlier_version_and_its_code(trained_project: RunningProject) -> None:
    """By the first steps of docs/runbook.md. The features have changed, so version 1 needs the earlier code."""
    page = (trained_project.root / "docs/runbook.md").read_text("utf-8")
    (first_steps,) = re.findall(r"^```bash\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    trained_project.release("staging")
    row = trained_project.flights(1)[0]
    before = trained_project.request("POST", "/predict", row).body
    trained_project.edit("src/flight_delays/features.py", '"distance": rows["distance"],', "")
    trained_project.mlops("pipeline")
    trained_project.commit("Forget the distance")
    trained_project.mlops("register")
    trained_project.release("staging")
    assert trained_project.request("GET", "/version").body["version"] == 2

    result = trained_project.run("bash", "-e", "-c", first_steps.replace("production", "staging"))

    after = trained_project.request("POST", "/predict", row).body
    assert "staging     should run version 2, runs version 2" in result.stdout
    assert "names version 1 again" in result.stdout
    assert after["late"] == before["late"]
    assert after["model"] == before["model"]
    assert git(trained_project.root, "log", "-1", "--format=%s").strip() == "Roll staging back to version 1"
    again = trained_project.mlops("rollback", "staging", check=False)
    assert "staging has had no champion before version 1" in again.stderr


def test_rolling_back_needs_an_earlier_champion(trained_project: RunningProject) -> None:
    trained_project.release("staging")

    result = trained_project.mlops("rollback", "staging", check=False)

    assert result.exit_code == 1
    assert "staging has had no champion before version 1" in result.stderr


def test_production_takes_only_what_was_deployed_to_staging(trained_project: RunningProject) -> None:
    empty = trained_project.mlops("promote", "production", check=False)
    branch = trained_project.mlops("promote", "staging").stdout.split("in branch ")[1].split()[0]
    git(trained_project.root, "merge", "--quiet", branch)
    named = trained_project.mlops("promote", "production", check=False)
    trained_project.mlops("deploy", "staging")
    trained_project.release("production")

    assert "staging names no champion yet" in empty.stderr
    assert "version 1 was never deployed to staging" in named.stderr
    assert trained_project.request("GET", "/version", environment="production").body["environment"] == "production"


def test_two_versions_are_compared_on_the_same_rows(twice_trained_project: RunningProject) -> None:
    comparison = json.loads(twice_trained_project.mlops("compare", "1", "2", "--json").stdout)

    many, few = comparison["metrics"]["roc_auc"]
    assert comparison["rows"] == 4177
    assert many == pytest.approx(0.723, abs=0.001)
    assert few < many
    assert comparison["better"]["roc_auc"] == "first"
    low, high = comparison["intervals"]["roc_auc"]
    assert low < few - many < high
    assert comparison["intervals"].keys() == comparison["metrics"].keys() | {"calibration_error"}
    assert (twice_trained_project.root / "reports" / "compare.html").is_file()
    assert "the same version, 1" in twice_trained_project.mlops("compare", "1", "1", check=False).stderr


def test_a_batch_gets_the_answers_that_the_server_gives(trained_project: RunningProject, tmp_path: Path) -> None:
    trained_project.release("staging")
    rows = trained_project.flights(50)
    source, target = tmp_path / "rows.csv", tmp_path / "answers.csv"
    lines = [",".join(rows[0]), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")

    trained_project.mlops("batch", str(source), str(target))

    answered = trained_project.request("POST", "/predict", {"rows": rows}).body["predictions"]
    column = target.read_text("utf-8").splitlines()[0].split(",").index("late")
    in_file = [line.split(",")[column] == "true" for line in target.read_text("utf-8").splitlines()[1:]]
    assert in_file == [one["late"] for one in answered]


def test_a_batch_with_a_bad_row_is_refused_whole(trained_project: RunningProject, tmp_path: Path) -> None:
    rows = trained_project.flights(2)
    rows[1]["carrier"] = "ZZ"
    source, target = tmp_path / "rows.csv", tmp_path / "answers.csv"
    lines = [",".join(rows[0]), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")

    result = trained_project.mlops("batch", str(source), str(target), check=False)

    assert result.exit_code == 1
    assert "carrier: must be one of" in result.stderr
    assert "in 1 row, first rows.csv:2 = ZZ" in result.stderr
    assert not target.exists()


def test_an_environment_file_that_nobody_reviewed_is_not_deployed(trained_project: RunningProject) -> None:
    trained_project.release("staging")
    trained_project.edit("deploy/environments/staging.yaml", "version: 1", "version: 2")

    result = trained_project.mlops("deploy", "staging", check=False)

    assert result.exit_code == 1
    assert "deploy/environments/staging.yaml has changes that are in no commit" in result.stderr


def test_a_detached_head_and_a_shallow_clone_are_refused(trained_project: RunningProject) -> None:
    git(trained_project.root, "switch", "--quiet", "--detach")
    detached = trained_project.mlops("promote", "staging", check=False)
    git(trained_project.root, "switch", "--quiet", "main")
    (trained_project.root / ".git" / "shallow").write_text(git(trained_project.root, "rev-parse", "HEAD"), "utf-8")
    shallow = trained_project.mlops("register", check=False)

    assert "the head is detached" in detached.stderr
    assert "next: git switch main" in detached.stderr
    assert "this is a shallow clone" in shallow.stderr
    assert "next: git fetch --unshallow" in shallow.stderr


@pytest.mark.parametrize("command", ["pipeline", "register", "promote staging"])
def test_a_second_one_is_refused_while_one_runs(trained_project: RunningProject, command: str) -> None:
    """The lock is held by a process of ours, so that nothing depends on timing."""
    what = command.removesuffix(" staging") if "promote" in command else command
    code = (
        "import sys; from slipway.settings.project import Project;"
        "from subprocess import run;"
        f"lock = Project.find().only_one('{what}'); lock.__enter__();"
        f"sys.exit(run([sys.executable, '-m', 'slipway', *'{command}'.split()]).returncode)"
    )

    result = trained_project.run("python", "-c", code, check=False)

    assert result.exit_code == 1
    assert f"another `mlops {what}` is running" in result.stderr
    assert "next: wait until it has ended" in result.stderr


def test_a_registration_killed_at_any_moment_leaves_one_version_in_the_end(trained_project: RunningProject) -> None:
    trained_project.edit("params.yaml", "n_estimators: 150", "n_estimators: 20")
    trained_project.mlops("pipeline")
    trained_project.commit("Use 20 trees")
    for after_s in (2, 4, 6, 8):
        trained_project.kill_after(after_s, "register")

    trained_project.mlops("register")

    assert len(trained_project.versions()) == 2


def test_a_pipeline_killed_at_any_moment_goes_on_where_it_was(trained_project: RunningProject) -> None:
    expected = (trained_project.root / "reports" / "metrics.json").read_bytes()
    for after_s in (4, 7, 10):
        trained_project.kill_after(after_s, "pipeline", "--force")
    # DVC empties the file before it writes it.
    (trained_project.root / "dvc.lock").write_bytes(b"")

    result = trained_project.mlops("pipeline")

    assert "mind: dvc.lock was cut off" in result.stderr
    assert (trained_project.root / "reports" / "metrics.json").read_bytes() == expected
    assert trained_project.mlops("audit").exit_code == 0


def test_an_unchanged_pipeline_runs_no_stage(trained_project: RunningProject) -> None:
    result = trained_project.mlops("pipeline")

    assert result.stdout.count("didn't change, skipping") == 6
    assert "Running stage" not in result.stdout


def test_two_clean_clones_make_the_same_model(trained: RunningProject, tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        git(trained.root, "clone", "--quiet", str(trained.root), str(tmp_path / name))
        clone = RunningProject(tmp_path / name)
        clone.run("python", "-c", "pass")
        clone.mlops("pipeline", "--force")
        bundle = clone.root / "model" / "bundle"
        made.append({path.name: path.read_bytes() for path in sorted(bundle.iterdir())})

    assert made[0] == made[1]
    assert set(made[0]) >= {"model.onnx", "golden.json", "reference.parquet", "metrics.json", "card.md"}


def test_an_environment_without_a_champion_says_what_to_do(trained_project: RunningProject) -> None:
    result = trained_project.mlops("deploy", "production", check=False)

    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: production names no champion yet",
        " next: mlops promote production, then review and merge the proposal",
    ]


def test_a_project_that_predicts_a_quantity_goes_all_the_way(render: Callable[..., Path], tmp_path: Path) -> None:
    project = train(prepare(render(problem="regression", data_remote_url=str(tmp_path / "remote"))))

    project.release("staging")
    rows = project.flights(300)
    answered = project.request("POST", "/predict", {"rows": rows}).body["predictions"]
    project.stop()

    delays = [one["delay"] for one in answered]
    assert -60 < min(delays) < max(delays) < 180
    assert len(set(delays)) > 200
    assert project.run("pytest", "-q").exit_code == 0


def test_a_project_that_predicts_one_of_several_classes_goes_all_the_way(
    render: Callable[..., Path], tmp_path: Path
) -> None:
    project = train(prepare(render(problem="multiclass", data_remote_url=str(tmp_path / "remote"))))

    project.release("staging")
    rows = project.flights(300)
    answered = project.request("POST", "/predict", {"rows": rows}).body["predictions"]
    traced = project.mlops("trace", answered[0]["id"]).stdout
    project.stop()

    assert {one["arrival"] for one in answered} == {"on time", "late", "very late"}
    assert f"arrival           {answered[0]['arrival']}" in traced
    assert "probabilities     on time = 0." in traced
    assert project.run("pytest", "-q").exit_code == 0


@pytest.mark.parametrize(
    ("command", "exit_code", "complaint"),
    [
        ("promote nowhere", 2, "there is no environment nowhere"),
        ("stop nowhere", 2, "there is no environment nowhere"),
        ("stage nothing", 2, "there is no stage nothing"),
        ("trace nobody", 1, "nobody is no prediction in the log of this machine"),
        ("trace http://127.0.0.1:1", 1, "no answer from http://127.0.0.1:1/version"),
        ("serve --version 99", 1, "flight-delays has no version or alias '99' in the registry; there is: 1"),
        ("batch nothing.csv answers.csv", 1, "there is no nothing.csv"),
        ("batch data/sample/flights.csv.gz answers.txt", 2, "answers.txt is neither .csv nor .parquet"),
        ("monitor staging --since yesterday", 2, "--since yesterday is no span and no date"),
    ],
)
def test_a_wrong_word_gets_a_sentence(trained: RunningProject, command: str, exit_code: int, complaint: str) -> None:
    result = trained.mlops(*command.split(), check=False)

    assert result.exit_code == exit_code
    assert result.stderr.startswith(f"error: {complaint}")
    assert result.stderr.splitlines()[-1].startswith(" next: ")
    assert result.stdout == ""
