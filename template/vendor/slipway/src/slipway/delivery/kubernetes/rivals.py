"""A challenger in pods: a container beside the champion's, and a ConfigMap that says which requests it gets.

Both share the pod's folder for state, in which they meet as on one machine. Another share is another ConfigMap, which
reaches pods that run.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import msgspec

from slipway.delivery import variables
from slipway.delivery.kubernetes import needs
from slipway.delivery.kubernetes.cluster import CHALLENGER, NAME, RIVAL
from slipway.delivery.target import Rival

#: Only the champion is asked by anybody outside, and brings the log of both into the bucket.
_OF_THE_CHAMPION = ("env", "envFrom", "livenessProbe", "ports", "readinessProbe", "startupProbe")


def config_map(rival: Rival | None) -> dict[str, Any]:
    """The ConfigMap that tells of a challenger; without one, what names it to remove it."""
    named = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": RIVAL}}
    return named | ({"data": {"rival.json": msgspec.json.encode(rival).decode()}} if rival else {})


def add(deployment: dict[str, Any], rival: Rival) -> None:
    """Put a challenger beside the champion of a Deployment, and let it be told of it by a ConfigMap."""
    pod = deployment["spec"]["template"]["spec"]
    pod["containers"].append(container(pod, rival))
    champion = next(one for one in pod["containers"] if one["name"] == NAME)
    champion["volumeMounts"].append({"name": CHALLENGER, "mountPath": f"/{CHALLENGER}", "readOnly": True})
    pod["volumes"].append({"name": CHALLENGER, "configMap": {"name": RIVAL}})


def container(pod: dict[str, Any], rival: Rival) -> dict[str, Any]:
    """The container of a challenger, which may do and use as much as the champion of a pod."""
    champion = next(one for one in pod["containers"] if one["name"] == NAME)
    beside = {key: deepcopy(value) for key, value in champion.items() if key not in _OF_THE_CHAMPION}
    told = {**variables.told(rival.run), "MLOPS_COUNTS": CHALLENGER}
    return beside | {
        "name": CHALLENGER,
        # It is asked by its champion alone, over a socket.
        "volumeMounts": [one for one in beside["volumeMounts"] if one["name"] not in (needs.TLS, needs.GUARD)],
        "image": rival.run.image,
        "env": [{"name": name, "value": value} for name, value in told.items()],
        # Until it has proven itself the pod is not ready. Later, where it fails, the champion answers in its place.
        "startupProbe": {
            "exec": {"command": ["python", "-m", "slipway.delivery.compose.container", "check"]},
            "periodSeconds": 2,
            "timeoutSeconds": 10,
            "failureThreshold": 60,
        },
    }
