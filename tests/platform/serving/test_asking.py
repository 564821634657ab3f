"""What clients write in another way than the contract: read as in training, or refused by name, in every protocol."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest
from flight_delays.contract import CONTRACT
from golden import told
from msgspec import Meta
from slipway.contract.problems import Problem, reread, rows_of
from slipway.contract.rows import Contract, FieldKind, Row
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.serving.protocols.inference import DATATYPES
from slipway.settings.policy import ServingPolicy
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer
from starlette.testclient import TestClient

OURS = "https://app.example.com"
POLICY = ServingPolicy(max_body_kb=64, max_rows=8, requests_per_second=10_000, return_score=True)
WHOLE = [field.name for field in CONTRACT.fields if field.kind is FieldKind.INTEGER]
JSON = {"content-type": "application/json"}


def served(sealed: Bundle, **policy: Any) -> TestClient:
    about = Served("test", 7, sealed.digest, "0" * 40, "registry")
    return TestClient(create_app(ServingContext(Scorer(sealed), about, msgspec.structs.replace(POLICY, **policy))))


def bodies(sealed: Bundle, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The same rows in each protocol, integers as tensors of floats."""
    tensors = [
        {"name": name, "datatype": DATATYPES.get(field.kind, "BYTES"), "shape": [len(rows)]}
        | {"data": [row[name] for row in rows]}
        | ({"datatype": "FP64"} if name in WHOLE else {})
        for field in CONTRACT.fields
        for name in [field.name]
    ]
    return {
        "/predict": {"rows": rows},
        "/invocations": {"dataframe_records": rows},
        f"/v2/models/{sealed.model.name}/infer": {"inputs": tensors},
    }


def scores(content: dict[str, Any]) -> list[float]:
    if "outputs" in content:
        return next(one["data"] for one in content["outputs"] if one["name"] == "score")
    return content.get("scores") or [one["score"] for one in content["predictions"]]


def test_a_whole_number_with_a_point_is_the_integer_in_every_protocol(sealed: Bundle) -> None:
    client, rows = served(sealed), sealed.golden.rows[:2]
    floats = [row | {name: float(row[name]) for name in WHOLE} for row in rows]
    assert WHOLE

    for path, body in bodies(sealed, floats).items():
        assert scores(client.post(path, json=body).json()) == pytest.approx(told(sealed)[:2], rel=1e-4, abs=1e-5)
    assert client.post("/predict", json=floats[0]).status_code == 200

    halves = [rows[0], rows[1] | {WHOLE[0]: rows[1][WHOLE[0]] + 0.5}]
    for path, body in bodies(sealed, halves).items():
        (error,) = client.post(path, json=body).json()["errors"]
        assert (error["pointer"], error["field"]) == (f"#/rows/1/{WHOLE[0]}", WHOLE[0])


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_word_that_json_has_not_is_named_with_its_place(sealed: Bundle, word: str) -> None:
    client, name = served(sealed), WHOLE[0]
    places = [f"#/rows/1/{name}", f"#/dataframe_records/1/{name}", "/data/1"]
    rows = [sealed.golden.rows[0], sealed.golden.rows[1] | {name: float(word.replace("Infinity", "inf"))}]

    for (path, body), place in zip(bodies(sealed, rows).items(), places, strict=True):
        answer = client.post(path, content=json.dumps(body), headers=JSON)
        assert answer.status_code == 400
        assert f"{place} is {word}, which is no value in JSON; send null" in answer.json()["detail"]
        assert answer.json()["errors"][0]["pointer"].endswith(place)


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (
            gzip.compress(b"{}", mtime=0),
            {"content-encoding": "gzip"},
            415,
            "the body is compressed (content-encoding: gzip); send",
        ),
        (gzip.compress(b"{}", mtime=0), {}, 415, "the body is compressed; send it as it is"),
        (b"{}", {"content-encoding": "identity"}, 422, "the row breaks the contract"),
        (b"\xef\xbb\xbf{}", {}, 400, "the body begins with a byte-order mark"),
        ("{}".encode("utf-16"), {}, 400, "the body begins with a byte-order mark"),
        (b" ", {}, 400, "the body is empty"),
        (b'{"rows": [{}], "more": 1}', {}, 422, 'a request with many rows is {"rows": [...]} and nothing else'),
        (b'{"\\u0072ows": [{}]}', {}, 422, 'a request with many rows is {"rows": [...]} and nothing else'),
    ],
)
def test_a_body_in_another_form_is_refused_by_name(
    sealed: Bundle, body: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    answer = served(sealed).post("/predict", content=body, headers=JSON | headers)

    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_a_browser_may_ask_from_the_origins_that_the_policy_names(sealed: Bundle) -> None:
    client = served(sealed, origins=[OURS])
    asks = {"origin": OURS, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}

    preflight = client.options("/predict", headers=asks)
    answer = client.post("/predict", json=sealed.golden.rows[0], headers={"origin": OURS})
    strange = client.options("/predict", headers=asks | {"origin": "https://elsewhere.example.com"})

    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, OURS)
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, OURS)
    assert answer.headers["access-control-expose-headers"] == "mlops-version"
    assert (strange.status_code, "access-control-allow-origin" in strange.headers) == (400, False)


