"""A log of a share of the requests: which they are, and what readers say of the others."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flight_delays.contract import CONTRACT
from slipway.base.errors import MlopsError
from slipway.evidence.trace import trace
from slipway.log import predictions, refusals
from slipway.log.counts import is_drawn
from slipway.log.predictions import Prediction, PredictionLog
from slipway.log.refusals import Refusal
from slipway.log.store import LogPlace
from slipway.monitoring import run
from slipway.monitoring.report import report_text
from slipway.serving import run as server
from slipway.settings.policy import LabelPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

# MLflow's own, of its use of SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

SHARE = 0.25
REQUESTS = [f"0f1e2d3c4b5a-{number:x}" for number in range(4_000)]
Write = Callable[[PredictionLog], object]


def recorded(place: Project, sealed: Bundle, write: Write, share: float = SHARE) -> list[Prediction]:
    """What a log of a share holds after something was written, shadows and probes among it."""
    log = PredictionLog(place.state, "test", 7, sealed.digest, share=share)
    asyncio.run(written(log, write))
    lines = [
        line for path in predictions.folder(place.state, "test").iterdir() for line in path.read_bytes().splitlines()
    ]
    assert log.written == len(lines)
    return [msgspec.json.decode(line, type=Prediction) for line in lines]


async def written(log: PredictionLog, write: Write) -> None:
    write(log)
    log.close()


def asked(sealed: Bundle, log: PredictionLog, request: str, count: int = 1, role: Any = "champion") -> None:
    row = msgspec.convert(sealed.golden.rows[0], CONTRACT.row)
    log.add([f"{request}-{number}" for number in range(count)], [row] * count, [0.5] * count, [True] * count, role)


def test_requests_are_drawn_as_by_chance() -> None:
    drawn = [is_drawn(f"{request}-0", SHARE) for request in REQUESTS]
    pairs = sum(one and after for one, after in pairwise(drawn))

    for found, chance in ((sum(drawn), SHARE), (pairs, SHARE**2)):
        assert abs(found - len(REQUESTS) * chance) < 4 * math.sqrt(len(REQUESTS) * chance * (1 - chance))


def test_of_a_request_everything_is_logged_or_nothing(tmp_path: Path, sealed: Bundle) -> None:
    def write(log: PredictionLog) -> None:
        for request in REQUESTS[:200]:
            asked(sealed, log, request, count=3)
            asked(sealed, log, request, count=3, role="shadow")

    found = recorded(Project(tmp_path), sealed, write)

    kept = [request for request in REQUESTS[:200] if is_drawn(f"{request}-0", SHARE)]
    assert 0 < len(kept) < 200
    assert [(one.id, one.role) for one in found] == [
        (f"{request}-{number}", role) for request in kept for role in ("champion", "shadow") for number in range(3)
    ]
    assert {one.share for one in found} == {SHARE}


def test_a_deployments_own_question_is_always_logged(tmp_path: Path, sealed: Bundle) -> None:
    found = recorded(Project(tmp_path), sealed, lambda log: asked(sealed, log, "a", 20, "probe"), share=1e-9)

    assert len(found) == 20


def test_a_log_of_all_requests_says_nothing_of_a_share(tmp_path: Path, sealed: Bundle) -> None:
    place = Project(tmp_path)
    recorded(place, sealed, lambda log: asked(sealed, log, REQUESTS[0], count=50), share=1.0)

    (path,) = predictions.folder(place.state, "test").iterdir()
    assert b"share" not in path.read_bytes()
    assert predictions.read_counted(place, "test").counts.remarks == []


def test_what_the_log_does_not_hold_is_reckoned_and_told(project: Project, sealed: Bundle) -> None:
    """Also after the share was changed: a tenth of the first requests is there, and half of the later ones."""
    now, row = datetime(2013, 9, 20, tzinfo=UTC), sealed.golden.rows[0]
    facts: dict[str, Any] = {"version": 1, "digest": sealed.digest, "environment": "production", "row": row}
    asked = [(f"{request}-0", 0.1 if number < 2_000 else 0.5) for number, request in enumerate(REQUESTS)]
    held = [
        Prediction(id=id_, at=now - timedelta(days=number % 6 + 1), score=0.5, answer=True, share=share, **facts)
        for number, (id_, share) in enumerate(asked)
        if is_drawn(id_, share)
    ]
    lines = msgspec.json.Encoder().encode_lines(held)
    field = next(one.name for one in CONTRACT.fields if not one.optional)
    refused = Refusal(at=now - timedelta(days=1), field=field, rule="missing", value=None, times=1_000)
    for log, content in ((predictions.LOG, lines), (refusals.LOG, msgspec.json.encode(refused) + b"\n")):
        folder = LogPlace(project.state, log, "production").folder
        folder.mkdir(parents=True)
        (folder / "2013-09-19.host.1.jsonl").write_bytes(content)
    (project.root / "data" / "labels").mkdir()
    told = "".join(f"{id_},1\n" for id_, _ in asked)
    (project.root / "data" / "labels" / "day.csv").write_text(f"id,{CONTRACT.outcome_fields[0].name}\n{told}", "utf-8")
    project.policy.labels = LabelPolicy(source="data/labels", key=["id"])
    project.policy.monitor.quality = None  # that part needs Git

    judged = run.run(project, "production", sealed, until=now)

    counts = judged.logged
    assert f"; {judged.windows[-1].predictions:,} of about " in judged.windows[-1].sentence
    assert counts.kept == judged.predictions == len(held)
    assert counts.answered == pytest.approx(4_000, rel=0.1)
    assert judged.refused[0].share == pytest.approx(1_000 / 5_000, abs=0.02)
    text = report_text(judged)
    assert f"the log holds {len(held):,} of about {counts.answered:,} predictions: serving.log_share" in text
    strangers = 4_000 - len(held)
    assert f"without a prediction in this log: {strangers:,} of 4,000 labels, first day.csv:" in text
    assert "; it holds a share of them, by serving.log_share" in text


def test_the_trace_of_an_answer_that_is_not_logged_says_why_that_may_be(project: Project) -> None:
    path = project.root / "policy.yaml"
    path.write_text(path.read_text("utf-8").replace("\nserving:\n", "\nserving:\n  log_share: 0.1\n"), "utf-8")

    with pytest.raises(MlopsError, match=r"in the log of this machine \(serving\.log_share: it holds 0\.1 of the req"):
        trace(Project(project.root), "0f1e2d3c4b5a-1-0")


def test_the_policy_says_which_share(project: Project, sealed: Bundle, tmp_path: Path) -> None:
    limits = msgspec.structs.replace(project.policy.serving, log_share=1e-9)
    settings = server.ServerSettings(bundle=sealed.path, state=tmp_path, limits=limits, digest=sealed.digest)
    context = server._context(settings)
    assert context.log is not None

    asyncio.run(written(context.log, lambda log: asked(sealed, log, "a", 20)))

    assert context.log.written == 0
