"""What a finding leads to: refusals that are recorded, a wider contract, a newer data window. All of it is proposed."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
import yaml
from flight_delays.contract import CONTRACT
from slipway.base.errors import MlopsError
from slipway.contract.problems import FieldError
from slipway.contract.rows import Contract, FieldKind
from slipway.log import refusals
from slipway.log.refusals import LINES_A_MINUTE, MOST_WAITING, Refusal, RefusalLog
from slipway.monitoring import refused
from slipway.proposals import widen
from slipway.proposals.contract_edit import loaded
from slipway.proposals.retrain import moved
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.settings.base import read_settings
from slipway.settings.edit import edited
from slipway.settings.params import Params
from slipway.settings.policy import ServingPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from starlette.testclient import TestClient

#: A contract of another trade, written in each of the ways that people write one.
SOURCE = '''\
"""Parcels. "Quotes", {braces} and ümläute stay as they are."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from slipway import Contract, Row

Service = Literal["day", "night"]  # an alias
Depot = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
Size = Literal[
    "small",
    "large",
]
LIGHTEST = 0.1


class Parcel(Row):
    sent: datetime
    service: Annotated[Service, Meta(description="When, in ümläuten.")]
    size: Size | None
    way: Literal["air"]
    out: Depot
    into: Depot
    one: Annotated[Literal["a", "b"], Meta(description="Ä")]; weight: Annotated[float, msgspec.Meta(gt=0, le=30)]
    pieces: Annotated[int, Meta(ge=1, lt=100)] | None
    height: Annotated[float, Meta(ge=LIGHTEST)]
    note: str
    colour: Literal["red"]
    lining: Lining
    inside: Lining


Lining = Literal["wood"]


class Delivery(Row):
    days: Annotated[int, Meta(ge=0, le=30)]


