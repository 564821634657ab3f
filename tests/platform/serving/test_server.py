"""The server as a client and an operator see it: answers, refusals, what is recorded and what is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from golden import told
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slipway import kinds
from slipway.base.errors import MlopsError
from slipway.contract.problems import Problem
from slipway.contract.rows import Contract, Row
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.processes import assignment
from slipway.delivery.target import Assignment, Run
from slipway.kinds.base import Scores
from slipway.log import predictions
from slipway.log.predictions import PredictionLog
from slipway.serving import run as server
from slipway.serving.app import App, create_app
from slipway.serving.context import Served, ServingContext
from slipway.serving.metrics import MOST_NOTED, Watch
from slipway.serving.predictor import Predictor
from slipway.serving.protocols.base import Reply, Request
from slipway.settings.policy import ServingPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer
from starlette.testclient import TestClient
from starlette.types import Message, Scope

POLICY = ServingPolicy(max_body_kb=8, max_rows=3, requests_per_second=10_000, return_score=False)
JSON = {"content-type": "application/json"}


def app_for(
    bundle: Bundle, log: PredictionLog | None = None, policy: ServingPolicy = POLICY, counts: Path | None = None
) -> App:
    served = Served("test", 7, bundle.digest, "0" * 40, "registry")
    return create_app(ServingContext(Scorer(bundle), served, policy, log, counts=counts))


@pytest.fixture
def place(tmp_path: Path) -> Project:
    """A project that holds nothing but a prediction log."""
    return Project(tmp_path)


@pytest.fixture
def log(place: Project, sealed: Bundle) -> Iterator[PredictionLog]:
    log = PredictionLog(place.state, "test", 7, sealed.digest)
    yield log
    log.close()


@pytest.fixture
def client(sealed: Bundle, log: PredictionLog) -> Iterator[TestClient]:
    with TestClient(app_for(sealed, log)) as client:
        yield client


@pytest.fixture
def rows(sealed: Bundle) -> list[dict[str, Any]]:
    return sealed.golden.rows[:3]


def metric(client: TestClient, line: str) -> float:
    """The value of a metric, 0 before it is first counted."""
    found = [text for text in client.get("/metrics").text.splitlines() if text.startswith(f"{line} ")]
    return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


def test_one_row_is_answered_by_a_named_model(client: TestClient, sealed: Bundle, rows: list[dict[str, Any]]) -> None:
    answer = client.post("/predict", json=rows[0]).json()

    assert set(answer) == {"id", sealed.model.answer, "model"}
    assert answer["model"] == {"name": sealed.model.name, "version": 7, "digest": sealed.digest}
    assert metric(client, 'mlops_predictions_total{version="7"}') == 1


def test_many_rows_get_the_answers_they_get_alone(
    client: TestClient, sealed: Bundle, rows: list[dict[str, Any]]
) -> None:
    name = sealed.model.answer

    together = client.post("/predict", json={"rows": rows}).json()["predictions"]

    alone = [client.post("/predict", json=row).json()[name] for row in rows]
    assert [prediction[name] for prediction in together] == alone


def test_the_score_is_told_only_where_the_policy_says_so(sealed: Bundle, rows: list[dict[str, Any]]) -> None:
    telling = ServingPolicy(max_body_kb=8, max_rows=3, requests_per_second=10_000, return_score=True)

    answer = TestClient(app_for(sealed, policy=telling)).post("/predict", json=rows[0]).json()

    assert answer["score"] == pytest.approx(told(sealed)[0], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", [field.name for field in CONTRACT.fields])
def test_a_faulty_field_is_named_and_counted(client: TestClient, rows: list[dict[str, Any]], name: str) -> None:
    response = client.post("/predict", json={"rows": [rows[0], rows[1] | {name: ["not", "a", "value"]}]})

    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in response.json()["errors"]] == [f"#/rows/1/{name}"]
    assert metric(client, f'mlops_contract_violations_total{{field="{name}"}}') == 1


def test_a_row_with_one_field_too_many_is_refused(client: TestClient, rows: list[dict[str, Any]]) -> None:
    response = client.post("/predict", json=rows[0] | {"surprise": 1})

    assert response.status_code == 422
    assert response.json()["errors"] == [
        {"pointer": "#/surprise", "detail": "is not a field of the contract", "field": "(unknown)"}
    ]


def test_a_missing_and_an_unknown_field_are_both_named(client: TestClient, rows: list[dict[str, Any]]) -> None:
    first, *others = rows[0]
    body = {name: rows[0][name] for name in others} | {"surprise": 1}

    errors = client.post("/predict", json=body).json()["errors"]

    assert {error["pointer"] for error in errors} == {f"#/{first}", "#/surprise"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(b"", JSON, 400, id="empty"),
        pytest.param(b"{'a': 1}", JSON, 400, id="not JSON"),
        pytest.param(b'{"a": NaN}', JSON, 400, id="NaN"),
        pytest.param(b'{"a": "\xff"}', JSON, 400, id="not UTF-8"),
        pytest.param(b"[" * 5_000, JSON, 400, id="deep"),
        pytest.param(b"{}", {"content-type": "text/plain"}, 415, id="other type"),
        pytest.param(b'{"rows": []}', JSON, 422, id="no rows"),
        pytest.param(b'{"rows": 1}', JSON, 422, id="rows not a list"),
        pytest.param(b'{"a": 1e999}', JSON, 422, id="too large a number"),
        pytest.param(b"null", JSON, 422, id="null"),
        pytest.param(b'{"rows": [1, 2, 3, 4]}', JSON, 413, id="too many rows"),
        pytest.param(b" " * 9_000, JSON, 413, id="too large"),
    ],
)
def test_a_bad_body_is_refused_with_its_own_status(
    client: TestClient, rows: list[dict[str, Any]], body: bytes, headers: dict[str, str], status: int
) -> None:
    response = client.post("/predict", content=body, headers=headers)

    assert response.status_code == response.json()["status"] == status
    assert metric(client, f'mlops_requests_total{{status="{status}"}}') == 1
    assert client.post("/predict", json=rows[0]).status_code == 200


def test_a_body_without_end_is_not_read_to_its_end(sealed: Bundle) -> None:
    """It comes in pieces, and does not say how long it will be."""
    scope: Scope = {"type": "http", "path": "/predict", "method": "POST", "client": None, "headers": []}
    pieces = iter([b" " * 1_000] * 20)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": next(pieces), "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app_for(sealed)(scope, receive, send))

    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(CONTRACT.fields).map(lambda field: field.name) | st.text(max_size=5), value=VALUES)
def test_no_value_in_any_field_is_the_servers_fault(
    client: TestClient, rows: list[dict[str, Any]], name: str, value: object
) -> None:
    body = json.dumps(rows[0] | {name: value})

    assert client.post("/predict", content=body, headers=JSON).status_code in (200, 400, 422)
    assert client.post("/predict", content=f'{{"rows": [{body}]}}', headers=JSON).status_code in (200, 400, 422)


def test_a_row_that_cannot_be_computed_fails_alone(
    sealed: Bundle, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that arrive together are scored together, and one of them has a number beyond all bounds."""
    scorer, (good, bad, _) = Scorer(sealed), msgspec.convert(rows, list[CONTRACT.row])  # type: ignore[name-defined]
    score = scorer.score_rows

    def score_but_one(given: Sequence[Row]) -> Scores:
        if bad in given:
            raise OverflowError
        return score(given)

    monkeypatch.setattr(scorer, "score_rows", score_but_one)

    counted: list[Row] = []

    async def together() -> list[Any]:
        outcomes = list[Any]()
        predictor = Predictor(scorer, None, "champion", lambda rows, *_: counted.extend(rows))
        for row in (good, bad, good):
            predictor.one(row, outcomes.append)
        await asyncio.sleep(0)
        return outcomes

    first, second, third = asyncio.run(together())

    assert first.answer == third.answer
    assert isinstance(second, Problem)
    assert second.status == 422
    assert counted == [good, good]


