"""The table of outcomes: what a team does to a file, what the next version does to it, and what becomes of both."""

import io
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import copier
import pytest
from rendering import Template, commit, files, git, history, releases
from slipway.template import update as following

# One worker makes the projects that the tests look at.
pytestmark = pytest.mark.xdist_group("busy")

FOLDER = "monitoring"
CONFLICT = "conflict"
BLOCK = "  - run: train\n    with: data\n    when: monday\n    on: linux\n    for: hour\n    by: cron\n"
Change = Callable[[Path], object]


def write(text: str) -> Change:
    """Return a change that makes the whole file this text."""
    return lambda path: path.write_bytes(text.encode())


def set_line(number: int, words: str) -> Change:
    """Return a change of one line."""
    return lambda path: path.write_text(re.sub(rf"\w+ {number}\n", f"{words}\n", path.read_text("utf-8")), "utf-8")


def replace(old: str, new: str, *, once: bool = False) -> Change:
    """Return a change of every place where a text stands, or of the first one."""
    return lambda path: path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1 if once else -1))


def nothing(path: Path) -> None:
    """Leave the file alone."""


def delete(path: Path) -> None:
    """Delete the file."""
    path.unlink()


def move(new: str, then: Change = nothing) -> Change:
    """Return a change of a file's place, and then of the file there."""

    def change(path: Path) -> None:
        target = path.parent / new
        target.parent.mkdir(exist_ok=True)
        shutil.move(path, target)
        then(target)

    return change


TEAM = set_line(2, "TEAM")
NEW = set_line(9, "NEW")


@dataclass(frozen=True)
class Row:
    """One line of the table: the outcome is the words in each file afterwards, None for a file that is gone."""

    did: str
    team: Change
    template: Change
    outcome: dict[str, str | None] | str
    before: str | None = "{key} 0\n{key} 1\n{key} 2\n{key} 3\n{key} 4\n{key} 5\n{key} 6\n{key} 7\n{key} 8\n{key} 9\n"


