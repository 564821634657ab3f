"""What a search proposes is a branch like any other: its pipeline runs, its gates judge it, and it is registered."""

import os
import re
import signal
import subprocess

from rendering import ROOT, git
from running import TIMEOUT_S, RunningProject

PAGE = ROOT / "template" / "vendor" / "slipway" / "docs" / "search.md"
TRIALS = 8
SEARCH = """
search:
  metric: roc_auc
  ranges:
    n_estimators: {low: 2, high: 60}
    max_depth: {low: 1, high: 5}
"""


def killed_after_trial(project: RunningProject, number: int) -> None:
    """Start the search, and kill it with all its children when it has told of a trial, as a lost machine would."""
    with subprocess.Popen(
        ["uv", "run", "--quiet", "--frozen", "mlops", "search", "--trials", str(TRIALS)],
        cwd=project.root, env=project.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as started:  # fmt: skip
        assert started.stderr is not None
        assert any(f"trial {number} of {TRIALS}" in line for line in started.stderr)
        os.killpg(started.pid, signal.SIGKILL)


def test_a_killed_search_goes_on_and_its_proposal_passes_the_gates(trained_project: RunningProject) -> None:
    project = trained_project
    (package,) = re.findall(r"^uv add --group dev \"(.+)\"$", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    subprocess.run(["uv", "add", "--quiet", "--group", "dev", package], cwd=project.root, check=True, timeout=TIMEOUT_S)
    project.edit("params.yaml", "n_estimators: 150", "n_estimators: 2")
    project.edit("policy.yaml", "one_row_ms: 5", "one_row_ms: 5000")  # tests do not measure time
    with (project.root / "params.yaml").open("a", encoding="utf-8") as params:
        params.write(SEARCH)
    project.commit("Look for better parameters than two trees")

    killed_after_trial(project, 3)
    found = project.mlops("search", "--trials", str(TRIALS))

    assert re.search(r"search: [3-7] trials known from before", found.stderr)
    branch = re.search(r"in branch (search/[0-9a-f]+)", found.stdout)
    assert branch is not None, found.stdout
    assert git(project.root, "diff", "--name-only", f"main..{branch[1]}").split() == ["params.yaml"]
    best = found.stdout.splitlines()[1].split()

    git(project.root, "switch", "--quiet", branch[1])
    passed = project.mlops("pipeline")
    assert "FAIL" not in passed.stdout
    project.commit("Train with what the search has found")
    project.mlops("register")

    assert len(project.versions()) == 2
    text = (project.root / "params.yaml").read_text("utf-8")
    trees = re.search(r"^  n_estimators: (\d+)$", text, flags=re.MULTILINE)
    assert trees is not None
    assert trees[1] in best
    assert int(trees[1]) > 2
