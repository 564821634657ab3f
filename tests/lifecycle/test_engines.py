"""A project follows the page about engines, and has a cluster of its own do its batch and compare its candidates."""

import re
import shutil
import subprocess
from pathlib import Path
from unittest.mock import ANY

import polars as pl
from clusters import PAGE, dask_cluster
from running import TIMEOUT_S, RunningProject


def with_families(project: RunningProject) -> None:
    """Let the page about candidates name one, and write the function that makes a family of it."""
    text = PAGE.with_name("search.md").read_text("utf-8").partition("## Several models")[2]
    (build,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    model = project.root / "src" / "flight_delays" / "model.py"
    made = re.sub(
        r"^def build\(.*?^    \)\n", lambda _: build, model.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    assert build in made
    model.write_text(made, encoding="utf-8")
    last = "from sklearn.pipeline import make_pipeline\n"
    project.edit("src/flight_delays/model.py", last, f"{last}from sklearn.preprocessing import StandardScaler\n")
    with (project.root / "params.yaml").open("a", encoding="utf-8") as params:
        params.write("\ncandidates:\n  straight: {family: linear}\n  wrong: {subsample: 7.5}\n")


def test_the_cluster_of_the_page_predicts_what_one_process_predicts_and_refuses_other_code(
    trained_project: RunningProject, tmp_path: Path
) -> None:
    project, rows = trained_project, "rows"
    (project.root / rows).mkdir()
    for number in range(8):  # so that each worker has loaded the code before that is another
        shutil.copyfile(project.root / "data" / "test.parquet", project.root / rows / f"{number}.parquet")
    (package,) = re.findall(
        r"^uv add --group train '(slipway-mlops\[dask\])'$", PAGE.read_text("utf-8"), flags=re.MULTILINE
    )
    add = ["uv", "add", "--quiet", "--group", "train", package]
    subprocess.run(add, cwd=project.root, env=project.environment(), check=True, timeout=TIMEOUT_S)
    project.mlops("batch", rows, "here.parquet")
    with_families(project)
    bin_folder = project.root / ".venv" / "bin"

    with dask_cluster(tmp_path, bin_folder) as cluster:
        settings = f'engine = "dask"\nengine_address = "{cluster.env["MLOPS_ENGINE_ADDRESS"]}"\n'
        project.edit("pyproject.toml", "[tool.mlops]\n", f"[tool.mlops]\n{settings}")
        done = project.mlops("batch", rows, "there.parquet")
        compared = project.mlops("candidates", check=False)
        with (project.root / "src" / "flight_delays" / "metrics.py").open("a", encoding="utf-8") as module:
            module.write("# Another model could come of this.\n")
        refused = project.mlops("batch", rows, "never.parquet", check=False)
    gone = project.mlops("batch", rows, "never.parquet", check=False)

    assert "rows predicted by version 1, in there.parquet" in done.stdout
    assert pl.read_parquet(project.root / "there.parquet").equals(pl.read_parquet(project.root / "here.parquet"))
    assert [line.split()[:2] for line in compared.stdout.splitlines()[1:4:2]] == [["present", ANY], ["wrong", "failed"]]
    assert re.search(r"^ *straight +0\.\d{4} +-0\.\d{4} to ", compared.stdout, flags=re.MULTILINE)
    assert "failed: wrong: the model in model.py cannot learn from these rows: The 'subsample'" in compared.stdout
    assert compared.stdout.splitlines()[-1].startswith("the present parameters are the best of 3 models: roc_auc 0.")
    assert compared.exit_code == 3
    assert "has other code than this client: flight_delays sha256:" in refused.stderr
    assert " next: install the project's lock and both wheels of this commit there" in refused.stderr
    assert "error: no Dask cluster answers at tcp://127.0.0.1:" in gone.stderr
    assert (refused.exit_code, gone.exit_code) == (1, 1)
    assert not (project.root / "never.parquet").exists()
