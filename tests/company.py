"""A company in small: a forge, a store with two identities, a tracking server, and a machine that serves."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from actions import HOST, Runner
from containers import PROXY_IMAGE, ContainerProject
from forge import TOKEN, Forge
from parts import TOOLS
from rendering import git
from running import RunningProject, free_port
from servers import Bucket, mlflow_on_postgresql, mlflow_server

REPOSITORY = "acme/flight-delays"


@dataclass(frozen=True)
class Company:
    """A project that has been pushed, and the machines that its workflows meet."""

    project: RunningProject
    runner: Runner
    forge: Forge
    store: Bucket
    tracking: str
    state: Path

    @property
    def tracked(self) -> dict[str, str]:
        """What a person sets to use the company's tracking server."""
        return {"MLFLOW_TRACKING_URI": self.tracking, "GITHUB_TOKEN": TOKEN} | self.forge.env

    def commit_and_push(self, message: str) -> None:
        """Change main as a merge would."""
        self.project.commit(message)
        self.push()

    def push(self) -> None:
        """Send main to the forge."""
        push(self.project, self.forge)

    @contextmanager
    def changed(self, path: str, old: str, new: str) -> Iterator[None]:
        """Change a file on main for as long as the block lasts."""
        before = git(self.project.root, "rev-parse", "HEAD").strip()
        self.project.edit(path, old, new)
        self.commit_and_push(f"Change {path}")
        try:
            yield
        finally:
            git(self.project.root, "reset", "--quiet", "--hard", before)
            self.push()

    def merge(self, branch: str) -> None:
        """Accept a proposal, as a reviewer would on the forge."""
        git(self.project.root, "fetch", "--quiet", "origin")
        git(self.project.root, "merge", "--quiet", "--no-edit", f"origin/{branch}")
        self.push()


def push(project: RunningProject, there: Forge) -> None:
    """Push main past the forge's doorkeeper, into its folder."""
    git(project.root, "push", "--quiet", "--force", str(there.folder / REPOSITORY), "main")


def open_shop(project: RunningProject, there: Forge) -> None:
    """Make the project's repository on the forge and push the first commit."""
    git(project.root, "remote", "add", "origin", there.create(REPOSITORY))
    push(project, there)


def runner_for(project: RunningProject, there: Forge, folder: Path, **settings: dict[str, str]) -> Runner:
    """The forge's own runner, and one on the machine that serves; both have Docker, if the project's tests have it."""
    docker, path = {}, []
    if isinstance(project, ContainerProject):
        docker, path = project.engine.env | PROXY_IMAGE, [project.engine.path]
    return Runner(
        project.root,
        folder,
        repository=REPOSITORY,
        secrets={"GITHUB_TOKEN": TOKEN} | settings.get("secrets", {}),
        variables=settings.get("variables", {}),
        path=[*path, TOOLS / "cosign-3"],
        env=there.env | {"STUB_ORIGIN": f"{there.address}/{REPOSITORY}", "CI": "true"} | docker,
        labels=dict.fromkeys(("ubuntu-24.04", "serving-machine", "production-machine", "training-machine"), HOST),
    )


def demand_signatures(project: RunningProject, folder: Path) -> dict[str, str]:
    """Let the project deploy nothing that its own key has not signed; return the secrets of who signs."""
    password = {"COSIGN_PASSWORD": "a-password"}
    command = [str(TOOLS / "cosign-3" / "cosign"), "generate-key-pair"]
    subprocess.run(command, cwd=folder, env=os.environ | password, check=True, capture_output=True)
    shutil.copy(folder / "cosign.pub", project.root / "deploy" / "cosign.pub")
    with (project.root / "policy.yaml").open("a", encoding="utf-8") as policy:
        policy.write("\nsignature: {}\n")
    project.commit("Deploy nothing that is not signed")
    return {"COSIGN_PRIVATE_KEY": (folder / "cosign.key").read_text("utf-8")} | password


@contextmanager
def company_for(project: RunningProject, folder: Path, there: Forge, store: Bucket) -> Iterator[Company]:
    """Connect a project with everything there is; one with containers tracks its runs in a database."""
    (folder / "tracking").mkdir()
    server = mlflow_on_postgresql if isinstance(project, ContainerProject) else mlflow_server
    with server(folder / "tracking", free_port()) as tracking:
        open_shop(project, there)
        state = folder / "state"
        variables = {
            "MLFLOW_TRACKING_URI": tracking,
            "DEPLOY_RUNNER": "serving-machine",
            "PRODUCTION_RUNNER": "production-machine",
            "TRAIN_RUNNER": "training-machine",
            "MLOPS_STATE": str(state),
            "COSIGN_KEY": "env://COSIGN_PRIVATE_KEY",
        }
        keys = {"DATA_ACCESS_KEY_ID": "writer", "DATA_SECRET_ACCESS_KEY": "writer-secret"}
        if isinstance(project, ContainerProject):
            variables["REGISTRY_USERNAME"] = project.images.username
            keys["REGISTRY_PASSWORD"] = project.images.password
        keys |= demand_signatures(project, folder)
        push(project, there)
        runner = runner_for(project, there, folder / "runs", variables=variables, secrets=keys)
        yield Company(project, runner, there, store, tracking, state)
        for name in ("staging", "production"):
            project.mlops("stop", name, env={"MLOPS_STATE": str(state)})
