"""The table of links is what the tests say."""

import edges


def test_the_table_of_links_is_up_to_date() -> None:
    assert edges.PAGE.read_text(encoding="utf-8") == edges.page(), "next: make docs"


def test_each_link_is_shown_whole_and_cut() -> None:
    faults: dict[str, set[bool]] = {}
    for one in edges.edge_tests():
        faults.setdefault(one.edge, set()).add(bool(one.fault))

    assert set(faults) == {f"E{number}" for number in range(1, 17)}
    assert all(seen == {True, False} for seen in faults.values())
