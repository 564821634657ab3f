"""Fill the HTML templates in `templates/`: everything that is put in is escaped."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path

import jinja2

from slipway.monitoring.drift import Verdict
from slipway.training.confusion import as_share

SYMBOLS = {Verdict.ACT: "▲", Verdict.WATCH: "◆", Verdict.INSUFFICIENT_DATA: "○", Verdict.OK: "●"}


def render(template: str, **facts: object) -> str:
    """Return a page; equal facts give equal pages. A name that a template misses is an error."""
    return _environment().get_template(f"{template}.html.j2").render(facts)


def write(page: str, target: Path) -> Path:
    """Write a page, and make its folder where there is none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8", newline="\n")
    return target


@cache
def _environment() -> jinja2.Environment:
    here = Path(__file__).parent
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([here / "templates", here]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "tone": _tone,
        "symbol": SYMBOLS.__getitem__,
        "date": _date,
        "count": "{:,}".format,
        "share": as_share,
    }
    return made


def _tone(verdict: Verdict) -> str:
    """The class that gives a verdict its colour."""
    return verdict.value.split()[0]


def _date(moment: datetime) -> str:
    return f"{moment:%d %b %Y}"
