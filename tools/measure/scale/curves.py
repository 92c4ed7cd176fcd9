"""Lines over two logarithmic axes, as SVG that needs nothing else."""

import math

from chart import STYLE, text

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 40, 45
COLOURS = ["#0b6e4f", "#c1440e", "#3a5fcd", "#b8860b", "#7a3b8f"]


def svg(title, across, upward, series):
    """`series` are lists of points by name; all values are above 0."""
    points = [point for line in series.values() for point in line]
    x_axis = Axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    y_axis = Axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        text(16, 24, f"{title}: {upward}", "title"),
    ]
    for value in y_axis.ticks():
        y = y_axis.place(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" class="grid"/>')
        parts.append(text(LEFT - 6, round(y + 4), short(value), "faint", "end"))
    for value in x_axis.ticks():
        x = x_axis.place(value)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" class="grid"/>')
        parts.append(text(round(x), HEIGHT - BOTTOM + 16, short(value), "faint", "middle"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, across, "faint", "middle"))
    ends = []
    for (name, line), colour in zip(series.items(), COLOURS * len(series)):
        places = [(x_axis.place(x), y_axis.place(y)) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        ends.append((places[-1][1], name, colour))
    # Names that would lie on each other move down.
    lowest = -math.inf
    for y, name, colour in sorted(ends):
        lowest = max(y + 4, lowest + 13)
        parts.append(f'<circle cx="{WIDTH - RIGHT + 12}" cy="{lowest - 4:.1f}" r="4" fill="{colour}"/>')
        parts.append(text(WIDTH - RIGHT + 20, round(lowest), name))
    return "\n".join([*parts, "</svg>", ""])


class Axis:
    """Values by their logarithms, between two places on the sheet."""

    def __init__(self, values, start, end):
        self.low, self.high = math.log10(min(values)), math.log10(max(values))
        if self.high - self.low < 0.3:
            self.low, self.high = self.low - 0.3, self.high + 0.3
        self.start, self.end = start, end

    def place(self, value):
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self):
        steps = (1,) if self.high - self.low > 2 else (1, 2, 5)
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        values = [step * 10.0**power for power in powers for step in steps]
        return [value for value in values if self.low - 0.01 <= math.log10(value) <= self.high + 0.01]


def short(value):
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
