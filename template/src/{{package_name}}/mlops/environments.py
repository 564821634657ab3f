"""The environment files: what should run where. Git holds them, so Git is the ledger."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from ..contract import CONTRACT
from . import git, packaging, target
from .errors import MlopsError
from .project import Challenger, Environment, Project, Release, read_settings
from .registry import Registry, Version

#: A model reaches production through this environment.
FIRST, LAST = "staging", "production"

_CHAMPION = re.compile(r"^champion:.*\n(?:[ \t]+.*\n)*", flags=re.MULTILINE)
_CHALLENGER = re.compile(r"\n*^challenger:.*\n?(?:[ \t]+.*\n?)*", flags=re.MULTILINE)


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
    release = load(project, name).champion
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
) -> tuple[str | None, Release]:
    """Propose a version for an environment as a branch that changes its file; returns branch and release.

    There is no branch when the environment names this version already. A challenger that becomes the
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
        if current.champion == release:
            return None, release
        branch = f"promote/{name}-v{release.version}"
        text = with_champion(path_of(project, name).read_text("utf-8"), release)
        if current.challenger and current.challenger.version == release.version:
            text = with_challenger(text, None)
        _propose(project, name, text, branch, f"Promote version {release.version} to {name}")
    return branch, release


def challenge(
    project: Project,
    name: str,
    reference: str | None = None,
    *,
    mode: Literal["canary", "shadow"] = "shadow",
    share: float | None = None,
    key: str | None = None,
) -> tuple[str, Challenger]:
    """Propose a challenger for an environment, as `promote` proposes a champion; returns branch and challenger."""
    _require_share(share)
    require_column(key)
    git.require_branch(project.root)
    with project.only_one("promote"):
        release = _release(project, name, reference)
        if champion(project, name).version == release.version:
            raise MlopsError(
                f"version {release.version} is the champion of {name}, so there is nothing to compare it with",
                f"mlops challenge {name} --version N, with another version",
            )
        given = {} if share is None else {"share": share}
        tried = Challenger(**msgspec.structs.asdict(release), mode=mode, key=key, **given)  # type: ignore[arg-type]
        text = with_challenger(path_of(project, name).read_text("utf-8"), tried)
        branch = f"challenge/{name}-v{release.version}"
        message = f"Let version {release.version} challenge {name} as a {mode} with {tried.share:g} of the traffic"
        _propose(project, name, text, branch, message)
    return branch, tried


def end_challenge(project: Project, name: str) -> tuple[str, Challenger]:
    """Propose an environment without its challenger; returns branch and the challenger that goes."""
    git.require_branch(project.root)
    with project.only_one("promote"):
        ended = challenger(project, name)
        branch = f"challenge/{name}-end"
        text = with_challenger(path_of(project, name).read_text("utf-8"), None)
        _propose(project, name, text, branch, f"End the challenge of version {ended.version} in {name}")
    return branch, ended


def _require_share(share: float | None) -> None:
    if share is not None and not 0 <= share <= 1:
        raise MlopsError(f"--share {share:g} is no part of the traffic", "give a number from 0 to 1", exit_code=2)


def require_column(key: str | None) -> None:
    """Refuse a key that no row has: every request would meet the same version."""
    known = [field.name for field in CONTRACT.fields]
    if key is not None and key not in known:
        raise MlopsError(f"no row has a column {key}", f"choose from {', '.join(known)}", exit_code=2)


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


def previous(project: Project, name: str) -> Release:
    """The champion before the current one, read from the history of the environment's file.

    What was rolled back is not gone back to: after 1, 2 and a rollback to 1, nothing is before 1.
    """
    path = _relative(project, name)
    current = champion(project, name)
    before: list[Release] = []
    for commit in git.git(project.root, "log", "--reverse", "--format=%H", "--", path).split():
        text = git.at_commit(project.root, commit, path)
        release = msgspec.yaml.decode(text, type=Environment).champion if text else None
        if release in before:
            before = before[: before.index(release)]
        before += [release] if release else []
    if len(before) > 1:
        return before[-2]
    raise MlopsError(
        f"{name} has had no champion before version {current.version}",
        f"mlops promote {FIRST} --version N, with a version that the registry still has",
    )


