"""Raw files as those who deliver them write them: each row is read as it was meant, or refused with what to write."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import random
import re
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta
from slipway.base.errors import MlopsError
from slipway.contract.files import SOURCE, read_raw, read_spread, unused_columns
from slipway.contract.found import RawFile, files_of
from slipway.contract.frames import parse
from slipway.contract.rows import Row, fields_of
from slipway.settings.params import DataParams, FileFormat

WRITTEN = Path(__file__).parent / "written"
DOCS = Path(__file__).parents[3] / "template" / "vendor" / "slipway" / "docs"
PLAIN = FileFormat()


class Parcel(Row):
    """A field of every kind, most of which may be missing."""

    number: int
    pieces: int | None
    weight: float | None
    fragile: bool
    grade: Literal["A", "B"] | None
    remark: str | None
    sent: Annotated[datetime, Meta(tz=False)]


FIELDS = fields_of(Parcel)
NAMES = [field.name for field in FIELDS]
FRAME = pl.DataFrame(
    {
        "number": [2**53 + 1, 2**53, -7, 0, 12, 2**53 + 3],
        "pieces": [1, None, 3, 4, None, 2_000_000],
        "weight": [0.1, 1e-7, None, 1234.5, -3.25, 1e21],
        "fragile": [True, False, True, True, False, False],
        "grade": pl.Series(["A", "B", None, "A", "B", "A"], dtype=pl.Enum(["A", "B"])),
        "remark": ["plain", 'with "quotes"', "with, comma; semicolon", "two\nlines", None, "Größe €"],
        "sent": pl.Series(
            [datetime(2013, 7, 1, 17, 30) + timedelta(31 * n) for n in range(6)], dtype=pl.Datetime("ms")
        ),
    }
)


def typed(source: Path, form: FileFormat = PLAIN) -> pl.DataFrame:
    """The rows of a source by the contract, which they must keep."""
    frame, violations = parse(read_raw(source, form, NAMES), FIELDS, form)
    assert violations == []
    return frame.drop(SOURCE)


TOO_LARGE = "must be an integer; one as large has to be stored as an integer of 64 bits or as its digits, to lose none"
GERMAN = FileFormat(separator=";", decimal=",", time="%d.%m.%Y %H:%M")
BRITISH = FileFormat(separator=";", decimal=",", time="%d/%m/%Y %H:%M", encoding="windows-1252")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("pandas.csv", PLAIN), ("pandas-index.csv.xz", PLAIN), ("pandas-german.csv", GERMAN), ("pandas.parquet", PLAIN),
        ("polars.csv.zst", PLAIN), ("polars.TSV", PLAIN), ("polars.pq", PLAIN), ("duckdb.csv.gz", PLAIN),
        ("duckdb.parquet", PLAIN), ("partitioned", PLAIN), ("spreadsheet.csv", BRITISH),
    ],
)  # fmt: skip
def test_what_others_write_from_one_frame_gives_the_same_rows(name: str, form: FileFormat) -> None:
    assert typed(WRITTEN / name, form).sort("sent").equals(FRAME)


def test_the_page_about_reading_names_every_setting_and_its_example_holds() -> None:
    page = (DOCS / "data.md").read_text("utf-8")
    block, *_ = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)

    data = msgspec.convert(yaml.safe_load(block)["data"], DataParams)

    assert data.format == FileFormat(
        separator=";", encoding="windows-1252", decimal=",", time="%d/%m/%Y %H:%M", missing=["NA"]
    )
    assert set(msgspec.structs.asdict(data.format)) == set(yaml.safe_load(block)["data"]["format"])
    for ending in re.findall(r"`(\.[a-z0-9]+)`", page.partition("| read |")[0].rpartition("|---|")[2]):
        name = f"x.csv{ending}" if ending in PACKERS or ending == ".zst" else f"x{ending}"
        assert RawFile(Path(name), name).ending in (".csv", ".tsv", ".parquet", ".pq")


Write = Callable[[pl.DataFrame, Path], FileFormat]


def _by_csv(frame: pl.DataFrame, path: Path) -> FileFormat:
    """As a spreadsheet of another country writes it: with everything quoted, and a byte order mark."""
    with path.open("w", encoding="utf-16", newline="") as target:
        writer = csv.writer(target, delimiter=";", quoting=csv.QUOTE_ALL)
        writer.writerow(frame.columns)
        for row in frame.iter_rows():
            shown = [f"{one:%d.%m.%Y %H:%M:%S}" if isinstance(one, datetime) else one for one in row]
            writer.writerow(["" if one is None else repr(one) if isinstance(one, float) else one for one in shown])
    text = path.read_text("utf-16")
    path.write_text(text, encoding="utf-16", newline="")
    return FileFormat(separator=";", time="%d.%m.%Y %H:%M:%S")


def _by_polars(**how: Any) -> Write:
    def write(frame: pl.DataFrame, path: Path) -> FileFormat:
        frame.write_csv(path, **how)
        return FileFormat(separator=how.get("separator", ""))

    return write


def _parquet(frame: pl.DataFrame, path: Path) -> FileFormat:
    gapped = frame.with_columns(pl.col("pieces").cast(pl.Float64), pl.col("grade").cast(pl.Categorical))
    gapped.with_columns(tags=pl.lit([1]), took=pl.duration(days=1), raw=pl.lit(b"\xff")).write_parquet(path)
    return PLAIN


WRITERS: dict[str, Write] = {
    "a.csv": _by_csv, "b.csv": _by_polars(), "c.tsv": _by_polars(separator="\t"),
    "d.csv": _by_polars(separator="|", quote_style="non_numeric", line_terminator="\r\n"), "e.parquet": _parquet,
}  # fmt: skip
ROWS = st.lists(
    st.builds(
        Parcel,
        number=st.integers(-(2**63), 2**63 - 1),
        pieces=st.none() | st.integers(-(2**53) + 1, 2**53 - 1),
        weight=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        fragile=st.booleans(),
        grade=st.none() | st.sampled_from(["A", "B"]),
        remark=st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1),
        sent=st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)).map(lambda at: at.replace(microsecond=0)),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_any_rows_come_back_as_they_were_however_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Parcel]
) -> None:
    frame = pl.DataFrame([msgspec.structs.asdict(row) for row in rows], schema=FRAME.schema)
    folder = tmp_path_factory.mktemp("written")

    for name, write in WRITERS.items():
        form = write(frame, folder / name)
        assert typed(folder / name, form).equals(frame), name


#: File name, content, how it is written, and the values of a and b, or what the refusal says and what to write.
CASES: dict[str, tuple[str, bytes, FileFormat, list[tuple[str | None, str | None]] | tuple[str, str]]] = {
    "upper case": ("x.CSV", b"a,b\n1,2\n", PLAIN, [("1", "2")]),
    "tabs": ("x.tsv", b"a\tb\n1\t2\n", PLAIN, [("1", "2")]),
    "semicolons": ("x.csv", b"a;b\n1;2\n", FileFormat(separator=";"), [("1", "2")]),
    "semicolons unsaid": ("x.csv", b"a;b\n1;2\n", PLAIN, ("is one column, 'a;b'", 'write `separator: ";"`')),
    "tabs unsaid": ("x.csv", b"a\tb\n1\t2\n", PLAIN, ("is one column", 'write `separator: "\\t"`')),
    "two members": ("x.csv.gz", gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4"), PLAIN, [("1", "2"), ("3", "4")]),
    "cut gzip": ("x.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 999)[:-12], PLAIN, ("cannot be read", "is it whole")),
    "bzip2": ("x.csv.bz2", bz2.compress(b"a,b\n1,2\n"), PLAIN, [("1", "2")]),
    "xz": ("x.tsv.XZ", lzma.compress(b"a\tb\n1\t2\n"), PLAIN, [("1", "2")]),
    "a mark of UTF-8": ("x.csv", b"\xef\xbb\xbfa,b\r\n1,2\r\n", PLAIN, [("1", "2")]),
    "UTF-16": ("x.csv", "a,b\n1,é\n".encode("utf-16"), PLAIN, [("1", "é")]),
    "UTF-16 unsaid": ("x.csv", "a,b\n1,2\n".encode("utf-16-le"), PLAIN, ("is not in UTF-8", "`encoding: utf-16-le`")),
    "UTF-16 said": ("x.csv", "a,b\n1,é\n".encode("utf-16-le"), FileFormat(encoding="utf-16-le"), [("1", "é")]),
    "Latin 1": ("x.csv", b"a,b\n1,2\n3,\xe9\n", PLAIN, ("line 3 of", "`encoding: windows-1252`")),
    "Latin 1 in the header": ("x.csv", b"a,b,\xe9\n1,2,3\n", PLAIN, ("line 1 of", "`encoding: windows-1252`")),
    "Latin 1 said": ("x.csv.gz", gzip.compress(b"a,b\n1,\xe9\n"), FileFormat(encoding="windows-1252"), [("1", "é")]),
    "quotes": ("x.csv", b'"a","b"\n1,"x ""y"", z\nw"\n', PLAIN, [("1", 'x "y", z\nw')]),
    "missing by another name": ("x.csv", b'a,b\nNA,2\n,""\n', FileFormat(missing=["NA"]), [(None, "2"), (None, None)]),
    "brackets in the name": ("x[1].csv", b"a,b\n1,2\n", PLAIN, [("1", "2")]),
    "a short row": ("x.csv", b"a,b,c\n1,2,3\n1,2\n", PLAIN, ("line 3 of", "mend it")),
    "a short row behind a text of two lines": ("x.csv", b'a,b\n1,"x\ny"\n1\n', PLAIN, ("line 4 of", "mend it")),
    "a long row": ("x.csv", b"a,b\n1,2,3\n", PLAIN, ("line 2 of", "mend it")),
    "an empty line": ("x.csv", b"a,b\n1,2\n\n1,2\n", PLAIN, ("line 3 of", "or remove it")),
    "inches": ("x.csv", b'a,b\n5" pipe,x\n6" pipe,"y ""z"""\n', PLAIN, [('5" pipe', "x"), ('6" pipe', 'y "z"')]),
    "a pair of inches": ("x.csv", b'a,b\n5",6"\n', PLAIN, [('5"', '6"')]),
    "a quote that ends early": ("x.csv", b'a,b\n1,"5" pipe\n', PLAIN, ("line 2 of", "is a quote not closed")),
    "an open quote": ("x.csv", b'a,b\n1,"x\n2,y\n', PLAIN, ("line 3 of", "is a quote not closed")),
    "a column twice": ("x.csv", b"a,a,b\n1,2,3\n", PLAIN, ("names a more than once", "rename the others")),
    "a column of no interest twice": ("x.csv", b"c,a,c,b\n1,2,3,4\n", PLAIN, [("2", "4")]),
    "another case": ("x.csv", b"A,b\n1,2\n", PLAIN, ("has no column a; it has A, b", "named otherwise")),
    "no header": ("x.csv", b"1,2\n3,4\n", PLAIN, ("has no column a, b; it has 1, 2", "named otherwise")),
    "nothing": ("x.csv", b"", PLAIN, ("has no header", "write the names")),
    "a header alone": ("x.csv", b"a,b\n", PLAIN, []),
    "carriage returns": ("x.csv", b"a,b\r1,2\r3,4\r", PLAIN, ("carriage return", "mend it")),
    "a spreadsheet": ("x.xlsx", b"PK", PLAIN, ("is neither .csv", "save it as .csv")),
    "packed Parquet": ("x.parquet.gz", b"", PLAIN, ("packed once more", "unpack it")),
    "an unknown ending": ("x.dat", b"a,b\n1,2\n", PLAIN, ("is neither .csv", "convert it")),
    "no Parquet": ("x.pq", b"PAR1", PLAIN, ("cannot be read", "is it whole")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_file_is_read_to_the_last_row_or_refused_with_what_to_write(tmp_path: Path, case: str) -> None:
    name, content, form, expected = CASES[case]
    path = tmp_path / name
    path.write_bytes(content)

    if isinstance(expected, list):
        read = read_raw(path, form, ["a", "b"])
        assert read.drop(SOURCE).rows() == expected
        assert read[SOURCE].to_list() == [f"{name}:{row}" for row in range(1, len(expected) + 1)]
        return
    with pytest.raises(MlopsError) as refused:
        read_raw(path, form, ["a", "b"])
    assert expected[0] in refused.value.problem
    assert expected[1] in refused.value.next_step
    assert name in str(refused.value)


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root / "raw"


def test_every_file_of_a_folder_and_of_those_below_is_read_with_what_its_path_says(tmp_path: Path) -> None:
    spark = {"_SUCCESS": b"", ".crc": b"x", "README.md": b"About."}
    source = folder_of(
        tmp_path,
        spark
        | {"b=2013/x.CSV": b"a\n1\n", "b=New%20York/y.csv": b"a\n2\n", "b=__HIVE_DEFAULT_PARTITION__/z.csv": b"a\n3\n"},
    )

    assert read_raw(source, PLAIN, ["a", "b"]).sort("a").rows() == [
        ("1", "2013", "b=2013/x.CSV:1"), ("2", "New York", "b=New%20York/y.csv:1"),
        ("3", None, "b=__HIVE_DEFAULT_PARTITION__/z.csv:1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"b.xlsx": b"PK"}, "b.xlsx is neither"),
        ({"notes.txt": b"About."}, "notes.txt is neither"),
        ({"b.csv.dvc": b"outs: []"}, "b.csv.dvc is neither"),
        ({"b.csv": b"a,c\n1,2\n"}, "b.csv has no column b; it has a, c"),
        ({"2013/b.json": b"{}"}, "b.json is neither"),
    ],
    ids=["a spreadsheet", "a note", "a pointer to what was not fetched", "a renamed column", "below"],
)
def test_nothing_in_a_folder_is_left_out_without_a_word(
    tmp_path: Path, files: dict[str, bytes], complaint: str
) -> None:
    source = folder_of(tmp_path, {"a.csv": b"a,b\n1,2\n", "a.csv.dvc": b"outs: []", ".gitignore": b"/a.csv\n"})
    assert [file.name for file in files_of(source)] == ["a.csv"]

    folder_of(tmp_path, files)

    with pytest.raises(MlopsError, match=complaint):
        read_raw(source, PLAIN, ["a", "b"])


def test_a_key_that_a_floating_point_column_has_merged_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"number": [1.0, 2.0**53]}).write_parquet(tmp_path / "x.parquet")

    (found,) = parse(read_raw(tmp_path / "x.parquet", PLAIN, ["number"]), FIELDS[:1])[1]

    assert (f"{found.rule}{found.hint}", found.rows) == (TOO_LARGE, 1)


