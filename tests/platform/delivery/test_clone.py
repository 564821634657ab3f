"""What a Job in a cluster works on is what the branch has, or the Job says why it is not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from forge import TOKEN, Forge, forge
from rendering import git
from slipway.base.errors import MlopsError
from slipway.delivery.kubernetes.clone import clone

REPOSITORY = "acme/flights"


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Forge]:
    """A forge that lets nobody read without a token, with a repository of two commits."""
    (tmp_path / "forge").mkdir()
    with forge(tmp_path / "forge") as made:
        made.create(REPOSITORY)
        made.is_private = True
        project = tmp_path / "image"
        git(tmp_path, "init", "--quiet", "image")
        for text in ("first", "second"):
            (project / "policy.yaml").write_text(text)
            (project / "uv.lock").write_text("packages")
            git(project, "add", "--all")
            git(project, "commit", "--quiet", "--message", text)
        git(project, "push", "--quiet", str(made.folder / REPOSITORY), "HEAD:main")
        yield made


def cloned(there: Forge, folder: Path, monkeypatch: pytest.MonkeyPatch, **said: str) -> str:
    """Clone as a Job would whose ConfigMap says this, with the token of a job in its Secret."""
    (folder / "git").mkdir(exist_ok=True)
    for name, text in {"username": "job", "password": TOKEN}.items():
        (folder / "git" / name).write_text(text)
    for name, value in {"REPOSITORY": f"{there.address}/{REPOSITORY}", "BRANCH": "main", **said}.items():
        monkeypatch.setenv(name, value)
    return clone(folder / "image", folder / "clone", folder / "git")


def test_the_newest_commit_of_the_branch_is_there_with_its_history(
    there: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = cloned(there, tmp_path, monkeypatch)

    head = there.git(REPOSITORY, "rev-parse", "main").strip()
    assert said == f"cloned {there.address}/{REPOSITORY}, branch main, commit {head[:12]}"
    assert (tmp_path / "clone" / "policy.yaml").read_text() == "second"
    assert len(git(tmp_path / "clone", "log", "--format=%H").split()) == 2


def test_another_commit_can_be_named(there: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = there.git(REPOSITORY, "rev-parse", "main~1").strip()

    cloned(there, tmp_path, monkeypatch, COMMIT=first)

    assert (tmp_path / "clone" / "policy.yaml").read_text() == "first"
    assert git(tmp_path / "clone", "branch", "--show-current").strip() == "main"


def test_the_clone_can_send_what_is_made_in_it_and_holds_no_password(
    there: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloned(there, tmp_path, monkeypatch)

    git(tmp_path / "clone", "push", "--quiet", "origin", "main:candidate")

    assert "candidate" in there.branches(REPOSITORY)
    held = [path for path in (tmp_path / "clone").rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert held == []


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"BRANCH": "none"}, "branch none, cannot be cloned: .*Remote branch none not found"),
        ({"COMMIT": "0" * 40}, f"has no commit {'0' * 40} in its history"),
        ({"BRANCH": ""}, "nobody says BRANCH"),
        ({"REPOSITORY": "https://job:secret@git.example.com/flights"}, "REPOSITORY .* holds a password"),
        ({"REPOSITORY": "--upload-pack=touch here"}, "repository '--upload-pack=touch here' does not exist"),
    ],
    ids=["branch", "commit", "unsaid", "password", "option"],
)
def test_what_cannot_be_cloned_is_said(
    there: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, str], problem: str
) -> None:
    with pytest.raises(MlopsError, match=problem):
        cloned(there, tmp_path, monkeypatch, **said)


def test_whoever_is_not_let_in_is_told_how(there: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there.logins.clear()
    with pytest.raises(MlopsError, match="Authentication failed") as wrong:
        cloned(there, tmp_path, monkeypatch)
    (tmp_path / "git" / "password").unlink()
    with pytest.raises(MlopsError, match="could not read Username"):
        clone(tmp_path / "image", tmp_path / "clone", tmp_path / "git")

    assert "create secret generic git --from-literal=username=" in wrong.value.next_step
    assert TOKEN not in str(wrong.value)


def test_an_image_with_other_packages_is_refused(there: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "image" / "uv.lock").write_text("older packages")

    with pytest.raises(MlopsError, match="is not the one that this image was made with") as refused:
        cloned(there, tmp_path, monkeypatch)

    assert "mlops build monitor train --push" in refused.value.next_step


def test_a_branch_that_locks_nothing_is_refused(there: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "image"
    git(image, "rm", "--quiet", "--cached", "uv.lock")
    git(image, "commit", "--quiet", "--message", "Forget the lock")
    git(image, "push", "--quiet", str(there.folder / REPOSITORY), "HEAD:main")

    with pytest.raises(MlopsError, match="is not the one that this image was made with"):
        cloned(there, tmp_path, monkeypatch)
