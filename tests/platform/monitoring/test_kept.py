from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from slipway import team
from slipway.base.errors import MlopsError
from slipway.data.labels import KnownLabels
from slipway.log import predictions
from slipway.log.predictions import Prediction
from slipway.monitoring import concept, estimate, kept, quality, reading, run
from slipway.monitoring.calibration import Floats, calibration
from slipway.monitoring.judge import judge_log
from slipway.monitoring.report import Report
from slipway.monitoring.windows import WindowJudge, judge_windows
from slipway.pages.history_page import history_page
from slipway.settings.environment import Environment, Release, ServeAddress
from slipway.settings.policy import LabelPolicy, QualityPolicy, WindowPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

NOW = datetime(2023, 6, 30, 15, tzinfo=UTC)
DAYS, DAILY, WEEKS = 300, 4, timedelta(days=28)
RULE = WindowPolicy(days=28, last=2, need=2)
OUTCOME = CONTRACT.outcome_fields[0].name
#: A day that no check of a run looks at, and one that each run reads.
OLD, NEEDED = NOW - timedelta(days=250), NOW - timedelta(days=5)


@pytest.fixture
def judged(project: Project, sealed: Bundle, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """A run of the monitor over three hundred days of predictions and labels, a few a day.

    The team's metrics are its own affair, and take most of the time of a run: a plain one stands for them.
    """
    limits, metric = project.policy.monitor, project.policy.gates.metric
    monkeypatch.setitem(vars(team), "metrics", lambda truth, scores, _: {metric: squared(truth, scores)})
    limits.windows, limits.min_rows, limits.max_bias = RULE, 20, 0.05
    limits.quality = QualityPolicy(metric=metric, drop=0.03, min_rows=60, action="propose")
    project.policy.labels = LabelPolicy(source="data/labels", key=["id"], delay_days=1)
    champion = Release(version=1, digest=sealed.digest, commit="0" * 40)
    named = Environment(alias="production", serve=ServeAddress(host="localhost", port=1), champion=champion)
    project.environments.mkdir(parents=True)
    (project.environments / "production.yaml").write_bytes(msgspec.yaml.encode(named))
    at = (NOW - timedelta(days=DAYS - 20)).isoformat()
    dated = os.environ | {"GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at}
    for command in (["init", "-q"], ["add", "deploy"], ["commit", "-qm", "Name a champion"]):
        options = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *options, *command], check=True, cwd=project.root, env=dated)
    predictions.folder(project.state, "production").mkdir(parents=True)
    (project.root / "data" / "labels").mkdir()
    for back in range(DAYS):
        answered(project, sealed, NOW - timedelta(days=back))

    def judged(bundle: Bundle = sealed, until: datetime = NOW) -> Report:
        return run.run(project, "production", bundle, until=until)

    return judged


def squared(truth: Floats, scores: Floats) -> float:
    return float(np.mean((truth - scores) ** 2))


def answered(project: Project, sealed: Bundle, day: datetime) -> None:
    """What was asked on a day, and what happened, in files of their own."""
    lines, told = [], ["id," + OUTCOME]
    for part in range(DAILY):
        number, at = day.toordinal() * DAILY + part, day.replace(hour=2 * part)
        said = Prediction(
            id=f"{number}", at=at, environment="production", version=1, digest=sealed.digest,
            row=sealed.golden.rows[number % len(sealed.golden.rows)], score=number * 7 % 100 / 100, answer=True,
        )  # fmt: skip
        lines.append(msgspec.json.encode(said))
        told.append(f"{number},{number * 11 % 40}")
    log_of(project, day).write_bytes(b"\n".join([*lines, b""]))
    labels_of(project, day).write_text("\n".join(told), encoding="utf-8")


def log_of(project: Project, day: datetime) -> Path:
    return predictions.folder(project.state, "production") / f"{day:%Y-%m-%d}.host.1.jsonl"


def labels_of(project: Project, day: datetime) -> Path:
    return project.root / "data" / "labels" / f"{day:%Y-%m-%d}.csv"


def summaries(project: Project) -> list[Path]:
    return sorted((project.state / "history" / "production").glob("*.json"))


def planted(project: Project) -> str:
    """Put a sentence into everything that is kept, which is only said where that is used."""
    for path in summaries(project):
        content = msgspec.json.decode(path.read_bytes(), type=kept.Summary)
        if content.window:
            window = msgspec.structs.replace(content.window, sentence="planted")
            path.write_bytes(msgspec.json.encode(msgspec.structs.replace(content, window=window)))
    return "planted"


def said(report: Report) -> dict[datetime, str]:
    return {window.since: window.sentence for window in report.windows}


