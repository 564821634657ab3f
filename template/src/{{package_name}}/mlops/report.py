"""A monitor's report as one HTML page: no scripts, nothing to fetch, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path

from .concept import State
from .drift import Bin, Finding, Verdict, percent
from .monitor import Report, age_line, basis, deleted, heading, refusal_line, shown_mean, shown_size

CONCEPT_VERDICTS = {State.OK: Verdict.OK, State.MOVED: Verdict.ACT, State.UNKNOWN: Verdict.INSUFFICIENT_DATA}
SYMBOLS = {Verdict.ACT: "▲", Verdict.WATCH: "◆", Verdict.INSUFFICIENT_DATA: "○", Verdict.OK: "●"}
MOST_BARS = 14


def write(report: Report, root: Path) -> Path:
    """Write the page into the project."""
    target = root / report.page
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(report), encoding="utf-8", newline="\n")
    return target


def document(title: str, body: str) -> str:
    """Return an HTML page that holds its own style; title and body are HTML already."""
    css = Path(__file__).with_name("report.css").read_text("utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{css}</style>
</head>
<body>
{body}</body>
</html>
"""


def page(report: Report) -> str:
    """Return the page; equal reports give equal pages."""
    cards = "\n".join(_card(finding) for finding in report.findings)
    return document(
        escape(f"{report.verdict.value}: {report.model} in {report.environment}"),
        f"""<p class="over">{escape(heading(report))}</p>
<div class="answer {tone(report.verdict)}">
{verdict_mark(report.verdict)}
<h1>{escape(report.summary)}.</h1>
<p>Next: {escape(report.next_step)}.</p>
</div>
<p class="over">{escape(basis(report))}. Digest {escape(report.digest.removeprefix("sha256:")[:12])}.</p>
{_age(report)}{_quality(report)}{_skew(report)}{_link(report)}
{_refused(report)}{_concept(report)}
<h2>Every column, the worst first</h2>
<table>
<tr><th>Column</th><th>Moved by</th><th>Limit</th><th>Verdict</th></tr>
{"".join(_row(finding) for finding in report.findings)}
</table>
<h2>Before and now <span class="legend"><i class="before"></i> reference <i class="now"></i> now</span></h2>
<div class="cards">
{cards}
</div>
{_reading(report)}
""",
    )


def _age(report: Report) -> str:
    return f'<p class="over">{escape(line.capitalize())}.</p>\n' if (line := age_line(report)) else ""


def _link(report: Report) -> str:
    if not report.windows:
        return ""
    name = Path(report.history).name
    return f'<p class="over"><a href="{escape(name)}">All {len(report.windows)} windows</a></p>\n'


def _quality(report: Report) -> str:
    if report.quality is None:
        return ""
    return f'<p class="over">Quality {report.quality.state.value}: {escape(report.quality.sentence)}.</p>'


def _skew(report: Report) -> str:
    told = [f"Skew {report.skew.state.value}: {report.skew.sentence}"] if report.skew else []
    return "".join(f'\n<p class="over">{escape(line)}.</p>' for line in [*told, *deleted(report)])


def _refused(report: Report) -> str:
    lines = "".join(f"<li>{escape(refusal_line(one))}</li>\n" for one in report.refused)
    return f"<h2>What the contract refused</h2>\n<ul>\n{lines}</ul>" if lines else ""


def _concept(report: Report) -> str:
    concept = report.concept
    if concept is None:
        return ""
    verdict = CONCEPT_VERDICTS[concept.state]
    chart = _chart("what was expected and what happened, by score", concept.bands, partial(shown_mean, report))
    return f"""<h2>Expected and happened <span class="legend"><i class="before"></i> expected <i class="now"></i>
happened</span></h2>
<section class="{tone(verdict)}">
<h3>{"By score" if chart else "Unknown"} {verdict_mark(verdict)}</h3>
<p>{escape(concept.sentence)}.</p>
{chart}
</section>"""


def _row(finding: Finding) -> str:
    return (
        f"<tr><th>{escape(finding.name)}</th><td>{shown_size(finding)}</td>"
        f"<td>{finding.limit:.2f}</td><td>{verdict_mark(finding.verdict)}</td></tr>\n"
    )


def _card(finding: Finding) -> str:
    return f"""<section class="{tone(finding.verdict)}">
<h3>{escape(finding.name)} {verdict_mark(finding.verdict)}</h3>
<p>{escape(finding.sentence)}.</p>
{_chart(f"{finding.name}, share of rows", finding.bins, percent)}
</section>"""


def _chart(name: str, bins: Sequence[Bin], shown: Callable[[float], str]) -> str:
    """Draw a pair of bars for each bin; of many bins those that moved most, in their order."""
    largest = sorted(bins, key=lambda group: -abs(group.now - group.reference))[:MOST_BARS]
    drawn = [group for group in bins if group in largest]
    if not drawn:
        return ""
    top = max(max(group.reference, group.now) for group in drawn)
    told = "; ".join(f"{group.label} {shown(group.reference)}, now {shown(group.now)}" for group in drawn)
    hidden = len(bins) - len(drawn)
    rest = f"<p>and {hidden} more that moved less</p>\n" if hidden else ""
    return (
        f'<div class="chart" role="img" aria-label="{escape(f"{name}: {told}")}">\n'
        f"{''.join(_bars(group, top, shown) for group in drawn)}</div>\n{rest}"
    )


def _bars(group: Bin, top: float, shown: Callable[[float], str]) -> str:
    # Where means are negative there is no bar, and the figures tell.
    before, now = (f"width:{max(0, 100 * mean / (top or 1)):.1f}%" for mean in (group.reference, group.now))
    return (
        f'<span>{escape(group.label)}</span><div><i class="before" style="{before}"></i>'
        f'<i class="now" style="{now}"></i></div><span>{shown(group.reference)} → {shown(group.now)}</span>\n'
    )


def _reading(report: Report) -> str:
    limits = report.limits
    left_out = "; ".join(f"{name}, {reason}" for name, reason in report.left_out.items())
    absent = f" Not compared: {left_out}." if left_out else ""
    return f"""<h2>How to read this</h2>
<p class="over">Each column of the requests, and what the model answered, is compared with the rows the model was
trained on. <b>Moved by</b> is the population stability index: 0 means the same shape, {limits.watch:g} is worth a
look, {limits.act:g} is worth doing something. When nothing has changed, the chance that any column raises an alarm is
at most {percent(limits.p_value)}. Fewer than {limits.min_rows:,} rows say nothing. The limits are in
<code>policy.yaml</code>. A column that has moved does not mean that the model is wrong; it means that the model now
works on rows it has seen less of.{escape(absent)}</p>"""


def verdict_mark(verdict: Verdict) -> str:
    """A verdict as HTML, told by colour, sign and word."""
    return f'<b class="verdict {tone(verdict)}"><span aria-hidden="true">{SYMBOLS[verdict]}</span> {verdict.value}</b>'


def tone(verdict: Verdict) -> str:
    """The class that gives a verdict its colour."""
    return verdict.value.split()[0]
