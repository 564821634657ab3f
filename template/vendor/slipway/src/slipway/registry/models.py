"""The model registry: versions, their bundles, their aliases. Like `tracking.py` it knows MLflow."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from slipway.base.errors import MlopsError
from slipway.forge import git
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from slipway.training.tracking import connect, shown, store_uri, translated

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Version:
    """One registered model version."""

    number: int
    digest: str
    commit: str
    run_id: str
    source: str
    image: str = ""


@dataclass(frozen=True)
class Registry:
    """The project's model in the registry."""

    project: Project
    client: MlflowClient

    @classmethod
    def open(cls, project: Project) -> Registry:
        """Connect; refuse when the registry does not answer."""
        return cls(project, connect(project))

    @property
    def name(self) -> str:
        """The registered model's name."""
        return self.project.tool.model

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        with self._translated():
            found = self.client.search_model_versions(f"name = '{self.name}'")
        return sorted((_version(one) for one in found), key=lambda version: version.number)

    def find(self, reference: str) -> Version:
        """Find a version by its number or by an alias."""
        versions = self.versions()
        found = self._found(versions, reference)
        if found:
            return found
        known = ", ".join([str(version.number) for version in versions] + sorted(self._aliases())) or "none"
        step = "mlops register" if not versions else "name one of these"
        raise MlopsError(
            f"{self.name} has no version or alias {reference!r} in the registry; there is: {known}",
            f"{step}{f'. {file}' if (file := self.of_this_machine()) else ''}",
        )

    def number(self, reference: str) -> int | None:
        """The number of the version that a number or an alias names; `None` where it names none."""
        found = self._found(self.versions(), reference)
        return found.number if found else None

    def _found(self, versions: list[Version], reference: str) -> Version | None:
        if reference == "latest" and versions:
            return versions[-1]
        number = int(reference) if reference.isdecimal() else self._aliases().get(reference)
        return next((version for version in versions if version.number == number), None)

    def of_this_machine(self) -> str:
        """Say that the registry is a file, which no other clone or machine sees; empty when it is a server."""
        uri = store_uri(self.project)
        if not uri.startswith("sqlite:"):
            return ""
        return (
            f"This registry is the file {uri.removeprefix('sqlite:///')}: another clone has its own, "
            "with versions of its own that begin at 1. A server shares one: tool.mlops.tracking_uri in pyproject.toml"
        )

    def require(self, number: int, digest: str) -> Version:
        """The version that a file names by number and digest; refused when the registry has none, or another one."""
        found = next((version for version in self.versions() if version.number == number), None)
        if found and found.digest == digest:
            return found
        there = f"another version {number}, {found.digest[:19]}, than" if found else f"no version {number} of"
        named = f"{self.name} with {digest[:19]}" if not found else f"the one with {digest[:19]}"
        file = self.of_this_machine()
        raise MlopsError(
            f"the registry {shown(store_uri(self.project))} has {there} {named}, which a file of an environment names",
            "it was deleted there, or registered in another store: see tool.mlops.tracking_uri in pyproject.toml, and "
            f"mlops audit; promote a version that is there{f'. {file}' if file else ''}",
        )

    def alias(self, alias: str) -> int | None:
        """The version number an alias points to."""
        return self._aliases().get(alias)

    def register(self, bundle: Bundle) -> tuple[Version, bool]:
        """Add a sealed bundle as a version; returns it, and whether it is new.

        A bundle that is there already is found by its digest, so a repeated or
        interrupted registration never makes a second version.
        """
        for version in self.versions():
            if version.digest == bundle.digest:
                return version, False
        lineage = bundle.lineage
        with self._translated():
            from mlflow.exceptions import MlflowException

            try:
                self.client.create_registered_model(self.name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            # One run can be registered with two states of the code, and neither may overwrite the other.
            folder = _folder(bundle.digest)
            self.client.log_artifacts(lineage.run_id, str(bundle.path), folder)
            source = f"{self.client.get_run(lineage.run_id).info.artifact_uri}/{folder}"
            made = self.client.create_model_version(
                self.name,
                source,
                lineage.run_id,
                tags={
                    "digest": bundle.digest,
                    "commit": lineage.commit,
                    "data": ", ".join(f"{one.path}@{one.md5}" for one in lineage.data),
                },
            )
        return _version(made), True

    def fetch(self, version: Version) -> Bundle:
        """Return the version's bundle, verified; from the local cache when it is there.

        Refused is one that trusts other types than `params.yaml` of its commit: the registry alone vouches for it.
        """
        return require_trusted(self.project, self.fetch_pinned(version))

    def fetch_pinned(self, version: Version) -> Bundle:
        """The same for a version whose digest stands in a file in Git, which vouches for all that it holds."""
        return cached(self.project, version.digest) or self._download(version)

    def attach(self, version: Version, file: Path) -> None:
        """Put a file beside the version's bundle, which itself never changes."""
        with self._translated():
            self.client.log_artifact(version.run_id, str(file), _beside(version.digest))

    def attached(self, version: Version, name: str, folder: Path) -> Path | None:
        """Fetch a file that was put beside the version's bundle; `None` if there is none."""
        place = _beside(version.digest)
        with self._translated():
            if f"{place}/{name}" not in {one.path for one in self.client.list_artifacts(version.run_id, place)}:
                return None
            return Path(self.client.download_artifacts(version.run_id, f"{place}/{name}", str(folder)))

    def set_alias(self, alias: str, number: int) -> None:
        """Point an alias at a version. Only deploying does this."""
        with self._translated():
            self.client.set_registered_model_alias(self.name, alias, str(number))

    def set_candidate(self, number: int, name: str) -> None:
        """Note under which name `params.yaml` had a version's parameters among its candidates."""
        with self._translated():
            self.client.set_model_version_tag(self.name, str(number), "candidate", name)

    def set_image(self, number: int, image: str) -> None:
        """Note the image, pinned by its digest, that holds the code of a version."""
        with self._translated():
            self.client.set_model_version_tag(self.name, str(number), "image", image)

    def _download(self, version: Version) -> Bundle:
        target = cache_folder(self.project, version.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as draft, self._translated():
            from mlflow.artifacts import download_artifacts

            got = download_artifacts(artifact_uri=version.source, dst_path=draft, tracking_uri=store_uri(self.project))
            Bundle(Path(got)).verify(version.digest)
            shutil.rmtree(target, ignore_errors=True)
            Path(got).replace(target)
        return Bundle(target)

    def _aliases(self) -> dict[str, int]:
        from mlflow.exceptions import MlflowException

        with self._translated():
            try:
                model = self.client.get_registered_model(self.name)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise
        return {alias: int(number) for alias, number in model.aliases.items()}

    def _translated(self) -> Any:
        return translated(store_uri(self.project))


def _folder(digest: str) -> str:
    return f"bundle-{digest.removeprefix('sha256:')[:16]}"


def _beside(digest: str) -> str:
    return f"{_folder(digest)}.attached"


def cache_folder(project: Project, digest: str) -> Path:
    """Where a bundle of this digest is kept on this machine."""
    return project.state / "bundles" / digest.removeprefix("sha256:")


def cached(project: Project, digest: str) -> Bundle | None:
    """A verified bundle from this machine's cache; it needs no registry."""
    folder = cache_folder(project, digest)
    if not folder.is_dir():
        return None
    try:
        return Bundle(folder).verify(digest)
    except MlopsError:
        shutil.rmtree(folder)  # damaged on this disk: fetch it again
        return None


def bundle_of(project: Project, number: int, digest: str) -> tuple[Bundle, Literal["cache", "registry"]]:
    """The bundle of a version, verified against this digest, and where it was found: here, or in the registry."""
    local = cached(project, digest)
    if local:
        return local, "cache"
    registry = Registry.open(project)
    return registry.fetch_pinned(registry.require(number, digest)), "registry"


def require_trusted(project: Project, bundle: Bundle) -> Bundle:
    """Return a bundle if `params.yaml` of its commit trusts every type that the bundle trusts, refuse it otherwise.

    Whoever may write to the registry could otherwise have any type's state set here.
    """
    if not bundle.model.trusted:
        return bundle
    commit = bundle.lineage.commit
    params = yaml.safe_load(git.at_commit(project.root, commit, "params.yaml") or "{}")
    others = {*bundle.model.trusted} - {*params.get("model_format", {}).get("trusted", [])}
    if others:
        raise MlopsError(
            f"the bundle {bundle.digest[:19]} trusts {', '.join(sorted(others))}, and params.yaml of commit "
            f"{commit[:12]}, which it names, does not",
            "if this checkout lacks the commit: git fetch --unshallow; otherwise do not use it, and find out who "
            "registered it",
        )
    return bundle


def _version(found: Any) -> Version:
    tags: dict[str, str] = found.tags or {}
    return Version(
        number=int(found.version),
        digest=tags.get("digest", ""),
        commit=tags.get("commit", ""),
        run_id=found.run_id or "",
        source=found.source,
        image=tags.get("image", ""),
    )
