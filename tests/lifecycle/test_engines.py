"""A project follows the page about engines, and has a cluster of its own do its batch."""

import re
import shutil
import subprocess
from pathlib import Path

import polars as pl
from clusters import PAGE, dask_cluster
from running import TIMEOUT_S, RunningProject


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
    bin_folder = project.root / ".venv" / "bin"

    with dask_cluster(tmp_path, bin_folder) as cluster:
        settings = f'engine = "dask"\nengine_address = "{cluster.env["MLOPS_ENGINE_ADDRESS"]}"\n'
        project.edit("pyproject.toml", "[tool.mlops]\n", f"[tool.mlops]\n{settings}")
        done = project.mlops("batch", rows, "there.parquet")
        with (project.root / "src" / "flight_delays" / "metrics.py").open("a", encoding="utf-8") as module:
            module.write("# Another model could come of this.\n")
        refused = project.mlops("batch", rows, "never.parquet", check=False)
    gone = project.mlops("batch", rows, "never.parquet", check=False)

    assert "rows predicted by version 1, in there.parquet" in done.stdout
    assert pl.read_parquet(project.root / "there.parquet").equals(pl.read_parquet(project.root / "here.parquet"))
    assert "has other code than this client: flight_delays sha256:" in refused.stderr
    assert " next: install the project's lock and both wheels of this commit there" in refused.stderr
    assert "error: no Dask cluster answers at tcp://127.0.0.1:" in gone.stderr
    assert (refused.exit_code, gone.exit_code) == (1, 1)
    assert not (project.root / "never.parquet").exists()