def test_a_client_that_asks_too_often_is_told_to_wait(sealed: Bundle, rows: list[dict[str, Any]]) -> None:
    app = app_for(sealed, policy=ServingPolicy(max_body_kb=8, max_rows=3, requests_per_second=2, return_score=False))
    hasty = TestClient(app, client=("192.0.2.1", 1))

    responses = [hasty.post("/predict", json=rows[0]) for _ in range(4)]

    assert [response.status_code for response in responses[:2]] == [200, 200]
    assert (responses[-1].status_code, responses[-1].headers["retry-after"]) == (429, "1")
    assert TestClient(app, client=("192.0.2.2", 1)).post("/predict", json=rows[0]).status_code == 200


class FirstLimits(msgspec.Struct, forbid_unknown_fields=True):
    """What the first release allows a policy to say."""

    max_body_kb: int
    max_rows: int
    requests_per_second: int
    return_score: bool


class FirstRun(msgspec.Struct):
    limits: FirstLimits


class FirstAssignment(msgspec.Struct):
    run: FirstRun


def test_a_server_of_the_first_release_understands_its_assignment(place: Project) -> None:
    """A rollback may bring it back, whatever today's policy says."""
    limits = msgspec.structs.replace(POLICY, max_in_progress=7, explain=True)
    run = Run(
        environment="test", version=1, digest="", commit="", bundle="", python="", host="", port=1, source="cache",
        limits=limits, workers=2,
    )  # fmt: skip

    told = assignment(run, EnvironmentFolder(place.state, "test"), place.state, (3, 4))

    assert msgspec.json.decode(told, type=FirstAssignment).run.limits.max_rows == POLICY.max_rows
    assert msgspec.json.decode(told, type=Assignment).limits == limits