CONTRACT = Contract(row=Parcel, outcome=Delivery, time="sent", key=("note",), max_age_days=7)
'''

#: What a client may try.
NASTY = [
    "ZZ",
    "it's",
    'a "quote"',
    "both ' and \"",
    "back\\slash\\",
    "two\nlines\r\n",
    "{braces} {0}",
    '"] + [exit(1)] + ["',
    '"""',
    "Zürich 東京",
    "\u202eright to left\x00\x1b[2J",
    "#",
]


def contract() -> Contract:
    with loaded(SOURCE) as found:
        _ = found.fields, found.outcome_fields
        return found


PARCELS = contract()


def tallies(*told: tuple[str, str, dict[Any, int]]) -> list[refused.Tally]:
    fields = {field.name: field for field in (*PARCELS.fields, *PARCELS.outcome_fields)}
    return [refused.Tally(fields[name], rule, False, Counter(values)) for name, rule, values in told]


def changed_lines(after: str) -> list[str]:
    lines = list(difflib.ndiff(SOURCE.splitlines(), after.splitlines()))
    return [line[2:].strip() for line in lines if line.startswith("+ ")]


def accepts(source: str, name: str, value: object) -> bool:
    with loaded(source) as found:
        rows = (found.row, found.outcome)
        (type_,) = (info.type for row in rows for info in msgspec.structs.fields(row) if info.name == name)
        try:
            msgspec.convert(value, type_)
        except msgspec.ValidationError:
            return False
        return True


@pytest.mark.parametrize(
    ("name", "rule", "value", "line"),
    [
        ("service", "category", "dawn", 'Service = Literal["day", "night", "dawn"]  # an alias'),
        ("size", "category", "huge", '"huge",'),
        ("way", "category", "sea", 'way: Literal["air", "sea"]'),
        ("one", "category", "c", 'one: Annotated[Literal["a", "b", "c"], Meta(description="Ä")]; weight: '),
        ("weight", "le", 31.5, "le=31.5)]"),
        ("weight", "gt", 0, "msgspec.Meta(ge=0, le=30)]"),
        ("pieces", "lt", 120, "pieces: Annotated[int, Meta(ge=1, le=120)] | None"),
        ("pieces", "ge", -3, "pieces: Annotated[int, Meta(ge=-3, lt=100)] | None"),
        ("height", "ge", 0.05, "height: Annotated[float, Meta(ge=0.05)]"),
        ("days", "le", 45, "days: Annotated[int, Meta(ge=0, le=45)]"),
        ("colour", "missing", None, 'colour: Literal["red"] | None'),
        ("into", "missing", None, "into: Depot | None"),
    ],
)
def test_a_refused_value_is_accepted_by_one_changed_line(name: str, rule: str, value: object, line: str) -> None:
    after, changes, remarks = widen.widen(SOURCE, tallies((name, rule, {value: 20})), min_refused=20)

    assert not accepts(SOURCE, name, value)
    assert accepts(after, name, value)
    assert len(changed_lines(after)) == 1
    assert line in changed_lines(after)[0]
    assert [change.partition(":")[0] for change in changes] == [name]
    assert remarks == []


@pytest.mark.parametrize("value", NASTY, ids=ascii)
def test_what_a_client_sent_stays_a_text(value: str) -> None:
    after, changes, _ = widen.widen(SOURCE, tallies(("service", "category", {value: 20})), min_refused=20)

    with loaded(after) as found:
        assert set(found.fields[1].categories) == {"day", "night", value}
    assert len(after.splitlines()) == len(SOURCE.splitlines())
    assert all(sign.isprintable() for sign in after if sign != "\n")
    assert "\n" not in changes[0]
    assert not set("#@[<") & set(changes[0])


def test_several_changes_of_one_field_and_of_others_come_together() -> None:
    found = tallies(
        ("colour", "category", {"blue": 30, "green": 20, "mauve": 19}), ("colour", "missing", {None: 20}),
        ("days", "ge", {-1: 20}),
    )  # fmt: skip

    after, changes, _ = widen.widen(SOURCE, found, min_refused=20)

    assert changed_lines(after) == [
        'colour: Literal["red", "blue", "green"] | None',
        "days: Annotated[int, Meta(ge=-1, le=30)]",
    ]
    assert len(changes) == 3


def test_a_few_absurd_values_do_not_move_a_bound() -> None:
    values = {31.0: 10, 32.0: 15, 33.0: 6, 1e300: 5}

    after, _, _ = widen.widen(SOURCE, tallies(("weight", "le", values)), min_refused=20)

    assert accepts(after, "weight", 32)
    assert not accepts(after, "weight", 33)


@pytest.mark.parametrize(
    ("name", "rule", "values", "remark"),
    [
        ("service", "category", {"dawn": 19}, "monitor.min_refused in policy.yaml asks for 20"),
        ("service", "category", {"dawn": 10, "dusk": 10}, "no single value of it was seen 20 times"),
        ("service", "category", {" ": 50}, "no single value of it was seen 20 times"),
        ("out", "pattern", {"x": 50}, "no proposal can mend that"),
        ("weight", "other", {None: 50}, "no proposal can mend that"),
        ("colour", "absent", {None: 50}, "no proposal can mend that"),
        ("note", "missing", {None: 50}, "a row is found by it"),
        ("lining", "category", {"paper": 50}, "it shares its type with inside"),
        ("pieces", "lt", {2**70: 50}, "with it contract.py would not load"),
        ("weight", "le", {None: 50}, "fewer than 20 of these values were kept"),
    ],
)
def test_what_cannot_be_proposed_is_said_and_changes_nothing(
    name: str, rule: str, values: dict[Any, int], remark: str
) -> None:
    after, changes, remarks = widen.widen(SOURCE, tallies((name, rule, values)), min_refused=20)

    assert (after, changes) == (SOURCE, [])
    assert len(remarks) == 1
    assert remark in remarks[0]


def test_what_the_contract_accepts_by_now_is_told_and_not_proposed_again() -> None:
    now = datetime(2013, 9, 1, tzinfo=UTC)
    recorded = [Refusal(now, "service", "category", 30, '"night"'), Refusal(now, "service", "category", 5, '"dawn"')]

    old, new = refused.tally(recorded, PARCELS)

    assert (old.accepted, new.accepted) == (True, False)
    assert widen.widen(SOURCE, [old], min_refused=20) == (SOURCE, [], [])
    assert [one.sentence for one in refused.describe([old, new], answered=70)] == [
        "service was refused, and contract.py accepts it by now: 30 refused, 30.0 % of its values",
        "service is none of its categories: 5 refused, 6.7 % of its values",
    ]


def test_a_value_that_was_cut_off_is_counted_and_never_a_category() -> None:
    now = datetime(2013, 9, 1, tzinfo=UTC)
    long = refusals.kept(PARCELS.fields[1], "category", "x" * 1000)
    assert long is not None
    assert len(long) < 130

    (found,) = refused.tally([Refusal(now, "service", "category", 50, long)], PARCELS)

    assert (found.times, dict(found.values)) == (50, {None: 50})


def errors(values: list[Any], field: str = "service") -> list[FieldError]:
    return [FieldError("#", "", field, value) for value in values]


def lines(project: Project) -> list[Refusal]:
    return list(refusals.read(project, "test"))


def test_refusals_are_counted_and_written_with_their_value(tmp_path: Path) -> None:
    log = RefusalLog(tmp_path / ".mlops", "test", PARCELS)

    log.add(errors(["ZZ"] * 50))
    log.add(errors([31], "weight"))
    log.flush(0)

    found = {(one.field, one.rule, one.value): one.times for one in lines(Project(tmp_path))}
    assert found == {("service", "category", '"ZZ"'): 50, ("weight", "le", "31"): 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [("note", 5), ("weight", "my secret"), ("service", ["my secret"]), ("note", None), ("surprise", "my secret")],
)
def test_what_could_never_be_part_of_the_contract_is_not_kept(tmp_path: Path, field: str, value: object) -> None:
    log = RefusalLog(tmp_path / ".mlops", "test", PARCELS)

    log.add(errors([value], field))
    log.flush(0)

    assert [one.value for one in lines(Project(tmp_path))] == ([] if field == "surprise" else [None])


def test_of_a_column_that_the_policy_hides_no_value_is_kept(tmp_path: Path) -> None:
    log = RefusalLog(tmp_path / ".mlops", "test", PARCELS, hidden={"service"})

    log.add([*errors(["ZZ"]), *errors([31], "weight")])
    log.flush(0)

    found = {one.field: (one.rule, one.value) for one in lines(Project(tmp_path))}
    assert found == {"service": ("category", None), "weight": ("le", "31")}


def test_a_flood_writes_a_few_lines_a_minute_and_is_counted_all_the_same(tmp_path: Path) -> None:
    log, project = RefusalLog(tmp_path / ".mlops", "test", PARCELS), Project(tmp_path)

    for number in range(3_000):
        log.add(errors([f"value {number}"]))
        log.flush(0.01 * number)
    written = len(lines(project))
    for minute in range(1, 20):
        log.flush(60.0 * minute)

    assert written == LINES_A_MINUTE
    assert len(lines(project)) <= LINES_A_MINUTE + MOST_WAITING + 1
    assert sum(one.times for one in lines(project)) == 3_000


def test_refusals_that_cannot_be_written_fail_nothing(tmp_path: Path) -> None:
    (tmp_path / ".mlops").write_text("a file where the folder should be")
    log = RefusalLog(tmp_path / ".mlops", "test", PARCELS)

    log.add(errors(["ZZ"]))
    log.flush(0)
    (tmp_path / ".mlops").unlink()
    log.flush(0)

    assert [one.times for one in lines(Project(tmp_path))] == [1]


def test_refusals_are_read_by_time_and_past_torn_lines(tmp_path: Path) -> None:
    log = RefusalLog(tmp_path / ".mlops", "test", PARCELS)
    log.add(errors(["ZZ"]))
    log.close()
    (path,) = refusals.folder(tmp_path / ".mlops", "test").iterdir()
    path.write_bytes(path.read_bytes() + b'{"at": "20')

    soon = datetime.now(UTC) + timedelta(seconds=1)

    assert len(refusals.read(Project(tmp_path), "test")) == 1
    assert refusals.read(Project(tmp_path), "test", since=soon) == []


@pytest.mark.parametrize("role", ["champion", "challenger"])
def test_a_server_records_what_it_refused_and_a_challenger_nothing(sealed: Bundle, tmp_path: Path, role: Any) -> None:
    """What a challenger refuses, its champion is asked next, and records."""
    from slipway.training.scoring import Scorer

    limits = ServingPolicy(max_body_kb=8, max_rows=3, requests_per_second=10_000, return_score=False)
    log = RefusalLog(tmp_path / ".mlops", "test")
    served = Served("test", 7, sealed.digest, "0" * 40, "registry", role)
    client = TestClient(create_app(ServingContext(Scorer(sealed), served, limits, refusals=log)))
    name = next(field.name for field in CONTRACT.fields if field.kind is not FieldKind.TEXT)

    answer = client.post("/predict", json=sealed.golden.rows[0] | {name: ["no", "value"]})
    client.post("/predict", json=sealed.golden.rows[0])
    log.flush(0)

    assert [error["field"] for error in answer.json()["errors"]] == [name]
    assert "value" not in answer.json()["errors"][0]
    expected = [(name, "other", 1)] if role == "champion" else []
    assert [(one.field, one.rule, one.times) for one in lines(Project(tmp_path))] == expected


def test_raw_rows_are_counted_by_what_they_break() -> None:
    raw = pl.DataFrame(
        {
            "service": ["day"] * 3 + ["dawn"] * 2, "weight": ["1", "31.5", "31.5", "x", None],
            "pieces": ["1", "2.0", "0", None, "1.5"], "days": ["1"] * 5,
        }
    )  # fmt: skip

    found = {(one.field.name, one.rule): dict(one.values) for one in refused.tally_of_rows(raw, PARCELS)}

    assert found == {
        ("service", "category"): {"dawn": 2},
        ("weight", "le"): {31.5: 2},
        ("weight", "missing"): {None: 1},
        ("weight", "other"): {"x": 1},
        ("pieces", "ge"): {0: 1},
        ("pieces", "other"): {"1.5": 1},
    }


def test_raw_rows_that_keep_the_contract_count_nothing(finished: Project) -> None:
    assert refused.ingested(finished) == []


#: Comments, quotes of each kind and none, and a value that stands elsewhere, too.
PARAMS = """\
seed: 7  # "2013-07-01"
data: {source: data/raw, as_of: 2014-01-01}  # as_of: 2014-01-01
split:
  test_until: '2013-09-01'   # not included

  by: time
  train_until: "2013-07-01"
model:
  train_until: "2013-07-01"
"""


def params(tmp_path: Path, change: Callable[[str], str] = str) -> Params:
    path = tmp_path / "params.yaml"
    path.write_text(change(PARAMS), encoding="utf-8")
    return read_settings(path, Params)


def test_a_window_moves_to_the_newest_row_and_keeps_its_length(tmp_path: Path) -> None:
    changes = moved(params(tmp_path), date(2014, 3, 14))

    assert changes == {
        "data.as_of": date(2014, 3, 15), "split.train_until": date(2014, 1, 12), "split.test_until": date(2014, 3, 15),
    }  # fmt: skip
    assert edited(PARAMS, changes, Params, "params.yaml").splitlines()[1:7] == [
        "data: {source: data/raw, as_of: 2014-03-15}  # as_of: 2014-01-01",
        "split:",
        "  test_until: '2014-03-15'   # not included",
        "",
        "  by: time",
        '  train_until: "2014-01-12"',
    ]
    assert edited(PARAMS, changes, Params, "params.yaml").splitlines()[7:] == PARAMS.splitlines()[7:]


def test_a_day_on_which_data_was_taken_never_moves_back(tmp_path: Path) -> None:
    assert moved(params(tmp_path), date(2013, 12, 1)).keys() == {"split.train_until", "split.test_until"}


@pytest.mark.parametrize("newest", [date(2013, 8, 31), date(2013, 1, 1)])
def test_without_newer_rows_nothing_moves(tmp_path: Path, newest: date) -> None:
    assert moved(params(tmp_path), newest) == {}


def test_with_a_split_by_digest_only_the_day_moves(tmp_path: Path) -> None:
    by_digest = params(tmp_path, lambda text: text.replace("by: time", "by: digest"))

    assert moved(by_digest, date(2014, 3, 14)) == {"data.as_of": date(2014, 3, 15)}
    assert moved(by_digest, date(2013, 12, 31)) == {}


def test_a_date_that_stands_for_two_settings_is_not_rewritten() -> None:
    shared = PARAMS.replace("as_of: 2014-01-01}", "as_of: &day 2014-01-01}").replace("'2013-09-01'", "*day")
    assert yaml.safe_load(shared)["split"]["test_until"] == date(2014, 1, 1)

    with pytest.raises(MlopsError, match=r"params\.yaml cannot be changed in these places alone"):
        edited(shared, {"data.as_of": date(2014, 3, 15)}, Params, "params.yaml")
