"""Two thousand generated requests in three protocols: every row is answered or named, and no fault is the server's."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from flight_delays.contract import CONTRACT
from slipway.contract.problems import MAX_ERRORS
from slipway.contract.rows import Field, FieldKind
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.serving.protocols.inference import DATATYPES
from slipway.settings.policy import ServingPolicy
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer
from starlette.testclient import TestClient

REQUESTS = 2_000
#: Another number makes other requests.
SEED = int(os.environ.get("SLIPWAY_FUZZ_SEED", "16"))
MOST_ROWS = 5
POLICY = ServingPolicy(max_body_kb=256, max_rows=MOST_ROWS, requests_per_second=1_000_000, return_score=True)

Rows = list[dict[str, Any]]

#: What clients send, on purpose or not, where a value of another type, form or size belongs.
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 371.0, 371.5, -0.0, 2**53, 2**53 + 2.0, 2**63, 2**64, 10**30, 1e300, 5e-324,
    float("nan"), float("inf"), -float("inf"), "", " ", "371", "371.0", "NaN", "null", "AA", "JFK", "zz", "é",
    "\u0000", "\ud7ff", "😀", "x" * 5_000, [], [1], {}, {"a": {"b": []}}, "2013-07-01", "2013-07-01T17:30:00",
    "2013-07-01T17:30:00Z", "2013-07-01T17:30:00.5+02:00", "01/02/2013", "9999-12-31T23:59:59",
    "0001-01-01T00:00:00", "2013-02-30T00:00:00",
]  # fmt: skip


def is_kept(field: Field, row: dict[str, Any]) -> bool:
    """Whether a value keeps the contract, told without the server's way of reading it."""
    value = row.get(field.name, msgspec.UNSET)
    if field.kind is FieldKind.TIME and isinstance(value, str):
        try:
            value = msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            return False
    if field.kind is FieldKind.INTEGER and isinstance(value, int | float) and abs(value) > 2**53:
        return False
    return field.broken_by(value) is None


def broken(rows: Rows, path: str) -> set[tuple[int, str]]:
    """Each value that breaks the contract; a tensor that is left out says that its values are missing."""
    names = [field.name for field in CONTRACT.fields]
    if path.endswith("/infer"):
        rows = [{field.name: None for field in CONTRACT.fields if field.optional} | row for row in rows]
    values = ((place, field, row) for place, row in enumerate(rows) for field in CONTRACT.fields)
    wrong = {(place, field.name) for place, field, row in values if not is_kept(field, row)}
    return wrong | {(place, "(unknown)") for place, row in enumerate(rows) for name in row if name not in names}


def spoilt(draw: random.Random, rows: Rows) -> Rows:
    """Rows of which some have other values, fewer fields or more."""
    made = [dict(row) for row in rows]
    for _ in range(draw.choice((0, 0, 1, 1, 2, 6))):
        row, field = draw.choice(made), draw.choice(CONTRACT.fields)
        match draw.randrange(8):
            case 0:
                row.pop(field.name, None)
            case 1:
                row[draw.choice(("extra", "a/b~c", "", "rows"))] = draw.choice(VALUES)
            case 2 if isinstance(row.get(field.name), int):
                row[field.name] = float(row[field.name])
            case _:
                row[field.name] = draw.choice(VALUES)
    return made


def predict(draw: random.Random, rows: Rows) -> tuple[str, Any]:
    return "/predict", rows[0] if len(rows) == 1 and draw.random() < 0.7 else {"rows": rows}


def records(_: random.Random, rows: Rows) -> tuple[str, Any]:
    return "/invocations", {"dataframe_records": rows}


def split(_: random.Random, rows: Rows) -> tuple[str, Any]:
    names = [*dict.fromkeys(name for row in rows for name in row)]
    if any(row.keys() != set(names) for row in rows):
        return records(_, rows)
    return "/invocations", {
        "dataframe_split": {"columns": names, "data": [[row[name] for name in names] for row in rows]}
    }


