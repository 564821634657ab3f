"""Has whoever runs this the rights that the table of governance gives them, and no more? What can be asked is asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

from slipway.base.buckets import Bucket
from slipway.base.errors import MlopsError
from slipway.data import place, remotes, rights
from slipway.delivery import environments
from slipway.evidence import governance
from slipway.evidence.choices import governed
from slipway.evidence.findings import AuditFinding, not_asked
from slipway.evidence.governance import NAMES, Actor, GovernanceRule
from slipway.log import predictions
from slipway.log.store import DatedSink, sink_of
from slipway.settings.project import Project

#: The rights of a place by which somebody may do what the table speaks of.
VERBS = {"read": ("list", "read"), "write": ("write",), "delete": ("delete",)}

_TABLE = "mlops governance says who may"


def actor_at_hand() -> Actor:
    """Who runs this, by what a forge tells its jobs; outside of one, a person."""
    if not os.environ.get("CI"):
        return Actor.PERSON
    is_proposed = os.environ.get("GITHUB_EVENT_NAME") in ("pull_request", "pull_request_target", "merge_group")
    return Actor.PULL_REQUEST if is_proposed else Actor.MAIN


def findings(project: Project, actor: Actor) -> Iterator[AuditFinding]:
    """Ask what the identity at hand may do, as one of this `actor`; a place that does not answer is a failed check."""
    rules = {one.artefact: one for one in governed(project)}
    looks: list[Callable[[], Iterator[AuditFinding]]] = [
        lambda: _data(project, actor, [rules[governance.RAW], rules[governance.PIPELINE]]),
        lambda: _bucket(actor, rules[governance.PREDICTIONS]),
        lambda: _bucket(actor, rules.get(governance.KEPT_REPORTS)),
        lambda: _retention(project, actor, rules[governance.PREDICTIONS]),
    ]
    for look in looks:
        try:
            yield from look()
        except MlopsError as error:
            yield AuditFinding(error.problem, holds=False, detail=error.next_step)
    yield from _others(rules)


def _data(project: Project, actor: Actor, rules: list[GovernanceRule]) -> Iterator[AuditFinding]:
    what = f"rights of {NAMES[actor]} at the data remote"
    url = place.default_remote(project.root)[1]
    kind = remotes.of(url)
    folder = place.local_folder(project.root)
    if kind is None:
        yield not_asked(what, f"{url} is of no kind that the platform knows")
    elif kind.kind == "local":
        yield from _folder_of_data(what, folder)
    else:
        found = rights.ask(project, *kind.known)
        silent = [right for right in found.missing if right not in found.refused]
        if silent:
            raise MlopsError(found.sentence(), f"look whether it can be reached from here, see {rights.GUIDE}")
        # Both kinds of data share a remote, so an identity has what either needs.
        allowed = {verb for verb in VERBS if any(actor in one.of(verb) for one in rules if one.choice == kind.kind)}
        if not kind.is_bucket:  # who may write there may delete there, and nothing else can be asked
            allowed.discard("delete")
        yield from compared(actor, url, allowed, found.has, found.missing)
        if not kind.is_bucket and kind.is_written:
            yield not_asked(f"who may delete at {url}", "there, who may write may delete: keep a copy elsewhere")


def _folder_of_data(what: str, folder: Path | None) -> Iterator[AuditFinding]:
    if folder is None or not folder.is_dir():
        yield not_asked(what, "there is no remote yet that could be asked")
    elif os.name == "nt":
        yield not_asked(what, "modes of files say nothing on Windows")
    else:
        yield AuditFinding(
            f"nobody else of this machine may write to the data in {folder}",
            not folder.stat().st_mode & 0o002,
            f"chmod o-w {folder}",
        )


def _bucket(actor: Actor, rule: GovernanceRule | None) -> Iterator[AuditFinding]:
    """The rights at the log of answers, which refusals, labels and erasures share, or at the reports of the monitor."""
    if rule is None:
        return
    if rule.choice == governance.ELSEWHERE:
        yield not_asked(f"rights of {NAMES[actor]} at {rule.lies}", "its sink has no question about rights")
    if rule.choice == governance.BUCKET:
        said = Bucket(rule.lies).rights()
        has = [right for right, refusal in said.items() if not refusal]
        yield from compared(actor, rule.lies, {verb for verb in VERBS if actor in rule.of(verb)}, has, said)


def compared(
    actor: Actor, where: str, allowed: Collection[str], has: Collection[str], said: dict[str, str]
) -> Iterator[AuditFinding]:
    """What an identity may do somewhere beside what the table allows it: more is a fault, and so is less.

    `has` are rights, and `said` is what was said of others. A person may have less.
    """
    for verb, needed in VERBS.items():
        known = [right for right in needed if right in has or right in said]
        lacking = [right for right in known if right not in has]
        if not known:
            continue
        if verb not in allowed:
            yield AuditFinding(
                f"{NAMES[actor]} may not {verb} at {where}",
                holds=len(lacking) == len(known),
                detail=f"it may: take the right to {verb} from this identity; {_TABLE}",
            )
        elif lacking and actor is Actor.PERSON:
            yield AuditFinding(f"this person may not {verb} at {where}, and need not", holds=True, detail="")
        else:
            yield AuditFinding(
                f"{NAMES[actor]} may {verb} at {where}",
                holds=not lacking,
                detail=f"no right to {' and '.join(lacking)}: {'; '.join(said.get(right, '') for right in lacking)}",
            )


def _retention(project: Project, actor: Actor, rule: GovernanceRule) -> Iterator[AuditFinding]:
    keep_days = project.policy.privacy.keep_days
    what = "nothing in the logs is older than the policy keeps"
    if keep_days is None:
        yield not_asked(what, "policy.yaml keeps it for ever; to change that: mlops policy add privacy")
        return
    if actor not in rule.read:
        yield not_asked(what, f"{NAMES[actor]} may not read the logs")
        return
    last = predictions.forgotten(keep_days, datetime.now(UTC))
    for name in environments.names(project):
        sinks = [sink_of(project, log, name) for log in predictions.LOGS]
        if not all(isinstance(sink, DatedSink) for sink in sinks):
            yield not_asked(what, "its sink does not say what it holds")
            return
        old = [file for sink in sinks if isinstance(sink, DatedSink) for file in sink.files() if file.day <= last]
        yield AuditFinding(
            f"nothing in the logs of {name} is older than {keep_days} days",
            not old,
            f"{len(old)} files are; mlops monitor {name} deletes them, with an identity that may",
        )


def _others(rules: dict[str, GovernanceRule]) -> Iterator[AuditFinding]:
    """What has rights, and no way to ask for them without using them."""
    if rules[governance.BUNDLES].choice == governance.TRACKING:
        yield not_asked(f"who may write at {rules[governance.BUNDLES].lies}", "MLflow has no question about rights")
    if rules[governance.IMAGES].choice == governance.IMAGE_REGISTRY:
        yield not_asked(
            f"who may push to {rules[governance.IMAGES].lies}", "a registry of images tells that only to who pushes"
        )
    if rules[governance.LABELS].choice != governance.NONE:
        yield not_asked(
            f"who may write labels at {rules[governance.LABELS].lies}", "whoever keeps them gives these rights"
        )
