"""Frames against the contract, where no team's contract matters."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from slipway.base.errors import MlopsError
from slipway.contract.files import SOURCE, read_raw
from slipway.contract.frames import parse
from slipway.training.bundle import Bundle


def test_a_complaint_names_the_rule_the_count_and_the_first_row(sealed: Bundle) -> None:
    row: dict[str, Any] = dict(sealed.golden.rows[0])
    required = next(field for field in CONTRACT.fields if not field.optional)
    row[required.name] = None
    texts = {name: None if value is None else str(value) for name, value in row.items()}
    raw = pl.DataFrame([texts | {SOURCE: "test:1"}], schema=dict.fromkeys([*texts, SOURCE], pl.String))

    complaint = str(parse(raw, CONTRACT.fields)[1][0])

    assert complaint == f"{required.name}: a value is missing in 1 row, first test:1 = None"


def test_predictions_cannot_come_back_as_data(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("id,digest,score,answer\n1,sha256:0,0.5,true\n", encoding="utf-8")

    with pytest.raises(MlopsError, match="must not come back as training data or labels"):
        read_raw(log)
