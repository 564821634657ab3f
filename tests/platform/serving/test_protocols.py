"""The other protocols give the answers of `/predict`, keep the same rules and leave the same record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flight_delays.contract import CONTRACT
from golden import told
from slipway.delivery.target import Traffic
from slipway.log import predictions
from slipway.log.predictions import PredictionLog
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.serving.protocols.base import Request, ServedModel
from slipway.serving.protocols.inference import DATATYPES
from slipway.serving.protocols.predict import Predict
from slipway.settings.policy import ServingPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer
from starlette.testclient import TestClient

POLICY = ServingPolicy(max_body_kb=64, max_rows=8, requests_per_second=10_000, return_score=True, explain=True)

RAGGED = [{"name": "x", "datatype": "FP64", "shape": [2], "data": [[1], 2]}]


@pytest.fixture
def log(tmp_path: Path, sealed: Bundle) -> Iterator[PredictionLog]:
    log = PredictionLog(Project(tmp_path).state, "test", 7, sealed.digest)
    yield log
    log.close()


@pytest.fixture
def client(sealed: Bundle, log: PredictionLog) -> Iterator[TestClient]:
    served = Served("test", 7, sealed.digest, "0" * 40, "registry")
    with TestClient(create_app(ServingContext(Scorer(sealed), served, POLICY, log))) as client:
        yield client


@pytest.fixture
def rows(sealed: Bundle) -> list[dict[str, Any]]:
    return sealed.golden.rows[:3]


@pytest.fixture
def answers(client: TestClient, sealed: Bundle, rows: list[dict[str, Any]]) -> list[Any]:
    """What `/predict` says of the rows."""
    predictions = client.post("/predict", json={"rows": rows}).json()["predictions"]
    return [one[sealed.model.answer] for one in predictions]


def tensors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": field.name,
            "datatype": DATATYPES.get(field.kind, "BYTES"),
            "shape": [len(rows), 1],
            "data": [[row[field.name]] for row in rows],
        }
        for field in CONTRACT.fields
    ]


def split(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"dataframe_split": {"columns": [*rows[0]], "data": [[*row.values()] for row in rows]}}


@pytest.mark.parametrize("path", ["infer", "versions/7/infer"])
def test_tensors_get_the_same_answers(
    client: TestClient, sealed: Bundle, rows: list[dict[str, Any]], answers: list[Any], path: str
) -> None:
    url = f"/v2/models/{sealed.model.name}/{path}"

    answer = client.post(url, json={"id": "mine", "inputs": tensors(rows)}).json()

    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert outputs[sealed.model.answer] == answers
    assert outputs["score"] == pytest.approx(told(sealed)[:3], rel=1e-4, abs=1e-5)
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("mine", sealed.model.name, "7")


@pytest.mark.parametrize("frame", [split, lambda rows: {"dataframe_records": rows}], ids=["split", "records"])
def test_data_frames_get_the_same_answers(
    client: TestClient, rows: list[dict[str, Any]], answers: list[Any], frame: Any
) -> None:
    answer = client.post("/invocations", json=frame(rows)).json()

    assert answer["predictions"] == answers
    assert answer["model"]["version"] == 7


def test_a_model_is_described_by_the_columns_of_the_contract(client: TestClient, sealed: Bundle) -> None:
    described = client.get(f"/v2/models/{sealed.model.name}").json()

    assert [tensor["name"] for tensor in described["inputs"]] == [field.name for field in CONTRACT.fields]
    assert sealed.model.answer in [tensor["name"] for tensor in described["outputs"]]
    assert client.get("/v2").json()["version"] == described["versions"][0] == "7"
    for page in ("/ping", "/v2/health/live", "/v2/health/ready", f"/v2/models/{sealed.model.name}/ready"):
        assert client.get(page).status_code == 200


@pytest.mark.parametrize(
    ("path", "change", "status", "member"),
    [
        pytest.param("/v2/models/{name}/infer", {"inputs": []}, 422, "error", id="no tensors"),
        pytest.param("/v2/models/{name}/infer", {"inputs": RAGGED}, 422, "error", id="ragged"),
        pytest.param("/v2/models/{name}/infer", {"outputs": [{"name": "other"}]}, 422, "error", id="other output"),
        pytest.param("/v2/models/{name}/versions/8/infer", {}, 404, "error", id="other version"),
        pytest.param(f"/v2/models/{{name}}/versions/{'9' * 5_000}/infer", {}, 404, "error", id="endless version"),
        pytest.param("/v2/models/other/infer", {}, 404, "error", id="other model"),
        pytest.param("/invocations", {}, 422, "message", id="no frame"),
        pytest.param("/invocations", {"dataframe_records": []}, 422, "message", id="no rows"),
        pytest.param("/invocations", {"dataframe_records": [{}] * 9}, 413, "message", id="too many rows"),
    ],
)
def test_a_refusal_is_a_problem_and_says_it_where_the_client_looks(
    client: TestClient, sealed: Bundle, rows: list[dict[str, Any]],
    path: str, change: dict[str, Any], status: int, member: str,
) -> None:  # fmt: skip
    response = client.post(path.format(name=sealed.model.name), json={"inputs": tensors(rows)} | change)

    assert response.status_code == response.json()["status"] == status
    assert response.json()[member] == response.json()["detail"]


@pytest.mark.parametrize(("version", "status"), [("7", 200), ("8", 404), ("first", 400), ("9" * 5_000, 400)])
def test_a_client_can_ask_for_one_version_and_gets_no_other(
    client: TestClient, rows: list[dict[str, Any]], version: str, status: int
) -> None:
    assert client.post("/predict", json=rows[0], headers={"mlops-version": version}).status_code == status


@pytest.mark.parametrize("name", [field.name for field in CONTRACT.fields])
def test_a_faulty_value_is_named_in_every_protocol(
    client: TestClient, sealed: Bundle, rows: list[dict[str, Any]], name: str
) -> None:
    broken = [rows[0], rows[1] | {name: {"not": "a value"}}]

    for path, body in {
        f"/v2/models/{sealed.model.name}/infer": {"inputs": tensors(broken)},
        "/invocations": split(broken),
    }.items():
        response = client.post(path, json=body)
        assert response.status_code == 422
        assert [error["pointer"] for error in response.json()["errors"]] == [f"#/rows/1/{name}"]


def test_every_protocol_leaves_the_same_record(
    client: TestClient, log: PredictionLog, tmp_path: Path, sealed: Bundle, rows: list[dict[str, Any]]
) -> None:
    client.post("/predict", json=rows[0])
    client.post("/invocations", json=split(rows[:1]))
    client.post(f"/v2/models/{sealed.model.name}/infer", json={"inputs": tensors(rows[:1])})
    log.flush()

    recorded = predictions.read(Project(tmp_path), "test")

    assert recorded.height == 3
    assert recorded.drop("id", "at").unique().height == 1


def test_an_explanation_is_what_each_value_did_to_the_score(
    client: TestClient, sealed: Bundle, rows: list[dict[str, Any]]
) -> None:
    scorer, (field, *_) = Scorer(sealed), CONTRACT.fields
    usual = sealed.golden.usual
    assert usual is not None

    explained = client.post("/predict?explain=true", json=rows[0]).json()

    changed = msgspec.convert([rows[0], rows[0] | {field.name: usual[field.name]}], list[CONTRACT.row])  # type: ignore[name-defined]
    scores = scorer.score_rows(changed)
    if classes := scorer.kind.classes:
        scores = scores[:, classes.index(explained[scorer.facts.answer])]
    own, other = scores.tolist()
    assert [*explained["contributions"]] == [field.name for field in CONTRACT.fields]
    assert explained["contributions"][field.name] == pytest.approx(own - other, abs=1e-5)
    assert client.post("/predict?explain=true", json=usual).json()["contributions"] == dict.fromkeys(usual, 0.0)


def test_nothing_is_explained_unless_the_policy_says_so(sealed: Bundle, rows: list[dict[str, Any]]) -> None:
    silent = ServingPolicy(max_body_kb=64, max_rows=8, requests_per_second=10_000, return_score=False)
    served = Served("test", 7, sealed.digest, "0" * 40, "registry")

    client = TestClient(create_app(ServingContext(Scorer(sealed), served, silent)))
    response = client.post("/predict?explain=true", json=rows[0])

    assert response.status_code == 403
    assert "serving.explain" in response.json()["detail"]


class Watched(Predict):
    """Notes how often somebody looks at the column that decides who answers."""

    def __init__(self, model: ServedModel) -> None:
        super().__init__(model)
        self.looks = 0

    def value(self, body: bytes, column: str) -> Any:
        self.looks += 1
        return super().value(body, column)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_who_answers_is_decided_once_for_each_request(
    sealed: Bundle, rows: list[dict[str, Any]], tmp_path: Path, share: float
) -> None:
    """A canary gets all requests or none; it is not there, so the champion answers."""
    traffic = Traffic(
        version=8, socket=str(tmp_path / "none.sock"), counts=str(tmp_path), mode="canary", share=share,
        key=CONTRACT.fields[0].name,
    )  # fmt: skip
    (tmp_path / "traffic.json").write_bytes(msgspec.json.encode(traffic))
    served = Served("test", 7, sealed.digest, "0" * 40, "registry")
    context = ServingContext(Scorer(sealed), served, POLICY, traffic=tmp_path / "traffic.json")
    endpoint = create_app(context).endpoint
    watched = Watched(context.model)

    reply = asyncio.run(endpoint.answer(Request(watched, "/predict", msgspec.json.encode(rows[0]))))

    assert (reply.status, watched.looks) == (200, 1)
