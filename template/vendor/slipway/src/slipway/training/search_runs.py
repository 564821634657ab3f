"""A search in the tracking store: one run for it, and one inside that for each trial."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from slipway.settings.project import Project
from slipway.settings.search import SearchParams
from slipway.training.tracking import connect, experiment, store_uri, translated

if TYPE_CHECKING:
    from slipway.training.search_result import SearchResult
    from slipway.training.study import Tried

#: Tags: the digest of a search, and the number of a trial.
SEARCH, TRIAL = "mlops.search", "mlops.trial"
_PARENT, _NAME = "mlflow.parentRunId", "mlflow.runName"


class SearchRuns:
    """The runs of one search. A context: what is recorded after it has been left is a run that was not finished.

    Their metrics are named `cv.` and `fold.`, so that nobody takes them for those of test rows.
    """

    def __init__(self, project: Project, key: str, asked: SearchParams, known: Sequence[Tried]) -> None:
        """Open the runs of the search with this digest, and record what is known and was not recorded in time."""
        self._metric, self._uri = asked.metric, store_uri(project)
        self._client = connect(project)
        self._experiment = experiment(project, self._client)
        with translated(self._uri):
            self._parent = self._opened(key, asked)
            recorded = self._recorded()
        for one in known:
            if one.number not in recorded:
                self.record(one)

    def record(self, tried: Tried) -> None:
        """Record one trial."""
        from mlflow.entities import Metric, Param

        name = f"trial {tried.number}" if tried.number else "present parameters"
        tags = {_PARENT: self._parent, _NAME: name, TRIAL: str(tried.number), "mlops.outcome": tried.outcome}
        tags |= {"mlops.reason": tried.reason} if tried.reason else {}
        at = int(time.time() * 1000)
        metrics = [Metric(f"fold.{self._metric}", value, at, step) for step, value in enumerate(tried.values, start=1)]
        if tried.outcome == "measured":
            metrics.append(Metric(f"cv.{self._metric}", tried.mean, at, 0))
        with translated(self._uri):
            run = self._client.create_run(self._experiment, tags=tags)
            params = [Param(name, str(value)) for name, value in tried.params.items()]
            self._client.log_batch(run.info.run_id, metrics=metrics, params=params)
            self._client.set_terminated(run.info.run_id, "FAILED" if tried.outcome == "failed" else "FINISHED")

    def conclude(self, result: SearchResult) -> None:
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
            sys.stderr.write(f"warning: the run of this search was not closed: {second}\n")

    def _opened(self, key: str, asked: SearchParams) -> str:
        """The run of this search: that of its first start, if there is one."""
        from mlflow.entities import Param

        found = self._client.search_runs([self._experiment], filter_string=f"tags.`{SEARCH}` = '{key}'", max_results=1)
        if found:
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        run = self._client.create_run(self._experiment, tags={SEARCH: key, _NAME: f"search {key[:8]}"})
        facts = {f"ranges.{name}": msgspec.json.encode(values).decode() for name, values in asked.ranges.items()}
        facts |= {"metric": asked.metric, "folds": str(asked.folds)}
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
