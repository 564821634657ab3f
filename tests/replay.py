"""The year of the flights, lived through by a project: what its versions answer, and what then becomes known."""

import json
from collections.abc import Mapping

from running import RunningProject

#: Answers each flight with the models themselves, as servers would have at the time it was to leave.
ANSWER = """
import json, sys
from datetime import UTC
import msgspec, polars as pl
from flight_delays.contract import CONTRACT
from slipway.log import predictions
from slipway.contract.frames import as_rows, columns
from slipway.settings.project import Project
from slipway.registry.models import Registry
from slipway.training.scoring import Scorer

environment, since, until, answering = *sys.argv[1:4], json.loads(sys.argv[4])
project = Project.find()
registry, folder = Registry.open(project), predictions.folder(project.state, environment)
folder.mkdir(parents=True, exist_ok=True)
day = pl.col("departs").dt.strftime("%Y-%m-%d")
flights = pl.read_parquet("data/valid.parquet").sort("departs").with_row_index("number")
flights = flights.filter((day >= since) & (day < until))
for place, (role, number) in enumerate(answering.items()):
    # A canary and its champion share the requests, a shadow gets all that its champion gets.
    shares = 1 if "shadow" in answering else len(answering)
    version = registry.find(str(number))
    scorer = Scorer(registry.fetch(version))
    for (today,), mine in flights.group_by(day.alias("today"), maintain_order=True):
        mine = mine.filter(pl.col("number") % shares == place % shares)
        scores = scorer.scores(columns(mine, CONTRACT.fields))
        answers = scorer.answers(scores)
        about = zip(mine["number"], mine["departs"], as_rows(mine), scores.tolist(), answers, strict=True)
        lines = [
            predictions.Prediction(
                f"flight-{flight}", at.replace(tzinfo=UTC), environment, number, version.digest,
                row, score, answer, role,
            )
            for flight, at, row, score, answer in about
        ]
        (folder / f"{today}.{role}.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(lines))
"""

#: What an airport publishes: who arrived how late, of all flights that left before a day.
TELL = """
import sys
from datetime import datetime
from pathlib import Path
import polars as pl

known = pl.read_parquet("data/valid.parquet").filter(pl.col("departs") < datetime.fromisoformat(sys.argv[1]))
Path("data/labels").mkdir(exist_ok=True)
known.select("departs", "carrier", "flight", "origin", "arr_delay").write_parquet("data/labels/arrivals.parquet")
"""


def answer(project: RunningProject, since: str, until: str, answering: Mapping[str, int]) -> None:
    """Put what these versions, each in its role, say of all flights between two days into staging's prediction log."""
    project.run("python", "-c", ANSWER, "staging", since, until, json.dumps(answering))


def tell(project: RunningProject, before: str) -> None:
    """Let the arrivals of all flights that left before a day be known, and no others."""
    project.run("python", "-c", TELL, before)
