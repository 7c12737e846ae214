"""The report's plot: the error of each module's output in the order of execution, on a logarithmic scale."""

from __future__ import annotations

import html
import math

from parity.explain.session import Comparison

# Colours that can be read on white and on black.
COLOURS = {"text_encoder": "#8b6ff7", "transformer": "#2f8de4", "vae_decode": "#d9691f", "vae_encode": "#3fa34d"}
OTHER = "#8a8a99"
WIDTH, HEIGHT, LEFT, BOTTOM = 960, 300, 60, 30


def plot(found: Comparison) -> str:
    """The plot as HTML; empty if nothing was measured."""
    points = _points(found)
    if not points:
        return ""
    logs = [math.log10(max(value, 1e-9)) for _, _, value in points]
    low, high = math.floor(min(logs)), max(math.ceil(max(logs)), math.floor(min(logs)) + 1)
    scale = (HEIGHT - BOTTOM - 10) / (high - low)
    across = (WIDTH - LEFT - 10) / max(len(points) - 1, 1)
    heights = [10 + (high - log) * scale for log in logs]
    body = [
        *_grid(low, high, scale),
        *(_dot(n, across, heights[n], point) for n, point in enumerate(points)),
        *_legend(),
    ]
    drawn = (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='relative error of each module'>{''.join(body)}</svg>"
    )
    return f"<h2>Error against depth</h2><div class=wide>{drawn}</div>"


def _points(found: Comparison) -> list[tuple[str, str, float]]:
    points = [(call.path, call.stage, call.output.relative) for call in found.judge.calls if call.output]
    if not points:
        points = [(item.name, item.name.split("/")[0], item.distance.relative) for item in found.judge.trace.seen]
    return [(name, stage, value) for name, stage, value in points if math.isfinite(value)]


def _grid(low: int, high: int, scale: float) -> list[str]:
    heights = {exponent: 10 + (high - exponent) * scale for exponent in range(low, high + 1)}
    return [
        f"<line x1={LEFT} x2={WIDTH} y1={y:.1f} y2={y:.1f} /><text x=4 y={y + 4:.1f} font-size=12>1e{exponent}</text>"
        for exponent, y in heights.items()
    ]


def _dot(n: int, across: float, y: float, point: tuple[str, str, float]) -> str:
    name, stage, value = point
    colour = COLOURS.get(stage.split(".")[0], OTHER)
    return (
        f"<circle cx={LEFT + n * across:.1f} cy={y:.1f} r=2.5 fill='{colour}'>"
        f"<title>{html.escape(name)} {value:.2e}</title></circle>"
    )


def _legend() -> list[str]:
    return [
        f"<text x={LEFT + 150 * n} y={HEIGHT - 6} font-size=12 style='fill: {colour}'>{name}</text>"
        for n, (name, colour) in enumerate(COLOURS.items())
    ]
