"""Raw data behind a pointer, and a checkout that has no way to it: a pull request, also from a fork."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from slipway import testing
from slipway.base.errors import MlopsError
from slipway.cli import app
from slipway.data import raw
from slipway.settings.project import Project
from typer.testing import CliRunner

REMOTE = "[core]\nremote = storage\n['remote \"storage\"']\nurl = {url}\n"
RAW = "data/raw.parquet"
#: Every place where a pointer to the source may lie: the source, its pointer.
PLACES = [(RAW, f"{RAW}.dvc"), ("data/raw", "data/raw.dvc"), ("data/raw", "data/raw/june.csv.dvc"), ("in/x", "in.dvc")]


def name_in_params(project: Project, source: str, sample: str = "") -> Project:
    path = project.root / "params.yaml"
    line = f"\n  sample: {sample}" if sample else ""
    path.write_text(path.read_text("utf-8").replace(f"source: {RAW}", f"source: {source}{line}"), encoding="utf-8")
    return Project(project.root)


@pytest.fixture
def job(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A checkout in a job without credentials, whose data is in a bucket."""
    (project.root / ".dvc").mkdir()
    (project.root / ".dvc" / "config").write_text(REMOTE.format(url="s3://flights/dvc"), encoding="utf-8")
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.root / "summary.md"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.chdir(project.root)
    return project


@pytest.fixture
def elsewhere(job: Project) -> Path:
    """The raw data, moved out of the checkout that has a pointer in its place."""
    (job.root / f"{RAW}.dvc").write_text("outs:\n- path: raw.parquet\n", encoding="utf-8")
    return Path(shutil.move(job.root / RAW, job.root.parent / "away.parquet"))


def pipeline(*options: str) -> str:
    done = CliRunner().invoke(app, ["pipeline", "--where-possible", *options])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(("source", "pointer"), PLACES)
def test_data_behind_a_pointer_is_out_of_reach_without_a_credential(
    source: str, pointer: str, job: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job.root / pointer).parent.mkdir(parents=True, exist_ok=True)
    (job.root / pointer).write_text("outs: []\n", encoding="utf-8")
    (job.root / RAW).unlink()
    project = name_in_params(job, source)

    assert "kept in the data remote, and a checkout without credentials for the bucket" in raw.out_of_reach(project)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    assert raw.out_of_reach(project) == ""


def test_a_source_that_nobody_knows_is_not_taken_for_one_behind_a_pointer(job: Project) -> None:
    (job.root / "data" / "labels.csv.dvc").write_text("outs: []\n", encoding="utf-8")

    assert raw.out_of_reach(name_in_params(job, "data/typo.csv")) == ""


def test_a_folder_that_is_not_on_this_machine_is_out_of_reach(job: Project, elsewhere: Path) -> None:
    assert elsewhere.is_file()
    (job.root / ".dvc" / "config").write_text(REMOTE.format(url="../../nowhere"), encoding="utf-8")

    assert "without a remote that jobs reach" in raw.out_of_reach(job)


def test_the_stages_run_on_the_sample_in_git_and_no_gate_judges_it(job: Project, elsewhere: Path) -> None:
    sample = job.root / "data" / "sample" / "rows.parquet"
    sample.parent.mkdir()
    shutil.copy(elsewhere, sample)
    name_in_params(job, RAW, "data/sample/rows.parquet")
    policy = job.root / "policy.yaml"
    policy.write_text(policy.read_text("utf-8").replace("model_megabytes: 5", "model_megabytes: 0.001"), "utf-8")
    shutil.rmtree(job.root / "model")

    told = pipeline("--against", "origin/main")

    assert "No data here: data/raw.parquet is kept in the data remote" in told
    assert "The stages ran on the sample data/sample/rows.parquet instead" in told
    assert "| metric | on data/sample/rows.parquet |" in (job.root / "summary.md").read_text("utf-8")
    assert (job.root / "model" / "bundle").is_dir()
    assert not (job.root / "dvc.lock").exists()


def test_without_a_sample_nothing_is_trained_and_that_is_said(job: Project, elsewhere: Path) -> None:
    assert elsewhere.is_file()
    shutil.rmtree(job.root / "model")

    told = pipeline()

    assert "Nothing was trained. A sample in Git, named by `data.sample` in params.yaml, would be trained on." in told
    assert "Nothing was trained" in (job.root / "summary.md").read_text("utf-8")
    assert not (job.root / "model").exists()


def test_a_candidate_is_never_made_of_a_sample(job: Project, elsewhere: Path) -> None:
    shutil.copy(elsewhere, job.root / "data" / "sample.parquet")
    name_in_params(job, RAW, "data/sample.parquet")
    shutil.rmtree(job.root / "model")

    assert "Nothing was trained. See docs/ci.md." in pipeline("--commit")
    assert not (job.root / "model").exists()


def test_a_sample_that_is_not_there_is_named(job: Project, elsewhere: Path) -> None:
    assert elsewhere.is_file()
    with pytest.raises(MlopsError, match=r"params\.yaml, data\.sample: there is no data/nowhere\.csv"):
        raw.at_hand(name_in_params(job, RAW, "data/nowhere.csv"))


@pytest.mark.parametrize("has_sample", [True, False])
def test_the_tests_of_a_project_take_the_sample_or_are_skipped(
    has_sample: bool, job: Project, elsewhere: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Check is a required job, too."""
    copy: Callable[[Path, Path], Project] = testing.small_copy
    if has_sample:
        shutil.copy(elsewhere, job.root / "data" / "sample.parquet")
        name_in_params(job, RAW, "data/sample.parquet")
        made = copy(job.root, tmp_path_factory.mktemp("copy"))
        assert (made.root / made.params.data.source).is_file()
        return
    with pytest.raises(pytest.skip.Exception, match="no data here"):
        copy(job.root, tmp_path_factory.mktemp("copy"))
