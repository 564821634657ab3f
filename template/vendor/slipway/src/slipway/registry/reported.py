"""What a version, a commit or a run reported of itself: figures, and what they were made from."""

from __future__ import annotations

from hashlib import md5
from typing import Any

import msgspec

from slipway.base.errors import MlopsError
from slipway.forge import git
from slipway.registry.models import Registry
from slipway.registry.names import Meaning
from slipway.registry.packaging import module_of
from slipway.registry.register import LOCK
from slipway.settings.project import Project
from slipway.training.gates import REPORT
from slipway.training.tracking import files_of_run, flat

TEST_ROWS = "data/test.parquet"


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of `reports/metrics.json`, and from what they came.

    `params` are those of params.yaml by their dotted names, as the pipeline took them; `test_rows` and `metrics_py` are
    digests (MD5, by DVC). Each is empty where it is not known.
    """

    meaning: Meaning
    measured: dict[str, Any]
    params: dict[str, str]
    test_rows: str = ""
    metrics_py: str = ""

    @property
    def rows(self) -> int | None:
        """How many test rows there were, where it is known."""
        rows: int | None = self.measured.get("rows")
        return rows


def reported_by(project: Project, meaning: Meaning) -> Reported:
    """Read what was reported. Raises `MlopsError` when nothing was."""
    if meaning.kind == "version":
        return _by_version(project, meaning)
    if meaning.kind == "commit":
        read = {path: git.at_commit(project.root, meaning.key, path) for path in (REPORT, LOCK)}
        report, lock = read[REPORT], read[LOCK]
        step = "uv run mlops pipeline there, and commit dvc.lock and reports"
    else:
        names = {REPORT: REPORT.rpartition("/")[2], LOCK: LOCK}
        kept = files_of_run(project, Registry.open(project).client, meaning.key, [*names.values()])
        report, lock = kept.get(names[REPORT]), kept.get(names[LOCK])
        step = "name a run of `mlops pipeline` that has finished; trials of a search are measured on no test rows"
    if report is None:
        raise MlopsError(f"{meaning.words} holds no {REPORT}, so there are no figures to compare", step)
    params, test_rows, metrics_py = _of_lock(lock)
    measured = msgspec.json.decode(report)
    return Reported(meaning=meaning, measured=measured, params=params, test_rows=test_rows, metrics_py=metrics_py)


def params_at(project: Project, commit: str) -> dict[str, str]:
    """The parameters that the pipeline took, as a commit's `dvc.lock` has them; none where it is not known."""
    return _of_lock(git.at_commit(project.root, commit, LOCK))[0]


def _by_version(project: Project, meaning: Meaning) -> Reported:
    registry = Registry.open(project)
    bundle = registry.fetch(registry.find(meaning.key))
    metrics_py = module_of(bundle, "metrics.py")
    return Reported(
        meaning=meaning,
        measured=bundle.metrics,
        params=params_at(project, bundle.lineage.commit),
        test_rows=next((one.md5 for one in bundle.lineage.data if one.path == TEST_ROWS), ""),
        metrics_py=md5(metrics_py, usedforsecurity=False).hexdigest() if metrics_py else "",
    )


def _of_lock(lock: str | None) -> tuple[dict[str, str], str, str]:
    """Parameters, and the digests of the test rows and of metrics.py, as a `dvc.lock` has them."""
    stages = (msgspec.yaml.decode(lock) if lock else {}).get("stages", {}).values()
    params: dict[str, str] = {}
    digests: dict[str, str] = {}
    for stage in stages:
        params |= {name: str(value) for name, value in flat(stage.get("params", {}).get("params.yaml", {}))}
        digests |= {one["path"]: one.get("md5", "") for part in ("deps", "outs") for one in stage.get(part, [])}
    code = (digest for path, digest in digests.items() if path.startswith("src/") and path.endswith("/metrics.py"))
    return dict(sorted(params.items())), digests.get(TEST_ROWS, ""), next(code, "")
