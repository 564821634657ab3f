"""Who may ask: no attack gets an answer, and those who may do, on the fast path and on plain ASGI."""

from __future__ import annotations

import hmac
import http.client
import json
import socket
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from issuers import AUDIENCE, OpenIdIssuer, openid_issuer
from slipway.base import files
from slipway.data.dvc import DataVersion
from slipway.delivery.access import digest_of
from slipway.delivery.target import Admitted
from slipway.log import masks
from slipway.log.predictions import PredictionLog
from slipway.serving import issuer as verifying
from slipway.serving import worker
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.serving.guard import MAX_TOKEN, Guard
from slipway.serving.link import Link
from slipway.serving.worker import Worker
from slipway.settings.access import Issuer, Token
from slipway.settings.policy import ServingPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle, Lineage, seal
from slipway.training.scoring import Scorer

GOOD, OTHER, LATE, ROTATED = ("mlops_" + letter * 43 for letter in "abcd")
YESTERDAY: date = (datetime.now(UTC) - timedelta(days=1)).date()
TODAY: date = datetime.now(UTC).date()
POLICY = ServingPolicy(
    max_body_kb=64, max_rows=8, requests_per_second=10_000, return_score=False, origins=["https://app.example.com"]
)


def taken(*tokens: str, until: date | None = None) -> dict[str, Token]:
    return {f"token-{number}": Token(digest=digest_of(one), until=until) for number, one in enumerate(tokens)}


