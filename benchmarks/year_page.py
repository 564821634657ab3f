"""The page and the pictures about the year, from the figures that `year.py` has collected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "year.md"
QUALITY, DRIFT, LABELS = (DOCS / f"year-{name}.svg" for name in ("quality", "drift", "labels"))
#: In the picture of what moved, no more columns than can be told apart.
SHOWN_COLUMNS = 6

#: The page; what was found stands in the braces.
TEXT = """\
# A year of flights

After this page you know what the monitor says of a year of real flights, how often it is wrong, and what retraining was
worth. `benchmarks/year.py` made every figure, and the sentences of the lists.

Each flight is answered at the time it was to leave, and its arrival is known a day later. At the end of each month,
`mlops monitor staging --since --until` says what was known then. Where it says `act`, a candidate is trained on
everything until the middle of the month, tested on the rest of it, and put in the shadow of the champion for the next
month; `mlops decide` says what follows, and that is done. A candidate is tried even where the gates refuse it, to see
whether they are right.

## A model that has seen half a year

It learned from all flights that left New York from January to June 2013. Its test months, July and August, are those of
the project that ships, and set the limit of its quality.

{half_found}

{half_months}

Bold asks to act. `index` is the population stability index. A column is not told where days of the reference differ as
much as any change would, which is `insufficient data`. The limit is the champion's Brier score on its test months
and `monitor.quality.drop`; lower is better.

![Share of late flights, expected and happened, by month](year-labels.svg)

![How far columns moved by month](year-drift.svg)

{half_trials}

The interval holds at all looks together. The Brier score of every version, in the months after those it was tested on:

{half_versions}

## A model that has seen seven weeks

A project that begins with little data: the first model learned from January to the middle of February, and was tested
on the rest of it.

{young_found}

{young_months}

{young_trials}

{young_versions}

![Brier score of each version by month](year-quality.svg)

## False alarms

{alarms_found}

{alarms}

Each is compared with what is left of the training half without its days.
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
    told_after: int | None = None

    @property
    def name(self) -> str:
        """The month in words."""
        return month_of(self.day)

    @property
    def moved(self) -> bool:
        """Whether labels were not what was expected."""
        return bool(self.report["concept"]["state"] == "moved")

    @property
    def acting(self) -> list[str]:
        """The columns that ask to act."""
        return [one["name"] for one in self.report["columns"] if one["verdict"] == "act"]


@dataclass
class Story:
    """A year as one first model met it; `measured` is every version on every month."""

    learned: str
    months: list[Month]
    measured: list[dict[str, Any]]

    def of(self, version: int, day: str) -> dict[str, Any]:
        """The figures of a version in a month."""
        return next(one for one in self.measured if (one["version"], one["month"]) == (version, day))

    @property
    def versions(self) -> dict[int, str]:
        """What each version has learned from, in words."""
        made = {one.candidate: f"to the middle of {one.name}" for one in self.months if one.candidate}
        return {1: self.learned} | made

    def is_after(self, version: int, month: Month) -> bool:
        """Whether a month is later than what a version has learned from and was tested on."""
        made = next((one.day for one in self.months if one.candidate == version), "")
        return month.day > made

    @classmethod
    def read(cls, facts: dict[str, Any]) -> Story:
        """A story from its kept figures."""
        return cls(facts["learned"], [Month(**month) for month in facts["months"]], facts["measured"])


def months_of(story: Story) -> list[str]:
    """A line for each month."""
    lines = [
        "| month | flights | late, expected | verdict | moved (index) | not told | Brier, limit | quality | ROC AUC |",
        "|---|--:|--:|---|---|---|--:|---|--:|",
    ]
    for month in story.months:
        figures, quality, seen = story.of(month.champion, month.day), month.report["quality"], month.report["concept"]
        moved = [one for one in month.report["columns"] if one["verdict"] in ("act", "watch")]
        named = ", ".join(f"{bold(one['name'], when=one['verdict'] == 'act')} {one['size']:.2f}" for one in moved)
        untold = ", ".join(one["name"] for one in month.report["columns"] if one["verdict"] == "insufficient data")
        late = f"{seen['outcome']['happened']:.1%}, {seen['outcome']['expected']:.1%}" if seen["outcome"] else "unknown"
        brier = f"{quality['value']:.4f}, {quality['limit']:.4f}" if quality["value"] is not None else "unknown"
        lines.append(
            f"| {month.name} | {month.report['predictions']:,} | {bold(late, when=month.moved)} | "
            f"{month.report['verdict']} | {named or 'none'} | {untold or 'none'} | {brier} "
            f"| {quality['state']} | {figures['roc_auc']:.3f} |"
        )
    return lines


def bold(text: str, *, when: bool) -> str:
    """A text as Markdown, bold or not."""
    return f"**{text}**" if when else text


