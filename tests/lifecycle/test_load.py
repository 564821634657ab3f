"""Several workers behind one address, and what one client can do to the others: little."""

import http.client
import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from clients import asking, metric, port, state, two_answers_later, wait_until
from running import RunningProject, give_free_ports

WORKERS = 2
#: More than all clients of a test together, as all of them may meet the same worker.
AT_ONCE = 8


# One project for all tests of this module, so one worker runs them.
pytestmark = pytest.mark.xdist_group("load")


@pytest.fixture(scope="module")
def loaded(trained: RunningProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProject]:
    """A project that serves staging with two workers, each of which takes eight requests at once."""
    project = trained.copy(tmp_path_factory.mktemp("loaded") / "flights")
    give_free_ports(project.root)
    project.edit("policy.yaml", "requests_per_second: 1000", "requests_per_second: 1000000")
    project.edit("policy.yaml", "max_in_progress: 256", f"max_in_progress: {AT_ONCE}")
    project.edit("deploy/environments/staging.yaml", "  workers: 1", f"  workers: {WORKERS}")
    project.commit("Serve with two workers")
    project.release("staging")
    yield project
    project.stop()


def raw_request(project: RunningProject) -> bytes:
    body = json.dumps(project.flights(1)[0]).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def connect(project: RunningProject) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port(project)), timeout=20)


def answers_to(project: RunningProject, sent: bytes, count: int) -> list[bytes]:
    """The bodies of the next answers on a connection on which all of `sent` arrived at once."""
    with connect(project) as connection:
        connection.sendall(sent)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < count or not received.endswith(b"}"):
            piece = connection.recv(65_536)
            assert piece, received
            received += piece
    return [answer.partition(b"\r\n\r\n")[2] for answer in received.split(b"HTTP/1.1 200 OK")[1:]]


def test_requests_in_one_breath_are_answered_in_their_order(loaded: RunningProject) -> None:
    one = raw_request(loaded)
    head, _, row = one.partition(b"\r\n\r\n")
    many = b'{"rows":[' + row + b"," + row + b"]}"
    long = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(many), head) + b"\r\n\r\n" + many

    first, second, third = answers_to(loaded, one + long + one, 3)

    assert b"predictions" in second
    assert json.loads(first)["late"] == json.loads(third)["late"] == json.loads(second)["predictions"][1]["late"]


def test_a_body_in_pieces_and_one_that_waits_for_leave_are_taken(loaded: RunningProject) -> None:
    head, _, row = raw_request(loaded).partition(b"\r\n\r\n")
    chunks = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (9, row[:9], len(row) - 9, row[9:])
    chunked = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head) + b"\r\n\r\n" + chunks
    polite = head + b"\r\nExpect: 100-continue\r\n\r\n" + row

    (answer,) = answers_to(loaded, chunked, 1)
    assert isinstance(json.loads(answer)["late"], bool)
    with connect(loaded) as connection:
        connection.sendall(polite)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 Continue")


def test_metrics_are_the_sums_over_all_workers(loaded: RunningProject) -> None:
    """Also after one of them was killed: what it had counted is not forgotten."""
    version = '{version="1"}'
    names = ['requests_total{status="200"}', f"predictions_total{version}", 'missing_values_total{field="temp"}']
    names += [f"{name}_count{version}" for name in ("prediction_seconds", "prediction_score", "row_age_seconds")]
    names.append(f"requests_in_progress_count{version}")
    row = loaded.flights(1)[0] | {"temp": None}

    def counted() -> list[float]:
        return [metric(loaded, f"mlops_{name}") for name in names]

    expected = [before + 50 for before in counted()]
    for _ in range(50):  # a connection each, so that both workers get some
        assert loaded.request("POST", "/predict", row).status == 200

    wait_until(lambda: counted() == expected)
    assert all(counted() == expected for _ in range(10))
    killed = state(loaded)["workers"][0]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(state(loaded)["workers"]) == WORKERS and killed not in state(loaded)["workers"])
    assert all(counted() == expected for _ in range(10))
    assert metric(loaded, "mlops_requests_in_progress_limit") == 8


def test_a_killed_worker_takes_only_its_own_requests_along(loaded: RunningProject) -> None:
    before = state(loaded)["workers"]

    with asking(loaded) as clients:
        two_answers_later(clients)
        os.kill(before[0], signal.SIGKILL)
        two_answers_later(clients)
        wait_until(lambda: len(set(state(loaded)["workers"]) - {before[0]}) == WORKERS)
        two_answers_later(clients)

    # A client has one request under way, so each can have lost one at most.
    assert all(len(client.failures) <= 1 for client in clients)
    assert before[1] in state(loaded)["workers"]


