"""Clients of every kind for a long while, as models, challengers and processes change beneath them.

A short while in the suite; as long as you like by hand, ten minutes for instance:

    SLIPWAY_SOAK_MINUTES=10 .venv/bin/python -m pytest -s tests/lifecycle/test_soak.py
"""

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from clients import port, state, wait_until
from running import RunningProject, give_free_ports

MINUTES = float(os.environ.get("SLIPWAY_SOAK_MINUTES", "0.5"))
WORKERS = 2

MAX_MEMORY_KB = 250_000

#: From one part of the while to the next, once everything has been asked at least once.
MAX_GROWTH = 1.1


@dataclass
class Habit:
    """A client that asks one thing over and over, a little apart, on a connection that it keeps."""

    name: str
    path: str
    body: bytes
    expected: int = 200
    answers: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    def ask(self, port: int, is_over: threading.Event) -> None:
        """Ask until it is over."""
        with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            while not is_over.wait(0.003):
                try:
                    connection.request("POST", self.path, self.body, {"Content-Type": "application/json"})
                    response = connection.getresponse()
                    response.read()
                    self.answers[response.status] += 1
                except (OSError, HTTPException) as error:
                    self.lost.append(repr(error))
                    connection.close()


def habits(rows: list[dict[str, Any]]) -> list[Habit]:
    """One row, many rows, wrong rows, and the protocols of others."""
    whole = next(row for row in rows if None not in row.values())
    types = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
    tensors = [
        {"name": name, "shape": [1], "datatype": types[type(value)], "data": [value]} for name, value in whole.items()
    ]
    return [
        Habit("one row", "/predict", json.dumps(rows[0]).encode()),
        Habit("another row", "/predict", json.dumps(rows[1]).encode()),
        Habit("500 rows", "/predict", json.dumps({"rows": (rows * 5)[:500]}).encode()),
        Habit("a wrong row", "/predict", json.dumps(rows[0] | {"distance": -1}).encode(), expected=422),
        Habit("Open Inference Protocol", "/v2/models/flight-delays/infer", json.dumps({"inputs": tensors}).encode()),
        Habit("MLflow", "/invocations", json.dumps({"dataframe_records": [whole]}).encode()),
    ]


@contextmanager
def asked(clients: list[Habit], port: int) -> Iterator[None]:
    """Let them all ask for as long as the block lasts."""
    is_over = threading.Event()
    threads = [threading.Thread(target=client.ask, args=(port, is_over)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def sizes_of(project: RunningProject) -> dict[int, int]:
    """The memory of each worker, in kB."""
    return {process: memory(process) for process in state(project)["workers"]}


def memory(process: int) -> int:
    """Resident memory of a process in kB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text("utf-8"))
    assert found is not None
    return int(found[1])


@pytest.fixture
def served(trained_twice: RunningProject, tmp_path: Path) -> Iterator[RunningProject]:
    """Version 1 in staging with two workers, and a version 2."""
    project = trained_twice.copy(tmp_path / "flights")
    give_free_ports(project.root)
    project.edit("policy.yaml", "requests_per_second: 1000", "requests_per_second: 1000000")
    project.edit("deploy/environments/staging.yaml", "  workers: 1", f"  workers: {WORKERS}")
    project.commit("Serve with two workers")
    project.release("staging", "--version", "1")
    yield project
    project.stop()


def test_only_a_killed_worker_loses_requests_and_memory_does_not_grow(served: RunningProject) -> None:
    clients = habits(served.flights(100))
    part_s = MINUTES * 60 / 6
    with asked(clients, port(served)):
        time.sleep(part_s)
        served.release("staging")
        time.sleep(part_s)
        sizes = [sizes_of(served)]
        served.challenge("staging", "--version", "1", "--mode", "canary", "--share", "0.5")
        time.sleep(part_s)
        sizes.append(sizes_of(served))
        served.challenge("staging", "--version", "1", "--mode", "shadow")
        time.sleep(part_s)
        sizes.append(sizes_of(served))
        before = [len(client.lost) for client in clients]
        killed, *stayed = state(served)["workers"]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(set(state(served)["workers"]) - {killed}) == WORKERS)
        # A client keeps its worker: the one that stays may get some kind of request for the first time only now.
        for _ in range(2):
            time.sleep(part_s)
            sizes.append(sizes_of(served))

    lost = [len(client.lost) for client in clients]
    for client in clients:
        print(f"{client.name}: {sum(client.answers.values()):,} answers, {len(client.lost)} lost {client.lost}")
    series = {process: [size[process] for size in sizes] for process in stayed}
    print(f"kB after a deploy, with a canary, with a shadow, after a kill, at the end: {series}")
    assert before == [0] * len(clients), [client.lost for client in clients]
    assert all(count <= 1 for count in lost), "a client has one request under way, so each can lose one at most"
    assert [set(client.answers) for client in clients] == [{client.expected} for client in clients]
    assert series
    assert all(max(one) < MAX_MEMORY_KB for one in series.values())
    assert all(one[-1] < MAX_GROWTH * one[-2] for one in series.values())