def test_columns_that_nobody_asks_for_are_named_and_not_touched(tmp_path: Path) -> None:
    odd = {"tags": [[1]], "raw": [b"\xff"], "took": [timedelta(1)], "day": [date(2013, 1, 1)]}
    pl.DataFrame({"number": [1]} | odd).write_parquet(tmp_path / "x.parquet")
    (file,) = files_of(tmp_path / "x.parquet")

    assert read_raw(file.path, PLAIN, ["number"]).rows() == [("1", "x.parquet:1")]
    assert unused_columns(file) == {"number", *odd}
    assert read_spread(file, 10).rows() == [("1", "[1]", r"b'\xff'", "1 day, 0:00:00", "2013-01-01", "row 1")]
    with pytest.raises(MlopsError, match=r"column tags of .*x.parquet holds values of type List"):
        read_raw(file.path, PLAIN, ["number", "tags"])


@pytest.mark.parametrize(
    ("name", "text", "form", "rule"),
    [
        ("number", "9007199254740993", PLAIN, None),
        ("number", "9007199254740991.0", PLAIN, None),
        ("number", "9007199254740992.0", PLAIN, TOO_LARGE),
        ("number", "9.007199254740994e15", PLAIN, TOO_LARGE),
        ("number", "9223372036854775808", PLAIN, TOO_LARGE),
        ("number", "12.5", PLAIN, "must be an integer"),
        ("number", "1,5", PLAIN, "must be an integer; a decimal comma has to be named as format.decimal"),
        ("weight", "1.234,5", PLAIN, "must be a number; a decimal comma has to be named as format.decimal"),
        ("weight", "1.234", FileFormat(decimal=","), "must be a number"),
        ("weight", "1e999", PLAIN, "must be finite"),
        ("fragile", "1", PLAIN, "must be true or false"),
        ("sent", "2013-07-01", PLAIN, None),
        ("sent", "2013-07-01 17:30", PLAIN, None),
        ("sent", "2013-02-30", PLAIN, "must be a time without a zone, like 2013-07-01T17:30:00"),
        ("sent", "2013-07-01T17:30:00Z", PLAIN, "must be a time without a zone, like 2013-07-01T17:30:00"),
        (
            "sent", "01/02/2013", PLAIN,
            "must be a time without a zone, like 2013-07-01T17:30:00; another format has to be named as format.time",
        ),
        ("sent", "01/02/2013", FileFormat(time="%d/%m/%Y"), None),
        ("sent", "2013-07-01", FileFormat(time="%d/%m/%Y"), "must be a time without a zone, like 2013-07-01T17:30:00"),
    ],
)  # fmt: skip
def test_a_value_is_what_it_says_or_refused(name: str, text: str, form: FileFormat, rule: str | None) -> None:
    (field,) = (field for field in FIELDS if field.name == name)

    found = parse(pl.DataFrame({name: [text], SOURCE: ["x.csv:1"]}), (field,), form)[1]

    assert [f"{one.rule}{one.hint}" for one in found] == ([] if rule is None else [rule])


