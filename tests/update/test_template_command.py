"""`mlops template` in a project: what it says, what it leaves behind, and that it can be killed at any point."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from questions import ROOT
from rendering import Template, commit, files, git, snapshot
from running import Result, ran

pytestmark = pytest.mark.xdist_group("template-command")

NEXT = "v1000.0.0"
NEWS = "- Lateness is told in minutes. Updating needs nothing from you."
LATER = "# From the next version.\n"
ENGINE = "from pathlib import Path; from slipway.template import update as t; t.propose_update(t.prepare(Path.cwd()))"
KILLS = 6


@dataclass(frozen=True)
class Checkout:
    """A project's folder."""

    root: Path

    def template(self, *arguments: str) -> Result:
        """Run `mlops template`."""
        return ran([sys.executable, "-m", "slipway", "template", *arguments], environment(), check=False, cwd=self.root)

    def edit(self, path: str, line: str) -> None:
        """Write a first line into a file and commit."""
        file = self.root / path
        file.write_text(line + file.read_text(encoding="utf-8"), encoding="utf-8")
        commit(self.root, f"Edit {path}")


def environment() -> dict[str, str]:
    """The variables under which the platform runs as it lies in the template, in no project's environment."""
    return os.environ | {"PYTHONPATH": str(ROOT / "template" / "vendor" / "slipway" / "src")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed project of a template that has a next version. Tests only look at it.

    It has none of the platform's modules: they would be the same in both versions, and take two thirds of an update.
    """
    place = tmp_path_factory.mktemp("command")
    template = snapshot(place / "template", platform=False)
    root = committed(template, place / "project")
    template.release(NEXT, improve)
    return root


def committed(template: Template, root: Path) -> Path:
    template.render(root)
    git(root, "init", "--quiet")
    commit(root, "A project")
    return root


def improve(template: Path) -> None:
    """Add a file, write a line into two others, and say so in the changelog."""
    (template / "template" / "extra.txt").write_text(LATER, encoding="utf-8")
    for name in (".gitignore.jinja", "dvc.yaml.jinja"):
        path = template / "template" / name
        path.write_text(LATER + path.read_text(encoding="utf-8"), encoding="utf-8")
    log = template / "CHANGELOG.md"
    log.write_text(f"## [1000.0.0] - 2030-01-01\n\n{NEWS}\n\n{log.read_text(encoding='utf-8')}", encoding="utf-8")


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Checkout:
    """A copy to work in, with files that Git ignores."""
    return copied(made, tmp_path / "project")


@pytest.fixture
def whole(template: Template, tmp_path: Path) -> Checkout:
    """A project with everything that it is made of."""
    return Checkout(committed(template, tmp_path / "whole"))


def copied(made: Path, root: Path) -> Checkout:
    shutil.copytree(made, root)
    (root / ".mlops").mkdir()
    (root / ".mlops" / "runs.db").write_bytes(b"\0every run\0")
    (root / ".env").write_text("TOKEN=mine\n", encoding="utf-8")
    return Checkout(root)


@dataclass(frozen=True)
class Updated:
    """A checkout in which an update was proposed, what that said, the bytes before it, and the seconds it took."""

    project: Checkout
    said: Result
    before: dict[str, bytes]
    seconds: float


@pytest.fixture(scope="module")
def updated(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Updated:
    """One update for all tests that only look at it, or go on from it in a copy."""
    project = copied(made, tmp_path_factory.mktemp("updated") / "project")
    before, started = state(project.root), time.monotonic()
    said = project.template("update")
    return Updated(project, said, before, time.monotonic() - started)


@pytest.fixture
def proposed(updated: Updated, tmp_path: Path) -> Checkout:
    """A copy of it to work in."""
    return Checkout(Path(shutil.copytree(updated.project.root, tmp_path / "project")))


def state(root: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a checkout, ignored ones included, Git's index, and the current commit."""
    found = {name: path.read_bytes() for name, path in files(root).items() if "__pycache__" not in name}
    return found | {name: (root / ".git" / name).read_bytes() for name in ("index", "HEAD", "refs/heads/main")}


def test_an_update_is_a_branch_and_the_checkout_stays_as_it_is(updated: Updated, proposed: Checkout) -> None:
    first = updated.said.stdout.splitlines()[0]

    assert (updated.said.exit_code, first) == (0, f"{NEXT} is proposed in branch template/{NEXT}")
    assert state(updated.project.root) == updated.before
    git(proposed.root, "merge", "--quiet", f"template/{NEXT}")
    assert (proposed.root / "dvc.yaml").read_text(encoding="utf-8").startswith(LATER)


def test_an_update_shows_what_the_project_will_see(updated: Updated) -> None:
    said = updated.said.stderr

    assert NEWS in said
    assert f"to {NEXT}: what your project will see" in said
    assert "## [0.1.0]" not in said


def test_an_update_names_the_files_it_merges_with_an_edit(project: Checkout) -> None:
    with (project.root / "dvc.yaml").open("a", encoding="utf-8") as file:
        file.write("# ours\n")
    commit(project.root, "Edit")

    assert "merged with your changes: dvc.yaml" in project.template("update").stderr


def test_a_second_update_leaves_the_proposal_alone(proposed: Checkout) -> None:
    """A colleague may have worked on it."""
    git(proposed.root, "switch", "--quiet", f"template/{NEXT}")
    proposed.edit("dvc.yaml", "# a colleague's\n")
    git(proposed.root, "switch", "--quiet", "main")
    before = git(proposed.root, "rev-parse", f"template/{NEXT}")

    done = proposed.template("update")

    assert done.exit_code == 0
    assert git(proposed.root, "rev-parse", f"template/{NEXT}") == before


def test_an_update_of_the_newest_version_changes_nothing(proposed: Checkout) -> None:
    git(proposed.root, "merge", "--quiet", f"template/{NEXT}")

    done = proposed.template("update")

    assert (done.exit_code, done.stdout) == (0, f"nothing changes: this project is at {NEXT}\n")


def test_an_update_goes_to_origin_too(project: Checkout, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(project.root, "remote", "add", "origin", str(tmp_path / "origin.git"))

    project.template("update")

    assert git(tmp_path / "origin.git", "branch", "--list", "template/*").strip() == f"template/{NEXT}"


def test_a_proposal_that_is_only_at_origin_is_left_alone(project: Checkout, tmp_path: Path) -> None:
    """A scheduled job clones the main branch and nothing else."""
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(project.root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(project.root, "push", "--quiet", "origin", f"main:template/{NEXT}")
    git(project.root, "update-ref", "-d", f"refs/remotes/origin/template/{NEXT}")
    before = git(project.root, "rev-parse", "main")

    done = project.template("update")

    assert done.exit_code == 0
    assert git(tmp_path / "origin.git", "rev-parse", f"template/{NEXT}") == before


def test_an_update_refuses_what_is_not_committed(project: Checkout) -> None:
    (project.root / "notes.txt").write_text("not committed\n", encoding="utf-8")

    done = project.template("update")

    assert done.exit_code == 1
    assert "1 file not committed: notes.txt\n next: commit or stash" in done.stderr


def test_a_conflict_is_red_and_named_and_nothing_is_changed(project: Checkout) -> None:
    project.edit("dvc.yaml", "# Ours.\n")
    before = state(project.root)

    done = project.template("update")

    assert done.exit_code == 1
    assert f"error: this project and {NEXT} changed the same lines in dvc.yaml; nothing has been changed" in done.stderr
    assert state(project.root) == before
    assert git(project.root, "branch", "--list", "template/*") == ""


def start_to_resolve(project: Checkout) -> None:
    """Do what the command says after a conflict, as far as the choice."""
    project.edit("dvc.yaml", "# Ours.\n")
    recipe = re.search(r"^ +(git switch .*)$", project.template("update").stderr, flags=re.MULTILINE)
    assert recipe
    done = subprocess.run(recipe[1], shell=True, cwd=project.root, capture_output=True, text=True, check=False)
    assert "CONFLICT (content): Merge conflict in dvc.yaml" in done.stdout
    assert "<<<<<<< HEAD\n# Ours.\n" in (project.root / "dvc.yaml").read_text(encoding="utf-8")


def test_a_conflict_is_resolved_by_the_recipe(project: Checkout) -> None:
    start_to_resolve(project)

    git(project.root, "checkout", "--theirs", "dvc.yaml")
    git(project.root, "add", "dvc.yaml")
    git(project.root, "-c", "core.editor=true", "cherry-pick", "--continue")

    assert NEXT in (project.root / ".copier-answers.yml").read_text(encoding="utf-8")
    assert (project.root / ".gitignore").read_text(encoding="utf-8").startswith(LATER)
    assert git(project.root, "status", "--porcelain") == ""


def test_going_back_from_a_conflict_restores_every_byte(project: Checkout) -> None:
    project.edit("dvc.yaml", "# Ours.\n")
    before = state(project.root)
    git(project.root, "reset", "--quiet", "--hard", "HEAD~1")
    start_to_resolve(project)

    git(project.root, "cherry-pick", "--abort")
    git(project.root, "switch", "--quiet", "main")

    assert without_git(state(project.root)) == without_git(before)
    assert git(project.root, "status", "--porcelain") == ""


def without_git(found: dict[str, bytes]) -> dict[str, bytes]:
    """The index holds times, and a commit made twice has two names."""
    return {name: text for name, text in found.items() if name not in ("index", "HEAD", "refs/heads/main")}


def test_a_new_file_is_not_written_over_one_that_git_ignores(project: Checkout) -> None:
    """`git merge` would write over it without a word."""
    (project.root / ".git" / "info" / "exclude").write_text("/extra.txt\n", encoding="utf-8")
    (project.root / "extra.txt").write_text("ours\n", encoding="utf-8")
    before = state(project.root)

    done = project.template("update")

    assert done.exit_code == 1
    assert f"error: {NEXT} adds extra.txt, which Git ignores here\n next: move it away" in done.stderr
    assert state(project.root) == before
    assert git(project.root, "branch", "--list", "template/*") == ""


def test_the_difference_is_shown_before_it_is_proposed(project: Checkout) -> None:
    before = state(project.root)

    done = project.template("diff")

    assert done.exit_code == 0
    assert "+# From the next version." in done.stdout
    assert NEWS in done.stderr
    assert state(project.root) == before
    assert git(project.root, "branch", "--list", "template/*") == ""


def test_an_audit_of_a_new_project_finds_nothing(whole: Checkout) -> None:
    done = whole.template("audit")

    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "the platform is as its version made it")


def test_an_audit_names_what_differs_and_how_to_bring_it_back(whole: Checkout) -> None:
    whole.edit("vendor/slipway/src/slipway/serving/app.py", "# ours\n")
    whole.edit("dvc.yaml", "# ours\n")
    whole.edit("params.yaml", "# ours\n")
    (whole.root / "vendor/slipway/src/slipway/pages/report.css").unlink()
    commit(whole.root, "Delete")

    done = whole.template("audit")

    assert done.exit_code == 3
    listed = [line.split() for line in done.stdout.splitlines()]
    assert [words for words in listed if words[0] in ("platform", "shared", "yours") and len(words) < 5] == [
        ["platform", "missing", "vendor/slipway/src/slipway/pages/report.css"],
        ["platform", "+1", "-0", "vendor/slipway/src/slipway/serving/app.py"],
        ["shared", "+1", "-0", "dvc.yaml"],
        ["yours", "+1", "-0", "params.yaml"],
    ]
    recipe = re.search(r"(git restore .*)$", done.stdout)
    assert recipe
    subprocess.run(recipe[1], shell=True, cwd=whole.root, check=True)
    commit(whole.root, "Take the template's files")
    assert whole.template("audit").exit_code == 0


def test_an_audit_says_when_nothing_imports_the_names_where_they_were(whole: Checkout) -> None:
    """What the move of the platform left: a module for the imports of before."""
    shim = "src/flight_delays/mlops/schema.py"
    (whole.root / shim).parent.mkdir()
    (whole.root / shim).write_text("from slipway import Row as Row\n", encoding="utf-8")
    whole.edit("src/flight_delays/contract.py", "from .mlops.schema import Row as Row\n")

    used = whole.template("audit").stdout
    git(whole.root, "checkout", "HEAD~1", "--", "src/flight_delays/contract.py")
    commit(whole.root, "Import from where it is")

    assert "imports" not in used
    assert f"nothing imports {shim} any more: git rm {shim}\n" in whole.template("audit").stdout


def start_and_kill(project: Checkout, seconds: float) -> None:
    """Start an update and kill it with all its children, as a lost machine would."""
    started = subprocess.Popen(
        [sys.executable, "-c", ENGINE],
        cwd=project.root,
        env=environment(),
        start_new_session=True,
    )
    try:
        started.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@pytest.mark.parametrize("point", range(KILLS))
def test_a_killed_update_leaves_every_byte(point: int, project: Checkout, updated: Updated) -> None:
    """The points are spread over the time that one update took, the last ones beyond its end."""
    before, longest = state(project.root), 1.1 * updated.seconds

    start_and_kill(project, random.Random(point).uniform(point, point + 1) * longest / KILLS)

    assert state(project.root) == before
    git(project.root, "fsck", "--connectivity-only")
    if git(project.root, "branch", "--list", f"template/{NEXT}"):
        assert "+# From the next version." in git(project.root, "diff", "main", f"template/{NEXT}")


def test_an_update_after_a_killed_one_is_whole(project: Checkout, updated: Updated) -> None:
    start_and_kill(project, updated.seconds / 3)

    project.template("update")

    changed = git(project.root, "diff", "--name-only", "main", f"template/{NEXT}").split()
    assert changed == [".copier-answers.yml", ".gitignore", "dvc.yaml", "extra.txt"]
