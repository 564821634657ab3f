"""Pictures in a contract: what is taken, what is refused and how that is said, and what stands for one in a log."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import struct
import zlib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import polars as pl
import pytest
from msgspec import Meta
from PIL import Image
from slipway import Contract, Picture, Row
from slipway.base.errors import MlopsError
from slipway.contract import frames, logged, picture_files, problems
from slipway.contract.columns import columns
from slipway.contract.files import SOURCE
from slipway.contract.found import RawFile, files_of
from slipway.contract.pictures import Numbers
from slipway.contract.problems import Problem
from slipway.contract.rows import FieldKind, fields_of
from slipway.log.masks import Mask
from slipway.log.refusals import kept

PICTURE = Picture(width=8, height=6, max_bytes=2_000)


class Sheet(Row):
    number: int
    scan: Annotated[bytes, PICTURE]


class Shown(Row):
    digit: int


CONTRACT = Contract(row=Sheet, outcome=Shown, key=("number",))
SCAN = CONTRACT.fields[1]


def pixels(seed: int = 0, shape: tuple[int, ...] = (6, 8)) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def packed(values: Any, form: str = "PNG", **options: Any) -> bytes:
    written = io.BytesIO()
    Image.fromarray(values).save(written, form, **options)
    return written.getvalue()


GOOD = packed(pixels())


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def bomb(size: int) -> bytes:
    """A file of few bytes that says it has so many pixels each way."""
    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = packer.compress(bytes(1_000_000)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animated() -> bytes:
    written = io.BytesIO()
    frames = [Image.fromarray(pixels(seed)) for seed in range(3)]
    frames[0].save(written, "PNG", save_all=True, append_images=frames[1:])
    return written.getvalue()


def turned() -> bytes:
    camera = Image.Exif()
    camera[0x0112] = 6
    return packed(pixels(), "JPEG", exif=camera)


#: What is no picture of this contract, and what is said of it.
FAULTS: dict[str, tuple[object, str]] = {
    "other size": (packed(pixels(shape=(8, 6))), "has 6 by 8 pixels, not 8 by 6"),
    "colours": (packed(pixels(shape=(6, 8, 3))), "is of the mode RGB, not L (grey, 8 bits each)"),
    "sixteen bits": (packed(pixels().astype(np.uint16) * 257), "not L (grey, 8 bits each)"),
    "a GIF": (packed(pixels(), "GIF"), "is no PNG or JPEG"),
    "no picture": (b"%PDF-1.7 and so on", "is no PNG or JPEG"),
    "nothing": (b"", "is no PNG or JPEG"),
    "cut short": (packed(pixels(), "JPEG")[:-30], "is no whole picture"),
    "a cut header": (GOOD[:20], "is no"),
    "larger than it may be": (GOOD + bytes(2_000), "bytes, and may have 2,000"),
    "a bomb": (bomb(9_000), "has 9,000 by 9,000 pixels, not 8 by 6"),
    "a larger bomb": (bomb(60_000), "decompression bomb"),
    "several frames": (animated(), "has several frames, not one"),
    "on its side": (turned(), "lies on its side"),
    "no base64": ("%%%", "is not in base64"),
    "cut base64": (text(GOOD)[:-1], "is not in base64"),
    "base64 in lines": (text(GOOD)[:20] + "\n" + text(GOOD)[20:], "is not in base64"),
    "a number": (7, "is no text in base64"),
}


def refusal(value: object) -> Problem:
    given = text(value) if isinstance(value, bytes) else value
    with pytest.raises(Problem) as refused:
        problems.rows_of([{"number": 1, "scan": given}], CONTRACT, ValueError("refused"))
    return refused.value


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_picture_becomes_its_pixels_in_a_request_and_in_a_frame(form: str) -> None:
    contents = [packed(pixels(seed), form) for seed in range(3)]
    body = msgspec.json.encode([{"number": place, "scan": text(one)} for place, one in enumerate(contents)])

    rows = msgspec.json.decode(body, type=list[Sheet])
    assert [CONTRACT.settle(row) for row in rows] == [None] * 3
    asked = columns(rows, CONTRACT.fields)["scan"]
    raw = pl.DataFrame({"number": ["0", "1", "2"], "scan": [*map(text, contents)], SOURCE: ["a", "b", "c"]})
    typed, violations = frames.parse(raw, CONTRACT.fields)

    assert violations == []
    assert asked.shape == (3, 6, 8)
    assert asked.dtype == np.uint8
    np.testing.assert_array_equal(asked, frames.columns(typed, CONTRACT.fields)["scan"])
    if form == "PNG":
        np.testing.assert_array_equal(asked[2], pixels(2))


@pytest.mark.parametrize(("value", "said"), FAULTS.values(), ids=[*FAULTS])
def test_what_is_no_such_picture_is_refused_in_a_sentence_by_requests_and_rows(value: object, said: str) -> None:
    (error,) = refusal(value).errors
    raw = pl.DataFrame({"scan": [text(GOOD), text(value) if isinstance(value, bytes) else str(value)]})
    _, violations = frames.parse(raw.with_columns(pl.Series(SOURCE, ["rows:1", "rows:2"])), (SCAN,))

    assert (error.field, error.pointer) == ("scan", "#/scan")
    assert error.detail.startswith("Expected a picture of 8 by 6 pixels in grey, as PNG or JPEG of at most 2,000 bytes")
    assert said in error.detail
    assert len(error.detail) < 300, "a refusal holds no picture"
    assert [(one.field, one.rows, one.examples) for one in violations] == [("scan", 1, ["rows:2"])]
    assert kept(SCAN, SCAN.broken_by(error.value) or "", error.value) is None
    assert SCAN.broken_by(error.value) == "picture"


def test_a_colour_picture_is_taken_where_the_contract_asks_for_colours() -> None:
    colours = Picture(width=8, height=6, channels=3)

    assert colours.fault(packed(pixels(shape=(6, 8, 3)), "JPEG")) == ""
    assert "is of the mode L, not RGB" in colours.fault(GOOD)


def test_no_bytes_make_anything_but_a_picture_or_a_sentence() -> None:
    """Flipped, cut and joined files: whatever a decoder raises is told as a fault of the picture."""
    chance, known = random.Random(7), [GOOD, packed(pixels(), "JPEG"), animated(), turned()]
    for _ in range(600):
        content = bytearray(chance.choice(known))
        for _ in range(chance.randint(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        content = content[: chance.randint(1, len(content))] if chance.random() < 0.3 else content
        fault = PICTURE.fault(bytes(content))
        assert fault == "" or "\n" not in fault
        if not fault:
            assert PICTURE.read(bytes(content)).pixels.shape == (6, 8)


def test_the_schema_says_what_a_picture_must_be() -> None:
    described = CONTRACT.json_schema["components"]["Sheet"]["properties"]["scan"]

    assert described == {
        "type": "string",
        "contentEncoding": "base64",
        "maxLength": 2_668,
        "description": "A picture of 8 by 6 pixels in grey, as PNG or JPEG of at most 2,000 bytes.",
    }


def test_another_size_of_pictures_is_another_contract() -> None:
    class Wider(Row):
        number: int
        scan: Annotated[bytes, Picture(width=9, height=6, max_bytes=2_000)]

    Wider.__name__ = "Sheet"
    assert Contract(row=Wider, outcome=Shown, key=("number",)).fingerprint != CONTRACT.fingerprint


def test_a_log_holds_the_digest_and_numbers_and_no_byte() -> None:
    row = Sheet(number=7, scan=GOOD)
    CONTRACT.settle(row)

    told = logged.row_of(CONTRACT, row)

    assert told["scan"] == f"sha256:{hashlib.sha256(GOOD).hexdigest()}"
    assert [*told] == [field.name for field in logged.fields_of(CONTRACT.fields)]
    assert told["scan.brightness"] == pytest.approx(pixels().mean() / 255, abs=1e-6)
    assert told["scan.contrast"] == pytest.approx(pixels().std() / 255, abs=1e-6)
    assert told["scan.part_1_3"] == pytest.approx(pixels()[:2, 5:].mean() / 255, abs=1e-6)
    assert text(GOOD)[:40] not in msgspec.json.encode(told).decode()
    assert all(field.kind is FieldKind.NUMBER for field in logged.fields_of(CONTRACT.fields)[2:])


def test_numbers_of_colours_stand_beside_those_of_grey() -> None:
    colours = Picture(width=8, height=6, channels=3)
    red = np.zeros((6, 8, 3), np.uint8)
    red[..., 0] = 255

    told = dict(zip(Numbers.of(colours).names, Numbers.of(colours)(red), strict=True))

    assert (told["red"], told["green"], told["sharpness"]) == (1, 0, 0)


@pytest.mark.parametrize("rule", ["hash", "drop"])
def test_a_hidden_picture_leaves_no_numbers(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.team.CONTRACT", CONTRACT, raising=False)

    masked = Mask({"scan": rule}, b"k" * 32)(Sheet(number=7, scan=GOOD))

    assert [*masked] == (["number", "scan"] if rule == "hash" else ["number"])
    assert masked.get("scan", "hmac:").startswith("hmac:")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table and pictures beside it, and one picture outside."""
    monkeypatch.setattr(picture_files, "CONTRACT", CONTRACT)
    folder = tmp_path / "raw"
    (folder / "scans").mkdir(parents=True)
    (folder / "scans" / "1.png").write_bytes(GOOD)
    (tmp_path / "secret.png").write_bytes(GOOD)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "rows.csv").write_text("number,scan\n", encoding="utf-8")
    return folder


