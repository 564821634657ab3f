"""When NannyML tells a change by scores alone: run by `quality.py` in an environment that is thrown away.

Of each Parquet file in the folder given, with the columns `part` (tested or later), `week`, `score`, `truth` and
`answer`, it prints the first week whose ROC AUC CBPE expects to be outside of its thresholds, or null.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nannyml
import pandas as pd


def first_alert(rows: pd.DataFrame) -> int | None:
    """The first week that is told, by the thresholds that NannyML sets by itself."""
    cbpe = nannyml.CBPE(
        problem_type="classification_binary", y_pred_proba="score", y_pred="answer", y_true="truth",
        metrics=["roc_auc"], chunk_size=int((rows["week"] == 0).sum()),
    )  # fmt: skip
    cbpe.fit(rows[rows["part"] == "tested"])
    found = cbpe.estimate(rows[rows["part"] == "later"]).filter(period="analysis").to_df()
    alerts = found[("roc_auc", "alert")].to_numpy().nonzero()[0]
    return int(alerts[0]) if len(alerts) else None


if __name__ == "__main__":
    files = sorted(Path(sys.argv[1]).glob("*.parquet"), key=lambda path: int(path.stem))
    print(json.dumps([first_alert(pd.read_parquet(file)) for file in files]))
