"""Every rendered project, over all pairs of choices."""

import json
import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from answers import Answers, name, pairwise
from checks import parse, ruff
from ownership import only, part_of
from rendering import ROOT, files

# `${{` belongs to GitHub, `{{ $` to Prometheus, `{{` alone to Python's format strings.
RESIDUE = re.compile(r"(?<!\$)\{\{ (?!\$)|\{%|\{#-? ")

#: Words of what a size without containers and Prometheus has nothing of.
BIG = re.compile("devcontainer|docker|compose|haproxy|prometheus|alertmanager|grafana|runbook", re.IGNORECASE)
#: A module of scikit-learn is called so.
ELSEWHERE = {"docs/your-own-data.md": {"compose"}, "src/flight_delays/model.py": {"compose"}}


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
    # The platform draws its pages from templates of its own.
    text_files = {name: path for name, path in files(project).items() if path.suffix not in (".gz", ".j2")}

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


def own_files(project: Path) -> dict[str, Path]:
    """What the team has to know: all but the platform, which lies in `vendor/`."""
    return {name: path for name, path in files(project).items() if not name.startswith("vendor/")}


def test_a_project_has_at_most_70_files_and_4000_lines(project: Path, answers: Answers) -> None:
    own = own_files(project)
    lines = sum(path.read_bytes().count(b"\n") for path in own.values() if path.suffix != ".gz")
    print(f"{name(answers)}: {len(own)} files, {lines} lines")

    assert len(own) <= 70
    assert lines <= 4000


def test_a_size_decides_which_parts_there_are(project: Path, answers: Answers) -> None:
    parts = {part_of(name) for name in files(project)} - {None}

    example = "predicts_pictures" if answers.get("problem") == "image" else "has_flights"
    in_cluster = answers.get("target") == "kubernetes"
    pulled = {f"uses_{answers['delivery']}"} & set(only()) if "delivery" in answers else set()
    asked_for = {"uses_kubernetes"} | pulled if in_cluster else set()
    others = set(only()) - {"predicts_pictures", "has_flights", "uses_kubernetes", "uses_argocd", "uses_flux"}
    assert parts == {example} | (set() if answers.get("size") == "small" else others | asked_for)


def test_a_small_project_says_nothing_of_what_it_does_not_have(render: Callable[..., Path]) -> None:
    own = own_files(render(size="small"))
    texts = {name: path.read_text("utf-8") for name, path in own.items() if path.suffix != ".gz"}

    said = {name: {word.lower() for word in BIG.findall(name + text)} for name, text in texts.items()}
    assert {name: words for name, words in said.items() if words - ELSEWHERE.get(name, set())} == {}


def test_a_standard_project_has_what_a_small_one_does_without(standard_project: Path) -> None:
    """The twin: were the words wrong, the test above would find none."""
    texts = [path.read_text("utf-8") for path in own_files(standard_project).values() if path.suffix != ".gz"]

    found = {word.lower() for text in texts for word in BIG.findall(text)}
    assert found == set(BIG.pattern.split("|"))


def test_a_target_is_what_production_starts_with(render: Callable[..., Path]) -> None:
    chosen: list[tuple[dict[str, str], str]] = [({}, "native"), ({"size": "small"}, "native")]
    chosen += [({"target": target}, target) for target in ("compose", "kubernetes")]
    for answers, target in chosen:
        folder = render(**answers) / "deploy" / "environments"
        loaded = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in folder.iterdir()}
        assert {name: said["target"] for name, said in loaded.items()} == {"staging": "native", "production": target}


def test_a_regulated_project_demands_signatures_and_forgets(render: Callable[..., Path]) -> None:
    policies = {
        size: yaml.safe_load((render(size=size) / "policy.yaml").read_text("utf-8"))
        for size in ("standard", "regulated")
    }

    assert "signature" not in policies["standard"]
    assert "keep_days" not in policies["standard"].get("privacy", {})
    signer = "https://github.com/acme/flight-delays/.github/workflows/train.yml@refs/heads/main"
    assert policies["regulated"]["signature"] == {"identity": signer}
    assert policies["regulated"]["privacy"]["keep_days"] > 0
    assert "hash" in policies["regulated"]["privacy"]["fields"].values()


@pytest.mark.parametrize(
    ("answers", "approvals", "owners"),
    [
        ({}, 0, set()),
        ({"size": "regulated"}, 1, set()),
        ({"reviewers": "@acme/science @ada"}, 1, {"@acme/science", "@ada"}),
    ],
    ids=["alone", "regulated", "a team"],
)
def test_rules_ask_for_an_approval_where_somebody_can_give_it(
    answers: Answers, approvals: int, owners: set[str], render: Callable[..., Path]
) -> None:
    """One person alone can merge what is green; and no name of an organisation stands where a team should."""
    github = render(**answers) / ".github"
    (rule,) = json.loads((github / "rules.json").read_text("utf-8"))
    (review,) = [one["parameters"] for one in rule["rules"] if one["type"] == "pull_request"]
    lines = [line.split() for line in (github / "CODEOWNERS").read_text("utf-8").splitlines() if line[0] != "#"]

    assert review["required_approving_review_count"] == approvals
    assert review["require_last_push_approval"] == bool(approvals)
    assert review["require_code_owner_review"] == bool(owners)
    assert {owner for line in lines for owner in line[1:]} == owners


def test_no_file_name_of_the_template_holds_a_condition() -> None:
    """Tools read what lies in the folder; what some projects do without stands in `ownership.toml`."""
    names = [path.relative_to(ROOT / "template").as_posix() for path in (ROOT / "template").rglob("*")]
    expressions = {found for name in names for found in re.findall(r"\{[{%].*?[}%]\}", name)}

    assert expressions == {"{{package_name}}", "{{_copier_conf.answers_file}}"}


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


def test_a_kind_of_answer_changes_what_is_written_for_it_and_nothing_else(render: Callable[..., Path]) -> None:
    """The platform is the same for all, and who predicts a yes or no finds no word of classes in what is theirs."""
    yes_or_no, classes = render(problem="binary"), render(problem="multiclass")

    before, after = files(yes_or_no), files(classes)
    assert before.keys() == after.keys()
    told = {name for name, path in before.items() if path.read_bytes() != after[name].read_bytes()}
    assert told == {
        ".copier-answers.yml", "README.md", "docs/model.md", "docs/your-own-data.md", "params.yaml", "policy.yaml",
        "pyproject.toml", "src/flight_delays/__init__.py", "src/flight_delays/metrics.py", "src/flight_delays/model.py",
        "tests/test_flights.py", "tests/test_model.py",
    }  # fmt: skip
    assert [name for name in told - {"docs/your-own-data.md"} if "CLASSES" in before[name].read_text("utf-8")] == []
