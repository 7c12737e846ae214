"""artifacts/report.html: everything that a comparison found, on one page that needs no other file."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import numpy as np

from parity.explain.pictures import AMPLIFIED, difference, png, to_picture
from parity.explain.report_plot import plot
from parity.explain.session import Comparison
from parity.files import write_text
from parity.run.run_trace import IMAGE

STYLE = """
:root { color-scheme: light dark; --text: #1c1c1e; --back: #fff; --line: #ddd; --quiet: #5b5b68; --good: #1a7f37; --bad: #b42318 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8ed; --back: #161618; --line: #3a3a40; --quiet: #a0a0ac; --good: #4cc26b; --bad: #ff7b6e }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 1rem auto; padding: 0 1rem; color: var(--text); background: var(--back) }
h1 { font-size: 1.4rem; overflow-wrap: anywhere } h2 { font-size: 1.1rem; margin-top: 2rem }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line) }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap } td { overflow-wrap: break-word }
.pass { color: var(--good) } .FAIL { color: var(--bad) } .quiet { color: var(--quiet) } p { overflow-wrap: anywhere }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem }
figure { margin: 0 } img { width: 100%; image-rendering: pixelated } svg { min-width: 36rem; width: 100%; height: auto }
svg text { fill: var(--text) } svg line { stroke: var(--line) }
@media (max-width: 40rem) { td, th { padding: .25rem .4rem; font-size: 13px } }
"""


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
        _pictures(found),
        plot(found),
        _verdicts(found),
        _waivers(waivers),
    ]
    head = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{_text(title)}: parity</title><style>{STYLE}</style>"
    )
    write_text(path, head + "\n".join(part for part in parts if part) + "</html>\n")


def _answer(found: Comparison) -> str:
    if found.findings.answer:
        return f"<p class=FAIL><b>Look at {_text(found.findings.answer.line)}</b></p>"
    text = "Every stage that was compared is within its limit." if found.passed else "A stage exceeds its limit."
    return f"<p class={'pass' if found.passed else 'FAIL'}><b>{text}</b></p>"


def _stages(found: Comparison) -> str:
    rows = [
        f"<tr><td>{result.stage}<td class='{result.status.split()[0]}'>{result.status}<td class=number>{_number(result.relative)}"
        f"<td class=number>{_number(result.limit)}<td class=number>{_number(result.largest)}<td>{_text(result.note)}"
        for result in found.results
    ]
    head = "<tr><th>stage<th>result<th>relative L2<th>limit<th>largest<th>note"
    return f"<h2>Stages, from the image backwards</h2><div class=wide><table>{head}{''.join(rows)}</table></div>"


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
    table = (
        f"<div class=wide><table>{head}{''.join(rows)}</table></div>"
        if rows
        else "<p>No weight and no module differs.</p>"
    )
    return f"<h2>Weights and modules</h2>{pairs}{table}"


def _pictures(found: Comparison) -> str:
    recording, free, forced = found.judge.recording, found.judge.end_to_end, found.judge.trace
    # A port without a transformer also has a picture: the reference's latents, decoded by its VAE.
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
    of = "end to end" if ended else "decoded from the reference's latents"
    return f"<h2>Pictures, for you to judge ({of})</h2><div class=pictures>{figures}</div>"


def _waivers(waivers) -> str:
    rows = [
        f"<tr><td>{_text(entry.module or entry.stage)}<td class=number>{_number(entry.limit)}<td>{_text(entry.reason)}"
        for entry in waivers.entries
    ]
    head = "<tr><th>module or stage<th>limit<th>reason"
    return f"<h2>Waivers</h2><div class=wide><table>{head}{''.join(rows)}</table></div>" if rows else ""


def _number(value: float) -> str:
    return f"{value:.2e}" if value == value else ""


def _text(value: object) -> str:
    return html.escape(str(value))
