"""The environment files: what should run where. Git holds them, so Git is the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from slipway import team
from slipway.base.errors import MlopsError
from slipway.delivery import beside, target
from slipway.forge import git, proposals
from slipway.forge.proposals import Proposal, after_merge
from slipway.registry import packaging, signing
from slipway.registry.models import Registry, Version, bundle_of
from slipway.settings import edit
from slipway.settings.base import read_settings
from slipway.settings.environment import Challenger, Environment, Release
from slipway.settings.project import Project

#: A model reaches production through this environment.
FIRST, LAST = "staging", "production"


def names(project: Project) -> list[str]:
    """The environments of the project."""
    return sorted(path.stem for path in project.environments.glob("*.yaml"))


def path_of(project: Project, name: str) -> Path:
    """The file of an environment, which must exist."""
    path = project.environments / f"{name}.yaml"
    if not path.is_file():
        raise MlopsError(f"there is no environment {name}", f"choose from {', '.join(names(project))}", exit_code=2)
    return path


def load(project: Project, name: str) -> Environment:
    """Read what should run in an environment."""
    return read_settings(path_of(project, name), Environment)


def champion(project: Project, name: str) -> Release:
    """The version that should answer in an environment; refused when there is none yet."""
    return named(load(project, name), name)


def named(wanted: Environment, name: str) -> Release:
    """The champion that the content of an environment's file names; refused when it names none."""
    release = wanted.champion
    if release is None:
        raise MlopsError(f"{name} names no champion yet", f"mlops promote {name}, then review and merge the proposal")
    return release


def challenger(project: Project, name: str) -> Challenger:
    """The version on trial in an environment; refused when there is none."""
    tried = load(project, name).challenger
    if tried is None:
        raise MlopsError(f"{name} names no challenger", f"put one beside the champion: mlops challenge {name}")
    return tried


def promote(
    project: Project, name: str, reference: str | None = None, *, this_platform: bool = False
) -> tuple[Proposal | None, Release]:
    """Propose a version for an environment as a branch that changes its file.

    There is no proposal when the environment names this version already. A challenger that becomes the
    champion is no challenger any more. With `this_platform` the platform of the current commit shall serve it, in the
    place of the one that it was registered with.

    Production takes what runs in staging and nothing else.
    """
    git.require_branch(project.root)
    with project.only_one("promote"):
        release = _release(project, name, reference)
        if this_platform:
            release = _with_this_platform(project, name, release)
        current = load(project, name)
        require_signed(project, release, current)
        if current.champion == release and not beside.lagging(project, name, current):
            return None, release
        changes: dict[str, Release | None] = {"champion": release}
        if current.challenger and current.challenger.version == release.version:
            changes["challenger"] = None
        branch, subject = f"promote/{name}-v{release.version}", f"Promote version {release.version} to {name}"
        return propose_change(project, name, changes, branch, subject, proposal_title(release, name)), release


def challenge(
    project: Project,
    name: str,
    reference: str | None = None,
    *,
    mode: Literal["canary", "shadow"] = "shadow",
    share: float | None = None,
    key: str | None = None,
) -> Proposal:
    """Propose a challenger for an environment, as `promote` proposes a champion."""
    _require_share(share)
    require_column(project, name, key)
    git.require_branch(project.root)
    with project.only_one("promote"):
        release = _release(project, name, reference)
        target.require_challengers(project, name, load(project, name))
        if champion(project, name).version == release.version:
            raise MlopsError(
                f"version {release.version} is the champion of {name}, so there is nothing to compare it with",
                f"mlops challenge {name} --version N, with another version",
            )
        require_signed(project, release, load(project, name))
        given = {} if share is None else {"share": share}
        tried = Challenger(**msgspec.structs.asdict(release), mode=mode, key=key, **given)  # type: ignore[arg-type]
        branch = f"challenge/{name}-v{release.version}"
        message = f"Let version {release.version} challenge {name} as a {mode} with {tried.share:g} of the traffic"
        title = f"{proposal_title(release, name)}, as {mode} with {tried.share:.0%} of the requests,"
        return propose_change(project, name, {"challenger": tried}, branch, message, title)


