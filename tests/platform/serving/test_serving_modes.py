"""A server that listens: the same answers on the fast path and on plain ASGI, whatever uvicorn is installed."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec
import pytest
import uvicorn
from slipway.serving import worker
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.serving.fastpath import Wire
from slipway.serving.link import Link
from slipway.serving.worker import Worker
from slipway.settings.policy import ServingPolicy
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer

POLICY = ServingPolicy(max_body_kb=64, max_rows=8, requests_per_second=10_000, return_score=False)
JSON = {"content-type": "application/json"}


@contextmanager
def serving(bundle: Bundle, *, wants_fast_path: bool) -> Iterator[Worker]:
    """A worker that answers in a thread of this process."""
    app = create_app(ServingContext(Scorer(bundle), Served("test", 7, bundle.digest, "0" * 40, "registry"), POLICY))
    with worker.listen("127.0.0.1", 0) as listener:
        served = Worker(app, listener, Link(None), wants_fast_path=wants_fast_path)
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not served.started:
                time.sleep(0.01)
            yield served
        finally:
            served.should_exit = True
            thread.join()


@pytest.fixture(params=[True, False], ids=["fast path", "plain ASGI"])
def served(sealed: Bundle, request: pytest.FixtureRequest) -> Iterator[Worker]:
    with serving(sealed, wants_fast_path=request.param) as served:
        yield served


@pytest.fixture
def rows(sealed: Bundle) -> list[dict[str, Any]]:
    return sealed.golden.rows[:3]


def port_of(served: Worker) -> int:
    port: int = served.servers[0].sockets[0].getsockname()[1]
    return port


def ask(served: Worker, body: bytes, headers: dict[str, str] = JSON) -> tuple[int, Any, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(served), timeout=20)
    with closing(connection):
        connection.request("POST", "/predict", body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers


def test_rows_get_the_same_answers_alone_and_together(
    served: Worker, sealed: Bundle, rows: list[dict[str, Any]]
) -> None:
    name = sealed.model.answer

    _, together, _ = ask(served, msgspec.json.encode({"rows": rows}))
    alone = [ask(served, msgspec.json.encode(row)) for row in rows]

    assert [answer[name] for _, answer, _ in alone] == [one[name] for one in together["predictions"]]
    assert {(status, headers["mlops-version"]) for status, _, headers in alone} == {(200, "7")}
    assert {answer["model"]["version"] for _, answer, _ in alone} == {7}


@pytest.mark.parametrize(
    ("body", "headers", "status", "closes"),
    [
        pytest.param(b"{", JSON, 400, False, id="not JSON"),
        pytest.param(b"{}", {"content-type": "text/plain"}, 415, False, id="other type"),
        pytest.param(b"{}", JSON | {"content-encoding": "br"}, 415, False, id="compressed"),
        pytest.param(b"{}", {"content-type": "application/json; charset=utf-8"}, 422, False, id="no row, charset"),
        pytest.param(b"{}", JSON, 422, False, id="no row"),
        pytest.param(b" " * 70_000, JSON, 413, True, id="too large"),
    ],
)
def test_a_bad_request_is_refused_and_the_next_one_is_answered(
    served: Worker, rows: list[dict[str, Any]], body: bytes, headers: dict[str, str], status: int, closes: bool
) -> None:
    refused, problem, told = ask(served, body, headers)

    assert (refused, problem["status"], told["content-type"]) == (status, status, "application/problem+json")
    assert (told.get("connection") == "close") == closes
    assert ask(served, msgspec.json.encode(rows[0]))[0] == 200


def test_requests_on_one_connection_are_answered_in_their_order(served: Worker, rows: list[dict[str, Any]]) -> None:
    """They arrive at once, and the second one takes another way."""
    bodies = [msgspec.json.encode(body) for body in (rows[0], {"rows": rows}, rows[1])]
    head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
    received = b""

    with socket.create_connection(("127.0.0.1", port_of(served)), timeout=20) as connection:
        connection.sendall(b"".join(f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies))
        while received.count(b"\r\n\r\n") < 3 or not received.endswith(b"}"):
            received += connection.recv(65_536)

    answers = [json.loads(part.partition(b"\r\n\r\n")[2]) for part in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert ["predictions" in answer for answer in answers] == [False, True, False]


def test_a_server_that_drains_lets_its_clients_go(served: Worker, rows: list[dict[str, Any]]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(served), timeout=20)
    with closing(connection):
        for is_draining in (False, True):
            if is_draining:
                served._loop.call_soon_threadsafe(served._drain)
            connection.request("POST", "/predict", msgspec.json.encode(rows[0]), JSON)
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert (answer["model"]["version"], response.will_close) == (7, is_draining)


def test_the_policy_switches_the_fast_path_off(sealed: Bundle) -> None:
    for wants_fast_path in (True, False):
        with serving(sealed, wants_fast_path=wants_fast_path) as served:
            assert issubclass(served.config.http_protocol_class, Wire) == wants_fast_path


def test_another_uvicorn_is_served_without_the_fast_path_and_that_is_logged(
    sealed: Bundle, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(uvicorn, "__version__", "99.0.0")

    with caplog.at_level(logging.WARNING), serving(sealed, wants_fast_path=True) as served:
        assert ask(served, msgspec.json.encode(rows[0]))[0] == 200

    assert "the fast path is off, because uvicorn is 99.0.0" in caplog.text


def test_a_uvicorn_without_the_names_it_needs_is_served_without_the_fast_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever its version is."""
    from uvicorn.protocols.http import httptools_impl

    monkeypatch.delattr(httptools_impl, "RequestResponseCycle")
    monkeypatch.delitem(__import__("sys").modules, Wire.__module__)

    assert worker.fast_path() is None
