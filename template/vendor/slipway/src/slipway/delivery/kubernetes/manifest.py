"""`image.yaml` of an overlay: the image of its pods and, where a controller pulls it, what else they are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec.structs import replace

from slipway.base.buckets import is_bucket
from slipway.base.errors import MlopsError
from slipway.delivery import access, environments, target, variables
from slipway.delivery.kubernetes import needs, rivals
from slipway.delivery.kubernetes.cluster import BUNDLE, FOLDER, NAME, Cluster
from slipway.delivery.target import Rival, Run
from slipway.log import masks
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
{annotations}      spec:
        containers:
          - name: {name}
            env:
{variables}
"""

_BY_HTTPS = """\
---
apiVersion: builtin
kind: PatchTransformer
metadata:
  name: https
target: {{kind: Service, name: {name}}}
patch: '[{{"op": "replace", "path": "/spec/ports/0/port", "value": {port}}}]'
"""

#: What tells Prometheus that pods speak HTTPS.
_SCRAPED = {"prometheus.io/scheme": "https"}


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
        run = _guarded(_run(project, environment, wanted, champion), wanted)
        run = _with_labels(project, run) if wanted.serve.labels else run
        refuse_what_pods_lack(project, run, wanted)
        text += _told(project, run, wanted)
    return {place.image: text}


def _told(project: Project, run: Run, wanted: Environment) -> str:
    """The part of `image.yaml` that says what pods are told."""
    said, rival = variables.told(run), _rival(project, wanted, run)
    if run.guarded and wanted.access:
        said["MLOPS_ADMITTED"] = msgspec.json.encode(access.admitted(wanted.access)).decode()
    if rival:
        said["MLOPS_RIVAL"] = msgspec.json.encode(rival).decode()
    lines = [f"              - {{name: {name}, value: {_quoted(value)}}}" for name, value in said.items()]
    lines += [f"            {key}: {_flow(value)}" for key, value in needs.of_container(run).items()]
    lines += [f"          - {_flow(_beside(project, run, rival))}"] if rival else []
    lines += [f"        volumes: {_flow(volumes)}"] if (volumes := needs.volumes(run)) else []
    annotations = f"      metadata: {{annotations: {_flow(_SCRAPED)}}}\n" if run.tls else ""
    text = _TOLD.format(name=NAME, annotations=annotations, variables="\n".join(lines))
    return text + (_BY_HTTPS.format(name=NAME, port=needs.HTTPS_PORT) if run.tls else "")


def _rival(project: Project, wanted: Environment, run: Run) -> Rival | None:
    """The challenger that the environment's file names, as a deployment would start it."""
    tried = wanted.challenger
    if tried is None:
        return None
    path = environments.relative(project, run.environment)
    if not tried.image:
        raise MlopsError(
            f"the challenger that {path} names has no image, and pods run one",
            f"mlops challenge {run.environment} --version {tried.version}, once mlops build --push has made one",
        )
    beside = target.beside_champion(_run(project, run.environment, wanted, tried))
    refuse_what_pods_lack(project, beside, wanted)
    return Rival(run=beside, mode=tried.mode, share=tried.share, key=tried.key)


def _beside(project: Project, run: Run, rival: Rival) -> dict[str, Any]:
    """The container of a challenger beside that of the platform's own Deployment."""
    deployment = yaml.safe_load((project.root / FOLDER / "base" / "deployment.yaml").read_bytes())
    tell(deployment, run)
    return rivals.container(deployment["spec"]["template"]["spec"], rival)


def tell(one: dict[str, Any], run: Run) -> None:
    """Let pods of a Deployment be a run, and a Service lead to them; other objects stay as they are."""
    if one["metadata"]["name"] != NAME:
        return
    if one["kind"] == "Service" and run.tls:
        one["spec"]["ports"][0]["port"] = needs.HTTPS_PORT
    if one["kind"] != "Deployment":
        return
    template = one["spec"]["template"]
    if run.tls:
        template["metadata"].setdefault("annotations", {}).update(_SCRAPED)
    (container,) = (each for each in template["spec"]["containers"] if each["name"] == NAME)
    container["image"] = run.image
    # Those without a text, too: what a controller that pulled before has told pods stays where nobody says otherwise.
    added = variables.of(run) | {"MLOPS_ADMITTED": "", "MLOPS_RIVAL": ""}
    own = [each for each in container.get("env", []) if each["name"] not in added]
    container["env"] = own + [{"name": name, "value": value} for name, value in added.items()]
    for key, value in needs.of_container(run).items():
        if key == "volumeMounts":
            container.setdefault(key, []).extend(value)
        elif "httpGet" in container.get(key, {}):  # an overlay may ask otherwise
            container[key]["httpGet"] |= value["httpGet"]
    template["spec"].setdefault("volumes", []).extend(needs.volumes(run))


def refuse_what_pods_lack(project: Project, run: Run, wanted: Environment) -> None:
    """Refuse what pods cannot do."""
    path = environments.relative(project, run.environment)
    if run.platform:
        raise MlopsError(
            f"pods run the platform in their image, so no other can serve version {run.version}",
            f"leave `platform` out of {path}, or register the version once more and build its image",
        )
    needs.refuse_other_certificate(project, run.environment, wanted)
    _require_stated(wanted, path)
    if not is_bucket(run.limits.log):
        raise MlopsError(
            "pods keep no files, and serving.log in policy.yaml names no bucket for what they log",
            f"name one, and add slipway-mlops[bucket] to the project: {_PAGE}",
        )


def _require_stated(wanted: Environment, path: str) -> None:
    """Refuse pods of which nobody says who may ask, and tokens that would cross the cluster for everybody to read."""
    if wanted.access is None:
        raise MlopsError(
            f"others than this machine reach pods, and {path} does not say who may ask them",
            f"mlops access add NAME {Path(path).stem}; or write anyone: true below access: {FOLDER}/base/network.yaml "
            f"says who reaches them. {_PAGE} tells more",
        )
    if wanted.access.anyone:
        return
    if not (wanted.serve.tls or wanted.serve.proxies or wanted.access.plain):
        raise MlopsError(
            f"tokens for the pods of {path} would cross the network of the cluster for everybody to read",
            f"name a certificate in serve.tls, or say plain: true below access where a mesh encrypts them: {_PAGE}",
        )
    if wanted.access.metrics == "closed" and wanted.challenger:
        raise MlopsError(
            f"{path} closes /metrics, where a deployment reads which challenger pods have",
            "leave `metrics` out of access while there is one",
        )


def _run(project: Project, environment: str, wanted: Environment, champion: Release) -> Run:
    """What pods are by the files in Git alone: which commit that is cannot stand in it."""
    masks.require_known(project)
    return Run(
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


def _guarded(run: Run, wanted: Environment) -> Run:
    """The run of a champion with what its environment's file says of who may ask, and how."""
    is_guarded = wanted.access is not None and not wanted.access.anyone
    return replace(run, guarded=is_guarded, tls=wanted.serve.tls, proxies=wanted.serve.proxies)


def _with_labels(project: Project, run: Run) -> Run:
    from slipway.data import labels  # it brings polars, which nothing else of a proposal needs

    return replace(run, labels=labels.form_of(project))


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    return json.dumps(value)


def _quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