def end_challenge(project: Project, name: str) -> Proposal:
    """Propose an environment without its challenger."""
    git.require_branch(project.root)
    with project.only_one("promote"):
        ended = challenger(project, name)
        message = f"End the challenge of version {ended.version} in {name}"
        title = f"the end of version {ended.version}'s challenge in {name} is proposed"
        return propose_change(project, name, {"challenger": None}, f"challenge/{name}-end", message, title)


def _require_share(share: float | None) -> None:
    if share is not None and not 0 <= share <= 1:
        raise MlopsError(f"--share {share:g} is no part of the traffic", "give a number from 0 to 1", exit_code=2)


def require_column(project: Project, name: str, key: str | None) -> None:
    """Refuse a key that no row has, as every request would meet the same version, or that the log does not keep."""
    known = [field.name for field in team.CONTRACT.fields]
    if key is not None and key not in known:
        raise MlopsError(f"no row has a column {key}", f"choose from {', '.join(known)}", exit_code=2)
    if project.policy.privacy.fields.get(key or "") == "drop":
        raise MlopsError(
            f"{key} shall decide who answers in {name}, and privacy.fields drops it from the log",
            "hash it: then both versions can be compared",
        )


def _release(project: Project, name: str, reference: str | None) -> Release:
    if name != LAST:
        version = Registry.open(project).find(reference or "latest")
        return _with_image(project, name, _release_of(version))
    staged = champion(project, FIRST)
    if reference is not None and reference != str(staged.version):
        raise MlopsError(
            f"{name} takes what runs in {FIRST}, which is version {staged.version}, not {reference}",
            f"mlops promote {FIRST} --version {reference}, deploy it there, then promote {name}",
        )
    # The alias moves when a deployment has passed its smoke test, so it tells what has really run.
    if Registry.open(project).alias(load(project, FIRST).alias) != staged.version:
        raise MlopsError(f"version {staged.version} was never deployed to {FIRST}", f"mlops deploy {FIRST}")
    return _with_image(project, name, staged)


def _with_this_platform(project: Project, name: str, release: Release) -> Release:
    where = target.name_for(project, load(project, name))
    if name == LAST:
        raise MlopsError(f"{name} takes what runs in {FIRST}, its platform too", f"mlops promote {FIRST}", exit_code=2)
    if target.find(where).needs_image:
        raise MlopsError(
            f"{where} runs {name} from an image, and another platform means another image",
            "register the version once more, then: mlops build --push",
        )
    return msgspec.structs.replace(release, platform=packaging.current_platform(project))


def _release_of(version: Version) -> Release:
    return Release(
        version=version.number, digest=version.digest, commit=version.commit, image=version.image or None
    )  # fmt: skip


def _with_image(project: Project, name: str, release: Release) -> Release:
    """The release, refused when the environment's target needs an image and none is known."""
    wanted = load(project, name)
    if release.image is None and target.of(project, wanted).needs_image:
        raise MlopsError(
            f"version {release.version} has no image, and {target.name_for(project, wanted)} runs {name} from one",
            f"from a checkout of its code: mlops build --push; then mlops promote {FIRST} again",
        )
    return release


def end_trial(project: Project, name: str, reason: str, *, promote: bool) -> Proposal:
    """Propose an environment without its challenger, which is the new champion or gone."""
    git.require_branch(project.root)
    with project.only_one("promote"):
        require_committed(project, name)
        tried = challenger(project, name)
        changes: dict[str, Release | None] = {"challenger": None}
        subject = f"End the trial of version {tried.version} in {name}"
        if promote:
            changes["champion"] = _as_release(tried)
            subject = f"Promote version {tried.version} to {name}"
        branch = f"decide/{name}-v{tried.version}"
        title = f"{subject[0].lower()}{subject[1:]}: this is proposed"
        return propose_change(project, name, changes, branch, f"{subject}\n\n{reason}\n", title)


