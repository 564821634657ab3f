"""Updates where a project is not as usual: large, in a folder, shallow, signed, hooked, or saved by another editor."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import copier
import pytest
from rendering import Template, commit, git, releases
from slipway.base.errors import MlopsError
from slipway.template import audit as auditing
from slipway.template import update as following

OLDEST = next(iter(releases()))


@pytest.fixture
def released(without_modules: Template) -> Template:
    """Nothing here depends on the platform's modules."""
    return without_modules


def take(project: Path, **wanted: str) -> str:
    """Propose the newest version, merge it, and return the branch."""
    proposal = following.propose_update(following.prepare(project, **wanted, trust=True))  # type: ignore[arg-type]
    assert proposal is not None
    git(project, "merge", "--quiet", "--no-edit", proposal.branch)
    return proposal.branch


def is_newest(project: Path, released: Template) -> bool:
    """Whether the files are those of the newest version."""
    recorded = (project / ".copier-answers.yml").read_text(encoding="utf-8")
    platform = (project / "vendor/slipway/pyproject.toml").is_file()
    return f"_commit: {released.version}\n" in recorded and platform


def test_a_project_of_50_000_data_files_is_updated(start: Callable[..., Path], released: Template) -> None:
    """Half of them are in Git and half are ignored one by one, which stops Copier alone."""
    project = start(OLDEST)
    (project / "raw").mkdir()
    for number in range(25_000):
        (project / "raw" / f"{number}.csv").write_text(f"{number}\n", encoding="utf-8")
    commit(project, "Data")
    for number in range(25_000):
        (project / "data" / f"{number}.parquet").write_text(f"{number}\n", encoding="utf-8")

    take(project)

    assert is_newest(project, released)
    assert len(list((project / "raw").iterdir())) == 25_000
    assert (project / "data" / "24999.parquet").read_text(encoding="utf-8") == "24999\n"


