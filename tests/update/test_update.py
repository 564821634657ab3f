"""`copier update`: the template's improvements arrive, the team's work stays."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import copier
import pytest
from rendering import Template, commit, files, git, snapshot

PACKAGE = "flight_delays"
# The table of owners, said again: a list read from copier.yml would agree with a hole in it.
OWNED = [f"src/{PACKAGE}/{module}.py" for module in ("contract", "features", "model", "metrics")]
OWNED += ["params.yaml", "policy.yaml", "README.md", "docs/model.md"]
OWNED += ["deploy/environments/staging.yaml", "deploy/environments/production.yaml"]


def is_owned(name: str) -> bool:
    """Say whether an update must leave this file alone."""
    return name in OWNED or name.startswith("data/")


def contents(project: Path) -> dict[str, bytes]:
    """Return every file's bytes by its path."""
    return {name: path.read_bytes() for name, path in files(project).items()}


def improve(template: Path) -> None:
    """Change, add and remove files the platform owns."""
    ignored = template / "template" / ".gitignore.jinja"
    ignored.write_text(ignored.read_text(encoding="utf-8") + "/improved/\n", encoding="utf-8")
    (template / "template" / "improved.txt.jinja").write_text("{{ project_name }}\n", encoding="utf-8")
    (template / "template" / ".editorconfig").unlink()


def improve_everything(template: Path) -> None:
    """Change the last line of every text file, the team's ones as well."""
    improve(template)
    for path in sorted((template / "template").rglob("*")):
        if path.is_file() and not path.name.startswith("{{_copier") and path.suffix != ".gz":
            path.write_text(path.read_text(encoding="utf-8") + "# improved\n", encoding="utf-8")


@pytest.fixture
def template(tmp_path: Path) -> Template:
    """A template of our own, because these tests release new versions of it; the platform's modules are not needed."""
    return snapshot(tmp_path / "template", platform=False)


@pytest.fixture
def project(template: Template, tmp_path: Path) -> Path:
    """A committed project of the first version."""
    project = template.render(tmp_path / "project")
    git(project, "init", "--quiet")
    commit(project, "A project")
    return project


def update(project: Path, template: Template, change: Callable[[Path], None], **answers: str) -> None:
    """Release a next version of the template and update the project to it, without trust."""
    template.release("v1000.0.0", change)
    copier.run_update(project, data=answers, defaults=True, overwrite=True, quiet=True)


def append(path: Path, text: str) -> None:
    """Add bytes to the end of a file, packed ones included."""
    with path.open("ab") as file:
        file.write(text.encode())


def test_an_untouched_project_becomes_a_fresh_copy(project: Path, template: Template, tmp_path: Path) -> None:
    update(project, template, improve)

    assert contents(project) == contents(template.render(tmp_path / "fresh"))


def test_updating_again_changes_nothing(project: Path, template: Template) -> None:
    update(project, template, improve)
    commit(project, "Update")

    copier.run_update(project, defaults=True, overwrite=True, quiet=True)

    assert git(project, "status", "--porcelain") == ""


def test_edited_files_of_the_team_keep_every_edit(project: Path, template: Template) -> None:
    owned = [name for name in files(project) if is_owned(name)]
    assert set(OWNED) < set(owned)
    for name in owned:
        append(project / name, "# by the team\n")
    commit(project, "The team's work")
    before = contents(project)

    update(project, template, improve_everything)

    after = contents(project)
    assert {name: after[name] for name in owned} == {name: before[name] for name in owned}
    assert git(project, "ls-files", "--unmerged") == ""


def test_untouched_files_of_the_team_are_not_changed_either(project: Path, template: Template) -> None:
    """A changed default in params.yaml would change a model behind the team's back."""
    before = contents(project)

    update(project, template, improve_everything)

    changed = {name for name, text in contents(project).items() if before.get(name) != text}
    assert [name for name in changed if is_owned(name)] == []
    assert "improved.txt" in changed


def test_new_files_of_the_team_are_left_alone(project: Path, template: Template) -> None:
    (project / "src" / PACKAGE / "airports.py").write_text("AIRPORTS = 3\n", encoding="utf-8")
    (project / "notebooks").mkdir(exist_ok=True)
    (project / "notebooks" / "first look.txt").write_text("late\n", encoding="utf-8")
    commit(project, "More of the team's work")

    update(project, template, improve)

    assert (project / "src" / PACKAGE / "airports.py").read_text(encoding="utf-8") == "AIRPORTS = 3\n"
    assert (project / "notebooks" / "first look.txt").read_text(encoding="utf-8") == "late\n"


def test_an_edit_and_an_improvement_of_a_shared_file_are_merged(project: Path, template: Template) -> None:
    path = project / ".gitignore"
    path.write_text("/scratch/\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    commit(project, "Ignore scratch files")

    update(project, template, improve)

    lines = path.read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[-1]) == ("/scratch/", "/improved/")
    assert git(project, "ls-files", "--unmerged") == ""


def test_a_conflict_shows_both_sides_and_leaves_the_file_unmerged(project: Path, template: Template) -> None:
    """Copier exits with 0 on a conflict; only Git's index tells."""
    append(project / ".gitignore", "/scratch/\n")
    commit(project, "Ignore scratch files")

    update(project, template, improve)

    assert git(project, "diff", "--name-only", "--diff-filter=U").split() == [".gitignore"]
    text = (project / ".gitignore").read_text(encoding="utf-8")
    assert re.search(r"^<{7} .*\n/scratch/\n={7}\n/improved/\n>{7} ", text, flags=re.MULTILINE)


def test_deleted_sample_data_does_not_come_back(project: Path, template: Template) -> None:
    """Teams put their own data in its place."""
    assert any((project / "data").rglob("*"))
    shutil.rmtree(project / "data")
    commit(project, "Our own data lives elsewhere")

    update(project, template, improve)

    assert not (project / "data").exists()


def test_a_deleted_file_of_the_platform_stays_deleted(project: Path, template: Template) -> None:
    (project / ".dvcignore").unlink()
    commit(project, "Not for us")

    update(project, template, improve_everything)

    assert not (project / ".dvcignore").exists()


def test_a_module_the_platform_needs_comes_back(project: Path, template: Template) -> None:
    (project / "src" / PACKAGE / "contract.py").unlink()
    commit(project, "Delete by mistake")

    update(project, template, improve)

    assert (project / "src" / PACKAGE / "contract.py").is_file()


def test_another_answer_can_be_given_without_another_version(project: Path) -> None:
    copier.run_update(
        project,
        data={"data_remote": "s3", "data_remote_url": "s3://flights/dvc"},
        defaults=True,
        overwrite=True,
        quiet=True,
        vcs_ref=copier.VcsRef.CURRENT,
    )

    assert "url = s3://flights/dvc" in (project / ".dvc" / "config").read_text(encoding="utf-8")
    assert git(project, "ls-files", "--unmerged") == ""
