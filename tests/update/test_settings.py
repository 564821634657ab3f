"""What a team has written for an earlier release is still read after the move of the platform, and means the same."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import git, releases

READ = """
from pathlib import Path
from slipway import team
from slipway.delivery import environments, target
from slipway.settings.project import Project

project = Project(Path.cwd())
loaded = [environments.load(project, name) for name in ("staging", "production")]
print([target.name_for(project, wanted) for wanted in loaded], [wanted.serve.port for wanted in loaded])
print(len(project.policy.gates.slice_rules), project.params.data.source, project.tool.model)
print(team.PACKAGE, len(team.CONTRACT.fields), team.model.ANSWER, callable(team.features), callable(team.metrics))
"""


@pytest.fixture
def installed(updated_copy: Callable[[str], Path], request: pytest.FixtureRequest) -> Path:
    """An updated project of a release, with what an installation would say of it: nothing has to be installed."""
    project = updated_copy(request.param)
    about = project / "src" / "flight_delays-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: flight-delays\nVersion: 0.1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[slipway.project]\nhere = flight_delays\n", encoding="utf-8")
    return project


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the project, with its platform."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["src", "vendor/slipway/src"])}
    command = (sys.executable, *command)
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("installed", releases(), indirect=True)
def test_the_teams_files_of_an_earlier_release_are_read(installed: Path) -> None:
    done = run(installed, "-c", READ)

    assert done.stdout.splitlines() == [
        "['native', 'native'] [8001, 8000]",
        "1 data/sample/flights.csv.gz flight-delays",
        "flight_delays 12 late True True",
    ], done.stderr
    for command in (["status"], ["policy", "list"]):
        told = run(installed, "-m", "slipway", *command)
        assert (told.returncode, told.stderr) == (0, ""), command


@pytest.mark.parametrize("installed", releases(), indirect=True)
def test_the_shim_passes_the_projects_own_checks(installed: Path) -> None:
    """It is a file of the team's package, and what imports it is typed strictly."""
    own = [f"src/flight_delays/{name}.py" for name in ("contract", "features", "mlops/schema")]

    for command in (["ruff", "check", *own], ["ruff", "format", "--check", *own], ["mypy", "--strict", *own]):
        done = run(installed, "-m", *command)
        assert done.returncode == 0, done.stdout + done.stderr
    assert git(installed, "check-attr", "owner", own[-1]).endswith("owner: unspecified\n")