def test_without_origins_a_browser_is_told_where_the_setting_is(sealed: Bundle) -> None:
    answer = served(sealed).options("/predict")

    assert answer.status_code == 405
    assert "serving.origins in policy.yaml" in answer.json()["detail"]


@pytest.mark.parametrize("origin", ["https://app.example.com/", "app.example.com", "https://*.example.com"])
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match=r"serving\.origins holds .*, and an origin is like"):
        ServingPolicy(max_body_kb=1, max_rows=1, requests_per_second=1, return_score=False, origins=[origin])


class Plain(Row):
    """A time that says nothing of a zone."""

    seen: datetime
    size: int


class Zoned(Row):
    """A time that must have one."""

    seen: Annotated[datetime, Meta(tz=True)]
    size: int


class Way(Row):
    """Anything."""

    broken: bool


@pytest.mark.parametrize(
    ("row", "text", "kept"),
    [
        (Plain, "2013-07-01T17:30:00", datetime(2013, 7, 1, 17, 30)),
        (Plain, "2013-07-01T17:30:00Z", "Expected a time without a zone, like 2013-07-01T17:30:00, got"),
        (Zoned, "2013-07-01T19:30:00+02:00", datetime(2013, 7, 1, 17, 30, tzinfo=UTC)),
        (Zoned, "2013-07-01T17:30:00", "Expected a time with a zone, like 2013-07-01T17:30:00Z, got"),
    ],
)
def test_a_request_keeps_the_rule_about_zones(row: type[Row], text: str, kept: datetime | str) -> None:
    contract, record = Contract(row=row, outcome=Way, key=("size",)), {"seen": text, "size": 1.0}
    readers: list[Callable[[], list[Row]]] = [
        lambda: rows_of([record], contract, ValueError()),
        lambda: reread(json.dumps(record).encode(), contract, ValueError(), 1, is_one=True),
    ]

    for read in readers:
        if isinstance(kept, datetime):
            (found,) = read()
            assert (found.seen, found.seen.tzinfo, found.size) == (kept, kept.tzinfo, 1)  # type: ignore[attr-defined]
        else:
            with pytest.raises(Problem) as refused:
                read()
            (error,) = refused.value.errors
            assert (error.pointer, error.detail) == ("#/seen", f'{kept} "{text}"')


@pytest.mark.parametrize("path", ["/predict", "/invocations", "infer"])
def test_a_zone_is_refused_by_the_same_sentence_in_every_protocol(sealed: Bundle, path: str) -> None:
    time = str(CONTRACT.time)
    rows = [sealed.golden.rows[0] | {time: sealed.golden.rows[0][time] + "Z"}]
    (body,) = [(where, body) for where, body in bodies(sealed, rows).items() if where.endswith(path)]

    answer = served(sealed).post(body[0], json=body[1])

    assert "Expected a time without a zone, like 2013-07-01T17:30:00" in answer.json()["errors"][0]["detail"]
