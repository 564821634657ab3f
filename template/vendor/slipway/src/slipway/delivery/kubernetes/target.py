"""The kubernetes deploy target: a Deployment whose pods run one image that holds platform, code and bundle.

    deploy/kubernetes/base/                     what every environment has
    deploy/kubernetes/overlays/<environment>/   its namespace, and in `image.yaml` the digest that `promote` wrote

A change of versions is a rolling update: a new pod answers its golden rows before an old one goes. If none does, the
pods of before are wanted again. The cluster knows what runs, so whatever is killed at whatever moment, the next
`switch` finds out what is true and goes on from there. Where a controller pulls, it waits for that: see `pulled.py`.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.delivery import environments, target
from slipway.delivery.kubernetes import forwards, manifest, needs, pulled, rivals
from slipway.delivery.kubernetes.cluster import BUNDLE, FOLDER, JOBS, NAME, RIVAL, SERVICE_PORT, Cluster, Pod, host
from slipway.delivery.kubernetes.pulled import Pulled
from slipway.delivery.target import Rival, Run
from slipway.forge import git
from slipway.settings.environment import Environment
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

#: Pods run the code in their image, and serve the bundle in it.
needs_image = True
holds_bundle = True
tries_challengers = True

#: Pods speak HTTPS by a Secret of their namespace, where the key of their log is as well.
ends_tls = True
has_keys = True

#: How long a rollout may take: fetching the image to each node, and starting.
ROLLOUT_S = 300

#: How long pods may take to notice another ConfigMap or Secret: a node looks at those that it knows once a minute.
notice_s = 150

#: How long a registry may be away while a node fetches an image.
FETCH_S = 45

#: What a pod may wait for and never get.
_HOPELESS = ("CrashLoopBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff")


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """What answers in an environment, and in which pods."""

    run: Run
    pods: list[str]
    restarts: int = 0
    challenger: Rival | None = None

    @property
    def version(self) -> int:
        """The version that answers."""
        return self.run.version

    @property
    def digest(self) -> str:
        """The digest of the bundle that answers."""
        return self.run.digest


def pulls(project: Project) -> bool:
    """Whether a controller in the cluster makes it what Git says, so that nobody here does."""
    return project.tool.delivery != "push"


def files_beside(project: Project, environment: str, wanted: Environment) -> dict[str, str]:
    """The file that names the image of a champion, by its path: it is reviewed with the environment's."""
    return manifest.files(project, environment, wanted)


def prepare(project: Project, run: Run, bundle: Bundle) -> Run:
    """Refuse what pods cannot do; the run gets the address that it has in its cluster."""
    del bundle
    place = Cluster(project, run.environment)
    changed = [path for path in git.changes(project.root) if path.startswith((f"{FOLDER}/", f"{JOBS}/"))]
    if changed:
        raise MlopsError(
            f"{changed[0]} has changes that are in no commit", "commit them first: what runs is what was reviewed"
        )
    wanted = environments.load(project, run.environment)
    manifest.refuse_what_pods_lack(project, run, wanted)
    if not pulls(project):
        needs.require_secrets(project, place, run, wanted)
    return msgspec.structs.replace(run, host=host(place.namespace), port=SERVICE_PORT, bundle=BUNDLE)


def shared_folder(project: Project, environment: str) -> Path:
    """The folder from which a deployment takes what pods are told in a ConfigMap."""
    return needs.folder(project, environment)