@dataclass
class Served7:
    """A server that asks who asks, in a thread of this process."""

    worker: Worker
    admitted: Path
    rows: list[dict[str, Any]]
    issuer: OpenIdIssuer
    state: Path
    facts: Admitted
    answers: list[int] = field(default_factory=list)

    @property
    def port(self) -> int:
        port: int = self.worker.servers[0].sockets[0].getsockname()[1]
        return port

    def admit(self, facts: Admitted) -> None:
        files.write(self.admitted, msgspec.json.encode(facts))

    def ask(
        self, token: str | None = None, path: str = "/predict", *, method: str = "POST", **headers: str
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Ask as a client does; `headers` go with it, with hyphens for low lines."""
        sent = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"authorization": f"Bearer {token}"} if token is not None else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with closing(connection):
            connection.request(method, path, json.dumps(self.rows[0]) if method == "POST" else None, sent)
            response = connection.getresponse()
            body = response.read()
        return (
            response.status,
            json.loads(body) if b"json" in response.headers["content-type"].encode() else body,
            (response.headers),
        )

    def raw(self, sent: bytes, answers: int = 1) -> bytes:
        """Send bytes as they are, and return what comes until so many answers are complete or the server hangs up."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(sent)
            while received.count(b"HTTP/1.1 ") < answers or not received.endswith((b"}", b"received.")):
                part = connection.recv(65_536)
                if not part:
                    break
                received += part
        return received

    def post(self, *lines: str, path: str = "/predict", body: bytes | None = None) -> bytes:
        """The bytes of a request with these lines in its head."""
        content = json.dumps(self.rows[0]).encode() if body is None else body
        head = [f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", *lines]
        head += (
            [] if any("transfer-encoding" in line.lower() for line in lines) else [f"content-length: {len(content)}"]
        )
        return "\r\n".join(head).encode() + b"\r\n\r\n" + content

    def eventually(self, status: int, token: str) -> None:
        """Wait until a token gets this status."""
        deadline = time.monotonic() + 20
        while self.ask(token)[0] != status:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def logged(self) -> list[dict[str, Any]]:
        """The lines of the prediction log."""
        time.sleep(0.2)
        return [json.loads(line) for path in self.state.rglob("*.jsonl") for line in path.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def bundle_7(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    facts: dict[str, Any] = dict.fromkeys(
        ["commit", "repository", "run_id", "pipeline", "lock", "python", "platform"], "0"
    )
    lineage = Lineage(data=[DataVersion(path="data", md5="0")], **facts)
    return seal(finished.bundle, tmp_path_factory.mktemp("bundle") / "bundle", lineage)


@contextmanager
def serving(
    bundle: Bundle, state: Path, issuer: OpenIdIssuer, *, wants_fast_path: bool, policy: ServingPolicy = POLICY
) -> Iterator[Served7]:
    masks.make_key(state, "test")
    facts = Admitted(
        deploying=digest_of("nobody has it"),
        tokens=taken(GOOD, OTHER) | {"late": Token(digest=digest_of(LATE), until=YESTERDAY)},
        issuer=Issuer(url=issuer.url, audience=AUDIENCE),
    )
    path = state / "admitted.json"
    path.write_bytes(msgspec.json.encode(facts))
    log = PredictionLog(state, "test", 7, bundle.digest)
    guard = Guard(path, masks.mark_of(state, "test"))
    context = ServingContext(
        Scorer(bundle), Served("test", 7, bundle.digest, "0" * 40, "registry"), policy, log, guard=guard
    )
    with worker.listen("127.0.0.1", 0) as listener:
        served = Worker(create_app(context), listener, Link(None), wants_fast_path=wants_fast_path)
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not served.started:
                time.sleep(0.01)
            yield Served7(served, path, bundle.golden.rows, issuer, state, facts)
        finally:
            served.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def issuer() -> Iterator[OpenIdIssuer]:
    with openid_issuer("RS256", "ES256", "EdDSA") as found:
        yield found


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "plain ASGI"])
def guarded(
    bundle_7: Bundle, issuer: OpenIdIssuer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Served7]:
    with serving(bundle_7, tmp_path_factory.mktemp("state"), issuer, wants_fast_path=request.param) as found:
        yield found


@pytest.fixture
def alone(bundle_7: Bundle, tmp_path: Path) -> Iterator[Served7]:
    """A server and an issuer that a test may change at will."""
    with openid_issuer("ES256") as issuer, serving(bundle_7, tmp_path, issuer, wants_fast_path=True) as found:
        yield found


def unsigned(claims: dict[str, Any], header: dict[str, Any], key: bytes = b"") -> str:
    """A token that libraries refuse to make."""
    parts = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    signature = hmac.digest(key, parts, "sha256") if key else b""
    return (parts + b"." + urlsafe_b64encode(signature).rstrip(b"=")).decode()


def pem(issuer: OpenIdIssuer) -> bytes:
    return bytes(issuer.keys["RS256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def stranger(issuer: OpenIdIssuer, **headers: Any) -> str:
    """A token that somebody else has signed."""
    other = OpenIdIssuer("ES256")
    return jwt.encode(issuer.claims(), other.keys["ES256"], "ES256", {"kid": "ES256"} | headers)


def deep(issuer: OpenIdIssuer) -> str:
    """A token that is signed as it should be, and whose content cannot be read."""
    return jwt.PyJWS().encode(b"[" * 4_000, issuer.keys["ES256"], "ES256", {"kid": "ES256"})


#: What is sent in the place of a good token.
FORGED: dict[str, Callable[[OpenIdIssuer], str]] = {
    "nothing": lambda _: "",
    "unknown": lambda _: "mlops_" + "z" * 43,
    "known and more": lambda _: GOOD + "a",
    "the beginning of a known one": lambda _: GOOD[:-1],
    "the digest of a known one": lambda _: sha256(GOOD.encode()).hexdigest(),
    "expired": lambda _: LATE,
    "oversized": lambda _: GOOD + "a" * 60_000,
    "three empty parts": lambda _: "..",
    "no JSON": lambda _: "a.b.c",
    "alg none": lambda issuer: unsigned(issuer.claims(), {"alg": "none", "kid": "RS256"}),
    "alg None": lambda issuer: unsigned(issuer.claims(), {"alg": "nOnE", "kid": "ES256"}),
    "no alg": lambda issuer: unsigned(issuer.claims(), {"kid": "RS256"}),
    "a public key as a secret": lambda issuer: unsigned(issuer.claims(), {"alg": "HS256", "kid": "RS256"}, pem(issuer)),
    "a published key as a secret": lambda issuer: unsigned(
        issuer.claims(), {"alg": "HS256", "kid": "RS256"}, json.dumps(issuer.published["RS256"]).encode()
    ),
    "another kind of key": lambda issuer: unsigned(issuer.claims(), {"alg": "RS256", "kid": "ES256"}, b"x"),
    "signed by a stranger": stranger,
    "a key of its own": lambda issuer: stranger(issuer, jwk=OpenIdIssuer("ES256").published["ES256"]),
    "an address of its own": lambda issuer: stranger(issuer, jku=f"{issuer.url}/keys"),
    "no name of a key": lambda issuer: jwt.encode(issuer.claims(), issuer.keys["ES256"], "ES256"),
    "an unknown key": lambda issuer: issuer.token(headers={"kid": "../ES256"}),
    "changed": lambda issuer: issuer.token().replace(".", ".e", 1),
    "without its signature": lambda issuer: issuer.token().rpartition(".")[0] + ".",
    "expired token": lambda issuer: issuer.token(exp=int(time.time()) - 60),
    "not yet": lambda issuer: issuer.token(nbf=int(time.time()) + 60),
    "made later": lambda issuer: issuer.token(iat=int(time.time()) + 3600),
    "for ever": lambda issuer: issuer.token(exp=None),
    "for somebody else": lambda issuer: issuer.token(aud="another"),
    "for nobody": lambda issuer: issuer.token(aud=None),
    "from another issuer": lambda issuer: issuer.token(iss="https://issuer.example.com"),
    "from nobody": lambda issuer: issuer.token(iss=None),
    "of nobody": lambda issuer: issuer.token(sub=None),
    "a time without an end": lambda issuer: issuer.token(exp=float("inf")),
    "deep": lambda _: f"{urlsafe_b64encode(b'[' * 4_000).decode()}.e30.e30",
    "deep inside": deep,
    "times that are no numbers": lambda issuer: issuer.token(exp="never"),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_no_forged_token_gets_an_answer(guarded: Served7, forged: Callable[[OpenIdIssuer], str]) -> None:
    status, problem, headers = guarded.ask(forged(guarded.issuer))

    assert (status, problem["status"], headers["content-type"]) == (401, 401, "application/problem+json")
    assert headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("key", ["RS256", "ES256", "EdDSA"])
def test_a_token_that_the_issuer_has_signed_is_taken(guarded: Served7, key: str) -> None:
    """The twin of all forged ones."""
    token = guarded.issuer.token(key)

    assert [guarded.ask(token)[0] for _ in range(2)] == [200, 200]


def test_clocks_may_differ_a_little(guarded: Served7) -> None:
    assert guarded.ask(guarded.issuer.token(exp=int(time.time()) - 10))[0] == 200


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="none"),
        pytest.param([f"authorization: Basic {GOOD}"], id="basic"),
        pytest.param([f"authorization: {GOOD}"], id="no scheme"),
        pytest.param([f"authorization: Bearer{GOOD}"], id="no space"),
        pytest.param([f"authorization: Bearer {GOOD}", "authorization: Bearer x"], id="good and bad"),
        pytest.param(["authorization: Bearer x", f"Authorization: Bearer {GOOD}"], id="bad and good"),
        pytest.param([f"authorization: Bearer {GOOD}"] * 2, id="twice the same"),
        pytest.param([f"authorization: Bearer x, Bearer {GOOD}"], id="two in one"),
        pytest.param([f"proxy-authorization: Bearer {GOOD}"], id="for a proxy"),
        pytest.param([f"x-forwarded-authorization: Bearer {GOOD}"], id="forwarded"),
        pytest.param(["mlops-identity: hmac:00"], id="an identity"),
        pytest.param(["mlops-probe: 1"], id="a deployment's question"),
        pytest.param([f"cookie: access_token={GOOD}"], id="cookie"),
        pytest.param([f"authorization: Bearer {'a' * (MAX_TOKEN + 1)}"], id="oversized"),
    ],
)
def test_a_token_counts_in_one_place_and_once(guarded: Served7, lines: list[str]) -> None:
    assert guarded.raw(guarded.post(*lines)).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([f"authorization : Bearer {GOOD}"], id="space before the colon"),
        pytest.param(["authorization: Bearer", f" {GOOD}"], id="folded"),
        pytest.param(
            ["transfer-encoding: chunked", "content-length: 5", f"authorization: Bearer {GOOD}"], id="lengths"
        ),
        pytest.param(["content-length: 5", f"authorization: Bearer {GOOD}"], id="two lengths"),
        pytest.param([f"authorization: Bearer {GOOD}\rx: y"], id="bare carriage return"),
        pytest.param([f"x: y\nauthorization: Bearer {GOOD}\0"], id="nul"),
    ],
)
def test_a_head_that_can_be_read_in_two_ways_gets_no_answer(guarded: Served7, lines: list[str]) -> None:
    received = guarded.raw(guarded.post(*lines))

    assert received[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 401")
    assert received.count(b"HTTP/1.1 ") == 1


def test_what_hides_in_the_body_of_a_refused_request_is_not_answered(guarded: Served7) -> None:
    hidden = guarded.post(f"authorization: Bearer {GOOD}")

    received = guarded.raw(guarded.post(body=hidden) + guarded.post(f"authorization: Bearer {GOOD}"), answers=2)

    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"401", b"200"]


