"""The kubernetes deploy target: a Deployment whose pods run one image that holds platform, code and bundle.

    deploy/kubernetes/base/                     what every environment has
    deploy/kubernetes/overlays/<environment>/   its namespace, and in `image.yaml` the digest that `promote` wrote

A change of versions is a rolling update: a new pod answers its golden rows before an old one goes. If none does, the
pods of before are wanted again. The cluster knows what runs, so whatever is killed at whatever moment, the next
`switch` finds out what is true and goes on from there.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from slipway.base import programs
from slipway.base.buckets import is_bucket
from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.delivery import environments
from slipway.delivery.kubernetes.cluster import FOLDER, NAME, PORT, SERVICE_PORT, TOLD, Cluster, Pod
from slipway.delivery.target import Rival, Run
from slipway.forge import git
from slipway.settings.environment import Release
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

#: Pods run the code in their image, and serve the bundle in it.
needs_image = True
holds_bundle = True
tries_challengers = False

#: How long a rollout may take: fetching the image to each node, and starting.
ROLLOUT_S = 300

#: How long a registry may be away while a node fetches an image.
FETCH_S = 45

PAGE = "vendor/slipway/docs/kubernetes.md"

#: What a pod may wait for and never get.
_HOPELESS = ("CrashLoopBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff")

IMAGE = """\
# The image of {environment}, by its digest. `mlops promote` and `mlops rollback` write it with the environment's file.
apiVersion: builtin
kind: ImageTagTransformer
metadata:
  name: image
imageTag:
  name: {name}
  newName: {image}
  digest: {digest}
"""


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


def files_beside(project: Project, environment: str, champion: Release) -> dict[str, str]:
    """The file that names the image of a champion, by its path: it is reviewed with the environment's."""
    place = Cluster(project, environment)
    if not champion.image or not place.is_there:
        return {}
    image, _, digest = champion.image.partition("@")
    text = IMAGE.format(environment=environment, name=NAME, image=image, digest=digest)
    return {place.image: text}


def prepare(project: Project, run: Run, bundle: Bundle) -> Run:
    """Refuse what pods cannot do; the run gets the address that it has in its cluster."""
    del bundle
    place = Cluster(project, run.environment)
    host = f"{NAME}.{place.namespace}.svc"
    changed = [path for path in git.changes(project.root) if path.startswith(f"{FOLDER}/")]
    if changed:
        raise MlopsError(
            f"{changed[0]} has changes that are in no commit", "commit them first: what runs is what was reviewed"
        )
    _refuse_what_pods_lack(project, run)
    return msgspec.structs.replace(run, host=host, port=SERVICE_PORT, bundle="/bundle")


def _refuse_what_pods_lack(project: Project, run: Run) -> None:
    path, access = environments.relative(project, run.environment), environments.load(project, run.environment).access
    if run.platform:
        raise MlopsError(
            f"pods run the platform in their image, so no other can serve version {run.version}",
            f"leave `platform` out of {path}, or register the version once more and build its image",
        )
    if access is None or not access.anyone:
        raise MlopsError(
            f"pods answer whoever reaches them, and {path} does not say `anyone: true` below access",
            f"say so there; {FOLDER}/base/network.yaml says who reaches them. {PAGE} tells more",
        )
    if not is_bucket(run.limits.log):
        raise MlopsError(
            "pods keep no files, and serving.log in policy.yaml names no bucket for what they log",
            f"name one, and add slipway-mlops[bucket] to the project: {PAGE}",
        )
    if hashed := [name for name, rule in run.privacy.items() if rule == "hash"]:
        raise MlopsError(
            f"privacy.fields in policy.yaml hashes {hashed[0]} with a key that this machine has and pods do not",
            "drop it from the log instead",
        )


def switch(
    project: Project, run: Run, rival: Rival | None = None, *, timeout_s: float = ROLLOUT_S, log: Log = print
) -> None:
    """Let `run` answer the requests of its environment; no request fails meanwhile.

    Returns when every pod of it has proven itself and the old ones were told to go: over a connection that is open, one
    of these answers for some seconds more. If it cannot prove itself, the old ones stay and the reason is raised. Safe
    to run again.
    """
    if rival:
        raise MlopsError("pods try no challenger", f"mlops challenge {run.environment} --end")
    place = Cluster(project, run.environment)
    before, wanted_before = status(project, run.environment), place.wanted()
    said = "answers"
    if before and before.run.matches(run):
        said, run = "already answers", before.run  # told in other words, each pod would be replaced
    place.apply(_told(one, run) for one in place.manifests())
    try:
        _await_rollout(place, run, timeout_s)
    except MlopsError as error:
        stays = f"; version {before.version} goes on serving" if before else ""
        _go_back(place, before.run if before else None, wanted_before)
        raise MlopsError(
            f"version {run.version} was not deployed to {run.environment}: {error.problem}{stays}", error.next_step
        ) from None
    log(f"version {run.version} {said} at {address(project, run.environment)}")


def _go_back(place: Cluster, before: Run | None, wanted_before: Run | None) -> None:
    """Want what answers, and nothing where nothing does."""
    if before is None:
        place.delete(place.manifests())
    elif before == wanted_before:
        place.undo()  # exactly as it was, whatever else of the overlay has changed
    else:
        place.apply(_told(one, before) for one in place.manifests())


