"""What surrounds the models on one machine: tracking, objects, metrics, alerts, dashboards."""

from __future__ import annotations

import configparser
import io
import json
import secrets
from pathlib import Path

from slipway.base import files
from slipway.base.files import Log
from slipway.delivery.deploy import deploy
from slipway.delivery.docker import docker, require_network
from slipway.delivery.environments import load, names
from slipway.settings.project import Project

#: What a person opens, by the service that publishes it.
PAGES = {"mlflow": 5000, "prometheus": 9090, "alertmanager": 9093, "grafana": 3000}


def up(project: Project, log: Log = print) -> dict[str, str]:
    """Start everything, and the environments that name a champion; returns the addresses of the pages."""
    with project.only_one("platform"):
        if make_secrets(project.state / "secrets"):
            log("made the secrets, in .mlops/secrets")
        require_network(project.tool.model)
        log("starting the services; the first time this builds and fetches their images")
        _compose(project, "up", "--detach", "--wait", "--wait-timeout", "300")
    for name in names(project):
        if load(project, name).champion:
            deploy(project, name, log)
    return {service: f"http://{_published(project, service, port)}" for service, port in PAGES.items()}


def down(project: Project) -> None:
    """Stop everything but the environments; what was stored stays."""
    with project.only_one("platform"):
        _compose(project, "down")


def make_secrets(folder: Path) -> bool:
    """Make the secrets that are not there yet; returns whether there were any to make."""
    folder.mkdir(parents=True, exist_ok=True)
    # Each container reads its own as a user of its own, so the files are open and their folder is not.
    folder.chmod(0o700)
    missing = [name for name in ("postgres", "grafana") if not (folder / name).exists()]
    for name in missing:
        _write(folder / name, secrets.token_urlsafe(24))
    stores = [folder / "s3.json", folder / "s3.ini"]
    if all(path.exists() for path in stores):
        return bool(missing)
    name, made = "mlops", secrets.token_urlsafe(24)
    rights = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": name, "credentials": [{"accessKey": name, "secretKey": made}], "actions": rights}
    _write(stores[0], json.dumps({"identities": [identity]}))
    profile = configparser.ConfigParser()
    profile["default"] = {"aws_access_key_id": name, "aws_secret_access_key": made}
    text = io.StringIO()
    profile.write(text)
    _write(stores[1], text.getvalue())
    return True


def _write(path: Path, content: str) -> None:
    files.write(path, content.encode(), mode=0o644)


def _compose(project: Project, *arguments: str) -> str:
    folder = project.root / "deploy" / "compose"
    files = [path for name in ("compose.yaml", "compose.override.yaml") if (path := folder / name).is_file()]
    return docker("compose", *(word for path in files for word in ("--file", str(path))), *arguments).output


def _published(project: Project, service: str, port: int) -> str:
    return _compose(project, "port", service, str(port)).strip()
