"""What happened, told to a deployed server: from a line in its environment's file to what a trace says."""

from __future__ import annotations

import json
import os
import signal

from clients import metric, recorded, state, wait_until
from running import RunningProject


def test_what_happened_is_told_to_the_server_and_outlives_it(trained_project: RunningProject) -> None:
    """A server that was killed has lost nothing that it said it had taken; which trace, monitor and erasure find."""
    project = trained_project
    project.edit("deploy/environments/staging.yaml", "  workers: 1", "  workers: 2\n  labels: true")
    project.edit("policy.yaml", "key: [departs, carrier, flight, origin]", "key: [id]")
    project.commit("Let clients say what happened")
    project.release("staging")
    answer = project.request("POST", "/predict", project.flights(1)[0]).body
    key = {"id": answer["id"]}

    wait_until(lambda: answer["id"] in recorded(project, "champion"))
    told = project.request("POST", "/labels", key | {"arr_delay": 95})
    for pid in state(project)["workers"]:
        os.kill(pid, signal.SIGKILL)
    refused = project.request("POST", "/labels", [key | {"arr_delay": 9}, key | {"arr_delay": "late"}])
    traced = project.mlops("trace", answer["id"]).stdout
    report = json.loads(project.mlops("monitor", "staging", "--dry-run", "--json", check=False).stdout)
    erased = project.mlops("privacy", "erase", "staging", "--key", f"id={answer['id']}").stdout

    assert (told.status, told.body) == (200, {"accepted": 1})
    assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, "#/1/arr_delay")
    assert "label             1, by posted:1 of " in traced
    assert (report["labels"]["posted"], report["labels"]["unknown"]) == (1, 0)
    assert erased.startswith("1 predictions, 1 labels and 0 refusals")
    assert metric(project, 'mlops_labels_total{outcome="refused"}') == 2
