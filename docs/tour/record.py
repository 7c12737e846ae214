"""Run the README's commands and record their output: `uv run python docs/tour/record.py`.

The README holds a block between `<!-- tour: NAME -->` and `<!-- end -->` for each step. A test repeats the run and
compares everything except the figures. The steps run in an environment made for them, because on Linux `uv run` would
install the CUDA build in the checkout.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "hooks")]

from mflux_port.checkout import releases  # noqa: E402

README = PROJECT / "README.md"
PICTURE = PROJECT / "docs/tour/report.png"
BLOCK = re.compile(r"(?P<head><!-- tour: (?P<name>\w+) -->\n)(?P<body>.*?)(?P<tail><!-- end -->)", re.DOTALL)
TOOLS = ("diffusers==0.42.*", "copier>=9.15,<10")


class Step(NamedTuple):
    """``shown`` is what the README shows, ``command`` is run."""

    shown: str
    command: list[str]


START = ["../vega", "--model", "vega", "--repo", "acme/Vega", "--steps", "2", "--guidance", "1"]
STEPS = {
    "inspect": Step("mflux-port inspect ../vega --repo acme/Vega", ["-m", "mflux_port", "inspect", *START[:1], *START[3:5]]),
    "start": Step(f"mflux-port start {' '.join(START)}", ["-m", "mflux_port", "start", *START, "--python", "PYTHON"]),
    "mflux": Step("uv run python porting/vega/run_mflux.py", ["porting/vega/run_mflux.py"]),
    "status": Step("mflux-port status vega", ["-m", "mflux_port", "status", "vega"]),
}  # fmt: skip


def play(scratch: Path) -> dict[str, str]:
    """The README's block of each step, by name. The resulting checkout is ``scratch/mflux``."""
    python = releases.environment(releases.NEWEST, TOOLS)
    root = releases.checkout(releases.NEWEST, scratch / "mflux")
    toy = PROJECT / "template/porting/{{ model }}/parity/record/toy_tokenizer.py"
    _run(python, scratch, [str(PROJECT / "docs/tour/vega_checkpoint.py"), str(scratch / "vega"), str(toy)])
    blocks, started = {}, time.monotonic()
    for name, step in STEPS.items():
        command = [str(python) if word == "PYTHON" else word for word in step.command]
        printed = _run(python, root, command)
        lines = [_as_a_reader_sees(line, root) for line in printed.splitlines()]
        blocks[name] = "```console\n" + "\n".join([f"$ {step.shown}", *lines]).strip() + "\n```\n"
        if name == "start":
            releases.commit(root, name)
    minutes = (time.monotonic() - started) / 60
    blocks["cost"] = f"No line was written by hand; {minutes:.1f} minutes on two cores, and every stage passes.\n"
    return blocks


def _as_a_reader_sees(line: str, root: Path) -> str:
    line = line.rstrip().replace(f"{root}/", "").replace(str(root.parent), "..")
    return line.replace(
        f"--vcs-ref HEAD --data-file mflux-port-answers.yml {PROJECT} .", "... <this repository> ."
    ).replace(str(PROJECT), "<this repository>")


def filled(text: str, blocks: dict[str, str]) -> str:
    """Write the run's blocks into ``text``."""
    return BLOCK.sub(lambda match: match["head"] + blocks[match["name"]] + match["tail"], text)


def without_figures(text: str) -> str:
    """``text`` without the parts that differ from machine to machine and from day to day."""
    text = re.sub(r"template [\w.+-]+;", "template;", text)
    # Padding and pytest's horizontal rules fill a line, so their length depends on the number of digits.
    return re.sub(r"\d[\d.e+-]*", "N", re.sub(r"([ =])\1+", r"\1", text))


def _run(python: Path, where: Path, command: list[str]) -> str:
    paths = os.pathsep.join([str(PROJECT / "hooks"), str(where / "src")])
    variables = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "MLX_DISABLE_COMPILE": "1", "NO_COLOR": "1"}
    done = subprocess.run([str(python), *command], cwd=where, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def draw(scratch: Path) -> None:
    """Draw the README's picture from the recorded run."""
    python = releases.environment(releases.NEWEST, TOOLS)
    script = str(PROJECT / "docs/tour/picture.py")
    _run(python, scratch / "mflux", [script, "../vega", "porting/vega", str(PICTURE)])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = play(Path(folder))
        README.write_text(filled(README.read_text(encoding="utf-8"), made), encoding="utf-8")
        draw(Path(folder))
