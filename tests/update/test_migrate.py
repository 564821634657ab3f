"""What a team wrote survives when the template renames, moves or drops a file, or renames a question."""

import shutil
from pathlib import Path

import copier
import pytest
import to_0_4_0
from packaging.version import Version
from questions import ROOT, questionnaire
from rendering import Template, commit, files, git, releases
from slipway.base.errors import MlopsError
from slipway.template import update as following

SETTINGS = """\
_subdirectory: template
owner: nobody
"""
MIGRATION = """\
_migrations:
  - version: v0.2.0
    when: "{{ _stage == '%s' }}"
    command: ["{{ _copier_python }}", "{{ _copier_conf.src_path }}/hooks/migrate.py", %s]
"""
MOVE = MIGRATION % ("after", "move, old.txt, new.txt")
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
    shutil.copy(ROOT / "hooks" / "migrate.py", template / "hooks")
    write(template, copier_yml=settings, template__new_txt_jinja=AFTER)
    commit(template, "The second version")
    git(template, "tag", "v0.2.0")


def update(project: Path, template: Path, settings: str = SETTINGS + MOVE) -> None:
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


# ---------------------------------------------------------------------------- folders, dropped files, answers


def release(template: Path, settings: str, *, gone: str = "", **texts: str) -> None:
    """Release v0.2.0 with other files and a migration."""
    if gone:
        git(template, "rm", "-r", "--quiet", f"template/{gone}")
    (template / "hooks").mkdir()
    shutil.copy(ROOT / "hooks" / "migrate.py", template / "hooks")
    write(template, copier_yml=settings, **texts)
    commit(template, "The second version")
    git(template, "tag", "v0.2.0")


def take(project: Path) -> None:
    """Update with Copier alone, and with trust."""
    copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=True)


@pytest.fixture
def project_with_folder(small_template: Path, tmp_path: Path) -> Path:
    """A project whose template has a folder of two files."""
    write(small_template, template__old__a_txt=BEFORE, template__old__b_txt=AFTER)
    commit(small_template, "A folder")
    git(small_template, "tag", "--force", "v0.1.0")
    project = tmp_path / "with folder"
    copier.run_copy(str(small_template), project, data={"owner": "Zoë"}, defaults=True, quiet=True)
    git(project, "init", "--quiet")
    commit(project, "A project")
    return project


def test_edits_survive_the_move_of_their_folder(project_with_folder: Path, small_template: Path) -> None:
    project = project_with_folder
    write(project, old__a_txt=BEFORE.replace("one", "ONE, by the team"), old__own_txt="by the team\n")
    commit(project, "Edits")

    settings = SETTINGS + MIGRATION % ("after", "move, old, new")
    release(small_template, settings, gone="old", template__new__a_txt=AFTER, template__new__b_txt=AFTER)
    take(project)

    assert (project / "new" / "a.txt").read_text(encoding="utf-8") == AFTER.replace("one", "ONE, by the team")
    assert (project / "new" / "b.txt").read_text(encoding="utf-8") == AFTER
    assert not (project / "old" / "a.txt").exists()
    assert (project / "old" / "own.txt").read_text(encoding="utf-8") == "by the team\n"


def test_a_proposal_leaves_a_new_file_of_the_team_in_the_folder_that_moves(
    project_with_folder: Path, small_template: Path
) -> None:
    project = project_with_folder
    write(project, old__own_txt="by the team\n")
    commit(project, "A file")

    release(small_template, SETTINGS, gone="old", template__new__a_txt=BEFORE, template__new__b_txt=AFTER)
    proposal = following.propose_update(following.prepare(project))

    assert proposal
    assert git(project, "ls-tree", "-r", "--name-only", proposal.branch, "old", "new").split() == [
        "new/a.txt",
        "new/b.txt",
        "old/own.txt",
    ]


DROP = SETTINGS + MIGRATION % ("after", "drop, old.txt")