def test_integers_that_a_floating_point_number_cannot_tell_apart_stay_apart() -> None:
    raw = pl.DataFrame({"number": ["9007199254740992", "9007199254740993"], SOURCE: ["x:1", "x:2"]})

    assert parse(raw, FIELDS[:1])[0]["number"].to_list() == [2**53, 2**53 + 1]


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"separator": "::"}, "'::' is not one"),
        ({"encoding": "klingon"}, "'klingon' is not"),
        ({"time": "dd"}, "'dd' is no"),
    ],
)
def test_a_format_that_nothing_can_be_is_refused(setting: dict[str, str], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(setting, FileFormat)


#: Raw files that somebody may have broken.
FILES = 2000
PIECES = [
    '"',
    '""',
    ",",
    ";",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "\0",
    "\ufeff",
    " ",
    "é",
    "\xa0",
    "NaN",
    "1e999",
    "-",
    "2013",
    "|",
]
VALUES = [
    ["9007199254740993", "-1", "12.0", "1e3", "x", "", "9" * 30],
    ["", "3", "4.5", "1,000", "٣"],
    ["0.1", "", "inf", "1_0", "-1e-320", "1,5"],
    ["true", "False", "1", ""],
    ["A", "B", "", "C", '"A"'],
    ["", "text", '"a ""b"", c"', '"two\nlines"', "'", 'stray " quote'],
    ["2013-07-01", "2013-07-01T17:30:00", "01/02/2013", "2013-07-01T17:30Z", "2013-07-01 24:00:00", "0000-00-00", ""],
]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def written(chance: random.Random) -> tuple[str, FileFormat]:
    """The text of a file, with a few faults in it, and how it is said to be written."""
    separator = chance.choice([",", ",", ";"])
    rows = [NAMES] + [[chance.choice(values) for values in VALUES] for _ in range(chance.randrange(5))]
    text = "".join(separator.join(row) + "\n" for row in rows)
    for _ in range(chance.choice([0, 0, 1, 1, 2, 5])):
        place = chance.randrange(len(text) + 1)
        text = text[:place] + chance.choice(PIECES) + text[place + chance.choice([0, 0, 1, 4]) :]
    said = chance.choice([separator, separator, separator, ","])
    return text, FileFormat(separator=said, missing=chance.choice([[], ["NA"]]))


def understood(content: bytes, separator: str) -> list[list[str]]:
    """The same rows by a reader that has nothing in common with the platform's."""
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator))


