"""The tracking store: the one module that knows runs in MLflow. `registry/models.py` knows its registry.

A run that cannot be tracked fails: `connect` is called before any work is done.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from slipway.base.errors import MlopsError
from slipway.settings.project import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Tag by which a run is found again: the digest of the `dvc.lock` that it made.
PIPELINE = "mlops.pipeline"


def connect(project: Project) -> MlflowClient:
    """Open the tracking store; refuse when it does not answer."""
    _settle_environment()
    import mlflow

    uri = store_uri(project)
    with translated(uri):
        mlflow.set_tracking_uri(uri)
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def store_uri(project: Project) -> str:
    """The store's address; a relative SQLite path is one inside the project."""
    uri = project.tool.tracking_uri
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        project.state.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{(project.root / uri.removeprefix('sqlite:///')).as_posix()}"
    return uri


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn what MLflow throws into a sentence."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MlopsError(
            f"the tracking store {uri} does not answer: {reason[:300]}",
            "start it, or name another in pyproject.toml, tool.mlops.tracking_uri (MLFLOW_TRACKING_URI wins over it)",
        ) from error


def find_run(project: Project, client: MlflowClient, pipeline: str) -> str | None:
    """The id of the finished run that made this `dvc.lock`, if there is one."""
    with translated(store_uri(project)):
        found = client.search_runs(
            [_experiment(project, client)],
            filter_string=f"tags.`{PIPELINE}` = '{pipeline}' and attributes.status = 'FINISHED'",
            max_results=1,
        )
    return found[0].info.run_id if found else None


def record(project: Project, client: MlflowClient, tags: dict[str, str], *, status: str) -> str:
    """Record one run of the pipeline: parameters, figures, lineage, environment. Returns its id."""
    with translated(store_uri(project)):
        run = client.create_run(_experiment(project, client), tags=tags | _machine(project))
        run_id: str = run.info.run_id
        for name, value in _flat(msgspec.to_builtins(project.params)):
            client.log_param(run_id, name, value)
        if status == "FINISHED":
            _record_results(project, client, run_id)
        client.set_terminated(run_id, status)
    return run_id


def _record_results(project: Project, client: MlflowClient, run_id: str) -> None:
    reports = project.root / "reports"
    measured = msgspec.json.decode((reports / "metrics.json").read_bytes())
    cost = msgspec.json.decode((reports / "cost.json").read_bytes())
    for prefix, figures in (("", measured["model"]), ("baseline.", measured["baseline"]), ("", cost)):
        for name, value in figures.items():
            client.log_metric(run_id, prefix + name, value)
    for path in (project.root / "dvc.lock", reports / "metrics.json", reports / "validation.json"):
        client.log_artifact(run_id, str(path))


def _experiment(project: Project, client: MlflowClient) -> str:
    name = project.tool.model
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    # A server keeps artefacts where it was told to; the local file keeps them beside itself.
    place = (project.state / "artifacts").as_uri() if store_uri(project).startswith("sqlite:") else None
    return str(client.create_experiment(name, artifact_location=place))


def _machine(project: Project) -> dict[str, str]:
    from slipway.base.files import sha256

    lock = project.root / "uv.lock"
    return {
        "mlops.lock": sha256(lock) if lock.is_file() else "",
        "mlops.python": platform.python_version(),
        "mlops.platform": platform.platform(),
    }


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _settle_environment() -> None:
    """Quiet, careful defaults; what the user set stays."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        "MLFLOW_CONFIGURE_LOGGING": "false",
        # Files come through the server: its bucket may be where nobody else gets to, and needs a credential of its own.
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    }.items():
        os.environ.setdefault(name, value)
    import logging

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