def test_it_is_ready_with_the_digest_of_what_it_loaded(client: TestClient, sealed: Bundle) -> None:
    assert client.get("/ready").json() == {"status": "ready", "digest": sealed.digest}
    assert client.get("/version").json()["digest"] == sealed.digest
    assert client.get("/live").status_code == 200


def buckets(client: TestClient, name: str) -> dict[float, float]:
    """The counts of a histogram of version 7, by upper bound."""
    start = f'mlops_{name}_bucket{{le="'
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(start)]
    return {float(line.split('"')[1]): float(line.rsplit(" ", 1)[1]) for line in lines}


def test_scores_are_counted_beside_those_of_the_reference(
    client: TestClient, sealed: Bundle, rows: list[dict[str, Any]]
) -> None:
    for row in rows:
        client.post("/predict", json=row)
    client.post("/predict", json={"rows": rows})

    found, scores = buckets(client, "prediction_score"), told(sealed)[:3] * 2
    assert found == {bound: sum(score <= bound for score in scores) for bound in found}
    reference = buckets(client, "reference_score")
    assert found.keys() == reference.keys()
    assert reference[float("inf")] == pl.read_parquet(sealed.tested).height
    assert [*reference.values()] == [*accumulate(sealed.expected.scores.counts)]


def test_answers_with_yes_are_counted_where_there_are_any(client: TestClient, sealed: Bundle) -> None:
    if not kinds.named(sealed.model.kind).has_positives:
        assert "mlops_positive_predictions_total{" not in client.get("/metrics").text
        return
    answers = [client.post("/predict", json=row).json()[sealed.model.answer] for row in sealed.golden.rows]

    assert 0 < sum(answers) < len(answers)
    assert metric(client, 'mlops_positive_predictions_total{version="7"}') == sum(answers)
    for start in range(0, len(answers), POLICY.max_rows):
        client.post("/predict", json={"rows": sealed.golden.rows[start : start + POLICY.max_rows]})
    assert metric(client, 'mlops_positive_predictions_total{version="7"}') == 2 * sum(answers)