def test_each_request_of_a_connection_brings_its_own_token(guarded: Served7) -> None:
    good, other = (guarded.post(f"authorization: Bearer {token}") for token in (GOOD, OTHER))
    mark = masks.mark_of(guarded.state, "test")

    received = guarded.raw(good + guarded.post() + other, answers=3)

    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"401", b"200"]
    assert [line["identity"] for line in guarded.logged()[-2:]] == [mark("token:token-0"), mark("token:token-1")]


def test_nothing_of_a_body_is_waited_for(guarded: Served7) -> None:
    head = guarded.post("content-length: 60000", body=b"").replace(b"content-length: 0\r\n", b"")

    assert guarded.raw(head).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/predict"),
        ("POST", "/predict?explain=true"),
        ("POST", "/predict?access_token=" + GOOD),
        ("POST", "/%70redict"),
        ("POST", "//predict"),
        ("POST", "/predict/"),
        ("POST", "/ready/../predict"),
        ("POST", "/v2/models/flight-delays/infer"),
        ("POST", "/invocations"),
        ("POST", "/shadow"),
        ("GET", "/openapi.json"),
        ("GET", "/v2/models/flight-delays"),
        ("GET", "/nothing"),
        ("OPTIONS", "/predict"),
        ("PROPFIND", "/predict"),
    ],
)
def test_whatever_is_not_health_needs_a_token(guarded: Served7, method: str, path: str) -> None:
    assert guarded.ask(None, path, method=method)[0] == 401


