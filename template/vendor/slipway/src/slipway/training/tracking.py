"""The tracking store: the one module that knows runs in MLflow. `registry/models.py` knows its registry.

A run that cannot be tracked fails: `connect` is called before any work is done.
"""

from __future__ import annotations

import http
import os
import platform
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from slipway.base.errors import MlopsError, first_line
from slipway.settings.params import ASIDE
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
    """The store's address; a relative SQLite path is one inside the project.

    Refused is a folder whose name would mean something else in an address: the store would lie elsewhere.
    """
    uri = project.tool.tracking_uri
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        project.state.mkdir(parents=True, exist_ok=True)
        return sqlite_address(project.root / uri.removeprefix("sqlite:///"))
    return uri


def sqlite_address(place: Path) -> str:
    """The address of an SQLite file; refused where its path would mean something else in an address."""
    path = place.as_posix()
    address = f"sqlite:///{path}"
    if not {"?", "%"} & set(path):
        return address
    from sqlalchemy import make_url

    if make_url(address).database != path:
        raise MlopsError(
            f"an SQLite store cannot be addressed at {path}: ? and % mean something else in an address",
            "move the project to a folder without them, or name a server in pyproject.toml, tool.mlops.tracking_uri",
        )
    return address


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn what MLflow throws into a sentence that says what is wrong."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        reason = first_line(error)
        problem, next_step = _what_is_wrong(uri, getattr(error, "error_code", ""))
        raise MlopsError(f"the tracking store {shown(uri)} {problem}: {reason[:300]}", next_step) from error


#: What MLflow calls it when its store was asked and said no.
_REFUSED = (
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "NOT_FOUND",
)
_NOT_ALLOWED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")
_ANOTHER = "name another in pyproject.toml, tool.mlops.tracking_uri (MLFLOW_TRACKING_URI wins over it)"


def _what_is_wrong(uri: str, code: str) -> tuple[str, str]:
    """What a store does, in a part of a sentence, and the next step."""
    if code in _NOT_ALLOWED:
        return "does not let you in", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ask for the right"
    if code in _REFUSED:
        return "says no", f"look there, whether it was deleted; or {_ANOTHER}"
    if not uri.startswith("http"):
        return "cannot be used", f"mend it, or {_ANOTHER}"
    if _runs(uri):
        return (
            "runs, but what it stands on does not answer",
            "start the server's database, or whatever else its own log says that it lacks",
        )
    return "does not answer", f"start it, or {_ANOTHER}"


def _runs(uri: str) -> bool:
    """Whether a server of MLflow says that it is there; that says nothing of its database."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5) as answer:  # noqa: S310 - http, as named
            return bool(answer.status == http.HTTPStatus.OK)
    except (OSError, ValueError):
        return False


def shown(uri: str) -> str:
    """The address without a user and a password."""
    scheme, separator, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rsplit('@', 1)[-1]}{slash}{path}"


def find_run(project: Project, client: MlflowClient, pipeline: str) -> str | None:
    """The id of the finished run that made this `dvc.lock`, if there is one that was not deleted."""
    return _find(project, client, pipeline, deleted=False)


def find_deleted_run(project: Project, client: MlflowClient, pipeline: str) -> str | None:
    """The id of a run that made this `dvc.lock` and was deleted since."""
    return _find(project, client, pipeline, deleted=True)


def _find(project: Project, client: MlflowClient, pipeline: str, *, deleted: bool) -> str | None:
    from mlflow.entities import ViewType

    with translated(store_uri(project)):
        found = client.search_runs(
            [experiment(project, client)],
            filter_string=f"tags.`{PIPELINE}` = '{pipeline}' and attributes.status = 'FINISHED'",
            run_view_type=ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY,
            max_results=1,
        )
    return found[0].info.run_id if found else None


def runs_named(project: Project, client: MlflowClient, beginning: str) -> list[str]:
    """The ids of the project's runs that begin so, finished or not; those that were deleted are left out."""
    with translated(store_uri(project)):
        found = client.get_experiment_by_name(project.tool.model)
        if found is None:
            return []
        ids: list[str] = []
        token = None
        while True:
            page = client.search_runs([found.experiment_id], page_token=token)
            ids += [run.info.run_id for run in page if run.info.run_id.startswith(beginning)]
            token = page.token
            if not token:
                return ids


def files_of_run(project: Project, client: MlflowClient, run_id: str, names: Sequence[str]) -> dict[str, str]:
    """The texts of files that a run of the pipeline kept beside its figures; without those that it has not."""
    with translated(store_uri(project)), tempfile.TemporaryDirectory() as folder:
        kept = {one.path for one in client.list_artifacts(run_id)}
        return {
            name: Path(client.download_artifacts(run_id, name, folder)).read_text("utf-8")
            for name in names
            if name in kept
        }


def record(project: Project, client: MlflowClient, tags: dict[str, str], *, status: str) -> str:
    """Record one run of the pipeline: parameters, figures, lineage, environment. Returns its id."""
    with translated(store_uri(project)):
        run = client.create_run(experiment(project, client), tags=tags | _machine(project))
        run_id: str = run.info.run_id
        params = msgspec.to_builtins(project.params)
        for name, value in flat({name: value for name, value in params.items() if name not in ASIDE}):
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


def experiment(project: Project, client: MlflowClient) -> str:
    """The id of the project's experiment, which is made where there is none; refused when it was deleted."""
    name, uri = project.tool.model, store_uri(project)
    with translated(uri):
        found = client.get_experiment_by_name(name)
        if found is None:
            # A server keeps artefacts where it was told to; the local file keeps them beside itself.
            place = (project.state / "artifacts").as_uri() if uri.startswith("sqlite:") else None
            return str(client.create_experiment(name, artifact_location=place))
    if found.lifecycle_stage == "deleted":
        raise MlopsError(
            f"the experiment {name} was deleted in the tracking store {shown(uri)}",
            f"MLFLOW_TRACKING_URI='{shown(uri)}' uv run mlflow experiments restore --experiment-id "
            f"{found.experiment_id}, or name another model in pyproject.toml, tool.mlops.model",
        )
    return str(found.experiment_id)


def _machine(project: Project) -> dict[str, str]:
    from slipway.base.files import sha256

    lock = project.root / "uv.lock"
    return {
        "mlops.lock": sha256(lock) if lock.is_file() else "",
        "mlops.python": platform.python_version(),
        "mlops.platform": platform.platform(),
    }


def flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Parameters within each other by their dotted names."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
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
