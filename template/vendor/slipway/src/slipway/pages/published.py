"""What a run of the monitor found, in a bucket: for whoever has no access to the machine that it runs on."""

from __future__ import annotations

from datetime import date, datetime

import msgspec

from slipway.base import buckets
from slipway.base.buckets import Bucket
from slipway.base.errors import MlopsError
from slipway.log import predictions
from slipway.monitoring.report import Report
from slipway.pages.history_page import history_page
from slipway.pages.monitor_page import monitor_page
from slipway.settings.project import Project

FACTS = "report.json"


def bucket_of(project: Project) -> Bucket | None:
    """The bucket that `monitor.reports` names, if it names one; asks nobody. Raises `MlopsError` for what is none."""
    address = project.policy.monitor.reports
    if not address:
        return None
    if not buckets.is_bucket(address):
        raise MlopsError(
            f"policy.yaml, monitor.reports: {address} is no bucket",
            f"name one that begins with {' or '.join(f'{scheme}://' for scheme in buckets.SCHEMES)}",
        )
    return Bucket(address)


def publish(project: Project, bucket: Bucket, report: Report, now: datetime) -> str:
    """Write the pages and figures of a run into a folder of its own, and return its address.

    What `privacy.keep_days` says of the log holds for these, too: a page may show values that were refused. Raises
    `MlopsError` when the bucket is away or lets nobody write.
    """
    folder = f"{report.environment}/{now:%Y-%m-%d}/{now:%H%M%S.%f}"
    pages = {report.page: monitor_page(report)}
    if report.windows:
        pages[report.history] = history_page(report)
    for path, text in pages.items():
        bucket.create(f"{folder}/{path.rpartition('/')[2]}", text.encode())
    bucket.create(f"{folder}/{FACTS}", msgspec.json.format(msgspec.json.encode(report)))
    if project.policy.privacy.keep_days is not None:
        _forget(bucket, report.environment, predictions.forgotten(project.policy.privacy.keep_days, now))
    return f"{bucket.address}/{folder}"


def _forget(bucket: Bucket, environment: str, last: date) -> None:
    """Delete what was written on days up to the last one; what is named otherwise is somebody else's."""
    found = [one.name for one in bucket.list(environment)]
    bucket.delete([name for name in found if (day := _day_of(name)) is not None and day <= last])


def _day_of(name: str) -> date | None:
    _, _, rest = name.partition("/")
    try:
        return date.fromisoformat(rest.partition("/")[0])
    except ValueError:
        return None