def test_a_project_in_a_folder_of_a_repository_is_updated(released: Template, tmp_path: Path) -> None:
    """Its neighbours may be in the middle of something, and have files of the same names."""
    project = released.render(tmp_path / "ml" / "flights", OLDEST)
    for name in ("dvc.yaml", "ml/other/dvc.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("stages: {}\n", encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "Two projects")
    (tmp_path / "ml" / "other" / "dvc.yaml").write_text("stages: {a: b}\n", encoding="utf-8")

    proposal = following.propose_update(following.prepare(project, trust=True))

    assert proposal
    changed = git(tmp_path, "diff", "--name-only", "HEAD", proposal.branch).split()
    assert changed
    assert [name for name in changed if not name.startswith("ml/flights/")] == []
    assert auditing.audit(project).files == []


def test_a_conflict_in_a_folder_is_resolved_by_the_same_recipe(released: Template, tmp_path: Path) -> None:
    project = released.render(tmp_path / "flights", OLDEST)
    git(tmp_path, "init", "--quiet")
    path = project / ".gitattributes"
    path.write_text(path.read_text(encoding="utf-8") + "\n# ours\n", encoding="utf-8")
    commit(tmp_path, "A project")

    update = following.prepare(project, trust=True)
    done = subprocess.run(
        ["git", "cherry-pick", update.theirs], cwd=project, capture_output=True, text=True, check=False
    )

    assert update.conflicts == [".gitattributes"]
    assert "Merge conflict in flights/.gitattributes" in done.stdout
    assert git(tmp_path, "diff", "--name-only", "--diff-filter=U").split() == ["flights/.gitattributes"]


def test_a_shallow_clone_is_updated(start: Callable[..., Path], released: Template, tmp_path: Path) -> None:
    project = start(OLDEST)
    commit(project, "Another commit")
    git(tmp_path, "clone", "--quiet", "--depth=1", project.as_uri(), "shallow")
    git(tmp_path / "shallow", "remote", "remove", "origin")

    take(tmp_path / "shallow")

    assert git(tmp_path / "shallow", "rev-parse", "--is-shallow-repository").strip() == "true"
    assert is_newest(tmp_path / "shallow", released)


def test_other_line_ends_in_git_itself_are_no_difference(start: Callable[..., Path]) -> None:
    """A team without .gitattributes commits what its editor wrote; the template's attributes still say what is text."""
    project = start(OLDEST)
    (project / ".gitattributes").unlink()
    commit(project, "Live without attributes")
    for name in ("pyproject.toml", "dvc.yaml"):
        path = project / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    commit(project, "Save with another editor")

    update = following.prepare(project, trust=True)

    assert update.conflicts == [".gitattributes"]
    assert "slipway-mlops" in git(project, "show", f"{update.merged}:pyproject.toml")


def test_a_checkout_that_git_converts_is_updated(start: Callable[..., Path], released: Template) -> None:
    """`core.autocrlf`, as Git for Windows sets it."""
    project = start(OLDEST)
    git(project, "config", "core.autocrlf", "true")
    git(project, "rm", "--quiet", "-r", "--cached", ".")
    git(project, "reset", "--quiet", "--hard")

    take(project)

    assert is_newest(project, released)


@pytest.mark.parametrize("is_signing", [True, False])
def test_a_proposal_is_signed_where_commits_are(is_signing: bool, start: Callable[..., Path], tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    project = start(OLDEST)
    git(project, "config", "gpg.format", "ssh")
    git(project, "config", "user.signingKey", str(key))
    git(project, "config", "commit.gpgSign", str(is_signing).lower())

    proposal = following.propose_update(following.prepare(project, trust=True))

    assert proposal
    assert ("BEGIN SSH SIGNATURE" in git(project, "cat-file", "commit", proposal.branch)) is is_signing


def test_hooks_for_every_repository_do_not_stop_an_update(
    start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copier alone stops: it clones the template, and the hook runs there."""
    project = start(OLDEST)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "pre-commit", "commit-msg"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (hooks / name).chmod(0o755)
    settings = tmp_path / "gitconfig"
    settings.write_text(f"[user]\nname = A\nemail = a@example.com\n[core]\nhooksPath = {hooks}\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))

    proposal = following.propose_update(following.prepare(project, trust=True))

    assert proposal
    assert git(project, "diff", "--name-only", "HEAD", proposal.branch)


def test_a_project_without_a_record_of_its_template_is_refused(start: Callable[..., Path]) -> None:
    project = start(OLDEST)
    (project / ".copier-answers.yml").unlink()
    commit(project, "Tidy up")

    with pytest.raises(MlopsError, match=r"no \.copier-answers\.yml that names a template(.|\n)*next: restore it"):
        following.prepare(project)


# ---------------------------------------------------------------------------- other answers

SWITCHES = [
    ({"data_remote": "s3", "data_remote_url": "s3://flights/dvc"}, {"data_remote": "local", "data_remote_url": "../d"}),
    ({"problem": "regression"}, {"problem": "binary"}),
    ({"license": "Apache-2.0"}, {"license": "MIT"}),
    ({"size": "small"}, {"size": "standard"}),
    ({"size": "regulated"}, {"size": "small"}),
    ({"target": "compose"}, {"target": "native"}),
]


@pytest.mark.parametrize(("on", "off"), SWITCHES, ids=lambda answers: next(iter(answers)))
def test_an_answer_switched_on_and_off_returns_the_same_tree(
    on: dict[str, str], off: dict[str, str], released: Template, start: Callable[..., Path]
) -> None:
    project = start(released.version, **off)
    before = git(project, "rev-parse", "HEAD^{tree}")

    for answers in (on, off):
        copier.run_update(
            project, data=answers, defaults=True, overwrite=True, quiet=True, vcs_ref=copier.VcsRef.CURRENT
        )
        commit(project, "Answer again")
        recorded = (project / ".copier-answers.yml").read_text(encoding="utf-8")
        assert all(f"{key}: {value}\n" in recorded for key, value in answers.items())

    assert git(project, "rev-parse", "HEAD^{tree}") == before


def test_a_project_in_containers_moves_to_a_cluster_without_a_change_of_the_teams(
    released: Template, start: Callable[..., Path]
) -> None:
    project = start(released.version, target="compose")

    proposal = following.propose_update(following.prepare(project, answers=["target=kubernetes", "delivery=flux"]))

    assert proposal
    changed = [line.split() for line in git(project, "diff", "--name-status", "HEAD", proposal.branch).splitlines()]
    assert {path for how, path in changed if how == "M"} == {".copier-answers.yml", ".gitattributes", "pyproject.toml"}
    assert {"/".join(path.split("/")[:2]) for how, path in changed if how == "A"} == {"deploy/kubernetes"}
    assert {how for how, _ in changed} == {"M", "A"}


def test_another_answer_is_proposed_and_taken_back(released: Template, start: Callable[..., Path]) -> None:
    project = start(released.version)
    before = git(project, "rev-parse", "HEAD^{tree}")

    proposal = None
    for license, words in (("Apache-2.0", "Apache License"), ("MIT", "MIT License")):
        update = following.prepare(project, answers=[f"license={license}"])
        proposal = following.propose_update(update)
        assert proposal
        git(project, "merge", "--quiet", "--ff-only", proposal.branch)
        git(project, "branch", "--quiet", "-D", proposal.branch)
        assert words in (project / "LICENSE").read_text(encoding="utf-8")

    assert proposal
    assert proposal.branch == "template/license-MIT"
    assert git(project, "rev-parse", "HEAD^{tree}") == before
