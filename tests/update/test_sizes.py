"""A project of one size becomes one of another by an answer, in every direction, and loses nothing of the team's."""

from collections.abc import Callable
from pathlib import Path

import copier
import pytest
from ownership import owner_of
from questions import questions
from rendering import Template, commit, files, git
from slipway.base.errors import MlopsError
from slipway.template import update as following

SIZES = next(list(question.choices.values()) for question in questions() if question.key == "size")


def contents(project: Path) -> dict[str, bytes]:
    """Return every file's bytes by its path."""
    return {name: path.read_bytes() for name, path in files(project).items()}


def by_command(project: Path, size: str) -> None:
    """Give the answer as the platform's command does."""
    proposal = following.propose_update(following.prepare(project, answers=[f"size={size}"]))
    assert proposal
    git(project, "merge", "--quiet", "--ff-only", proposal.branch)


def by_copier(project: Path, size: str) -> None:
    """Give the answer with Copier alone."""
    current = copier.VcsRef.CURRENT
    copier.run_update(project, data={"size": size}, defaults=True, overwrite=True, quiet=True, vcs_ref=current)


#: Every direction once. Copier's own way is what the command takes, too.
AROUND = list(zip(SIZES, [*SIZES[1:], SIZES[0]], strict=True))
WAYS = [(by_command, *two) for two in AROUND] + [(by_copier, *reversed(two)) for two in AROUND]


@pytest.fixture
def released(without_modules: Template) -> Template:
    """Nothing here depends on the platform's modules."""
    return without_modules


@pytest.mark.parametrize(("way", "before", "after"), WAYS)
def test_a_size_becomes_another(
    before: str,
    after: str,
    way: Callable[[Path, str], None],
    released: Template,
    start: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """What the team has deleted stays deleted, and its own files stay as they are."""
    project = start(released.version, size=before)
    (project / ".dvcignore").unlink()
    (project / "policy.yaml").write_text("gates: ours\n", encoding="utf-8")
    commit(project, "Our work")
    ours = {name: text for name, text in contents(project).items() if owner_of(name) in ("yours", "once")}

    way(project, after)

    whole = contents(released.render(tmp_path / "fresh", size=after))
    # Of the example nothing arrives later.
    fresh = {name: text for name, text in whole.items() if owner_of(name) != "once" or name in ours}
    del fresh[".dvcignore"]
    assert contents(project) == fresh | ours
    assert git(project, "ls-files", "--unmerged") == ""


def test_an_edit_in_a_part_that_goes_is_not_lost_without_a_word(released: Template, start: Callable[..., Path]) -> None:
    """Both sides have changed it, so the command refuses and changes nothing."""
    project = start(released.version)
    with (project / "docker" / "Dockerfile").open("a", encoding="utf-8") as file:
        file.write("# ours\n")
    commit(project, "Our image")

    with pytest.raises(MlopsError, match="docker/Dockerfile"):
        following.propose_update(following.prepare(project, answers=["size=small"]))
