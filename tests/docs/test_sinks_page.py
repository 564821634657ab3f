"""The table of places for the prediction log is what the platform and the tests say."""

import sinks
from slipway.base.buckets import SCHEMES
from stores import LOGS


def test_the_table_of_sinks_is_up_to_date() -> None:
    assert sinks.PAGE.read_text(encoding="utf-8") == sinks.page(), "next: make docs"


def test_every_sink_that_ships_has_a_real_store_and_each_test_is_there() -> None:
    assert set(LOGS) == set(sinks.SINKS) == {"folder", *SCHEMES} - {"azure"}
    assert sinks.missing() == []
