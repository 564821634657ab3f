from __future__ import annotations

import pytest
from flight_delays.contract import CONTRACT
from slipway.data import label_files, labels
from slipway.settings.policy import LabelPolicy
from slipway.settings.project import Project

OUTCOME = CONTRACT.outcome_fields[0].name


@pytest.mark.parametrize("rows", [1, 3, 50_000])
def test_labels_say_the_same_however_many_files_are_read_at_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """What is wrong, told again or corrected may be in one file or in several."""
    monkeypatch.setattr(label_files, "BATCH_ROWS", rows)
    folder = project.root / "data" / "labels"
    folder.mkdir()
    for name, told in {
        "a": ["1,never", "2,7", "3,never"],
        "b": ["4,never", "5,never", "2,8"],
        "c": ["6,5", "7,"],
        "d": ["6,5"],
    }.items():
        (folder / f"{name}.csv").write_text("\n".join([f"id,{OUTCOME}", *told]), encoding="utf-8")
    (folder / "0.csv").write_text("other\n1", encoding="utf-8")

    found = labels.read(project, LabelPolicy(source="data/labels", key=["id"]))

    counts = found.counts
    assert (counts.files, counts.read, counts.waiting, counts.refused) == (4, 9, 1, 4)
    assert (counts.again, counts.corrected, len(counts.left_out)) == (1, 1, 1)
    assert found.frame.sort("id")[["id", "source_row"]].rows() == [("2", "b.csv:3"), ("6", "d.csv:1")]
    (refused,) = [one for one in found.remarks if one.startswith("refused")]
    assert "in 4 rows, first a.csv:1 = never, a.csv:3 = never, b.csv:1 = never" in refused
