"""Jobs of a cluster, as the page about clusters has an overlay name them."""

import json
import shlex
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from clients import wait_until
from cluster import Node
from questions import ROOT
from running import Result

PAGE = ROOT / "template/vendor/slipway/docs/kubernetes.md"


def command_for(kind: str) -> list[str]:
    """The part of the page's command for Jobs of a kind that changes what a CronJob says."""
    (block,) = (one for one in PAGE.read_text("utf-8").split("```") if f"create job {kind}-1 " in one and "\\\n" in one)
    return shlex.split(block.replace("\\\n", "").split(" | ")[1])[1:]


def with_jobs(overlay: Path, **instead: str) -> None:
    """Let an overlay name all CronJobs, as the page says, with other words in the place of some of the page's."""
    section = PAGE.read_text("utf-8").partition("## The monitor, training and batches as Jobs\n")[2]
    block = section.partition("```yaml\n")[2].partition("```")[0]
    for old, new in instead.items():
        assert old in block
        block = block.replace(old, new)
    path = overlay / "kustomization.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text("utf-8")) | yaml.safe_load(block)), encoding="utf-8")


@dataclass(frozen=True)
class Jobs:
    """What an overlay makes of them, on a node whose Kubernetes knows Jobs and no CronJob of today's form."""

    node: Node
    namespace: str
    made: dict[str, dict[str, Any]]

    def job(self, of: str, name: str) -> dict[str, Any]:
        """The Job that a CronJob would start."""
        template: dict[str, Any] = deepcopy(self.made[of]["spec"]["jobTemplate"])
        return template | {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}}

    def run(self, of: str, name: str, *, commit: str = "") -> Result:
        """Let a Job do its work, on a commit that is named as the page says; see `ended`."""
        job = self.job(of, name)
        if commit:
            job = self.changed(job, ["set", "env", "--local", "--filename=-", f"COMMIT={commit}", "--output=yaml"])
        return self.ended(job)

    def changed(self, job: dict[str, Any], command: list[str]) -> dict[str, Any]:
        """What kubectl makes of a Job without asking the cluster."""
        made: dict[str, Any] = yaml.safe_load(self.node.kubectl(*command, stdin=json.dumps(job)).stdout)
        return made

    def ended(self, job: dict[str, Any]) -> Result:
        """Start a Job and wait for its end: the exit code of its work, what it printed, and why it failed."""
        name = job["metadata"]["name"]
        self._kubectl("create", "--filename=-", stdin=json.dumps(job))
        wait_until(lambda: bool(self._conditions(name)), limit_s=180)
        said = "".join(self._kubectl("logs", f"job/{name}", "--container", one) for one in ("clone", "job"))
        pods = json.loads(self._kubectl("get", "pods", "--selector", f"job-name={name}", "--output=json"))["items"]
        ends = [one["state"].get("terminated", {}) for pod in pods for one in _containers(pod)]
        codes = [one["exitCode"] for one in ends if "exitCode" in one]
        return Result(max(codes, default=-1), said, self._conditions(name)[0].get("reason", ""))

    def _conditions(self, name: str) -> list[dict[str, str]]:
        status = json.loads(self._kubectl("get", "job", name, "--output=json"))["status"]
        found: list[dict[str, str]] = status.get("conditions", [])
        return found

    def _kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        # Of a container that was never started there is no log.
        check = arguments[0] != "logs"
        return self.node.kubectl("--namespace", self.namespace, *arguments, stdin=stdin, check=check).stdout


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
