"""The quicker Copier of the tests makes what Copier makes, to the byte."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import copier
import pytest
from answers import Answers
from rendering import Template, commit, files

MODULE = "src/flight_delays/mlops/drift.py"


def with_copier(*arguments: str, folder: Path) -> None:
    """Run Copier as a person does."""
    subprocess.run([sys.executable, "-m", "copier", *arguments, "--defaults", "--quiet"], cwd=folder, check=True)


def contents(project: Path) -> dict[str, tuple[int, bytes]]:
    return {name: (path.stat().st_mode, path.read_bytes()) for name, path in files(project).items()}


OTHER = {"problem": "multiclass", "size": "regulated", "project_name": "Late Flights"}


@pytest.mark.parametrize("answers", [{}, OTHER])
def test_a_copy_is_the_same(answers: Answers, released: Template, tmp_path: Path) -> None:
    data = [f"--data={key}={value}" for key, value in answers.items()]

    quick = released.render(tmp_path / "quick", **answers)
    with_copier("copy", *data, str(released.path), "slow", folder=tmp_path)

    assert contents(quick) == contents(tmp_path / "slow")


def test_an_update_with_its_migration_is_the_same(start: Callable[..., Path]) -> None:
    quick, slow = start("v0.2.0", "quick"), start("v0.2.0", "slow")
    for project in (quick, slow):
        with (project / MODULE).open("a", encoding="utf-8") as module:
            module.write("# A line of the team's own.\n")
        commit(project, "Change the platform")

    copier.run_update(quick, defaults=True, overwrite=True, quiet=True, unsafe=True)
    with_copier("update", "--trust", folder=slow)

    assert contents(quick) == contents(slow)
    moved = quick / "vendor" / "slipway" / "src" / "slipway" / "monitoring" / "drift.py"
    assert "# A line of the team's own." in moved.read_text("utf-8")
