"""A template that a job cannot read: a folder of somebody's machine, or a private repository."""

from pathlib import Path

import pytest
from slipway.base.errors import MlopsError
from slipway.cli import app
from slipway.forge.git import git
from slipway.template import update
from typer.testing import CliRunner


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that was made from a folder which is not here."""
    root = tmp_path / "project"
    root.mkdir()
    for name in ("dvc.yaml", "policy.yaml"):
        (root / name).touch()
    git(root, "init", "--quiet")
    record(root, tmp_path / "template")
    monkeypatch.chdir(root)
    return root


def record(root: Path, source: Path | str) -> None:
    (root / ".copier-answers.yml").write_text(f"_commit: v1.0.0\n_src_path: {source}\n", encoding="utf-8")
    git(root, "add", "--all")
    git(root, "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "--quiet", "-m", "Record")


@pytest.mark.parametrize("address", ["", "https://127.0.0.1:1/private/template.git"])
def test_a_template_that_cannot_be_read_is_told_and_is_no_failure_of_a_job(
    address: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address:
        record(root, address)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))

    told = CliRunner().invoke(app, ["template", "update", "--where-possible"])

    assert told.exit_code == 0
    assert f"the template at {address or tmp_path / 'template'} cannot be read from here" in told.output
    assert "No newer version was looked for" in (tmp_path / "summary.md").read_text("utf-8")


def test_a_person_who_asks_for_it_is_refused(root: Path) -> None:
    assert root.is_dir()

    told = CliRunner().invoke(app, ["template", "update"])

    assert isinstance(told.exception, MlopsError)


def test_one_that_can_be_read_is_asked(root: Path, tmp_path: Path) -> None:
    (tmp_path / "template").mkdir()
    git(tmp_path / "template", "init", "--quiet")

    assert update.out_of_reach(root) == ""
