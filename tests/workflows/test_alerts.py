"""An alert on its whole way: the project's rules in Prometheus, its routes in Alertmanager, and who is told."""

import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from clients import wait_until
from rendering import ROOT
from servers import alertmanager, prometheus

MONITORING = ROOT / "template" / "monitoring"
ROUTES = (MONITORING / "alertmanager.yml").read_text("utf-8")

#: A server that cannot write its log, in the words of its own metrics; the count grows with each look.
METRICS = "mlops_prediction_log_failures_total {failures}\n"


@contextmanager
def listening(told: list[dict[str, Any]]) -> Iterator[str]:
    """A pager that keeps what it is told, and a server whose log fails."""

    class Handler(BaseHTTPRequestHandler):
        looks = 0

        def do_POST(self) -> None:
            told.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            Handler.looks += 1
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(METRICS.format(failures=Handler.looks).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def with_pager(routes: str, pager: str) -> str:
    """The project's routes with somebody named in them, and without the patience."""
    named = routes.replace("  - name: team\n", f'  - name: team\n    webhook_configs: [{{url: "http://{pager}/"}}]\n')
    assert named != routes
    return named.replace("group_wait: 10s", "group_wait: 1s")


def names(told: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(one["labels"]["alertname"], one["labels"]["environment"]) for one in told}


def fire(manager: str, **labels: str) -> None:
    """Say that an alert fires, as Prometheus does."""
    body, headers = json.dumps([{"labels": labels}]).encode(), {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{manager}/api/v2/alerts", body, headers), timeout=5).close()


def test_whoever_is_named_is_told_what_happened_where_and_what_to_do(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    (tmp_path / "alerts.yml").write_bytes((MONITORING / "alerts.yml").read_bytes())
    with listening(told) as failing, alertmanager(tmp_path, with_pager(ROUTES, failing)) as manager:
        servers = {"targets": [failing], "labels": {"environment": "staging"}}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager.removeprefix("http://")]}]}]},
            "scrape_configs": [{"job_name": "servers", "static_configs": [servers]}],
        }
        with prometheus(tmp_path, json.dumps(config)):
            wait_until(lambda: told != [], limit_s=60)

    assert names(told) == {("PredictionsNotRecorded", "staging")}
    assert told[0]["labels"]["severity"] == "critical"
    assert "Predictions of staging are answered but not recorded" in told[0]["annotations"]["summary"]
    page = (ROOT / "template/docs/runbook.md").read_text("utf-8")
    _, _, anchor = told[0]["annotations"]["runbook"].partition("docs/runbook.md#")
    assert anchor in [heading.lower() for heading in re.findall("^## (.+)$", page, flags=re.MULTILINE)]


@pytest.mark.parametrize("is_down", [True, False])
def test_where_nobody_answers_the_slow_are_no_news(tmp_path: Path, is_down: bool) -> None:
    told: list[dict[str, Any]] = []
    fired = [("ServerDown", "critical", "staging")] if is_down else []
    # The last one to be told shows that whoever is not told by then is not told at all.
    fired += [("RequestsSlow", "warning", "staging"), ("RequestsSlow", "warning", "production")]
    with listening(told) as pager, alertmanager(tmp_path, with_pager(ROUTES, pager)) as manager:
        for name, severity, environment in fired:
            fire(manager, alertname=name, severity=severity, environment=environment)
        wait_until(lambda: len(names(told)) == 2 and ("RequestsSlow", "production") in names(told), limit_s=30)

    other = ("ServerDown", "staging") if is_down else ("RequestsSlow", "staging")
    assert names(told) == {("RequestsSlow", "production"), other}
