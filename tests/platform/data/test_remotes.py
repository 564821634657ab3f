"""Which variables reach DVC, and which a server; which services a job says it has."""

from __future__ import annotations

from pathlib import Path

import pytest
from slipway.data import dvc, remotes
from slipway.delivery.native import target
from slipway.settings.project import Project
from slipway.workspace import connections


@pytest.mark.parametrize("kind", [one for one in remotes.REMOTES if one.prefixes], ids=lambda one: one.kind)
def test_credentials_of_every_kind_reach_dvc_and_no_server(
    kind: remotes.Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {*kind.credentials, *kind.roles}
    for name in names:
        monkeypatch.setenv(name, "secret")

    assert names <= set(dvc.declared_environment())
    assert not names & set(target.server_environment())


@pytest.mark.parametrize(
    ("url", "variable", "is_there"),
    [
        ("s3://bucket/dvc", "AWS_ROLE_ARN", True),
        ("s3://bucket/dvc", "GOOGLE_APPLICATION_CREDENTIALS", False),
        ("gs://bucket/dvc", "GOOGLE_APPLICATION_CREDENTIALS", True),
        ("azure://container/dvc", "AWS_ACCESS_KEY_ID", False),
    ],
)
def test_a_job_reaches_a_bucket_only_with_credentials_for_its_kind(
    url: str, variable: str, *, is_there: bool, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(project.root, url)
    for one in remotes.REMOTES:
        for name in (*one.credentials, *one.roles):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv(variable, "something")

    assert {one.name: one.there for one in connections.connections(project)}["data"] is is_there


def write_config(root: Path, url: str) -> None:
    (root / ".dvc").mkdir(exist_ok=True)
    text = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {url}\n"
    (root / ".dvc" / "config").write_text(text, encoding="utf-8")
