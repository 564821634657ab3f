"""Draws what the dashboard of a project shows: each of its queries, asked of a live Prometheus.

    uv run --no-project --with matplotlib==3.11.1 python benchmarks/dashboard.py PROJECT

The pipeline of PROJECT has run. Its server gets ten minutes of flights: as it learned them, then
without their weather and two months too old, with some that are refused. Needs `prometheus`.
Writes `docs/dashboard.svg`.
"""

import argparse
import json
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl
from serving import SEAL, python, serving

TARGET = Path(__file__).parents[1] / "docs" / "dashboard.svg"
SECONDS = 600
CONFIG = """
global: {scrape_interval: 2s, evaluation_interval: 2s}
rule_files: [RULES]
scrape_configs:
  - job_name: servers
    static_configs: [{targets: ["127.0.0.1:PORT"], labels: {environment: staging}}]
"""


def flights(project: Path) -> list[dict[str, Any]]:
    """Rows that the model was tested on, with times of the last hours."""
    code = """
import polars as pl
from PACKAGE.contract import CONTRACT
from slipway.contract.frames import as_rows
rows = pl.read_parquet("data/test.parquet").sample(400, seed=1).select(f.name for f in CONTRACT.fields)
import msgspec, sys
sys.stdout.buffer.write(msgspec.json.encode(as_rows(rows)))
"""
    done = subprocess.run(python(project, code), cwd=project, check=True, capture_output=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def ask_for(port: int, rows: list[dict[str, Any]], stop: threading.Event) -> None:
    """Ask ten times a second; after half of the time the rows are other ones."""
    begin, number = time.monotonic(), 0
    while not stop.is_set():
        number += 1
        is_late = time.monotonic() - begin > SECONDS / 2
        age = timedelta(days=60) if is_late else timedelta(hours=number % 24)
        row = rows[number % len(rows)] | {"departs": (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%S")}
        if is_late and number % 3 == 0:
            row |= {"temp": None, "wind_speed": None}
        if is_late and number % 10 == 0:
            row["carrier"] = "ZZ"
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/predict", json.dumps(row).encode(), {"Content-Type": "application/json"}
        )
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except urllib.error.HTTPError as refusal:
            refusal.close()
        stop.wait(0.1)


@contextmanager
def prometheus(rules: Path, server: int, folder: Path) -> Iterator[int]:
    """Let a Prometheus look at a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.replace("RULES", str(rules)).replace("PORT", str(server)), encoding="utf-8")
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    options += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with subprocess.Popen(["prometheus", *options]) as process:
        try:
            yield port
        finally:
            process.terminate()


def series(port: int, expression: str, begin: float, end: float) -> list[dict[str, Any]]:
    """What Prometheus answers for a span of time."""
    query = {"query": expression, "start": str(begin), "end": str(end), "step": "5"}
    address = f"http://127.0.0.1:{port}/api/v1/query_range?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(address, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def draw(panels: list[dict[str, Any]], ask: Callable[[str], list[dict[str, Any]]], begin: float) -> None:
    """Draw every panel; one without data is a fault of the dashboard."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "dashboard"
    from matplotlib import pyplot as plt

    figure, places = plt.subplots(-(-len(panels) // 3), 3, figsize=(15, 13), layout="constrained")
    for axes, panel in zip(places.flat, panels, strict=False):
        for target in panel["targets"]:
            found = ask(target["expr"])
            if not found:
                raise SystemExit(f"error: {panel['title']}: no data for {target['expr']}")
            for one in found:
                label = target.get("legendFormat", "")
                for name, value in one["metric"].items():
                    label = label.replace(f"{{{{{name}}}}}", value)
                times, values = zip(*one["values"], strict=True)
                axes.plot([(at - begin) / 60 for at in times], [float(value) for value in values], label=label)
        axes.set_title(panel["title"], fontsize=9, wrap=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    for axes in places.flat[len(panels) :]:
        axes.remove()
    figure.supxlabel("minutes; from the fifth on other rows come")
    figure.savefig(TARGET, metadata={"Date": None})


def main() -> None:
    """Serve, ask, watch, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path, help="A generated project whose pipeline has run.")
    project = parser.parse_args().project.resolve()
    dashboard = json.loads((project / "monitoring/grafana/dashboards/serving.json").read_text("utf-8"))
    rows, stop = flights(project), threading.Event()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run(python(project, SEAL, str(folder / "bundle")), cwd=project, check=True)
        with (
            serving(project, "server", folder) as server,
            prometheus(project / "monitoring/alerts.yml", server.port, folder) as port,
        ):
            begin = time.time()
            client = threading.Thread(target=ask_for, args=(server.port, rows, stop))
            client.start()
            time.sleep(SECONDS)
            stop.set()
            client.join()
            draw(dashboard["panels"], lambda expression: series(port, expression, begin, time.time()), begin)


if __name__ == "__main__":
    main()
