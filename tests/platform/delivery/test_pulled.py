"""What pods of a cluster that pulls say of themselves in the bucket, and who waits for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

import msgspec
import pytest
from slipway.base.buckets import Bucket
from slipway.base.errors import MlopsError
from slipway.delivery import fleet
from slipway.delivery.kubernetes import pulled
from slipway.delivery.target import Rival, Run
from slipway.forge.git import git
from slipway.log.heartbeats import STALE_S, Heartbeat, ServedVersion
from slipway.settings.environment import Environment, Release, ServeAddress
from slipway.settings.project import Project

FOLDERS = (f"pulled{number}" for number in count())
OLD, NEW = (f"sha256:{letter * 64}" for letter in "ab")
POD, OTHER_POD = "model-6d4b75cb6d-hx2qk", "model-77c9f8b5d4-zzzzz"
#: Puts what a machine says into the bucket: its name, version, digest and, in seconds, how long that is ago.
Say = Callable[..., None]


@pytest.fixture
def place(project: Project, address: str) -> Project:
    """A project whose environment `test` is pulled by a cluster."""
    path, settings = project.root / "policy.yaml", project.root / "pyproject.toml"
    log = f"{address}/{next(FOLDERS)}"
    path.write_text(path.read_text("utf-8").replace("\nserving:\n", f"\nserving:\n  log: {log}\n"), "utf-8")
    settings.write_text(settings.read_text("utf-8").replace("[tool.mlops]\n", '[tool.mlops]\ndelivery = "argocd"\n'))
    project.environments.mkdir(parents=True, exist_ok=True)
    serve = ServeAddress(host="127.0.0.1", port=1)
    wanted = Environment(alias="test", serve=serve, champion=None, target="kubernetes")
    (project.environments / "test.yaml").write_bytes(msgspec.yaml.encode(wanted))
    return Project(project.root)


@pytest.fixture
def say(place: Project) -> Say:
    def put(
        machine: str, version: int, digest: str, ago_s: float = 0, rival: int | None = None, share: float = 0.2
    ) -> None:
        now = datetime.now(UTC) - timedelta(seconds=ago_s)
        served = [ServedVersion("champion", version, digest)]
        served += [ServedVersion("canary", rival, OLD, share=share)] if rival else []
        beat = Heartbeat(
            environment="test", machine=machine, started=now, seen=now, address="", workers=1, served=served
        )
        Bucket(f"{place.policy.serving.log}/fleet/test").put(beat.name, msgspec.json.encode(beat))

    return put


def wait_for(project: Project, rival: int | None = None) -> list[str]:
    """What is said while one waits for version 2, with a version as its canary."""
    said: list[str] = []
    run = Run(
        environment="test", version=2, digest=NEW, commit="", bundle="", python="", host="", port=0, source="",
        limits=project.policy.serving,
    )  # fmt: skip
    tried = msgspec.structs.replace(run, version=rival or 0, digest=OLD)
    pulled.wait(project, run, Rival(run=tried, mode="canary", share=0.2) if rival else None, said.append, 0)
    return said


def test_a_version_has_arrived_when_every_pod_that_is_there_says_so(place: Project, say: Say) -> None:
    say(POD, 2, NEW)
    say(OTHER_POD, 1, OLD, ago_s=STALE_S + 60)  # killed: it will not say any more that it goes
    say("a-laptop", 1, OLD)  # staging was a process there before it moved

    assert wait_for(place)[-1] == "version 2 answers from 1 pod"


def test_a_version_has_not_arrived_while_an_old_pod_answers(place: Project, say: Say) -> None:
    say(POD, 2, NEW)
    say(OTHER_POD, 1, OLD)

    with pytest.raises(MlopsError, match=r"did not become version 2: 1 pod of version 1, 1 pod of version 2 answered"):
        wait_for(place)


def test_pods_of_the_same_number_with_another_bundle_are_not_it(place: Project, say: Say) -> None:
    say(POD, 2, OLD)

    with pytest.raises(MlopsError, match="did not become version 2"):
        wait_for(place)


def test_a_challenger_has_arrived_when_every_pod_has_it_and_has_gone_when_none_has(place: Project, say: Say) -> None:
    say(POD, 2, NEW, rival=1)
    assert wait_for(place, rival=1)[-1] == "version 1 challenges it: canary of 20%"

    say(OTHER_POD, 2, NEW, rival=1, share=0.7)
    with pytest.raises(MlopsError, match="not every pod of test had version 1 as canary of 20% beside version 2"):
        wait_for(place, rival=1)
    say(OTHER_POD, 2, NEW)
    for rival, had in ((1, "version 1 as canary of 20%"), (None, "no challenger")):
        with pytest.raises(MlopsError, match=f"not every pod of test had {had} beside version 2"):
            wait_for(place, rival)


def test_a_cluster_in_which_no_pod_is_ready_has_nothing(place: Project) -> None:
    assert pulled.status(place, "test") is None
    with pytest.raises(MlopsError, match="none answered"):
        wait_for(place)


def test_most_pods_say_what_answers(place: Project, say: Say) -> None:
    say(POD, 1, OLD)
    say(POD.replace("hx", "hy"), 1, OLD)
    say(OTHER_POD, 2, NEW)

    found = pulled.status(place, "test")

    assert found is not None
    assert (found.version, found.digest) == (1, OLD)


def test_an_environment_elsewhere_has_no_pods(place: Project, say: Say) -> None:
    say(POD, 1, OLD)
    path = place.environments / "test.yaml"
    path.write_text(path.read_text("utf-8").replace("kubernetes", "native"), encoding="utf-8")

    assert pulled.status(place, "test") is None


def test_status_tells_which_commit_names_what_pods_are(place: Project, say: Say) -> None:
    champion = Release(version=2, digest=NEW, commit="c" * 40, image="registry/flights@sha256:" + "1" * 64)
    path = place.environments / "test.yaml"
    wanted = msgspec.yaml.decode(path.read_bytes(), type=Environment)
    path.write_bytes(msgspec.yaml.encode(msgspec.structs.replace(wanted, champion=champion)))
    git(place.root, "init", "--quiet")
    git(place.root, "add", "--force", str(path))
    git(place.root, "commit", "--quiet", "--no-verify", "--message", "Name version 2")
    head = git(place.root, "rev-parse", "HEAD").strip()
    say(POD, 2, NEW)
    say(OTHER_POD, 1, OLD)

    new, old = fleet.describe(place, ["test"], datetime.now(UTC))["test"]

    assert f"{POD}, champion version 2 {NEW[:19]} by commit {head[:9]}, " in new
    assert "by commit" not in old
