"""The files that a target keeps beside an environment's file: they say the same, and change in the same commit."""

from __future__ import annotations

from slipway.base.errors import MlopsError
from slipway.delivery import target
from slipway.settings.environment import Environment
from slipway.settings.project import Project


def files(project: Project, name: str, wanted: Environment) -> dict[str, str]:
    """The text of each of these files, by its path, for what an environment shall run; none for most targets."""
    where = target.of(project, wanted)
    if wanted.champion is None or not hasattr(where, "files_beside"):
        return {}
    made: dict[str, str] = where.files_beside(project, name, wanted)
    return made


def lagging(project: Project, name: str, wanted: Environment) -> list[str]:
    """Those of the files that say otherwise, as they lie there."""
    made = files(project, name, wanted)
    return [path for path, text in made.items() if _read(project, path) != text]


def require_level(project: Project, name: str, wanted: Environment) -> None:
    """Refuse an environment whose files do not agree: nobody knows which of them was reviewed."""
    if behind := lagging(project, name, wanted):
        raise MlopsError(
            f"{behind[0]} does not say what {name}.yaml says{_and_policy(project, wanted)}",
            f"mlops promote {name}, which proposes both in one commit; then merge that",
        )


def _and_policy(project: Project, wanted: Environment) -> str:
    return " and policy.yaml" if target.is_pulled(project, wanted) else ""


def _read(project: Project, path: str) -> str:
    file = project.root / path
    return file.read_text("utf-8") if file.is_file() else ""
