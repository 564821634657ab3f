"""A search, or a comparison of candidates, in the tracking store: one run, and one inside that for each trial."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from slipway.settings.project import Project
from slipway.training.tracking import connect, experiment, store_uri, translated

if TYPE_CHECKING:
    from slipway.training.search_result import BestParameters
    from slipway.training.study import Tried

#: A tag: the number of a trial. `mlops.search` has the digest of a search, `mlops.candidates` that of a comparison.
TRIAL = "mlops.trial"
_PARENT, _NAME = "mlflow.parentRunId", "mlflow.runName"


class SearchRuns:
    """The runs of one search or comparison. A context: a run that has not been left is one that was not finished.

    Their metrics are named `cv.` and `fold.`, so that nobody takes them for those of test rows.
    """

    def __init__(self, project: Project, kind: str, key: str, metric: str, facts: Mapping[str, str]) -> None:
        """Open the run of this `kind` with this digest, of which `facts` become parameters when it is new."""
        self._metric, self._uri = metric, store_uri(project)
        self._client = connect(project)
        self._experiment = experiment(project, self._client)
        with translated(self._uri):
            self._parent = self._opened(kind, key, facts)
            self._done = self._recorded()

    def record(self, tried: Tried, name: str = "", others: Mapping[str, float] | None = None) -> None:
        """Record one trial, with `others` of its figures, if that was not done by an earlier start."""
        if tried.number in self._done:
            return
        from mlflow.entities import Metric, Param

        name = name or (f"trial {tried.number}" if tried.number else "present parameters")
        tags = {_PARENT: self._parent, _NAME: name, TRIAL: str(tried.number), "mlops.outcome": tried.outcome}
        tags |= {"mlops.reason": tried.reason} if tried.reason else {}
        at = int(time.time() * 1000)
        metrics = [Metric(f"fold.{self._metric}", value, at, step) for step, value in enumerate(tried.values, start=1)]
        if tried.outcome == "measured":
            figures = {self._metric: tried.mean, **(others or {})}
            metrics += [Metric(f"cv.{name}", value, at, 0) for name, value in figures.items()]
        with translated(self._uri):
            run = self._client.create_run(self._experiment, tags=tags)
            params = [Param(name, str(value)) for name, value in tried.params.items()]
            self._client.log_batch(run.info.run_id, metrics=metrics, params=params)
            self._client.set_terminated(run.info.run_id, "FAILED" if tried.outcome == "failed" else "FINISHED")

    def conclude(self, result: BestParameters) -> None:
        """Record what was found."""
        with translated(self._uri):
            self._client.log_metric(self._parent, f"cv.{self._metric}", result.best.mean)
            self._client.set_tag(self._parent, "mlops.found", result.sentence[:5000])

    def __enter__(self) -> SearchRuns:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            with translated(self._uri):
                self._client.set_terminated(self._parent, "FINISHED")
            return
        try:
            self._client.set_terminated(self._parent, "KILLED" if kind is KeyboardInterrupt else "FAILED")
        except Exception as second:  # noqa: BLE001 - the first error is the one to tell
            sys.stderr.write(f"warning: the run {self._parent} was not closed: {second}\n")

    def _opened(self, kind: str, key: str, facts: Mapping[str, str]) -> str:
        """The run with this digest: that of the first start, if there is one."""
        from mlflow.entities import Param

        asked = f"tags.`mlops.{kind}` = '{key}'"
        found = self._client.search_runs([self._experiment], filter_string=asked, max_results=1)
        if found:
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        run = self._client.create_run(self._experiment, tags={f"mlops.{kind}": key, _NAME: f"{kind} {key[:8]}"})
        self._client.log_batch(run.info.run_id, params=[Param(name, value) for name, value in facts.items()])
        return str(run.info.run_id)

    def _recorded(self) -> set[int]:
        """The numbers of the trials that were recorded to the end; a torn one is closed."""
        recorded: set[int] = set()
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], filter_string=f"tags.`{_PARENT}` = '{self._parent}'", page_token=token
            )
            for run in page:
                if run.info.status == "RUNNING":
                    self._client.set_terminated(run.info.run_id, "KILLED")
                elif run.info.status != "KILLED":
                    recorded.add(int(run.data.tags[TRIAL]))
            token = page.token
            if not token:
                return recorded
