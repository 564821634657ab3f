"""What a person tries without a commit: the commands of the page, and the notebook."""

import json
import re
from pathlib import Path

import yaml
from rendering import ROOT, git
from running import RunningProject

PAGE = ROOT / "template" / "vendor" / "slipway" / "docs" / "experiments.md"


def test_an_experiment_is_tried_shown_and_taken_over(trained_project: RunningProject) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    commits = git(trained_project.root, "rev-list", "--count", "HEAD")

    tried = trained_project.run("bash", "-euc", blocks[0]).stdout
    before = (trained_project.root / "reports" / "metrics.json").read_text("utf-8")
    compared = trained_project.run("bash", "-euc", blocks[1]).stdout
    taken = trained_project.run("bash", "-euc", blocks[2]).stdout

    assert {"shallow", "fewer", "model.n_estimators"} <= set(re.findall(r"[\w.]+", tried))
    assert re.match(r"(try fewer|branch main) is better than \S+ \S+ in \d of 3 metrics that have a gate", compared)
    assert re.search(r"^model\.n_estimators +\d+ +40$", compared, flags=re.MULTILINE)
    assert "mind" not in compared
    assert "fewer is</th>" in (trained_project.root / "reports" / "compare.html").read_text("utf-8")
    assert "pass  roc_auc" in taken
    model = yaml.safe_load((trained_project.root / "params.yaml").read_text("utf-8"))["model"]
    assert (model["n_estimators"], model["max_depth"]) == (40, 4)
    assert (
        json.loads(before)["model"]
        == json.loads((trained_project.root / "reports" / "metrics.json").read_text())["model"]
    )
    changed = git(trained_project.root, "status", "--porcelain").split()[1::2]
    assert {"params.yaml", "dvc.lock", "reports/metrics.json"} <= set(changed)
    assert all(name.startswith(("params.yaml", "dvc.lock", "reports/")) for name in changed)
    assert git(trained_project.root, "rev-list", "--count", "HEAD") == commits
    assert trained_project.run("dvc", "exp", "list", "--name-only").stdout.split() == []


def test_the_notebook_runs_on_the_teams_own_rows(trained_project: RunningProject, tmp_path: Path) -> None:
    notebook = trained_project.root / "notebooks" / "explore.ipynb"
    trained_project.run("nbstripout", "--verify", str(notebook))
    run = (
        "import nbformat, nbclient, sys; book = nbformat.read(sys.argv[1], 4); nbclient.NotebookClient(book).execute()"
    )

    trained_project.run(
        "uv", "run", "--quiet", "--frozen", "--with", "nbclient", "--with", "ipykernel",
        "python", "-c", f"{run}; nbformat.write(book, sys.argv[2])", str(notebook), str(tmp_path / "run.ipynb"),
    )  # fmt: skip

    cells = json.loads((tmp_path / "run.ipynb").read_text("utf-8"))["cells"]
    shown = ["".join(out["data"]["text/plain"]) for cell in cells for out in cell.get("outputs", []) if "data" in out]
    assert len(shown) == 5
    assert "late" in shown[2]
    assert git(trained_project.root, "status", "--porcelain", "notebooks") == ""
