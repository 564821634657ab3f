"""A look for personal data where none should be: in the raw data, and in the prediction logs of this machine.

A kind has a shape and, mostly, a rule that other numbers break: a check digit, a date, a country's format. Some would
keep it by chance, so a column in which most of what has the shape breaks the rule holds something else. Values are
shown masked. What is looked for is exactly the list `PATTERNS`: no names, no addresses of houses, and of the countries'
identity numbers only those that their shape sets apart from any other number. Nothing found is no proof.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import polars as pl
from stdnum import iban, luhn
from stdnum.br import cpf
from stdnum.ch import ssn as ahv
from stdnum.cn import ric
from stdnum.es import dni, nie
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.kr import rrn
from stdnum.mx import curp
from stdnum.se import personnummer
from stdnum.us import ssn

from slipway.base.errors import MlopsError
from slipway.contract.files import SOURCE, read_spread
from slipway.contract.found import files_of
from slipway.contract.frames import spread
from slipway.log import predictions, store
from slipway.settings.project import Project
from slipway.team import CONTRACT

#: So many rows of a file or a log are looked at, evenly spread.
MOST_ROWS = 10_000

ANSWER_IS_NO = 3

_CARDS = re.compile(
    r"4\d{12}(\d{3}){0,2}"  # Visa
    r"|5[1-5]\d{14}|2(22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|6(011|4[4-9]\d|5\d\d)\d{12}|62\d{14,17}"  # Discover, UnionPay
    r"|3(0[0-5]|[689]\d)\d{11}|35(2[89]|[3-8]\d)\d{12}"  # Diners Club, JCB
)
_CHECK_LETTERS = {"S": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "M": "XWUTRQPNJLK"}
_WEIGHTS = (2, 7, 6, 5, 4, 3, 2)


class PersonalValue(msgspec.Struct, frozen=True, kw_only=True):
    """Values of one kind in a column of a file or a log: in `rows` of the rows looked at, the first in `first`."""

    where: str
    column: str
    kind: str
    rows: int
    of: int
    first: str
    example: str


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and what was looked at: how many rows of which file or log."""

    findings: list[PersonalValue]
    looked_at: dict[str, int]
    remarks: list[str]

    @property
    def exit_code(self) -> int:
        """3 when there is something that looks like personal data, 0 otherwise."""
        return ANSWER_IS_NO if self.findings else 0


def scan(project: Project) -> Scan:
    """Look through the raw data and every prediction log that are here; what is not here is a remark."""
    findings: list[PersonalValue] = []
    looked_at: dict[str, int] = {}
    remarks: list[str] = []
    try:
        for where, frame in _places(project):
            findings += find(frame, where)
            looked_at[where] = frame.height
    except MlopsError as error:
        remarks.append(f"{error.problem}; next: {error.next_step}")
    return Scan(findings=findings, looked_at=looked_at, remarks=remarks)


def scan_text(found: Scan) -> str:
    """Write a scan for a terminal, the answer last."""
    lines = [
        f"{one.where}, {one.column}: {one.kind} in {one.rows:,} of {one.of:,} rows, first in {one.first}: {one.example}"
        for one in found.findings
    ]
    looked_at = ", ".join(f"{where} ({rows:,} rows)" for where, rows in found.looked_at.items()) or "nothing"
    answer = ["nothing that looks like personal data"]
    if found.findings:
        answer = ["next: leave these columns out of the data; the log drops or hashes them by privacy.fields"]
    return "\n".join([*lines, *found.remarks, f"looked at: {looked_at}", *answer])


def find(frame: pl.DataFrame, where: str) -> list[PersonalValue]:
    """Look through a table of text, in which `source_row` names the rows."""
    found = (_find_in(frame, name, kind, where) for name in frame.columns if name != SOURCE for kind in PATTERNS)
    return [one for one in found if one]


def _places(project: Project) -> Iterator[tuple[str, pl.DataFrame]]:
    source = project.root / project.params.data.source
    columns = [pl.col(field.name).cast(pl.String) for field in CONTRACT.fields]
    for name in store.environments(project, predictions.LOG):
        log = spread(predictions.sample(project, name, MOST_ROWS), MOST_ROWS)
        if log.height:
            yield f"log of {name}", log.select(pl.concat_str(pl.lit("prediction "), "id").alias(SOURCE), *columns)
    for file in files_of(source):
        yield file.path.relative_to(project.root).as_posix(), read_spread(file, MOST_ROWS, project.params.data.format)


