"""Whether a checkout has the raw data, or can fetch it, and the sample in Git that stands in for it elsewhere."""

from __future__ import annotations

from pathlib import Path

from slipway.base.errors import MlopsError
from slipway.data import place
from slipway.settings.project import Project


def out_of_reach(project: Project) -> str:
    """Why the raw data cannot be had here; empty when it can. Nothing is asked over a network."""
    absent = [path.with_suffix("").relative_to(project.root).as_posix() for path in _open_pointers(project)]
    remote = place.reach(project.root)
    if not absent or remote.there:
        return ""
    return f"{', '.join(sorted(absent)[:3])} {'is' if len(absent) == 1 else 'are'} kept in the data remote, and a " \
        f"checkout without {remote.how} cannot fetch it"  # fmt: skip


def sample(project: Project) -> str | None:
    """The part of the data that stays in Git, by its path from the root, where `data.sample` names one."""
    named = project.params.data.sample
    if named and not (project.root / named).exists():
        raise MlopsError(
            f"params.yaml, data.sample: there is no {named}", "commit the sample there, or take the line out"
        )
    return named


def at_hand(project: Project) -> str | None:
    """The raw data where it can be had, or else the sample; `None` where there is neither."""
    return sample(project) if out_of_reach(project) else project.params.data.delivered


def _open_pointers(project: Project) -> list[Path]:
    """The pointers to raw data that is not here: inside what is delivered, beside it, or beside a folder around it."""
    source = project.root / project.params.data.delivered
    around = [path for path in (source, *source.parents) if project.root in path.parents]
    pointers = [*source.rglob("*.dvc"), *(path.with_name(f"{path.name}.dvc") for path in around)]
    return [path for path in pointers if path.is_file() and not path.with_suffix("").exists()]