def switch(
    project: Project, run: Run, rival: Rival | None = None, *, timeout_s: float = ROLLOUT_S, log: Log = print
) -> None:
    """Let `run` answer the requests of its environment; no request fails meanwhile.

    Returns when every pod of it has proven itself and the old ones were told to go: over a connection that is open, one
    of these answers for some seconds more. If it cannot prove itself, the old ones stay and the reason is raised. Safe
    to run again.
    """
    if pulls(project):
        pulled.wait(project, run, rival, log)
        return
    place = Cluster(project, run.environment)
    before, wanted_before = _deployed(project, place), place.wanted()
    said = "answers"
    # Told in other words, each pod would be replaced.
    if before and before.run.matches(run):
        said, run = "already answers", before.run
    if rival and before and before.challenger and before.challenger.run.matches(rival.run):
        rival = msgspec.structs.replace(rival, run=before.challenger.run)
    place.apply(_objects(project, place, run, rival))
    try:
        _await_rollout(place, run, timeout_s)
        _await_notice(project, place, run, rival)
    except MlopsError as error:
        stays = f"; version {before.version} goes on serving" if before else ""
        _go_back(project, place, before, wanted_before)
        raise MlopsError(
            f"version {run.version} was not deployed to {run.environment}: {error.problem}{stays}", error.next_step
        ) from None
    log(f"version {run.version} {said} at {address(project, run.environment)}")
    if rival:
        log(f"version {rival.run.version} challenges it: {rival.mode} of {rival.share:.0%}")
    if gone := [one for one in (rivals.config_map(rival), needs.config_map(project, run)) if "data" not in one]:
        place.delete(gone)


def _everything(place: Cluster) -> list[dict[str, Any]]:
    """What deployments have put into the namespace."""
    told = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in (RIVAL, needs.GUARD)]
    return [*place.manifests(), *told]


def _go_back(project: Project, place: Cluster, before: Deployed | None, wanted_before: Run | None) -> None:
    """Want what answers, and nothing where nothing does. Who may ask stays as the file says now."""
    if before is None:
        place.delete(_everything(place))
    elif before.run == wanted_before:
        place.undo()  # exactly as it was, whatever else of the overlay has changed
        if before.challenger:
            place.apply([rivals.config_map(before.challenger)])
    else:
        place.apply(_objects(project, place, before.run, before.challenger))


def _objects(project: Project, place: Cluster, run: Run, rival: Rival | None) -> list[dict[str, Any]]:
    """What the overlay makes, with what the environment's file and the policy say."""
    found = place.manifests()
    for one in found:
        manifest.tell(one, run)
        if rival and (one["kind"], one["metadata"]["name"]) == ("Deployment", NAME):
            rivals.add(one, rival)
    beside = (rivals.config_map(rival), needs.config_map(project, run))
    return [*found, *(one for one in beside if "data" in one)]


def _await_notice(project: Project, place: Cluster, run: Run, rival: Rival | None) -> None:
    """Return when every pod says that it has this challenger, with this share."""
    if rival is None:
        return
    wanted = (str(rival.run.version), rival.mode, rival.share)
    shown = needs.certificate(project, place) if run.tls else None
    deadline = time.monotonic() + notice_s
    for pod in [one for one in place.pods() if one.is_ready]:
        with forwards.to(place, pod) as port:
            while forwards.challenger_at(port, Path(shown.certificate) if shown else None) != wanted:
                if time.monotonic() > deadline:
                    raise MlopsError(
                        f"pod {pod.name} takes no notice of version {rival.run.version} beside it within {notice_s} "
                        "seconds",
                        f"see whether its image is older than challengers in pods: {place.logs()}",
                    )
                time.sleep(1)


def _await_rollout(place: Cluster, run: Run, timeout_s: float) -> None:
    """Return when all pods that are wanted are those of `run` and ready; raise what keeps one from it."""
    started = time.monotonic()
    while (passed := time.monotonic() - started) < timeout_s:
        if _is_rolled_out(place.deployment() or {}):
            return
        # Pods may have been started by an earlier deployment of the same run.
        for pod in (one for one in place.pods() if one.run == run and not one.is_ready):
            _refuse_failed(pod, is_patient=passed < FETCH_S)
        time.sleep(0.5)
    raise MlopsError(f"its pods were not ready within {timeout_s:g} seconds", place.logs())


def _is_rolled_out(found: dict[str, Any]) -> bool:
    status, wanted = found.get("status", {}), found.get("spec", {}).get("replicas")
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    is_seen = status.get("observedGeneration", 0) >= found.get("metadata", {}).get("generation", 1)
    return is_seen and counts == [wanted] * 3


