"""What a job learns of the machine that it runs on."""

import json
from pathlib import Path

import pytest
from slipway.settings.project import Project
from slipway.workspace import connections
from stores import http_store


@pytest.mark.parametrize(
    ("runner", "private", "is_told"),
    [("self-hosted", False, True), ("self-hosted", True, False), ("github-hosted", False, False)],
)
def test_a_machine_of_ones_own_that_runs_jobs_of_a_public_repository_is_told(
    runner: str, private: bool, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"repository": {"private": private}}), encoding="utf-8")
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(event))
    monkeypatch.setenv("RUNNER_ENVIRONMENT", runner)

    assert any("This repository is public" in line for line in connections.warnings()) == is_told


def test_outside_of_a_job_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_EVENT_PATH", raising=False)

    assert connections.warnings() == []


def test_cosign_is_fetched_only_where_a_signature_is_demanded_and_none_is_there(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not connections.fetches_cosign(project)

    with (project.root / "policy.yaml").open("a", encoding="utf-8") as policy:
        policy.write("\nsignature: {}\n")
    demanding = Project(project.root)
    assert connections.fetches_cosign(demanding)

    program = tmp_path / "cosign"
    program.write_text('#!/bin/sh\necho \'{"gitVersion": "v3.0.6"}\'\n', encoding="utf-8")
    program.chmod(0o755)
    assert not connections.fetches_cosign(demanding)


def test_a_person_may_be_one_who_only_reads_the_data_and_a_job_may_not(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / ".dvc").mkdir()
    monkeypatch.delenv("CI", raising=False)

    def data() -> connections.Connection:
        return next(one for one in connections.connections(project) if one.name == "data")

    with http_store(tmp_path) as store:
        settings = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {store.url}\n"
        (project.root / ".dvc" / "config").write_text(settings, encoding="utf-8")
        person = data()
        monkeypatch.setenv("CI", "true")
        job = data()

    assert (person.there, person.how) == (True, f"{store.url}, to read")
    assert (job.there, job.how) == (False, f"{store.url}, to read, and a job has to write")
