"""What runs an environment: a target found by its name, also one from outside, and the way from one to another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from slipway.base.errors import MlopsError
from slipway.delivery import deploy, environments, target
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.native import target as native
from slipway.delivery.native.state import Desired, State
from slipway.delivery.target import Run
from slipway.settings.project import Project
from targets import BOXED, ONE, OTHER_PORT, PORT, TWO, names, plugged, quiet

__all__ = ["BOXED", "names", "plugged"]
pytestmark = pytest.mark.usefixtures("plugged")


def test_a_target_from_outside_runs_what_an_environment_names(project: Project, names: Callable[..., None]) -> None:
    names("one")

    deploy.deploy(project, "staging", quiet)

    (found,) = deploy.running(project, "staging")
    assert (found.target, found.running.version) == ("one", 1)
    assert deploy.stop(project, "staging")
    assert deploy.running(project, "staging") == []


def test_a_target_that_nobody_has_is_refused_with_those_there_are(project: Project, names: Callable[..., None]) -> None:
    names("nomad")

    with pytest.raises(MlopsError, match="there is no target nomad") as refused:
        deploy.deploy(project, "staging", quiet)

    assert refused.value.next_step.startswith("choose from boxed, ")
    assert "native" in refused.value.next_step


def test_moving_to_another_target_stops_the_old_one_after_the_new_one_answers(
    project: Project, names: Callable[..., None]
) -> None:
    names("one")
    deploy.deploy(project, "staging", quiet)
    names("two", port=OTHER_PORT)
    TWO.events = ONE.events  # both in one list, in order
    told: list[str] = []

    deploy.deploy(project, "staging", told.append)

    assert ONE.events == ["on", "on", "off"]
    assert [one.target for one in deploy.running(project, "staging")] == ["two"]
    assert "one has stopped: two answers for staging now" in told
    TWO.events = []


def test_moving_to_another_target_on_the_same_port_stops_the_old_one_first_and_says_so(
    project: Project, names: Callable[..., None]
) -> None:
    names("one")
    deploy.deploy(project, "staging", quiet)
    names("two")
    told: list[str] = []

    deploy.deploy(project, "staging", told.append)

    assert ONE.events == ["on", "off"]
    assert [one.target for one in deploy.running(project, "staging")] == ["two"]
    assert any(f"one stops first, as two needs its port {PORT}" in line for line in told)


def test_the_old_target_answers_again_when_the_new_one_cannot(project: Project, names: Callable[..., None]) -> None:
    names("one")
    deploy.deploy(project, "staging", quiet)
    names("two")
    TWO.is_broken = True

    with pytest.raises(MlopsError, match="two is broken"):
        deploy.deploy(project, "staging", quiet)

    assert ONE.events == ["on", "off", "on"]
    assert [one.target for one in deploy.running(project, "staging")] == ["one"]


def test_a_release_without_an_image_is_refused_by_a_target_that_needs_one_and_nothing_stops(
    project: Project, names: Callable[..., None]
) -> None:
    names("one")
    deploy.deploy(project, "staging", quiet)
    names("boxed")

    with pytest.raises(MlopsError, match="version 1 names no image, and boxed runs staging from one") as refused:
        deploy.deploy(project, "staging", quiet)

    assert "mlops build --push" in refused.value.next_step
    assert ONE.events == ["on"]


def test_a_supervisor_of_an_earlier_release_is_not_given_code_that_it_cannot_start(project: Project) -> None:
    """It would start the server of its own layout, which another bundle does not hold."""
    place = EnvironmentFolder(project.state, "test")
    run = Run(
        environment="test", version=2, digest="", commit="", bundle="", python="", host="127.0.0.1", port=1,
        source="cache", limits=project.policy.serving, program="slipway.serving.run",
    )  # fmt: skip
    with place.lock():
        place.write(State(ticket="", phase="serving", supervisor=1))

        with pytest.raises(MlopsError, match="cannot start the code of version 2") as refused:
            native.switch(project, run)

    assert refused.value.next_step == "mlops stop test, then mlops deploy test"
    assert place.read(Desired) is None


def test_a_step_that_builds_images_is_green_where_no_engine_is(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pytest.importorskip("slipway.delivery.compose.images")
    (project.root / images.BUILD_FILE).parent.mkdir()
    (project.root / images.BUILD_FILE).touch()
    project.__dict__["tool"] = msgspec.structs.replace(project.tool, image="acme/flights")
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []

    assert images.possible(project, ["serve"], push=True, log=said.append) == ([], False)
    assert said == ["no images are built: docker is not installed"]


def test_a_file_without_a_target_follows_what_an_older_project_said(
    project: Project, names: Callable[..., None]
) -> None:
    names("one")
    path = project.environments / "staging.yaml"
    path.write_text(path.read_text("utf-8").replace("target: one\n", ""), encoding="utf-8")
    wanted = environments.load(project, "staging")
    project.__dict__["tool"] = msgspec.structs.replace(project.tool, target="two")

    assert target.of(project, wanted) is TWO
