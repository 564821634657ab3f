"""An environment that a controller in the cluster makes what Git says: pods tell by the bucket what they are.

Nobody here gets into the cluster. A pod says that it serves when it has answered its golden rows, not before.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.base.numbers import counted
from slipway.delivery import environments, target
from slipway.delivery.kubernetes.cluster import NAME
from slipway.delivery.target import Rival, Run
from slipway.log import heartbeats
from slipway.log.heartbeats import STALE_S, ServedVersion
from slipway.settings.project import Project

#: How long a controller may take to see a commit, and its cluster to roll out: each up to five minutes, and some more.
PULL_S = 900

_PATIENCE_S = 8
_LOOK_EVERY_S = 3
#: How a Deployment calls its pods; processes of other machines may write into the same bucket.
_POD = re.compile(rf"{NAME}-[a-z0-9]+-[a-z0-9]{{5}}")


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """What answers in an environment, as most of its pods tell."""

    version: int
    digest: str
    run: Run | None = None
    challenger: Rival | None = None


def status(project: Project, environment: str) -> Pulled | None:
    """What answers in an environment; `None` where no pod says that it does, or its file names another target."""
    if not target.is_pulled(project, environments.load(project, environment)):
        return None
    found = _champions(_served(project, environment))
    if not found:
        return None
    (version, digest), _ = Counter((one.version, one.digest) for one in found).most_common(1)[0]
    return Pulled(version=version, digest=digest)


def wait(project: Project, run: Run, rival: Rival | None, log: Log, timeout_s: float = PULL_S) -> None:
    """Return when every pod of the environment says that it is `run`, with this challenger beside it or none.

    Raises what they say instead when time is over.
    """
    wanted = {("champion", run.version, run.digest, 0.0)}
    wanted |= {(rival.mode, rival.run.version, rival.run.digest, rival.share)} if rival else set()
    deadline = time.monotonic() + timeout_s
    log(f"waiting up to {timeout_s:g} seconds for pods of version {run.version}")
    while not _are_all(pods := _served(project, run.environment), wanted) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    found = _champions(pods)
    if _are_all(pods, wanted):
        log(f"version {run.version} answers from {counted(len(pods), 'pod')}")
        if rival:
            log(f"version {rival.run.version} challenges it: {rival.mode} of {rival.share:.0%}")
        return
    if found and all((one.version, one.digest) == (run.version, run.digest) for one in found):
        challenger = f"version {rival.run.version} as {rival.mode} of {rival.share:.0%}" if rival else ""
        raise MlopsError(
            f"within {timeout_s:g} seconds not every pod of {run.environment} had "
            f"{challenger or 'no challenger'} beside version {run.version}",
            "see what the controller says of the commit, and why a new pod is not ready; an image that an earlier "
            "release of the platform made takes no notice of a challenger",
        )
    there = Counter(one.version for one in found)
    said = ", ".join(f"{counted(count, 'pod')} of version {version}" for version, count in sorted(there.items()))
    raise MlopsError(
        f"within {timeout_s:g} seconds the pods of {run.environment} did not become version {run.version}: "
        f"{said or 'none'} answered",
        f"see what the controller says of the commit, and why a new pod is not ready; mlops rollback {run.environment} "
        "names the version before",
    )


def _are_all(pods: Sequence[Sequence[ServedVersion]], wanted: set[tuple[str, int, str, float]]) -> bool:
    said = [{(one.role, one.version, one.digest, one.share) for one in served} for served in pods]
    return bool(said) and all(served == wanted for served in said)


def _champions(pods: Sequence[Sequence[ServedVersion]]) -> list[ServedVersion]:
    return [one for served in pods for one in served if one.role == "champion"]


def _served(project: Project, environment: str) -> list[list[ServedVersion]]:
    """What each pod says that it serves and has said lately."""
    since = datetime.now(UTC) - timedelta(seconds=STALE_S)
    beats = heartbeats.read(project.policy.serving.log, [environment], _PATIENCE_S)[environment]
    return [beat.served for beat in beats if beat.served and beat.seen > since and _POD.fullmatch(beat.machine)]
