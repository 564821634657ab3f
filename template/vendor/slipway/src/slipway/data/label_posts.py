"""Labels that were posted to a server, as rows of text like those of files, in the order in which they came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC
from itertools import islice
from typing import Any

import msgspec
import polars as pl

from slipway.contract.files import SOURCE
from slipway.data import label_files
from slipway.data.label_files import LabelRows
from slipway.log import posted
from slipway.log.posted import PostedLabel
from slipway.settings.params import FileFormat
from slipway.settings.policy import LabelPolicy
from slipway.settings.project import Project

#: The column with the time at which a label came; the policy cannot name it, as it is no name of a column.
CAME = "(came)"


def rule_for(rule: LabelPolicy) -> LabelPolicy:
    """How posted labels are read: by the same key, but as JSON has values, and by the time at which they came."""
    return msgspec.structs.replace(rule, source="", query=None, format=FileFormat(), time=CAME)


def rows_of(project: Project, environment: str, key: Sequence[str], outcome: Sequence[str]) -> Iterator[LabelRows]:
    """Read every posted label, some thousands at a time. Raises `MlopsError` for a bucket that is away."""
    names, number = [*key, *outcome], 0
    lines = posted.read(project, environment)
    while told := [*islice(lines, label_files.BATCH_ROWS)]:
        labels = [label for label in told if label is not None]
        columns: dict[str, Any] = {name: [_text((one.key | one.outcome).get(name)) for one in labels] for name in names}
        columns[CAME] = [f"{one.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}" for one in labels]
        columns[SOURCE] = [_source(one, number + place) for place, one in enumerate(labels, start=1)]
        frame = pl.DataFrame(columns, schema=dict.fromkeys([*names, CAME, SOURCE], pl.String))
        yield LabelRows(frame, 0, [], len(told) - len(labels))
        number += len(labels)


def _source(label: PostedLabel, number: int) -> str:
    return f"posted:{number} of {label.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
