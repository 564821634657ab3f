"""A monitor's report as one HTML page: no scripts, nothing to fetch, light and dark, wide and narrow."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

from . import charts
from .drift import Verdict
from .findings import Finding
from .monitor import Report, answers_change, shown_size
from .words import percent, period

SYMBOLS = {Verdict.ACT: "▲", Verdict.WATCH: "◆", Verdict.INSUFFICIENT_DATA: "○", Verdict.OK: "●"}

#: With more columns than this, those that moved least are in the table only.
MOST_CHARTS = 60


def write(report: Report, root: Path) -> Path:
    """Write the page into the project; a reader sees the old one or the new one, never a half."""
    target = root / report.page
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{os.getpid()}.{target.name}")
    draft.write_text(page(report), encoding="utf-8", newline="\n")
    draft.replace(target)
    return target


def page(report: Report) -> str:
    """Return the page; equal reports give equal pages."""
    css = Path(__file__).with_name("report.css").read_text("utf-8")
    body = "\n".join([_answer(report), _facts(report), _table(report), _cards(report.findings), _reading(report)])
    title = escape(f"{report.verdict.value}: {report.model} in {report.environment}")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _answer(report: Report) -> str:
    return f"""<p class="over">{escape(report.model)}, champion in {escape(report.environment)}</p>
<div class="answer {_tone(report.verdict)}">
<p>{_verdict(report.verdict)}</p>
<h1>{_html(report.summary)}.</h1>
<p class="next">Next: {_html(report.next_step)}.</p>
</div>"""


def _facts(report: Report) -> str:
    when = period(report.since, report.until) if report.since and report.until else "no prediction yet"
    facts = {
        "Predictions": f"{report.predictions:,}",
        "Made": when,
        "Answers": answers_change(report.answers) or "none yet",
        "Reference rows": f"{report.reference_rows:,}",
        "Version": "unknown" if report.version is None else str(report.version),
        "Digest": report.digest.removeprefix("sha256:")[:12],
    }
    if report.other_versions:
        facts["By other versions, not counted"] = f"{report.other_versions:,}"
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{_html(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{rows}</dl>'


def _table(report: Report) -> str:
    rows = "\n".join(_row(place, finding, report) for place, finding in enumerate(report.findings))
    return f"""<h2>Every column, the worst first</h2>
<div class="scroll"><table>
<thead><tr><th scope="col">Column</th><th scope="col" class="gauge"></th><th scope="col" class="number">Moved by</th>
<th scope="col" class="number">Limit</th><th scope="col" class="number rows">Rows</th>
<th scope="col">Verdict</th></tr></thead>
<tbody>
{rows}
</tbody>
</table></div>"""


def _row(place: int, finding: Finding, report: Report) -> str:
    known = finding.verdict is not Verdict.INSUFFICIENT_DATA
    gauge = charts.gauge(finding.now if known else 0.0, report.limits.watch, report.limits.act)
    link = f'<a href="#column-{place}">{escape(finding.name)}</a>' if place < MOST_CHARTS else escape(finding.name)
    return (
        f'<tr class="{_tone(finding.verdict)}"><th scope="row">{link}</th>'
        f'<td class="gauge">{gauge}</td><td class="number">{shown_size(finding)}</td>'
        f'<td class="number">{finding.limit:.2f}</td><td class="number rows">{finding.rows:,}</td>'
        f"<td>{_verdict(finding.verdict)}</td></tr>"
    )


def _cards(findings: list[Finding]) -> str:
    cards = "\n".join(_card(place, finding) for place, finding in enumerate(findings[:MOST_CHARTS]))
    return f"""<div class="charts-head"><h2>Before and now</h2><div>{charts.legend()}</div></div>
<div class="cards">
{cards}
</div>"""


def _card(place: int, finding: Finding) -> str:
    kind = "What comes in" if finding.role == "input" else "What the model says"
    return f"""<section class="card {_tone(finding.verdict)}" id="column-{place}">
<header><h3>{escape(finding.name)}</h3>{_verdict(finding.verdict)}</header>
<p class="meaning">{escape(finding.meaning or kind)}</p>
<p class="sentence">{_html(finding.sentence)}.</p>
<figure>{charts.chart(finding)}</figure>
</section>"""


def _reading(report: Report) -> str:
    limits = report.limits
    left_out = "; ".join(f"{name}, {reason}" for name, reason in report.left_out.items())
    absent = f"<p>Not compared: {escape(left_out)}.</p>" if left_out else ""
    return f"""<h2>How to read this</h2>
<div class="reading">
<p>Each column of the requests, and what the model answered, is compared with the rows the model was trained on.
<b>Moved by</b> is the population stability index: 0 means the same shape.</p>
<p>{_verdict(Verdict.WATCH)} from {limits.watch:g}: worth a look. {_verdict(Verdict.ACT)} from {limits.act:g}: worth
doing something. {_verdict(Verdict.OK)}: below that, or no more than chance explains: when nothing has changed, the
chance that any column raises an alarm is {percent(limits.p_value)} at most.
{_verdict(Verdict.INSUFFICIENT_DATA)}: fewer than {limits.min_rows:,} rows say nothing.</p>
<p>A column that has moved does not mean that the model is wrong; it means that the model now works on rows
it has seen less of. The limits are in <code>policy.yaml</code>.</p>
{absent}
</div>"""


def _verdict(verdict: Verdict) -> str:
    return (
        f'<span class="verdict {_tone(verdict)}"><span aria-hidden="true">{SYMBOLS[verdict]}</span> '
        f"{verdict.value}</span>"
    )


def _tone(verdict: Verdict) -> str:
    return verdict.value.split()[0]


def _html(text: str) -> str:
    """Escape a text, and keep each number with its percent sign."""
    return escape(text).replace(" %", "&nbsp;%")
