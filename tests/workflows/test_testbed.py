"""Every server and tool that other tests lean on, used once: a broken one shows here first, by its name."""

import json
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from actions import Runner, assert_green
from engine import Engine, Registry, cosign, docker_engine, oci_registry, scratch_image
from parts import TOOLS, part
from rendering import commit, git
from running import free_port
from servers import alertmanager, mlflow_on_postgresql, prometheus

BUILD = """
FROM python:3.11-slim-bookworm
RUN --mount=type=cache,target=/cache python --version > /version && pip --version
USER 10001
CMD ["cat", "/version"]
"""

PIN = "0123456789abcdef0123456789abcdef01234567"
IMAGE_WORKFLOW = f"""
on: push
jobs:
  image:
    runs-on: ubuntu-24.04
    env:
      IMAGE: ${{{{ vars.REGISTRY }}}}/flights/pushed
    steps:
      - uses: actions/checkout@{PIN}
      - uses: docker/login-action@{PIN}
        with:
          registry: ${{{{ vars.REGISTRY }}}}
          username: writer
          password: ${{{{ secrets.PASSWORD }}}}
      - uses: sigstore/cosign-installer@{PIN}
      - name: Build
        run: docker build --tag "$IMAGE" .
      - name: Push
        run: docker push "$IMAGE"
      - run: docker compose version
"""
HEALTH = ["CMD", "python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000')"]


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


def test_a_missing_part_is_a_skip_that_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "packages").write_text("/nowhere/enginectl engine-tools trixie\n", encoding="utf-8")
    monkeypatch.setattr("parts.ROOT", tmp_path)

    with pytest.raises(pytest.skip.Exception, match=r"enginectl is missing: \.ci/install .* engine-tools"):
        part("enginectl")


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


def test_an_image_and_a_file_are_signed_and_a_stranger_does_not_verify(
    engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    image = push(engine, registry, tmp_path, "flights/signed")
    cosign(tmp_path, "login", registry.address, "-u", registry.username, "-p", registry.password)
    cosign(tmp_path, "generate-key-pair")
    cosign(tmp_path, "generate-key-pair", "--output-key-prefix", "stranger")
    unseen = "--insecure-ignore-tlog=true"

    quiet = ["--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false"]
    cosign(tmp_path, "sign", *quiet, image)
    cosign(tmp_path, "sign-blob", *quiet, "--output-signature", "file.sig", "Dockerfile")
    (tmp_path / "made.json").write_text('{"builder": {"id": "x"}}', encoding="utf-8")
    cosign(tmp_path, "attest", *quiet, "--type", "slsaprovenance1", "--predicate", "made.json", image)
    said = cosign(tmp_path, "verify-attestation", "--key", "cosign.pub", unseen, "--type", "slsaprovenance1", image)
    print(said.stdout, said.stderr)
    assert "payload" in said.stdout.splitlines()[0]

    assert image.partition("@")[2] in cosign(tmp_path, "verify", "--key", "cosign.pub", unseen, image).stdout
    assert cosign(tmp_path, "verify", "--key", "stranger.pub", unseen, image, check=False).exit_code != 0
    blob = [unseen, "--signature", "file.sig", "Dockerfile"]
    cosign(tmp_path, "verify-blob", "--key", "cosign.pub", *blob)
    assert cosign(tmp_path, "verify-blob", "--key", "stranger.pub", *blob, check=False).exit_code != 0


def test_a_registry_with_a_login_refuses_a_stranger(registry: Registry) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://{registry.address}/v2/", timeout=5)


def test_a_registry_without_a_login_lets_everybody_in(tmp_path: Path) -> None:
    with oci_registry(tmp_path) as open_registry:
        answer = urllib.request.urlopen(f"http://{open_registry.address}/v2/_catalog", timeout=5)
        with answer:
            assert json.load(answer) == {"repositories": []}


def test_a_workflow_builds_logs_in_and_pushes(engine: Engine, registry: Registry, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / ".github" / "workflows").mkdir(parents=True)
    (project / "Dockerfile").write_text(BUILD, encoding="utf-8")
    (project / ".github" / "workflows" / "image.yml").write_text(IMAGE_WORKFLOW, encoding="utf-8")
    git(project, "init", "--quiet")
    commit(project, "Build an image")
    runner = Runner(
        project,
        tmp_path / "runs",
        secrets={"PASSWORD": registry.password},
        variables={"REGISTRY": registry.address},
        env=engine.env,
        path=(engine.path, TOOLS / "cosign-3"),
    )

    run = runner.run("image.yml")

    login, install = "docker/login-action", "sigstore/cosign-installer"
    assert_green(run, {"image": ["actions/checkout", login, install, "Build", "Push", "docker compose version"]})


def test_compose_reads_a_file_starts_a_container_and_stops_it(engine: Engine, tmp_path: Path) -> None:
    port = free_port()
    service = {
        "image": "python:3.11-slim-bookworm",
        "command": "python -m http.server 8000",
        "ports": [f"127.0.0.1:{port}:8000"],
        "healthcheck": {"test": HEALTH, "interval": "1s", "retries": 10},
    }
    (tmp_path / "compose.yaml").write_text(json.dumps({"services": {"web": service}}), encoding="utf-8")

    read = engine.docker("compose", "config", cwd=tmp_path)
    engine.docker("compose", "up", "--wait", cwd=tmp_path)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
        status = page.status
    engine.docker("compose", "down", "--timeout", "1", cwd=tmp_path)

    assert "http.server" in read.stdout
    assert status == 200


def test_buildx_builds(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(BUILD, encoding="utf-8")

    engine.docker("buildx", "build", "--tag", "by-buildx", tmp_path)

    assert engine.has("by-buildx")


def test_mlflow_keeps_its_runs_in_postgresql(tmp_path: Path) -> None:
    with mlflow_on_postgresql(tmp_path, free_port()) as address:
        search = urllib.request.Request(
            f"{address}/api/2.0/mlflow/experiments/search",
            data=json.dumps({"max_results": 5}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(search, timeout=30) as answer:
            names = [experiment["name"] for experiment in json.load(answer)["experiments"]]

    assert names == ["Default"]


def test_prometheus_sends_an_alert_to_alertmanager(tmp_path: Path) -> None:
    with alertmanager(tmp_path, "{route: {receiver: nobody}, receivers: [{name: nobody}]}") as receiver:
        rule = {"alert": "Always", "expr": "vector(1)"}
        (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "all", "rules": [rule]}]}), "utf-8")
        config = {
            "global": {"evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [receiver.removeprefix("http://")]}]}],
            },
        }
        with prometheus(tmp_path, json.dumps(config)):
            deadline = time.monotonic() + 30
            while not (alerts := _alerts(receiver)) and time.monotonic() < deadline:
                time.sleep(0.2)

    assert alerts == ["Always"]


def _alerts(receiver: str) -> list[str]:
    with urllib.request.urlopen(f"{receiver}/api/v2/alerts", timeout=5) as answer:
        return [alert["labels"]["alertname"] for alert in json.load(answer)]
