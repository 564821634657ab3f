"""The table of data remotes, and every place that has to agree with it."""

import configparser
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rendering import ROOT, files
from slipway.base import programs
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
def test_a_job_that_reads_the_data_gets_what_lets_it_in_and_nothing_of_another_kind(
    workflow: str, remote: Remote, project: Path
) -> None:
    text = (project / ".github" / "workflows" / f"{workflow}.yml").read_text("utf-8")
    # A job can reach no folder: who has one may add a bucket by hand, and then needs its keys.
    wanted = entries(table.of("s3://bucket"))[:2] if remote.kind == "local" else entries(remote)
    every = {line for one in OFFERED for line in entries(one)}

    assert sorted(line for line in every if f" {line}\n" in text) == sorted(wanted)
    assert ("id-token: write # to get to the data" in text) == (remote.identity is not None)


def entries(remote: Remote | None) -> list[str]:
    """What a job of a workflow has in its environment for this kind."""
    assert remote is not None
    stored = [f"{variable}: ${{{{ secrets.{secret} }}}}" for variable, secret in remote.secrets]
    shown = remote.identity.settings if remote.identity else ()
    return stored + [f"{variable}: ${{{{ {value} }}}}" for variable, value in shown]


def test_a_store_of_ones_own_takes_no_identity_of_the_forge(render: Callable[..., Path]) -> None:
    project = render(data_remote="s3", s3_endpoint="http://127.0.0.1:9000")

    for workflow in ("train", "monitor"):
        assert "to get to the data" not in (project / ".github" / "workflows" / f"{workflow}.yml").read_text("utf-8")


def test_the_page_on_workflows_names_the_secrets_of_the_kind(remote: Remote, project: Path) -> None:
    page = (project / "docs" / "ci.md").read_text("utf-8")

    shown = re.findall(r"vars\.(\w+)", str(remote.identity.settings)) if remote.identity else []
    names = [*(secret for _, secret in remote.secrets), *shown]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_page_on_workflows_names_the_audience_and_the_subject_of_a_role(remote: Remote, project: Path) -> None:
    page = (project / "docs" / "ci.md").read_text("utf-8")

    assert ("| for the data | `repo:acme/flight-delays:environment:training` |" in page) == bool(remote.identity)
    audience = remote.identity.audience if remote.identity and "{" not in remote.identity.audience else ""
    assert audience in page


def test_the_page_on_remotes_says_what_each_kind_needs() -> None:
    page = (ROOT / "template" / "vendor" / "slipway" / "docs" / "remotes.md").read_text("utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    told = {row[0]: row[1:] for row in rows if len(row) == 4}

    for one in OFFERED:
        address = ", ".join(f"`{scheme}://`" for scheme in one.schemes) or "a folder"
        extra = f"`{one.extra}`" if one.extra else "none"
        assert told[address] == [extra, one.reader, one.writer or "nothing is sent there"]
        assert [name for name in one.credentials if f"`{name}`" not in page] == []
        assert [name for name in (one.identity.role if one.identity else ()) if f"`{name}`" not in page] == []


def test_a_project_without_a_kind_has_nothing_of_it(remote: Remote, project: Path) -> None:
    """Outside of the platform, which is the same everywhere."""
    words = {"gs": "google", "azure": "azure", "ssh": "ssh", "webdav": "webdav", "http": "DATA_PASSWORD"}
    texts = {
        name: path.read_text("utf-8") for name, path in files(project).items()
        if not name.startswith("vendor/") and path.suffix != ".gz" and name != "docs/your-own-data.md"
    }  # fmt: skip

    for kind, word in words.items():
        with_it = [name for name, text in texts.items() if word in text]
        assert kind == remote.kind or (kind == "http" and remote.kind == "webdav") or with_it == [], (kind, with_it)


def test_what_lets_one_in_begins_with_a_prefix_of_its_kind() -> None:
    """Otherwise DVC would not get it, and a server would."""
    for one in table.REMOTES:
        names = [*one.credentials, *one.roles, *(variable for variable, _ in one.secrets)]
        # What we hand to DVC in a file is withheld from every program.
        begins = (*one.prefixes, *programs.DATA)
        assert [name for name in names if not name.startswith(begins)] == []
