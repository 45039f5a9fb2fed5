"""One page that shows a run: replicas as lanes, nemeses as bars, acknowledged operations a second, leader changes, and the
spans in which no write was acknowledged.

The page stands alone: no script, no request to anywhere. It reads in light and in dark, and without colours: each state
has its own height or pattern, and a text on hover. Knows nothing of how the figures came about.
"""

from html import escape
from typing import Any, Final

from multipaxos.torture.chronicle import Chronicle, Strike
from multipaxos.torture.client import Counts

_LEFT: Final = 96.0
_WIDTH: Final = 1100.0
_CHART: Final = 120.0
_BAR: Final = 18.0
_LANE: Final = 26.0
_ROWS_MAX: Final = 6

_HEIGHTS: Final = {"leader": 20.0, "follower": 12.0, "waiting": 5.0, "paused": 12.0, "down": 2.0}

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2433; --soft: #5b6473; --line: #d5dae2; --ground: #ffffff; --area: #7aa7d9;
  --leader: #1f6f54; --follower: #78b79d; --waiting: #b9b2a0; --paused: #8a63b8; --down: #a3323a; --bar: #e0b04c;
  --unshown: #b9bfca; --gap: #a3323a33; --bad: #a3323a; --good: #1f6f54; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ef; --soft: #9aa5b5; --line: #39424f; --ground: #141920;
  --area: #4c7fb5; --leader: #58c79d; --follower: #2f6f58; --waiting: #6a6352; --paused: #a583d4; --down: #e0626b;
  --bar: #8f6a1d; --unshown: #4a5362; --gap: #e0626b33; --bad: #ff8d94; --good: #58c79d; } }
body { background: var(--ground); color: var(--ink); font: 14px/1.45 system-ui, sans-serif; margin: 24px auto;
  max-width: 1220px; padding: 0 16px; }
