"""A model's way to containers by workflows alone: trained, built, tried, pushed, signed, deployed by its digest."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from actions import ELSEWHERE, WorkflowRun, assert_green, assert_red, declared
from clients import asking, logged, say_the_same_a_week_ago
from company import Company, company_for
from containers import ContainerProject, image_name, log_in, run_staging_in_containers, with_proxy
from engine import Engine, Registry, cosign
from forge import forge
from rendering import git
from running import make_bucket, prepare
from servers import s3_store

BUILD = "Build the images, try them, push them, where that is possible"


@pytest.fixture(scope="module")
def company(
    render: Callable[..., Path], engine: Engine, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Company]:
    """A project with containers that has everything connected."""
    folder = tmp_path_factory.mktemp("company")
    for name in ("store", "forge"):
        (folder / name).mkdir()
    with_proxy(engine)
    with forge(folder / "forge") as there, s3_store(folder / "store") as store:
        remote = {"data_remote": "s3", "data_remote_url": store.url, "s3_endpoint": store.endpoint}
        names = {"project_name": "Late Flights", "package_name": "flight_delays"}
        root = render(target="compose", image=image_name(registry), **names, **remote)
        project = ContainerProject(prepare(root, demanding=True).root, engine, registry, "late-flights")
        make_bucket(project, store.endpoint, "flights", store.owner)
        # All clients of a test share one address; how many of them there may be is another test's question.
        project.edit("policy.yaml", "requests_per_second: 1000", "requests_per_second: 1000000")
        run_staging_in_containers(project)
        project.commit("Let one address ask more")
        with company_for(project, folder, there, store) as made:
            yield made


@pytest.fixture(scope="module")
def trained(company: Company) -> WorkflowRun:
    """The run that makes version 1 and its images."""
    return company.runner.run("train.yml")


@pytest.fixture(scope="module")
def deployed(company: Company, trained: WorkflowRun) -> WorkflowRun:
    """The run that brings version 1 to staging."""
    assert trained.failures == []
    company.merge("promote/staging-v1")
    return company.runner.run("deploy.yml")


def steps(company: Company, workflow: str) -> dict[str, list[str]]:
    """All steps, as the workflow declares them; where a signature is checked, the machine has cosign already."""
    found = declared(company.project.root / ".github" / "workflows" / workflow)
    passed = ("Install cosign",) if workflow in ("deploy.yml", "rollback.yml") else ()
    return {job: [step for step in listed if not step.startswith(passed)] for job, listed in found.items()}


def images_of(company: Company) -> ContainerProject:
    assert isinstance(company.project, ContainerProject)
    return company.project


def named_image(company: Company) -> str:
    """The image that staging's file names."""
    text = (company.project.root / "deploy/environments/staging.yaml").read_text("utf-8")
    (image,) = re.findall(r"image: (\S+)", text)
    return str(image)


def attested(company: Company, image: str, kind: str, folder: Path) -> dict[str, Any]:
    """What the company's key says of an image; cosign fails where nobody has signed."""
    project = images_of(company)
    registry = project.images
    cosign(folder, "login", registry.address, "-u", registry.username, "-p", registry.password)
    key = ("--key", str(project.root / "deploy" / "cosign.pub"), "--insecure-ignore-tlog")
    told = cosign(folder, "verify-attestation", *key, "--type", kind, image).stdout
    predicate: dict[str, Any] = json.loads(base64.b64decode(json.loads(told.splitlines()[0])["payload"]))["predicate"]
    return predicate


def test_images_are_built_tried_pushed_and_signed(company: Company, trained: WorkflowRun) -> None:
    assert_green(trained, steps(company, "train.yml"))
    proposed = company.forge.git("acme/flight-delays", "show", "promote/staging-v1:deploy/environments/staging.yaml")
    pushed = re.findall(rf"{images_of(company).image}@sha256:[0-9a-f]{{64}}", trained.jobs["release"].log)
    assert len(set(pushed)) == 3
    assert re.findall(r"image: (\S+)", proposed)[0] in pushed


def test_provenance_and_materials_are_signed_for_the_image_too(
    company: Company, deployed: WorkflowRun, tmp_path: Path
) -> None:
    assert deployed.failures == []
    image = named_image(company)

    provenance = attested(company, image, "slsaprovenance1", tmp_path)
    materials = attested(company, image, "cyclonedx", tmp_path)

    source, lock, *data = provenance["buildDefinition"]["resolvedDependencies"]
    assert source["digest"]["gitCommit"] in git(company.project.root, "rev-list", "HEAD").split()
    assert lock["uri"] == "uv.lock"
    assert "dvc:data/sample/flights.csv.gz" in [one["uri"] for one in data]
    assert provenance["runDetails"]["byproducts"][0]["digest"]["sha256"] == image.rpartition(":")[2]
    packages = {one["purl"].partition("@")[0] for one in materials["components"] if "purl" in one}
    assert {"pkg:pypi/onnxruntime", "pkg:deb/debian/libc6"} <= packages


def test_a_merged_proposal_runs_by_its_digest(company: Company, deployed: WorkflowRun) -> None:
    expected = steps(company, "deploy.yml")
    expected["production"] = expected["production"][:-1]
    assert_green(deployed, expected)
    server = images_of(company).serving()
    assert server["Config"]["Image"] == named_image(company)
    assert company.project.request("GET", "/version").body["version"] == 1
    assert [line for line in deployed.summary.splitlines() if line.startswith("staging: version 1 deployed")]


