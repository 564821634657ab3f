"""The page about what is refused says what is so: each example is run and gives the sentence beside it."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
import yaml
from flight_delays.contract import CONTRACT
from slipway import kinds, team
from slipway.base.errors import MlopsError
from slipway.cli import app
from slipway.contract.files import read_raw
from slipway.contract.frames import ROW, duplicates, parse, repeated
from slipway.contract.rows import Contract, Row
from slipway.data import labels, prepare
from slipway.delivery import deploy, rollback
from slipway.forge import git
from slipway.serving import batch
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.settings.params import FileFormat, Params
from slipway.settings.policy import LabelPolicy, ServingPolicy
from slipway.settings.project import Project
from slipway.training import gates, team_code
from slipway.training.agreement import require_agreement
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer
from slipway.training.train import train
from starlette.testclient import TestClient
from targets import names, plugged, quiet
from typer.testing import CliRunner

__all__ = ["names", "plugged"]

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
TEXT = PAGE.read_text("utf-8")
FIELDS = {field.name: field for field in (*CONTRACT.fields, *CONTRACT.outcome_fields)}
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))
#: Section, example and sentence of each row.
ROWS = [
    (section, *(cell.replace("\\|", "|") for cell in cells))
    for section, text in SECTIONS.items()
    for cells in re.findall(r"^\| (?!-)(.+?) (?<!\\)\| (.+?) (?<!\\)\| .+ \|\n(?!\|---)", text, flags=re.MULTILINE)
]

pytestmark = pytest.mark.skipif(
    os.environ.get("SLIPWAY_PROBLEM", "binary") != "binary", reason="the page is about the example of classes"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def code_of(asked: str) -> str:
    """What the example has in its first marks of code."""
    return re.split(r"(?<!`)`(?!`)", asked)[1].replace("⏎", "\n")


def merge(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(settings.get(name), dict) and name != "metrics":
            merge(settings[name], value)
        else:
            settings[name] = value


def with_settings(project: Project, written: str) -> Project:
    """The project with other settings in the file that has such ones."""
    changes = yaml.safe_load(written)
    path = project.root / ("params.yaml" if changes.keys() <= set(Params.__struct_fields__) else "policy.yaml")
    settings = yaml.safe_load(path.read_text("utf-8"))
    merge(settings, changes)
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return Project(project.root)


# ---------------------------------------------------------------------------- what each section asks


def reading(asked: str, request: pytest.FixtureRequest) -> None:
    """Read a file and hold it against the contract, as the pipeline does; other columns are not asked."""
    folder, written = request.getfixturevalue("here"), code_of(asked)
    if asked.startswith("a file"):
        (folder / written).touch()
        read_raw(Path(written))
    text = f"{written}\n" if '"B' not in written else written
    Path("raw.csv").write_text(text, encoding="windows-1252" if asked.endswith("windows-1252") else "utf-8")
    named = [name for name in FIELDS if name in re.split(r"\W+", text.partition("\n")[0])]
    fields = tuple(FIELDS[name] for name in named or ["flight"])
    frame, violations = parse(read_raw(Path("raw.csv"), FileFormat(), [field.name for field in fields]), fields)
    found = violations or duplicates([repeated(frame.with_row_index(ROW), CONTRACT)], CONTRACT)
    raise MlopsError("\n".join(map(str, found)), "mend the data")


def contract(asked: str, request: pytest.FixtureRequest) -> None:
    """Make a contract with this line."""
    written = code_of(asked)
    scope = {"Row": Row, "Literal": Literal, "datetime": datetime}
    field = f"    {written}\n" if re.match(r"\w+: ", written) else ""
    module = f"class Parcel(Row):\n    number: int\n    sent: datetime\n{field}\nclass Arrived(Row):\n    late: bool\n"
    exec(compile(module, "contract.py", "exec", dont_inherit=True), scope)  # noqa: S102
    given: dict[str, Any] = {"key": ("number",)}
    if not field:
        exec(written, {}, given)  # noqa: S102
    answer = given.pop("ANSWER", "")
    made = Contract(row=scope["Parcel"], outcome=scope["Arrived"], **given)  # type: ignore[arg-type]
    team._require_free(answer, "model.py", [one.name for one in made.fields])


def settings(asked: str, request: pytest.FixtureRequest) -> None:
    """Ask whether the settings agree, as the pipeline does first."""
    require_agreement(with_settings(request.getfixturevalue("project"), code_of(asked)), print)


def training(asked: str, request: pytest.FixtureRequest) -> None:
    """Take what the team's functions return for three rows, or what a model is worth."""
    if asked.startswith("a model"):
        metrics = {"recall": {"min": float(asked.split()[-1])}}
        written = yaml.safe_dump({"gates": {"metrics": metrics, "slices": []}})
        gates.require_passed(gates.check_gates(with_settings(request.getfixturevalue("project"), written)), "the model")
    rows = {"temp": np.array([39.0, 0.0, 41.0]), "dest": np.array(["BOS", "ORD", "LAX"])}
    returned = code_of(asked)
    if returned.startswith("{"):
        with np.errstate(divide="ignore"):
            values = team_code.features_of(lambda rows: eval(returned, {"rows": rows}), rows)
            team_code.require_finite([*values], np.column_stack([*values.values()]).astype(np.float32))
    request.getfixturevalue("monkeypatch").setattr(team.model, "target", lambda _: eval(returned, {"nan": np.nan}))
    team_code.require_learnable(kinds.named("class"), team_code.target_of(rows))


