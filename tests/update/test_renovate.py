"""Renovate proposes a newer version without running anything of the template's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import copier
import pytest
from rendering import Template, commit, git, history


@pytest.fixture
def settings(standard_project: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((standard_project / ".github" / "renovate.json").read_text(encoding="utf-8"))
    return loaded


def test_renovate_looks_for_newer_versions_of_the_template(settings: dict[str, Any], standard_project: Path) -> None:
    """It finds the version in the answers, where Copier writes it under these names."""
    answers = (standard_project / ".copier-answers.yml").read_text(encoding="utf-8")

    assert settings["enabledManagers"] == ["copier"]
    assert "\n_commit: " in answers
    assert "\n_src_path: " in answers


def test_renovate_runs_no_script_and_merges_nothing_by_itself(settings: dict[str, Any]) -> None:
    assert settings["ignoreScripts"] is True
    assert [rule.get("automerge") for rule in settings["packageRules"]] == [False]
    assert not {"allowScripts", "allowedCommands", "postUpgradeTasks"} & {*settings, *settings["packageRules"][0]}


def test_the_update_renovate_runs_needs_no_trust(start: Callable[..., Path], released: Template) -> None:
    """Today no version moves a file, so Copier alone asks for nothing."""
    project = start("v0.1.0")

    copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=False, skip_tasks=True)

    assert f"_commit: {released.version}\n" in (project / ".copier-answers.yml").read_text(encoding="utf-8")


def test_an_update_that_moves_a_file_stops_for_renovate(tmp_path: Path) -> None:
    """So that it never loses an edit without a word: the script that keeps it needs trust."""
    (tmp_path / "template").mkdir()
    template = history(tmp_path / "template")
    project = template.render(tmp_path / "project")
    git(project, "init", "--quiet")
    commit(project, "A project")
    template.release("v1000.0.0", move)

    with pytest.raises(copier.errors.UnsafeTemplateError, match="migrations"):
        copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=False, skip_tasks=True)

    assert git(project, "status", "--porcelain") == ""


def move(template: Path) -> None:
    """Rename a file with the migration that belongs to it."""
    (template / "template" / ".dvcignore").rename(template / "template" / "ignored.txt")
    with (template / "copier.yml").open("a", encoding="utf-8") as settings:
        settings.write("_migrations:\n  - version: v1000.0.0\n    command: [python, migrate.py, move, a, b]\n")