@pytest.mark.parametrize("name", [field.name for field in CONTRACT.fields if field.optional])
def test_missing_values_are_counted_by_field(client: TestClient, rows: list[dict[str, Any]], name: str) -> None:
    known = next(row for row in rows if row[name] is not None)

    client.post("/predict", json=known | {name: None})
    client.post("/predict", json={"rows": [known, known | {name: None}, known | {name: None}]})

    assert metric(client, f'mlops_missing_values_total{{field="{name}"}}') == 3
    assert f'mlops_reference_missing_ratio{{field="{name}"}}' in client.get("/metrics").text


class Reading(Row):
    read: datetime
    value: float | None


class Happened(Row):
    outcome: bool


def watched(*requests: list[tuple[datetime, float | None]]) -> tuple[dict[str, int], dict[float, int]]:
    """What is missing, and the ages by upper bound, where a row is old after two days."""
    watch = Watch(Contract(row=Reading, outcome=Happened, key=("read",), time="read", max_age_days=2))
    missing, ages = watch.missing(), watch.ages()
    assert ages is not None
    asked = [[Reading(read=at, value=value) for at, value in readings] for readings in requests]
    if single := [rows[0] for rows in asked if len(rows) == 1]:
        watch.look(single, missing, ages)
    for rows in asked:
        if len(rows) > 1:
            watch.look_together(rows, missing, ages)
    return missing, {bound: times for bound, times in zip([*ages.bounds, 0], ages.counts, strict=True) if times}


def test_a_request_is_as_old_as_its_newest_row() -> None:
    now, day = datetime.now(UTC), timedelta(days=1)

    old, older, oldest = (now - 1.5 * day, None), (now - 2.5 * day, 1.0), (now - 9 * day, None)
    assert watched([old]) == ({"value": 1}, {172_800: 1})
    assert watched([old], [older]) == ({"value": 1}, {172_800: 1, 345_600: 1})
    assert watched([oldest, (now - day / 2, None), older]) == ({"value": 2}, {86_400: 1})
    assert watched([older, oldest], [old], [oldest, old]) == ({"value": 4}, {172_800: 2, 345_600: 1})
    assert watched([((now - day / 2).replace(tzinfo=None), 1.0)])[1] == {86_400: 1}
    assert watched([(now + day, 1.0)])[1] == {60: 1}
    assert watched([((now - day / 2).replace(tzinfo=None), 1.0), older])[1] == {86_400: 1}


def test_a_sum_of_ages_never_falls() -> None:
    watch = Watch(Contract(row=Reading, outcome=Happened, key=("read",), time="read"))
    ages = watch.ages()
    assert ages is not None
    still_to_come = [Reading(read=datetime.now(UTC) + timedelta(days=1), value=1.0)] * 2

    watch.look(still_to_come, watch.missing(), ages)
    watch.look_together(still_to_come, watch.missing(), ages)

    assert (ages.counts[0], ages.total) == (3, 0)


def test_what_was_counted_is_not_counted_again(client: TestClient, rows: list[dict[str, Any]]) -> None:
    client.post("/predict", json=rows[0])
    client.post("/predict", json={"rows": rows})

    for _ in range(2):
        assert metric(client, 'mlops_requests_total{status="200"}') == 2
        assert metric(client, 'mlops_prediction_seconds_count{version="7"}') == 2
        assert metric(client, 'mlops_predictions_total{version="7"}') == 1 + len(rows)


def test_rows_without_a_time_have_no_age() -> None:
    watch = Watch(Contract(row=Reading, outcome=Happened, key=("read",)))
    missing = watch.missing()

    watch.look([Reading(read=datetime.now(UTC), value=None)], missing, watch.ages())

    assert (missing, watch.ages(), watch.age_limit) == ({"value": 1}, None, None)


