"""Every rendered project, over all pairs of choices."""

import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from answers import Answers, name, pairwise
from checks import parse, ruff
from rendering import files

# `${{` belongs to GitHub, `{{ $` to Prometheus, `{{` alone to Python's format strings.
RESIDUE = re.compile(r"(?<!\$)\{\{ (?!\$)|\{%|\{#-? ")

CONTAINERS = re.compile(
    r"(docker|deploy/compose)/|monitoring/grafana/.*[.]yml|[.]dockerignore"
    r"|src/.*/mlops/(compose|containers?|docker|images|services|stack|trials)[.]py"
)


@pytest.fixture(scope="module", params=pairwise(), ids=name)
def answers(request: pytest.FixtureRequest) -> Answers:
    given: Answers = request.param
    return given


@pytest.fixture(scope="module")
def project(answers: Answers, render: Callable[..., Path]) -> Path:
    return render(**answers)


def test_every_file_can_be_read_as_what_its_name_says(project: Path) -> None:
    parse(project)


def test_no_file_shows_that_a_template_was_there(project: Path) -> None:
    text_files = {name: path for name, path in files(project).items() if path.suffix != ".gz"}

    residue = [name for name, path in text_files.items() if RESIDUE.search(path.read_text(encoding="utf-8"))]

    assert residue == []
    assert [name for name in files(project) if "{" in name or name.endswith(".jinja")] == []


def test_no_file_is_empty(project: Path) -> None:
    assert [name for name, path in files(project).items() if not path.read_bytes().strip()] == []


def test_text_ends_with_one_newline_and_has_no_trailing_space(project: Path) -> None:
    """The project's own hooks would change such a file, and the next update would find it edited."""
    texts = {name: path.read_bytes() for name, path in files(project).items() if path.suffix != ".gz"}

    assert [name for name, text in texts.items() if not text.endswith(b"\n") or text.endswith(b"\n\n")] == []
    assert [name for name, text in texts.items() if re.search(rb"[ \t\r]\n", text)] == []


def test_a_project_has_at_most_135_files(project: Path, answers: Answers) -> None:
    """Those of containers come on top, and only where there are containers."""
    of_containers = [name for name in files(project) if CONTAINERS.match(name)]

    assert len(files(project)) - len(of_containers) <= 135
    assert bool(of_containers) == (answers.get("target") == "compose")


def test_ruff_has_nothing_to_say(project: Path) -> None:
    ruff(project, "check", "--no-cache")
    ruff(project, "format", "--no-cache", "--check", "--diff")


def test_the_answers_file_holds_every_answer_that_was_given(project: Path, answers: Answers) -> None:
    stored = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))

    assert {key: stored.get(key) for key in answers} == answers


def test_the_same_answers_give_the_same_bytes(project: Path, answers: Answers, render: Callable[..., Path]) -> None:
    again = render(**answers)

    assert {name: path.read_bytes() for name, path in files(project).items()} == {
        name: path.read_bytes() for name, path in files(again).items()
    }


def test_a_package_may_have_another_name_than_its_project(render: Callable[..., Path], tmp_path: Path) -> None:
    project = render(project_name="Late Flights", package_name="flight_delays")

    subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path], cwd=project, check=True)

    (wheel,) = tmp_path.glob("late_flights-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert "flight_delays/contract.py" in packed.namelist()