@pytest.mark.parametrize("path", ["/", "/live", "/ready", "/version", "/metrics", "/ping", "/v2/health/ready"])
def test_health_metrics_and_the_page_are_open(guarded: Served7, path: str) -> None:
    assert guarded.ask(None, path, method="GET")[0] == 200


def test_a_refusal_has_the_form_of_its_protocol_and_is_counted(guarded: Served7) -> None:
    before = metric(guarded)

    status, refused, _ = guarded.ask(None, "/v2/models/flight-delays/infer")

    assert (status, "error" in refused) == (401, True)
    assert metric(guarded) == before + 1


def metric(guarded: Served7) -> float:
    text = guarded.ask(None, "/metrics", method="GET")[1].decode()
    found = [line for line in text.splitlines() if line.startswith('mlops_requests_total{status="401"}')]
    return float(found[0].split()[1]) if found else 0.0


def test_a_browser_may_bring_a_token_and_learns_that_it_was_refused(guarded: Served7) -> None:
    origin = {"origin": "https://app.example.com"}
    wish = {"access_control_request_method": "POST", "access_control_request_headers": "authorization"}

    asked, _, allowed = guarded.ask(None, method="OPTIONS", **origin, **wish)
    refused = guarded.ask(None, **origin)
    answered = guarded.ask(GOOD, **origin)

    assert (asked, "authorization" in allowed["access-control-allow-headers"]) == (200, True)
    assert [one[0] for one in (refused, answered)] == [401, 200]
    assert {one[2]["access-control-allow-origin"] for one in (refused, answered)} == {"https://app.example.com"}


def test_the_log_has_who_asked_as_a_hash(guarded: Served7) -> None:
    mark = masks.mark_of(guarded.state, "test")
    for token in (GOOD, OTHER, guarded.issuer.token()):
        assert guarded.ask(token)[0] == 200

    last = [line["identity"] for line in guarded.logged()[-3:]]

    assert last == [mark("token:token-0"), mark("token:token-1"), mark("subject:ada@example.com")]
    assert all(one.startswith("hmac:") for one in last)