def test_each_request_counts_what_it_finds_in_progress(sealed: Bundle, rows: list[dict[str, Any]]) -> None:
    app = app_for(sealed, policy=msgspec.structs.replace(POLICY, max_in_progress=2))
    body = msgspec.json.encode(rows[0])
    replies = list[Reply]()

    async def at_once() -> None:
        for _ in range(4):
            app.endpoint.take(Request(app.endpoint.protocols.predict, "/predict", body), replies.append)
        await asyncio.sleep(0)

    asyncio.run(at_once())

    client = TestClient(app)
    assert sorted(reply.status for reply in replies) == [200, 200, 503, 503]
    assert metric(client, 'mlops_requests_total{status="503"}') == 2
    assert metric(client, "mlops_requests_in_progress_limit") == 2
    assert buckets(client, "requests_in_progress") == {
        0.1: 1, 0.2: 1, 0.5: 1, 1.0: 2, 1.5: 2, 1.8: 2, 2.0: 4, float("inf"): 4,
    }  # fmt: skip


def test_many_requests_are_counted_though_nobody_looks(sealed: Bundle, rows: list[dict[str, Any]]) -> None:
    """Whoever comes while very many are counted at once waits too long."""
    app = app_for(sealed)
    body = msgspec.json.encode(rows[0])

    async def ask() -> None:
        for _ in range(MOST_NOTED):
            await app.endpoint.answer(Request(app.endpoint.protocols.predict, "/predict", body))
        await asyncio.sleep(0)

    asyncio.run(ask())

    assert app.telemetry.counts.predictions["7"] == MOST_NOTED


