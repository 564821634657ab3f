"""What of this process's environment its children get: no program looks or gets in where it was not meant to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.data import access
from slipway.delivery.native import target
from slipway.forge import git
from slipway.registry import packaging

SECRETS = {
    "clouds": "AWS_SECRET_ACCESS_KEY",
    "forge": "GITHUB_TOKEN",
    "signing": "COSIGN_PASSWORD",
    "tracking": "MLFLOW_TRACKING_PASSWORD",
}
PRINTS_NAMES = "import os; print(*os.environ, sep='\\n')"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A credential of each kind, in this process's environment."""
    for name in SECRETS.values():
        monkeypatch.setenv(name, "secret")
    return set(SECRETS.values())


def test_every_local_variable_of_git_is_known() -> None:
    done = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True)

    assert set(done.stdout.split()) <= programs.GIT_LOCAL | {"GIT_CONFIG_COUNT"}


def test_git_works_in_the_folder_it_is_told_inside_of_a_hook_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "elsewhere"):
        subprocess.run(["git", "init", "--quiet", str(tmp_path / name)], check=True)
    (tmp_path / "here" / "one.txt").touch()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))

    git.git(tmp_path / "here", "add", "one.txt")

    assert git.git(tmp_path / "here", "ls-files") == "one.txt\n"
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("name", sorted(programs.GIT_LOCAL))
def test_no_child_gets_a_local_variable_of_git(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "set by a hook")
    everything = (*programs.CLOUDS, *programs.FORGE, *programs.SIGNING, *programs.TRACKING)

    for given in (programs.environment(*everything), access.declared_environment(), target.server_environment()):
        assert name not in given


def test_a_program_gets_no_credentials_unasked(secrets: set[str]) -> None:
    told = programs.run(sys.executable, "-c", PRINTS_NAMES, install="").output.split()

    assert not secrets & set(told)
    assert "PATH" in told


@pytest.mark.parametrize("kind", SECRETS)
def test_a_program_gets_the_credentials_it_needs(kind: str, secrets: set[str]) -> None:
    needed: tuple[str, ...] = getattr(programs, kind.upper())

    assert secrets & programs.environment(*needed).keys() == {SECRETS[kind]}


def test_a_server_gets_no_credentials(secrets: set[str]) -> None:
    assert not secrets & target.server_environment().keys()


def test_git_gets_credentials_only_where_it_asks_another_machine(
    secrets: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
    (tmp_path / "settings").write_text('[alias]\nshown = "!f() { env; }; f"\n', encoding="utf-8")
    git.git(tmp_path, "init", "--quiet")

    assert "secret" not in git.git(tmp_path, "shown")
    assert "GITHUB_TOKEN=secret" in git.git(tmp_path, "shown", "push")


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy", "SSL_CERT_FILE"])
def test_proxies_and_certificates_reach_every_child(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "kept")

    for given in (programs.environment(), access.declared_environment(), target.server_environment()):
        assert given[name] == "kept"


def test_settings_of_git_reach_what_runs_git_and_what_is_added_comes_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a company sends a host elsewhere, or lets Git in there, it often says so in the environment."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url.file:///mirror/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://example.org/")
    git.git(tmp_path, "init", "--quiet")
    git.git(tmp_path, "remote", "add", "origin", "https://example.org/a")

    shown = git.git(tmp_path, "config", "--get", "core.abbrev", settings={"core.abbrev": "11"})

    assert shown == "11\n"
    assert git.git(tmp_path, "remote", "get-url", "origin", settings={"core.abbrev": "11"}) == "file:///mirror/a\n"
    assert access.declared_environment()["GIT_CONFIG_VALUE_0"] == "https://example.org/"
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\nenv\n", encoding="utf-8")
    uv.chmod(0o755)
    monkeypatch.setenv("UV", str(uv))
    assert "GIT_CONFIG_VALUE_0=https://example.org/\n" in packaging._uv(tmp_path)
    for given in (programs.environment(), target.server_environment()):
        assert not [name for name in given if name.startswith(programs.GIT_SETTINGS)]


def test_a_count_of_settings_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "many")

    with pytest.raises(MlopsError, match="GIT_CONFIG_COUNT in the environment is many, and no number"):
        git.git(tmp_path, "init", "--quiet")
