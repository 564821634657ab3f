"""The platform without a project around it; see `in_place`.

With another example than the first, only tests that use a model or data of the example are selected, since the others
have nothing that could differ.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.session import get_session
from in_place import *  # noqa: F403 - fixtures
from in_place import PROBLEM
from servers import Bucket, s3_store

HERE = Path(__file__).parent
#: Files and tests that use the example, and what they show does not depend on the kind of answer.
ALIKE = {
    "test_access.py", "test_advisories.py", "test_asking.py", "test_bucket_of_a_project.py", "test_candidates.py",
    "test_cards.py",
    "test_connections.py", "test_engine.py", "test_erasure.py", "test_fleet.py",
    "test_gathering.py", "test_formats.py", "test_hanging.py", "test_kept.py", "test_label_sources.py",
    "test_labels.py", "test_next_steps.py", "test_partitions.py",
    "test_privacy.py", "test_published.py", "test_remotes.py", "test_rights.py", "test_rollback.py",
    "test_signing.py", "test_snapshots.py", "test_stages.py", "test_target.py", "test_tls.py", "test_tracking.py",
    "test_turns.py",
    "test_a_batch_killed_at_any_moment_has_each_row_once_in_the_end", "test_ten_times_the_rows_need_no_more_memory",
    "test_a_search_that_was_killed_and_goes_on_finds_what_it_would_have_found",
}  # fmt: skip
#: Files and tests that make up one score for each row, or change what settings of several classes have not;
#: what they would show of several classes is in kinds/test_multiclass.py.
ONE_SCORE = {
    "test_concept.py", "test_history.py", "test_monitor.py", "test_skew.py",
    "test_a_limit_on_the_wrong_side_is_refused",
    "test_a_model_from_before_a_known_day_is_found_to_be_too_old",
    "test_a_model_whose_golden_rows_score_differently_is_not_served",
    "test_a_golden_score_keeps_its_digits",
    "test_a_kind_from_outside_is_trained_exported_scored_and_shown",
    "test_a_newer_platform_serves_a_model_with_the_code_of_its_team",
    "test_a_newer_platform_that_answers_otherwise_is_refused",
    "test_a_proposal_changes_the_values_and_nothing_else",
    "test_a_target_that_cannot_be_learned_is_refused_before_anything_is_fitted",
    "test_an_exporter_from_outside_trains_a_model_that_no_library_knows",
    "test_what_was_tried_lies_in_the_ranges_and_is_written_with_few_digits",
}  # fmt: skip
LEFT_OUT = ALIKE | ONE_SCORE if PROBLEM == "multiclass" else ALIKE


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With another example, leave out what does not use it."""
    if PROBLEM == "binary":
        return
    left_out = [
        item for item in items
        if item.path.is_relative_to(HERE)
        and (
            {item.path.name, getattr(item, "originalname", "")} & LEFT_OUT
            or "project_root" not in getattr(item, "fixturenames", ())
        )
    ]  # fmt: skip
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """A store with the bucket `flights`."""
    with s3_store(tmp_path_factory.mktemp("store")) as made:
        keys = {name.lower(): value for name, value in made.owner.items()}
        client = get_session().create_client("s3", endpoint_url=made.endpoint, region_name="us-east-1", **keys)
        client.create_bucket(Bucket="flights")
        yield made


@pytest.fixture(scope="module")
def address(store: Bucket, an_environment_of_its_own: None) -> str:
    """The address of a folder in the bucket, to which this process has the credentials of the bucket's owner."""
    os.environ |= {**store.owner, "AWS_ENDPOINT_URL": store.endpoint, "AWS_REGION": "us-east-1"}
    return "s3://flights/logs"