def _find_in(frame: pl.DataFrame, name: str, kind: Pattern, where: str) -> PersonalValue | None:
    texts = frame[name].to_list()
    looks = {text: _look(kind, text) for text in set(texts) if text}
    shaped = [(place, look) for place, text in enumerate(texts) if text and (look := looks[text]) is not None]
    kept = [(place, look) for place, look in shaped if look]
    if not kept or 2 * len(kept) < len(shaped):
        return None
    first, value = kept[0]
    return PersonalValue(
        where=where, column=name, kind=kind.name, rows=len(kept), of=frame.height,
        first=frame[SOURCE][first], example=f"{value[:2]}***{value[-2:]}",
    )  # fmt: skip


def _look(kind: Pattern, text: str) -> str | None:
    """The first value of a kind in a text, empty when what has its shape breaks its rule."""
    shaped = [match[0] for match in kind.shape.finditer(text)]
    return next((value for value in shaped if kind.holds(value)), "") if shaped else None


def _is_card(value: str) -> bool:
    """By brand and check digit (Luhn's rule, ISO/IEC 7812-1)."""
    digits = re.sub(r"\D", "", value)
    return bool(_CARDS.fullmatch(digits)) and luhn.is_valid(digits)


def _is_nric(value: str) -> bool:
    """A number of Singapore ends in the letter that its weighted digits choose; T, G and M begin to count later."""
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, value[1:8], strict=True))
    letters = _CHECK_LETTERS[{"T": "S", "G": "F"}.get(value[0], value[0])]
    return letters[(total + {"T": 4, "G": 4, "M": 3}.get(value[0], 0)) % 11] == value[8]


def _is_address(value: str) -> bool:
    """An address that can be somebody's: not a host's own, not the empty one."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


class Pattern(NamedTuple):
    """A kind of personal data: what it looks like, and the rule that what looks like it must keep."""

    name: str
    shape: re.Pattern[str]
    holds: Callable[[str], bool] = bool


def _identity(country: str, shape: str, holds: Callable[[str], bool]) -> Pattern:
    return Pattern(f"identity number ({country})", re.compile(rf"(?<![\w.+-])(?:{shape})(?![\w-]|\.\d)"), holds)


PATTERNS = (
    Pattern("e-mail address", re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")),
    Pattern(
        "payment card",
        re.compile(
            r"(?<![\w.+-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{4,5})(?![\w-]|\.\d)"
        ),
        _is_card,
    ),
    Pattern(
        "bank account (IBAN)",
        re.compile(r"\b[A-Z]{2}\d{2}(?:[A-Z\d]{11,30}|(?: [A-Z\d]{4}){2,7}(?: [A-Z\d]{1,3})?)\b"),
        iban.is_valid,
    ),
    _identity("Brazil, CPF", r"\d{3}\.\d{3}\.\d{3}-\d{2}", cpf.is_valid),
    _identity("China", r"\d{17}[\dX]", ric.is_valid),
    _identity("Finland", r"\d{6}[-+A]\d{3}[\dA-Y]", hetu.is_valid),
    _identity("France, NIR", r"[12]\d{4}(?:\d{2}|2[AB])\d{8}", nir.is_valid),
    _identity("India, Aadhaar", r"\d{4} \d{4} \d{4}", aadhaar.is_valid),
    _identity("Italy", r"[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]", codicefiscale.is_valid),
    _identity("Korea", r"\d{6}-\d{7}", rrn.is_valid),
    _identity("Mexico, CURP", r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z\d]\d", curp.is_valid),
    _identity("Singapore, NRIC or FIN", r"[STFGM]\d{7}[A-Z]", _is_nric),
    _identity("Spain, DNI", r"\d{8}[A-Z]", dni.is_valid),
    _identity("Spain, NIE", r"[XYZ]\d{7}[A-Z]", nie.is_valid),
    _identity("Sweden", r"\d{6}[-+]\d{4}", personnummer.is_valid),
    _identity("Switzerland, AHV", r"756\.\d{4}\.\d{4}\.\d{2}", ahv.is_valid),
    _identity("United States, SSN", r"\d{3}-\d{2}-\d{4}", ssn.is_valid),
    Pattern("phone number", re.compile(r"(?<![\w+])\+[1-9](?:[ -]?\(?\d\)?){7,14}(?!\w|\.\d)")),
    Pattern("IP address", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\w)"), _is_address),
    Pattern("IP address", re.compile(r"(?<![\w:.])(?:[\da-fA-F]{0,4}:){3,7}[\da-fA-F]{0,4}(?![\w:])"), _is_address),
)
