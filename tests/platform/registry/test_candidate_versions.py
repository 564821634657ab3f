"""What candidates as versions need around them: a second checkout that finds the data, and a clear word at the end."""

from pathlib import Path

import pytest
from rendering import commit, git
from slipway.base.errors import MlopsError
from slipway.data import place
from slipway.registry.candidates import CandidateOutcome, outcomes_text, require_all, require_registrable
from slipway.registry.models import Version
from slipway.settings.project import Project

MADE = CandidateOutcome("large", "", Version(3, "sha256:1", "c", "r", "s"), "candidate/v3", 0.75, 4, is_new=True)
KNOWN = CandidateOutcome("small", "", Version(2, "sha256:2", "c", "r", "s"), "candidate/v2", 0.7, 1)
LEFT = CandidateOutcome("odd", "it could not be measured: no")


def test_another_checkout_has_the_cache_and_the_remotes_of_the_first(tmp_path: Path) -> None:
    """Paths begin at `.dvc/`, which lies elsewhere there; addresses and secrets are as they were."""
    first, other = tmp_path / "first", tmp_path / "deep" / "down" / "other"
    for root in (first, other):
        (root / ".dvc").mkdir(parents=True)
    (first / ".dvc" / "config").write_text(
        "[core]\n    remote = storage\n['remote \"storage\"']\n    url = ../../data\n"
        "['remote \"far\"']\n    url = s3://bucket/100%\n    profile = me\n"
    )
    (first / ".dvc" / "key").touch()
    (first / ".dvc" / "config.local").write_text("['remote \"far\"']\n    keyfile = key\n    password = a%b#c\n")

    place.share(first, tmp_path / "cache", other)

    written = other / ".dvc" / "config.local"
    assert place.local_folder(other) == place.local_folder(first) == tmp_path / "data"
    assert written.stat().st_mode & 0o777 == 0o600
    lines = written.read_text().splitlines()
    assert {f"dir = {tmp_path / 'cache'}", "url = s3://bucket/100%", "password = a%b#c", "profile = me"} <= {*lines}
    assert f"keyfile = {first / '.dvc' / 'key'}" in lines


def test_each_candidate_has_a_line_and_the_end_names_those_without_a_version() -> None:
    assert [*outcomes_text([MADE, KNOWN, LEFT], "roc_auc")] == [
        "large  version 3, roc_auc 0.7500 in evaluation, 4 gates passed, branch candidate/v3",
        "small  version 2, as before, roc_auc 0.7000 in evaluation, 1 gate passed, branch candidate/v2",
        "odd    not registered: it could not be measured: no",
    ]
    require_all([MADE, KNOWN])
    with pytest.raises(MlopsError, match="1 of 3 candidates has no version: odd"):
        require_all([MADE, KNOWN, LEFT])


def test_what_could_not_be_registered_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    commit(tmp_path, "Begin")
    project = Project(tmp_path)

    require_registrable(project, push=False)
    with pytest.raises(MlopsError, match="this clone has no origin to send commits to"):
        require_registrable(project, push=True)
    (tmp_path / "params.yaml").write_text("seed: 2\n")
    with pytest.raises(
        MlopsError, match=r"cannot register candidates from a tree with changes in 1 file: params\.yaml"
    ):
        require_registrable(project, push=False)
