"""Renovate proposes a newer version without running anything of the template's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import copier
import pytest
from rendering import commit, git, releases, snapshot


@pytest.fixture
def settings(standard_project: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((standard_project / ".github" / "renovate.json").read_text(encoding="utf-8"))
    return loaded


def test_renovate_looks_for_newer_versions_of_the_template(settings: dict[str, Any], standard_project: Path) -> None:
    """It finds the version in the answers, where Copier writes it under these names."""
    answers = (standard_project / ".copier-answers.yml").read_text(encoding="utf-8")

    assert "copier" in settings["enabledManagers"]
    assert "\n_commit: " in answers
    assert "\n_src_path: " in answers


def test_everything_that_a_project_pins_has_somebody_who_proposes_its_next_version(
    settings: dict[str, Any], standard_project: Path
) -> None:
    """The files are where Renovate looks for them by itself."""
    pinning = {
        "pep621": "pyproject.toml",
        "github-actions": ".github/workflows/train.yml",
        "dockerfile": "docker/Dockerfile",
        "docker-compose": "deploy/compose/compose.yaml",
    }
    build = (standard_project / pinning["dockerfile"]).read_text(encoding="utf-8")

    assert pinning.keys() <= set(settings["enabledManagers"])
    assert all((standard_project / path).is_file() for path in pinning.values())
    assert settings["lockFileMaintenance"]["enabled"] is True
    # It follows the name of an image through an argument that has one.
    assert "\nARG BASE=python:" in build
    assert "\nFROM ${BASE} AS base\n" in build


def test_renovate_runs_no_script_and_merges_nothing_by_itself(settings: dict[str, Any]) -> None:
    rules = [settings, *settings["packageRules"]]

    assert settings["ignoreScripts"] is True
    assert [rule["automerge"] for rule in rules if "automerge" in rule] == [False]
    assert not {"allowScripts", "allowedCommands", "postUpgradeTasks"} & {key for rule in rules for key in rule}


def test_an_update_that_moves_no_file_needs_no_trust(tmp_path: Path) -> None:
    (tmp_path / "template").mkdir()
    template = snapshot(tmp_path / "template")
    project = template.render(tmp_path / "project")
    git(project, "init", "--quiet")
    commit(project, "A project")
    template.release("v1000.0.0", lambda root: (root / "template" / ".dvcignore").unlink())

    copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=False, skip_tasks=True)

    assert "_commit: v1000.0.0\n" in (project / ".copier-answers.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("version", releases())
def test_an_update_that_moves_a_file_stops_for_renovate(version: str, start: Callable[..., Path]) -> None:
    """So that it never loses an edit without a word: the script that keeps it needs trust."""
    project = start(version)

    with pytest.raises(copier.errors.UnsafeTemplateError, match="migrations"):
        copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=False, skip_tasks=True)

    assert git(project, "status", "--porcelain") == ""
