"""The page on governance is what the platform's table says, and each test that shows a line is there."""

import governance
import pytest
from slipway.data.remotes import REMOTES
from slipway.evidence.governance import RAW, RULES, GovernanceRule


def test_the_page_on_governance_is_up_to_date() -> None:
    assert governance.PAGE.read_text(encoding="utf-8") == governance.page(), "next: make docs"


@pytest.mark.parametrize("rule", RULES, ids=lambda one: f"{one.artefact}-{one.choice}")
def test_a_test_that_is_there_shows_each_line(rule: GovernanceRule) -> None:
    assert rule.proofs
    assert [proof for proof in rule.proofs if governance.missing(proof)] == []


def test_every_kind_of_artefact_of_every_remote_is_in_the_table() -> None:
    assert {one.kind for one in REMOTES} == {one.choice for one in RULES if one.artefact == RAW} - {"git"}
    assert len({(one.artefact, one.choice) for one in RULES}) == len(RULES)
