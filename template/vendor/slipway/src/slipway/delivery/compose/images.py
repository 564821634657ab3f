"""Container images: one for each use, made from a commit, tried before anybody gets them, named by their digest."""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.base.files import Log, write_json
from slipway.delivery import environments, target
from slipway.delivery.compose import image_check
from slipway.delivery.docker import docker, engine_problem, labels, missing_login
from slipway.delivery.target import Run
from slipway.forge import git, hosting
from slipway.registry.models import Registry, Version
from slipway.registry.signing import IMAGE_MATERIALS
from slipway.settings.project import Project
from slipway.training.bundle import Bundle, Lineage, seal

BUILD_FILE = "docker/Dockerfile"

#: Its stages.
USES = ("train", "serve", "monitor")

#: What decides how a model answers, besides its bundle: code, dependencies, and their lock.
CODE = ("src", "vendor", "pyproject.toml", "uv.lock")
REVISION = "org.opencontainers.image.revision"


def possible(project: Project, uses: Sequence[str], *, push: bool, log: Log = print) -> tuple[list[str], bool]:
    """Which of these images can be made here, and whether they can be pushed; `log` says what is left out and why."""
    problem = _no_build_file(project) or engine_problem()
    if problem:
        log(f"no images are built: {problem}")
        hosting.of(project).summarize(f"No images were built: {problem}.")
        return [], False
    if "serve" in uses and not (project.bundle.is_dir() or _versions_of(project, Registry.open(project), "HEAD")):
        log("the image that serves is not built: no model was made here with which it could be tried")
        uses = [use for use in uses if use != "serve"]
    missing = missing_login(project)
    if push and missing:
        log(f"the images are built and tried, but not pushed: there is no {missing}")
        hosting.of(project).summarize(f"The images were built and tried, but not pushed: there is no {missing}.")
    return list(uses), push and not missing


def build(project: Project, uses: Sequence[str], *, push: bool, log: Log = print) -> dict[str, str]:
    """Make the images of this commit and try each; returns their names, which are digests when they were pushed.

    The registry learns which image holds the code of a version, so that `promote` can name it.
    """
    if absent := _no_build_file(project):
        raise MlopsError(f"no image can be made: {absent}", "mlops template update, with answers that have containers")
    if push:
        git.require_clean(project.root, "build images")
    with project.only_one("build"):
        commit = git.head(project.root)
        made = {}
        for use in uses:
            log(f"building the {use} image of commit {commit[:12]}")
            made[use] = _make(project, use, commit)
        for use, image in made.items():
            log(f"trying the {use} image")
            _try_out(project, use, image, commit)
        if push:
            for use, image in made.items():
                log(f"pushing {image}")
                made[use] = _push(project, image)
            if "serve" in made:
                made |= _note(project, commit, made["serve"])
    return made


def _no_build_file(project: Project) -> str:
    """What an image needs and a project without containers does not have; empty when it is there."""
    if not (project.root / BUILD_FILE).is_file():
        return f"there is no {BUILD_FILE}"
    return "" if project.tool.image else "[tool.mlops] in pyproject.toml names no image"


def require_code(project: Project, run: Run) -> None:
    """Refuse a run without an image, or whose image names no commit, or one with other code than trained the model."""
    if not run.image:
        raise MlopsError(
            f"version {run.version} names no image, and containers run it",
            "mlops build --push, then promote the version again",
        )
    commit = revision(run.image)
    if not _same_code(project, run.commit, commit):
        raise MlopsError(
            f"the image of version {run.version} holds the code of commit {commit[:12]}, which is not the code of "
            f"commit {run.commit[:12]} that trained the model",
            f"git switch --detach {run.commit[:12]}, then: mlops build --push",
        )


def revision(image: str) -> str:
    """The commit that an image names in its label."""
    commit = labels(image).get(REVISION, "")
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise MlopsError(
            f"{image} does not name the commit it was made from: its label {REVISION} is {commit!r}",
            "build it with `mlops build`, which labels it",
        )
    return commit


def _make(project: Project, use: str, commit: str) -> str:
    """Build from what Git holds, so that no file that is in no commit can get in."""
    image = f"{project.tool.image}:{use}-{commit[:12]}"
    facts = [word for name, value in _facts(project, commit).items() for word in ("--label", f"{name}={value}")]
    archive = programs.run("git", "-C", str(project.root), "archive", commit, install="install git")
    if archive.code:
        raise MlopsError(f"git archive failed: {archive.last_words()}", "git fsck")
    docker(
        "build", "--quiet", "--file", BUILD_FILE, "--target", use, "--tag", image, *facts, *_secrets(), "-",
        stdin=archive.raw,
    )  # fmt: skip
    return image


