"""Slurm: jobs whose workers come to a scheduler in this process, by connections that both sides prove with TLS."""

from __future__ import annotations

import logging

import dask
from dask_jobqueue import SLURMCluster
from distributed import Client
from distributed.security import Security

from slipway.base.errors import MlopsError
from slipway.training.engines.base import EngineSettings
from slipway.training.engines.dask import DaskEngine

MEMORY = "4 GB"
#: The pages of scheduler and workers, which nobody needs, would listen on every interface.
NO_PAGE = "127.0.0.1:0"


def slurm_engine(settings: EngineSettings) -> SlurmEngine:
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
    logging.getLogger("distributed").setLevel(logging.ERROR)
    try:
        cluster = SLURMCluster(
            queue=settings.address or None, cores=1, processes=1,
            memory=dask.config.get("jobqueue.slurm.memory", None) or MEMORY, log_directory=str(place),
            security=Security.temporary(), protocol="tls://", shared_temp_directory=str(place),
            scheduler_options={"dashboard_address": NO_PAGE}, worker_extra_args=["--dashboard-address", NO_PAGE],
        )  # fmt: skip
    except Exception as error:
        raise MlopsError(f"Slurm takes no jobs from here: {error}", "does `sinfo` answer on this machine?") from error
    (place / "job.sh").write_text(cluster.job_script(), encoding="utf-8")
    cluster.adapt(minimum_jobs=settings.workers, maximum_jobs=settings.workers)  # a job that ends is replaced
    return SlurmEngine(cluster)


class SlurmEngine(DaskEngine):
    """A scheduler in this process, and its workers in jobs, which end with it."""

    def __init__(self, cluster: SLURMCluster) -> None:
        self._cluster = cluster
        super().__init__(Client(cluster, set_as_default=False), "Slurm")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel the jobs."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._cluster.close()