def rollback(project: Project, name: str, *, propose: bool) -> tuple[str | None, Release]:
    """Restore the previous champion: as a commit on this branch, or as a proposal.

    Returns the proposal's branch (None for a commit) and the restored release.
    """
    git.require_branch(project.root)
    with project.only_one("promote"):
        require_committed(project, name)
        release = previous(project, name)
        message = f"Roll {name} back to version {release.version}"
        if propose:
            branch = f"rollback/{name}-v{release.version}"
            text = with_champion(path_of(project, name).read_text("utf-8"), release)
            _propose(project, name, text, branch, message)
            return branch, release
        path = path_of(project, name)
        path.write_text(with_champion(path.read_text("utf-8"), release), encoding="utf-8", newline="\n")
        # At night the hooks of a laptop must not stand between an operator and the last good version.
        git.git(project.root, "commit", "--no-verify", "-m", message, "--", _relative(project, name))
    return None, release


def end_trial(project: Project, name: str, reason: str, *, promote: bool) -> str:
    """Propose an environment without its challenger, which is the new champion or gone; returns the branch."""
    git.require_branch(project.root)
    with project.only_one("promote"):
        require_committed(project, name)
        tried = challenger(project, name)
        text = with_challenger(path_of(project, name).read_text("utf-8"), None)
        subject = f"End the trial of version {tried.version} in {name}"
        if promote:
            text = with_champion(text, _as_release(tried))
            subject = f"Promote version {tried.version} to {name}"
        branch = f"decide/{name}-v{tried.version}"
        git.propose(project.root, branch, _relative(project, name), text, f"{subject}\n\n{reason}\n")
    return branch


def champion_since(project: Project, name: str) -> datetime:
    """When the champion was named, by Git: what it answered before then belongs to an earlier stay."""
    release = champion(project, name)
    found = git.since(project.root, _relative(project, name), lambda text: _decoded(text).champion == release)
    return _committed(found, name)[1]


def trial_since(project: Project, name: str) -> tuple[str, datetime]:
    """The commit that put this challenger beside this champion, and its time; its share may have changed since."""
    wanted = challenger(project, name).digest, champion(project, name).digest

    def holds(text: str) -> bool:
        then = _decoded(text)
        return (then.challenger and then.challenger.digest, then.champion and then.champion.digest) == wanted

    return _committed(git.since(project.root, _relative(project, name), holds), name)


def _committed(found: tuple[str, datetime] | None, name: str) -> tuple[str, datetime]:
    if found is None:
        raise MlopsError(f"what {name} names is in no commit of this branch", "commit it, or git fetch --unshallow")
    return found


def _decoded(text: str) -> Environment:
    return msgspec.yaml.decode(text, type=Environment)


def _as_release(tried: Challenger) -> Release:
    return Release(**{field: getattr(tried, field) for field in Release.__struct_fields__})


def require_committed(project: Project, name: str) -> None:
    """Refuse an environment file that differs from the current commit: nobody reviewed it."""
    path = _relative(project, name)
    if path in git.changes(project.root):
        raise MlopsError(
            f"{path} has changes that are in no commit", "commit them first: what runs is what was reviewed"
        )


def with_champion(text: str, release: Release) -> str:
    """The text of an environment file with another champion; comments and order stay."""
    block = (
        "champion:\n"
        f"  version: {release.version}\n"
        f"  digest: {release.digest}\n"
        f"  commit: {release.commit}\n"
    )  # fmt: skip
    block += f"  image: {release.image}\n" if release.image else ""
    if release.platform:
        block += "  platform:\n" + "".join(
            f"    {key}: {json.dumps(value)}\n" for key, value in msgspec.to_builtins(release.platform).items()
        )
    if not _CHAMPION.search(text):
        raise MlopsError(
            "the environment file has no line that starts with `champion:`", "add the line: champion: null"
        )
    return _CHAMPION.sub(block, text, count=1)


def with_challenger(text: str, challenger: Challenger | None) -> str:
    """The text of an environment file with another challenger, or without one; comments and order stay."""
    block = ""
    if challenger is not None:
        facts = {name: value for name, value in msgspec.to_builtins(challenger).items() if value is not None}
        block = "\n" + yaml.safe_dump({"challenger": facts}, sort_keys=False)
    if _CHALLENGER.search(text):
        return _CHALLENGER.sub("\n" + block, text, count=1)
    return text.rstrip("\n") + "\n" + block


def _propose(project: Project, name: str, text: str, branch: str, message: str) -> None:
    git.propose(project.root, branch, _relative(project, name), text, message)


def _relative(project: Project, name: str) -> str:
    return path_of(project, name).relative_to(project.root).as_posix()
