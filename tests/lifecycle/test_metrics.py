"""Prometheus beside a project without containers: it finds servers by itself, and no rule or panel is empty."""

import json
import os
import re
import signal

from clients import empty_while, series, state, wait_until
from running import RunningProject
from servers import prometheus


def quick(project: RunningProject) -> str:
    """The project's own configuration, with a look every second so that a test need not wait for a minute."""
    return (project.root / "monitoring" / "prometheus.yml").read_text("utf-8").replace("15s", "1s")


def expressions(project: RunningProject) -> list[str]:
    """What the panels show, and what the alerts and the recorded rules look at, without their limits."""
    dashboard = json.loads((project.root / "monitoring/grafana/dashboards/serving.json").read_text("utf-8"))
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return panels + [f'{name}{{environment="staging"}}' for name in recorded(project)]


def recorded(project: RunningProject) -> list[str]:
    return re.findall(r"record: (\S+)", (project.root / "monitoring" / "alerts.yml").read_text("utf-8"))


def test_prometheus_follows_what_is_deployed_dies_and_is_stopped(trained_project: RunningProject) -> None:
    rows = [row | {"temp": None} for row in trained_project.flights(50)]
    with prometheus(trained_project.root / "monitoring", quick(trained_project)) as address:

        def servers() -> dict[str, str]:
            return {one["metric"]["environment"]: one["value"][1] for one in series(address, 'up{job="servers"}')}

        assert servers() == {}
        trained_project.release("staging")
        assert len(recorded(trained_project)) == 4
        assert (
            empty_while(
                lambda: trained_project.request("POST", "/predict", {"rows": rows}),
                address,
                expressions(trained_project),
            )
            == []
        )
        assert servers() == {"staging": "1"}

        # Whoever forgot a server that has died would never tell that nobody answers.
        for process in (state(trained_project)["supervisor"], *state(trained_project)["workers"]):
            os.kill(process, signal.SIGKILL)
        wait_until(lambda: servers() == {"staging": "0"}, limit_s=30)

        trained_project.mlops("deploy", "staging")
        wait_until(lambda: servers() == {"staging": "1"}, limit_s=30)

        trained_project.stop()
        wait_until(lambda: servers() == {}, limit_s=30)
