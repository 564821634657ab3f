"""A file the template renames keeps what the team wrote into it."""

import shutil
from pathlib import Path

import copier
import pytest
from questions import ROOT
from rendering import commit, git

SETTINGS = """\
_subdirectory: template
owner: nobody
"""
MIGRATION = """\
_migrations:
  - version: v0.2.0
    command: ["{{ _copier_python }}", "{{ _copier_conf.src_path }}/hooks/move.py", "old.txt", "new.txt"]
"""
BEFORE = "made for {{ owner }}\n\none\ntwo\nthree\nfour\nfive\n"
AFTER = BEFORE.replace("five", "FIVE")


def write(folder: Path, **texts: str) -> None:
    """Write files whose names are given with a double underscore for the slash and a single one for the dot."""
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def small_template(tmp_path: Path) -> Path:
    """A template of one file, at v0.1.0."""
    template = tmp_path / "template"
    (template / "template").mkdir(parents=True)
    answers = template / "template" / "{{_copier_conf.answers_file}}.jinja"
    answers.write_text("{{ _copier_answers | to_nice_yaml -}}\n", encoding="utf-8")
    write(template, copier_yml=SETTINGS, template__old_txt_jinja=BEFORE)
    git(template, "init", "--quiet")
    commit(template, "The first version")
    git(template, "tag", "v0.1.0")
    return template


@pytest.fixture
def project(small_template: Path, tmp_path: Path) -> Path:
    """A project made with v0.1.0 and an answer of its own."""
    project = tmp_path / "project"
    copier.run_copy(str(small_template), project, data={"owner": "Zoë"}, defaults=True, quiet=True)
    git(project, "init", "--quiet")
    commit(project, "A project")
    return project


def rename(template: Path, settings: str) -> None:
    """Release v0.2.0, in which old.txt is new.txt with another last line."""
    (template / "template" / "old.txt.jinja").unlink()
    (template / "hooks").mkdir()
    shutil.copy(ROOT / "hooks" / "move.py", template / "hooks")
    write(template, copier_yml=settings, template__new_txt_jinja=AFTER)
    commit(template, "The second version")
    git(template, "tag", "v0.2.0")


def update(project: Path, template: Path, settings: str = SETTINGS + MIGRATION) -> None:
    """Rename the file in the template and update the project."""
    rename(template, settings)
    copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=True)


def edit(project: Path, before: str, after: str) -> None:
    """Change a word of old.txt and commit."""
    path = project / "old.txt"
    path.write_text(path.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    commit(project, "An edit")


def test_an_edit_survives_the_rename_beside_the_templates_own_change(project: Path, small_template: Path) -> None:
    edit(project, "one", "ONE, by the team")

    update(project, small_template)

    text = (project / "new.txt").read_text(encoding="utf-8")
    assert text == "made for Zoë\n\nONE, by the team\ntwo\nthree\nfour\nFIVE\n"
    assert not (project / "old.txt").exists()
    assert git(project, "ls-files", "--unmerged") == ""


def test_without_the_hook_the_edit_would_be_lost(project: Path, small_template: Path) -> None:
    """The twin: the day Copier learns renames, this turns red and the hook can go."""
    edit(project, "one", "ONE, by the team")

    update(project, small_template, settings=SETTINGS)

    assert "by the team" not in (project / "new.txt").read_text(encoding="utf-8")


def test_two_changes_of_one_line_are_both_shown_and_the_file_is_unmerged(project: Path, small_template: Path) -> None:
    edit(project, "five", "five, by the team")

    update(project, small_template)

    text = (project / "new.txt").read_text(encoding="utf-8")
    assert "<<<<<<< before updating\nfive, by the team\n=======\nFIVE\n>>>>>>> after updating\n" in text
    assert git(project, "diff", "--name-only", "--diff-filter=U").split() == ["new.txt"]


def test_an_untouched_file_becomes_the_new_one(project: Path, small_template: Path) -> None:
    update(project, small_template)

    assert (project / "new.txt").read_text(encoding="utf-8") == AFTER.replace("{{ owner }}", "Zoë")


def test_a_deleted_file_does_not_come_back_under_its_new_name(project: Path, small_template: Path) -> None:
    (project / "old.txt").unlink()
    commit(project, "Not needed")

    update(project, small_template)

    assert not (project / "new.txt").exists()
