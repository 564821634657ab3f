"""Which variables reach the clients of a remote, and which a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from slipway.data import access, place, remotes
from slipway.delivery.native import target
from slipway.settings.project import Project


@pytest.mark.parametrize("kind", [one for one in remotes.REMOTES if one.credentials], ids=lambda one: one.kind)
def test_credentials_of_every_kind_reach_their_client_and_no_server(
    kind: remotes.Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {*kind.credentials, *kind.roles, *(variable for _, variable in kind.options)}
    for name in names:
        monkeypatch.setenv(name, "secret")

    # What DVC knows from a file alone is in a file, not in the environment of every stage.
    in_a_file = {variable for _, variable in kind.options}
    assert set(access.declared_environment()) & names == names - in_a_file
    assert not names & set(target.server_environment())


@pytest.mark.parametrize(
    ("url", "variable", "is_there"),
    [
        ("s3://bucket/dvc", "AWS_ROLE_ARN", True),
        ("s3://bucket/dvc", "GOOGLE_APPLICATION_CREDENTIALS", False),
        ("gs://bucket/dvc", "GOOGLE_APPLICATION_CREDENTIALS", True),
        ("azure://container/dvc", "AWS_ACCESS_KEY_ID", False),
        ("ssh://host/dvc", "DATA_REMOTE_KEY", True),
        ("webdavs://host/dvc", "GOOGLE_APPLICATION_CREDENTIALS", False),
        ("https://host/dvc", "CI", True),
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

    assert place.reach(project.root).there is is_there


def write_config(root: Path, url: str) -> None:
    (root / ".dvc").mkdir(exist_ok=True)
    text = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {url}\n"
    (root / ".dvc" / "config").write_text(text, encoding="utf-8")
