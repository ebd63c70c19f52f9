"""The figures as SVG: bars of wall time for each case and tool, CPU time in them.  Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from bench.cases import CASES, SELFINSTALL, TOOLS
from bench.records import Summary
from bench.table import is_hook, number

Summaries = Mapping[tuple[str, str], Summary]

WIDTH, LEFT, RIGHT = 860, 190, 70
ROW, BAR, GAP = 20, 13, 22
#: Colours that people with any colour vision tell apart (Okabe and Ito).
COLOURS = {
    "selfinstall": "#0072b2",
    "by-hand": "#e69f00",
    "by-hand-unsafe": "#f0e442",
    "vmdb2": "#009e73",
    "vmdb2-lean": "#8fd3bd",
    "guestfish": "#cc79a7",
}
STEP_COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#f0e442",
    "#7f7f7f",
    "#b2df8a",
    "#6a3d9a",
    "#a6761d",
    "#444444",
    "#bbbbbb",
)


def ticks(highest: float) -> list[float]:
    """Round numbers from 0 to at least *highest*, four to eight of them."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    return [step * i for i in range(math.ceil(highest / step - 1e-9) + 1)]


def svg(name: str, found: Summaries) -> str:
    """One picture: a group of bars for each case, and where selfinstall's time goes."""
    groups = [
        (case, bars)
        for case in CASES.values()
        if (bars := [found[case.name, t] for t in case.tools if (case.name, t) in found])
    ]
    scale = ticks(max((s.wall_max for _, bars in groups for s in bars), default=1.0))
    body: list[str] = []
    y = 74.0
    top = y - 8
    for case, bars in groups:
        body.append(_text(LEFT, y + 10, case.title, weight="bold", anchor="start"))
        y += ROW
        for summary in bars:
            body.append(_bar(summary, y, scale[-1]))
            y += ROW
        y += GAP - ROW / 2
    grid = _grid(scale, top, y - GAP / 2)
    steps, y = _steps(groups, y + 16)
    height = math.ceil(y + 10)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        + _text(14, 26, f"From tarball to image: {name}", anchor="start", size=16, weight="bold")
        + _text(
            14,
            46,
            "Wall seconds: median, lowest and highest run; the darker part is CPU time.",
            anchor="start",
        )
    )
    return head + grid + "".join(body) + steps + "</svg>\n"


def _x(value: float, highest: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * value / highest


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str,
    size: int = 12,
    weight: str = "normal",
    fill: str = "#222",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}" fill="{fill}">{escape(text)}</text>\n'
    )


def _rect(x: float, y: float, width: float, height: float, fill: str, title: str = "") -> str:
    inside = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" '
        f'fill="{fill}">{inside}</rect>\n'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="1"/>\n'
    )


def _grid(scale: Sequence[float], top: float, bottom: float) -> str:
    parts = []
    for value in scale:
        x = _x(value, scale[-1])
        parts.append(_line(x, top, x, bottom, "#ddd"))
        parts.append(_text(x, bottom + 14, f"{value:g} s", anchor="middle", fill="#666"))
    return "".join(parts)


def _bar(summary: Summary, y: float, highest: float) -> str:
    tool = TOOLS[summary.tool]
    colour = COLOURS[summary.tool]
    end = _x(summary.wall, highest)
    middle = y + BAR / 2
    low, high = _x(summary.wall_min, highest), _x(summary.wall_max, highest)
    busy = _x(min(summary.cpu, summary.wall), highest)
    return (
        _text(LEFT - 8, y + BAR - 3, tool.title, anchor="end")
        + _rect(LEFT, y, end - LEFT, BAR, colour, f"{tool.title}: {number(summary.wall)} s")
        + f'<g opacity="0.35">{_rect(LEFT, y, busy - LEFT, BAR, "#000")}</g>\n'
        + _line(low, middle, high, middle, "#000")
        + _line(low, middle - 3, low, middle + 3, "#000")
        + _line(high, middle - 3, high, middle + 3, "#000")
        + _text(high + 6, y + BAR - 3, number(summary.wall), anchor="start")
    )


def parts_of(summary: Summary) -> list[tuple[str, float]]:
    """A build's wall time in its parts: the guest's hooks, and all else as ``host and boot``."""
    hooks = [(n, v) for n, v in sorted(summary.guest.items()) if is_hook(n)]
    rest = summary.wall - sum(v for _, v in hooks)
    return [("host and boot", max(rest, 0.0)), *hooks]


def _steps(groups: Sequence[tuple[object, Sequence[Summary]]], y: float) -> tuple[str, float]:
    """Stacked bars of selfinstall's steps, and their legend; and where they end."""
    builds = [s for _, bars in groups for s in bars if s.tool == SELFINSTALL and s.guest]
    if not builds:
        return "", y
    names = list(dict.fromkeys(n for s in builds for n, v in parts_of(s)))
    colours = {n: STEP_COLOURS[i % len(STEP_COLOURS)] for i, n in enumerate(names)}
    scale = ticks(max(s.wall for s in builds))
    body = [
        _text(14, y + 14, "Where selfinstall's time goes", anchor="start", size=14, weight="bold")
    ]
    y += 30
    top = y - 6
    for summary in builds:
        body.append(_text(LEFT - 8, y + BAR - 3, CASES[summary.case].title, anchor="end"))
        at = 0.0
        for name, seconds in parts_of(summary):
            x = _x(at, scale[-1])
            at += seconds
            width = _x(at, scale[-1]) - x
            body.append(_rect(x, y, width, BAR, colours[name], f"{name}: {number(seconds)} s"))
        y += ROW
    grid = _grid(scale, top, y)
    y += 34
    for index, name in enumerate(names):
        x = 14 + index % 5 * 168
        body.append(_rect(x, y - 10, 11, 11, colours[name]))
        body.append(_text(x + 16, y, name, anchor="start"))
        if index % 5 == 4:
            y += ROW
    return grid + "".join(body), y + ROW
