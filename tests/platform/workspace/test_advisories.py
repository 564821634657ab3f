"""Known weaknesses of dependencies, asked of a database on the loopback address that speaks like the public one."""

import subprocess
from pathlib import Path

import pytest
from advisories import CVE, GHSA, database
from running import free_port
from slipway.base.errors import MlopsError
from slipway.cli import app
from slipway.settings.project import Project
from typer.testing import CliRunner, Result

PROJECT = '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["six"]\n'


@pytest.fixture
def locked(tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one dependency, and a lock for it."""
    root = tmp_path / "locked"
    root.mkdir()
    for name in ("dvc.yaml", "policy.yaml"):
        (root / name).write_bytes((project.root / name).read_bytes())
    (root / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    subprocess.run(["uv", "lock", "--quiet"], cwd=root, check=True)
    monkeypatch.chdir(root)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    return root


def accept(root: Path, name: str, until: str) -> None:
    with (root / "policy.yaml").open("a", encoding="utf-8") as policy:
        policy.write(f"\nadvisories:\n  accept:\n    {name}: {until} # nobody counts to seven\n")


def ask(address: str) -> Result:
    return CliRunner().invoke(app, ["advisories", "--database", address])


def test_a_weakness_is_told_with_what_to_do(locked: Path) -> None:
    assert locked.is_dir()
    with database(GHSA) as address:
        told = ask(address)

    assert told.exit_code == 3
    assert f"{GHSA}, six 1." in told.output
    assert "not mended yet: Six is seven" in told.output
    assert "mlops policy add advisories" in told.output


def test_where_none_is_known_that_is_said(locked: Path) -> None:
    assert locked.is_dir()
    with database() as address:
        told = ask(address)

    assert (told.exit_code, told.output) == (0, "no weakness is known of what uv.lock names\n")


@pytest.mark.parametrize("name", [GHSA, CVE])
def test_an_accepted_one_is_told_and_is_no_failure_until_its_day(name: str, locked: Path) -> None:
    accept(locked, name, "2999-12-31")

    with database(GHSA) as address:
        told = ask(address)

    assert told.exit_code == 0
    assert "accepted until 2999-12-31" in told.output


def test_after_its_day_it_is_a_failure_again(locked: Path) -> None:
    accept(locked, GHSA, "2026-01-31")

    with database(GHSA) as address:
        told = ask(address)

    assert told.exit_code == 3
    assert "was accepted until 2026-01-31" in told.output


def test_what_is_accepted_and_gone_is_told(locked: Path) -> None:
    accept(locked, GHSA, "2999-12-31")

    with database() as address:
        told = ask(address)

    assert told.exit_code == 0
    assert f"{GHSA} is accepted and no more found: take it out" in told.output


def test_a_database_that_does_not_answer_is_told_and_blocks_nobody(locked: Path) -> None:
    assert locked.is_dir()

    told = ask(f"http://127.0.0.1:{free_port()}")

    assert told.exit_code == 0
    assert "nothing was looked up, as the database did not answer" in told.output


def test_a_lock_of_something_else_is_refused(locked: Path) -> None:
    (locked / "pyproject.toml").write_text(PROJECT.replace('"six"', '"six", "idna"'), encoding="utf-8")

    with database() as address:
        told = ask(address)

    assert isinstance(told.exception, MlopsError)
    assert "uv audit says" in told.exception.problem
