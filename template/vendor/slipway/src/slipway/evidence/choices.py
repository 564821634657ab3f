"""Which rules of governance hold in a project: what its settings chose, and where things lie by them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from slipway.base import buckets
from slipway.data import place, remotes
from slipway.delivery.ledger import LEDGER as LEDGER_FILE
from slipway.evidence import governance
from slipway.evidence.governance import GovernanceRule, rule
from slipway.log import store
from slipway.settings.project import Project
from slipway.training.tracking import shown, store_uri


def governed(project: Project) -> list[GovernanceRule]:
    """The rule of each kind of artefact, with the places and spans of this project's settings."""
    return [
        *_data(project),
        _bundles(project),
        _images(project),
        replace(rule(governance.ENVIRONMENTS, governance.GIT), lies=_below(project, str(project.environments))),
        *_logs(project),
        _labels(project),
        rule(governance.REPORTS, governance.GIT),
        *_kept_reports(project),
        replace(rule(governance.LEDGER, governance.FILE), lies=str(project.state / LEDGER_FILE)),
    ]


def is_pointed_to(project: Project) -> bool:
    """Whether Git holds a pointer to the raw data, or to a part of it, and not the data itself."""
    source = project.root / project.params.data.delivered
    around = [path for path in (source, *source.parents) if project.root in path.parents]
    return any(path.with_name(f"{path.name}.dvc").is_file() for path in around) or any(source.rglob("*.dvc"))


def _data(project: Project) -> Iterator[GovernanceRule]:
    url = place.default_remote(project.root)[1]
    kind = remotes.of(url)
    for artefact in (governance.RAW, governance.PIPELINE):
        if artefact == governance.RAW and not is_pointed_to(project):
            yield replace(rule(artefact, governance.GIT), lies=project.params.data.delivered)
        elif kind is None:
            yield replace(
                rule(artefact, "local"), choice=url.partition(":")[0], lies=url, enforced="that place itself", proofs=()
            )
        else:
            folder = place.local_folder(project.root)
            lies = str(folder) if folder else url or "on this machine alone: .dvc/config names no remote"
            yield replace(rule(artefact, kind.kind), lies=lies)


def _bundles(project: Project) -> GovernanceRule:
    uri = store_uri(project)
    is_server = uri.startswith(("http://", "https://"))
    return replace(rule(governance.BUNDLES, governance.TRACKING if is_server else governance.FILE), lies=shown(uri))


def _images(project: Project) -> GovernanceRule:
    if not project.tool.image:
        return rule(governance.IMAGES, governance.NONE)
    return replace(rule(governance.IMAGES, governance.IMAGE_REGISTRY), lies=project.tool.image)


def _logs(project: Project) -> Iterator[GovernanceRule]:
    address, days = project.policy.serving.log, project.policy.privacy.keep_days
    choice = governance.FOLDER
    if address:
        choice = governance.BUCKET if buckets.is_bucket(address) else governance.ELSEWHERE
    artefacts = governance.PREDICTIONS, governance.REFUSALS, governance.POSTED, governance.ERASURES
    for log, artefact in zip(store.LOGS, artefacts, strict=True):
        lies = f"{address.rstrip('/')}/{log}" if address else str(project.state / log)
        found = replace(rule(artefact, choice), lies=lies)
        if artefact == governance.ERASURES:
            yield found
        elif days is None:
            yield replace(found, delete=(), kept="for ever: policy.yaml has no privacy.keep_days")
        else:
            yield replace(found, kept=f"{days} days, then `mlops monitor` deletes it (privacy.keep_days)")
    if choice == governance.BUCKET:
        yield replace(rule(governance.HEARTBEATS, choice), lies=f"{address.rstrip('/')}/fleet")


def _labels(project: Project) -> GovernanceRule:
    labels = project.policy.labels
    if labels is None:
        return rule(governance.LABELS, governance.NONE)
    choice = governance.FOLDER
    if labels.query:
        choice = governance.DATABASE
    elif buckets.is_bucket(labels.source):
        choice = governance.BUCKET
    return replace(rule(governance.LABELS, choice), lies=labels.source)


def _kept_reports(project: Project) -> Iterator[GovernanceRule]:
    if address := project.policy.monitor.reports:
        found = replace(rule(governance.KEPT_REPORTS, governance.BUCKET), lies=address.rstrip("/"))
        days = project.policy.privacy.keep_days
        if days is None:
            yield replace(found, delete=(), kept="for ever: policy.yaml has no privacy.keep_days")
        else:
            yield replace(found, kept=f"{days} days, then `mlops monitor` deletes it (privacy.keep_days)")


def _below(project: Project, path: str) -> str:
    return path.removeprefix(f"{project.root}/")


def text(rules: list[GovernanceRule]) -> str:
    """The rules as a page of text, a paragraph each."""
    return "\n\n".join("\n".join(_lines(one)) for one in rules)


def _lines(one: GovernanceRule) -> Iterator[str]:
    yield f"{one.artefact} ({one.choice}): {one.lies}"
    for verb in ("read", "write", "delete"):
        yield f"  {verb:<9} {one.names(verb)}"
    yield f"  {'kept':<9} {one.kept}"
    yield f"  {'by':<9} {one.enforced}"
    for number, proof in enumerate(one.proofs):
        yield f"  {'' if number else 'shown by':<9} {proof}"
