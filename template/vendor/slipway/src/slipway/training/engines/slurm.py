"""Slurm: jobs whose workers come to a scheduler in this process, by connections that both sides prove with TLS."""

from __future__ import annotations

from math import inf

import dask
from dask_jobqueue import SLURMCluster
from distributed import Client
from distributed.security import Security

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.training.engines.base import EngineSettings
from slipway.training.engines.dask import DaskEngine

#: The pages of scheduler and workers, which nobody needs, would listen on every interface.
NO_PAGE = "127.0.0.1:0"


def opened(settings: EngineSettings) -> SlurmEngine:
    """`tool.mlops.engine_workers` jobs, in the partition `engine_address` where one is named.

    What else a job asks for stands in Dask's own configuration, below `jobqueue.slurm`.
    """
    if settings.workers is None:
        raise MlopsError(
            "pyproject.toml, tool.mlops: with engine slurm, nothing says how many jobs there may be",
            "set it, like engine_workers = 8",
        )
    place = settings.state / "slurm"
    place.mkdir(parents=True, exist_ok=True)
    own = dask.config.get("jobqueue.slurm")
    try:
        cluster = SLURMCluster(
            queue=settings.address or None, cores=1, processes=1, memory=own.get("memory") or "4 GB",
            # Credentials in this process's environment are no business of the controller's.
            job_extra_directives=[*(own.get("job-extra-directives") or ()), "--export=NONE"],
            log_directory=str(place), security=Security.temporary(), protocol="tls://",
            shared_temp_directory=str(place), scheduler_options={"dashboard_address": NO_PAGE},
            worker_extra_args=["--dashboard-address", NO_PAGE],
        )  # fmt: skip
    except Exception as error:
        raise _refused(str(error)) from error
    script = place / "job.sh"
    script.write_text(cluster.job_script(), encoding="utf-8")
    asked = programs.run("sbatch", "--test-only", str(script), cwd=place, install="work on a machine of the cluster")
    if asked.code:
        cluster.close()
        raise _refused(asked.last_words(1))
    cluster.adapt(minimum_jobs=settings.workers, maximum_jobs=settings.workers)  # a job that ends is replaced
    return SlurmEngine(cluster, settings)


def _refused(reason: str) -> MlopsError:
    return MlopsError(f"Slurm takes no job from here: {reason}", "sinfo tells the partitions that there are")


class SlurmEngine(DaskEngine):
    """A scheduler in this process, and its workers in jobs, which end with it."""

    def __init__(self, cluster: SLURMCluster, settings: EngineSettings) -> None:
        self._cluster = cluster
        # However long the queue is.
        super().__init__(Client(cluster, set_as_default=False), settings.log, inf)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel the jobs."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._cluster.close()
