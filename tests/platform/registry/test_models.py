"""Bundles from the registry: they are what a review has named, or nothing."""

import shutil
from dataclasses import replace

import msgspec
import pytest
from slipway.base.errors import MlopsError
from slipway.registry.models import Registry, bundle_of, cache_folder
from slipway.settings.project import Project
from slipway.training.bundle import Bundle, seal
from slipway.training.tracking import connect, record


def assert_told_of_the_file(project: Project, refused: MlopsError) -> None:
    """Two clones without a server both make a version 1, so nobody is sent to look for theirs here."""
    assert f"This registry is the file {project.state}/mlflow.db: another clone has its own" in refused.next_step


# MLflow's own, of its use of SQLAlchemy.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_a_bundle_is_held_against_the_digest_that_was_reviewed(project: Project, sealed: Bundle) -> None:
    run = record(project, connect(project), {}, status="FAILED")
    lineage = msgspec.structs.replace(sealed.lineage, run_id=run)
    made = seal(project.bundle, project.root / "made", lineage)
    version, is_new = Registry.open(project).register(made)

    assert is_new
    found, where = bundle_of(project, version.number, made.digest)
    assert (found.digest, where) == (made.digest, "registry")
    assert bundle_of(project, version.number, made.digest)[1] == "cache"
    shutil.rmtree(cache_folder(project, made.digest))
    with pytest.raises(MlopsError, match=r"has another version 1, sha256:\w+, than the one with sha256:") as no:
        bundle_of(project, version.number, sealed.digest)
    assert_told_of_the_file(project, no.value)
    with pytest.raises(MlopsError, match="has no version or alias '9'") as no:
        Registry.open(project).find("9")
    assert_told_of_the_file(project, no.value)
    with pytest.raises(MlopsError):
        Registry.open(project).fetch(replace(version, digest=sealed.digest))
    # What the registry alone vouches for may not set the state of any type; what a file in Git names may.
    facts = msgspec.structs.replace(made.model, format="skops", trusted=["os.system"])
    (project.bundle / "model.json").write_bytes(msgspec.json.encode(facts))
    trusting, _ = Registry.open(project).register(seal(project.bundle, project.root / "trusting", lineage))
    with pytest.raises(MlopsError, match=r"trusts os\.system, and params\.yaml of commit"):
        Registry.open(project).fetch(trusting)
    assert bundle_of(project, trusting.number, trusting.digest)[0].model == facts
