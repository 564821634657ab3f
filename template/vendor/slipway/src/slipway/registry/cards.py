"""The cards that come with the example. In a project that learns from other data, nobody has written them yet."""

from __future__ import annotations

from slipway.settings.project import Project

#: What the example learns from, and the sentence by which each of its cards is known.
EXAMPLE = "data/sample/flights.csv.gz"
DATA_CARD, MODEL_CARD = "data/README.md", "docs/model.md"
SENTENCES = {
    DATA_CARD: "# Data card: flights that left New York in 2013",
    MODEL_CARD: "An example to replace: nobody should plan a journey by it.",
}


def of_the_example(project: Project, card: str) -> bool:
    """Whether a card still speaks of the example while the project learns from something else."""
    path = project.root / card
    is_other = project.params.data.source != EXAMPLE
    return is_other and path.is_file() and SENTENCES[card] in path.read_text("utf-8")
