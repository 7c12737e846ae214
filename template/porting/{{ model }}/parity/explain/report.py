"""artifacts/report.html: all that a comparison found on one page that needs no other file."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path

import numpy as np

from parity.explain.pictures import AMPLIFIED, difference, png, to_picture
from parity.explain.session import Comparison
from parity.run.forced_run import IMAGE

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1e }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap } .pass { color: #1a7f37 } .FAIL { color: #b42318 }
.quiet { color: #667 } .pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem }
figure { margin: 0 } img { width: 100%; image-rendering: pixelated } svg { width: 100%; height: auto }
"""
COLOURS = {"text_encoder": "#7a5af5", "transformer": "#0b6bcb", "vae_decode": "#c4540a", "vae_encode": "#2b8a3e"}
WIDTH, HEIGHT, LEFT, BOTTOM = 960, 300, 60, 30


def write_report(path: Path, title: str, found: Comparison, waivers) -> None:
    """Write the page for one comparison."""
    recording, limits = found.judge.recording, found.judge.limits
    facts = recording.facts
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    parts = [
        f"<h1>{_text(title)}: parity with {_text(facts['pipeline'])}</h1>",
        f"<p class=quiet>{_text(recording.path.name)}: {_text(facts['level'])}, {facts['width']}x{facts['height']}, "
        f"{facts['steps']} steps, guidance {facts['guidance']}, seed {facts['seed']}, port in {limits.dtype}, reference in {facts['dtype']} ({_text(versions)})<br>"
        f"Prompt: {_text(facts['prompt'])}</p>",
        _answer(found),
        _stages(found),
        _verdicts(found),
        _plot(found),
        _pictures(found),
        _waivers(waivers),
    ]
    head = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(title)}: parity</title><style>{STYLE}</style>"
    )
    path.write_text(head + "\n".join(part for part in parts if part) + "</html>\n", encoding="utf-8")


def _answer(found: Comparison) -> str:
    if found.findings.answer:
        return f"<p class=FAIL><b>Look at {_text(found.findings.answer.line)}</b></p>"
    text = "Every stage that was compared is within its limit." if found.passed else "A stage is out of its limit."
    return f"<p class={'pass' if found.passed else 'FAIL'}><b>{text}</b></p>"


def _stages(found: Comparison) -> str:
    rows = [
        f"<tr><td>{result.stage}<td class='{result.status.split()[0]}'>{result.status}<td class=number>{_number(result.relative)}"
        f"<td class=number>{_number(result.limit)}<td class=number>{_number(result.largest)}<td>{_text(result.note)}"
        for result in found.results
    ]
    head = "<tr><th>stage<th>result<th>relative L2<th>limit<th>largest<th>note"
    return f"<h2>Stages, from the image backwards</h2><table>{head}{''.join(rows)}</table>"


def _verdicts(found: Comparison) -> str:
    pairing = found.pairing
    pairs = (
        f"<p>{len(pairing.parameters)} of {pairing.parameter_count} parameters and {len(pairing.modules)} of "
        f"{pairing.module_count} modules were matched with the reference's.</p>"
    )
    rows = [
        f"<tr><td>{_text(item.module)}<br><span class=quiet>{_text(item.places)}</span><td>{_text(item.reference)}<br><span class=quiet>{_text(item.reference_class)} "
        f"{_text(item.reference_file)}</span><td class=number>{_number(item.local)}<td class=number>{_number(item.limit)}"
        f"<td class=number>{_number(item.accumulated)}<td>{_text(item.waived and 'waived: ' + item.waived or item.cause)}"
        for item in found.findings.verdicts
    ]
    head = "<tr><th>port<th>reference<th>local<th>limit<th>accumulated<th>likely cause"
    table = f"<table>{head}{''.join(rows)}</table>" if rows else "<p>No weight and no module differs.</p>"
    return f"<h2>Weights and modules</h2>{pairs}{table}"


def _plot(found: Comparison) -> str:
    """Error against depth: each module's output in the order of execution, on a logarithmic scale."""
    points = [(call.path, call.stage, call.output.relative) for call in found.judge.calls if call.output]
    if not points:
        points = [(item.name, item.name.split("/")[0], item.distance.relative) for item in found.judge.crossing.seen]
    points = [(name, stage, value) for name, stage, value in points if math.isfinite(value)]
    if not points:
        return ""
    lows = [math.log10(max(value, 1e-9)) for _, _, value in points]
    low, high = math.floor(min(lows)), max(math.ceil(max(lows)), math.floor(min(lows)) + 1)
    across = (WIDTH - LEFT - 10) / max(len(points) - 1, 1)
    scale = (HEIGHT - BOTTOM - 10) / (high - low)
    lines = [
        f"<line x1={LEFT} x2={WIDTH} y1={_y(n, high, scale)} y2={_y(n, high, scale)} stroke='#e3e3e8'/>"
        f"<text x=4 y={_y(n, high, scale) + 4} font-size=12>1e{n}</text>"
        for n in range(low, high + 1)
    ]
    dots = [
        f"<circle cx={LEFT + n * across:.1f} cy={_y(lows[n], high, scale):.1f} r=2.5 fill='{_colour(stage)}'>"
        f"<title>{_text(name)} {value:.2e}</title></circle>"
        for n, (name, stage, value) in enumerate(points)
    ]
    legend = "".join(
        f"<text x={LEFT + 150 * n} y={HEIGHT - 6} font-size=12 fill='{colour}'>{name}</text>"
        for n, (name, colour) in enumerate(COLOURS.items())
    )
    body = "".join(lines) + "".join(dots) + legend
    return f"<h2>Error against depth</h2><svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='relative error of each module'>{body}</svg>"


def _pictures(found: Comparison) -> str:
    recording, free, forced = found.judge.recording, found.judge.end_to_end, found.judge.crossing
    # A port whose transformer is not written yet has a picture, too: what its VAE makes of the reference's latents.
    ended = free is not None and free.image is not None
    own = free.image if ended else forced.image
    if own is None or IMAGE not in recording:
        return ""
    reference = recording.get(IMAGE)
    if np.prod(reference.shape) != np.prod(own.shape):
        return ""
    own = own.reshape(reference.shape)
    pictures = (
        ("reference", to_picture(reference)),
        ("mflux", to_picture(own)),
        ("difference", difference(reference, own)),
        (f"difference, {AMPLIFIED} times", difference(reference, own, AMPLIFIED)),
    )
    figures = "".join(
        f"<figure><img alt='{name}' src='data:image/png;base64,{base64.b64encode(png(picture)).decode()}'>"
        f"<figcaption>{name}</figcaption></figure>"
        for name, picture in pictures
    )
    of = "end to end" if ended else "the VAE's, of the reference's latents"
    return f"<h2>Pictures, for you to judge ({of})</h2><div class=pictures>{figures}</div>"


def _waivers(waivers) -> str:
    rows = [
        f"<tr><td>{_text(entry.module or entry.stage)}<td class=number>{_number(entry.limit)}<td>{_text(entry.reason)}"
        for entry in waivers.entries
    ]
    head = "<tr><th>module or stage<th>limit<th>reason"
    return f"<h2>Waivers</h2><table>{head}{''.join(rows)}</table>" if rows else ""


def _y(exponent: float, high: int, scale: float) -> float:
    return 10 + (high - exponent) * scale


def _colour(stage: str) -> str:
    return COLOURS.get(stage.split(".")[0], "#667")


def _number(value: float) -> str:
    return f"{value:.2e}" if value == value else ""


def _text(value: object) -> str:
    return html.escape(str(value))
