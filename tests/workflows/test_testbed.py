"""Every server and tool that other tests lean on, used once: a broken one shows here first, by its name."""

import shutil
from pathlib import Path

from engine import Engine, Registry, docker_engine, scratch_image

BUILD = """
FROM python:3.11-slim-bookworm
RUN --mount=type=cache,target=/cache python --version > /version && pip --version
USER 10001
CMD ["cat", "/version"]
"""


def push(engine: Engine, registry: Registry, folder: Path, name: str) -> str:
    """Build a small image, push it, and return its name by digest."""
    (folder / "Dockerfile").write_text(BUILD, encoding="utf-8")
    image = f"{registry.address}/{name}"
    engine.docker(
        "login", "--username", registry.username, "--password-stdin", registry.address, stdin=registry.password
    )
    engine.docker("build", "--tag", image, folder)
    engine.docker("push", image)
    return engine.docker("image", "inspect", "--format", "{{ index .RepoDigests 0 }}", image).stdout.strip()


def test_an_image_is_built_pushed_pulled_by_digest_and_run(engine: Engine, registry: Registry, tmp_path: Path) -> None:
    image = push(engine, registry, tmp_path, "flights/small")
    engine.docker(
        "image", "rm", "--force", engine.docker("image", "inspect", "--format", "{{ .Id }}", image).stdout.strip()
    )

    engine.docker("pull", image)

    assert f"{registry.address}/flights/small@sha256:" in image
    assert engine.docker("run", "--rm", image).stdout.startswith("Python 3.11.")


def test_a_build_reaches_the_network_and_copies_from_another_image(engine: Engine, tmp_path: Path) -> None:
    uv = shutil.which("uv")
    assert uv is not None
    scratch_image(engine, "uv:local", {"/uv": Path(uv)})
    build = "FROM python:3.11-slim-bookworm\nCOPY --from=uv:local /uv /bin/\nRUN uv venv && uv pip install iniconfig\n"
    (tmp_path / "Dockerfile").write_text(build, encoding="utf-8")

    built = engine.docker("build", "--quiet", tmp_path)

    assert built.stdout.startswith("sha256:")


def test_two_engines_stand_beside_each_other(engine: Engine) -> None:
    with docker_engine() as other:
        assert engine.has("python:3.11-slim-bookworm")
        assert not other.has("python:3.11-slim-bookworm")
    assert "Server Version" in engine.docker("info").stdout
