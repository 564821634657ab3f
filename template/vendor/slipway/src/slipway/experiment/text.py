"""A comparison of two versions, written for a terminal."""

from __future__ import annotations

from slipway.base.numbers import shown
from slipway.experiment.trial import Arm, LiveComparison, Slice


def comparison_text(compared: LiveComparison) -> str:
    """Write a comparison for a terminal: the answer last."""
    verdict, rule = compared.verdict, compared.rule
    begun = f"{compared.environment}, {compared.mode} since {compared.since:%Y-%m-%d %H:%M}"
    gained = "not known" if compared.gain is None else f"{compared.gain:+.4f}"
    bounds = "" if compared.low is None else f", between {compared.low:+.4f} and {compared.high:+.4f} at all looks"
    blocks = [
        [f"{begun}, commit {compared.began_with[:12]}, known at {compared.until:%Y-%m-%d %H:%M}"],
        [f"{'':24}  predictions      due  labelled  {rule.metric:>9}", *map(_arm_line, compared.arms)],
        [f"gain {gained}{bounds}; from {rule.smallest_gain:g} on it matters"],
        _slice_lines(compared.slices),
        [*_speed_lines(compared), *compared.remarks],
        [f"{verdict.decision.value}: {verdict.reason}", f"next: {compared.next_step}"],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def _speed_lines(compared: LiveComparison) -> list[str]:
    if compared.speeds is None:
        return ["times and failures are not known: they are those of a running server, now"]
    lines = [f"{'since the server started':24}  answered  half within  99 % within  failed"]
    for arm, speed in zip(compared.arms, compared.speeds, strict=True):
        half, nearly_all = (f"{time * 1000:.2f} ms" if time is not None else "-" for time in (speed.p50, speed.p99))
        name = f"{arm.role} v{arm.version}"
        lines.append(f"{name:24}  {speed.answered:8,}  {half:>11}  {nearly_all:>11}  {speed.failed:6,}")
    return lines


def _arm_line(arm: Arm) -> str:
    share = f" ({arm.labelled / arm.due:.0%})" if arm.due else ""
    figure = "-"
    if arm.value is not None and arm.low is not None and arm.high is not None:
        figure = f"{shown(arm.value)}, {shown(arm.low)} to {shown(arm.high)} at one look"
    name = f"{arm.role} v{arm.version}"
    return f"{name:24}  {arm.predictions:11,}  {arm.due:7,}  {arm.labelled:8,}{share}  {figure}"


def _slice_lines(slices: list[Slice]) -> list[str]:
    """The groups as they are; with many of them one looks bad by chance, so they decide nothing."""
    return [
        f"{f'{one.column} = {one.value}':24}  {_shown(one.champion)}  {_shown(one.challenger)}"
        f"  {one.rows[0]:,} and {one.rows[1]:,} rows"
        for one in slices
    ]


def _shown(figure: float | None) -> str:
    return f"{'-':>9}" if figure is None else f"{figure:9.4f}"