def trials_of(story: Story) -> list[str]:
    """A line for each candidate: what its gates said of it, and what the month after did."""
    lines = [
        "| candidate learned to the middle of | gates, on the rest | trial | gain in Brier score, between | verdict |",
        "|---|---|---|--:|---|",
    ]
    for made, tried in pairwise(story.months):
        if made.candidate is None or tried.trial is None:
            continue
        trial = tried.trial
        first = made.refused[0].partition(", the gate")[0] if made.refused else ""
        refused = f"refused by {len(made.refused)}: {first}" if made.refused else ""
        decision = trial["verdict"]["decision"]
        lines.append(
            f"| {made.name} | {refused or 'passed'} | {tried.name}, against version {tried.champion} "
            f"| {trial['gain']:+.4f}, {trial['low']:+.4f} and {trial['high']:+.4f} "
            f"| {bold(decision, when=decision == 'promote')} |"
        )
    return lines if tried_in(story) else ["No candidate was tried."]


def tried_in(story: Story) -> list[dict[str, Any]]:
    """The trials of the candidates."""
    return [month.trial for month in story.months if month.trial]


def found(story: Story) -> Iterator[str]:
    """The sentences that follow from the figures, whatever they are."""
    months = story.months
    acts = sum(month.report["verdict"] == "act" for month in months)
    broken = [month.name for month in months if month.report["quality"]["state"] == "broken"]
    columns = sum(bool(month.acting) for month in months)
    surprising = [month.name for month in months if month.moved]
    untold = sum(month.report["verdict"] == "insufficient data" for month in months)
    yield f"""The monitor said `act` in {acts} of {len(months)} months, and `insufficient data` in {untold}. Columns
        asked to act in {columns} months, and labels were not what was expected in {_listed(surprising)}. The champion
        was shown to be worse than its limit in {_listed(broken)}."""
    if told := [f"{month.told_after} days of {month.name}" for month in months if month.told_after]:
        yield f"Somebody who looks at the end of each day would have read `act` after {_listed(told)}."
    yield from tried_out(story)
    stale_figures = [story.of(1, month.day) for month in months]
    for metric, words in (("brier", "Brier score"), ("roc_auc", "ROC AUC")):
        low, high = (choose(stale_figures, key=lambda one: one[metric]) for choose in (min, max))
        yield f"""The {words} of the first model was between {low[metric]:.4f} ({month_of(low["month"])},
            {low["late"]:.0%} late) and {high[metric]:.4f} ({month_of(high["month"])}, {high["late"]:.0%} late)."""


def tried_out(story: Story) -> Iterator[str]:
    """The sentences about candidates."""
    months = story.months
    tried = tried_in(story)
    if not tried:
        yield "No candidate was trained, as nothing asked for one."
        return
    gains = [trial["gain"] for trial in tried]
    better, worse = sum(trial["low"] > 0 for trial in tried), sum(trial["high"] < 0 for trial in tried)
    promoted = [month for month in months if month.trial and month.trial["verdict"]["decision"] == "promote"]
    names = _listed([f"the one tried in {month.name}" for month in promoted])
    yield f"""Candidates: {len(tried)}; shown to be better than the champion in the month of their trial: {better}, to
        be worse: {worse}. Promoted: {names}. Gains in Brier score: {min(gains):+.4f} to {max(gains):+.4f};
        `experiment.smallest_gain` is {tried[0]["rule"]["smallest_gain"]:g}."""
    for month in promoted:
        later = [one for one in months if one.day > month.day]
        if month.trial and later:
            stale, fresh = (weighted(story, version, later) for version in (month.champion, month.challenger or 1))
            yield f"""The candidate promoted at the end of {month.name} had a Brier score of {fresh:.4f} from then to
                December, the champion that it replaced would have had {stale:.4f}."""


def weighted(story: Story, version: int, months: list[Month]) -> float:
    """The Brier score of a version over several months."""
    figures = [story.of(version, month.day) for month in months]
    return float(sum(one["brier"] * one["rows"] for one in figures) / sum(one["rows"] for one in figures))


def alarms_found(alarms: dict[str, Any]) -> Iterator[str]:
    """The sentences about false alarms."""
    shares, numbers = alarms["shares"], alarms["of"]
    yield f"""Of {numbers["days"]} months drawn by whole days from the training rows, {shares["days"]["changed"]:.1%}
        had a column, or labels, that were told from chance; the policy accepts {alarms["p_value"]:.0%}. If each flight
        counted as a draw of its own, it would have been {shares["rows"]["changed"]:.0%}, and
        {shares["rows"]["act"]:.0%} of the months would have said `act`: flights of a day share its weather."""
    yield f"""Of the {numbers["months"]} months that the model learned from, each judged against the others,
        {shares["months"]["act"]:.0%} say `act`: a month is not half a year."""


