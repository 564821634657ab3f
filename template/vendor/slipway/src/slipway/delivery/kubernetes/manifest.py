"""`image.yaml` of an overlay: the image of its pods and, where a controller pulls it, what else they are told."""

from __future__ import annotations

from slipway.base.buckets import is_bucket
from slipway.base.errors import MlopsError
from slipway.delivery import environments, variables
from slipway.delivery.kubernetes.cluster import BUNDLE, FOLDER, NAME, Cluster
from slipway.delivery.target import Run
from slipway.log import masks
from slipway.settings.access import Access
from slipway.settings.environment import Environment, Release
from slipway.settings.project import Project

_PAGE = "vendor/slipway/docs/kubernetes.md"

_IMAGE = """\
# What pods of {environment} run. `mlops promote` and `mlops rollback` write it with the environment's file.
apiVersion: builtin
kind: ImageTagTransformer
metadata:
  name: image
imageTag:
  name: {name}
  newName: {image}
  digest: {digest}
"""

_TOLD = """\
---
apiVersion: builtin
kind: PatchTransformer
metadata:
  name: told
target: {{kind: Deployment, name: {name}}}
patch: |-
  kind: Deployment
  metadata: {{name: {name}}}
  spec:
    template:
      spec:
        containers:
          - name: {name}
            env:
{variables}
"""


def files(project: Project, environment: str, wanted: Environment) -> dict[str, str]:
    """The text of `image.yaml` by its path; with what else pods are told, where nobody is there to tell them.

    Raises `MlopsError` where that is something that pods cannot do: no deployment would refuse it.
    """
    place, champion = Cluster(project, environment), wanted.champion
    if champion is None or not champion.image or not place.is_there:
        return {}
    image, _, digest = champion.image.partition("@")
    text = _IMAGE.format(environment=environment, name=NAME, image=image, digest=digest)
    if project.tool.delivery != "push":
        run = _run(project, environment, wanted, champion)
        refuse_what_pods_lack(project, run, wanted.access)
        lines = (f"              - {{name: {name}, value: {_quoted(value)}}}" for name, value in told(run).items())
        text += _TOLD.format(name=NAME, variables="\n".join(lines))
    return {place.image: text}


def told(run: Run) -> dict[str, str]:
    """The variables of a pod."""
    return {name: value for name, value in variables.of(run).items() if value}


def refuse_what_pods_lack(project: Project, run: Run, access: Access | None) -> None:
    """Refuse what pods cannot do."""
    path = environments.relative(project, run.environment)
    if run.platform:
        raise MlopsError(
            f"pods run the platform in their image, so no other can serve version {run.version}",
            f"leave `platform` out of {path}, or register the version once more and build its image",
        )
    if access is None or not access.anyone:
        raise MlopsError(
            f"pods answer whoever reaches them, and {path} does not say `anyone: true` below access",
            f"say so there; {FOLDER}/base/network.yaml says who reaches them. {_PAGE} tells more",
        )
    if not is_bucket(run.limits.log):
        raise MlopsError(
            "pods keep no files, and serving.log in policy.yaml names no bucket for what they log",
            f"name one, and add slipway-mlops[bucket] to the project: {_PAGE}",
        )
    if hashed := [name for name, rule in run.privacy.items() if rule == "hash"]:
        raise MlopsError(
            f"privacy.fields in policy.yaml hashes {hashed[0]} with a key that this machine has and pods do not",
            "drop it from the log instead",
        )


def _run(project: Project, environment: str, wanted: Environment, champion: Release) -> Run:
    """What pods are by the files in Git alone: which commit that is cannot stand in it."""
    masks.require_known(project)
    run = Run(
        environment=environment,
        version=champion.version,
        digest=champion.digest,
        commit=champion.commit,
        bundle=BUNDLE,
        python="",
        host="",
        port=0,
        source="image",
        limits=project.policy.serving,
        image=champion.image or "",
        workers=wanted.serve.workers,
        privacy=project.policy.privacy.hidden,
        platform=champion.platform,
    )
    return _with_labels(project, run) if wanted.serve.labels else run


def _with_labels(project: Project, run: Run) -> Run:
    from msgspec.structs import replace

    from slipway.data import labels  # it brings polars, which nothing else of a proposal needs

    return replace(run, labels=labels.form_of(project))


def _quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
