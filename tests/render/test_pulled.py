"""What tells Argo CD and Flux to pull an environment is what their published models know, field by field."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from published import complaints, spoilt

MODELS = {"argocd": "argo-cd", "flux": "flux-cd"}
KINDS = {"argocd": ["Application"], "flux": ["GitRepository", "Kustomization"]}


@pytest.fixture(scope="module", params=sorted(MODELS))
def delivery(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def project(render: Callable[..., Path], delivery: str) -> Path:
    return render(target="kubernetes", delivery=delivery, repository="acme/late-flights")


@pytest.fixture(scope="module")
def objects(project: Path, delivery: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((project / f"deploy/kubernetes/{delivery}.yaml").read_text("utf-8")))


def test_the_models_know_every_field(objects: list[dict[str, Any]], delivery: str) -> None:
    assert complaints(objects, MODELS[delivery]) == [""] * len(objects)
    assert "" not in complaints([wrong for one in objects for wrong in spoilt(one)], MODELS[delivery])


def test_each_environment_is_pulled_by_objects_of_its_own(
    project: Path, objects: list[dict[str, Any]], delivery: str
) -> None:
    for environment in ("staging", "production"):
        own = [one for one in objects if one["metadata"]["labels"] == {"environment": environment}]
        assert [one["kind"] for one in own] == KINDS[delivery]
        source = own[-1]["spec"].get("source", own[-1]["spec"])
        assert (project / source["path"] / "kustomization.yaml").is_file()
        assert source["path"].endswith(f"overlays/{environment}")
        assert "https://github.com/acme/late-flights.git" in json.dumps(own)
        assert own[-1]["spec"].get("prune") or own[-1]["spec"]["syncPolicy"]["automated"]["prune"]


def test_a_project_has_what_its_controller_reads_and_no_other(project: Path, delivery: str) -> None:
    settings = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))

    assert settings["tool"]["mlops"]["delivery"] == delivery
    assert [one.name for one in (project / "deploy/kubernetes").glob("*.yaml")] == [f"{delivery}.yaml"]
