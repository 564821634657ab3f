"""What `copier update` by itself does otherwise, as the page about updating warns. A red test: the page can lose a row."""

from __future__ import annotations

from pathlib import Path

import copier
import pytest
from rendering import commit, git

OURS = "one\nours\nstandard\nfour\nfive\n"


@pytest.fixture
def edited(copied: Path) -> Path:
    """A project in which a line was edited that the newer version changes."""
    (copied / "settings.txt").write_text(OURS, encoding="utf-8")
    commit(copied, "Ours")
    return copied


def test_a_file_that_git_ignores_is_overwritten(copied: Path) -> None:
    (copied / ".git" / "info" / "exclude").write_text("/extra.txt\n", encoding="utf-8")
    (copied / "extra.txt").write_text("mine\n", encoding="utf-8")

    copier.run_update(copied, defaults=True, overwrite=True, quiet=True)

    assert (copied / "extra.txt").read_text(encoding="utf-8") == "extra\n"


def test_an_edit_in_conflict_goes_beside_the_file(edited: Path) -> None:
    copier.run_update(edited, defaults=True, overwrite=True, quiet=True, conflict="rej")

    assert "TWO" in (edited / "settings.txt").read_text(encoding="utf-8")
    assert "ours" not in (edited / "settings.txt").read_text(encoding="utf-8")
    assert "ours" in (edited / "settings.txt.rej").read_text(encoding="utf-8")


def test_a_copy_once_more_drops_edits(edited: Path) -> None:
    copier.run_recopy(edited, defaults=True, overwrite=True, quiet=True, vcs_ref="v1.0.0")

    assert "ours" not in (edited / "settings.txt").read_text(encoding="utf-8")
    assert "ours" in git(edited, "show", "HEAD:settings.txt")
