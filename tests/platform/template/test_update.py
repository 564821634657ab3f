"""Updates of a small template, rendered by Copier: versions, answers, and a template that has moved."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import commit, git
from slipway.base.errors import MlopsError
from slipway.cli import app
from slipway.template import update as following
from slipway.template.update import Update
from typer.testing import CliRunner

Edit = Callable[[dict[str, str | None]], None]


def answered(root: Path, *answers: str) -> Update:
    """Prepare an update by other answers."""
    return following.prepare(root, answers=list(answers))


def proposed(update: Update) -> str:
    """Propose an update and return what is said of it."""
    return str(following.propose_update(update))


def test_a_version_is_proposed_from_a_sparse_checkout(copied: Path) -> None:
    git(copied, "update-index", "--refresh")
    git(copied, "sparse-checkout", "set", "--cone", "src")
    assert not (copied / "docs").exists()

    assert proposed(following.prepare(copied)) == "v2.0.0 is proposed in branch template/v2.0.0"

    git(copied, "merge", "--quiet", "template/v2.0.0")
    git(copied, "sparse-checkout", "disable")
    assert (copied / "settings.txt").read_text(encoding="utf-8") == "one\nTWO\nstandard\nfour\nfive\n"
    assert (copied / "docs" / "two.md").is_file()


# ---------------------------------------------------------------------------- other answers


def test_an_answer_names_what_of_the_teams_it_does_not_change(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copied)

    done = CliRunner().invoke(app, ["template", "update", "--answer", "size=small"])

    assert "v1.0.0 is proposed in branch template/size-small\n" in done.stdout
    assert "yours, and not changed by these answers: README.md; what a new project has in them:\n" in done.stderr
    recipe = re.search(r"git diff HEAD \w+ -- README.md", done.stderr)
    assert recipe
    shown = subprocess.run(recipe[0], shell=True, cwd=copied, capture_output=True, text=True, check=True).stdout
    assert "-# Made for standard\n+# Made for small\n" in shown


@pytest.mark.parametrize(
    ("answer", "problem", "exit_code"),
    [
        ("size", "--answer size has no value", 2),
        ("=small", "--answer =small has no value", 2),
        ("problem=regression", "problem is answered once: contract, model, metrics, policy and tests", 1),
    ],
)
def test_an_answer_that_cannot_be_carried_through_is_refused(
    answer: str, problem: str, exit_code: int, made: Path
) -> None:
    with pytest.raises(MlopsError) as refused:
        answered(made, answer)

    assert refused.value.problem.startswith(problem)
    assert refused.value.exit_code == exit_code


@pytest.mark.parametrize("answers", [["nosuch=1"], ["size=small", "image=ours"], ["_commit=v9.0.0"]])
def test_an_answer_to_no_question_is_refused(answers: list[str], made: Path) -> None:
    with pytest.raises(MlopsError) as refused:
        answered(made, *answers)

    key = answers[-1].partition("=")[0]
    assert refused.value.problem == f"v1.0.0 asks no question {key} here, so --answer {answers[-1]} would change nothing"
    assert "package_name" in refused.value.next_step


def test_another_name_of_the_package_is_carried_through_or_refused(copied: Path, edit: Edit) -> None:
    edit({"src/trams/own.py": "OWN = 1\n", "tests/test_own.py": "from trams.own import OWN\n"})

    with pytest.raises(MlopsError) as refused:
        answered(copied, "package_name=buses")
    assert refused.value.problem == "package_name=buses would leave trams in src/trams/own.py, tests/test_own.py"

    subprocess.run(refused.value.next_step.partition(",")[0], shell=True, cwd=copied, check=True)
    edit({"tests/test_own.py": "from buses.own import OWN\n"})
    assert proposed(answered(copied, "package_name=buses")) == "v1.0.0 is proposed in branch template/package-name-buses"
    git(copied, "merge", "--quiet", "template/package-name-buses")
    assert git(copied, "ls-files", "src").split() == ["src/buses/contract.py", "src/buses/own.py"]
    assert "contract of buses" in (copied / "src/buses/contract.py").read_text(encoding="utf-8")


# ---------------------------------------------------------------------------- the template


def test_a_template_that_has_moved_is_followed(
    small_template: Path, copied: Path, tmp_path: Path
) -> None:
    recorded = (copied / ".copier-answers.yml").read_text(encoding="utf-8")
    gone = recorded.replace(str(small_template), str(tmp_path / "gone"))
    (copied / ".copier-answers.yml").write_text(gone, encoding="utf-8")
    commit(copied, "As it was when the template was elsewhere")

    with pytest.raises(MlopsError) as refused:
        following.prepare(copied)
    assert refused.value.problem.startswith(f"the template at {tmp_path / 'gone'} does not answer: ")
    assert "--from ADDRESS" in refused.value.next_step

    update = following.prepare(copied, source=str(small_template))
    assert update.conflicts == []
    assert f"_src_path: {small_template}\n" in git(copied, "show", f"{update.merged}:.copier-answers.yml")
    assert "TWO" in git(copied, "show", f"{update.merged}:settings.txt")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("_commit: v1\n<<<<<<< HEAD\n", "of the last commit cannot be read as YAML: "),
        ("- one\n", "that names a template and its version"),
        ("_commit: 1.0\n_src_path: x\n", "that names a template and its version"),
        ("", "that names a template and its version"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(text: str, problem: str, copied: Path, edit: Edit) -> None:
    edit({".copier-answers.yml": text})

    with pytest.raises(MlopsError) as refused:
        following.prepare(copied)

    assert problem in refused.value.problem
    assert refused.value.next_step == "restore it: git log --patch -- .copier-answers.yml"