def _refuse_failed(pod: Pod, *, is_patient: bool) -> None:
    if pod.waits_for in _NO_IMAGE and not is_patient:
        raise MlopsError(
            f"its image cannot be fetched: {pod.why}", "see whether nodes reach the registry and may pull from it"
        )
    if pod.restarts == 0 and pod.waits_for not in _HOPELESS:
        return
    found = re.search(r"^error: (.*)\n next: (.*)$", pod.last_words, flags=re.MULTILINE)
    if found:
        raise MlopsError(found[1], found[2])
    words = programs.last_words(pod.last_words) or pod.why or pod.waits_for
    raise MlopsError(f"a server of it ended: {words}", "solve this, then try again")


def status(project: Project, environment: str) -> Deployed | Pulled | None:
    """What answers in an environment; `None` when nothing does. No cluster is asked before something is promoted there.

    While one version takes over from another, it is the one with more pods that are ready. What a controller pulls is
    told by its pods.
    """
    place = Cluster(project, environment)
    image = project.root / place.image
    if not place.is_there or not image.is_file() or "digest: sha256:" not in image.read_text("utf-8"):
        return None
    return pulled.status(project, environment) if pulls(project) else _deployed(project, place)


def _deployed(project: Project, place: Cluster) -> Deployed | None:
    told = [pod for pod in _pods(project, place) if pod.run]
    ready = [pod for pod in told if pod.is_ready] or [pod for pod in told if not pod.is_leaving]
    if not ready:
        return None
    counts = Counter(msgspec.json.encode(pod.run) for pod in ready)
    most = msgspec.json.decode(counts.most_common(1)[0][0], type=Run)
    pods = [pod for pod in ready if pod.run == most]
    rival = place.rival() if all(pod.challenger for pod in pods) else None
    return Deployed(
        run=most, pods=[pod.name for pod in pods], restarts=sum(pod.restarts for pod in pods), challenger=rival
    )


def _pods(project: Project, place: Cluster) -> list[Pod]:
    """The pods of an environment, which may have moved away from a cluster that is no more."""
    try:
        return place.pods()
    except MlopsError as away:
        if environments.load(project, place.environment).target == "kubernetes":
            raise
        raise MlopsError(
            away.problem, f"{away.next_step}; where nothing of it is in a cluster any more: git rm {place.image}"
        ) from None


def reached(project: Project, run: Run) -> Generator[Run]:
    """Each pod of what answers, the youngest first, at an address of this machine until the next one is asked for."""
    place = Cluster(project, run.environment)
    pods = [pod for pod in place.pods() if pod.is_ready and pod.run and pod.run.digest == run.digest]
    is_asked, shown = False, needs.certificate(project, place) if run.tls else None
    for pod in reversed(pods):
        try:
            with forwards.to(place, pod) as port:
                is_asked = True
                yield msgspec.structs.replace(run, host="127.0.0.1", port=port, tls=shown)
        except MlopsError:
            if pod.name in {one.name for one in place.pods() if one.is_ready}:
                raise  # one that has gone meanwhile need not answer
    if not is_asked:
        raise MlopsError(f"no pod of version {run.version} is ready in {place.namespace}", place.logs())


def address(project: Project, environment: str) -> str:
    """Where pods of the cluster find the server of an environment."""
    scheme = "https" if environments.load(project, environment).serve.tls else "http"
    return f"{scheme}://{host(Cluster(project, environment).namespace)}"


def log_of(project: Project, environment: str) -> str:
    """The command that shows what the pods had to say."""
    return Cluster(project, environment).logs()


def stop(project: Project, environment: str) -> bool:
    """Remove what the overlay has put into the cluster; returns whether anything was running."""
    place = Cluster(project, environment)
    if target.is_pulled(project, environments.load(project, environment)):
        raise MlopsError(
            f"a controller in the cluster keeps {environment} as Git has it, and would start it again",
            f"delete what tells it to, which is in {FOLDER}/{project.tool.delivery}.yaml",
        )
    was_running = status(project, environment) is not None
    if was_running:
        place.delete(_everything(place))
    return was_running