def run(asked: str, request: pytest.FixtureRequest) -> None:
    """Run a command after what its example says of the place."""
    command, _, where = asked.partition("`, ")
    with ExitStack() as until:
        PLACES[where](request, until)
        words = command.strip("`").split()[1:]
        # The command would ask the registry for a model first, and before that only for the engine.
        if words[0] == "batch" and PLACES[where] is not with_an_engine:
            source, target = map(Path, words[1:])
            batch.predict(Scorer(request.getfixturevalue("sealed")), source, target, with_score=False, log=quiet)
        done = CliRunner().invoke(app, words)
    assert done.exception
    raise done.exception


def requests(asked: str, request: pytest.FixtureRequest) -> None:
    """Ask the server, and tell the status, what it says, and of what."""
    sealed: Bundle = request.getfixturevalue("sealed")
    policy = ServingPolicy(max_body_kb=64, max_rows=8, requests_per_second=1, return_score=False)
    served = Served("test", 7, sealed.digest, "0" * 40, "registry")
    client = TestClient(create_app(ServingContext(Scorer(sealed), served, policy)))
    row = sealed.golden.rows[0]
    body = json.dumps({"rows": [row] * 9}).encode()
    if asked.startswith("`"):
        change = json.loads(code_of(asked))
        body = json.dumps(change if "rows" in change else row | change).encode()
    if asked == "a body of gzip":
        body = gzip.compress(body, mtime=0)
    times = 2 if asked.startswith("two") else 1
    if times == 2:
        body = json.dumps(row).encode()
    answer = [client.post("/predict", content=body, headers={"content-type": "application/json"}) for _ in range(times)]
    said = answer[-1].json()
    errors = "; ".join(f"{one['pointer']} {one['detail']}" for one in said.get("errors", []))
    raise MlopsError(f"{answer[-1].status_code}: {said['detail']}{': ' * bool(errors)}{errors}", "ask otherwise")


def told(asked: str, request: pytest.FixtureRequest) -> None:
    """Do what leaves something out, and tell what it says."""
    TOLD[asked](request)


RUNNERS: dict[str, Callable[[str, pytest.FixtureRequest], None]] = {
    "Reading files": reading,
    "The contract": contract,
    "Settings": settings,
    "Training": training,
    "Releasing and rolling back": run,
    "Requests": requests,
    "Updates": run,
    "Places": run,
    "What is not refused, but told": told,
}


# ---------------------------------------------------------------------------- where commands are run

