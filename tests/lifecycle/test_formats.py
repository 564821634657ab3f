"""A model without a converter goes the whole way in the format of its library, beside one in ONNX."""

import json
import re
import subprocess

from clients import recorded, versions, wait_until
from rendering import ROOT, git
from running import TIMEOUT_S, RunningProject

PAGE = ROOT / "template" / "vendor" / "slipway" / "docs" / "models.md"
#: Of histogram boosting with categories the conversion loses something, as the page says.
BUILD = """

from sklearn.ensemble import HistGradientBoostingClassifier


def build(seed: int, **params: Any) -> BaseEstimator:
    return HistGradientBoostingClassifier(max_iter=30, categorical_features=[2], random_state=seed)
"""


def follow_the_page(project: RunningProject) -> None:
    """Do what the page says, by its own blocks and words."""
    page = PAGE.read_text("utf-8")
    (block,) = re.findall(r"^```yaml\n(model_format:\n.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    (file, package) = re.findall(r"^\| `skops` \| .* \| `(.+)` \| `\"(.+)\"` \|$", page, flags=re.MULTILINE)[0]
    project.edit("policy.yaml", "one_row_ms: 5", "one_row_ms: 5000")  # tests do not measure time
    with (project.root / "params.yaml").open("a", encoding="utf-8") as params:
        params.write("\n" + block)
    refused = project.mlops("pipeline", check=False)
    assert refused.exit_code == 1
    assert "dvc.yaml does not have model/model.skops in the outs of train" in refused.stderr
    project.edit("dvc.yaml", "model/model.onnx", f"model/{file}")
    project.edit(
        "dvc.yaml", "      - model\n      - decision\n", "      - model\n      - decision\n      - model_format\n"
    )
    with (project.root / "src" / "flight_delays" / "model.py").open("a", encoding="utf-8") as module:
        module.write(BUILD)
    # In a group, as every other library of models is: training works, and a server would not.
    add(project, "--group", "train", package)
    project.mlops("pipeline")
    project.commit("Keep the model in the format of skops")
    refused = project.mlops("register", check=False)
    assert refused.exit_code == 1
    assert "nothing that servers install reads model.skops: skops is not among the dependencies" in refused.stderr
    add(project, package)
    project.mlops("pipeline")
    project.commit("Give servers skops")


def add(project: RunningProject, *what: str) -> None:
    subprocess.run(["uv", "add", "--quiet", *what], cwd=project.root, check=True, timeout=TIMEOUT_S)


def test_a_model_in_the_format_of_skops_challenges_one_in_onnx_and_takes_its_place(
    trained_project: RunningProject,
) -> None:
    project = trained_project
    project.release("staging")
    follow_the_page(project)
    project.mlops("register")
    rows = project.flights(40)

    project.challenge("staging", "--mode", "canary", "--share", "0.5")
    assert {*versions(project, rows)} == {1, 2}
    wait_until(lambda: {line["version"] for line in recorded(project, "challenger").values()} == {2})
    project.challenge("staging", "--end")

    project.release("staging")
    model = project.request("GET", "/v2/models/flight-delays").body
    assert (model["platform"], model["versions"]) == ("sklearn_skops", ["2"])
    compared = json.loads(project.mlops("compare", "1", "2", "--json").stdout)
    assert compared["rows"] > 1000
    served = [project.request("POST", "/predict", row).body["late"] for row in rows]
    (project.root / "rows.csv").write_text(as_csv(rows), "utf-8")
    project.mlops("batch", "rows.csv", "answers.csv", "--version", "2")
    answers = (project.root / "answers.csv").read_text("utf-8").splitlines()
    place = answers[0].split(",").index("late")
    assert [line.split(",")[place] == "true" for line in answers[1:]] == served

    # A platform that knows no such format: refused, and what answers stays.
    folder = "vendor/slipway/src/slipway/training/formats"
    git(project.root, "rm", "--quiet", f"{folder}/skops.py")
    project.edit(f"{folder}/__init__.py", "from slipway.training.formats.skops import SkopsFormat\n", "")
    project.edit(f"{folder}/__init__.py", ", SkopsFormat())", ")")
    project.commit("Take the format away")
    promoted = project.mlops("promote", "staging", "--this-platform", check=False)
    assert promoted.exit_code == 0, promoted.stderr
    git(project.root, "merge", "--quiet", "--no-edit", "promote/staging-v2")
    refused = project.mlops("deploy", "staging", check=False)
    assert refused.exit_code == 1
    assert "kept in the format 'skops', and this platform knows onnx, xgboost, lightgbm, catboost" in refused.stderr
    assert project.request("POST", "/predict", rows[0]).body["model"]["version"] == 2


def as_csv(rows: list[dict[str, object]]) -> str:
    lines = [[*rows[0]], *([("" if value is None else str(value)) for value in row.values()] for row in rows)]
    return "".join(",".join(line) + "\n" for line in lines)