def test_a_dropped_file_that_the_team_has_edited_is_kept_and_said(
    project: Path, small_template: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    edit(project, "one", "ONE, by the team")

    release(small_template, DROP, gone="old.txt.jinja")
    take(project)

    assert "ONE, by the team" in (project / "old.txt").read_text(encoding="utf-8")
    assert "kept old.txt: you have edited it" in capfd.readouterr().err


def test_a_dropped_file_that_nobody_has_edited_goes(project: Path, small_template: Path) -> None:
    release(small_template, DROP, gone="old.txt.jinja")
    take(project)

    assert not (project / "old.txt").exists()


def test_without_the_hook_an_edited_file_would_go(project: Path, small_template: Path) -> None:
    """The twin of the two above."""
    edit(project, "one", "ONE, by the team")

    release(small_template, SETTINGS, gone="old.txt.jinja")
    take(project)

    assert not (project / "old.txt").exists()


@pytest.mark.parametrize(("hook", "value"), [(MIGRATION % ("before", "answer, owner, keeper"), "Zoë"), ("", "nobody")])
def test_an_answer_is_carried_over_to_the_new_name_of_its_question(
    project: Path, small_template: Path, hook: str, value: str
) -> None:
    """The second row is the twin: without the hook the answer falls back to the default."""
    release(
        small_template,
        SETTINGS.replace("owner:", "keeper:") + hook,
        template__old_txt_jinja=BEFORE.replace("owner", "keeper"),
    )
    take(project)

    assert (project / "old.txt").read_text(encoding="utf-8").startswith(f"made for {value}\n")
    answers = (project / ".copier-answers.yml").read_text(encoding="utf-8")
    assert (f"keeper: {value}" in answers, "owner:" in answers) == (True, False)


def test_a_proposal_carries_the_answer_over_when_it_is_trusted(project: Path, small_template: Path) -> None:
    release(
        small_template,
        SETTINGS.replace("owner:", "keeper:") + MIGRATION % ("before", "answer, owner, keeper"),
        template__old_txt_jinja=BEFORE.replace("owner", "keeper"),
    )

    with pytest.raises(MlopsError, match=r"runs scripts of the template(.|\n)*next: .*--trust"):
        following.prepare(project)
    proposal = following.propose_update(following.prepare(project, trust=True))

    assert proposal
    assert git(project, "show", f"{proposal.branch}:old.txt").startswith("made for Zoë\n")
    assert (project / "old.txt").read_text(encoding="utf-8") == BEFORE.replace("{{ owner }}", "Zoë")


def test_a_proposal_needs_no_trust_where_a_file_is_only_renamed(project: Path, small_template: Path) -> None:
    edit(project, "one", "ONE, by the team")

    rename(small_template, SETTINGS)
    proposal = following.propose_update(following.prepare(project))

    assert proposal
    assert git(project, "show", f"{proposal.branch}:new.txt").splitlines()[2:] == [
        "ONE, by the team",
        *AFTER.splitlines()[3:],
    ]


# ---------------------------------------------------------------------------- no file goes without a migration


def migrated() -> dict[str, str]:
    """Return the version in which each path is moved or dropped."""
    steps = [(step["version"], step["command"][1:]) for step in questionnaire()["_migrations"]]
    found = {command[2]: version for version, command in steps if command[1:2] in (["move"], ["drop"])}
    (crossing,) = (version for version, command in steps if command[0].endswith("/hooks/to_0_4_0.py"))
    modules = (f"src/flight_delays/mlops/{module}" for module in to_0_4_0.MODULES)
    return found | dict.fromkeys([*modules, *to_0_4_0.PAGES, *to_0_4_0.DROPPED], crossing)


def test_each_part_that_a_module_has_moved_to_is_there(released: Template, tmp_path: Path) -> None:
    rendered = files(released.render(tmp_path / "project"))
    parts = [f"{to_0_4_0.SLIPWAY}/{part}" for places in to_0_4_0.MODULES.values() for part in places.split()]
    pages = [page for places in to_0_4_0.PAGES.values() for page in places]

    assert [part for part in [*parts, *pages] if part not in rendered] == []


def left_alone(old: set[str], new: set[str], steps: dict[str, str], since: str) -> set[str]:
    """Return the files that went after a version without a migration of a later one."""
    carried = tuple(path for path, version in steps.items() if Version(version) > Version(since))
    return {path for path in old - new if path not in carried and not path.startswith(tuple(f"{c}/" for c in carried))}


@pytest.mark.parametrize("version", releases())
def test_no_file_of_a_release_went_without_a_migration(version: str, released: Template, tmp_path: Path) -> None:
    problems = ("binary", "regression")
    old, new = (
        {p: set(files(released.render(tmp_path / f"{name}-{p}", when, problem=p))) for p in problems}
        for name, when in (("old", version), ("new", None))
    )

    assert {p: left_alone(old[p], new[p], migrated(), version) for p in problems} == {p: set() for p in problems}


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ({}, {"a.yaml", "b/c.yaml"}),
        ({"a.yaml": "v0.2.0", "b": "v0.2.0"}, set()),
        ({"a.yaml": "v0.1.0", "b": "v0.2.0"}, {"a.yaml"}),
    ],
    ids=["none", "all", "too early"],
)
def test_a_file_that_went_without_a_migration_is_found(steps: dict[str, str], found: set[str]) -> None:
    """The twin of the test above."""
    assert left_alone({"a.yaml", "b/c.yaml", "d.yaml"}, {"d.yaml"}, steps, since="v0.1.0") == found
