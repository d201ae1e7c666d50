"""Line plots as SVG, and a page of them that asks nobody for anything."""

import html
import math

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 84, 190, 30, 52
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a")
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:72em;color:#1f2328;background:#fff}
table{border-collapse:collapse;margin:1em 0}th,td{border:1px solid #d1d9e0;padding:.25em .7em;text-align:right}
th:first-child,td:first-child{text-align:left}svg text{font:12px system-ui,sans-serif;fill:#1f2328}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}svg text{fill:#e6edf3}th,td{border-color:#3d444d}}"""


def _short(value):
    """An axis label."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


def _decades(low, high):
    """Powers of ten around a range; a range within one decade gets two."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return list(range(first, max(last, first + 1) + 1))


def lines(title, x_label, y_label, series):
    """A plot with both axes logarithmic. `series`: name to [(x, y)]; what is not above zero is left out."""
    series = {name: [(x, y) for x, y in points if x > 0 and y > 0] for name, points in series.items()}
    points = [point for of in series.values() for point in of]
    if not points:
        return ""
    across = _decades(min(x for x, _ in points), max(x for x, _ in points))
    up = _decades(min(y for _, y in points), max(y for _, y in points))
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x, y):
        return (
            LEFT + inner_width * (math.log10(x) - across[0]) / (across[-1] - across[0]),
            TOP + inner_height * (1 - (math.log10(y) - up[0]) / (up[-1] - up[0])),
        )

    out = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        f'<text x="{LEFT}" y="18" font-weight="bold">{html.escape(title)}</text>',
    ]
    for power in across:
        x, _ = place(10.0**power, 10.0 ** up[0])
        out.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#8884" />'
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_short(10.0 ** power)}</text>'
        )
    for power in up:
        _, y = place(10.0 ** across[0], 10.0**power)
        out.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884" />'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_short(10.0 ** power)}</text>'
        )
    out.append(
        f'<text x="{LEFT + inner_width / 2}" y="{HEIGHT - 12}" text-anchor="middle">{html.escape(x_label)}</text>'
        f'<text transform="translate(16 {TOP + inner_height / 2}) rotate(-90)" text-anchor="middle">{html.escape(y_label)}</text>'
    )
    for number, (name, of) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        placed = [place(x, y) for x, y in of]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" />')
        out += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{html.escape(name)}: {of[at][0]:g}, {of[at][1]:g}</title></circle>'
            for at, (x, y) in enumerate(placed)
        ]
        y = TOP + 14 + 18 * number
        out.append(
            f'<rect x="{WIDTH - RIGHT + 12}" y="{y - 9}" width="10" height="10" fill="{colour}" />'
            f'<text x="{WIDTH - RIGHT + 28}" y="{y}">{html.escape(name)}</text>'
        )
    return "\n".join([*out, "</svg>"])


def table(header, rows):
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def page(title, parts):
    """One file. `parts`: HTML."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style></head>'
        f"<body><h1>{html.escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def paragraph(text, tag="p"):
    return f"<{tag}>{html.escape(text)}</{tag}>"
