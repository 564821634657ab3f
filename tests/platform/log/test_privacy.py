"""What is written down of a request, for how long, and whether it holds what should not be there."""

from __future__ import annotations

import asyncio
import stat
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from slipway.base.errors import MlopsError
from slipway.contract.files import SOURCE
from slipway.contract.frames import as_rows
from slipway.data import labels
from slipway.delivery import deploy
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.native import target as native
from slipway.delivery.native.state import Desired, State
from slipway.delivery.target import Run
from slipway.evidence import trace
from slipway.log import masks, personal, predictions, refusals
from slipway.log.predictions import Prediction, PredictionLog
from slipway.monitoring import run as monitor
from slipway.monitoring.report import report_text
from slipway.monitoring.skew import SkewState
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.settings.environment import Release
from slipway.settings.policy import Hidden, LabelPolicy, Policy, ServingPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer
from starlette.testclient import TestClient

*_, HASHED, DROPPED = (field.name for field in CONTRACT.fields if not field.optional)
RULES: dict[str, Hidden] = {HASHED: "hash", DROPPED: "drop"}
LIMITS = ServingPolicy(max_body_kb=64, max_rows=100, requests_per_second=10_000, return_score=False)


def with_policy(project: Project, privacy: str) -> Project:
    """The project with another block `privacy` in its policy."""
    path = project.root / "policy.yaml"
    text = path.read_text("utf-8").split("\nprivacy:")[0]
    path.write_text(f"{text}\nprivacy: {privacy}\n", encoding="utf-8")
    return Project(project.root)


def hiding(project: Project) -> Project:
    """The project with a column that is hashed and one that is dropped."""
    made = with_policy(project, f"\n  fields:\n    {HASHED}: hash\n    {DROPPED}: drop")
    made.policy.monitor.quality = None  # that part needs Git
    masks.prepare(made, "test")
    return made


