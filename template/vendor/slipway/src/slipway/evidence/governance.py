"""What a project keeps, where, who may do what to it, and for how long: a rule for each choice that can be made.

`mlops governance` shows the rules of a project's own choices, `mlops audit` asks for the rights that these give to
whoever runs it, and docs/governance.md is written from all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from slipway.data.remotes import REMOTES, Remote


class Actor(StrEnum):
    """Who does something: each has an identity of its own wherever a place knows identities."""

    PERSON = "person"
    MAIN = "main"
    PULL_REQUEST = "pull-request"
    SERVER = "server"
    MONITOR = "monitor"


#: As a sentence names them.
NAMES = {
    Actor.PERSON: "a person",
    Actor.MAIN: "a job of main",
    Actor.PULL_REQUEST: "a job of a pull request",
    Actor.SERVER: "the server",
    Actor.MONITOR: "the monitor",
}
#: Who that is.
ACTORS = {
    Actor.PERSON: "somebody of the team, on a machine of their own",
    Actor.MAIN: "the workflows Train, Deploy and Rollback",
    Actor.PULL_REQUEST: "it runs what somebody proposes, perhaps from a fork",
    Actor.SERVER: "what answers requests, with the process beside it that uploads the log",
    Actor.MONITOR: "the job Monitor, or who runs `mlops monitor`",
}
_EVERYBODY = (Actor.PERSON, Actor.MAIN, Actor.PULL_REQUEST, Actor.MONITOR)
_TEAM = (Actor.PERSON, Actor.MAIN)

RAW, PIPELINE, BUNDLES, IMAGES, ENVIRONMENTS = "raw data", "pipeline data", "bundles", "images", "environment files"
PREDICTIONS, REFUSALS, POSTED, ERASURES = "prediction log", "refusals", "posted labels", "erasures"
HEARTBEATS, KEPT_REPORTS = "heartbeats", "reports of the monitor"
LABELS, REPORTS, LEDGER = "labels", "reports", "ledger"
GIT, NONE, FOLDER, BUCKET, DATABASE, ELSEWHERE = "git", "none", "folder", "bucket", "database", "another"
FILE, TRACKING, IMAGE_REGISTRY = "file", "server", "registry"


@dataclass(frozen=True)
class GovernanceRule:
    """How one kind of artefact is governed where a project made one choice.

    `lies` says where, `kept` how long and `enforced` by what. A person may have less than is said here. `proofs` name
    tests of the template's repository that show it.
    """

    artefact: str
    choice: str
    lies: str
    read: tuple[Actor, ...]
    write: tuple[Actor, ...]
    delete: tuple[Actor, ...]
    kept: str
    enforced: str
    proofs: tuple[str, ...]

    def of(self, verb: str) -> tuple[Actor, ...]:
        """Who may `read`, `write` or `delete`."""
        return {"read": self.read, "write": self.write, "delete": self.delete}[verb]

    def names(self, verb: str) -> str:
        """The same in words."""
        return ", ".join(NAMES[actor] for actor in self.of(verb)) or "nobody"


_FOR_EVER = "for ever: no command deletes any"
_BY_REVIEW = "a person writes by a reviewed change, which `.github/rules.json` and `CODEOWNERS` ask for"
_TESTS = "tests/platform"
_RIGHTS = f"{_TESTS}/evidence/test_rights.py::"
_STORES = (
    f"{_TESTS}/data/test_stores.py::test_who_may_write_has_every_right_and_who_may_only_read_is_refused_by_name",
    f"{_RIGHTS}test_whoever_has_more_or_less_than_the_table_says_is_told",
)
_RULES = "tests/workflows/test_drill.py::test_branch_rules_are_applied_and_a_missing_one_is_told"


def _remote(artefact: str, kind: Remote) -> GovernanceRule:
    """Versions of data at a kind of remote, whose own rights are what holds there."""
    writers = _TEAM if kind.is_written else ()
    kept = _FOR_EVER if kind.is_bucket or not writers else "until who may write deletes it: no command does"
    if kind.is_bucket:
        enforced = f"rights of the bucket: who reads has {kind.reader}; who writes has, too: {kind.writer}"
    elif kind.is_written:
        enforced = f"accounts and modes of files: {kind.reader}, or {kind.writer}; who may write there may delete there"
    else:
        enforced = f"the web server, which lets {kind.reader} through; who fills it writes by another way"
    local = ("tests/lifecycle/test_edges.py::test_a_clean_clone_trains_on_data_from_the_remote",)
    return GovernanceRule(
        artefact, kind.kind, "the default remote in `.dvc/config`",
        read=(*_TEAM, Actor.MONITOR), write=writers, delete=() if kind.is_bucket else writers,
        kept=kept, enforced=enforced, proofs=_STORES if kind.schemes else local,
    )  # fmt: skip


def _log(artefact: str, *proofs: str) -> tuple[GovernanceRule, ...]:
    """One of the logs of servers, in each place where these can be."""
    keeps = artefact == ERASURES
    kept = _FOR_EVER if keeps else "`privacy.keep_days` of policy.yaml, and for ever without it"
    deleters = () if keeps else (Actor.MONITOR,)
    # An erasure is recorded by who does it, on the machine whose server wrote what is erased.
    here = GovernanceRule(
        artefact, FOLDER, f"`.mlops/{_FOLDERS[artefact]}/` on the machine that serves",
        read=(Actor.SERVER, Actor.MONITOR), write=(Actor.SERVER,), delete=deleters, kept=kept,
        enforced="files for their owner alone (mode 600), so monitor and server are one user of the machine",
        proofs=(f"{_RIGHTS}test_what_others_of_this_machine_can_read_is_told", *proofs),
    )  # fmt: skip
    there = GovernanceRule(
        artefact, BUCKET, "the bucket that `serving.log` of policy.yaml names",
        read=(Actor.PERSON, Actor.SERVER, Actor.MONITOR), write=(Actor.SERVER,), delete=deleters, kept=kept,
        enforced="rights of the bucket; who uploads asks for the size of what it wrote, which stores count as reading",
        proofs=(f"{_RIGHTS}test_each_identity_of_a_log_has_what_the_table_says_or_is_told", *proofs),
    )  # fmt: skip
    other = GovernanceRule(
        artefact, ELSEWHERE, "where the sink puts it that `serving.log` of policy.yaml names",
        read=there.read, write=there.write, delete=deleters, kept=kept,
        enforced="whatever the distribution that brings the sink says",
        proofs=(f"{_TESTS}/test_seams_page.py::test_the_log_of_the_page_is_kept_in_the_folder_of_its_address",),
    )  # fmt: skip
    return here, there, other


_FOLDERS = {PREDICTIONS: "predictions", REFUSALS: "refused", POSTED: "labels", ERASURES: "erasures"}


def _labels(choice: str, lies: str, enforced: str, *proofs: str) -> GovernanceRule:
    """What really happened, which somebody else writes down."""
    return GovernanceRule(
        LABELS, choice, lies, read=(Actor.PERSON, Actor.MONITOR), write=(), delete=(),
        kept="as whoever writes them down has it: nothing here writes or deletes them", enforced=enforced,
        proofs=tuple(f"{_TESTS}/data/{one}" for one in proofs),
    )  # fmt: skip


_IN_A_BUCKET = "test_label_sources.py::test_labels_in_a_bucket_say_what_the_same_files_in_a_folder_say"
RULES = (
    GovernanceRule(
        RAW, GIT, "`data.source` of params.yaml", read=_EVERYBODY, write=(Actor.PERSON,), delete=(),
        kept="for ever, in the history", enforced=_BY_REVIEW,
        proofs=("tests/workflows/test_own_data.py::"
                "test_a_change_from_a_fork_runs_on_the_sample_and_training_says_what_it_lacks", _RULES),
    ),
    *(_remote(RAW, kind) for kind in REMOTES),
    *(_remote(PIPELINE, kind) for kind in REMOTES),
    GovernanceRule(
        BUNDLES, FILE, "`tracking_uri` in `[tool.mlops]`, a file with a folder beside it",
        read=(*_TEAM, Actor.SERVER, Actor.MONITOR), write=_TEAM, delete=_TEAM,
        kept="until who may write deletes it: no command does",
        enforced="modes of files; a bundle that was changed has another digest, and is not served",
        proofs=("tests/lifecycle/test_edges.py::test_a_bundle_changed_in_the_registry_is_not_served",),
    ),
    GovernanceRule(
        BUNDLES, TRACKING, "the MLflow server that `MLFLOW_TRACKING_URI` or `[tool.mlops]` names",
        read=(*_TEAM, Actor.SERVER, Actor.MONITOR), write=(Actor.MAIN,), delete=(), kept=_FOR_EVER,
        enforced="logins of that server; a bundle that was changed has another digest, and is not served",
        proofs=("tests/lifecycle/test_remotes.py::"
                "test_a_tracking_server_is_one_setting_and_its_absence_stops_training_but_not_serving",),
    ),
    GovernanceRule(
        IMAGES, NONE, "nowhere: processes alone", read=(), write=(), delete=(), kept="there are none",
        enforced="a project without `image` in `[tool.mlops]` builds none",
        proofs=("tests/platform/delivery/test_target.py::"
                "test_a_release_without_an_image_is_refused_by_a_target_that_needs_one_and_nothing_stops",),
    ),
    GovernanceRule(
        IMAGES, IMAGE_REGISTRY, "`image` in `[tool.mlops]`",
        read=(*_TEAM, Actor.SERVER), write=(Actor.MAIN,), delete=(),
        kept="as the registry is told: no command deletes one",
        enforced="logins of the registry; an environment's file names an image by its digest",
        proofs=("tests/workflows/test_testbed.py::test_a_registry_with_a_login_refuses_a_stranger",
                "tests/workflows/test_compose.py::test_what_is_deployed_is_the_digest_that_was_tried"),
    ),
    GovernanceRule(
        ENVIRONMENTS, GIT, "`deploy/environments/`", read=(*_EVERYBODY, Actor.SERVER), write=(Actor.PERSON,), delete=(),
        kept="for ever, in the history",
        enforced=f"{_BY_REVIEW}; jobs propose branches, and only a committed file is deployed",
        proofs=("tests/lifecycle/test_release.py::test_an_environment_file_that_nobody_reviewed_is_not_deployed",
                _RULES),
    ),
    *_log(PREDICTIONS, f"{_TESTS}/log/test_privacy.py::test_only_files_of_days_that_are_old_as_a_whole_are_deleted"),
    *_log(REFUSALS, f"{_TESTS}/log/test_erasure.py::"
                    "test_refused_values_of_a_subject_and_answers_by_their_id_go_as_well"),
    *_log(POSTED, f"{_TESTS}/serving/test_labels.py::test_old_labels_go_with_old_predictions"),
    *_log(ERASURES, f"{_TESTS}/log/test_bucket_of_a_project.py::test_a_subject_is_erased_from_the_log_with_a_record"),
    GovernanceRule(
        HEARTBEATS, BUCKET, "below `fleet/` in the bucket that `serving.log` of policy.yaml names",
        read=(Actor.PERSON, Actor.SERVER, Actor.MONITOR), write=(Actor.SERVER,), delete=(Actor.SERVER,),
        kept="until the machine stops serving; of one that was killed, a week",
        enforced="rights of the bucket: a server that may not delete leaves its last one, shown as stale",
        proofs=(f"{_TESTS}/delivery/test_fleet.py::"
                "test_servers_of_one_bucket_see_each_other_until_they_stop_or_fall_silent",
                f"{_TESTS}/delivery/test_fleet.py::"
                "test_what_a_killed_machine_left_is_removed_after_a_week_by_another"),
    ),
    GovernanceRule(
        LABELS, NONE, "nowhere: policy.yaml has no `labels`", read=(), write=(), delete=(), kept="there are none",
        enforced="nothing is judged by them",
        proofs=(f"{_TESTS}/data/test_prepare.py::test_a_folder_without_labels_has_none_yet",),
    ),
    _labels(FOLDER, "`labels.source` of policy.yaml", "modes of files",
            "test_prepare.py::test_labels_are_read_by_the_same_code_as_rows"),
    _labels(BUCKET, "`labels.source` of policy.yaml", "rights of the bucket", _IN_A_BUCKET),
    _labels(DATABASE, "the database whose address the variable holds that `labels.source` names",
            "logins of the database", "test_label_sources.py::test_a_query_says_what_the_same_labels_in_a_file_say"),
    GovernanceRule(
        REPORTS, GIT, "`reports/`: figures in Git, pages here and with the run of the workflow",
        read=(*_EVERYBODY,), write=(Actor.PERSON, Actor.MAIN, Actor.MONITOR), delete=(),
        kept="figures for ever, in the history; pages of a run as long as the repository keeps artifacts",
        enforced=f"{_BY_REVIEW}; a job writes only the page of its own run and a branch to review",
        proofs=("tests/workflows/test_drill.py::test_the_monitor_publishes_its_report_and_proposes_what_follows",),
    ),
    GovernanceRule(
        KEPT_REPORTS, BUCKET, "the bucket that `monitor.reports` of policy.yaml names",
        read=(Actor.PERSON, Actor.MONITOR), write=(Actor.MONITOR,), delete=(Actor.MONITOR,),
        kept="`privacy.keep_days` of policy.yaml, and for ever without it", enforced="rights of the bucket",
        proofs=(f"{_TESTS}/monitoring/test_published.py::"
                "test_each_run_is_kept_in_a_folder_of_its_own_until_it_is_old",
                f"{_TESTS}/monitoring/test_published.py::test_the_audit_asks_for_the_rights_at_the_reports"),
    ),
    GovernanceRule(
        LEDGER, FILE, "`.mlops/ledger.jsonl` on the machine that serves",
        read=(*_TEAM, Actor.MONITOR), write=(Actor.MAIN, Actor.MONITOR), delete=(), kept=_FOR_EVER,
        enforced="modes of files; commits are in Git as well",
        proofs=(f"{_TESTS}/delivery/test_rollback.py::test_a_ledger_that_cannot_be_read_is_told_with_its_line",),
    ),
)  # fmt: skip


def rule(artefact: str, choice: str) -> GovernanceRule:
    """The rule of an artefact for a choice; raises `KeyError` where the table has none."""
    for one in RULES:
        if (one.artefact, one.choice) == (artefact, choice):
            return one
    raise KeyError(f"{artefact}, {choice}")
