"""The pages of a generated project, followed to the letter."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import git
from running import RunningProject, give_free_ports, prepare

BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def follow(project: RunningProject, page: str) -> None:
    """Do what each block of a page says: run it, or write it into the file it names."""
    blocks = BLOCK.findall((project.root / page).read_text(encoding="utf-8"))
    assert blocks, f"{page} has no block to follow"
    for language, place, body in blocks:
        if language == "bash":
            subprocess.run(["bash", "-e", "-c", body], cwd=project.root, check=True, timeout=600)
        elif not place:
            continue  # a drawing, or what other data would need
        elif place == "run":
            project.run("python", "-c", body)
        else:
            (project.root / place).write_text(body, encoding="utf-8")


def test_the_readme_leads_from_a_fresh_copy_to_production(render: Callable[..., Path], tmp_path: Path) -> None:
    root = render(data_remote_url=str(tmp_path / "remote"))
    give_free_ports(root)
    project = RunningProject(root)

    follow(project, "README.md")
    version = project.request("GET", "/version", environment="production").body
    project.stop()

    assert (version["environment"], version["version"]) == ("production", 1)


@pytest.mark.parametrize("problem", ["binary", "regression"])
def test_another_data_set_goes_all_the_way_to_an_answer(
    render: Callable[..., Path], problem: str, tmp_path: Path
) -> None:
    root = render(problem=problem, data_remote_url=str(tmp_path / "remote"))
    project = prepare(root)

    follow(project, "docs/your-own-data.md")
    project.release("staging")

    assert git(project.root, "ls-files", "data/raw").split() == ["data/raw/.gitignore", "data/raw/tumours.csv.dvc"]
    assert "FAIL" not in project.mlops("audit").stdout
    answer = project.request("POST", "/predict", {"tumour": 570, "radius": 28.1, "texture": 22.1, "concavity": 0.3})
    project.stop()
    assert answer.body["malignant"] is True
    assert git(project.root, "status", "--porcelain") == ""
    assert project.run("ruff", "check").exit_code == 0
    assert project.run("mypy").exit_code == 0
    # What a pull request sees of it: the pointer, the sample, and no way to the rest.
    (root / "data" / "raw" / "tumours.csv").unlink()
    (tmp_path / "remote").rename(tmp_path / "elsewhere")
    told = project.mlops("pipeline", "--where-possible", env={"CI": "true"}).stdout
    assert "The stages ran on the sample data/sample/tumours.csv instead" in told
