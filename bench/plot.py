"""The result as a picture: bars for the rows that say most, as SVG written by hand."""

from __future__ import annotations

from html import escape

from bench.figures import Rounds, middle, shown, values

PANELS = {  # row: metric, title
    "kill": ("finished", "All workers killed: finished of 20 jobs"),
    "throughput": ("jobs/s", "Jobs that do nothing, a second"),
    "start": ("p50 ms", "From call to first line, ms (median)"),
    "enqueue": ("p50 ms", "A call, ms (median)"),
}
WIDTH, LEFT, RIGHT, BAR, GAP, HEAD = 720, 150, 110, 16, 7, 40
TEXT, PALE, OWN, OTHER = "#1f2933", "#8a94a0", "#0f766e", "#b8c2cc"
STYLE = f'font-family="system-ui, sans-serif" font-size="13" fill="{TEXT}"'


def drawn(results: dict[str, dict[str, Rounds]]) -> str:
    """Return a picture of those rows that were measured; a thin line on a bar spans least and most."""
    parts: list[str] = []
    top = 12
    for row, (metric, title) in PANELS.items():
        bars = {name: rounds for name, rounds in results.get(row, {}).items() if values(rounds, metric)}
        if bars:
            parts += _panel(title, metric, bars, top)
            top += HEAD + len(bars) * (BAR + GAP) + 10
    frame = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" {STYLE}>'
    )
    ground = f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join([frame, "<title>bgapp and its peers</title>", ground, *parts, "</svg>"]) + "\n"


def _panel(title: str, metric: str, bars: dict[str, Rounds], top: int) -> list[str]:
    most = max(max(values(rounds, metric)) for rounds in bars.values())
    scale = (WIDTH - LEFT - RIGHT) / most
    parts = [f'<text x="12" y="{top + 18}" font-weight="600">{escape(title)}</text>']
    ordered = sorted(bars.items(), key=lambda bar: middle(bar[1], metric) or 0.0, reverse=True)
    for place, (name, rounds) in enumerate(ordered):
        found = values(rounds, metric)
        value = middle(rounds, metric) or 0.0
        y = top + HEAD + place * (BAR + GAP)
        length = max(1.0, value * scale)
        color = OWN if name.startswith("bgapp") else OTHER
        end = LEFT + max(length, max(found) * scale)
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{color}"/>',
            f'<text x="{end + 6:.1f}" y="{y + 12}">{shown(value)}</text>',
        ]
        if len(found) > 1:
            spread = f'x1="{LEFT + min(found) * scale:.1f}" x2="{LEFT + max(found) * scale:.1f}"'
            parts.append(f'<line {spread} y1="{y + BAR / 2}" y2="{y + BAR / 2}" stroke="{PALE}" stroke-width="2"/>')
    return parts
