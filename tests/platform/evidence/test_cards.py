"""The cards of the example are told, once a project has left the example."""

from __future__ import annotations

from pathlib import Path

import pytest
from slipway.evidence.audit import audit
from slipway.registry import cards
from slipway.settings.project import Project

ABOUT = ("the data card tells where the data came from", "the model card is this model's")

SENTENCES = cards.EXAMPLES["data/sample/flights.csv.gz"]


def judged(project: Project) -> dict[str, bool]:
    return {finding.what: finding.holds for finding in audit(Project(project.root)) if finding.what in ABOUT}


# MLflow's own, of its use of SQLAlchemy.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_the_audit_tells_a_card_that_is_still_the_examples(project: Project, project_root: Path) -> None:
    """`project` learns from a part of the flights in a file of another name, as any other project would."""
    (project.root / "data" / "README.md").write_text((project_root / "data" / "README.md").read_text("utf-8"))
    assert judged(project) == dict.fromkeys(ABOUT, False)

    for card in (cards.DATA_CARD, cards.MODEL_CARD):
        text = (project.root / card).read_text("utf-8")
        (project.root / card).write_text(text.replace(SENTENCES[card], "# Of our own"), encoding="utf-8")

    assert judged(project) == dict.fromkeys(ABOUT, True)


def test_the_example_itself_may_keep_them(project_root: Path) -> None:
    example = Project(project_root)

    assert not any(cards.of_the_example(example, card) for card in SENTENCES)
    assert all(text in (example.root / card).read_text("utf-8") for card, text in SENTENCES.items())
