"""Does every pointer resolve, and may nobody do more than they should?

Data, registry, environments and locks are checked against each other, rights against the table of governance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.data import dvc
from slipway.delivery import beside, environments
from slipway.evidence import asked, here
from slipway.evidence.findings import AuditFinding
from slipway.evidence.governance import Actor
from slipway.forge import git
from slipway.registry import cards, packaging
from slipway.registry.models import Registry, Version
from slipway.settings.environment import Platform
from slipway.settings.project import Project

#: What a data card must tell: how the data came to be, and what is wrong with it.
DATA_CARD = ("Source", "Licence", "How it was collected", "How it was labelled", "Known problems")


def audit(project: Project, actor: Actor | None = None) -> list[AuditFinding]:
    """Run every check; a part that does not answer is a failed check, not the end of the audit.

    Rights are held against those of this `actor`, by default of whoever seems to run this.
    """
    checks: list[AuditFinding] = []

    def _rights(project: Project) -> Iterator[AuditFinding]:
        return asked.findings(project, actor or asked.actor_at_hand())

    for look in (_lock, _data_card, _model_card, _pipeline, _remote, _environments, _rights, here.findings):
        try:
            checks += look(project)
        except MlopsError as error:
            checks.append(AuditFinding(error.problem, holds=False, detail=error.next_step))
    return sorted(checks, key=lambda check: (check.holds, check.is_asked))


def _lock(project: Project) -> Iterator[AuditFinding]:
    check = ("lock", "--check", "--offline", "--quiet")
    done = programs.run(packaging.uv(), *check, cwd=project.root, install="install uv")
    yield AuditFinding("uv.lock holds what pyproject.toml asks for", done.code == 0, "uv lock")


def _data_card(project: Project) -> Iterator[AuditFinding]:
    card = project.root / cards.DATA_CARD
    text = card.read_text("utf-8") if card.is_file() else ""
    absent = [heading for heading in DATA_CARD if f"## {heading}" not in text]
    detail = f"{cards.DATA_CARD} says nothing under: {', '.join(absent)}"
    example = cards.of_the_example(project, cards.DATA_CARD)
    if example:
        detail = f"{cards.DATA_CARD} tells of the example's {example}; write what {project.params.data.source} holds"
    yield AuditFinding("the data card tells where the data came from", not absent and not example, detail)


def _model_card(project: Project) -> Iterator[AuditFinding]:
    example = cards.of_the_example(project, cards.MODEL_CARD)
    yield AuditFinding(
        "the model card is this model's",
        not example,
        f"{cards.MODEL_CARD} tells of the example's {example}; write what this model is for, then: mlops pipeline",
    )


def _pipeline(project: Project) -> Iterator[AuditFinding]:
    stale = dvc.stale(project)
    yield AuditFinding(
        "the outputs here are those that dvc.lock names",
        not stale,
        f"{', '.join(stale)} differ: run mlops pipeline or dvc pull",
    )


def _remote(project: Project) -> Iterator[AuditFinding]:
    absent = dvc.not_in_remote(project)
    yield AuditFinding(
        "the data remote has every object that Git points to",
        not absent,
        f"not there: {', '.join(absent)}; run: dvc push",
    )


def _environments(project: Project) -> Iterator[AuditFinding]:
    registry = Registry.open(project)
    numbers = {version.number: version for version in registry.versions()}
    for name in environments.names(project):
        wanted = environments.load(project, name)
        release = wanted.champion
        if release is None:
            yield AuditFinding(f"{name} names no champion yet", holds=True, detail="")
            continue
        found = numbers.get(release.version)
        same = found is not None and (found.digest, found.commit) == (release.digest, release.commit)
        yield AuditFinding(
            f"{name} names version {release.version}, and the registry has it with that digest and commit",
            same, f"the registry has {found.digest if found else 'no such version'}",
        )  # fmt: skip
        behind = beside.lagging(project, name, wanted)
        for path in beside.files(project, name, wanted):
            what = f"{path} says what {name}.yaml says"
            yield AuditFinding(what, path not in behind, f"mlops promote {name}")
        if found is not None and same:
            yield _code(project, registry, found)
        if release.platform:
            yield _platform(project, name, release.platform)
        yield from _alias(registry.alias, name, wanted.alias, release.version)
        here = git.git(project.root, "cat-file", "-t", release.commit, check=False).strip() == "commit"
        yield AuditFinding(
            f"the commit of version {release.version} is in this clone", here, "git fetch --unshallow --all"
        )


def _code(project: Project, registry: Registry, version: Version) -> AuditFinding:
    what = f"the code in the bundle of version {version.number} is that of its commit"
    try:
        packaging.require_from_commit(project, registry.fetch(version))
    except MlopsError as error:
        return AuditFinding(what, holds=False, detail=f"{error.problem}: {error.next_step}")
    return AuditFinding(what, holds=True, detail="")


def _platform(project: Project, name: str, named: Platform) -> AuditFinding:
    what = f"platform {named.version}, which {name} names, is that of its commit"
    try:
        packaging.require_platform(project, named)
    except MlopsError as error:
        return AuditFinding(what, holds=False, detail=f"{error.problem}: {error.next_step}")
    return AuditFinding(what, holds=True, detail="")


def _alias(alias: Callable[[str], int | None], name: str, wanted: str, version: int) -> Iterator[AuditFinding]:
    points_to = alias(wanted)
    # No alias yet means not deployed yet; another version means that somebody moved it.
    holds = points_to in (None, version)
    yield AuditFinding(
        f"the registry's alias {wanted} agrees with {name}",
        holds,
        f"it points to version {points_to}; run: mlops deploy {name}",
    )
