"""An environment in a cluster: its namespace, the overlay that says what lies there, and what kubectl tells of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import msgspec
import yaml

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.base.programs import Done
from slipway.delivery import variables
from slipway.delivery.target import Rival, Run
from slipway.settings.project import Project

FOLDER = "deploy/kubernetes"
#: What an overlay may name of the platform's own.
JOBS = "vendor/slipway/kubernetes"
#: The name of the Deployment, its container, its image in the manifests and the Service.
NAME = "model"
PORT = 8000
SERVICE_PORT = 80
#: The container of a challenger, and the ConfigMap that tells of it.
CHALLENGER, RIVAL = "challenger", "model-challenger"
#: Where a pod finds its bundle.
BUNDLE = "/bundle"

_SELECTOR = f"app.kubernetes.io/name={NAME}"
_INSTALL = "install kubectl: https://kubernetes.io/docs/tasks/tools"
_OWNER = "--field-manager=mlops"
#: How long the cluster may take to answer a question.
_PATIENCE = "--request-timeout=20s"


class Pod:
    """A pod of the model, as the cluster tells of it."""

    def __init__(self, found: dict[str, Any]) -> None:
        metadata, status = found["metadata"], found.get("status", {})
        self.name: str = metadata["name"]
        self.run = _run(found["spec"], metadata["namespace"])
        self.challenger = _run(found["spec"], metadata["namespace"], CHALLENGER)
        self.is_leaving = "deletionTimestamp" in metadata
        conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
        self.is_ready = conditions.get("Ready") == "True" and not self.is_leaving
        containers: list[dict[str, Any]] = status.get("containerStatuses", [])
        # The one that tells why this pod is not ready.
        worst = max(containers, key=lambda one: (_waits(one).get("message", "") != "", _restarts(one)), default={})
        self.restarts = max(map(_restarts, containers), default=0)
        self.waits_for = str(_waits(worst).get("reason", ""))
        self.why = str(_waits(worst).get("message", ""))
        #: What that container said before it ended. Its log may be gone by the time somebody asks for it.
        self.last_words = str(_ended(worst).get("message", ""))


def _waits(container: dict[str, Any]) -> dict[str, str]:
    """For what a container waits, and why that does not come; nothing for one that runs."""
    found: dict[str, str] = container.get("state", {}).get("waiting", {})
    return found


def _ended(container: dict[str, Any]) -> dict[str, Any]:
    """How a container ended last; nothing for one that never did."""
    ends = (container.get(state, {}).get("terminated") for state in ("state", "lastState"))
    found: dict[str, Any] = next(filter(None, ends), {})
    return found


def _restarts(container: dict[str, Any]) -> int:
    return int(container["restartCount"])


def host(namespace: str) -> str:
    """Where pods of the cluster find the server of a namespace."""
    return f"{NAME}.{namespace}.svc"


def _run(pod: dict[str, Any], namespace: str, name: str = NAME) -> Run | None:
    """Which run the variables of a container tell of; `None` where none do."""
    container: dict[str, Any] = next((one for one in pod["containers"] if one["name"] == name), {})
    found = {one["name"]: one.get("value", "") for one in container.get("env", [])}
    if "MLOPS_DIGEST" not in found:
        return None
    return variables.read(found, bundle=BUNDLE, host=host(namespace), port=SERVICE_PORT, image=container["image"])


class Cluster:
    """Where an environment is: which cluster that is, kubectl's own configuration says."""

    def __init__(self, project: Project, environment: str) -> None:
        self.environment = environment
        self.overlay = project.root / FOLDER / "overlays" / environment
        #: The file that names the digest, from the project's folder.
        self.image = f"{FOLDER}/overlays/{environment}/image.yaml"

    @property
    def is_there(self) -> bool:
        """Whether the project has manifests for this environment."""
        return (self.overlay / "kustomization.yaml").is_file()

    @cached_property
    def namespace(self) -> str:
        """The namespace that the overlay names."""
        path = self.overlay / "kustomization.yaml"
        try:
            said = yaml.safe_load(path.read_bytes())
            return str(said["namespace"])
        except (FileNotFoundError, yaml.YAMLError, KeyError, TypeError):
            raise MlopsError(
                f"there is no {FOLDER}/overlays/{self.environment}/kustomization.yaml that names a namespace",
                "mlops template update --answer target=kubernetes, or restore it",
            ) from None

    def manifests(self) -> list[dict[str, Any]]:
        """The objects that the overlay makes, as Git has them."""
        made = kubectl("kustomize", str(self.overlay)).raw
        return [one for one in yaml.safe_load_all(made) if one]

    def apply(self, objects: Iterable[dict[str, Any]]) -> None:
        """Make the cluster have these objects; the server merges them, and refuses what it does not understand."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        how = ("--server-side", "--force-conflicts", _OWNER, _PATIENCE)
        self._ask("apply", *how, "-f", "-", stdin=json.dumps(listed).encode())

    def delete(self, objects: Iterable[dict[str, Any]]) -> None:
        """Remove these objects; returns when the last pod has gone."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        # A Deployment takes its pods along in the foreground alone.
        how = ("--ignore-not-found", "--cascade=foreground", "--wait", "-f", "-")
        self._ask("delete", *how, stdin=json.dumps(listed).encode())

    def deployment(self) -> dict[str, Any] | None:
        """What the cluster has of the Deployment; `None` where there is none."""
        told = self._ask("get", "deployment", NAME, "--ignore-not-found", _PATIENCE, "-o", "json").raw
        found: dict[str, Any] | None = json.loads(told) if told.strip() else None
        return found

    def wanted(self) -> Run | None:
        """What the Deployment wants its pods to be, whether or not they are."""
        found = self.deployment()
        return _run(found["spec"]["template"]["spec"], self.namespace) if found else None

    def rival(self) -> Rival | None:
        """The challenger that pods are told of, whether or not they have one."""
        told = self._ask("get", "configmap", RIVAL, "--ignore-not-found", _PATIENCE, "-o", "json").raw
        return msgspec.json.decode(json.loads(told)["data"]["rival.json"], type=Rival) if told.strip() else None

    def entries_of(self, secret: str) -> list[str] | None:
        """The names of a Secret's entries, each with the length of its text; `None` where there is no such Secret."""
        form = "go-template=it{{range $name, $text := .data}} {{$name}}={{len $text}}{{end}}"
        told = self._ask("get", "secret", secret, "--ignore-not-found", _PATIENCE, "-o", form).output.split()
        return told[1:] if told else None

    def entry_of(self, secret: str, name: str) -> str:
        """An entry of a Secret, in base64."""
        form = f'go-template={{{{index .data "{name}"}}}}'
        return self._ask("get", "secret", secret, _PATIENCE, "-o", form).output

    def pods(self) -> list[Pod]:
        """The pods of the model, the oldest first."""
        told = json.loads(self._ask("get", "pods", "-l", _SELECTOR, _PATIENCE, "-o", "json").raw)
        found = sorted(told["items"], key=lambda one: str(one["metadata"]["creationTimestamp"]))
        return [Pod(one) for one in found]

    def undo(self) -> None:
        """Let the pods of before the last change be those that are wanted."""
        self._ask("rollout", "undo", f"deployment/{NAME}")

    def command(self, *arguments: str) -> list[str]:
        """The words of a kubectl command for this namespace."""
        return ["kubectl", "--namespace", self.namespace, *arguments]

    def logs(self) -> str:
        """The command that shows what the pods had to say."""
        return " ".join(self.command("logs", "--selector", _SELECTOR, "--all-containers", "--prefix", "--tail=100"))

    def _ask(self, *arguments: str, check: bool = True, stdin: bytes | None = None) -> Done:
        return kubectl(*self.command(*arguments)[1:], check=check, stdin=stdin)


def kubectl(*arguments: str, check: bool = True, stdin: bytes | None = None) -> Done:
    """Run a kubectl command; refuse with its own last words when it fails."""
    # What gets kubectl into a cluster of a cloud reads that cloud's credentials.
    settings = programs.environment(*programs.CLOUDS)
    done = programs.run("kubectl", *arguments, env=settings, stdin=stdin, install=_INSTALL)
    if check and done.code:
        what = next(word for word in arguments if word in _VERBS)
        raise MlopsError(
            f"kubectl {what} ended with {done.code}: {done.last_words()}",
            "see whether kubectl gets into the cluster, `kubectl auth whoami`, and may do this there; then try again",
        )
    return done


_VERBS = ("kustomize", "apply", "delete", "get", "rollout")