h1 { font-size: 20px; margin: 0 0 4px; } h2 { font-size: 15px; margin: 28px 0 6px; }
.bad { color: var(--bad); } .good { color: var(--good); }
.figures { display: flex; flex-wrap: wrap; gap: 4px 28px; margin: 10px 0 18px; padding: 0; list-style: none; }
.figures b { font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .name { fill: var(--ink); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: 3px 12px 3px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; } th { color: var(--soft); font-weight: 500; }
"""


class _Scale:
    """Seconds to pixels."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(seconds, 1.0)

    def x(self, at_s: float) -> float:
        return _LEFT + _WIDTH * min(max(at_s, 0.0), self.seconds) / self.seconds

    def width(self, first_s: float, last_s: float) -> float:
        return max(self.x(last_s) - self.x(first_s), 1.0)


def page(chronicle: Chronicle, counts: Counts, verdict: dict[str, Any]) -> str:
    """The whole page."""
    is_good = verdict["verdict"] == "ok"
    title = f"torture of {verdict['replicas']} replicas, seed {verdict['seed']}"
    figures = [
        ("acknowledged", f"{verdict['acknowledged']:,}"),
        ("a second", f"{verdict['per_second']:,.0f}"),
        ("unknown", f"{100 * verdict['unknown_share']:.1f} %"),
        ("lost", f"{verdict['lost']}"),
        ("violations", f"{len(verdict['violations'])}"),
        ("longest without a write", f"{verdict['longest_gap_s']:.1f} s"),
        ("leader changes", f"{verdict['leader_changes']}"),
        ("seconds", f"{verdict['seconds']:.0f}"),
    ]
    items = "".join(f"<li>{escape(name)} <b>{escape(value)}</b></li>" for name, value in figures)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f'<h1>{escape(title)}: <span class="{"good" if is_good else "bad"}">{escape(verdict["verdict"])}</span></h1>',
        f'<ul class="figures">{items}</ul>',
        _picture(chronicle, counts),
        _wrong(verdict),
        _strikes(chronicle.strikes),
        _skipped(verdict),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _picture(chronicle: Chronicle, counts: Counts) -> str:
    scale = _Scale(chronicle.ended_s)
    rows = _rows(chronicle.strikes, scale)
    bars_at = _CHART + 30
    lanes_at = bars_at + (max(rows, default=0) + 1) * (_BAR + 3) + 14
    height = lanes_at + len(chronicle.lanes) * _LANE + 30
    svg = [f'<svg viewBox="0 0 {_LEFT + _WIDTH + 12:.0f} {height:.0f}" role="img" aria-label="the run over time">']
    for first, last in counts.gaps:
        svg.append(
            f'<rect x="{scale.x(first):.1f}" y="10" width="{scale.width(first, last):.1f}" height="{height - 40:.0f}" '
            f'fill="var(--gap)"><title>no write acknowledged from {first:.1f} s to {last:.1f} s</title></rect>'
        )
    svg += _chart(counts.per_second, scale)
    for strike, row in zip(chronicle.strikes, rows, strict=True):
        svg.append(_bar(strike, scale, bars_at + row * (_BAR + 3)))
    for index, (replica, lane) in enumerate(sorted(chronicle.lanes.items())):
        svg += _lane(replica, lane, scale, lanes_at + index * _LANE)
    order = sorted(chronicle.lanes)
    for at, replica, ballot in chronicle.leaders:
        y = lanes_at + order.index(replica) * _LANE
        svg.append(
            f'<path d="M{scale.x(at):.1f} {y - 2:.0f} v{_LANE:.0f}" stroke="var(--ink)" stroke-width="1.5">'
            f"<title>replica {replica} leads from {at:.1f} s on, at ballot {escape(ballot)}</title></path>"
        )
    svg += _axis(scale, height - 18)
    svg.append(f'<text x="0" y="{bars_at + 12:.0f}">nemeses</text></svg>')
    legend = (
        "Lanes: tall and dark leads, medium follows, low runs and serves nobody, violet is stopped by a signal, a line is "
        "down. A tick marks a new leadership. Red bands: no write was acknowledged for half a second or more. Pale bars: "
        "no effect shown."
    )
    return f'<div class="scroll">{"".join(svg)}</div><p style="color:var(--soft)">{legend}</p>'


def _chart(per_second: list[int], scale: _Scale) -> list[str]:
    highest = max(per_second, default=0) or 1
    points = [f"{scale.x(0):.1f},{_CHART + 10:.1f}"]
    for second, count in enumerate(per_second):
        y = 10 + _CHART * (1 - count / highest)
        points += [f"{scale.x(second):.1f},{y:.1f}", f"{scale.x(second + 1):.1f},{y:.1f}"]
    points.append(f"{scale.x(len(per_second)):.1f},{_CHART + 10:.1f}")
    return [
        f'<polygon points="{" ".join(points)}" fill="var(--area)"/>',
        f'<text x="0" y="20">{highest:,} op/s</text><text x="0" y="{_CHART + 10:.0f}">0</text>',
    ]


def _rows(strikes: list[Strike], scale: _Scale) -> list[int]:
    """In which row each bar stands, so that labels do not cover each other."""
    ends = [0.0] * _ROWS_MAX
    rows: list[int] = []
    for strike in strikes:
        first = scale.x(strike.begun_s)
        row = next((index for index, end in enumerate(ends) if end <= first), len(rows) % _ROWS_MAX)
        label = 7.0 * len(f"{strike.nemesis} {strike.variant}") + 8
        ends[row] = max(first + scale.width(strike.begun_s, strike.ended_s), first + label)
        rows.append(row)
    return rows


def _bar(strike: Strike, scale: _Scale, y: float) -> str:
    x, width = scale.x(strike.begun_s), scale.width(strike.begun_s, strike.ended_s)
    fill = "var(--bar)" if strike.struck.is_shown else "var(--unshown)"
    text = f"{strike.nemesis} {strike.variant}"
    told = f"{text}, {strike.begun_s:.1f} s to {strike.ended_s:.1f} s: {_effects(strike)}"
    return (
        f'<g><title>{escape(told)}</title><rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BAR}" rx="2" '
        f'fill="{fill}"/><text class="name" x="{x + 3:.1f}" y="{y + 13:.1f}">{escape(text)}</text></g>'
    )


def _lane(replica: int, lane: list[tuple[float, str]], scale: _Scale, y: float) -> list[str]:
    svg = [f'<text class="name" x="0" y="{y + 15:.0f}">replica {replica}</text>']
    ends = [at for at, _ in lane[1:]] + [scale.seconds]
    for (at, state), end in zip(lane, ends, strict=True):
        tall = _HEIGHTS[state]
        svg.append(
            f'<rect x="{scale.x(at):.1f}" y="{y + 10 - tall / 2:.1f}" width="{scale.width(at, end):.1f}" '
            f'height="{tall}" fill="var(--{state})"><title>replica {replica} {state}, {at:.1f} s to {end:.1f} s</title>'
            "</rect>"
        )
    return svg


def _axis(scale: _Scale, y: float) -> list[str]:
    step = next(step for step in (5, 10, 30, 60, 300, 600, 3600, 10**9) if scale.seconds / step <= 24)
    svg = []
    for at in range(0, int(scale.seconds) + 1, step):
        svg.append(
            f'<path d="M{scale.x(at):.1f} 10 V{y - 2:.0f}" stroke="var(--line)" stroke-width="0.5"/>'
            f'<text x="{scale.x(at):.1f}" y="{y + 10:.0f}" text-anchor="middle">{at} s</text>'
        )
    return svg


def _effects(strike: Strike) -> str:
    struck = strike.struck
    told = ", ".join(f"{name}: {value}" for name, value in struck.effects.items()) or "nothing seen"
    return told if struck.is_shown else f"no effect shown ({told})"


def _strikes(strikes: list[Strike]) -> str:
    rows = []
    for strike in strikes:
        whom = ", ".join(str(one) for one in strike.struck.replicas) or "all links"
        back = f"{strike.recovered_s - strike.ended_s:.1f} s" if strike.recovered_s else "never"
        cells = [
            f'<td class="number">{strike.begun_s:.1f} s</td><td>{escape(strike.nemesis)} {escape(strike.variant)}</td>',
            f'<td>{escape(whom)}</td><td class="number">{strike.ended_s - strike.begun_s:.1f} s</td>',
            f'<td class="number">{back}</td><td>{escape(_effects(strike))}</td>',
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "<tr><th>at</th><th>nemesis</th><th>replicas</th><th>lasted</th><th>well again after</th><th>seen</th></tr>"
    return f'<h2>Strikes</h2><div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _wrong(verdict: dict[str, Any]) -> str:
    wrong = [*verdict["violations"], *verdict["reasons"]]
    if not wrong:
        return ""
    return f'<h2 class="bad">What is wrong</h2><ul>{"".join(f"<li>{escape(text)}</li>" for text in wrong)}</ul>'


def _skipped(verdict: dict[str, Any]) -> str:
    lines = [
        f"<li>{escape(name)}: {escape(found['skipped'])}</li>"
        for name, found in verdict["nemeses"].items()
        if found["skipped"]
    ]
    return f"<h2>Skipped</h2><ul>{''.join(lines)}</ul>" if lines else ""