def test_who_may_ask_changes_while_the_server_runs(alone: Served7) -> None:
    assert [alone.ask(one)[0] for one in (GOOD, ROTATED)] == [200, 401]

    alone.admit(msgspec.structs.replace(alone.facts, tokens=taken(GOOD, ROTATED)))
    assert [alone.ask(one)[0] for one in (ROTATED, GOOD)] == [200, 200]

    alone.admit(msgspec.structs.replace(alone.facts, deploying="", tokens=taken(ROTATED, until=TODAY)))
    alone.eventually(401, GOOD)
    assert alone.ask(ROTATED)[0] == 200


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"tokens": {}}', b"[]"], ids=str)
def test_without_a_file_that_can_be_read_nobody_may_ask(
    alone: Served7, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    if content is None:
        alone.admitted.unlink()
    else:
        files.write(alone.admitted, content)

    alone.eventually(503, GOOD)
    assert alone.ask(None, "/ready", method="GET")[0] == 200
    assert "nobody may ask" in caplog.text

    alone.admit(alone.facts)
    assert alone.ask(GOOD)[0] == 200


def test_metrics_can_be_closed(alone: Served7) -> None:
    alone.admit(msgspec.structs.replace(alone.facts, closes_metrics=True))
    alone.eventually(200, GOOD)
    time.sleep(0.3)

    assert [alone.ask(one, "/metrics", method="GET")[0] for one in (None, GOOD)] == [401, 200]


def test_an_issuer_that_is_away_from_the_start_keeps_only_its_own_tokens_out(
    bundle_7: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "REFETCH_S", 3_600.0)
    monkeypatch.setattr(verifying, "REFRESH_S", 3_600.0)
    with openid_issuer("ES256") as issuer:
        issuer.is_away = True
        with serving(bundle_7, tmp_path, issuer, wants_fast_path=True) as served:
            statuses = [served.ask(token)[0] for token in (issuer.token(), GOOD, issuer.token(sub="grace"))]
        asked = issuer.asked

    assert statuses == [503, 200, 503]
    assert asked == 1  # not by everybody


def test_known_keys_go_on_being_taken_and_unknown_ones_are_asked_for_seldom(
    alone: Served7, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "REFETCH_S", 3_600.0)
    monkeypatch.setattr(verifying, "REFRESH_S", 3_600.0)
    assert alone.ask(alone.issuer.token())[0] == 200
    alone.issuer.is_away = True
    asked = alone.issuer.asked

    for number in range(5):
        assert alone.ask(alone.issuer.token(sub=f"user {number}"))[0] == 200
        assert alone.ask(alone.issuer.token(headers={"kid": f"key {number}"}))[0] == 401

    assert alone.issuer.asked == asked


def test_a_new_key_is_taken_and_one_that_was_withdrawn_is_not(alone: Served7, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is what it has signed before, which was taken already."""
    before = alone.issuer.token("ES256")
    assert alone.ask(before)[0] == 200
    monkeypatch.setattr(verifying, "REFRESH_S", 0.05)
    monkeypatch.setattr(verifying, "REFETCH_S", 0.0)

    alone.issuer.new_key("new", "EdDSA")
    assert alone.ask(alone.issuer.token("new"))[0] == 200
    del alone.issuer.published["ES256"]

    alone.eventually(401, before)
    assert alone.ask(alone.issuer.token("new"))[0] == 200


def test_a_secret_among_the_published_keys_is_no_key(alone: Served7) -> None:
    secret = urlsafe_b64encode(b"s" * 32).rstrip(b"=").decode()
    alone.issuer.published["shared"] = {"kid": "shared", "kty": "oct", "k": secret, "alg": "HS256", "use": "sig"}

    token = unsigned(alone.issuer.claims(), {"alg": "HS256", "kid": "shared"}, b"s" * 32)

    assert alone.ask(token)[0] == 401
    assert alone.ask(alone.issuer.token())[0] == 200


def test_each_identity_has_a_limit_of_its_own(bundle_7: Bundle, issuer: OpenIdIssuer, tmp_path: Path) -> None:
    """They come from the same address."""
    policy = msgspec.structs.replace(POLICY, requests_per_second=1)
    with serving(bundle_7, tmp_path, issuer, wants_fast_path=True, policy=policy) as served:
        statuses = [served.ask(token)[0] for token in (GOOD, GOOD, OTHER)]

    assert statuses == [200, 429, 200]