def test_the_metrics_of_one_process_are_the_sums_over_all(
    sealed: Bundle, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """What says how much room there is, or since when, is no sum."""
    folder = tmp_path / "counts"
    folder.mkdir()
    first, second = (app_for(sealed, counts=folder) for _ in range(2))
    lacking = {field.name: None for field in CONTRACT.fields if field.optional}
    since = metric(TestClient(first), 'mlops_serving_since_timestamp_seconds{version="7"}')

    TestClient(first).post("/predict", json={"rows": rows})
    TestClient(second).post("/predict", json=rows[0] | lacking)
    first.tick()

    client = TestClient(second)
    assert metric(client, 'mlops_predictions_total{version="7"}') == 4
    assert buckets(client, "prediction_score")[float("inf")] == 4
    assert buckets(client, "requests_in_progress")[float("inf")] == 2
    assert metric(client, 'mlops_row_age_seconds_count{version="7"}') == (2 if CONTRACT.time else 0)
    for name in lacking:
        expected = 1 + sum(row[name] is None for row in rows)
        assert metric(client, f'mlops_missing_values_total{{field="{name}"}}') == expected
    assert metric(client, "mlops_requests_in_progress_limit") == POLICY.max_in_progress
    assert metric(client, 'mlops_serving_since_timestamp_seconds{version="7"}') == since
    assert buckets(client, "reference_score")[float("inf")] == sum(sealed.expected.scores.counts)


def test_a_bundle_that_expects_nothing_is_served(sealed: Bundle, rows: list[dict[str, Any]]) -> None:
    """Those of earlier releases do not."""
    (sealed.path / "expected.json").unlink()
    client = TestClient(app_for(Bundle(sealed.path)))

    assert client.post("/predict", json=rows[0]).status_code == 200

    assert buckets(client, "prediction_score") == {float("inf"): 1}
    assert buckets(client, "reference_score") == {}


def test_a_draining_server_answers_and_lets_its_clients_go(sealed: Bundle, rows: list[dict[str, Any]]) -> None:
    app = app_for(sealed)
    client = TestClient(app)

    app.is_draining = True

    answered = client.post("/predict", json=rows[0])
    assert (answered.status_code, answered.headers["connection"]) == (200, "close")
    assert client.get("/ready").status_code == 503


def test_what_is_not_there_is_told_in_problem_details(client: TestClient) -> None:
    missing, wrong = client.get("/nothing"), client.get("/predict")

    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert missing.headers["content-type"] == wrong.headers["content-type"] == "application/problem+json"


def test_its_description_has_an_example_that_it_answers(client: TestClient) -> None:
    api = client.get("/openapi.json").json()

    referred = api["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for reference in referred.values():
        example = api["components"]["examples"][reference["$ref"].rpartition("/")[2]]
        assert client.post("/predict", json=example["value"]).status_code == 200
    assert "<title>" in client.get("/").text


def test_a_changed_bundle_is_not_served(place: Project, bundle: Path) -> None:
    digest = Bundle(bundle).digest
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")

    with pytest.raises(MlopsError, match=r"model\.onnx was changed after the bundle was sealed"):
        server.run(server.ServerSettings(bundle=bundle, state=place.state, limits=POLICY, digest=digest))


def test_an_answer_is_on_record(
    client: TestClient, log: PredictionLog, place: Project, sealed: Bundle, rows: list[dict[str, Any]]
) -> None:
    answer = client.post("/predict", json={"rows": rows}).json()["predictions"][1]
    log.flush()

    found = predictions.find(place, answer["id"])
    assert found is not None
    assert (found.answer, found.version, found.digest) == (answer[sealed.model.answer], 7, sealed.digest)
    frame = predictions.read(place, "test")
    assert [name for name in frame.columns[8:] if name != "probabilities"] == [field.name for field in CONTRACT.fields]
    assert frame["score"].to_list() == pytest.approx(told(sealed)[:3], rel=1e-4, abs=1e-5)
    assert metric(client, "mlops_prediction_log_rows_total") == 3


def test_the_record_is_read_by_time(client: TestClient, log: PredictionLog, place: Project, rows: list[Any]) -> None:
    client.post("/predict", json=rows[0])
    log.flush()
    soon = datetime.now(UTC) + timedelta(seconds=1)

    assert predictions.read(place, "test", until=soon).height == 1
    assert predictions.read(place, "test", since=soon).height == 0
    assert predictions.read(place, "test", since=soon).schema == predictions.read(place, "nowhere").schema


def test_what_a_shadow_says_is_no_answer(log: PredictionLog, place: Project, rows: list[dict[str, Any]]) -> None:
    """It has the id of the answer that the client got, and another score."""
    decoded = msgspec.convert(rows[:1], list[CONTRACT.row])  # type: ignore[name-defined]

    async def record() -> None:
        log.add(["one"], decoded, [0.25], [False], "shadow")
        log.add(["one"], decoded, [0.75], [True])

    asyncio.run(record())
    log.flush()

    found = predictions.find(place, "one")
    assert found is not None
    assert (found.role, found.score) == ("champion", 0.75)
    assert predictions.read(place, "test")["score"].to_list() == [0.75]
    everything = predictions.read(place, "test", with_shadow=True)
    assert everything.select("role", "score").rows() == [("shadow", 0.25), ("champion", 0.75)]


def test_a_torn_line_hides_no_other(client: TestClient, log: PredictionLog, place: Project, rows: list[Any]) -> None:
    client.post("/predict", json=rows[0])
    log.close()
    (path,) = predictions.folder(place.state, "test").iterdir()
    path.write_bytes(path.read_bytes()[:-40])

    client.post("/predict", json=rows[1])
    log.flush()

    assert predictions.read(place, "test").height == 1


def test_a_record_that_cannot_be_written_fails_no_request(
    client: TestClient, log: PredictionLog, place: Project, rows: list[dict[str, Any]]
) -> None:
    place.state.write_text("a file where the folder should be")

    assert client.post("/predict", json={"rows": rows}).status_code == 200

    log.flush()
    assert metric(client, "mlops_prediction_log_failures_total") == 3


def test_a_deployments_own_question_is_on_record_and_no_prediction(
    client: TestClient, log: PredictionLog, place: Project, rows: list[dict[str, Any]]
) -> None:
    answer = client.post("/predict", json=rows[0], headers={"mlops-probe": "1", "mlops-version": "7"})
    client.post("/predict", json=rows[0])
    log.flush()

    assert answer.status_code == 200
    assert predictions.read(place, "test").height == 1
    assert metric(client, 'mlops_predictions_total{version="7"}') == 1
    found = predictions.find(place, answer.json()["id"])
    assert found is not None
    assert found.role == "probe"
