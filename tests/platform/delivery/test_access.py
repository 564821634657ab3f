"""Who may ask, as an environment's file says it: what is proposed, what is deployed, and what is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from slipway.base.errors import MlopsError
from slipway.cli import app
from slipway.delivery import access, deploy, environments
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.native import target as native
from slipway.delivery.native.state import State
from slipway.delivery.target import Admitted, Run
from slipway.forge import git
from slipway.settings.project import Project
from targets import ONE, PORT, Small, names, plugged, quiet
from typer.testing import CliRunner

__all__ = ["names", "plugged"]
pytestmark = pytest.mark.usefixtures("plugged")

Names = Callable[..., None]
TOKENS = f"""
access:
  tokens:
    billing:
      digest: sha256:{"0" * 64}
"""


def says(project: Project, more: str, host: str = "127.0.0.1") -> None:
    """Let the environment's file say more, and be reached at another address."""
    path = project.environments / "staging.yaml"
    text = path.read_text("utf-8").replace("host: 127.0.0.1", f"host: {host}") + more
    path.write_text(text, encoding="utf-8")
    git.git(project.root, "commit", "--quiet", "--all", "--message", "Say who may ask")


@pytest.fixture
def guarding(project: Project, names: Names, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """The target `one` can be told who may ask; returns where it is told. The parameter is the code in the bundle."""
    module, requirement = getattr(request, "param", ("slipway/serving/guard.py", "pyjwt==2.15.1"))
    with zipfile.ZipFile(project.bundle / "slipway_mlops-9-py3-none-any.whl", "w") as wheel:
        wheel.writestr(module, "")
    (project.bundle / "requirements.txt").write_text(f"{requirement}\n", encoding="utf-8")
    names("one")
    folder = project.state / "shared"
    monkeypatch.setattr(Small, "shared_folder", lambda *_: folder, raising=False)
    monkeypatch.setattr(Small, "ends_tls", True, raising=False)
    return folder


def refusal(project: Project) -> MlopsError:
    with pytest.raises(MlopsError) as refused:
        deploy.deploy(project, "staging", quiet)
    assert refused.value.exit_code == 1
    return refused.value


def test_an_address_beyond_this_machine_is_refused_where_nothing_says_who_may_ask(
    project: Project, names: Names
) -> None:
    names("one")
    says(project, "", host="0.0.0.0")

    refused = refusal(project)

    assert f"lets others than this machine reach 0.0.0.0:{PORT}, and does not say who may ask" in refused.problem
    assert "mlops access add NAME staging" in refused.next_step
    assert ONE.events == []


def test_it_is_served_where_the_file_says_that_anyone_may_ask(project: Project, names: Names) -> None:
    """The twin."""
    names("one")
    says(project, "\naccess:\n  anyone: true\n", host="0.0.0.0")

    deploy.deploy(project, "staging", quiet)

    assert ONE.events == ["on"]


def test_tokens_are_not_sent_over_a_network_for_everybody_to_read(project: Project, guarding: Path) -> None:
    says(project, TOKENS, host="0.0.0.0")

    assert "would cross the network for everybody to read" in refusal(project).problem


@pytest.mark.parametrize(
    ("old", "new"),
    [("port:", "proxies: [10.0.0.0/8]\n  port:"), ("access:", "access:\n  plain: true")],
    ids=["behind a proxy", "said to be plain"],
)
def test_they_are_where_something_else_encrypts_them(project: Project, guarding: Path, old: str, new: str) -> None:
    says(project, TOKENS, host="0.0.0.0")
    path = project.environments / "staging.yaml"
    path.write_text(path.read_text("utf-8").replace(old, new), encoding="utf-8")

    access.require_stated(project, "staging", environments.load(project, "staging"))


def test_a_target_that_cannot_be_told_is_refused(project: Project, names: Names) -> None:
    names("one")
    says(project, TOKENS)

    assert refusal(project).problem == "the target one cannot be told who may ask"


@pytest.mark.parametrize("guarding", [("slipway/serving/run.py", "")], indirect=True, ids=["an earlier release"])
def test_code_that_is_older_than_access_is_refused_with_what_serves_it(project: Project, guarding: Path) -> None:
    """As after a rollback: it would answer anybody."""
    says(project, TOKENS)

    refused = refusal(project)

    assert refused.problem == "the code of version 1 is older than `access` and would answer anybody"
    assert refused.next_step.startswith("mlops promote staging --version 1 --this-platform")


@pytest.mark.parametrize("guarding", [("slipway/serving/guard.py", "numpy==2.4")], indirect=True, ids=["no PyJWT"])
def test_code_without_what_an_issuer_needs_is_refused(project: Project, guarding: Path) -> None:
    says(project, "\naccess:\n  issuer: {url: 'https://issuer.example.com', audience: flights}\n")

    refused = refusal(project)

    assert "cannot look at its tokens" in refused.problem
    assert "slipway-mlops[jwt]" in refused.next_step


def test_a_server_that_answers_anybody_all_the_same_is_taken_back(project: Project, guarding: Path) -> None:
    """As where something between does not hand on that it has to ask."""
    says(project, TOKENS)

    assert refusal(project).problem.startswith("the deployed server does not refuse who brings no token: 200")

    assert ONE.events == ["on", "off"]
    told = msgspec.json.decode((guarding / "admitted.json").read_bytes(), type=Admitted)
    assert [*told.tokens] == ["billing"]


def test_a_supervisor_of_an_earlier_release_is_not_given_what_it_would_leave_open(project: Project) -> None:
    place = EnvironmentFolder(project.state, "test")
    run = Run(
        environment="test", version=2, digest="", commit="", bundle="", python="", host="127.0.0.1", port=1,
        source="cache", limits=project.policy.serving, guarded=True,
    )  # fmt: skip
    with place.lock():
        place.write(State(ticket="", phase="serving", supervisor=1, knows_privacy=True, knows_programs=True))

        with pytest.raises(MlopsError, match="belong to a platform that would answer anybody"):
            native.switch(project, run)


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("access: {}", "access names nobody"),
        ("access: {anyone: true, tokens: {a: {digest: 'sha256:" + "0" * 64 + "'}}}", "it is one or the other"),
        ("access: {issuer: {url: 'http://issuer.example.com', audience: a}}", "keys are only fetched from https://"),
        ("access: {tokens: {a: {digest: 'secret'}}}", "digest"),
        ("access: {token: {}}", "token"),
    ],
)
def test_what_the_file_may_say(project: Project, names: Names, block: str, complaint: str) -> None:
    names("one")
    says(project, f"\n{block}\n")

    with pytest.raises(MlopsError, match=complaint):
        environments.load(project, "staging")


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["access", *arguments], catch_exceptions=False)
    return done.output


