"""The table of data remotes, and every place that has to agree with it."""

import configparser
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rendering import ROOT
from slipway.data import remotes as table
from slipway.data.remotes import Remote

OFFERED = [one for one in table.REMOTES if one.question]


@pytest.fixture(params=OFFERED, ids=lambda one: one.kind)
def remote(request: pytest.FixtureRequest) -> Remote:
    asked: Remote = request.param
    return asked


@pytest.fixture
def project(remote: Remote, render: Callable[..., Path]) -> Path:
    return render(data_remote=remote.kind)


def test_the_questionnaire_offers_the_kinds_of_the_table_in_its_order() -> None:
    question = yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))["data_remote"]

    assert list(question["choices"].items()) == [(one.question, one.kind) for one in OFFERED]
    assert question["default"] == OFFERED[0].kind


def test_the_address_that_a_project_starts_with_is_of_its_kind(remote: Remote, project: Path) -> None:
    config = configparser.ConfigParser()
    config.read(project / ".dvc" / "config", encoding="utf-8")

    assert table.of(config["'remote \"storage\"'"]["url"]) == remote


def test_a_project_installs_what_its_kind_needs(remote: Remote, project: Path) -> None:
    """By an extra of the platform, which has one for each kind that needs a package."""
    wanted = f"slipway-mlops[{remote.extra},train]" if remote.extra else "slipway-mlops[train]"
    groups = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    extras = tomllib.loads((project / "vendor" / "slipway" / "pyproject.toml").read_text("utf-8"))
    brought = extras["project"]["optional-dependencies"].get(remote.extra, [])

    assert wanted in groups["train"]
    assert not remote.extra or any(one.startswith(f"dvc[{remote.extra}]") for one in brought)


@pytest.mark.parametrize("workflow", ["train", "monitor"])
def test_a_job_that_reads_the_data_gets_the_credentials_of_each_kind(workflow: str, project: Path) -> None:
    text = (project / ".github" / "workflows" / f"{workflow}.yml").read_text("utf-8")

    for one in OFFERED:
        for variable, secret in one.secrets:
            assert f"{variable}: ${{{{ secrets.{secret} }}}}" in text


def test_the_page_on_workflows_names_the_secrets_of_the_kind(remote: Remote, project: Path) -> None:
    page = (project / "docs" / "ci.md").read_text("utf-8")

    assert [secret for _, secret in remote.secrets if f"`{secret}`" not in page] == []


def test_what_lets_one_in_begins_with_a_prefix_of_its_kind() -> None:
    """Otherwise DVC would not get it, and a server would."""
    for one in table.REMOTES:
        names = [*one.credentials, *one.roles, *(variable for variable, _ in one.secrets)]
        assert [name for name in names if not name.startswith(one.prefixes or "-")] == []