def _told(found: dict[str, Any], run: Run) -> dict[str, Any]:
    """The Deployment with what the environment's file and the policy say; every other object as it is."""
    if (found["kind"], found["metadata"]["name"]) != ("Deployment", NAME):
        return found
    template = found["spec"]["template"]
    template["metadata"].setdefault("annotations", {})[TOLD] = msgspec.json.encode(run).decode()
    (container,) = (one for one in template["spec"]["containers"] if one["name"] == NAME)
    container["image"] = run.image
    settings = {
        "ENVIRONMENT": run.environment,
        "VERSION": str(run.version),
        "DIGEST": run.digest,
        "COMMIT": run.commit,
        "SOURCE": run.source,
        "LIMITS": msgspec.json.encode(run.limits).decode(),
        "WORKERS": str(run.workers),
        "PRIVACY": msgspec.json.encode(run.privacy).decode(),
        "LABELS": msgspec.json.encode(run.labels).decode() if run.labels else "",
        "FILE_COMMIT": run.file_commit,
        "PLATFORM_DIGEST": run.platform_digest,
    }
    container.setdefault("env", []).extend(
        {"name": f"MLOPS_{name}", "value": value} for name, value in settings.items()
    )
    return found


def _await_rollout(place: Cluster, run: Run, timeout_s: float) -> None:
    """Return when all pods that are wanted are those of `run` and ready; raise what keeps one from it."""
    started = time.monotonic()
    while (passed := time.monotonic() - started) < timeout_s:
        if _is_rolled_out(place.deployment() or {}):
            return
        # Pods may have been started by an earlier deployment of the same run.
        for pod in (one for one in place.pods() if one.run == run and not one.is_ready):
            _refuse_failed(place, pod, is_patient=passed < FETCH_S)
        time.sleep(0.5)
    raise MlopsError(f"its pods were not ready within {timeout_s:g} seconds", place.logs())


def _is_rolled_out(found: dict[str, Any]) -> bool:
    status, wanted = found.get("status", {}), found.get("spec", {}).get("replicas")
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    is_seen = status.get("observedGeneration", 0) >= found.get("metadata", {}).get("generation", 1)
    return is_seen and counts == [wanted] * 3


def _refuse_failed(place: Cluster, pod: Pod, *, is_patient: bool) -> None:
    if pod.waits_for in _NO_IMAGE and not is_patient:
        raise MlopsError(
            f"its image cannot be fetched: {pod.why}", "see whether nodes reach the registry and may pull from it"
        )
    if pod.restarts == 0 and pod.waits_for not in _HOPELESS:
        return
    said = place.said_by(pod.name)
    found = re.search(r"^error: (.*)\n next: (.*)$", said, flags=re.MULTILINE)
    if found:
        raise MlopsError(found[1], found[2])
    raise MlopsError(
        f"a server of it ended: {programs.last_words(said) or pod.why or pod.waits_for}", "solve this, then try again"
    )


def status(project: Project, environment: str) -> Deployed | None:
    """What answers in an environment; `None` when nothing does. No cluster is asked before something is promoted there.

    While one version takes over from another, it is the one with more pods that are ready.
    """
    place = Cluster(project, environment)
    image = project.root / place.image
    if not place.is_there or not image.is_file() or "digest: sha256:" not in image.read_text("utf-8"):
        return None
    told = [pod for pod in _pods(project, place) if pod.run]
    ready = [pod for pod in told if pod.is_ready] or [pod for pod in told if not pod.is_leaving]
    if not ready:
        return None
    counts = Counter(msgspec.json.encode(pod.run) for pod in ready)
    most = msgspec.json.decode(counts.most_common(1)[0][0], type=Run)
    pods = [pod for pod in ready if pod.run == most]
    return Deployed(run=most, pods=[pod.name for pod in pods], restarts=sum(pod.restarts for pod in pods))


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


@contextmanager
def reached(project: Project, run: Run) -> Iterator[Run]:
    """A pod of what answers, at an address of this machine for as long as the block lasts."""
    place = Cluster(project, run.environment)
    pods = [pod.name for pod in place.pods() if pod.is_ready and pod.run and pod.run.digest == run.digest]
    if not pods:
        raise MlopsError(f"no pod of version {run.version} is ready in {place.namespace}", place.logs())
    command = place.command("port-forward", f"pod/{pods[-1]}", f":{PORT}", "--address", "127.0.0.1")
    with subprocess.Popen(  # noqa: S603 - arguments without a shell
        command, env=programs.environment(*programs.CLOUDS), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as forwarding:
        try:
            said = next(iter(forwarding.stdout or ()), b"").decode()
            found = re.search(r"127\.0\.0\.1:(\d+) ->", said)
            if not found:
                raise MlopsError(f"kubectl port-forward reaches no pod: {said.strip()}", " ".join(command))
            yield msgspec.structs.replace(run, host="127.0.0.1", port=int(found[1]))
        finally:
            forwarding.terminate()


def address(project: Project, environment: str) -> str:
    """Where pods of the cluster find the server of an environment."""
    return f"http://{NAME}.{Cluster(project, environment).namespace}.svc"


def log_of(project: Project, environment: str) -> str:
    """The command that shows what the pods had to say."""
    return Cluster(project, environment).logs()


def stop(project: Project, environment: str) -> bool:
    """Remove what the overlay has put into the cluster; returns whether anything was running."""
    place = Cluster(project, environment)
    was_running = status(project, environment) is not None
    if was_running:
        place.delete(place.manifests())
    return was_running
