"""A search as a job of KubeRay: the manifest's entrypoint runs on a head, and its work on the workers."""

import json
import re
import subprocess
from pathlib import Path

import yaml
from clusters import MANIFESTS, PAGE, ray_pods
from rendering import git
from running import TIMEOUT_S, RunningProject, ran

SEARCH = """
search:
  metric: roc_auc
  trials: 3
  folds: 2
  ranges:
    n_estimators: [2, 60]
"""


def test_the_entrypoint_has_the_workers_search_and_sends_the_proposal_and_nobody_gets_in_without_the_token(
    trained_project: RunningProject, tmp_path: Path
) -> None:
    project = trained_project
    (packages,) = re.findall(r"^uv add --group train (.*'ray\[default\]'.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    add = ["uv", "add", "--quiet", "--group", "train", *packages.replace("'", "").split()]
    subprocess.run(add, cwd=project.root, env=project.environment(), check=True, timeout=TIMEOUT_S)
    project.edit("params.yaml", "n_estimators: 150", "n_estimators: 2")
    for demand in ("roc_auc: {min: 0.68, margin: 0.02}", "brier: {max: 0.20, margin: 0.003}", "recall: {min: 0.40}"):
        name = demand.partition(":")[0]
        project.edit("policy.yaml", demand, f"{name}: {{min: 0.0}}" if "min" in demand else f"{name}: {{max: 1.0}}")
    with (project.root / "params.yaml").open("a", encoding="utf-8") as params:
        params.write(SEARCH)
    project.commit("Look for better parameters than two trees")
    git(tmp_path, "init", "--quiet", "--bare", "origin")
    git(project.root, "remote", "add", "origin", str(tmp_path / "origin"))
    git(project.root, "push", "--quiet", "origin", "main")
    entrypoint = yaml.safe_load((MANIFESTS / "ray" / "job.yaml").read_text("utf-8"))["spec"]["entrypoint"]

    with ray_pods(tmp_path, project.root) as (pod, env):
        # As KubeRay writes the command of the pod that sends it: by a shell, with nothing quoted.
        send = ["bash", "-ec", f"ray job submit --address http://127.0.0.1:8265 -- {entrypoint} ;"]
        stranger = ran([*pod, *send], env | {"RAY_AUTH_TOKEN": "1" * 40}, check=False, cwd=project.root)
        done = ran([*pod, *send], env, check=False, cwd=project.root)
        nodes, tasks = (
            json.loads(ran([*pod, "ray", "list", what, "--limit=1000", "--format=json"], env, cwd=project.root).stdout)
            for what in ("nodes", "tasks")
        )

    (branch,) = git(tmp_path / "origin", "for-each-ref", "--format=%(refname:short)", "refs/heads/search/*").split()
    changed = git(tmp_path / "origin", "diff", "--unified=0", "main", branch).splitlines()
    assert [line for line in changed if re.match(r"[+-] ", line)] == ["-  n_estimators: 2", "+  n_estimators: 60"]
    assert f"1 better parameter proposed in branch {branch}" in done.stdout
    assert done.exit_code == 0
    assert "Invalid authentication token" in stranger.stderr
    assert "search:" not in stranger.stdout
    worked = {one["node_id"] for one in tasks if one["type"] == "NORMAL_TASK" and one["name"] == "work"}
    assert worked
    assert worked <= {one["node_id"] for one in nodes if not one["is_head_node"]}