def ask(project: Project, bundle: Bundle, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask a server of the environment `test`, and return what its log holds."""
    log = PredictionLog(project.state, "test", 7, bundle.digest, masks.mask_of(project, "test"))
    served = Served("test", 7, bundle.digest, "0" * 40, "registry")
    with TestClient(create_app(ServingContext(Scorer(bundle), served, LIMITS, log))) as client:
        for row in rows:
            assert client.post("/predict", json=row).status_code == 200
        asyncio.run(_close(log))
    (path,) = predictions.folder(project.state, "test").glob("*.jsonl")
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines() if line]


async def _close(log: PredictionLog) -> None:
    log.close()


def test_without_a_rule_the_log_holds_the_row_as_it_was_asked(project: Project, sealed: Bundle) -> None:
    (line,) = ask(project, sealed, sealed.golden.rows[:1])

    assert line["row"] == sealed.golden.rows[0]
    assert not masks.folder(project.state, "test").exists()


def test_what_is_dropped_or_hashed_never_reaches_the_disk(project: Project, sealed: Bundle) -> None:
    row = sealed.golden.rows[0]

    (line,) = ask(hiding(project), sealed, [row])

    assert DROPPED not in line["row"]
    assert line["row"][HASHED].startswith("hmac:")
    assert {name: line["row"][name] for name in row if name not in RULES} == {
        name: value for name, value in row.items() if name not in RULES
    }


def test_equal_values_have_equal_hashes_in_an_environment_and_no_other(project: Project, sealed: Bundle) -> None:
    made, rows = hiding(project), sealed.golden.rows[:1]
    ask(made, sealed, rows)
    masks.prepare(made, "test")  # as the next deployment does
    masks.prepare(made, "other")
    other = masks.mask_of(made, "other")

    first, second = (line["row"][HASHED] for line in ask(made, sealed, rows))

    assert first == second
    assert other is not None
    assert first != other.hash(HASHED, rows[0][HASHED])
    assert first != masks.Mask(RULES, b"").hash(HASHED, rows[0][HASHED])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights than 0600")
def test_the_key_is_random_and_for_its_owner_alone_and_not_beside_the_log(project: Project) -> None:
    made = hiding(project)
    masks.prepare(made, "other")

    keys = [masks.folder(made.state, name) / "log.key" for name in ("test", "other")]

    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert len({key.read_bytes() for key in keys}) == 2
    assert not keys[0].is_relative_to(made.state / "predictions")


def test_a_server_without_its_key_does_not_start(project: Project) -> None:
    (masks.folder(hiding(project).state, "test") / "log.key").unlink()

    with pytest.raises(MlopsError, match="there is no key for that"):
        masks.mask(project.state, "test", RULES)


def test_a_missing_value_stays_missing_and_a_hash_is_hashed_once() -> None:
    mask = masks.Mask(RULES, b"key")
    hashed = mask.hash(HASHED, "one")

    assert mask.hash(HASHED, None) is None
    assert mask.hash(HASHED, hashed) == hashed
    assert mask.hash(DROPPED, "one") != hashed


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("{fields: {nobody: drop}}", "policy.yaml, privacy.fields: there is no column nobody"),
        ("{fields: {nobody: hide}}", "policy.yaml, privacy.fields.*'hide'"),
        ("{keep_days: 0}", "policy.yaml, privacy.keep_days"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused(project: Project, given: str, complaint: str) -> None:
    with pytest.raises(MlopsError, match=complaint):
        masks.prepare(with_policy(project, given), "test")


def test_a_label_cannot_be_found_by_what_is_dropped(project: Project) -> None:
    given = msgspec.to_builtins(project.policy) | {"labels": {"source": "data/labels", "key": [DROPPED]}}

    msgspec.convert(given | {"privacy": {"fields": {DROPPED: "hash"}}}, Policy)
    with pytest.raises(msgspec.ValidationError, match=f"privacy.fields drops {DROPPED}, which labels.key needs"):
        msgspec.convert(given | {"privacy": {"fields": {DROPPED: "drop"}}}, Policy)


def test_a_label_finds_its_hashed_prediction_and_one_from_before_the_rule(project: Project, sealed: Bundle) -> None:
    rows = pl.read_parquet(project.root / "data" / "test.parquet").unique(HASHED, maintain_order=True).head(3)
    outcome = [field.name for field in CONTRACT.outcome_fields]
    path = project.root / "data" / "labels" / "day.parquet"
    path.parent.mkdir()
    rows.select(HASHED, *outcome).write_parquet(path)
    rule = LabelPolicy(source="data/labels", key=[HASHED])
    asked = msgspec.to_builtins(as_rows(rows))
    ask(project, sealed, asked[:1])
    made = hiding(project)
    ask(made, sealed, asked[1:])
    now, mask = datetime.now(UTC), masks.mask_of(made, "test")

    log = predictions.read(made, "test", mask=mask)
    joined = labels.join(log, labels.read(made, rule, mask=mask), rule, now)

    assert joined[labels.TRUTH].null_count() == 0
    assert joined[HASHED].str.starts_with("hmac:").all()
    assert joined[HASHED].n_unique() == 3

    made.policy.labels = rule
    (measured,) = monitor.run(made, "test", sealed).windows[-1].quality
    assert (measured.due, measured.labelled) == (3, 3)


def test_a_hidden_column_is_left_out_of_drift_and_skew_with_the_reason(project: Project, sealed: Bundle) -> None:
    made = hiding(project)
    ask(made, sealed, sealed.golden.rows)

    judged = monitor.run(made, "test", sealed)

    assert judged.left_out[HASHED] == "hashed in the log by policy.yaml"
    assert judged.left_out[DROPPED] == "dropped from the log by policy.yaml"
    assert {HASHED, DROPPED}.isdisjoint(column.name for column in judged.columns)
    assert judged.skew is not None
    assert judged.skew.state is not SkewState.SKEWED


def test_a_trace_says_that_the_log_does_not_hold_the_row(project: Project, sealed: Bundle) -> None:
    (line,) = ask(hiding(project), sealed, sealed.golden.rows[:1])
    found = predictions.find(project, line["id"])

    assert found is not None
    assert trace._features(sealed, found) == {"not known": f"the log does not hold {HASHED}, {DROPPED} as asked"}


def test_an_older_supervisor_that_would_log_everything_is_not_used(project: Project) -> None:
    place = EnvironmentFolder(project.state, "test")
    run = Run(
        environment="test", version=1, digest="", commit="", bundle="", python="", host="127.0.0.1", port=1,
        source="cache", limits=LIMITS, privacy=RULES,
    )  # fmt: skip
    with place.lock():
        state = State(ticket="", phase="serving", supervisor=1, run=msgspec.structs.replace(run, privacy={}))
        place.write(state)

        with pytest.raises(MlopsError, match=f"would log {HASHED}, {DROPPED} as it is"):
            native.switch(project, run)

    assert place.read(Desired) is None


def test_a_version_whose_code_would_log_everything_is_not_deployed(sealed: Bundle) -> None:
    release = Release(version=3, digest=sealed.digest, commit="0" * 40)
    wheel = sealed.path / "code.whl"
    with zipfile.ZipFile(wheel, "w") as code:
        code.writestr("flight_delays/mlops/predictions.py", "")

    with pytest.raises(MlopsError, match="the code of version 3 is older than"):
        deploy._require_that_hides(sealed, release)

    with zipfile.ZipFile(wheel, "a") as code:
        code.writestr("flight_delays/mlops/privacy.py", "")
    deploy._require_that_hides(sealed, release)


def test_only_files_of_days_that_are_old_as_a_whole_are_deleted(project: Project, sealed: Bundle) -> None:
    made, today = with_policy(project, "{keep_days: 30}"), datetime.now(UTC).date()
    made.policy.monitor.quality = None
    folders = predictions.folder(made.state, "test"), refusals.folder(made.state, "test")
    ages = (0, 1, 29, 30, 31, 32, 400)
    for folder in folders:
        folder.mkdir(parents=True)
        for age in ages:
            (folder / f"{today - timedelta(days=age)}.host.1.jsonl").touch()

    rehearsed = monitor.run(made, "test", sealed, dry_run=True)
    judged = monitor.run(made, "test", sealed)

    assert (rehearsed.deleted, judged.deleted) == (0, 6)
    assert "6 files of the log deleted, because of privacy.keep_days" in report_text(judged)
    left = [{path.name[:10] for path in folder.glob("*.jsonl")} for folder in folders]
    assert left == [{str(today - timedelta(days=age)) for age in ages if age <= 30}] * 2


@pytest.mark.parametrize("hour", [0, 23])
def test_a_file_is_kept_until_its_last_row_is_too_old(project: Project, hour: int) -> None:
    folder = predictions.folder(project.state, "test")
    folder.mkdir(parents=True)
    for name in ("2030-01-01.host.1", "notes"):
        (folder / f"{name}.jsonl").touch()

    late = predictions.forget(project, "test", 1, datetime(2030, 1, 2, hour, 59, tzinfo=UTC))
    later = predictions.forget(project, "test", 1, datetime(2030, 1, 3, hour, tzinfo=UTC))

    assert (late, later) == (0, 1)


def test_without_keep_days_nothing_is_deleted(project: Project, sealed: Bundle) -> None:
    project.policy.monitor.quality = None
    path = predictions.folder(project.state, "test") / "2001-01-01.host.1.jsonl"
    path.parent.mkdir(parents=True)
    path.touch()

    assert monitor.run(project, "test", sealed).deleted == 0
    assert path.is_file()


SEEDED = [
    ("e-mail address", "write to jo.tan+late@example.com.sg, please", "jo***sg"),
    ("payment card", "4111111111111111", "41***11"),
    ("payment card", "paid by 5555 5555 5555 4444.", "55***44"),
    ("payment card", "3782-822463-10005", "37***05"),
    ("bank account (IBAN)", "DE89370400440532013000", "DE***00"),
    ("bank account (IBAN)", "to GB82 WEST 1234 5698 7654 32 today", "GB***32"),
    ("identity number (Singapore, NRIC or FIN)", "S1234567D", "S1***7D"),
    ("identity number (Singapore, NRIC or FIN)", "T1234567J", "T1***7J"),
    ("identity number (Singapore, NRIC or FIN)", "F1234567N", "F1***7N"),
    ("identity number (Singapore, NRIC or FIN)", "G1234567X", "G1***7X"),
    ("identity number (Singapore, NRIC or FIN)", "M1234567K", "M1***7K"),
    ("identity number (Brazil, CPF)", "390.533.447-05", "39***05"),
    ("identity number (China)", "11010519491231002X", "11***2X"),
    ("identity number (Finland)", "131052-308T", "13***8T"),
    ("identity number (France, NIR)", "295109912611193", "29***93"),
    ("identity number (India, Aadhaar)", "2341 2341 2346", "23***46"),
    ("identity number (Italy)", "RCCMNL83S18D969H", "RC***9H"),
    ("identity number (Korea)", "971013-9019902", "97***02"),
    ("identity number (Mexico, CURP)", "BOXW310820HNERXN09", "BO***09"),
    ("identity number (Spain, DNI)", "54362315K", "54***5K"),
    ("identity number (Spain, NIE)", "X2482300W", "X2***0W"),
    ("identity number (Sweden)", "880320-0016", "88***16"),
    ("identity number (Switzerland, AHV)", "756.9217.0769.85", "75***85"),
    ("identity number (United States, SSN)", "536-90-4399", "53***99"),
    ("phone number", "call +65 9123 4567.", "+6***67"),
    ("phone number", "+49(30)1234567", "+4***67"),
    ("IP address", "from 203.0.113.7:443", "20***.7"),
    ("IP address", "2001:db8:85a3::8a2e:370:7334", "20***34"),
]

HARMLESS = [
    "4111111111111112",  # breaks Luhn's rule
    "1378000000000000",  # microseconds since 1970
    "0.4111111111111111",
    "4111111111111111.5",
    "DE88370400440532013000",
    "S1234567A",
    "390.533.447-06",
    "54362315A",
    "000-12-3456",
    "131352-308T",  # there is no 13th month
    "2013-09-01T10:00:00+08:00",
    "+08:00",
    "+103.81982345",
    "1e+10123456789",
    "127.0.0.1",
    "0.0.0.0",
    "256.1.1.1",
    "1.2.3.4.5",
    "10:00:00",
    "aa:bb:cc:dd:ee:ff",
    "std::vector::size",
    "@home at 5",
]


def table(values: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame({SOURCE: [f"row {number + 1}" for number in range(len(values))], "note": values})


@pytest.mark.parametrize("most", [3, 7, 100])
def test_a_long_log_is_looked_at_evenly_and_never_held_as_a_whole(project: Project, sealed: Bundle, most: int) -> None:
    folder = predictions.folder(project.state, "test")
    folder.mkdir(parents=True)
    said = [
        Prediction(
            f"{number}", datetime.now(UTC) + timedelta(seconds=number), "test", 1, "", sealed.golden.rows[0], 0, True
        )
        for number in range(50)
    ]
    (folder / "2030-01-01.host.1.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(said))

    found = [int(one) for one in predictions.sample(project, "test", most)["id"]]

    assert min(50, most) <= len(found) <= 2 * most
    assert found == [*range(0, 50, found[1])]
    assert found[-1] > 40


@pytest.mark.parametrize(("kind", "value", "shown"), SEEDED, ids=[f"{kind}: {value}" for kind, value, _ in SEEDED])
def test_a_seeded_value_is_found_and_shown_masked(kind: str, value: str, shown: str) -> None:
    (found,) = personal.find(table(["nothing", None, "", value, value]), "here")

    assert (found.column, found.kind, found.rows, found.of) == ("note", kind, 2, 5)
    assert (found.first, found.example) == ("row 4", shown)


@pytest.mark.parametrize("value", HARMLESS)
def test_what_only_resembles_personal_data_is_no_finding(value: str) -> None:
    assert personal.find(table([value] * 3), "here") == []


def test_a_running_number_is_no_payment_card_though_one_in_ten_keeps_the_rule() -> None:
    numbers = [str(4_111_111_111_111_111 + 7 * number) for number in range(1000)]

    assert personal.find(table([*numbers]), "here") == []
    assert personal.find(table(["4111111111111111", *numbers[:1]]), "here") != []


def test_a_value_in_the_raw_data_is_found_with_its_row(project: Project) -> None:
    raw = project.root / "data" / "raw.parquet"
    frame = pl.read_parquet(raw).head(100)
    note = ["jo@example.com" if number == 41 else "" for number in range(100)]
    frame.with_columns(pl.Series("note", note)).write_parquet(raw)

    found = personal.scan(project)

    assert found.exit_code == 3
    assert personal.scan_text(found).startswith(
        "data/raw.parquet, note: e-mail address in 1 of 100 rows, first in row 42: jo***om\n"
    )
    assert "jo@example.com" not in personal.scan_text(found)


def test_data_that_is_not_here_is_told_and_the_log_is_looked_at_all_the_same(project: Project, sealed: Bundle) -> None:
    ask(project, sealed, sealed.golden.rows[:2])
    (project.root / "data" / "raw.parquet").unlink()

    found = personal.scan(project)

    assert found.looked_at == {"log of test": 2}
    assert "there is no raw data in" in found.remarks[0]


def test_the_example_and_the_log_of_it_hold_nothing_personal(project: Project) -> None:
    rows = as_rows(pl.read_parquet(project.root / "data" / "test.parquet"))
    facts: dict[str, Any] = {"environment": "staging", "version": 1, "digest": "", "score": 0.123456789, "answer": 0}
    at = datetime(2013, 9, 1, tzinfo=UTC)
    lines = [Prediction(id=f"0123456789ab-{number:x}-0", at=at, row=row, **facts) for number, row in enumerate(rows)]
    log = predictions.folder(project.state, "staging") / "2013-09-01.host.1.jsonl"
    log.parent.mkdir(parents=True)
    log.write_bytes(msgspec.json.Encoder().encode_lines(lines))

    found = personal.scan(project)

    assert found.findings == []
    assert min(found.looked_at["log of staging"], found.looked_at["data/raw.parquet"]) > 500
