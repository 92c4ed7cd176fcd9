"""Charts as SVG: pairs of points on a logarithmic axis, one pair a line.

Drawn by hand: plotting libraries write no style that follows the reader's light or dark theme, and
their output changes with their version. The same figures always give the same bytes.
"""

import html
import math

WIDTH = 760
# Where the axis begins and ends; the ratio stands right of it.
LEFT, RIGHT = 200, 660
LINE = 20
HEAD, FOOT = 62, 30

STYLE = """\
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#1f2328}
.title{font-weight:600;font-size:15px}.group{font-weight:600}.faint{fill:#59636e}
.back{fill:#fff}.grid{stroke:#d1d9e0}.pair{stroke:#8c959f;stroke-width:2}
.ours{fill:#0969da}.theirs{fill:#fff;stroke:#bc4c00;stroke-width:2.5}
@media (prefers-color-scheme:dark){
text{fill:#f0f6fc}.faint{fill:#9198a1}
.back{fill:#0d1117}.grid{stroke:#3d444d}.pair{stroke:#656c76}
.ours{fill:#58a6ff}.theirs{fill:#0d1117;stroke:#f0883e}}"""


def pairs(title, names, columns, groups):
    """The chart. `names` are those of the filled and of the hollow points, `columns` says what stands
    left and right; `groups` are pairs of a heading and its lines, each a name, two values above 0 and
    what stands at its end."""
    lines = [line for _, group in groups for line in group]
    values = [value for _, *two, _ in lines for value in two]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def place(value):
        return LEFT + (math.log10(value) - low) / (high - low) * (RIGHT - LEFT)

    height = HEAD + LINE * (len(lines) + len(groups)) + FOOT
    bottom = height - FOOT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="6"/>',
        text(16, 24, title, "title"),
        dot(22, 42, "ours"), text(32, 46, names[0]), dot(102, 42, "theirs"), text(112, 46, names[1]),
    ]
    for power in range(low, high + 1):
        x = place(10**power)
        out.append(f'<path class="grid" d="M{x:.1f} {HEAD - 8}V{bottom}"/>')
        out.append(text(x, bottom + 16, short(power), "faint", "middle"))
    out.append(text(16, bottom + 16, columns[0], "faint"))
    out.append(text(WIDTH - 16, bottom + 16, columns[1], "faint", "end"))
    y = HEAD
    for heading, group in groups:
        out.append(text(16, y + 14, heading, "group"))
        y += LINE
        for name, ours, theirs, note in group:
            ends = [place(ours), place(theirs)]
            out.append(text(LEFT - 14, y + 14, name, anchor="end"))
            out.append(f'<path class="pair" d="M{ends[0]:.1f} {y + 10}H{ends[1]:.1f}"/>')
            out += [dot(ends[1], y + 10, "theirs"), dot(ends[0], y + 10, "ours")]
            out.append(text(WIDTH - 16, y + 14, note, anchor="end"))
            y += LINE
    return "\n".join([*out, "</svg>", ""])


def text(x, y, words, kind="", anchor=""):
    kind = f' class="{kind}"' if kind else ""
    anchor = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:g}" y="{y}"{kind}{anchor}>{html.escape(words)}</text>'


def dot(x, y, kind):
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y}" r="5"/>'


def short(power):
    """A power of ten as people write it: 0.1, 10, 1 k, 1 M."""
    if power < 3:
        return f"{10.0**power:g}"
    return f"{10 ** (power % 3)} {' kMG'[power // 3]}"