Request = pytest.FixtureRequest


def in_staging(request: Request, _: ExitStack, versions: int = 1) -> Project:
    """Be in a project that names a version in staging, and then perhaps another, which runs; tag the first commit."""
    project: Project = request.getfixturevalue("project")
    request.getfixturevalue("plugged")
    request.getfixturevalue("names")("one", version=1)
    git.git(project.root, "tag", "first")
    if versions == 2:
        request.getfixturevalue("names")("one", version=2)
        deploy.deploy(project, "staging", quiet)
    request.getfixturevalue("monkeypatch").chdir(project.root)
    return project


def with_an_edit(request: Request, until: ExitStack) -> None:
    path = in_staging(request, until).environments / "staging.yaml"
    path.write_text(path.read_text("utf-8") + "# mine\n", encoding="utf-8")


def beside_another(request: Request, until: ExitStack) -> None:
    request.getfixturevalue("monkeypatch").setattr(deploy, "TURN_S", 0.01)
    until.enter_context(in_staging(request, until).only_one("deploy staging"))


def at_an_older_commit(request: Request, until: ExitStack) -> None:
    git.git(in_staging(request, until, versions=2).root, "reset", "--quiet", "--hard", "first")


def after_a_rollback(request: Request, until: ExitStack) -> None:
    project = in_staging(request, until, versions=2)
    rollback.roll_back(project, "staging", quiet)
    git.git(project.root, "reset", "--quiet", "--hard", "HEAD^")


def its_own_challenger(request: Request, until: ExitStack) -> None:
    project = in_staging(request, until)
    path = project.environments / "staging.yaml"
    written = yaml.safe_load(path.read_text("utf-8"))
    written["challenger"] = written["champion"] | {"mode": "shadow"}
    path.write_text(yaml.safe_dump(written), encoding="utf-8")
    git.git(project.root, "commit", "--quiet", "--all", "--message", "Compare")


def for_everybody(request: Request, until: ExitStack) -> None:
    project = in_staging(request, until)
    path = project.environments / "staging.yaml"
    path.write_text(path.read_text("utf-8").replace("127.0.0.1", "0.0.0.0"), encoding="utf-8")
    git.git(project.root, "commit", "--quiet", "--all", "--message", "Let others in")


def in_a_project(request: Request, _: ExitStack) -> Path:
    """Be in a committed project of three empty files and a record of its template."""
    here: Path = request.getfixturevalue("here")
    for name in ("dvc.yaml", "policy.yaml", "flights.csv"):
        (here / name).touch()
    record = "_commit: v0.4.0\n_src_path: nowhere\nproblem: binary\nsize: small\n"
    (here / ".copier-answers.yml").write_text(record, encoding="utf-8")
    commit(here)
    return here


def commit(root: Path) -> None:
    who = ("-c", "user.name=tests", "-c", "user.email=tests@localhost", "-c", "commit.gpgSign=false")
    git.git(root, "init", "--quiet")
    git.git(root, "add", "--all")
    git.git(root, *who, "commit", "--quiet", "--message", "A step")


def with_notes(request: Request, until: ExitStack) -> None:
    (in_a_project(request, until) / "notes.txt").touch()


def without_a_record(request: Request, until: ExitStack) -> None:
    here = in_a_project(request, until)
    (here / ".copier-answers.yml").unlink()
    commit(here)


def in_a_folder_of_a_mark(request: Request, _: ExitStack) -> None:
    project: Project = request.getfixturevalue("project")
    folder = project.root.with_name("what?")
    project.root.rename(folder)
    commit(folder)
    request.getfixturevalue("monkeypatch").chdir(folder)


def with_an_engine(request: Request, _: ExitStack) -> None:
    project: Project = request.getfixturevalue("project")
    path = project.root / "pyproject.toml"
    text = path.read_text("utf-8")
    path.write_text(text.replace("[tool.mlops]\n", '[tool.mlops]\nengine = "spark"\n'), encoding="utf-8")
    commit(project.root)
    request.getfixturevalue("monkeypatch").chdir(project.root)


