"""How often the monitor and the trial rule are right: alarms, delays and decisions in simulated worlds, as Markdown.

    .venv/bin/python benchmarks/truth.py [--part columns|quality|delays|trials] [--trials 400] [--peers 20]

Every row is a world of which the truth is known. It is simulated `--trials` times from seeds that are stated, and
judged by the functions that `mlops monitor` and `mlops decide` call, with the policy of a new project. `--peers` shows
the first so many of the same windows to Evidently's and NannyML's presets, in environments that are thrown away.

Ends with 1 where a bar is broken; a bar is broken when the share that was seen is beyond it.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from scipy.stats import beta

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "template" / "vendor" / "slipway" / "src")]
# The platform asks for a team's package by its entry point, and the example's is as good as any.
sys.path.append(str(ROOT / "tests" / "platform" / "teams" / "binary"))

PARTS = ("columns", "quality", "delays", "trials")
#: Of intervals, Clopper and Pearson (1934).
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Bar:
    """What a share has to keep: at most `most`, or at least `least`."""

    least: float = 0.0
    most: float = 1.0

    def __str__(self) -> str:
        """In words, for the table."""
        return f"at most {self.most:.1%}" if self.most < 1 else f"at least {self.least:.1%}"


@dataclass(frozen=True)
class Cell:
    """One world: what was counted in it, how often of how many times, and what others said of the same windows."""

    world: str
    counted: str
    hits: int
    trials: int
    bar: Bar | None = None
    #: By the peer's name: how often, of how many.
    peers: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Such as the median delay.
    remark: str = ""

    @property
    def share(self) -> float:
        """How often of how many times."""
        return self.hits / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """The exact interval of the share."""
        tail = (1 - CONFIDENCE) / 2
        low = beta.ppf(tail, self.hits, self.trials - self.hits + 1) if self.hits else 0.0
        high = beta.ppf(1 - tail, self.hits + 1, self.trials - self.hits) if self.hits < self.trials else 1.0
        return float(low), float(high)

    @property
    def broken(self) -> bool:
        """Whether the share is beyond the bar."""
        return self.bar is not None and not self.bar.least <= self.share <= self.bar.most


def row(cell: Cell, peers: Iterable[str]) -> str:
    """A row of the table."""
    low, high = cell.interval
    verdict = "" if cell.bar is None else "**broken**" if cell.broken else "kept"
    others = ["{} of {}".format(*cell.peers[name]) if name in cell.peers else "" for name in peers]
    seen = f"{cell.share:.1%} ({low:.1%} to {high:.1%}) of {cell.trials}"
    return f"| {' | '.join([cell.world, cell.counted, seen, str(cell.bar or ''), verdict, *others, cell.remark])} |"


def main() -> int:
    """Simulate each part and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="this one alone; may be given again")
    parser.add_argument("--trials", type=int, default=400, help="of each world")
    parser.add_argument("--peers", type=int, default=0, metavar="WINDOWS", help="shown to Evidently and NannyML, too")
    given = parser.parse_args()
    broken = []
    for part in given.part or PARTS:
        begin = time.perf_counter()
        cells: list[Cell] = list(importlib.import_module(f"simulations.{part}").cells(given.trials, peers=given.peers))
        peers = sorted({name for cell in cells for name in cell.peers})
        head = ["world", "counted", "share", "bar", "", *peers, ""]
        print(f"## {part.capitalize()}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
        print(*(row(cell, peers) for cell in cells), sep="\n")
        print(f"\nSimulated in {time.perf_counter() - begin:.0f} s.\n", flush=True)
        broken += [cell for cell in cells if cell.broken]
    for cell in broken:
        print(f"broken: {cell.world}: {cell.counted} {cell.share:.1%}, {cell.bar}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.modules.setdefault("truth", sys.modules["__main__"])
    sys.exit(main())