TABLE = {
    "a": Row("edits a file, which stays the same", TEAM, nothing, {"a.txt": "TEAM"}),
    "b": Row("edits a file, of which another line changes", TEAM, NEW, {"b.txt": "TEAM NEW"}),
    "c": Row("edits the line that changes", TEAM, set_line(2, "NEW"), CONFLICT),
    "d": Row("edits the line beside the one that changes", TEAM, set_line(3, "NEW"), CONFLICT),
    "e": Row("leaves a file that changes", nothing, NEW, {"e.txt": "NEW"}),
    "f": Row("leaves a file that goes", nothing, delete, {"f.txt": None}),
    "g": Row("edits a file that goes", TEAM, delete, CONFLICT),
    "h": Row("deletes a file, which stays the same", delete, nothing, {"h.txt": None}),
    "i": Row("deletes a file that changes", delete, NEW, CONFLICT),
    "j": Row("edits a file that is renamed", TEAM, move("j2.txt", NEW), {"j.txt": None, "j2.txt": "TEAM NEW"}),
    "k": Row("renames a file that changes", move("k2.txt", TEAM), NEW, {"k.txt": None, "k2.txt": "TEAM NEW"}),
    "l": Row("moves a file that changes", move("own/l.txt", TEAM), NEW, {"l.txt": None, "own/l.txt": "TEAM NEW"}),
    "m": Row("renames a file that is renamed otherwise", move("m2.txt"), move("m3.txt"), CONFLICT),
    "n": Row("adds a file that is added otherwise", write("TEAM\n"), write("NEW\n"), CONFLICT, before=None),
    "o": Row("adds a file", write("TEAM\n"), nothing, {"o.txt": "TEAM"}, before=None),
    "p": Row("makes a file binary, which stays the same", write("TEAM\0"), nothing, {"p.txt": "TEAM\0"}),
    "q": Row("makes a file binary that changes", write("TEAM\0"), NEW, CONFLICT),
    "r": Row("makes a file executable that changes", lambda path: path.chmod(0o755), NEW, {"r.txt": "NEW"}),
    "s": Row("saves a file that changes with other line ends", replace("\n", "\r\n"), NEW, {"s.txt": "NEW"}),
    "t": Row("indents a file that changes", replace("t ", "  t "), NEW, CONFLICT),
    "u": Row(
        "edits one of three equal blocks, before which another is added",
        write(f"one:\n{BLOCK}two:\n{BLOCK.replace('cron', 'TEAM')}three:\n{BLOCK}"),
        write(f"one:\n{BLOCK}{BLOCK}two:\n{BLOCK}three:\n{BLOCK}"),
        {"u.txt": f"one:\n{BLOCK}{BLOCK}two:\n{BLOCK.replace('cron', 'TEAM')}three:\n{BLOCK}"},
        before=f"one:\n{BLOCK}two:\n{BLOCK}three:\n{BLOCK}",
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What an update would make of a project: the texts of all files, and which of them are in conflict."""

    texts: dict[str, bytes]
    executable: set[str]
    conflicts: list[str]


def outcome(project: Path, version: str | None = None) -> Outcome:
    """Prepare an update and read it out of Git."""
    update = following.prepare(project, version, trust=True)
    command = ["archive", f"--output={project.parent / 'merged.tar'}", update.merged]
    git(project, *command)
    with tarfile.open(fileobj=io.BytesIO((project.parent / "merged.tar").read_bytes())) as packed:
        members = [member for member in packed.getmembers() if member.isfile()]
        texts = {member.name: packed.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    executable = {member.name for member in members if member.mode & 0o100}
    return Outcome(texts, executable, update.conflicts)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The whole table at once: a version with the files, the team's work, and the version after it."""
    place = tmp_path_factory.mktemp("busy")
    (place / "template").mkdir()
    template = history(place / "template")

    def add(root: Path) -> None:
        (root / "template" / FOLDER).mkdir(exist_ok=True)
        for key, row in TABLE.items():
            if row.before is not None:
                write(row.before.format(key=key))(root / "template" / FOLDER / f"{key}.txt")

    def change(root: Path) -> None:
        for key, row in TABLE.items():
            row.template(root / "template" / FOLDER / f"{key}.txt")

    project = template.release("v999.0.0", add).render(place / "project")
    git(project, "init", "--quiet")
    commit(project, "A project")
    for key, row in TABLE.items():
        row.team(project / FOLDER / f"{key}.txt")
    commit(project, "The team's work")
    template.release("v1000.0.0", change)
    return outcome(project)


@pytest.mark.parametrize("key", TABLE, ids=lambda key: TABLE[key].did)
def test_the_outcome_is_that_of_the_table(key: str, played: Outcome) -> None:
    row = TABLE[key]

    in_conflict = [path for path in played.conflicts if Path(path).stem[0] == key]
    if isinstance(row.outcome, str):
        assert in_conflict
        return
    assert not in_conflict
    for file, words in row.outcome.items():
        text = played.texts.get(f"{FOLDER}/{file}")
        if words is None or text is None:
            assert (words, text) == (None, None)
        elif "\n" in words:
            assert text.decode() == words
        else:
            assert set(words.split()) == set(re.findall("TEAM\0?|NEW", text.decode()))


def test_an_executable_file_stays_executable(played: Outcome) -> None:
    assert f"{FOLDER}/r.txt" in played.executable
    assert f"{FOLDER}/e.txt" not in played.executable


# ---------------------------------------------------------------------------- every file, from every version

OLDEST, *_, NEWEST = releases()
MARKER = b"<<<<<<< "
STAGE = "\n  plot:\n    cmd: python plot.py\n    deps:\n      - data/test.parquet\n"
SHIPPED = [f"test_{name}.py" for name in ("contract", "features", "model", "ours", "server")]

ADDED = {
    ".github/workflows/nightly.yml": "name: Nightly\n",
    "monitoring/dashboards/lateness.json": "{}\n",
    "notebooks/first look.ipynb": "{}\n",
    "docs/plot.png": "\0plot",
    "src/flight_delays/airports.py": "AIRPORTS = 3\n",
    "tests/test_airports.py": "ANSWER = 42\n",
}


def work(project: Path, chance: random.Random) -> tuple[set[bytes], set[str]]:
    """Edit, rename or delete every file and add some; return each line that was written, and what was deleted."""
    written, deleted = set(), set()
    # An edit of the record of the answers is not supported: the files would not follow.
    own = {place: path for place, path in files(project).items() if place != ".copier-answers.yml"}
    for number, (place, path) in enumerate(own.items()):
        if chance.random() < 0.1:
            path.unlink()
            deleted.add(place)
            continue
        kept = path.read_bytes().splitlines(keepends=True)
        kept.insert(chance.randint(0, len(kept)), line := f"# the team's line {number}\n".encode())
        path.write_bytes(b"".join(kept))
        written.add(line)
        if chance.random() < 0.1:
            path.rename(path.with_name(f"team_{path.name}"))
    for place, text in ADDED.items():
        write(text)(_made(project / place))
        written.add(text.encode())
    return written, deleted


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def storm(template: Path) -> None:
    """Write lines into two files of five, rename a tenth and delete a tenth, as a large new version would."""
    chance = random.Random(2013)
    for path in sorted(path for path in (template / "template").rglob("*") if path.is_file()):
        if path.name.startswith("{") or path.suffix == ".gz":
            continue
        lot = chance.random()
        if lot < 0.4:
            text = path.read_bytes()
            path.write_bytes(b"# the template's line\n" + text + b"# the template's line\n")
        elif lot < 0.5:
            path.rename(path.with_name(f"new_{path.name}"))
        elif lot < 0.6:
            path.unlink()


@pytest.fixture(scope="module")
def stormy(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Every released version, the work tree, and a next version that changes very much."""
    template = history(tmp_path_factory.mktemp("stormy"))
    return template.release("v1000.0.0", storm)


@pytest.mark.parametrize("version", releases())
def test_no_edit_is_lost(version: str, stormy: Template, tmp_path: Path) -> None:
    """Each line of the team's is in the merged files, beside the template's where both sides changed one."""
    project = stormy.render(tmp_path / "project", version)
    git(project, "init", "--quiet")
    commit(project, "A project")
    written, _ = work(project, random.Random(version))
    commit(project, "The team's work")

    merged = outcome(project)

    everything = b"".join(merged.texts.values())
    assert {line for line in written if line not in everything} == set()
    assert b"# the template's line" in everything


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_what_the_team_deleted_comes_back_only_as_a_conflict(version: str, start: Callable[..., Path]) -> None:
    project = start(version)
    _, deleted = work(project, random.Random(7))
    commit(project, "The team's work")

    merged = outcome(project)

    assert deleted
    assert {path for path in deleted if path in merged.texts} <= set(merged.conflicts)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_common_work_needs_no_decision(version: str, start: Callable[..., Path]) -> None:
    """A dependency, a stage, an ignored folder, settings, another model, a workflow's hour and files of one's own.

    Copier alone takes the move of the platform: the script that carries work along sees the team's work only there.
    """
    project = start(version)
    replace("dependencies = [\n", 'dependencies = [\n  "holidays>=0.80,<1",\n')(project / "pyproject.toml")
    replace("train = [\n", 'train = [\n  # Ours.\n  "lightgbm>=4,<5",\n')(project / "pyproject.toml")
    with (project / "pyproject.toml").open("a", encoding="utf-8") as settings:
        settings.write("\n[tool.ours]\nanswer = 42\n")
    with (project / "dvc.yaml").open("a", encoding="utf-8") as pipeline:
        pipeline.write(STAGE)
    with (project / ".gitignore").open("a", encoding="utf-8") as ignored:
        ignored.write("\n/scratch/\n")
    replace("seed:", "# ours\nseed:")(project / "params.yaml")
    replace('"""', '"""Ours. ')(project / "src" / "flight_delays" / "model.py")
    replace("def test_", "def test_ours() -> None:\n    assert True\n\n\ndef test_", once=True)(
        project / "tests" / "test_features.py"
    )
    if version != OLDEST:
        replace("cron:", "cron: '7 7 7 7 7' #")(project / ".github" / "workflows" / "monitor.yml")
    for own, text in ADDED.items():
        write(text)(_made(project / own))
    commit(project, "The team's work")
    before = {own: path.read_bytes() for own, path in files(project).items()}

    copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=True)

    assert git(project, "ls-files", "--unmerged") == ""
    assert MARKER not in b"".join(path.read_bytes() for path in files(project).values())
    settings_now = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    assert settings_now["project"]["dependencies"] == ["slipway-mlops", "holidays>=0.80,<1"]
    assert "lightgbm>=4,<5" in settings_now["dependency-groups"]["train"]
    assert not any(name.startswith(("mlflow", "dvc")) for name in settings_now["dependency-groups"]["train"])
    assert settings_now["tool"]["ours"] == {"answer": 42}
    assert STAGE in (project / "dvc.yaml").read_text("utf-8")
    assert "/scratch/" in (project / ".gitignore").read_text("utf-8")
    assert "def test_ours()" in (project / "tests" / "test_features.py").read_text("utf-8")
    if version != OLDEST:
        assert "7 7 7 7 7" in (project / ".github" / "workflows" / "monitor.yml").read_text("utf-8")
    same = ["params.yaml", "src/flight_delays/model.py", *ADDED]
    assert {own: (project / own).read_bytes() for own in same} == {own: before[own] for own in same}


# ---------------------------------------------------------------------------- the move of the platform

#: By the file of 0.3.0: the words that a team changes, those it writes, and where they are after the move.
EDITS = {
    "mlops/telemetry.py": ("MOST_NOTED = 200", "MOST_NOTED = 500", "serving/metrics.py"),
    "mlops/worker.py": ("GRACE_S = 10", "GRACE_S = 25", "serving/worker.py"),
    "mlops/backtest.py": ("the most is at", "the worst is at", "training/ageing.py"),
}


@pytest.fixture(scope="module")
def moved(released: Template, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project of 0.3.0 whose team has changed the platform, its tests and a page, after the update; what was said."""
    project = released.render(tmp_path_factory.mktemp("moved") / "project", NEWEST)
    git(project, "init", "--quiet")
    commit(project, "A project")
    for old, (words, ours, _) in EDITS.items():
        path = project / "src" / "flight_delays" / old
        assert words in path.read_text("utf-8")
        replace(words, ours)(path)
    replace("\ndef test_", "\nOURS = 1\n\n\ndef test_", once=True)(project / "tests" / "test_server.py")
    with (project / "docs" / "serving.md").open("a", encoding="utf-8") as page:
        page.write("Ours.\n")
    write("from flight_delays.mlops.bundle import Bundle\n")(project / "tests" / "test_ours.py")
    (project / "src" / "flight_delays" / "mlops" / "labels.py").unlink()
    (project / "tests" / "test_flights.py").unlink()
    commit(project, "The team's work")
    command = [sys.executable, "-m", "copier", "update", "--quiet", "--defaults", "--trust"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    return project, done.stderr


@pytest.mark.parametrize("old", EDITS)
def test_an_edit_of_the_platform_goes_where_its_file_goes(old: str, moved: tuple[Path, str]) -> None:
    project, _ = moved
    _, ours, new = EDITS[old]

    text = (project / "vendor/slipway/src/slipway" / new).read_text("utf-8")
    assert ours in text
    assert MARKER not in text.encode()
    assert not (project / "src" / "flight_delays" / old).exists()


def test_nothing_of_the_platform_stays_behind_but_the_shim(moved: tuple[Path, str]) -> None:
    left = [path.name for path in (moved[0] / "src" / "flight_delays" / "mlops").iterdir()]

    assert left == ["schema.py"]
    assert git(moved[0], "ls-files", "--unmerged") == ""


def test_tests_of_the_platform_go_unless_they_were_edited(moved: tuple[Path, str]) -> None:
    project, said = moved

    assert sorted(path.name for path in (project / "tests").glob("test_*.py")) == SHIPPED
    assert "kept tests/test_server.py: you have edited it" in said
    assert "OURS = 1" in (project / "tests" / "test_server.py").read_text("utf-8")


def test_what_imports_a_module_that_has_moved_is_told_where_it_is(moved: tuple[Path, str]) -> None:
    assert "tests/test_ours.py imports what has moved: mlops.bundle is slipway.training.bundle\n" in moved[1]
    assert "tests/test_server.py imports what has moved: " in moved[1]
    assert "contract.py imports" not in moved[1]


def test_a_page_that_has_moved_keeps_its_edit(moved: tuple[Path, str]) -> None:
    assert (moved[0] / "vendor/slipway/docs/serving.md").read_text("utf-8").endswith("Ours.\n")
    assert not (moved[0] / "docs" / "serving.md").exists()


def test_a_deleted_part_of_the_platform_comes_back_with_a_word(moved: tuple[Path, str]) -> None:
    assert (moved[0] / "vendor/slipway/src/slipway/data/labels.py").is_file()
    assert "slipway/data/labels.py is there, though you had deleted src/flight_delays/mlops/labels.py" in moved[1]
    assert not (moved[0] / "tests" / "test_flights.py").exists()