def tensors(draw: random.Random, rows: Rows) -> tuple[str, Any]:
    names = [*dict.fromkeys(name for row in rows for name in row)]
    if any(row.keys() != set(names) for row in rows) or any(isinstance(v, list) for row in rows for v in row.values()):
        return records(draw, rows)
    kinds = {field.name: DATATYPES.get(field.kind, "BYTES") for field in CONTRACT.fields}
    widths = [("FP64" if kinds.get(n) == "INT64" and draw.random() < 0.3 else kinds.get(n, "BYTES")) for n in names]
    made = [
        {"name": name, "datatype": width, "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name, width in zip(names, widths, strict=True)
    ]
    return "/v2/models/flight-delays/infer", {"inputs": made}


def torn(draw: random.Random, body: bytes) -> bytes:
    """A body that is none: cut off, changed in a byte, compressed, in another encoding, nested without end."""
    place = draw.randrange(len(body))
    ways: list[Callable[[], bytes]] = [
        lambda: body[:place],
        lambda: body[:place] + bytes([draw.randrange(256)]) + body[place + 1 :],
        lambda: gzip.compress(body),
        lambda: b"\xef\xbb\xbf" + body,
        lambda: body.decode("utf-8", "replace").encode("utf-16"),
        lambda: body.replace(b'"rows"', b'"\\u0072ows"'),
        lambda: b"[" * 100_000,
        lambda: draw.choice((b"", b" ", b"null", b"[]", b"{}", b'"x"', b"1e999", b'{"rows":{}}', b'{"inputs":[1]}')),
    ]
    return draw.choice(ways)()


def answered(path: str, content: dict[str, Any]) -> int:
    if path == "/predict":
        return len(content["predictions"]) if "predictions" in content else 1
    if path == "/invocations":
        return len(content["predictions"])
    return int(content["outputs"][0]["shape"][0])


def row_of(pointer: str, path: str) -> int:
    parts = pointer.split("/")
    return int(parts[2]) if len(parts) > 2 and parts[1] == "rows" else 0


def test_every_row_is_answered_or_named_and_nothing_is_the_servers_fault(sealed: Bundle) -> None:
    served = Served("test", 7, sealed.digest, "0" * 40, "registry")
    client = TestClient(create_app(ServingContext(Scorer(sealed), served, POLICY)))
    draw, good, seen = random.Random(SEED), sealed.golden.rows, Counter[Any]()
    assert sealed.model.name == "flight-delays"

    for number in range(REQUESTS):
        rows = spoilt(draw, draw.choices(good, k=draw.choice((1, 1, 1, 2, MOST_ROWS, MOST_ROWS + 1))))
        path, content = draw.choice((predict, predict, records, split, tensors))(draw, rows)
        body, is_torn = json.dumps(content).encode(), draw.random() < 0.15
        body = torn(draw, body) if is_torn else body

        answer = client.post(path, content=body, headers={"content-type": "application/json"})

        case = f"request {number} of seed {SEED}: {path} {body[:2_000]!r} got {answer.status_code} {answer.text[:500]}"
        assert answer.status_code in (200, 400, 413, 415, 422), case
        found = answer.json()
        seen[path, answer.status_code] += 1
        if answer.status_code != 200:
            assert answer.headers["content-type"] == "application/problem+json", case
            assert found["detail"], case
        if is_torn:
            continue
        wrong, has_words = broken(rows, path), b"NaN" in body.replace(b'"NaN"', b"") or b"Infinity" in body
        if len(rows) > MOST_ROWS and not has_words:
            assert answer.status_code in (413, 422), case
        elif has_words:
            assert answer.status_code == 400, case
            assert "send null" in found["detail"], case
        elif answer.status_code == 200:
            assert not wrong, case
            assert answered(path, found) == len(rows), case
        else:
            named = {(row_of(one["pointer"], path), one["field"]) for one in found.get("errors", [])}
            assert wrong, case
            assert named == wrong or len(found.get("errors", [])) == MAX_ERRORS or "errors" not in found, case

    assert {status for _, status in seen} == {200, 400, 413, 415, 422}
    assert all(seen[path, 200] > 50 for path in ("/predict", "/invocations", "/v2/models/flight-delays/infer")), seen