def champion_since(project: Project, name: str) -> datetime:
    """When the champion was named, by Git: what it answered before then belongs to an earlier stay."""
    release = champion(project, name)
    found = git.since(project.root, relative(project, name), lambda text: decoded(text).champion == release)
    return _committed(found, name)[1]


def trial_since(project: Project, name: str) -> tuple[str, datetime]:
    """The commit that put this challenger beside this champion, and its time; its share may have changed since."""
    wanted = challenger(project, name).digest, champion(project, name).digest

    def holds(text: str) -> bool:
        then = decoded(text)
        return (then.challenger and then.challenger.digest, then.champion and then.champion.digest) == wanted

    return _committed(git.since(project.root, relative(project, name), holds), name)


def _committed(found: tuple[str, datetime] | None, name: str) -> tuple[str, datetime]:
    if found is None:
        raise MlopsError(f"what {name} names is in no commit of this branch", "commit it, or git fetch --unshallow")
    return found


def decoded(text: str) -> Environment:
    """An environment's file as a commit has it."""
    return msgspec.yaml.decode(text, type=Environment)


def _as_release(tried: Challenger) -> Release:
    return Release(**{field: getattr(tried, field) for field in Release.__struct_fields__})


def require_signed(project: Project, release: Release, wanted: Environment) -> None:
    """Refuse what the policy wants signed and is not, where a cluster pulls: nobody looks after the merge."""
    if project.policy.signature and target.is_pulled(project, wanted):
        signing.verify(project, release, bundle_of(project, release.version, release.digest)[0])


def require_committed(project: Project, name: str) -> None:
    """Refuse an environment file that differs from the current commit: nobody reviewed it."""
    paths = {relative(project, name), *beside.files(project, name, load(project, name))}
    if changed := sorted(paths & set(git.changes(project.root))):
        raise MlopsError(
            f"{changed[0]} has changes that are in no commit", "commit them first: what runs is what was reviewed"
        )


def changed(text: str, name: str, changes: Mapping[str, Release | None]) -> str:
    """The text of an environment's file with another champion or challenger; a challenger of None goes.

    Everything else in it stays as it is. Raises `MlopsError` where that cannot be.
    """
    places = {place: edit.REMOVED if wanted is None else _facts(wanted) for place, wanted in changes.items()}
    return edit.edited(text, places, Environment, name)


def changed_file(project: Project, name: str, changes: Mapping[str, Release | None]) -> str:
    """The text of an environment's file with these changes: see `changed`."""
    return changed(path_of(project, name).read_text("utf-8"), relative(project, name), changes)


def with_files_beside(project: Project, name: str, text: str) -> dict[str, str]:
    """This text of an environment's file, and that of each file that its target keeps beside it, by their paths."""
    return {relative(project, name): text, **beside.files(project, name, decoded(text))}


def _facts(release: Release) -> dict[str, Any]:
    return {key: value for key, value in msgspec.to_builtins(release).items() if value is not None}


def propose_change(
    project: Project, name: str, changes: Mapping[str, Release | None], branch: str, message: str, title: str
) -> Proposal:
    """Put a change of an environment's file on a branch to review."""
    change = with_files_beside(project, name, changed_file(project, name, changes))
    next_step = after_merge(branch, f"deploy {name}")
    return proposals.propose(project, branch, change, message, title=title, next_step=next_step)


def proposal_title(release: Release, name: str) -> str:
    """What is proposed, in a part of a sentence."""
    return f"version {release.version} is proposed for {name}"


def relative(project: Project, name: str) -> str:
    """The path of an environment's file, from the project's folder."""
    return path_of(project, name).relative_to(project.root).as_posix()
