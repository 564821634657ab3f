"""Reports of the monitor in a bucket: what is there after each run, until when, and who may what there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import yaml
from slipway.base.buckets import Bucket
from slipway.base.errors import MlopsError
from slipway.cli import app
from slipway.evidence import asked, choices, governance
from slipway.evidence.findings import AuditFinding
from slipway.evidence.governance import Actor
from slipway.log import predictions
from slipway.log.predictions import Prediction
from slipway.monitoring import run
from slipway.pages import published
from slipway.registry.models import Registry
from slipway.settings.environment import Environment, Release, ServeAddress
from slipway.settings.project import Project
from slipway.training.bundle import Bundle, seal
from slipway.training.tracking import connect, record
from typer.testing import CliRunner

# MLflow's own, of its use of SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

NOW = datetime(2023, 6, 30, 15, tzinfo=UTC)


@pytest.fixture
def reports(address: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of the bucket that no other test writes to."""
    return f"{address}/{tmp_path_factory.mktemp('reports').name}"


def settled(project: Project, **settings: object) -> Project:
    """The project, with these settings of its monitor, and of privacy where `keep_days` is one."""
    path = project.root / "policy.yaml"
    policy = yaml.safe_load(path.read_text("utf-8"))
    if "keep_days" in settings:
        policy["privacy"] = {"keep_days": settings.pop("keep_days")}
    policy["monitor"] |= settings
    path.write_text(yaml.safe_dump(policy), encoding="utf-8")
    return Project(project.root)


def answered(project: Project, digest: str, sealed: Bundle) -> None:
    folder = predictions.folder(project.state, "production")
    folder.mkdir(parents=True)
    lines = [
        msgspec.json.encode(
            Prediction(
                id=f"{number}", at=NOW - timedelta(days=number % 6, hours=1), environment="production", version=1,
                digest=digest, row=sealed.golden.rows[number % len(sealed.golden.rows)], score=0.5, answer=True,
            )
        )
        for number in range(300)
    ]  # fmt: skip
    (folder / f"{NOW:%Y-%m-%d}.host.1.jsonl").write_bytes(b"\n".join([*lines, b""]))


def test_each_run_is_kept_in_a_folder_of_its_own_until_it_is_old(
    project: Project, sealed: Bundle, reports: str
) -> None:
    made = settled(project, reports=reports, keep_days=30, quality=None)
    answered(made, sealed.digest, sealed)
    bucket = published.bucket_of(made)
    assert bucket is not None
    bucket.put("production/notes.txt", b"somebody else's")
    report = run.run(made, "production", sealed, until=NOW, dry_run=True)

    old = published.publish(made, bucket, report, NOW - timedelta(days=31))
    first = published.publish(made, bucket, report, NOW)
    second = published.publish(made, bucket, report, NOW + timedelta(seconds=1))

    assert old == f"{reports}/production/2023-05-30/150000.000000"
    assert [first, second] == [f"{reports}/production/2023-06-30/1500{number}.000000" for number in ("00", "01")]
    pages = ("monitor-production-history.html", "monitor-production.html", published.FACTS)
    kept = [f"production/2023-06-30/1500{number}.000000/{page}" for number in ("00", "01") for page in pages]
    assert [one.name for one in bucket.list()] == [*kept, "production/notes.txt"]
    facts = msgspec.json.decode(bucket.held(kept[2]) or b"")
    assert facts["predictions"] == 300
    text = (bucket.held(kept[1]) or b"").decode()
    assert report.summary[1:] in text
    assert "runbook.md" not in text


def test_the_command_keeps_what_it_found_and_nothing_of_a_dry_run(
    project: Project, sealed: Bundle, reports: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = settled(project, reports=reports, quality=None)
    facts = record(made, connect(made), {}, status="FAILED")
    bundle = seal(made.bundle, made.root / "made", msgspec.structs.replace(sealed.lineage, run_id=facts))
    number = Registry.open(made).register(bundle)[0].number
    champion = Release(version=number, digest=bundle.digest, commit="0" * 40)
    named = Environment(alias="production", serve=ServeAddress(host="localhost", port=1), champion=champion)
    made.environments.mkdir(parents=True, exist_ok=True)
    (made.environments / "production.yaml").write_bytes(msgspec.yaml.encode(named))
    for command in (
        ["init", "-q"],
        ["add", "deploy"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", *command], check=True, cwd=made.root)
    answered(made, bundle.digest, sealed)
    monkeypatch.chdir(made.root)

    tried = CliRunner().invoke(app, ["monitor", "production", "--dry-run"])
    assert Bucket(reports).list() == []
    done = CliRunner().invoke(app, ["monitor", "production"])

    assert tried.exit_code == done.exit_code
    assert done.stdout == tried.stdout
    (folder,) = {one.name.rpartition("/")[0] for one in Bucket(reports).list()}
    assert f"kept at {reports}/{folder}" in done.stderr
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    away = CliRunner().invoke(app, ["monitor", "production"])
    assert away.stdout == done.stdout
    assert isinstance(away.exception, MlopsError)
    assert away.exception.problem.startswith(f"the bucket at {reports} cannot be written: ")


def faults(found: Iterator[AuditFinding]) -> list[str]:
    return [one.what for one in found if not one.holds]


def test_the_audit_asks_for_the_rights_at_the_reports(project: Project, reports: str) -> None:
    """The identity at hand may do everything."""
    made = settled(project, reports=reports)
    kept_for_ever = {one.artefact: one for one in choices.governed(made)}[governance.KEPT_REPORTS]
    too_much = faults(asked.findings(made, Actor.MONITOR))
    right = faults(asked.findings(settled(made, keep_days=30), Actor.MONITOR))

    assert (kept_for_ever.lies, kept_for_ever.delete) == (reports, ())
    assert too_much == [f"the monitor may not delete at {reports}"]
    assert right == []
    assert f"the server may not read at {reports}" in faults(asked.findings(made, Actor.SERVER))


def test_an_address_of_no_bucket_is_refused_before_anything_is_judged(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(settled(project, reports="/srv/reports").root)

    done = CliRunner().invoke(app, ["monitor", "production"])

    assert "policy.yaml, monitor.reports: /srv/reports is no bucket" in str(done.exception)