def begin(project: Project) -> datetime:
    return kept.begin(project.policy, NOW)


@pytest.mark.parametrize("min_rows", [60, 700, 5_000])
def test_a_run_says_what_the_whole_log_says(
    project: Project, sealed: Bundle, judged: Callable[..., Report], min_rows: int
) -> None:
    """Where labels are rare, quality looks further back."""
    rule = project.policy.monitor.quality
    assert rule is not None
    rule.min_rows = min_rows
    whole = predictions.read(project, "production", until=NOW)
    known = KnownLabels.of(project)
    assert known is not None
    log = known.join(whole, NOW)
    tested, policy = calibration(project, sealed), project.policy
    (latest,) = judge_windows(project, sealed, log, NOW, RULE, tested)[-1:]
    judge = WindowJudge(project, sealed, RULE, NOW, tested)

    first, again = judged(), judged()

    assert again == first
    assert first.quality == quality.measure(project, "production", sealed, log, NOW)
    assert first.concept == concept.measure(sealed, log, policy, NOW, tested)
    rows = log.filter(pl.col("at") >= latest.since)
    assert first.estimate == estimate.measure(project, sealed, rows, log, NOW, tested)
    assert first.columns == judge_log(sealed, rows, policy.monitor).columns
    assert first.labels == known.told(log, is_whole=True)
    parts = [log.filter(pl.col("at").is_between(one.since, one.until, closed="left")) for one in first.windows]
    spans = [(one.since, one.until) for one in first.windows]
    assert sum(part.height for part in parts) == log.height
    assert first.windows == [judge.window(*span, part) for span, part in zip(spans, parts, strict=True)]
    assert spans[-RULE.last :] == [
        (NOW - (back + 1) * WEEKS, NOW - back * WEEKS) for back in reversed(range(RULE.last))
    ]


def test_days_that_no_check_needs_are_not_opened(project: Project, judged: Callable[..., Report]) -> None:
    before, old = judged(), log_of(project, OLD)
    state = old.stat()
    old.write_bytes(b"#" * state.st_size)
    os.utime(old, ns=(state.st_atime_ns, state.st_mtime_ns))

    assert judged() == before

    log_of(project, NEEDED).write_bytes(b"#\n" * 3)
    told = judged()
    assert told.logged.remarks[0].startswith("lines of the log that are no prediction, and left out: 3, since 2023-")
    log_of(project, NEEDED).unlink()
    log_of(project, NEEDED).mkdir()
    with pytest.raises(MlopsError, match=rf"{NEEDED:%Y-%m-%d}.host.1.jsonl of the log cannot be read"):
        judged()


def test_what_is_kept_is_said_again_on_later_days(project: Project, judged: Callable[..., Report]) -> None:
    judged()
    word = planted(project)

    later = judged(until=NOW + timedelta(days=3))

    assert [span for span, sentence in said(later).items() if sentence == word] == [
        one.since for one in later.windows if one.until <= begin(project)
    ]


def corrected(project: Project) -> None:
    path = labels_of(project, OLD)
    head, *rows = path.read_text("utf-8").splitlines()
    other = [f"{row.partition(',')[0]},{39 - int(row.partition(',')[2])}" for row in rows]
    (path.parent / "late.csv").write_text("\n".join([head, *other]), encoding="utf-8")


def untold(project: Project) -> None:
    labels_of(project, OLD).unlink()


def told_late(project: Project) -> None:
    path = labels_of(project, OLD)
    (path.parent / "late.csv").write_text(path.read_text("utf-8"), encoding="utf-8")
    path.unlink()


def rewritten(project: Project) -> None:
    with log_of(project, OLD).open("ab") as file:
        file.write(b"\n")


@pytest.mark.parametrize(("change", "is_anew"), [(corrected, 1), (untold, 1), (told_late, 0), (rewritten, 1)])
def test_a_window_is_judged_anew_when_its_labels_or_its_log_change(
    project: Project, judged: Callable[..., Report], change: Callable[[Project], None], is_anew: int
) -> None:
    """A label that only lies in another file changes nothing."""
    judged()
    word = planted(project)

    change(project)

    sentences = said(judged())
    anew = [since for since, one in sentences.items() if one != word and since < begin(project)]
    assert len(anew) == is_anew
    assert all(since <= OLD < since + WEEKS for since in anew)
    (project.state / "history").rename(project.state / "elsewhere")
    fresh = said(judged())
    assert {since: fresh[since] for since in anew} == {since: sentences[since] for since in anew}


