"""Clients that keep asking while something happens to a project's servers, and what the supervisor says of those."""

import http.client
import json
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from running import RunningProject

#: Without a pause, clients take most of the processor from what they are to disturb.
PAUSE_S = 0.005


@dataclass
class Client:
    """Asks all the time and without a second try, and remembers what it got."""

    port: int
    row: str
    keeps_connection: bool
    pause_s: float = PAUSE_S
    token: str = ""
    host: str = "127.0.0.1"
    context: ssl.SSLContext | None = None
    versions: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    #: When each version answered first and last, in seconds.
    heard: dict[int, tuple[float, float]] = field(default_factory=dict)

    def ask(self, is_over: threading.Event) -> None:
        """Send requests until it is over."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        if self.context:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=10, context=self.context)
        with closing(connection):
            while not is_over.is_set():
                self._ask_once(connection)
                if not self.keeps_connection:
                    connection.close()
                is_over.wait(self.pause_s)

    def _ask_once(self, connection: http.client.HTTPConnection) -> None:
        try:
            headers = {"Content-Type": "application/json"}
            headers |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
            connection.request("POST", "/predict", self.row, headers)
            response = connection.getresponse()
            answer = json.load(response)
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))
            connection.close()
            return
        if response.status == 200:
            version, now = answer["model"]["version"], time.time()
            self.versions.append(version)
            self.heard[version] = (self.heard.get(version, (now, now))[0], now)
        else:
            self.failures.append(f"{response.status}: {answer}")


@contextmanager
def asking(project: RunningProject, token: str = "") -> Iterator[list[Client]]:
    """Let clients of every habit ask for as long as the block lasts."""
    row = json.dumps(project.flights(1)[0])
    habits = [(True, PAUSE_S), (True, PAUSE_S), (False, PAUSE_S), (True, 1.0)]
    with asked_by([Client(port(project), row, keeps, pause, token) for keeps, pause in habits]) as clients:
        yield clients


@contextmanager
def asked_by(clients: list[Client]) -> Iterator[list[Client]]:
    """Let these clients ask for as long as the block lasts."""
    is_over = threading.Event()
    threads = [threading.Thread(target=client.ask, args=(is_over,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def port(project: RunningProject) -> int:
    found = re.search(r"port: (\d+)", (project.root / "deploy/environments/staging.yaml").read_text("utf-8"))
    assert found is not None
    return int(found[1])


def state(project: RunningProject) -> dict[str, Any]:
    """What the supervisor wrote down last."""
    content: dict[str, Any] = json.loads((project.root / ".mlops/environments/staging/state.json").read_text("utf-8"))
    return content


def wait_until(is_true: Callable[[], bool], limit_s: float = 20) -> None:
    """Wait for something; what takes long to find out is asked less often, and so keeps nothing else from running."""
    deadline = time.monotonic() + limit_s
    asked = time.monotonic()
    while not is_true():
        assert time.monotonic() < deadline, f"not true within {limit_s} seconds"
        time.sleep(max(0.02, 3 * (time.monotonic() - asked)))
        asked = time.monotonic()


def two_answers_later(clients: list[Client]) -> list[int]:
    """Wait for two more answers to each client; return the place of the second among its answers.

    The first one after a change may still come from the leaving server, which then closes the connection.
    """
    enough = [len(client.versions) + 2 for client in clients]
    wait_until(lambda: all(len(one.versions) >= count for one, count in zip(clients, enough, strict=True)))
    return [count - 1 for count in enough]


def metric(project: RunningProject, line: str) -> float:
    """The value of a metric, 0 before it is first counted."""
    found = [text for text in project.text("/metrics").splitlines() if text.startswith(f"{line} ")]
    return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


def versions(project: RunningProject, rows: list[dict[str, Any]]) -> list[int]:
    """The version that answers each row."""
    return [project.request("POST", "/predict", row).body["model"]["version"] for row in rows]


def recorded(project: RunningProject, role: str) -> dict[str, dict[str, Any]]:
    """What the prediction log holds of a role, by id; a champion's lines do not name it."""
    lines = [
        json.loads(line)
        for path in (project.root / ".mlops/predictions/staging").glob("*.jsonl")
        for line in path.read_text("utf-8").splitlines()
    ]
    return {line["id"]: line for line in lines if line.get("role", "champion") == role}


def logged(folder: Path) -> int:
    """How many lines a prediction log has by now; a server writes them behind its answers."""
    return sum(len(path.read_bytes().splitlines()) for path in folder.glob("*.jsonl"))


def say_the_same_a_week_ago(folder: Path, lines: int) -> None:
    """Let a prediction log, when it has so many lines, have the same once more, a week earlier."""
    wait_until(lambda: logged(folder) >= lines)
    for path in list(folder.glob("*.jsonl")):
        day, _, rest = path.name.partition(".")
        earlier = []
        for line in path.read_text("utf-8").splitlines():
            prediction = json.loads(line)
            at = datetime.fromisoformat(prediction["at"]) - timedelta(days=7)
            # One id is one prediction, however often the log holds it.
            moved = prediction | {"id": f"{prediction['id']}-before", "at": at.isoformat()}
            earlier.append(json.dumps(moved, separators=(",", ":")) + "\n")
        before = date.fromisoformat(day) - timedelta(days=7)
        copy = path.with_name(f"{before}.{rest}")
        copy.write_text("".join(earlier), encoding="utf-8")
        copy.chmod(path.stat().st_mode)


def series(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """What Prometheus, at this address, says of an expression now."""
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?{urlencode({'query': expression})}", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def empty_while(ask: Callable[[], object], prometheus: str, expressions: list[str]) -> list[str]:
    """Those of the expressions that have no value although people ask for a minute."""
    empty = expressions
    until = time.monotonic() + 60
    while empty and time.monotonic() < until:
        ask()
        time.sleep(0.5)
        empty = [one for one in empty if all(found["value"][1] == "NaN" for found in series(prometheus, one))]
    return empty
