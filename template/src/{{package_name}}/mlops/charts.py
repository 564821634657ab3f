"""Small charts as inline SVG: the reference in wide pale bars, now in narrow bars in front of them."""

from __future__ import annotations

from html import escape

from .findings import Bar, Finding
from .words import MISSING, percent

WIDTH = 340
HEIGHT = 150
LEFT = 40
TOP = 14
BOTTOM = 20
ROW = 24
LABEL_LETTERS = 15
LETTER = 6.2
LETTER_WIDE = 8.2
SHARES_WIDTH = 90


def chart(finding: Finding) -> str:
    """Draw the shares of rows before and now, by size for numbers and by name for categories."""
    if not finding.bars:
        return ""
    return _columns(finding) if finding.scale else _rows(finding)


def gauge(size: float, watch: float, act: float) -> str:
    """Draw how far a column moved on a scale with both limits; what is beyond twice the second is cut off."""
    most = 2 * act
    filled = 100 * min(size, most) / most
    ticks = "".join(
        f'<line class="tick" x1="{100 * limit / most:.2f}" x2="{100 * limit / most:.2f}" y1="0" y2="14" '
        'vector-effect="non-scaling-stroke"/>'
        for limit in (watch, act)
    )
    return (
        '<svg viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" y="4" width="100" height="6"/><rect class="bar" y="4" width="{filled:.2f}" height="6"/>'
        f"{ticks}</svg>"
    )


def legend() -> str:
    """Explain the two kinds of bars."""
    before = '<rect class="before" x="1" y="1" width="12" height="12"/>'
    now = '<rect class="now" x="4" y="1" width="6" height="13"/>'
    return "".join(
        f'<span class="legend"><svg viewBox="0 0 14 14" aria-hidden="true">{shape}</svg>{word}</span>'
        for shape, word in ((before, "reference"), (now, "now"))
    )


def _columns(finding: Finding) -> str:
    bars = finding.bars
    top = max(max(bar.reference, bar.now) for bar in bars) or 1.0
    # The missing stand apart: half a bar's distance from the numbers.
    gap = 0.6 if bars[-1].label == MISSING else 0.0
    step = (WIDTH - LEFT - 4) / (len(bars) + gap)
    height = HEIGHT - TOP - BOTTOM
    drawn = [_axis(top, height)]
    for position, bar in enumerate(bars):
        is_missing = bar.label == MISSING
        left = LEFT + step * (position + (gap if is_missing else 0))
        drawn.append(_column(bar, left, step, height / top))
        if is_missing:
            drawn.append(f'<text x="{WIDTH}" y="{HEIGHT - 5}" text-anchor="end">{MISSING}</text>')
    drawn += _ticks(finding.scale, step)
    return _svg(finding, HEIGHT, drawn)


def _column(bar: Bar, left: float, step: float, scale: float) -> str:
    bottom = HEIGHT - BOTTOM
    before, now = bar.reference * scale, bar.now * scale
    return (
        f"<g><title>{_told(bar)}</title>"
        f'<rect class="before" x="{left + 0.05 * step:.1f}" y="{bottom - before:.1f}" '
        f'width="{0.9 * step:.1f}" height="{before:.1f}"/>'
        f'<rect class="now" x="{left + 0.3 * step:.1f}" y="{bottom - now:.1f}" '
        f'width="{0.4 * step:.1f}" height="{now:.1f}"/></g>'
    )


def _axis(top: float, height: float) -> str:
    lines = (
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        for y in (TOP, TOP + height / 2, TOP + height)
    )
    texts = (
        f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{share}</text>'
        for y, share in ((TOP, percent(top)), (TOP + height / 2, percent(top / 2)), (TOP + height, "0"))
    )
    return "".join([*lines, *texts])


def _ticks(scale: list[float], step: float) -> list[str]:
    """Name the numbers between the bars, or every second, fifth or tenth; the ends are open and have none."""
    texts = {position: f"{scale[position]:,.6g}" for position in range(1, len(scale) - 1)}
    widest = max((LETTER * len(text) for text in texts.values()), default=0.0) + 8
    every = next((n for n in (1, 2, 5) if n * step >= widest), 10)
    unit = scale[1] - scale[0]
    return [
        f'<text x="{LEFT + step * position:.1f}" y="{HEIGHT - 5}" text-anchor="middle">{text}</text>'
        for position, text in texts.items()
        if round(scale[position] / unit) % every == 0
    ]


def _rows(finding: Finding) -> str:
    top = max(max(bar.reference, bar.now) for bar in finding.bars) or 1.0
    letters = min(LABEL_LETTERS, max(len(bar.label) for bar in finding.bars))
    left = LETTER_WIDE * letters + 8
    scale = (WIDTH - left - SHARES_WIDTH) / top
    drawn = [_row(bar, left, ROW * position, scale) for position, bar in enumerate(finding.bars)]
    return _svg(finding, ROW * len(finding.bars) + 4, drawn)


def _row(bar: Bar, left: float, top: float, scale: float) -> str:
    name = bar.label if len(bar.label) <= LABEL_LETTERS else bar.label[: LABEL_LETTERS - 1] + "…"
    return (
        f"<g><title>{_told(bar)}</title>"
        f'<text class="name" x="{left - 6:.1f}" y="{top + 16}" text-anchor="end">{escape(name)}</text>'
        f'<rect class="before" x="{left:.1f}" y="{top + 4}" width="{bar.reference * scale:.1f}" height="16"/>'
        f'<rect class="now" x="{left:.1f}" y="{top + 8.5}" width="{bar.now * scale:.1f}" height="7"/>'
        f'<text x="{WIDTH}" y="{top + 16}" text-anchor="end">{percent(bar.reference)} → {percent(bar.now)}</text></g>'
    )


def _svg(finding: Finding, height: int, drawn: list[str]) -> str:
    said = f"{finding.name}: share of rows in the reference and now. {finding.sentence}."
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(said)}">'
        f"{''.join(drawn)}</svg>"
    )


def _told(bar: Bar) -> str:
    return escape(f"{bar.label}: {percent(bar.reference)} in the reference, {percent(bar.now)} now")