def test_a_label_that_comes_late_is_counted_where_its_window_is_kept(
    project: Project, judged: Callable[..., Report]
) -> None:
    path = labels_of(project, OLD)
    late = path.read_text("utf-8")
    path.unlink()
    before = judged()

    path.write_text(f"{late}\nnobody,1", encoding="utf-8")

    after = judged()
    counts = [
        {one.since: one.quality[0].labelled for one in report.windows if one.quality} for report in (before, after)
    ]
    assert [many - counts[0][since] for since, many in counts[1].items() if many != counts[0][since]] == [DAILY]
    assert [report.labels and report.labels.unknown for report in (before, after)] == [0, 1]


def other_limits(project: Project, bundle: Bundle) -> Bundle:
    project.policy.monitor.watch /= 2
    return bundle


def other_delay(project: Project, bundle: Bundle) -> Bundle:
    project.policy.labels = LabelPolicy(source="data/labels", key=["id"], delay_days=1, min_share=0.5)
    return bundle


def other_champion(project: Project, bundle: Bundle) -> Bundle:
    (bundle.path / "SHA256SUMS").write_text("another", encoding="utf-8")
    return bundle


@pytest.mark.parametrize("change", [other_limits, other_delay, other_champion])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
def test_every_window_is_judged_anew_by_other_rules_and_beside_another_champion(
    project: Project, sealed: Bundle, judged: Callable[..., Report], change: Callable[[Project, Bundle], Bundle]
) -> None:
    judged()
    word = planted(project)
    project.policy.monitor.quality = None  # that of another champion is told by Git
    judged()
    word = planted(project)

    told = judged(change(project, sealed))

    assert word not in said(told).values()
    assert len(told.windows) > timedelta(days=DAYS) / WEEKS


def test_a_version_that_is_to_be_had_again_is_judged(project: Project, judged: Callable[..., Report]) -> None:
    judged()
    (path, *_) = summaries(project)
    content = msgspec.json.decode(path.read_bytes(), type=kept.Summary)
    (version, digest) = 1, content.digests[0]
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(content, absent=[(version, digest)])))
    word = planted(project)

    assert [one == word for one in said(judged()).values()][:2] == [False, True]


def test_days_that_retention_deletes_leave_their_line(project: Project, judged: Callable[..., Report]) -> None:
    """What was said of them cannot be said anew, whatever the rules are by now."""
    before, cut = judged(), (OLD + timedelta(days=3)).date()
    project.policy.privacy.keep_days = (datetime.now(UTC).date() - cut).days - 1
    project.policy.monitor.watch /= 2

    after = judged()

    assert not log_of(project, OLD).exists()
    assert after.deleted == DAYS - (NOW.date() - cut).days
    gone = [window for window in after.windows if window.sentence.startswith(kept.GONE)]
    assert gone[-1].since.date() <= cut < gone[-1].until.date()
    assert [one.quality for one in gone] == [one.quality for one in before.windows[: len(gone)]]
    assert len(after.windows) == len(before.windows)
    assert kept.GONE in history_page(after)
    folder = project.state / "history" / "production"
    assert len([*folder.glob("*.json")]) - len([*folder.glob("*.npy")]) == len(gone)


def test_the_metric_of_a_part_rests_on_the_same_part_of_each_day_and_labels_of_others_are_explained(
    project: Project, sealed: Bundle, judged: Callable[..., Report]
) -> None:
    """The windows are read apart from the days before, of which quality looks at the answers alone."""
    rule = project.policy.monitor.quality
    assert rule is not None
    rule.min_rows = 20
    whole = judged()

    project.policy.monitor.max_rows = 120
    part = judged()

    assert whole.quality is not None and part.quality is not None
    assert whole.labels is not None and part.labels is not None
    known = {one.days: one.labelled for one in whole.quality.stretches}
    shares = {one.days: one.labelled / known[one.days] for one in part.quality.stretches}
    assert part.logged.one_in == 4
    assert max(shares) > (NOW - begin(project)).days
    assert [*shares.values()] == pytest.approx([1 / 4] * len(shares), abs=0.06)
    assert (whole.labels.unknown, part.labels.read) == (0, whole.labels.read)
    assert part.labels.unknown == pytest.approx(DAILY * (NOW - begin(project)).days * 3 / 4, rel=0.15)
    assert "; it holds a share of them, by monitor.max_rows" in " ".join(part.labels.remarks)
    # Further back, where more labels are wanted than there are.
    rule.min_rows = 10_000
    looked_at = reading.read(project, "production", None, NOW).for_quality(sealed.digest)
    before = looked_at.filter(pl.col("at") < begin(project))["at"].to_list()
    assert len(before) == pytest.approx(DAILY * (begin(project) - min(before)).days / 4, rel=0.2)