def attempt(path: Path, form: FileFormat) -> pl.DataFrame | MlopsError:
    try:
        return read_raw(path, form, NAMES)
    except MlopsError as refused:
        return refused


def test_no_row_of_two_thousand_files_is_lost_without_a_word(tmp_path: Path) -> None:
    chance, seen = random.Random(2013), Counter[str]()
    for number in range(FILES):
        text, form = written(chance)
        encoding = chance.choice(["utf-8", "utf-8", "utf-8", "latin-1", "utf-16"])
        content = text.encode(encoding, errors="replace")
        content = content[: chance.choice([len(content), len(content), chance.randrange(len(content) + 1)])]
        ending = chance.choice([*PACKERS])
        path = tmp_path / f"x{number % 50}.csv{ending}"
        path.write_bytes(PACKERS[ending](content))
        raw = attempt(path, form)
        if isinstance(raw, MlopsError):
            assert path.name in raw.problem, (content, raw)
            seen["refused"] += 1
            continue
        plain = content.decode("utf-16").encode() if encoding == "utf-16" else content
        header, *rows = understood(plain, form.separator or ",")
        places = [header.index(name) for name in NAMES]
        known = [
            [None if one in ("", *form.missing) else one for one in (row[place] for place in places)] for row in rows
        ]
        assert [list(row) for row in raw.drop(SOURCE).rows()] == known, content

        frame, violations = parse(raw, FIELDS, form)
        named = {one.examples[0].partition(" = ")[0] for one in violations}
        assert frame.height == len(rows), content
        assert named <= set(raw[SOURCE]), content
        nulls = [
            field.name for field in FIELDS
            if (raw[field.name].is_not_null() & frame[field.name].is_null()).any()
        ]  # fmt: skip
        assert set(nulls) <= {one.field for one in violations}, content
        seen["kept" if not violations else "named"] += 1

    print(dict(seen))
    assert sum(seen.values()) == FILES
    assert min(seen.values()) > FILES / 40  # each way is tried
