"""Where a person reads what to do about a finding."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from slipway.monitoring.checks import Finding
from slipway.monitoring.drift import Verdict

#: The project's own page, and the platform's, which every project has.
RUNBOOK, PLATFORM = "docs/runbook.md", "vendor/slipway/docs/monitoring.md"
TOO_LITTLE = "insufficient"

#: The section of each page about what a check finds. A check of another distribution has one where its name is a
#: heading of the runbook.
SECTIONS = {
    "drift": ("ColumnsMoved", "How far is far"),
    TOO_LITTLE: ("TooLittleKnown", "How far is far"),
    "domain": ("RowsDiffer", "All columns together"),
    "age": ("ChampionOld", "When a model is too old"),
    "concept": ("OutcomesDiffer", "Does what was expected happen?"),
    "estimate": ("QualityDoubtful", "Quality before labels come"),
    "refused": ("RequestsRefused", "When the world changes"),
    "skew": ("ServerSkewed", "Does the server compute what training computed?"),
    "quality": ("QualityBroken", "When the champion itself gets worse"),
}


@dataclass(frozen=True)
class RunbookLink:
    """A section of a page, in words and as a path from where the reports are."""

    words: str
    href: str


def section(root: Path, finding: Finding) -> RunbookLink | None:
    """The section that a project's pages have about a finding; `None` where they have none, or it is that all is well.

    The runbook is the team's to change, and not in every project: without it, or without such a heading, the platform's
    page explains the finding.
    """
    if finding.verdict is Verdict.OK:
        return None
    check = TOO_LITTLE if finding.verdict is Verdict.INSUFFICIENT_DATA else finding.check
    own, platform = SECTIONS.get(check, (check, None))
    for page, heading in ((RUNBOOK, own), (PLATFORM, platform)):
        if heading and slug(heading) in _anchors(root / page):
            return RunbookLink(f"{page}, {heading}", f"../{page}#{slug(heading)}")
    return None


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and others make it.

    >>> slug("Does what was expected happen?")
    'does-what-was-expected-happen'
    """
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    if not page.is_file():
        return set()
    return {slug(one) for one in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)}
