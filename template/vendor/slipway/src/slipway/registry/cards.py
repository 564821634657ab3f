"""The cards that come with an example. In a project that learns from other data, nobody has written them yet."""

from __future__ import annotations

from slipway.settings.project import Project

DATA_CARD, MODEL_CARD = "data/README.md", "docs/model.md"
#: What each example learns from, and the sentence by which each of its cards is known.
EXAMPLES = {
    "data/sample/flights.csv.gz": {
        DATA_CARD: "# Data card: flights that left New York in 2013",
        MODEL_CARD: "An example to replace: nobody should plan a journey by it.",
    },
    "data/sample/digits.csv.gz": {
        DATA_CARD: "# Data card: digits written by hand",
        MODEL_CARD: "An example to replace: no bank should read a cheque by it.",
    },
}


def of_the_example(project: Project, card: str) -> str:
    """Which example a card still speaks of while the project learns from something else; empty where it does not."""
    path, source = project.root / card, project.params.data.source
    text = path.read_text("utf-8") if path.is_file() else ""
    told = (place for place, sentences in EXAMPLES.items() if place != source and sentences[card] in text)
    return next((place.rpartition("/")[2].partition(".")[0] for place in told), "")
