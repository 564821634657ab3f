"""A row as a form: what it becomes, and what is refused. A whole server takes one in `lifecycle/test_pictures.py`."""

from __future__ import annotations

import asyncio
import base64
import io
import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import httpx2
import msgspec
import numpy as np
import pytest
from PIL import Image
from slipway import Contract, Picture, Row
from slipway.contract.problems import Problem
from slipway.serving.forms import Forms


class Sheet(Row):
    number: int
    weight: float | None
    folded: bool
    note: str | None
    scan: Annotated[bytes, Picture(width=8, height=6)]


class Shown(Row):
    digit: int


CONTRACT = Contract(row=Sheet, outcome=Shown, key=("number",))
LIMIT = 4_000


def picture() -> bytes:
    written = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(written, "PNG")
    return written.getvalue()


SCAN = ("7.png", picture())
FORM = {"content-type": "multipart/form-data; boundary=between-parts"}
FIELDS = {"number": "7", "folded": "true"}


def sent(fields: dict[str, Any], files: Sequence[tuple[str, Any]] = (("scan", SCAN),)) -> tuple[dict[str, str], bytes]:
    """Headers and body of a form, as a client writes them."""
    request = httpx2.Request("POST", "http://here", data=fields, files=[*files], headers=FORM)
    return {name: request.headers[name] for name in ("content-type", "content-length")}, request.read()


def read(headers: dict[str, str], body: bytes, origins: Sequence[str] = (), limit: int = LIMIT) -> dict[str, Any]:
    """The row that becomes of a form."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    scope = {"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    found = asyncio.run(Forms(CONTRACT, origins).read(limit, scope, receive))
    row: dict[str, Any] = msgspec.json.decode(found)
    return row


def refused(headers: dict[str, str], body: bytes, **options: Any) -> tuple[int, str]:
    with pytest.raises(Problem) as problem:
        read(headers, body, **options)
    return problem.value.status, problem.value.detail


def test_a_form_becomes_the_row_that_json_would_hold() -> None:
    row = read(*sent(FIELDS | {"weight": "1.5", "note": "12"}))

    assert row == {
        "number": 7,
        "weight": 1.5,
        "folded": True,
        "note": "12",
        "scan": base64.b64encode(picture()).decode(),
    }
    assert CONTRACT.settle(msgspec.convert(row, Sheet)) is None


def test_a_column_that_may_be_missing_can_be_left_out_and_a_picture_be_a_text() -> None:
    row = read(*sent(FIELDS | {"scan": "no file"}, [("weight", (None, "null"))]))

    assert (row["weight"], row["note"], row["scan"]) == (None, None, "no file")
    assert "scan" not in read(*sent({"number": "7"}, [("folded", (None, "false"))]))


@pytest.mark.parametrize(
    ("fields", "files", "status", "said"),
    [
        (FIELDS, [("scan", SCAN), ("scan", SCAN)], 422, "the form has scan twice"),
        ({"folded": "true"}, [("number", SCAN)], 422, "number is sent as a file, and no picture"),
        (FIELDS, [("x" * 200, SCAN)], 422, "x" * 60 + " is sent as a file, and no picture"),
        (FIELDS, [("scan", ("7.png", bytes(LIMIT)))], 413, "the body is larger than 3 kB"),
        # 3,000 bytes are 4,000 characters in base64.
        (FIELDS, [("scan", ("7.png", bytes(3_000)))], 413, "the body is larger than 3 kB"),
    ],
    ids=["twice", "no picture", "unknown", "large", "large as JSON"],
)
def test_what_is_no_such_form_is_refused_in_a_sentence(
    fields: dict[str, Any], files: list[Any], status: int, said: str
) -> None:
    assert refused(*sent(fields, files)) == (status, said)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda headers, body: (headers, body[:-8]), "is no whole form: the boundary that ends it is missing"),
        (lambda headers, body: (headers, body[:0] + b"{}"), "is no form"),
        (lambda headers, body: (headers | {"content-type": "multipart/form-data"}, body), "names no boundary"),
        (lambda headers, body: (headers, body.replace(b'"folded"', b'"\xff"')), "is no form: 'utf-8' codec"),
    ],
    ids=["cut", "JSON", "no boundary", "no text"],
)
def test_a_body_that_is_no_form_is_refused(spoil: Callable[..., Any], said: str) -> None:
    status, detail = refused(*spoil(*sent(FIELDS)))

    assert status == 400
    assert said in detail


def test_a_page_of_another_address_is_refused_unless_the_policy_names_it() -> None:
    """A browser sends a form without asking, JSON it asks about first."""
    headers, body = sent(FIELDS)
    there = headers | {"origin": "https://app.example.com"}

    assert refused(there, body)[0] == 403
    assert refused(there, body, origins=["https://other.example.com"])[0] == 403
    assert read(there, body, origins=["https://app.example.com"])["number"] == 7
    assert read(there, body, origins=["*"])["number"] == 7
    assert refused(headers | {"content-encoding": "gzip"}, body)[0] == 415


def test_no_bytes_make_anything_but_a_row_or_a_sentence() -> None:
    headers, whole = sent(FIELDS)
    chance, told = random.Random(7), list[tuple[int, str]]()
    for _ in range(300):
        content, sender = bytearray(whole), dict(headers)
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.choice([chance.randrange(256), 13, 10, 45])
        if chance.random() < 0.2:
            sender["content-type"] = chance.choice(["multipart/form-data", 'multipart/form-data; boundary=""', "x" * 9])
        try:
            read(sender, bytes(content))
            told.append((200, "a row"))
        except Problem as problem:
            told.append((problem.status, problem.detail))

    assert {status for status, _ in told} >= {200, 400}
    assert not [detail for _, detail in told if "\n" in detail or len(detail) > 300]


def test_the_description_has_each_column_and_calls_pictures_files() -> None:
    described = Forms(CONTRACT, []).describe()["paths"]["/predict"]["post"]["requestBody"]["content"]
    schema = described["multipart/form-data"]["schema"]

    assert schema["required"] == ["number", "folded", "scan"]
    assert {*schema["properties"]} == {"number", "weight", "folded", "note", "scan"}
    assert schema["properties"]["scan"]["format"] == "binary"
    assert CONTRACT.json_schema["components"]["Sheet"]["properties"]["scan"]["contentEncoding"] == "base64"
