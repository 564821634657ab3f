"""What surrounds the models on one machine: started by one command, closed to others, and really asked."""

import json
import os
import re
import shutil
import stat
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clients import empty_while, series, wait_until
from containers import ContainerProject
from parts import part
from rendering import git
from running import free_port

OVERRIDE = Path(__file__).with_name("compose.override.yaml")
SERVICES = ("MLFLOW", "OBJECTS", "PROMETHEUS", "ALERTMANAGER", "GRAFANA")
LIMIT = re.compile(r" (>|==) [0-9.]+$")
STATUS = re.compile(r'{status=~?"[^"]+"}')
CONTAINERS = ("postgres", "objects", "mlflow", "prometheus", "alertmanager", "grafana")


@dataclass(frozen=True)
class Platform:
    """A project whose services run."""

    project: ContainerProject
    ports: dict[str, str]
    pages: dict[str, str]
    flight: dict[str, Any]

    def ask(self, service: str, path: str, **query: str) -> dict[str, Any]:
        """Ask a service for JSON."""
        address = f"{self.pages[service]}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            said: dict[str, Any] = json.load(answer)
            return said

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask Prometheus; returns the series."""
        return series(self.pages["prometheus"], expression)


@pytest.fixture(scope="module")
def platform(shipped: ContainerProject) -> Iterator[Platform]:
    """The services of a project with a model in staging that has answered requests."""
    before = git(shipped.root, "rev-parse", "HEAD").strip()
    shutil.copy(OVERRIDE, shipped.root / "deploy" / "compose")
    # A look every second, so that a test need not wait for a minute.
    shipped.edit("monitoring/prometheus.yml", "scrape_interval: 15s", "scrape_interval: 1s")
    shipped.edit("monitoring/prometheus.yml", "evaluation_interval: 15s", "evaluation_interval: 1s")
    shipped.edit("monitoring/prometheus.yml", "refresh_interval: 15s", "refresh_interval: 1s")
    shipped.commit("Take the services from packages")
    shipped.mlops("promote", "staging", "--version", "1")
    git(shipped.root, "merge", "--quiet", "--no-edit", "promote/staging-v1")
    ports = {f"{name}_PORT": str(free_port()) for name in SERVICES}
    try:
        started = shipped.mlops("platform", "up", env=ports)
        pages = dict(line.split() for line in started.stdout.splitlines() if line.count(" http://"))
        flights = shipped.flights(50)
        for _ in range(20):
            shipped.request("POST", "/predict", {"rows": flights})
        yield Platform(shipped, ports, pages, flights[0])
    finally:
        shipped.mlops("platform", "down", env=ports)
        shipped.mlops("stop", "staging")
        git(shipped.root, "reset", "--quiet", "--hard", before)


def inspected(platform: Platform, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(
        platform.project.engine.docker("inspect", f"flight-delays-{name}-1").stdout
    )
    return found[0]


def test_one_command_starts_services_and_released_models(platform: Platform) -> None:
    assert platform.project.request("GET", "/version").body["version"] == 1
    assert {inspected(platform, name)["State"]["Status"] for name in CONTAINERS} == {"running"}


def test_a_run_is_tracked_and_its_model_kept_in_the_bucket(platform: Platform) -> None:
    """MLflow stands on PostgreSQL and hands artefacts through to the object store."""
    server = {"MLFLOW_TRACKING_URI": platform.pages["mlflow"]}
    project = platform.project

    project.mlops("pipeline", env=server)
    project.mlops("register", env=server)
    shutil.rmtree(project.root / ".mlops" / "bundles")
    project.mlops("trace", "1", env=server)

    listed = project.engine.docker(
        "exec", "flight-delays-objects-1", "sh", "-c", "echo fs.du /buckets/mlflow | weed shell -master=localhost:9333"
    )
    assert "byte:0 " not in listed.stdout
    assert "/buckets/mlflow" in listed.stdout


def test_the_tracking_server_answers_to_its_own_names_only(platform: Platform) -> None:
    request = urllib.request.Request(f"{platform.pages['mlflow']}/", headers={"Host": "evil.example"})

    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=10)


def test_every_port_is_on_the_loopback_address(platform: Platform) -> None:
    bindings = [inspected(platform, name)["HostConfig"]["PortBindings"] or {} for name in CONTAINERS]

    assert {one["HostIp"] for binding in bindings for ports in binding.values() for one in ports} == {"127.0.0.1"}
    assert bindings[CONTAINERS.index("postgres")] == {}


def test_secrets_are_files_that_neither_git_nor_docker_shows(platform: Platform) -> None:
    folder = platform.project.root / ".mlops" / "secrets"
    values = [(folder / name).read_text("utf-8") for name in ("postgres", "grafana")]
    values.append(json.loads((folder / "s3.json").read_text("utf-8"))["identities"][0]["credentials"][0]["secretKey"])
    told = "".join(json.dumps(inspected(platform, name)) for name in CONTAINERS)
    told += "".join(platform.project.engine.docker("top", f"flight-delays-{name}-1").stdout for name in CONTAINERS)

    assert [value for value in values if len(value) < 24 or value in told] == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert git(platform.project.root, "status", "--porcelain", "--", ".mlops") == ""


def test_starting_again_keeps_secrets_and_runs(platform: Platform) -> None:
    folder = platform.project.root / ".mlops" / "secrets"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    result = platform.project.mlops("platform", "up", env=platform.ports)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert "version 1 already answers" in result.stderr


def empty_after_traffic(platform: Platform, expressions: list[str]) -> list[str]:
    rows = [platform.flight | {"temp": None}] * 50
    return empty_while(
        lambda: platform.project.request("POST", "/predict", {"rows": rows}), platform.pages["prometheus"], expressions
    )


def test_each_panel_shows_something_of_the_running_server(platform: Platform) -> None:
    dashboard = json.loads((platform.project.root / "monitoring/grafana/dashboards/serving.json").read_text("utf-8"))
    queries = {target["expr"]: panel["title"] for panel in dashboard["panels"] for target in panel["targets"]}

    assert empty_after_traffic(platform, list(queries)) == []
    assert len(queries) >= 21
    shown = platform.query("max by (environment, version) (mlops_model_info)")
    assert [one["metric"] for one in shown] == [{"environment": "staging", "version": "1"}]


def test_grafana_is_told_where_the_dashboard_and_its_data_are(platform: Platform) -> None:
    """There is no package of it, so its settings are read here, against what the other services are."""
    root = platform.project.root
    sources = (root / "monitoring/grafana/datasources/prometheus.yml").read_text("utf-8")
    provider = (root / "monitoring/grafana/dashboards/provider.yml").read_text("utf-8")
    dashboard = json.loads((root / "monitoring/grafana/dashboards/serving.json").read_text("utf-8"))
    mounts = {one["Destination"]: one["Source"] for one in inspected(platform, "grafana")["Mounts"]}

    assert mounts["/etc/grafana/provisioning"] == str(root / "monitoring" / "grafana")
    assert "url: http://prometheus:9090" in sources
    assert "uid: prometheus" in sources
    assert "path: /etc/grafana/provisioning/dashboards" in provider
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {"prometheus"}


def test_the_rules_pass_their_own_tests_and_each_alert_has_one(shipped: ContainerProject) -> None:
    folder = shipped.root / "monitoring"
    promtool = str(part("promtool"))

    for command in (["check", "config", "--lint=none", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
        subprocess.run([promtool, *command], cwd=folder, check=True, capture_output=True)
    subprocess.run([str(part("amtool")), "check-config", "alertmanager.yml"], cwd=folder, check=True)

    rules = (folder / "alerts.yml").read_text("utf-8")
    alerts = [line.split()[-1] for line in rules.splitlines() if "- alert:" in line]
    tested = (folder / "alerts_test.yml").read_text("utf-8")
    runbook = (shipped.root / "docs" / "runbook.md").read_text("utf-8")
    assert len(alerts) == 9
    assert [alert for alert in alerts if tested.count(f"alertname: {alert}\n") < 2] == []
    assert [alert for alert in alerts if f"\n## {alert}\n" not in runbook] == []


def test_a_broken_rule_does_not_pass(shipped: ContainerProject, tmp_path: Path) -> None:
    """The twin: a limit that is ten times as high is found by the rules' own tests."""
    folder = shutil.copytree(shipped.root / "monitoring", tmp_path / "monitoring")
    rules = folder / "alerts.yml"
    rules.write_text(rules.read_text("utf-8").replace("> 0.02", "> 0.2"), encoding="utf-8")

    done = subprocess.run([str(part("promtool")), "test", "rules", "alerts_test.yml"], cwd=folder, check=False)

    assert done.returncode != 0


