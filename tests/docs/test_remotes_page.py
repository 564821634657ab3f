"""The table of data remotes is what the platform and the tests say."""

import remotes
from slipway.data.remotes import REMOTES
from stores import STORES


def test_the_table_of_remotes_is_up_to_date() -> None:
    assert remotes.PAGE.read_text(encoding="utf-8") == remotes.page(), "next: make docs"


def test_every_kind_has_a_real_store_and_every_identity_somebody_who_takes_it() -> None:
    rows = {row.split("`")[1]: row for row in remotes.page().splitlines() if row.startswith("| `")}

    assert set(STORES) == {one.kind for one in REMOTES if one.schemes}
    assert {kind for kind, row in rows.items() if row.endswith("_of_no_other` |")} == {
        one.kind for one in REMOTES if one.identity
    }
