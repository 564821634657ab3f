"""Which answers rows of each class got: counted, as shares, and what follows for each class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from slipway import kinds
from slipway.kinds.base import Scores
from slipway.training.bundle import ModelFacts
from slipway.training.score_columns import scores_in


class ClassFigures(msgspec.Struct, frozen=True):
    """Of one class: its rows, the share of its answers that were right, and the share of its rows that were found.

    A class that was never answered, or never happened, has none of that share.
    """

    name: str
    rows: int
    precision: float | None
    recall: float | None


class Confusion(msgspec.Struct, frozen=True):
    """How often each class was answered where each happened: `counts[happened][answered]`, in their order."""

    classes: list[str]
    counts: list[list[int]]

    @classmethod
    def of(cls, truth: NDArray[Any], scores: Scores, facts: ModelFacts) -> Confusion:
        """Count answers; `truth` has places in the classes of the model."""
        many = len(facts.classes)
        places = {name: place for place, name in enumerate(facts.classes)}
        answers = kinds.named(facts.kind, facts.classes).answers(scores, facts.threshold)
        answered = np.array([places[answer] for answer in answers], dtype=np.int64)
        counted = np.bincount(truth.astype(np.int64) * many + answered, minlength=many**2)
        return cls(facts.classes, counted.reshape(many, many).tolist())

    @classmethod
    def of_log(cls, log: pl.DataFrame, digest: str, facts: ModelFacts, truth: str) -> Confusion | None:
        """Count the labelled answers of a version in a log; `None` where there are none, or it has no classes."""
        if not facts.classes or truth not in log.columns:
            return None
        known = log.filter((pl.col("digest") == digest) & pl.col(truth).is_not_null())
        return cls.of(known[truth].to_numpy(), scores_in(known), facts) if known.height else None

    @property
    def rows(self) -> int:
        """All that was counted."""
        return sum(map(sum, self.counts))

    def figures(self) -> Iterator[ClassFigures]:
        """What follows for each class."""
        for place, (name, row) in enumerate(zip(self.classes, self.counts, strict=True)):
            answered = sum(counts[place] for counts in self.counts)
            right = row[place]
            yield ClassFigures(
                name, sum(row), right / answered if answered else None, right / sum(row) if any(row) else None
            )

    @property
    def macro(self) -> ClassFigures:
        """Averages in which each class counts the same; a share that a class has none of counts as 0."""
        every = [*self.figures()]
        precision, recall = (
            sum(one or 0 for one in shares) / len(every)
            for shares in ([one.precision for one in every], [one.recall for one in every])
        )
        return ClassFigures("macro average", self.rows, precision, recall)

    def cells(self) -> Iterator[tuple[ClassFigures, list[tuple[int, float]]]]:
        """For each class that happened, how often each was answered: counts, and shares of its rows from 0 to 1."""
        for figures, row in zip(self.figures(), self.counts, strict=True):
            yield figures, [(count, count / max(1, figures.rows)) for count in row]

    def markdown(self) -> list[str]:
        """A table for people: what happened by line, what was answered by column, precision in the last line."""
        lines = [
            f"| happened | {' | '.join(f'answered {name}' for name in self.classes)} | recall | rows |",
            "|---|" + "--:|" * (len(self.classes) + 2),
        ]
        for figures, cells in self.cells():
            told = " | ".join(f"{count:,} ({as_share(share)})" for count, share in cells)
            lines.append(f"| {figures.name} | {told} | {as_share(figures.recall)} | {figures.rows:,} |")
        precision = " | ".join(as_share(figures.precision) for figures in self.figures())
        macro = self.macro
        return [
            *lines,
            f"| precision | {precision} | | {self.rows:,} |",
            "",
            f"On average of the classes: precision {as_share(macro.precision)}, recall {as_share(macro.recall)}.",
        ]


def as_share(share: float | None) -> str:
    """A share for people; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.1f} %"