def faster(rules: Path) -> None:
    """Let alerts fire after a second and look back for twenty, so that a test can wait for them."""
    text = rules.read_text("utf-8")
    for slow in ("for: 2m", "for: 5m", "for: 10m"):
        text = text.replace(slow, "for: 1s")
    rules.write_text(text.replace("[5m]", "[20s]").replace("[10m]", "[60s]"), encoding="utf-8")


def firing(platform: Platform, alert: str) -> bool:
    """Whether Alertmanager has heard of it."""
    with urllib.request.urlopen(f"{platform.pages['alertmanager']}/api/v2/alerts", timeout=10) as answer:
        heard = [one["labels"] for one in json.load(answer)]
    return any(one["alertname"] == alert and one["environment"] == "staging" for one in heard)


def answered(platform: Platform) -> bool:
    """Ask about a flight; whether there was an answer."""
    try:
        return platform.project.request("POST", "/predict", platform.flight).status == 200
    except (OSError, ValueError):
        return False


@contextmanager
def no_server(platform: Platform) -> Iterator[None]:
    server = platform.project.serving()["Id"]
    platform.project.engine.docker("stop", server)
    yield
    platform.project.engine.docker("start", server)


@contextmanager
def no_log(platform: Platform) -> Iterator[None]:
    """The folder of the log is somebody else's."""
    folder = platform.project.root / ".mlops" / "predictions" / "staging"
    for file in folder.iterdir():
        file.unlink()
    os.chown(folder, 0, 0)
    platform.project.engine.docker("restart", platform.project.serving()["Id"])
    wait_until(lambda: answered(platform), limit_s=30)
    yield
    os.chown(folder, 10001, 10001)