def _facts(project: Project, commit: str) -> dict[str, str]:
    """What registries, scanners and `mlops deploy` want to know of an image, under the names of the OCI standard."""
    about = tomllib.loads((project.root / "pyproject.toml").read_text("utf-8"))["project"]
    return {
        REVISION: commit,
        "org.opencontainers.image.created": git.git(project.root, "show", "--no-patch", "--format=%cI", commit).strip(),
        "org.opencontainers.image.source": about["urls"]["Repository"],
        "org.opencontainers.image.version": about["version"],
    }


def _secrets() -> Iterable[str]:
    """A machine that needs a certificate authority or an index of its own has said so to uv already."""
    if authority := os.environ.get("SSL_CERT_FILE"):
        yield from ("--secret", f"id=ca,src={authority}")
    if "UV_DEFAULT_INDEX" in os.environ:
        yield from ("--secret", "id=index,env=UV_DEFAULT_INDEX")


def _try_out(project: Project, use: str, image: str, commit: str) -> None:
    if use != "serve":
        image_check.try_out(project, use, image, None)
        return
    with _bundle_for(project, commit) as bundle:
        image_check.try_out(project, use, image, bundle)


@contextmanager
def _bundle_for(project: Project, commit: str) -> Iterator[Bundle]:
    """The newest model that the code of a commit has trained; before there is one, what the pipeline made here."""
    registry = Registry.open(project)
    if fitting := _versions_of(project, registry, commit):
        yield registry.fetch(fitting[-1])
        return
    if not project.bundle.is_dir():
        raise MlopsError(
            f"no model was made by the code of commit {commit[:12]}, so there is nothing to serve",
            "mlops pipeline; the images for training alone: mlops build train monitor",
        )
    with tempfile.TemporaryDirectory(dir=project.state) as place:
        unknown = Lineage(
            commit=commit, data=[], repository="", run_id="", pipeline="", lock="", python="", platform=""
        )  # fmt: skip
        yield seal(project.bundle, Path(place) / "bundle", unknown)


def _push(project: Project, image: str) -> str:
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", docker("push", image).output)
    if not found:
        raise MlopsError(f"the registry gave no digest for {image}", "push it again: mlops build --push")
    return f"{project.tool.image}@{found[1]}"


def _note(project: Project, commit: str, image: str) -> dict[str, str]:
    """Tell the registry which image holds the code of a version, and what that image is made of.

    Where some environment's target wants the bundle in the image, it is another one, of that version alone: these are
    made, pushed and returned.
    """
    registry, made = Registry.open(project), {}
    versions = _versions_of(project, registry, commit)
    system = _system_packages(image) if versions else []
    for version in versions:
        own = image
        if _want_bundles(project):
            own = _push(project, _with_bundle(project, version.number, registry.fetch(version), image))
            made[f"v{version.number}"] = own
        registry.set_image(version.number, own)
        materials = json.loads((registry.fetch(version).path / "sbom.json").read_bytes())
        materials["components"] += system
        with tempfile.TemporaryDirectory() as folder:
            write_json(Path(folder) / IMAGE_MATERIALS, materials)
            registry.attach(version, Path(folder) / IMAGE_MATERIALS)
    return made


def _want_bundles(project: Project) -> bool:
    wanted = (environments.load(project, name) for name in environments.names(project))
    return any(getattr(target.of(project, one), "holds_bundle", False) for one in wanted)


def _with_bundle(project: Project, number: int, bundle: Bundle, serve: str) -> str:
    """The serve image with one more layer, a version's bundle: one digest for platform, code and model."""
    image = f"{project.tool.image}:v{number}-{bundle.digest[-12:]}"
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "Dockerfile"
        recipe.write_text(f"FROM {serve}\nCOPY . /bundle\nLABEL mlops.bundle={bundle.digest}\n", "utf-8")
        docker("build", "--quiet", "--file", str(recipe), "--tag", image, str(bundle.path))
    return image


def _system_packages(image: str) -> list[dict[str, str]]:
    """What the base image brings, as components in CycloneDX."""
    ask = ("dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}\\n")
    found = (line.split() for line in docker("run", "--rm", image, *ask).output.splitlines())
    return [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:deb/debian/{name}@{version}?arch={arch}"}
        for name, version, arch in found
    ]


def _versions_of(project: Project, registry: Registry, commit: str) -> list[Version]:
    """The registered versions whose code is that of a commit, oldest first."""
    return [version for version in registry.versions() if _same_code(project, version.commit, commit)]


def _same_code(project: Project, one: str, other: str) -> bool:
    for commit in (one, other):
        if git.git(project.root, "cat-file", "-t", commit, check=False).strip() != "commit":
            return False
    return not git.git(project.root, "diff", "--name-only", one, other, "--", *CODE).strip()
