"""What a killed DVC leaves half written is made readable again, wherever it was cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from slipway.base.errors import MlopsError
from slipway.data import cut_off, dvc
from slipway.forge.git import git
from slipway.settings.project import Project

STAGES = """\
stages:
  copy:
    cmd: cp one.txt two.txt
    deps:
    - one.txt
    params:
    - copy.depth
    outs:
    - two.txt
"""
SETTINGS = """\
copy:
  depth:
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository with a pipeline of one stage that has run, and is committed."""
    root = tmp_path_factory.mktemp("cut") / "project"
    root.mkdir()
    project = Project(root)
    git(root, "init", "--quiet")
    assert dvc.dvc(project, "init", "--quiet")[0] == 0
    (root / "one.txt").write_text("one\n", encoding="utf-8")
    (root / "params.yaml").write_text(SETTINGS, encoding="utf-8")
    (root / "dvc.yaml").write_text(STAGES, encoding="utf-8")
    code, output, complaint = dvc.dvc(project, "repro")
    assert code == 0, output + complaint
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Copy")
    return project


def test_what_is_whole_stays_as_it_is(repository: Project) -> None:
    lock, said = repository.root / "dvc.lock", list[str]()
    changed = lock.read_bytes() + b"# a remark\n"
    lock.write_bytes(changed)

    cut_off.mend(repository, said.append)

    assert lock.read_bytes() == changed
    assert said == []


def test_wherever_a_lock_was_cut_off_dvc_reads_it_afterwards(repository: Project) -> None:
    git(repository.root, "checkout", "--quiet", "dvc.lock")
    lock = repository.root / "dvc.lock"
    whole = lock.read_bytes()

    restored = 0
    for end in range(len(whole)):
        lock.write_bytes(whole[:end])
        said: list[str] = []
        cut_off.mend(repository, said.append)
        assert len(said) == (lock.read_bytes() != whole[:end])
        if said:
            assert lock.read_bytes() == whole
            assert said == [
                "mind: dvc.lock was cut off, as a killed run leaves it; it is that of the last commit again"
            ]
            restored += 1
        elif end % 40 == 0:  # of the others DVC itself is asked about some
            assert dvc.dvc(repository, "status")[0] == 0
    assert restored > len(whole) / 4


@pytest.mark.parametrize("text", ["", '{"read": {"one.t', '{"read"'])
def test_dvc_runs_where_its_list_of_locks_was_cut_off(repository: Project, text: str) -> None:
    locks, said = repository.root / ".dvc" / "tmp" / "rwlock", list[str]()
    locks.write_text(text, encoding="utf-8")
    assert dvc.dvc(repository, "repro", "--force")[0] != 0

    cut_off.mend(repository, said.append)

    assert said == ["mind: .dvc/tmp/rwlock was cut off, as a killed run leaves it; it is gone, and DVC writes it anew"]
    assert dvc.dvc(repository, "repro", "--force")[0] == 0


def test_a_lock_that_is_committed_as_it_is_was_cut_off_by_nobody(repository: Project) -> None:
    lock, said = repository.root / "dvc.lock", list[str]()
    of_another_version = "schema: '1.0'\n"
    lock.write_text(of_another_version, encoding="utf-8")
    git(repository.root, "commit", "--quiet", "--all", "--message", "Another version of DVC")

    cut_off.mend(repository, said.append)

    assert lock.read_text(encoding="utf-8") == of_another_version
    assert said == []


def test_a_lock_that_no_commit_has_goes_and_one_with_a_conflict_stays(repository: Project, tmp_path: Path) -> None:
    lock, said = repository.root / "dvc.lock", list[str]()
    conflict = "<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.0'\n>>>>>>> other\n"
    lock.write_text(conflict, encoding="utf-8")
    with pytest.raises(MlopsError) as refused:
        cut_off.mend(repository, said.append)
    assert refused.value.problem == "dvc.lock has the marks of a conflict"
    assert lock.read_text(encoding="utf-8") == conflict

    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "Nothing")
    (tmp_path / "dvc.lock").touch()
    cut_off.mend(Project(tmp_path), said.append)
    assert not (tmp_path / "dvc.lock").exists()
    assert said == ["mind: dvc.lock was cut off, as a killed run leaves it; it is gone, as no commit has one"]