def test_tokens_are_proposed_by_their_digests_and_the_rest_of_the_file_stays(
    project: Project, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    names("one")
    says(project, "\n# the end\n")
    monkeypatch.chdir(project.root)
    path = project.environments / "staging.yaml"
    before = path.read_text("utf-8")
    tokens = []
    for name in ("billing", "web"):
        token, *said = run("add", name, "staging", "--until", "2999-12-31").splitlines()
        git.git(project.root, "merge", "--quiet", f"access/staging-{name}")
        tokens.append(token)
        assert said[-1].startswith(f"next: review and merge access/staging-{name}, then: uv run mlops deploy staging")

    after = path.read_text("utf-8")
    held = environments.load(project, "staging").access
    assert held is not None
    assert {name: one.digest for name, one in held.tokens.items()} == {
        name: access.digest_of(token) for name, token in zip(("billing", "web"), tokens, strict=True)
    }
    assert after.startswith(before)
    assert not any(token in git.git(project.root, "log", "--patch") for token in tokens)
    assert len({*tokens}) == 2
    assert all(token.startswith("mlops_") and len(token) == 49 for token in tokens)

    run("remove", "billing", "staging")
    git.git(project.root, "merge", "--quiet", "access/staging-without-billing")
    assert run("list", "staging").split()[:3] == ["web", "until", "2999-12-31"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("add", "billing", "staging"), "staging has a token with the name billing"),
        (("add", "Billing App", "staging"), "cannot be changed in these places alone"),
        (("add", "web", "staging", "--until", "2001-01-01"), "2001-01-01 has passed"),
        (("add", "web", "staging", "--until", "soon"), "soon is no day"),
        (("remove", "web", "staging"), "staging has no token with the name web"),
        (("remove", "billing", "staging"), "billing is the only one who may ask staging"),
    ],
)
def test_what_cannot_be_proposed(
    project: Project, names: Names, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], complaint: str
) -> None:
    names("one")
    says(project, TOKENS)
    monkeypatch.chdir(project.root)

    with pytest.raises(MlopsError, match=complaint):
        run(*arguments)


def test_a_server_in_the_foreground_answers_this_machine_unless_somebody_insists() -> None:
    with pytest.raises(MlopsError, match="others than this machine reach") as refused:
        CliRunner().invoke(app, ["serve", "--host", "0.0.0.0"], catch_exceptions=False)

    assert refused.value.next_step.endswith("or add --anyone")


def test_prometheus_is_told_to_ask_by_https(project: Project) -> None:
    tls = {"certificate": "/c", "key": "/k"}
    facts = {"environment": "test", "version": 1, "digest": "", "commit": "", "bundle": "", "python": "", "source": ""}
    facts |= {"host": "10.0.0.1", "port": 443, "limits": msgspec.to_builtins(project.policy.serving), "tls": tls}
    place = EnvironmentFolder(project.state, "test")
    place.folder.mkdir(parents=True)

    place.announce(msgspec.convert(facts, Run))

    (told,) = json.loads(place.target.read_text("utf-8"))
    assert told["labels"] == {"environment": "test", "__scheme__": "https"}
