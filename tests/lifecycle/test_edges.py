"""Each link between two components, once whole and once cut.

`edge` names the link and the fault that cuts it; `docs/edges.md` is generated from these tests.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from rendering import git
from running import RunningProject, free_port

edge = pytest.mark.edge

#: What a job installs to train and to register: what uv.lock names, without the tools of a developer.
RELEASE_ENVIRONMENT = ["uv", "sync", "--quiet", "--locked", "--no-group", "dev"]
T = TypeVar("T")


def raw_data_behind_a_pointer(project: RunningProject) -> None:
    """Move the raw data out of Git: a pointer stays, the file goes to the remote."""
    raw = project.root / "data" / "raw"
    raw.mkdir()
    shutil.copyfile(project.root / "data/sample/flights.csv.gz", raw / "flights.csv.gz")
    project.run("dvc", "add", "--quiet", "data/raw/flights.csv.gz")
    project.run("dvc", "push", "--quiet")
    project.edit("params.yaml", "data/sample/flights.csv.gz", "data/raw/flights.csv.gz")
    project.commit("Keep raw data in the remote")


def clone(project: RunningProject, target: Path) -> RunningProject:
    """What a colleague gets: the repository, and access to the same remote."""
    git(project.root, "clone", "--quiet", str(project.root), str(target))
    subprocess.run(["uv", "sync", "--quiet", "--locked"], cwd=target, check=True)
    cloned = RunningProject(target)
    remote = project.root.parent / f"{project.root.name}-data"
    cloned.run("dvc", "remote", "modify", "--local", "storage", "url", str(remote))
    return cloned


@edge("E2", "data storage ↔ experimentation")
def test_a_clean_clone_trains_on_data_from_the_remote(trained_project: RunningProject, tmp_path: Path) -> None:
    raw_data_behind_a_pointer(trained_project)
    cloned = clone(trained_project, tmp_path / "clone")

    cloned.mlops("pipeline")

    metrics = "reports/metrics.json"
    assert (cloned.root / metrics).read_bytes() == (trained_project.root / metrics).read_bytes()


@edge("E2", "data storage ↔ experimentation", fault="the remote is empty")
def test_a_pipeline_without_its_data_is_refused(trained_project: RunningProject, tmp_path: Path) -> None:
    raw_data_behind_a_pointer(trained_project)
    cloned = clone(trained_project, tmp_path / "clone")
    (tmp_path / "empty").mkdir()
    cloned.run("dvc", "remote", "modify", "--local", "storage", "url", str(tmp_path / "empty"))

    result = cloned.mlops("pipeline", check=False)

    assert result.exit_code == 1
    assert "data/raw/flights.csv.gz" in result.stdout + result.stderr
    assert not (cloned.root / "model").exists()


@edge("E3", "data storage ↔ model registry")
def test_a_version_names_the_data_it_was_made_from(trained: RunningProject) -> None:
    facts = json.loads(trained.mlops("trace", "1", "--json").stdout)

    raw = hashlib.md5((trained.root / "data/sample/flights.csv.gz").read_bytes(), usedforsecurity=False).hexdigest()
    assert f"data/sample/flights.csv.gz md5 {raw}" in facts["data"]


@edge("E3", "data storage ↔ model registry", fault="the registration does not learn the data's version")
def test_a_model_of_unknown_data_is_not_registered(trained_project: RunningProject) -> None:
    trained_project.edit("vendor/slipway/src/slipway/registry/register.py", "dvc.data_versions(project)", "[]")
    trained_project.commit("Lose the data's version")

    result = trained_project.mlops("register", check=False)

    assert result.exit_code == 1
    assert "lineage is incomplete: nothing is known of data" in result.stderr
    assert len(trained_project.versions()) == 1


@edge("E4", "data storage ⋯ version control")
def test_every_pointer_in_git_resolves(trained: RunningProject) -> None:
    result = trained.mlops("audit")

    assert "ok    the data remote has every object that Git points to" in result.stdout


@edge("E4", "data storage ⋯ version control", fault="a pointer is committed and its object never pushed")
def test_a_pointer_to_nothing_is_found(trained_project: RunningProject) -> None:
    (trained_project.root / "data" / "extra.csv").write_text("a\n1\n", encoding="utf-8")
    trained_project.run("dvc", "add", "--quiet", "data/extra.csv")
    trained_project.commit("Point to what only this machine has")

    result = trained_project.mlops("audit", check=False)

    assert result.exit_code == 3
    assert "FAIL  the data remote has every object that Git points to" in result.stdout
    assert "data/extra.csv" in result.stdout


@edge("E5", "version control ⋯ model registry")
def test_version_and_commit_name_each_other(trained_project: RunningProject) -> None:
    trained_project.release("staging")

    facts = json.loads(trained_project.mlops("trace", "staging", "--json").stdout)

    commit = facts["commit"].split()[0]
    assert git(trained_project.root, "cat-file", "-t", commit).strip() == "commit"
    promoted = git(trained_project.root, "show", "HEAD:deploy/environments/staging.yaml")
    assert f"digest: {facts['digest']}" in promoted
    assert f"commit: {commit}" in promoted


@edge("E5", "version control ⋯ model registry", fault="the tree has a change that is in no commit")
def test_a_model_from_a_dirty_tree_is_not_registered(trained_project: RunningProject) -> None:
    trained_project.edit("src/flight_delays/features.py", "Yours to change.", "Changed, not committed.")

    result = trained_project.mlops("register", check=False)

    assert result.exit_code == 1
    assert "cannot register from a tree with changes in 1 file: src/flight_delays/features.py" in result.stderr
    assert "next: commit them" in result.stderr
    assert len(trained_project.versions()) == 1


@edge("E6", "version control → workspace")
def test_a_clean_clone_becomes_a_working_environment(trained_project: RunningProject, tmp_path: Path) -> None:
    cloned = clone(trained_project, tmp_path / "clone")

    cloned.mlops("setup")

    assert cloned.run("pytest", "-q", "tests/test_features.py").exit_code == 0
    assert (cloned.root / ".git" / "hooks" / "pre-commit").is_file()


@edge("E6", "version control → workspace", fault="the lock file is gone")
def test_a_clone_without_its_lock_is_found(trained_project: RunningProject) -> None:
    mlops = trained_project.root / ".venv" / "bin" / "mlops"
    trained_project.mlops("--version")  # makes the environment
    (trained_project.root / "uv.lock").unlink()

    result = subprocess.run([mlops, "audit"], check=False, cwd=trained_project.root, capture_output=True, text=True)

    assert result.returncode == 3
    assert "FAIL  uv.lock holds what pyproject.toml asks for" in result.stdout


@edge("E7", "version control ↔ artefact registry")
def test_code_in_the_registry_and_commit_name_each_other(trained_project: RunningProject) -> None:
    trained_project.release("staging")

    audited = trained_project.mlops("audit")

    assert "ok    the code in the bundle of version 1 is that of its commit" in audited.stdout
    commit = json.loads(trained_project.mlops("trace", "staging", "--json").stdout)["commit"].split()[0]
    assert git(trained_project.root, "cat-file", "-t", commit) == "commit\n"


@edge("E7", "version control ↔ artefact registry", fault="the code in the registry is not that of the commit it names")
def test_code_that_its_commit_does_not_make_is_found_and_not_compared(trained_project: RunningProject) -> None:
    register_with_other_code(trained_project)
    trained_project.release("staging")

    audited = trained_project.mlops("audit", check=False)
    compared = trained_project.mlops("compare", "1", "2", check=False)

    assert audited.exit_code == 3
    assert "FAIL  the code in the bundle of version 2 is that of its commit" in audited.stdout
    assert compared.exit_code == 1
    assert "is not that of commit" in compared.stderr


@edge("E8", "workspace → experimentation")
def test_the_pipeline_runs_with_declared_variables_only(trained_project: RunningProject) -> None:
    result = trained_project.mlops("pipeline", "--force", env={"ONLY_ON_MY_LAPTOP": "1"})

    assert "pass  roc_auc" in result.stdout


@edge("E8", "workspace → experimentation", fault="a stage relies on a variable of one shell")
def test_a_stage_that_relies_on_one_shell_fails_in_it_too(trained_project: RunningProject) -> None:
    """Else it would fail for the first time in CI."""
    trained_project.edit(
        "src/flight_delays/features.py",
        "SECONDS_A_DAY = 86_400",
        'import os\n\nSECONDS_A_DAY = 86_400 * int(os.environ["ONLY_ON_MY_LAPTOP"])',
    )

    result = trained_project.mlops("pipeline", check=False, env={"ONLY_ON_MY_LAPTOP": "1"})

    assert result.exit_code == 1
    assert "KeyError: 'ONLY_ON_MY_LAPTOP'" in result.stderr


@edge("E9", "experimentation → model registry")
def test_a_model_that_passed_its_gates_is_registered_once(trained_project: RunningProject) -> None:
    again = trained_project.mlops("register")

    assert "version 1 was registered before" in again.stdout
    assert len(trained_project.versions()) == 1


@edge("E9", "experimentation → model registry", fault="the model is below a limit")
def test_a_model_below_a_limit_is_not_registered(trained_project: RunningProject) -> None:
    trained_project.edit("policy.yaml", "min: 0.68", "min: 0.99")
    trained_project.commit("Ask for more")

    judged = trained_project.mlops("pipeline", check=False)
    result = trained_project.mlops("register", check=False)

    assert judged.exit_code == 3
    assert "FAIL  roc_auc is 0.723, the gate asks for at least 0.99" in judged.stdout
    assert result.exit_code == 3
    assert "did not pass its gates: roc_auc is 0.723, the gate asks for at least 0.99" in result.stderr
    assert len(trained_project.versions()) == 1


@edge("E9", "experimentation → model registry", fault="the figures are edited by hand")
def test_edited_figures_do_not_open_the_gate(trained_project: RunningProject) -> None:
    trained_project.edit("reports/metrics.json", '"roc_auc": 0.723', '"roc_auc": 0.923')
    trained_project.commit("Improve the figures")

    result = trained_project.mlops("register", check=False)

    assert result.exit_code == 1
    assert "the outputs in this checkout are not those of its code" in result.stderr
    assert len(trained_project.versions()) == 1


@edge("E10", "experimentation ↔ artefact registry")
def test_training_runs_with_what_a_release_locks_and_makes_its_artefact(trained_project: RunningProject) -> None:
    subprocess.run(RELEASE_ENVIRONMENT, cwd=trained_project.root, check=True)

    trained = trained_project.run("--no-sync", "mlops", "pipeline", "--force")
    trained_project.commit("Train once more")
    registered = trained_project.run("--no-sync", "mlops", "register")

    assert "pass  roc_auc" in trained.stdout
    assert "registered" in registered.stdout
    listed = {path.name for path in (trained_project.root / ".mlops" / "artifacts").rglob("bundle-*/*")}
    assert {"flight_delays-0.1.0-py3-none-any.whl", "requirements.txt", "sbom.json"} <= listed
    assert any(name.startswith("slipway_mlops-") for name in listed)


@edge("E10", "experimentation ↔ artefact registry", fault="a training dependency is not in the lock")
def test_training_without_a_locked_dependency_is_refused(trained_project: RunningProject) -> None:
    trained_project.edit("vendor/slipway/pyproject.toml", '  "polars>=2.1,<3",\n', "")
    subprocess.run(["uv", "lock", "--quiet"], cwd=trained_project.root, check=True)
    subprocess.run(RELEASE_ENVIRONMENT, cwd=trained_project.root, check=True)

    trained = trained_project.run("--no-sync", "mlops", "pipeline", "--force", check=False)

    assert trained.exit_code == 1
    assert "No module named 'polars'" in trained.stderr + trained.stdout


@edge("E11", "experimentation → tracking")
def test_a_run_holds_what_is_needed_to_make_it_again(trained: RunningProject) -> None:
    run = stored_run(trained)

    assert run["params"]["model.n_estimators"] == "150"
    assert run["params"]["seed"] == "7"
    assert 0.68 < run["metrics"]["roc_auc"] < 1
    assert set(run["tags"]) >= {"mlops.commit", "mlops.lock", "mlops.pipeline", "mlops.python", "mlops.platform"}
    lock = hashlib.sha256((trained.root / "uv.lock").read_bytes()).hexdigest()
    assert run["tags"]["mlops.lock"] == lock


@edge("E11", "experimentation → tracking", fault="the tracking server is down")
def test_a_run_that_cannot_be_tracked_does_not_start(trained_project: RunningProject) -> None:
    trained_project.edit("params.yaml", "n_estimators: 150", "n_estimators: 151")
    before = (trained_project.root / "dvc.lock").read_bytes()
    nobody = f"http://127.0.0.1:{free_port()}"

    result = trained_project.mlops("pipeline", check=False, env={"MLFLOW_TRACKING_URI": nobody})

    assert result.exit_code == 1
    assert f"the tracking store {nobody} does not answer" in result.stderr
    assert "next: start it" in result.stderr
    assert (trained_project.root / "dvc.lock").read_bytes() == before


@edge("E12", "model registry → serving")
def test_the_server_says_which_version_it_loaded_from_the_registry(twice_trained_project: RunningProject) -> None:
    twice_trained_project.release("staging", "--version", "1")
    first = twice_trained_project.request("GET", "/version").body
    twice_trained_project.release("staging")

    second = twice_trained_project.request("GET", "/version").body

    digests = [version["digest"] for version in with_digests(twice_trained_project)]
    assert [(first["version"], first["digest"]), (second["version"], second["digest"])] == [
        (1, digests[0]),
        (2, digests[1]),
    ]


@edge("E12", "model registry → serving", fault="the alias is moved by hand")
def test_an_alias_moved_by_hand_is_found_and_changes_nothing(twice_trained_project: RunningProject) -> None:
    twice_trained_project.release("staging")
    move_alias(twice_trained_project, "staging", version=1)

    result = twice_trained_project.mlops("audit", check=False)

    assert result.exit_code == 3
    assert "FAIL  the registry's alias staging agrees with staging" in result.stdout
    assert twice_trained_project.request("GET", "/version").body["version"] == 2
    twice_trained_project.mlops("deploy", "staging")
    assert twice_trained_project.mlops("audit").exit_code == 0


@edge("E12", "model registry → serving", fault="the registry holds other bytes than were reviewed")
def test_a_bundle_changed_in_the_registry_is_not_served(trained_project: RunningProject) -> None:
    (model,) = (trained_project.root / ".mlops" / "artifacts").rglob("model.onnx")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    branch = trained_project.mlops("promote", "staging").stdout.split("in branch ")[1].split()[0]
    git(trained_project.root, "merge", "--quiet", branch)

    result = trained_project.mlops("deploy", "staging", check=False)

    assert result.exit_code == 1
    assert "model.onnx was changed after the bundle was sealed" in result.stderr


@edge("E13", "artefact registry ↔ serving")
def test_what_answers_is_the_code_whose_digest_was_reviewed(trained_project: RunningProject) -> None:
    trained_project.release("staging")
    before = trained_project.request("GET", "/version").body
    trained_project.edit("src/flight_delays/features.py", "def features(", "def features_of_today(")

    restarted = restart_worker(trained_project)

    assert restarted == before


@edge("E13", "artefact registry ↔ serving", fault="other code is put under the same version")
def test_code_replaced_under_the_same_version_is_not_deployed(trained_project: RunningProject) -> None:
    branch = trained_project.mlops("promote", "staging").stdout.split("in branch ")[1].split()[0]
    git(trained_project.root, "merge", "--quiet", branch)
    (wheel,) = (trained_project.root / ".mlops" / "artifacts").rglob("flight_delays*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"other code")

    result = trained_project.mlops("deploy", "staging", check=False)

    assert result.exit_code == 1
    assert "flight_delays-0.1.0-py3-none-any.whl was changed after the bundle was sealed" in result.stderr


@edge("E14", "serving → monitoring")
def test_every_prediction_leaves_a_record_that_monitoring_reads(trained_project: RunningProject) -> None:
    trained_project.release("staging")
    rows = trained_project.flights(300)

    answered = trained_project.request("POST", "/predict", {"rows": rows}).body["predictions"]
    report = wait_for_predictions(trained_project, at_least=300)

    # The question that deploying asks is not among them.
    assert report["predictions"] == 300
    traced = json.loads(trained_project.mlops("trace", answered[7]["id"], "--json").stdout)
    assert traced["row"]["flight"] == rows[7]["flight"]
    assert traced["late"] == answered[7]["late"]


@edge("E14", "serving → monitoring", fault="the log cannot be written")
def test_predictions_that_leave_no_record_are_told(trained_project: RunningProject) -> None:
    log = trained_project.root / ".mlops" / "predictions"
    shutil.rmtree(log, ignore_errors=True)
    log.write_text("in the way of the folder", encoding="utf-8")
    trained_project.release("staging")

    answered = trained_project.request("POST", "/predict", {"rows": trained_project.flights(300)})
    failures = wait_until(lambda: metric(trained_project, "mlops_prediction_log_failures_total"), bool)
    result = trained_project.mlops("monitor", "staging")

    assert answered.status == 200
    assert failures > 0
    assert "insufficient data: 0 predictions by the champion" in result.stdout


def register_with_other_code(project: RunningProject) -> None:
    """Put a version into the registry as somebody could who may write there: sealed well, with code of his own."""
    code = (
        "import shutil, zipfile; from pathlib import Path;"
        "from slipway.base.files import sha256; from slipway.settings.project import Project;"
        "from slipway.registry.models import Registry; from slipway.training import bundle;"
        "registry = Registry.open(Project.find()); sealed = registry.fetch(registry.find('1'));"
        "draft = Path('.mlops/draft'); shutil.copytree(sealed.path, draft);"
        "(wheel,) = draft.glob('flight_delays*.whl');"
        "zipfile.ZipFile(wheel, 'a').writestr('flight_delays/more.py', 'print(1)');"
        "(draft / 'SHA256SUMS').unlink(); needed = draft / 'requirements.txt';"
        "_, rest = needed.read_text().split('\\n', 1);"
        "needed.write_text(f'./{wheel.name} --hash=sha256:{sha256(wheel)}\\n{rest}');"
        "made = bundle.seal(draft, Path('.mlops/forged'), sealed.lineage); print(registry.register(made))"
    )
    project.run("python", "-c", code)


def restart_worker(project: RunningProject) -> dict[str, Any]:
    """Kill the server; return what the next one says of itself."""

    def worker() -> int | None:
        found: int | None = json.loads((project.root / ".mlops/environments/staging/state.json").read_bytes())["worker"]
        return found

    killed = worker()
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_until(worker, lambda found: found not in (killed, None))
    answered: dict[str, Any] = project.request("GET", "/version").body
    return answered


def stored_run(project: RunningProject) -> dict[str, dict[str, Any]]:
    """The newest finished run, read from the store past the project's own code."""
    code = (
        "import json, mlflow; client = mlflow.MlflowClient('sqlite:///.mlops/mlflow.db');"
        "ids = [e.experiment_id for e in client.search_experiments()];"
        "run = client.search_runs(ids, \"attributes.status = 'FINISHED'\")[0];"
        "print(json.dumps({'params': run.data.params, 'metrics': run.data.metrics, 'tags': run.data.tags}))"
    )
    run: dict[str, dict[str, Any]] = json.loads(project.run("python", "-c", code).stdout)
    return run


def with_digests(project: RunningProject) -> list[dict[str, Any]]:
    return [
        version | {"digest": json.loads(project.mlops("trace", str(version["version"]), "--json").stdout)["digest"]}
        for version in project.versions()
    ]


def move_alias(project: RunningProject, alias: str, version: int) -> None:
    code = (
        "import mlflow; client = mlflow.MlflowClient('sqlite:///.mlops/mlflow.db');"
        f"client.set_registered_model_alias('flight-delays', '{alias}', '{version}')"
    )
    project.run("python", "-c", code)


def metric(project: RunningProject, name: str) -> float:
    """The value of a metric without labels, as Prometheus would read it."""
    lines = project.text("/metrics").splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def wait_for_predictions(project: RunningProject, at_least: int) -> dict[str, Any]:
    """The log is written a moment after the answer."""

    def report() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(project.mlops("monitor", "staging", "--json", check=False).stdout)
        return found

    return wait_until(report, lambda found: bool(found["predictions"] >= at_least))


def wait_until(look: Callable[[], T], holds: Callable[[T], bool], limit_s: float = 20) -> T:
    """Look again until the condition holds; the last look is returned either way."""
    deadline = time.monotonic() + limit_s
    while not holds(found := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found