def test_what_is_too_much_is_refused_at_once_and_not_queued(loaded: RunningProject) -> None:
    """Stopped workers find all requests at once when they go on."""
    request = raw_request(loaded)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(loaded)) for _ in range(100)]
        for connection in connections:
            connection.sendall(request)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        workers = state(loaded)["workers"]
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        for connection in connections:
            connection.sendall(request)

        for worker in workers:
            os.kill(worker, signal.SIGCONT)
        answers = {connection: connection.recv(65_536) for connection in connections}
        refused = {connection for connection, answer in answers.items() if answer.startswith(b"HTTP/1.1 503 ")}
        assert all(b"retry-after: 1\r\n" in answers[connection] for connection in refused)
        assert 0 < len(refused) <= len(connections) - AT_ONCE
        assert all(answers[one].startswith(b"HTTP/1.1 200 ") for one in answers.keys() - refused)
        again = refused.pop()
        again.sendall(request)
        assert again.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_slow_clients_stop_nobody_and_are_let_go(loaded: RunningProject) -> None:
    request = raw_request(loaded)
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(loaded)) for _ in range(200)]
        for connection in slow:
            connection.sendall(request[:-10])

        with asking(loaded) as clients:
            two_answers_later(clients)
        for connection in slow:
            connection.settimeout(60)

        assert [client.failures for client in clients] == [[], [], [], []]
        assert [connection.recv(10) for connection in slow] == [b""] * len(slow)


def test_large_requests_stop_nobody(loaded: RunningProject) -> None:
    """While a worker works on thousands of rows, others get their turn."""
    body = json.dumps({"rows": loaded.flights(100) * 100}).encode()
    is_over = threading.Event()

    def ask_for_much(answered: list[int]) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port(loaded), timeout=60)) as connection:
            while not is_over.is_set():
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                response.read()
                answered.append(response.status)

    much: list[int] = []
    threads = [threading.Thread(target=ask_for_much, args=(much,)) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    with asking(loaded) as clients:
        before = len(much)
        wait_until(lambda: len(much) >= before + 10, limit_s=60)
    is_over.set()
    for thread in threads:
        thread.join()

    assert set(much) == {200}
    assert [client.failures for client in clients] == [[], [], [], []]
    assert len(clients[0].versions) > 3 * (len(much) - before)


def test_a_body_that_is_too_large_is_refused_before_it_is_all_there(loaded: RunningProject) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n"
    with connect(loaded) as connection:
        connection.sendall(head)
        try:
            for _ in range(200):
                connection.sendall(b" " * 65_536)
        except OSError:
            pass
        else:
            pytest.fail("13 MB were taken in")
        for worker in state(loaded)["workers"]:
            resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{worker}/status").read_text("utf-8"))
            assert resident is not None
            assert int(resident[1]) < 250_000


CLIENT = """
import json, sys
import numpy as np
import tritonclient.http as http

address, rows = sys.argv[1], json.loads(sys.argv[2])
client = http.InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("flight-delays", "1")
types = {"FP64": np.float64, "INT64": np.int64, "BOOL": bool, "BYTES": np.object_}
inputs = []
for tensor in client.get_model_metadata("flight-delays")["inputs"]:
    given = http.InferInput(tensor["name"], [len(rows)], tensor["datatype"])
    values = np.array([row[tensor["name"]] for row in rows], dtype=types[tensor["datatype"]])
    inputs.append(given.set_data_from_numpy(values, binary_data=False))
print(json.dumps(client.infer("flight-delays", inputs, model_version="1").as_numpy("late").tolist()))
try:
    client.infer("flight-delays", inputs[1:])
except Exception as refused:
    print(refused)
"""


def test_a_client_of_the_open_inference_protocol_is_understood(loaded: RunningProject) -> None:
    rows = [row for row in loaded.flights(50) if None not in row.values()]
    expected = loaded.request("POST", "/predict", {"rows": rows}).body["predictions"]
    address = f"127.0.0.1:{port(loaded)}"

    client = ["uv", "run", "--quiet", "--no-project", "--with", "tritonclient[http]==2.73.0", "python", "-c", CLIENT]
    answers, refusal = loaded.run(*client, address, json.dumps(rows)).stdout.splitlines()

    assert json.loads(answers) == [prediction["late"] for prediction in expected]
    assert "[422] rows break the contract" in refusal


def test_no_request_that_a_fuzzer_makes_is_the_servers_fault(loaded: RunningProject) -> None:
    address = f"http://127.0.0.1:{port(loaded)}"
    fuzzer = ["uv", "run", "--quiet", "--no-project", "--with", "schemathesis==4.32.5", "schemathesis", "run"]
    options = ["--checks", "not_a_server_error", "--max-examples", "40", "--seed", "1", f"{address}/openapi.json"]

    report = loaded.run(*fuzzer, *options, check=False)

    assert report.exit_code == 0, report.stdout[-4000:]
    assert re.search(r"\b(\d{3,}) generated, \1 passed", report.stdout)