def with_rows(request: Request, _: ExitStack) -> None:
    request.getfixturevalue("here")
    Path("flights.csv").touch()


def with_answers(request: Request, until: ExitStack) -> None:
    with_rows(request, until)
    Path("answers.csv").touch()


PLACES: dict[str, Callable[[Request, ExitStack], object]] = {
    "": lambda request, until: in_a_project(request, until),
    "and its file has an edit": with_an_edit,
    "which another process deploys": beside_another,
    "of an older commit": at_an_older_commit,
    "after a rollback that main does not know": after_a_rollback,
    "with the champion as its own challenger": its_own_challenger,
    "and nothing ran before": in_staging,
    "with `host: 0.0.0.0`": for_everybody,
    "and `notes.txt` is in no commit": with_notes,
    "without `.copier-answers.yml`": without_a_record,
    "in another folder": lambda request, _: request.getfixturevalue("here"),
    "in a folder `what?`": in_a_folder_of_a_mark,
    'with `engine = "spark"` in `pyproject.toml`': with_an_engine,
    "which is there": with_answers,
}


# ---------------------------------------------------------------------------- what is told


def a_column(request: Request) -> None:
    project: Project = request.getfixturevalue("project")
    raw = pl.read_parquet(project.root / project.params.data.source).with_columns(note=pl.lit("x"))
    raw.write_parquet(project.root / project.params.data.source)
    prepare.ingest(project)


def later_flights(request: Request) -> None:
    prepare.split(request.getfixturevalue("project"))


def two_labels(request: Request, *outcomes: int) -> None:
    project: Project = request.getfixturevalue("project")
    rows = "".join(f"a,{outcome}\n" for outcome in outcomes)
    (project.root / "labels.csv").write_text(f"id,arr_delay\n{rows}", encoding="utf-8")
    print(*labels.read(project, LabelPolicy(source="labels.csv", key=["id"])).remarks)


def the_same_feature(request: Request) -> None:
    project: Project = request.getfixturevalue("project")
    path = project.root / "data" / "train.parquet"
    pl.read_parquet(path).with_columns(precip=pl.lit(0.0)).write_parquet(path)
    train(project)


TOLD: dict[str, Callable[[Request], None]] = {
    "a column `note` in raw data": a_column,
    "flights after `split.test_until`": later_flights,
    "a label that came twice": lambda request: two_labels(request, 7, 7),
    "a later label that says otherwise": lambda request: two_labels(request, 7, 70),
    "a label beyond the contract": lambda request: two_labels(request, 7, 7000),
    "a feature that is the same in every row": the_same_feature,
}


# ---------------------------------------------------------------------------- the test


@pytest.mark.parametrize(
    ("section", "asked", "sentence"), ROWS, ids=[f"{section}, {asked}" for section, asked, _ in ROWS]
)
def test_an_example_gives_the_sentence_beside_it(
    section: str, asked: str, sentence: str, request: Request, capsys: pytest.CaptureFixture[str]
) -> None:
    if section == "What is not refused, but told":
        told(asked, request)
        heard = capsys.readouterr()
        found = (heard.out + heard.err).splitlines()
    else:
        with pytest.raises(MlopsError) as refused:
            RUNNERS[section](asked, request)
        assert refused.value.next_step
        found = [refused.value.problem]

    assert any(re.fullmatch(".+".join(map(re.escape, sentence.split("…"))), line) for line in found), found


def test_no_row_of_the_page_is_passed_over() -> None:
    lines = [line for text in SECTIONS.values() for line in text.splitlines() if line.startswith("|")]

    assert len(ROWS) == len(lines) - 2 * TEXT.count("|---|---|---|") >= 70
    assert SECTIONS.keys() == RUNNERS.keys()
    assert all(section in {name for name, _, _ in ROWS} for section in SECTIONS)
    assert all("…" not in (sentence[0], sentence[-1]) or len(sentence) > 20 for _, _, sentence in ROWS)
