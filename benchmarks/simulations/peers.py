"""In which week Evidently or NannyML tells a change: run by `delays.py` in an environment that is thrown away.

    python peers.py Evidently|NannyML FOLDER

Each Parquet file of the folder is a stream with the columns one, two, kind, score, truth, answer and `week`, which is
below 0 before the change: those rows are their reference. It prints, for each of the peer's checks, the first week of
each file that the check tells, or null.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Weeks = dict[str, int | None]

COLUMNS = ["one", "two", "kind"]


def evidently(rows: pd.DataFrame) -> Weeks:
    """The presets for drift and for classification, with the tests that they make of the reference by themselves."""
    from evidently import BinaryClassification, DataDefinition, Dataset, Report
    from evidently.presets import ClassificationPreset, DataDriftPreset

    definition = DataDefinition(
        classification=[BinaryClassification(target="truth", prediction_labels="answer", prediction_probas="score")],
        numerical_columns=["one", "two", "score"], categorical_columns=["kind"],
    )  # fmt: skip
    reference = Dataset.from_pandas(rows[rows["week"] < 0].drop(columns="week"), definition)
    checks = {
        "columns": Report([DataDriftPreset(columns=COLUMNS)], include_tests=True),
        "labels": Report([ClassificationPreset()], include_tests=True),
    }
    first: Weeks = dict.fromkeys(checks)
    for week in range(rows["week"].max() + 1):
        now = Dataset.from_pandas(rows[rows["week"] == week].drop(columns="week"), definition)
        for name, report in checks.items():
            if first[name] is None and _fails(report.run(now, reference).dict()["tests"]):
                first[name] = week
    return first


def _fails(tests: list[dict[str, object]]) -> bool:
    return any("FAIL" in str(test["status"]) for test in tests)


def nannyml(rows: pd.DataFrame) -> Weeks:
    """The drift of each column, and the ROC AUC that CBPE expects, by the thresholds that it sets by itself."""
    import nannyml

    before, now = rows[rows["week"] < 0].copy(), rows[rows["week"] >= 0].copy()
    chunk = int((rows["week"] == 0).sum())
    drift = nannyml.UnivariateDriftCalculator(column_names=COLUMNS, chunk_size=chunk).fit(before).calculate(now)
    columns = drift.filter(period="analysis").to_df().xs("alert", axis=1, level=2).any(axis=1)
    cbpe = nannyml.CBPE(
        problem_type="classification_binary", y_pred_proba="score", y_pred="answer", y_true="truth",
        metrics=["roc_auc"], chunk_size=chunk,
    ).fit(before).estimate(now)  # fmt: skip
    scores = cbpe.filter(period="analysis").to_df()[("roc_auc", "alert")]
    return {name: _first(alerts.to_numpy()) for name, alerts in (("columns", columns), ("scores", scores))}


def _first(alerts: NDArray[np.bool_]) -> int | None:
    return int(alerts.nonzero()[0][0]) if alerts.any() else None


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    ask = {"Evidently": evidently, "NannyML": nannyml}[sys.argv[1]]
    files = sorted(Path(sys.argv[2]).glob("*.parquet"), key=lambda path: int(path.stem))
    told = [ask(pd.read_parquet(file)) for file in files]
    print(json.dumps({check: [one[check] for one in told] for check in told[0]}))
