"""What the audit says of rights: whoever has more or less than the table of governance gives them is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from running import free_port
from servers import Bucket as Store
from slipway.base.buckets import Bucket
from slipway.cli import app
from slipway.evidence import asked, choices, governance, here
from slipway.evidence.findings import AuditFinding, findings_text
from slipway.evidence.governance import Actor
from slipway.settings.project import Project
from typer.testing import CliRunner


def set_policy(project: Project, old: str, new: str) -> Project:
    path = project.root / "policy.yaml"
    path.write_text(path.read_text("utf-8").replace(old, new, 1), encoding="utf-8")
    return Project(project.root)


def in_a_bucket(project: Project, address: str) -> Project:
    return set_policy(project, "\nserving:\n", f"\nserving:\n  log: {address}/governed\n")


def keeping(project: Project, days: int) -> Project:
    return set_policy(project, "\nserving:\n", f"\nprivacy:\n  keep_days: {days}\n\nserving:\n")


def by(monkeypatch: pytest.MonkeyPatch, who: dict[str, str]) -> None:
    for name, value in who.items():
        monkeypatch.setenv(name, value)


def faults(found: Iterator[AuditFinding]) -> list[str]:
    return [one.what.partition(" at ")[0] for one in found if not one.holds]


@pytest.mark.parametrize(
    ("actor", "identity", "told"),
    [
        ("server", "writer", []),
        ("server", "owner", ["the server may not delete"]),
        ("server", "reader", ["the server may write"]),
        ("server", "sender", ["the server may read", "the server may not delete"]),
        ("server", "guesser", ["the server may read", "the server may not delete"]),
        ("monitor", "reader", []),
        ("monitor", "writer", ["the monitor may not write"]),
        ("monitor", "nobody", ["the monitor may read"]),
        ("person", "reader", []),
        ("person", "nobody", []),
        ("person", "owner", ["a person may not write", "a person may not delete"]),
        ("pull-request", "nobody", []),
        ("pull-request", "reader", ["a job of a pull request may not read"]),
    ],
)
def test_each_identity_of_a_log_has_what_the_table_says_or_is_told(
    actor: str, identity: str, told: list[str],
    project: Project, store: Store, address: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    by(monkeypatch, store.of(identity))

    assert faults(asked.findings(in_a_bucket(project, address), Actor(actor))) == told


def test_who_deletes_old_days_has_to_be_allowed_to(
    project: Project, store: Store, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by(monkeypatch, store.of("reader"))

    assert faults(asked.findings(keeping(in_a_bucket(project, address), 30), Actor.MONITOR)) == [
        "the monitor may delete"
    ]


@pytest.mark.parametrize(
    ("identity", "actor", "told"),
    [
        ("writer", Actor.MAIN, []),
        ("owner", Actor.MAIN, ["a job of main may not delete"]),
        ("reader", Actor.MAIN, ["a job of main may write"]),
        ("reader", Actor.PULL_REQUEST, ["a job of a pull request may not read"]),
    ],
)
def test_whoever_has_more_or_less_than_the_table_says_is_told(
    identity: str, actor: Actor, told: list[str],
    project: Project, store: Store, address: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    by(monkeypatch, store.of(identity))
    use_remote(project.root, address.replace("logs", "dvc"), endpointurl=store.endpoint)

    assert faults(asked.findings(project, actor)) == told


def test_a_place_that_does_not_answer_is_no_refusal(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may do nothing would have passed by it."""
    away = f"http://127.0.0.1:{free_port()}"
    by(monkeypatch, {"AWS_ENDPOINT_URL": away, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"})
    monkeypatch.setattr("slipway.base.buckets.RETRY_S", 1)
    monkeypatch.setattr("slipway.data.rights.LIMIT_S", 1)
    use_remote(project.root, "s3://flights/dvc", endpointurl=away)

    found = [*asked.findings(in_a_bucket(project, "s3://flights/logs"), Actor.PULL_REQUEST)]

    data, log = [one.what for one in found if not one.holds]
    assert data.startswith("no right to list, read, write and delete at s3://flights/dvc (")
    assert log.startswith("the bucket at s3://flights/logs/governed/predictions cannot be listed: ")
    assert not [one for one in found if "may not" in one.what]


def use_remote(root: Path, url: str, **options: str) -> None:
    (root / ".dvc").mkdir()
    lines = ["[core]", "    remote = storage", "    no_scm = true", "['remote \"storage\"']"]
    lines += [f"    {name} = {value}" for name, value in ({"url": url} | options).items()]
    (root / ".dvc" / "config").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_asking_for_rights_leaves_nothing_where_it_may_delete(address: str) -> None:
    bucket = Bucket(f"{address}/asked")

    assert bucket.rights() == dict.fromkeys(("list", "write", "read", "delete"), "")
    assert bucket.list() == []


def test_what_others_of_this_machine_can_read_is_told(project: Project) -> None:
    log = project.state / "predictions" / "staging" / "2026-11-29.host.1.jsonl"
    key = project.state / "keys" / "staging" / "log.key"
    local = project.root / ".dvc" / "config.local"
    for path, text in {log: "{}\n", key: "secret", local: "['remote \"storage\"']\n    password = x\n"}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
    assert faults(here.findings(project)) == []

    log.chmod(0o644)
    local.chmod(0o640)
    key.chmod(0o644)
    key.parent.chmod(0o700)

    told = {one.what: one.detail for one in here.findings(project) if not one.holds}
    assert told == {
        "files of the logs on this machine are for their owner alone": f"others can read {log}: chmod go= them",
        "secrets on this machine are for their owner alone": f"others can read {local}: chmod go= them",
    }


def test_what_is_older_than_the_policy_keeps_is_told(project: Project) -> None:
    (project.root / "deploy" / "environments").mkdir(parents=True)
    (project.environments / "staging.yaml").touch()
    folder = project.state / "refused" / "staging"
    folder.mkdir(parents=True)
    kept = keeping(project, 30)
    today = datetime.now(UTC).date()
    (folder / f"{today - timedelta(days=30)}.host.1.jsonl").touch()
    assert faults(asked.findings(kept, Actor.MONITOR)) == []

    (folder / f"{today - timedelta(days=31)}.host.1.jsonl").touch()

    assert faults(asked.findings(kept, Actor.MONITOR)) == ["nothing in the logs of staging is older than 30 days"]
    assert faults(asked.findings(kept, Actor.MAIN)) == []


@pytest.mark.parametrize(
    ("owners", "is_asked", "holds"),
    [
        ("# nobody yet\n", True, False),
        ("* @ada\n", True, True),
        ("* @ada\n/deploy/environments/\n", True, False),
        ("/docs/ @ada\n", True, False),
        ("# nobody yet\n", False, None),
    ],
)
def test_a_review_that_is_asked_of_nobody_is_told(
    owners: str, is_asked: bool, holds: bool | None, project: Project
) -> None:
    rule = {"type": "pull_request", "parameters": {"require_code_owner_review": is_asked}}
    folder = project.root / ".github"
    folder.mkdir()
    (folder / "CODEOWNERS").write_text(owners, encoding="utf-8")
    (folder / "rules.json").write_text(json.dumps([{"rules": [{"type": "deletion"}, rule]}]), encoding="utf-8")

    (found,) = [one for one in here.findings(project) if one.what.startswith("somebody else has to agree")]

    assert (found.holds if found.is_asked else None) == holds


def test_the_table_of_a_project_has_its_own_places_and_days(project: Project) -> None:
    use_remote(project.root, "s3://flights/dvc")
    (project.root / f"{project.params.data.delivered}.dvc").touch()
    found = {one.artefact: one for one in choices.governed(keeping(in_a_bucket(project, "s3://logs"), 90))}

    everything = dict.fromkeys(one.artefact for one in governance.RULES)
    assert [*found] == [name for name in everything if name != governance.KEPT_REPORTS]
    assert (found["raw data"].choice, found["raw data"].lies) == ("s3", "s3://flights/dvc")
    assert found["refusals"].lies == "s3://logs/governed/refused"
    assert found["prediction log"].kept.startswith("90 days")
    assert found["images"].lies == project.tool.image
    assert found["ledger"].lies == str(project.state / "ledger.jsonl")


def test_without_days_to_keep_nobody_has_to_delete_the_log(project: Project) -> None:
    found = {one.artefact: one for one in choices.governed(project)}

    assert found["prediction log"].delete == ()
    assert (found["raw data"].choice, found["labels"].choice) == ("git", "none")


def test_what_cannot_be_asked_is_not_said_to_hold(project: Project) -> None:
    (kept,) = [one for one in asked.findings(project, Actor.SERVER) if "older" in one.what]

    assert findings_text([AuditFinding("a", True, "b"), AuditFinding("c", False, "d"), kept]).splitlines() == [
        "ok    a",
        "FAIL  c",
        "      d",
        "skip  nothing in the logs is older than the policy keeps",
        "      not asked: policy.yaml keeps it for ever; to change that: mlops policy add privacy",
    ]


def test_the_command_shows_the_table_as_text_and_as_facts(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    facts, said = (CliRunner().invoke(app, ["governance", *options]).output for options in (["--json"], []))

    # Of servers that log on one machine there are no heartbeats, and no bucket was named for reports.
    everything = {one.artefact for one in governance.RULES} - {governance.HEARTBEATS, governance.KEPT_REPORTS}
    assert {one["artefact"] for one in json.loads(facts)} == everything
    assert f"prediction log (folder): {project.state}/predictions\n  read      the server, the monitor\n" in said


@pytest.mark.parametrize(
    ("variables", "actor"),
    [
        ({}, Actor.PERSON),
        ({"CI": "true", "GITHUB_EVENT_NAME": "push"}, Actor.MAIN),
        ({"CI": "true", "GITHUB_EVENT_NAME": "pull_request"}, Actor.PULL_REQUEST),
        ({"CI": "true", "GITHUB_EVENT_NAME": "merge_group"}, Actor.PULL_REQUEST),
    ],
)
def test_a_job_is_told_from_a_person(variables: dict[str, str], actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "GITHUB_EVENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    by(monkeypatch, variables)

    assert asked.actor_at_hand() is actor
