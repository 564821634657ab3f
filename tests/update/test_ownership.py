"""One list says who owns a file; what an update does follows from it, and no file lies where an update cannot help."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from answers import pairwise
from ownership import derived, owner_of
from rendering import ROOT, files, git, snapshot

# Git places a changed line by three lines before and three after it.
CONTEXT = 6


def repeated(text: str) -> list[str]:
    """Return the first line of each block that occurs twice, so that a patch could land in the wrong one."""
    lines = text.splitlines()
    blocks = ["\n".join(lines[at : at + CONTEXT]) for at in range(len(lines) - CONTEXT + 1)]
    return [block.partition("\n")[0] for block, count in Counter(blocks).items() if count > 1]


def attributes(project: Path, attribute: str, names: list[str]) -> dict[str, str]:
    """Return what Git says of an attribute of each file."""
    told = git(project, "check-attr", "-z", attribute, "--", *names).split("\0")
    return dict(zip(told[0::3], told[2::3], strict=False))


# One worker renders all projects.
pytestmark = pytest.mark.xdist_group("ownership")


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A repository for each set of answers. The platform's modules, which are the same in all, are left out."""
    template = snapshot(tmp_path_factory.mktemp("template"), platform=False)
    rendered = [template.render(tmp_path_factory.mktemp("project"), **answers) for answers in pairwise()]
    for project in rendered:
        git(project, "init", "--quiet")
    return rendered


def merged(projects: list[Path]) -> Iterator[tuple[Path, str]]:
    """Each file whose text an update may change."""
    yield from ((project, name) for project in projects for name in files(project) if _is_merged(name))


def _is_merged(name: str) -> bool:
    return owner_of(name) in ("platform", "shared")


@pytest.mark.parametrize("path", derived(), ids=lambda path: path.name)
def test_what_follows_from_the_list_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == derived()[path], "run: make docs"


def test_every_file_of_a_project_is_in_the_list(projects: list[Path]) -> None:
    assert {name for project in projects for name in files(project) if owner_of(name) is None} == set()


def test_git_tells_the_owner_of_every_file(projects: list[Path]) -> None:
    """The project's own `mlops template audit` asks Git, because it cannot see the list."""
    expected = {name: owner_of(name) for project in projects for name in files(project)}
    expected = {name: owner if owner in ("platform", "shared") else "unspecified" for name, owner in expected.items()}

    told: dict[str, str | None] = {}
    for project in projects:
        told |= attributes(project, "owner", list(files(project)))
    assert told == expected


def test_no_binary_file_has_to_be_merged(projects: list[Path]) -> None:
    assert {name for project, name in merged(projects) if b"\0" in (project / name).read_bytes()} == set()


@pytest.mark.parametrize("attribute", ["diff", "merge", "text"])
def test_no_text_is_declared_binary(projects: list[Path], attribute: str) -> None:
    """With `-diff` Git shows no difference, and an update through one loses the edit."""
    for project in projects:
        told = attributes(project, attribute, [name for name in files(project) if _is_merged(name)])
        assert {name for name, value in told.items() if value == "unset"} == set()


def test_no_file_is_ignored_by_the_project(projects: list[Path]) -> None:
    """What Git ignores has no history to bring an edit back from."""
    for project in projects:
        ignored = git(project, "ls-files", "--others", "--ignored", "--exclude-standard")
        assert ignored == ""


def test_no_block_is_repeated_in_a_file_that_is_merged(projects: list[Path]) -> None:
    rendered = {name: project / name for project, name in merged(projects)}
    modules = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "template/vendor/slipway/src").split()
    found = {name: repeated(path.read_text(encoding="utf-8")) for name, path in rendered.items()}
    found |= {name: repeated((ROOT / name).read_text(encoding="utf-8")) for name in modules}

    # Two routes of one protocol are described alike, and nobody edits the platform's description.
    del found["template/vendor/slipway/src/slipway/serving/openapi.json"]
    assert {name: blocks for name, blocks in found.items() if blocks} == {}


def test_a_repeated_block_is_found() -> None:
    """The twin of the test above."""
    block = "steps:\n  - uses: a\n    with:\n      b: c\n\n  - run: d\n"

    assert repeated(f"one:\n{block}two:\n{block}") == ["steps:"]
