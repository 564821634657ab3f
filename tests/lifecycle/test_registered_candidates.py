"""Each candidate becomes a version of its own commit, which can be promoted, challenged, traced and audited as any."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import yaml
from rendering import git
from running import RunningProject

#: The first has the parameters of version 1, which the pipeline of the project itself has made.
CANDIDATES = """
candidates:
  large: {n_estimators: 150}
  deep: {n_estimators: 30, max_depth: 5} # and not many
"""
OTHERS = """
  impossible: {max_depth: -1}
  weak: {n_estimators: 1}
"""
MODEL = "src/flight_delays/model.py"


def killed_between_two(project: RunningProject) -> list[str]:
    """Start to register two candidates, and kill that with all its children when one is left, as a lost machine would.

    Returns what was told. As soon as the pipelines run, somebody works on the code.
    """
    told: list[str] = []
    with subprocess.Popen(
        ["uv", "run", "--quiet", "--frozen", "mlops", "candidates", "--register"],
        cwd=project.root, env=project.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as started:  # fmt: skip
        assert started.stderr is not None
        for line in started.stderr:
            told.append(line.strip())
            if line.endswith("running the pipeline\n"):
                (project.root / MODEL).write_text("raise NotImplementedError\n", encoding="utf-8")
            if line.startswith("candidates: deep: checking that the outputs"):
                os.killpg(started.pid, signal.SIGKILL)
    git(project.root, "checkout", "--quiet", "--", MODEL)
    return told


def asked(project: RunningProject, version: int) -> dict[str, object]:
    """What params.yaml asks of the model at the commit that made a version."""
    text = git(project.root, "show", f"{project.tags(version)['commit']}:params.yaml")
    found: dict[str, object] = yaml.safe_load(text)["model"]
    return found


def bundle(project: RunningProject, version: int) -> Path:
    """The bundle of a version in the store of runs."""
    return Path(project.versions()[version - 1]["source"].removeprefix("file://"))


def digests(project: RunningProject, version: int) -> dict[str, str]:
    """The digest of each file in the bundle of a version but the one that says where it came from."""
    lines = (bundle(project, version) / "SHA256SUMS").read_text("utf-8").splitlines()
    found = {name: digest for digest, name in (line.split() for line in lines)}
    return {name: digest for name, digest in found.items() if name != "lineage.json"}


def checkouts(project: RunningProject) -> int:
    return len(git(project.root, "worktree", "list").splitlines())


def test_each_candidate_becomes_a_version_of_its_own_commit(
    twice_trained_project: RunningProject, tmp_path: Path
) -> None:
    project = twice_trained_project
    project.edit("policy.yaml", "one_row_ms: 5", "one_row_ms: 5000")  # tests do not measure time
    project.edit("pyproject.toml", "[tool.mlops]\n", "[tool.mlops]\nengine_workers = 2\n")
    with (project.root / "params.yaml").open("a", encoding="utf-8") as params:
        params.write(CANDIDATES)
    project.commit("Name candidates")
    begun = git(project.root, "rev-parse", "HEAD")
    shutil.rmtree(project.root / ".dvc" / "cache" / "runs")  # so that version 1 is learned once more

    told = killed_between_two(project)
    running = [told.index(f"candidates: {name}: running the pipeline") for name in ("large", "deep")]
    assert max(running) < told.index("candidates: large: checking that the outputs are those of the commit")
    assert len(project.versions()) == 3
    assert checkouts(project) == 3

    with (project.root / "params.yaml").open("a", encoding="utf-8") as params:
        params.write(OTHERS)
    project.commit("Name others")
    before, written = git(project.root, "rev-parse", "HEAD"), (project.root / "params.yaml").read_text("utf-8")
    git(tmp_path, "init", "--quiet", "--bare", "origin")
    git(project.root, "remote", "add", "origin", str(tmp_path / "origin"))
    done = project.mlops("candidates", "--register", "--push", check=False)
    sent = git(project.root, "ls-remote", "origin").split()
    git(project.root, "remote", "remove", "origin")

    # The first is the version that it was, the second is new, and the others have a reason.
    assert done.exit_code == 1
    lines = {line.partition("  ")[0]: line for line in done.stdout.splitlines()[-4:]}
    passed = r"roc_auc 0\.\d{4} in evaluation, \d+ gates passed, branch"
    assert re.search(rf"version 3, as before, {passed} candidate/v3$", lines["large"])
    assert re.search(rf"version 4, {passed} candidate/v4$", lines["deep"])
    assert "not registered: it could not be measured: the model in model.py cannot learn" in lines["impossible"]
    assert "not registered: the model did not pass its gates: " in lines["weak"]
    assert "error: 2 of 4 candidates have no version: impossible, weak" in done.stderr
    assert [project.tags(number).get("candidate") for number in (2, 3, 4)] == [None, "large", "deep"]
    assert len(project.versions()) == 4
    # Nothing of it is left in this checkout.
    assert checkouts(project) == 1
    assert not (project.root / ".mlops" / "checkouts").exists()
    assert git(project.root, "status", "--porcelain") == ""
    assert git(project.root, "rev-parse", "HEAD") == before

    # What is made side by side in other checkouts is what the pipeline makes here.
    assert digests(project, 3) == digests(project, 1)
    made = (3, "large", begun, {"n_estimators": 150}), (4, "deep", before, {"n_estimators": 30, "max_depth": 5})
    for number, name, base, values in made:
        commit = project.tags(number)["commit"]
        assert git(project.root, "rev-parse", f"candidate/v{number}").strip() == commit
        assert sent[sent.index(f"refs/heads/candidate/v{number}") - 1] == commit
        assert git(project.root, "rev-parse", f"{commit}~2") == base
        assert asked(project, number) == yaml.safe_load(written)["model"] | values
        assert "# and not many" in git(project.root, "show", f"{commit}:params.yaml")
        # What the commit says of the pipeline is what the bundle holds.
        lock = git(project.root, "show", f"{commit}:dvc.lock").encode()
        lineage = json.loads((bundle(project, number) / "lineage.json").read_bytes())
        assert (lineage["commit"], lineage["pipeline"]) == (commit, hashlib.sha256(lock).hexdigest())
        outs = {out["path"]: out["md5"] for out in yaml.safe_load(lock)["stages"]["train"]["outs"]}
        model = (bundle(project, number) / "model.onnx").read_bytes()
        assert outs["model/model.onnx"] == hashlib.md5(model, usedforsecurity=False).hexdigest()
        traced = project.mlops("trace", str(number)).stdout
        assert f"{commit} Record what the pipeline made of the candidate {name}" in traced
        assert project.tags(number)["digest"] in traced

    project.release("staging", "--version", "3")
    project.challenge("staging", "--version", "4")
    assert project.request("POST", "/predict", project.flights(1)[0]).body["model"]["version"] == 3
    audited = project.mlops("audit").stdout
    assert "FAIL" not in audited
    assert "staging names version 3, and the registry has it with that digest and commit" in audited
