"""The variables that tell a server in an image what it is: written by whoever deploys it, read where it starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from slipway.base.errors import MlopsError
from slipway.delivery.target import Run
from slipway.log.posted import LabelForm
from slipway.settings.access import Tls
from slipway.settings.policy import Hidden, ServingPolicy

#: Where a container finds who may ask that has no folder with it mounted, unless MLOPS_ADMITTED says so.
ADMITTED = Path("/admitted/admitted.json")


def of(run: Run) -> dict[str, str]:
    """The variables of a run; one whose text is empty says nothing and may be left out."""
    settings = {
        "ENVIRONMENT": run.environment,
        "VERSION": str(run.version),
        "DIGEST": run.digest,
        "COMMIT": run.commit,
        "SOURCE": run.source,
        "LIMITS": _json(run.limits),
        "WORKERS": str(run.workers),
        "PRIVACY": _json(run.privacy),
        "GUARDED": "yes" if run.guarded else "",
        "TLS": _json(run.tls) if run.tls else "",
        "PROXIES": _json(run.proxies) if run.proxies else "",
        "SOCKET": run.host if run.role == "challenger" else "",
        "LABELS": _json(run.labels) if run.labels else "",
        "PLATFORM_DIGEST": run.platform_digest,
        "FILE_COMMIT": run.file_commit,
    }
    return {f"MLOPS_{name}": value for name, value in settings.items()}


def told(run: Run) -> dict[str, str]:
    """Those of them that say something."""
    return {name: value for name, value in of(run).items() if value}


def read(found: Mapping[str, str], *, bundle: str, host: str, port: int, python: str = "", image: str = "") -> Run:
    """The run that variables tell of, at this address; a challenger listens on the socket that they name.

    Raises `MlopsError` with the name of one that is not there.
    """
    path = found.get("MLOPS_SOCKET", "")
    return Run(
        environment=_setting(found, "MLOPS_ENVIRONMENT"),
        version=int(_setting(found, "MLOPS_VERSION")),
        digest=_setting(found, "MLOPS_DIGEST"),
        commit=_setting(found, "MLOPS_COMMIT"),
        bundle=bundle,
        python=python,
        host=path or host,
        port=0 if path else port,
        source=_setting(found, "MLOPS_SOURCE"),
        limits=msgspec.json.decode(_setting(found, "MLOPS_LIMITS"), type=ServingPolicy),
        image=image,
        workers=int(found.get("MLOPS_WORKERS") or "1"),
        role="challenger" if path else "champion",
        privacy=msgspec.json.decode(found.get("MLOPS_PRIVACY") or "{}", type=dict[str, Hidden]),
        guarded=bool(found.get("MLOPS_GUARDED")),
        tls=msgspec.json.decode(found.get("MLOPS_TLS") or "null", type=Tls | None),
        proxies=msgspec.json.decode(found.get("MLOPS_PROXIES") or "[]", type=list[str]),
        labels=msgspec.json.decode(found.get("MLOPS_LABELS") or "null", type=LabelForm | None),
        platform_digest=found.get("MLOPS_PLATFORM_DIGEST", ""),
        file_commit=found.get("MLOPS_FILE_COMMIT", ""),
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _setting(found: Mapping[str, str], name: str) -> str:
    try:
        return found[name]
    except KeyError:
        raise MlopsError(
            f"the environment of this container has no {name}", "start it with `mlops deploy`, or set the variable"
        ) from None
