"""Whether a project's platform is the published one can be said without the template and without a network."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from manifest import derived
from slipway.base.errors import MlopsError
from slipway.template import vendored


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a platform of two files."""
    folder = tmp_path / vendored.FOLDER
    (folder / "src").mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (folder / "src" / "code.py").write_text("answer = 42\n")
    (folder / vendored.SUMS).write_text(vendored.as_text(vendored.sums(folder)))
    return tmp_path


def test_a_platform_as_it_was_published_has_no_edited_file(root: Path) -> None:
    (root / vendored.FOLDER / "src" / "__pycache__").mkdir()
    (root / vendored.FOLDER / "src" / "__pycache__" / "code.pyc").touch()

    assert vendored.edited(root) == []
    assert vendored.version(root) == "1.2.3"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda folder: (folder / "src" / "code.py").write_text("answer = 43\n"), "vendor/slipway/src/code.py"),
        (lambda folder: (folder / "src" / "code.py").unlink(), "vendor/slipway/src/code.py"),
        (lambda folder: (folder / "src" / "more.py").touch(), "vendor/slipway/src/more.py"),
    ],
    ids=["edited", "removed", "added"],
)
def test_a_file_that_is_not_as_published_is_named(
    root: Path, change: Callable[[Path], object], found: str
) -> None:
    change(root / vendored.FOLDER)

    assert vendored.edited(root) == [found]


def test_the_list_is_read_by_sha256sum(root: Path) -> None:
    checked = subprocess.run(["sha256sum", "--check", "--quiet", vendored.SUMS], cwd=root / vendored.FOLDER, check=False)

    assert checked.returncode == 0


def test_a_platform_without_its_list_is_refused(root: Path) -> None:
    (root / vendored.FOLDER / vendored.SUMS).unlink()

    with pytest.raises(MlopsError, match="vendor/slipway/SHA256SUMS is missing"):
        vendored.digest(root)


def test_the_list_of_this_platform_is_that_of_its_files() -> None:
    for path, text in derived().items():
        assert path.read_text(encoding="utf-8") == text, "run: make docs"