def fetched(table: Path, value: str) -> pl.DataFrame:
    (file,) = files_of(table)
    return picture_files.fetched(pl.DataFrame({"number": ["1"], "scan": [value]}), file, 4)


DIGEST = hashlib.sha256(GOOD).hexdigest()


def test_a_table_may_name_the_files_of_its_pictures(table: Path) -> None:
    assert fetched(table, f"file:scans/1.png#sha256={DIGEST}")["scan"].to_list() == [text(GOOD)]
    assert fetched(table, text(GOOD))["scan"].to_list() == [text(GOOD)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f"file:../secret.png#sha256={DIGEST}", "leads out of raw/"),
        (f"file:scans/%2e%2e/%2e%2e/secret.png#sha256={DIGEST}", "leads out of raw/"),
        (f"file:link.png#sha256={DIGEST}", "leads out of raw/"),
        (f"file:/etc/hostname#sha256={DIGEST}", "leads out of raw/"),
        (f"file:scans/2.png#sha256={DIGEST}", "scans/2.png cannot be read: No such file"),
        (f"file:scans/1.png#sha256={'0' * 64}", "scans/1.png is another picture than its digest says"),
        ("file:scans/1.png", "is no file:PATH#sha256=DIGEST"),
    ],
)
def test_a_name_that_leads_to_no_such_picture_is_refused_with_its_row(table: Path, value: str, said: str) -> None:
    with pytest.raises(MlopsError, match=r"row 5 of .*rows.csv") as refused:
        fetched(table, value)

    assert said in refused.value.problem
    assert refused.value.next_step