def test_the_services_go_and_what_they_stored_stays(platform: Platform) -> None:
    """The last of this file but one: it stops and starts everything."""
    platform.project.mlops("platform", "down", env=platform.ports)
    gone = platform.project.engine.docker("ps", "--format", "{{.Names}}").stdout
    platform.project.mlops("platform", "up", env=platform.ports)

    assert "flight-delays-mlflow-1" not in gone
    assert "flight-delays-staging-proxy-1" in gone
    found = platform.ask("mlflow", "/api/2.0/mlflow/registered-models/get", name="flight-delays")
    assert found["registered_model"]["name"] == "flight-delays"


def rules(platform: Platform) -> dict[str, dict[str, Any]]:
    """The alerts as Prometheus has read them."""
    groups = platform.ask("prometheus", "/api/v1/rules", type="alert")["data"]["groups"]
    return {rule["name"]: rule for group in groups for rule in group["rules"]}


def alertmanagers(platform: Platform) -> list[dict[str, str]]:
    found: list[dict[str, str]] = platform.ask("prometheus", "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
    return found


def test_each_alert_looks_at_something_that_the_running_server_says(platform: Platform) -> None:
    """Without its limit, and for requests of any status, each expression has a value."""
    looked_at = {name: STATUS.sub("", LIMIT.sub("", rule["query"])) for name, rule in rules(platform).items()}

    assert len(looked_at) == 9
    assert {rule["health"] for rule in rules(platform).values()} == {"ok"}
    assert empty_after_traffic(platform, [*looked_at.values()]) == []


@pytest.mark.parametrize(("alert", "fault"), [("PredictionsNotRecorded", no_log), ("ServerDown", no_server)])
def test_an_alert_reaches_alertmanager_when_the_thing_happens(
    platform: Platform, alert: str, fault: Callable[[Platform], AbstractContextManager[None]]
) -> None:
    faster(platform.project.root / "monitoring" / "alerts.yml")
    platform.project.engine.docker("kill", "--signal", "HUP", "flight-delays-prometheus-1")
    wait_until(lambda: rules(platform)["ServerDown"]["duration"] == 1)
    # It forgets Alertmanager for some seconds, and what it tells nobody then it says again after a minute only.
    # That of this machine stands in the configuration in any case; that of the platform is found by its name.
    wait_until(lambda: any("localhost" not in one["url"] for one in alertmanagers(platform)))
    assert not firing(platform, alert)

    def seen() -> bool:
        answered(platform)  # people go on asking
        return firing(platform, alert)

    with fault(platform):
        wait_until(seen, limit_s=120)
