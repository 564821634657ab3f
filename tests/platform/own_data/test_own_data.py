"""Data sets of other people in a project: its own tests pass, whatever the contract, and its server answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from own_data import NAMES, PACKAGE, blocks, put
from rendering import ROOT, Template

SOURCES = ROOT / "template" / "vendor" / "slipway" / "src"


@pytest.fixture(scope="module")
def rendered(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project, and what makes its package and no other the team's, as if both were installed."""
    root = template.render(tmp_path_factory.mktemp("own") / "project")
    about = root / "src" / f"{PACKAGE}-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 0.1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[slipway.project]\nhere = {PACKAGE}\n", encoding="utf-8")
    return root


def run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    found = os.pathsep.join(map(str, (root / "src", SOURCES)))
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root, env=os.environ | {"PYTHONPATH": found}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_projects_own_tests_pass_on_other_data(rendered: Path, name: str, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(rendered, root)
    put(name, root)

    done = run(root, "pytest", "-q", "--no-header", "-p", "no:cacheprovider")

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    for judge in (("check", "--quiet"), ("format", "--check", "--quiet")):
        told = run(root, "ruff", *judge)
        assert told.returncode == 0, told.stdout


def test_the_page_shows_how_files_become_rows(rendered: Path, tmp_path: Path) -> None:
    """What it shows of `prepare` works as it stands there, and a `prepare` that no stage runs is refused."""
    root = tmp_path / "project"
    shutil.copytree(rendered, root)
    page = (root / "docs" / "your-own-data.md").read_text("utf-8")
    modules = {name: blocks(page, rf"python \S+/{name}\.py")[0] for name in ("contract", "features", "model")}
    (usual,) = blocks(page, r"yaml params\.yaml")
    (policy,) = blocks(page, r"yaml policy\.yaml")
    (*_, prepare), (stage, params) = blocks(page, "python"), blocks(page, "yaml")
    for module, text in (modules | {"prepare": prepare}).items():
        (root / "src" / PACKAGE / f"{module}.py").write_text(text, encoding="utf-8")
    (root / "policy.yaml").write_text(policy, encoding="utf-8")
    written = yaml.safe_load(usual) | yaml.safe_load(params)
    (root / "params.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    (root / "data" / "raw").mkdir()
    for number in (1, 2):
        rows = f"mean radius,mean texture,mean concavity,benign\n1{number}.5,20,0.1,1\n"
        (root / "data" / "raw" / f"{number}.csv").write_text(rows, encoding="utf-8")

    refused = run(root, "slipway", "pipeline")
    with (root / "dvc.yaml").open("a", encoding="utf-8") as pipeline:
        pipeline.write("\n" + stage)
    done = [run(root, "slipway", "stage", name) for name in ("prepare", "ingest", "validate")]

    assert "prepare.py in your package is there, and dvc.yaml has no stage prepare that runs it" in refused.stderr
    assert [one.returncode for one in done] == [0, 0, 0], [one.stderr for one in done]
    added = yaml.safe_load((root / "dvc.yaml").read_text("utf-8"))["stages"]["prepare"]
    assert (added["cmd"], added["outs"]) == ("mlops stage prepare", [written["data"]["source"]])
    assert pl.read_parquet(root / "data" / "valid.parquet").select("tumour", "radius").rows() == [(0, 11.5), (1, 12.5)]