def a_row(annotation: Any) -> type[Row]:
    made = type("Made", (Row,), {"__annotations__": {"number": int, "scan": annotation}})
    assert issubclass(made, Row)
    return made


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (bytes, "gives scan a type that no column can have: Bytes"),
        (Annotated[str, PICTURE], "gives scan a type that no column can have: Str"),
        (Annotated[bytes, PICTURE, Meta(max_length=9)], "a Meta with max_length"),
    ],
)
def test_a_column_that_is_half_a_picture_is_refused(annotation: Any, said: str) -> None:
    with pytest.raises(MlopsError, match=said):
        fields_of(a_row(annotation))


@pytest.mark.parametrize("wrong", [{"channels": 2}, {"width": 0}, {"max_bytes": 0}])
def test_a_picture_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(MlopsError, match="a picture has 1 or 3 channels"):
        Picture(**({"width": 8, "height": 8} | wrong))


def test_a_picture_is_neither_key_nor_outcome_nor_missing() -> None:
    for row, outcome, key in (
        (Sheet, Shown, ("scan",)),
        (a_row(Annotated[bytes, PICTURE] | None), Shown, ("number",)),
        (Shown, Sheet, ("digit",)),
    ):
        with pytest.raises(
            MlopsError, match="has scan, a picture, in its key, in its outcome or where it may be missing"
        ):
            Contract(row=row, outcome=outcome, key=key)


def test_a_file_is_named_as_it_lies(table: Path) -> None:
    """Pictures beside a table are no tables, and are not refused as such."""
    assert files_of(table) == [RawFile(table / "rows.csv", "rows.csv")]
