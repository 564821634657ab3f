"""Data sets of other people in a project: its own tests pass, whatever the contract, and its server answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