def versions_of(story: Story) -> list[str]:
    """The Brier score of each version in the months after those it was tested on."""
    lines = [
        f"| version | learned | {' | '.join(month.name for month in story.months)} |",
        "|--:|---|" + "--:|" * len(story.months),
    ]
    for number, words in story.versions.items():
        cells = [
            bold(f"{story.of(number, month.day)['brier']:.4f}", when=number == month.champion)
            if story.is_after(number, month)
            else ""
            for month in story.months
        ]
        lines.append(f"| {number} | {words} | {' | '.join(cells)} |")
    return [*lines, "", "Bold is the champion of the month."]


def false_alarms(alarms: dict[str, Any]) -> list[str]:
    """A line for each way to make a month of training rows."""
    lines = [
        "| days of the training half | months | told from chance | of that labels | watch | act |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    made = {
        "days": "30 drawn at random",
        "rows": "the same, each flight a draw of its own",
        "months": "January to June as they were",
    }
    for kind, words in made.items():
        one = alarms["shares"][kind]
        lines.append(
            f"| {words} | {alarms['of'][kind]} | {one['changed']:.2%} | {one['labels']:.2%} | {one['watch']:.1%} "
            f"| {one['act']:.1%} |"
        )
    return lines


def page(half: Story, young: Story, alarms: dict[str, Any]) -> str:
    """The page as Markdown."""
    parts = {"alarms": false_alarms(alarms), "alarms_found": items(alarms_found(alarms))}
    for name, story in (("half", half), ("young", young)):
        parts |= {
            f"{name}_found": items(found(story)),
            f"{name}_months": months_of(story),
            f"{name}_trials": trials_of(story),
            f"{name}_versions": versions_of(story),
        }
    return TEXT.format_map({name: "\n".join(lines) for name, lines in parts.items()})


def items(sentences: Iterator[str]) -> list[str]:
    """Sentences as the items of a list."""
    return [f"- {' '.join(sentence.split())}" for sentence in sentences]


def month_of(day: str) -> str:
    """A day's month, in words."""
    return f"{date.fromisoformat(day):%B}"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "none"


def draw(half: Story, young: Story) -> None:
    """Three pictures: quality, labels, and what moved."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "year"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", sharey=True)
    for place, (title, story) in zip(axes, (("Half a year", half), ("Seven weeks", young)), strict=True):
        draw_quality(place, story)
        place.set(title=f"{title}: Brier score, lower is better")
    figure.savefig(QUALITY, metadata={"Date": None})

    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    draw_labels(axes, half)
    figure.savefig(LABELS, metadata={"Date": None})

    figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
    draw_drift(axes, half)
    figure.savefig(DRIFT, metadata={"Date": None})


def draw_quality(axes: Axes, story: Story) -> None:
    """The Brier score of every version after what it has learned from; the champion's is thick."""
    for version, learned in story.versions.items():
        shown = [month for month in story.months if story.is_after(version, month)]
        values = [story.of(version, month.day)["brier"] for month in shown]
        axes.plot([month.name[:3] for month in shown], values, marker=".", lw=1, label=f"{version}: {learned}")
    champions = [story.of(month.champion, month.day)["brier"] for month in story.months]
    axes.plot([month.name[:3] for month in story.months], champions, color="black", lw=3, alpha=0.25, label="champion")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="xx-small", ncols=2)


def draw_labels(axes: Axes, story: Story) -> None:
    """What the champion expected of each month, and what happened."""
    names = [month.name for month in story.months]
    told = [month.report["concept"]["outcome"] for month in story.months]
    axes.plot(names, [one["expected"] for one in told], "_", ms=28, mew=2.5, color="black", label="expected")
    # Two errors are about 95 % of the draws.
    axes.errorbar(
        names, [one["happened"] for one in told], [2 * one["error"] for one in told],
        fmt="o", capsize=3, label="happened, with two standard errors by days",
    )  # fmt: skip
    for name, month, one in zip(names, story.months, told, strict=True):
        if month.moved:
            axes.annotate("act", (name, one["happened"]), (10, 0), textcoords="offset points", color="tab:red")
    axes.set(title="Share of late flights", ylim=(0, None))
    axes.margins(x=0.1)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower left")


def draw_drift(axes: Axes, story: Story) -> None:
    """How far the columns moved that moved most."""
    names = [month.name for month in story.months]
    moved: dict[str, list[float]] = {one["name"]: [] for one in story.months[0].report["columns"]}
    for month in story.months:
        for one in month.report["columns"]:
            moved[one["name"]].append(one["size"])
    for name in sorted(moved, key=lambda name: -max(moved[name]))[:SHOWN_COLUMNS]:
        axes.plot(names, moved[name], marker="o", label=name)
    limits = story.months[0].report["limits"]
    for limit in ("watch", "act"):
        axes.axhline(limits[limit], ls="--", color="tab:red", alpha=0.6)
        axes.annotate(limit, (len(names) - 0.9, limits[limit]), fontsize="small", color="tab:red")
    axes.set(title="Population stability index against January to June", yscale="log", ylim=(0.005, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=2)