def test_an_image_that_the_signature_does_not_name_is_not_deployed(company: Company, deployed: WorkflowRun) -> None:
    """The same code, but not the image that the workflow built."""
    assert deployed.failures == []
    project = images_of(company)
    log_in(project.engine, project.images)
    before, head = project.serving()["Id"], git(project.root, "rev-parse", "HEAD").strip()
    name = f"{project.image}:by-hand"
    project.engine.docker("build", "--tag", name, "-", stdin=f"FROM {named_image(company)}\nENV CHANGED=1\n")
    digest = re.search(r"sha256:[0-9a-f]{64}", project.engine.docker("push", name).stdout)
    assert digest is not None
    project.name_image(f"{project.image}@{digest[0]}")
    company.push()

    run = company.runner.run("deploy.yml")
    git(project.root, "reset", "--quiet", "--hard", head)
    company.push()

    assert_red(run, "staging", "Deploy staging, ask a question, move the alias")
    assert "the signature of version 1 does not name the image" in run.jobs["staging"].log
    assert project.serving()["Id"] == before


def open_pull_request(company: Company) -> WorkflowRun:
    """Play the event for a pull request with what main holds, for the one job that has to do with images."""
    pull = {"number": 7, "head": {"repo": {"full_name": "acme/flight-delays"}}}
    return company.runner.run("pull-request.yml", "pull_request", payload={"pull_request": pull}, job="pipeline")


def test_a_pull_request_builds_the_images_and_tries_them(company: Company, deployed: WorkflowRun) -> None:
    """With no login and no registered version: a fork has neither."""
    assert deployed.failures == []

    run = open_pull_request(company)

    expected = steps(company, "pull-request.yml")
    others = expected.keys() - {"pipeline"}
    ran = {"pipeline": [step for step in expected["pipeline"] if step not in ELSEWHERE]}
    assert_green(run, ran, skipped=others)
    assert "trying the serve image" in run.jobs["pipeline"].log


def test_a_pull_request_that_spoils_an_image_is_red(company: Company, deployed: WorkflowRun) -> None:
    assert deployed.failures == []
    head = git(company.project.root, "rev-parse", "HEAD").strip()
    company.project.edit("docker/Dockerfile", "USER 10001:10001\nEXPOSE 8000\nHEALTH", "USER root\nEXPOSE 8000\nHEALTH")
    company.commit_and_push("Serve as root")

    run = open_pull_request(company)
    git(company.project.root, "reset", "--quiet", "--hard", head)
    company.push()

    assert_red(run, "pipeline", "Build the images and try them, where an engine is there")
    assert "the serve image runs as root" in run.jobs["pipeline"].log


def test_no_request_fails_while_workflows_change_versions(company: Company, deployed: WorkflowRun) -> None:
    assert deployed.failures == []
    company.project.edit("params.yaml", "n_estimators: 150", "n_estimators: 60")
    company.commit_and_push("Use fewer trees")
    assert company.runner.run("train.yml").failures == []
    company.merge("promote/staging-v2")
    company.project.run("dvc", "pull", env=company.store.reader)

    with asking(company.project) as clients:
        forth = company.runner.run("deploy.yml")
        between = company.project.request("GET", "/version").body["version"]
        back = company.runner.run("rollback.yml", "workflow_dispatch", inputs={"environment": "staging"})

    assert forth.failures == []
    assert_green(back, steps(company, "rollback.yml"))
    assert (between, company.project.request("GET", "/version").body["version"]) == (2, 1)
    assert [client.failures for client in clients] == [[], [], [], []]
    assert all(set(client.versions) == {1, 2} for client in clients)
    git(company.project.root, "pull", "--quiet", "--ff-only", "origin", "main")


def test_production_is_watched_by_the_monitor(company: Company, deployed: WorkflowRun) -> None:
    assert deployed.failures == []
    company.project.mlops("promote", "production", env=company.tracked)
    git(company.project.root, "merge", "--quiet", "--no-edit", "promote/production-v1")
    company.push()
    assert_green(company.runner.run("deploy.yml"), steps(company, "deploy.yml"))
    company.project.run("dvc", "pull", env=company.store.reader)
    log, rows = company.state / "predictions" / "production", company.project.flights_of_one_airport()
    before = logged(log)
    for row in rows:
        assert company.project.request("POST", "/predict", row, environment="production").status == 200
    say_the_same_a_week_ago(log, before + len(rows))

    run = company.runner.run("monitor.yml", "schedule")

    expected = steps(company, "monitor.yml")
    expected["monitor"].remove("Propose a wider contract")
    assert_green(run, expected)
    assert "production: **act**" in run.summary


def test_images_that_cannot_be_built_release_nothing(company: Company, deployed: WorkflowRun) -> None:
    """A training package is missing in the image alone: the trial there says so, and nothing is proposed."""
    assert deployed.failures == []
    before = company.forge.branches("acme/flight-delays")
    line = "--no-default-groups --group train && cp /build/uv/bin/uv /opt/venv/bin/\n"
    spoilt = line.replace("\n", " \\\n    && uv pip uninstall --quiet --python /opt/venv skl2onnx\n")
    company.project.edit("docker/Dockerfile", line, spoilt)
    company.project.edit("params.yaml", "n_estimators: 60", "n_estimators: 50")
    company.commit_and_push("Build another image")

    run = company.runner.run("train.yml")

    assert_red(run, "release", BUILD)
    assert "the train image cannot do its work" in run.jobs["release"].log
    assert run.jobs["propose"].result == "skipped"
    assert company.forge.branches("acme/flight-delays") - before == {"candidate/v3"}
