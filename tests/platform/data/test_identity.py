"""How a job gets to the data with nothing stored: the token that it shows, and who takes it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from issuer import SUBJECT, Issuer, issuer
from servers import ROLE, Bucket, s3_store
from slipway.base.errors import MlopsError
from slipway.data import access, remotes, rights
from slipway.settings.project import Project
from stores import make_bucket

PROVIDER = "projects/7/locations/global/workloadIdentityPools/forge/providers/forge"
PULL_REQUEST = "repo:acme/flight-delays:pull_request"


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Issuer, Bucket]]:
    """A forge, and a store that trusts it."""
    with issuer(SUBJECT) as forge, s3_store(tmp_path_factory.mktemp("store"), (forge.address, SUBJECT)) as store:
        make_bucket(store.endpoint)
        yield forge, store


@pytest.fixture
def forge(trusting: tuple[Issuer, Bucket], monkeypatch: pytest.MonkeyPatch) -> Issuer:
    forge = trusting[0]
    forge.subject = SUBJECT
    forge.served.clear()
    for name, value in forge.variables.items():
        monkeypatch.setenv(name, value)
    return forge


@pytest.fixture
def at_amazon(trusting: tuple[Issuer, Bucket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    store = trusting[1]
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", store.endpoint)
    return at(tmp_path, store.url, endpointurl=store.endpoint)


def at(root: Path, url: str, **options: str) -> Project:
    (root / ".dvc").mkdir()
    lines = ["[core]", "    remote = storage", "['remote \"storage\"']", f"    url = {url}"]
    lines += [f"    {name} = {value}" for name, value in options.items()]
    (root / ".dvc" / "config").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Project(root)


def test_s3_takes_the_token_of_a_job_whose_subject_it_trusts_and_of_no_other(
    forge: Issuer, at_amazon: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")  # a secret that nobody has set

    trained = rights.ask(at_amazon)
    forge.subject = PULL_REQUEST
    proposed = rights.ask(at_amazon)

    assert trained.has == ("list", "read", "write")
    assert set(proposed.missing) == {"list", "read", "write"}
    assert "trust policy denies web identity assumption" in proposed.sentence()
    assert forge.served == ["sts.amazonaws.com"] * 2


@pytest.mark.parametrize(("who", "missing"), [("sender", "read"), ("guesser", "list")])
def test_a_single_missing_right_is_named(
    who: str, missing: str, trusting: tuple[Issuer, Bucket], at_amazon: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in trusting[1].of(who).items():
        monkeypatch.setenv(name, value)

    assert rights.ask(at_amazon).sentence().startswith(f"no right to {missing} at s3://flights/dvc (")


def test_gs_takes_the_token_of_a_job_whose_subject_it_trusts_and_of_no_other(
    forge: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.exceptions import OAuthError
    from google.auth.identity_pool import Credentials
    from google.auth.transport.requests import Request

    monkeypatch.setenv("GOOGLE_IDENTITY_PROVIDER", PROVIDER)
    forge.trusted = f"https://iam.googleapis.com/{PROVIDER}"
    project = at(tmp_path, "gs://flights/dvc")

    def let_in() -> Any:
        with access.opened(project.root) as environment, requests.Session() as session:
            document = json.loads(Path(environment["GOOGLE_APPLICATION_CREDENTIALS"]).read_text("utf-8"))
            here = document | {"token_url": f"{forge.address}/exchange"}
            credentials = Credentials.from_info(here, scopes=["all"])  # type: ignore[no-untyped-call]
            credentials.refresh(Request(session))
        return credentials.token

    assert let_in() == "let in"
    forge.subject = PULL_REQUEST
    with pytest.raises(OAuthError, match="pull_request is not"):
        let_in()


def test_azure_takes_the_token_of_a_job_whose_subject_it_trusts_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import WorkloadIdentityCredential

    certificate = tmp_path / "both.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(certificate), "-out", str(tmp_path / "ca.pem")]
    subprocess.run(make, check=True, capture_output=True)
    certificate.write_text(certificate.read_text("utf-8") + (tmp_path / "ca.pem").read_text("utf-8"), encoding="utf-8")
    project = at(tmp_path, "azure://flights/dvc", account_name="flights")
    monkeypatch.setenv("AZURE_CLIENT_ID", "an application")
    monkeypatch.setenv("AZURE_TENANT_ID", "tenant")

    with issuer(SUBJECT) as forge, issuer(SUBJECT, certificate) as cloud:
        cloud.key, cloud.trusted = forge.key, "api://AzureADTokenExchange"
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", cloud.address)
        for name, value in forge.variables.items():
            monkeypatch.setenv(name, value)

        def let_in() -> str:
            with access.opened(project.root) as environment:
                for name in ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"):
                    monkeypatch.setenv(name, environment[name])
                with WorkloadIdentityCredential(connection_verify=str(tmp_path / "ca.pem")) as credential:
                    return credential.get_token("https://storage.azure.com/.default").token

        assert let_in() == "let in"
        forge.subject = PULL_REQUEST
        with pytest.raises(ClientAuthenticationError, match="pull_request is not"):
            let_in()


def test_a_token_is_gone_when_the_command_has_ended(
    forge: Issuer, at_amazon: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)

    with access.opened(at_amazon.root) as environment:
        token = Path(environment["AWS_WEB_IDENTITY_TOKEN_FILE"])
        assert token.stat().st_mode & 0o077 == 0
        assert not [name for name in environment if name.startswith("ACTIONS_ID_TOKEN")]

    assert forge.served == ["sts.amazonaws.com"]
    assert not token.exists()


def test_a_job_without_a_role_asks_for_no_token(forge: Issuer, at_amazon: Project) -> None:
    with access.opened(at_amazon.root) as environment:
        assert "AWS_WEB_IDENTITY_TOKEN_FILE" not in environment

    assert forge.served == []


def test_a_job_that_is_given_no_token_says_which_permission_it_wants(
    forge: Issuer, at_amazon: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of another job")

    with pytest.raises(MlopsError) as refused:
        rights.ask(at_amazon)

    assert "the job was given no token to show to the data remote: HTTP Error 403" in refused.value.problem
    assert "id-token: write" in refused.value.next_step


def test_a_remote_that_does_not_answer_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's client alone would try for minutes."""
    place = "BlobEndpoint=http://127.0.0.1:9/flights;AccountName=flights;AccountKey=c2VjcmV0"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", place)
    monkeypatch.setattr(rights, "LIMIT_S", 1)

    found = rights.ask(at(tmp_path, "azure://flights/dvc"))

    assert found.sentence() == ("no right to list, read and write at azure://flights/dvc (no answer within 1 seconds)")


@pytest.mark.parametrize("kind", [one for one in remotes.REMOTES if one.options], ids=lambda one: one.kind)
def test_what_only_dvc_reads_is_in_a_file_that_nobody_else_may_read(
    kind: remotes.Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = at(tmp_path, f"{kind.schemes[0]}://example.com/data")
    for _, variable in kind.options:
        monkeypatch.setenv(variable, "it's 100% secret # or not")

    with access.opened(project.root) as environment:
        config = Path(environment["DVC_GLOBAL_CONFIG_DIR"]) / "config"
        told = dvc_config(config)
        assert config.stat().st_mode & 0o077 == 0

    given = {option: "it's 100% secret # or not" for option, _ in kind.options if option != "keyfile"}
    assert given.items() <= told.items()
    assert not config.exists()


def dvc_config(path: Path) -> dict[str, str]:
    """What DVC understands."""
    from dvc.config import Config

    read: dict[str, str] = Config.load_file(str(path))["remote"]["storage"]
    return read
