"""What no cluster is asked for: it is refused before anything changes there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from slipway.base.errors import MlopsError
from slipway.delivery import beside, deploy, environments, target
from slipway.delivery.target import Run
from slipway.forge import git
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from targets import names, plugged, quiet

__all__ = ["names", "plugged"]
pytestmark = pytest.mark.usefixtures("plugged")

IMAGE = "deploy/kubernetes/overlays/staging/image.yaml"
OVERLAY = "namespace: flights-staging\nresources: []\ntransformers: [image.yaml]\n"
ACCESS = "access:\n  anyone: true\n"
BUCKET = "serving:\n  log: s3://logs/p\n"
RELEASE = f"acme/flights@sha256:{'1' * 64}"


@pytest.fixture
def named(project: Project, names: Callable[..., None]) -> Callable[..., None]:
    """Let staging's file name the cluster, and an image that the overlay names as well."""

    def name(extra: str = ACCESS, log: str = "s3://logs/p") -> None:
        names("kubernetes")
        path = project.environments / "staging.yaml"
        path.write_text(f"{path.read_text('utf-8')}  image: {RELEASE}\n{extra}", encoding="utf-8")
        folder = project.root / "deploy/kubernetes/overlays/staging"
        folder.mkdir(parents=True)
        (folder / "kustomization.yaml").write_text(OVERLAY, encoding="utf-8")
        for file, text in beside.files(project, "staging", environments.load(project, "staging")).items():
            (project.root / file).write_text(text, encoding="utf-8")
        policy = project.root / "policy.yaml"
        policy.write_text(policy.read_text("utf-8").replace("serving:\n", f"serving:\n  log: {log}\n"), "utf-8")
        commit(project)

    return name


def commit(project: Project) -> None:
    git.git(project.root, "add", "--force", "deploy")
    git.git(project.root, "commit", "--quiet", "--allow-empty", "--no-verify", "-m", "Name a cluster")


def refusal(project: Project) -> str:
    """Why staging is not deployed."""
    with pytest.raises(MlopsError) as refused:
        deploy.deploy(Project.find(project.root), "staging", quiet)
    return refused.value.problem


def test_an_environment_that_does_not_say_who_may_ask_is_refused(project: Project, named: Callable[..., None]) -> None:
    named(extra="")

    assert "does not say `anyone: true` below access" in refusal(project)


def test_tokens_are_refused(project: Project, named: Callable[..., None]) -> None:
    named(extra=f"access:\n  tokens:\n    billing: {{digest: 'sha256:{'a' * 64}'}}\n")

    assert "below access" in refusal(project)


def test_a_log_in_a_folder_is_refused(project: Project, named: Callable[..., None]) -> None:
    named(log="''")

    assert "names no bucket" in refusal(project)


def test_a_challenger_is_refused(project: Project, named: Callable[..., None]) -> None:
    challenger = f"challenger:\n  version: 2\n  digest: sha256:{'2' * 64}\n  commit: {'b' * 40}\n  mode: shadow\n"
    named(extra=ACCESS + challenger)

    assert "it can try no challenger there" in refusal(project)


def test_a_hash_is_refused(project: Project, named: Callable[..., None]) -> None:
    named()
    found, release = Project.find(project.root), environments.champion(project, "staging")
    run = Run(
        environment="staging", version=1, digest=release.digest, commit=release.commit, bundle="", python="", host="",
        port=0, source="cache", limits=found.policy.serving, privacy={"carrier": "hash"},
    )  # fmt: skip

    with pytest.raises(MlopsError, match="hashes carrier with a key that this machine has and pods do not"):
        target.find("kubernetes").prepare(found, run, Bundle(Path()))


def test_an_overlay_that_names_another_image_is_refused(project: Project, named: Callable[..., None]) -> None:
    named()
    path = project.root / IMAGE
    path.write_text(path.read_text("utf-8").replace("1" * 64, "2" * 64), encoding="utf-8")
    commit(project)

    assert refusal(project) == f"{IMAGE} does not name the image of staging.yaml"


def test_a_change_of_manifests_that_is_in_no_commit_is_refused(project: Project, named: Callable[..., None]) -> None:
    named()
    (project.root / "deploy/kubernetes/overlays/staging/kustomization.yaml").write_text(f"{OVERLAY}# more\n", "utf-8")

    assert "has changes that are in no commit" in refusal(project)


def test_a_proposal_changes_both_files(project: Project, named: Callable[..., None]) -> None:
    named()
    digest = f"sha256:{'3' * 64}"
    release = msgspec.structs.replace(environments.champion(project, "staging"), image=f"acme/flights@{digest}")

    environments.propose_change(project, "staging", {"champion": release}, "promote/it", "Promote", "a title")

    changed = git.git(project.root, "diff", "--name-only", "HEAD", "promote/it").split()
    assert changed == ["deploy/environments/staging.yaml", IMAGE]
    assert all(digest in git.git(project.root, "show", f"promote/it:{path}") for path in changed)


def test_an_environment_elsewhere_asks_no_cluster(
    project: Project, names: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is no kubectl where nobody has a cluster."""
    names("one")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert deploy.running(project, "staging") == []
