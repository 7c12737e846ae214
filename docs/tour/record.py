"""Play the README's run and write down what it prints: `uv run python docs/tour/record.py`.

The README holds a block between `<!-- tour: NAME -->` and `<!-- end -->` for each step. A test plays the run again and
compares all but the figures. The steps run in an environment made for it: the one that `uv run` would make in the
checkout is, on Linux, the CUDA build's.
"""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "hooks"))

from mflux_port.checkout import releases  # noqa: E402

README = PROJECT / "README.md"
PICTURE = PROJECT / "docs/tour/report.png"
BLOCK = re.compile(r"(?P<head><!-- tour: (?P<name>\w+) -->\n)(?P<body>.*?)(?P<tail><!-- end -->)", re.DOTALL)
TOOLS = ("diffusers==0.42.*", "copier>=9.15,<10")
# What the porter takes from the model card, in the answers that `inspect` wrote.
EDITED = {r"^model: \w+": "model: vega", r"\bsteps: \d+": "steps: 2", r"\bguidance: [\d.]+": "guidance: 1.0",
          "supports_guidance: true": "supports_guidance: false"}  # fmt: skip


class Step(NamedTuple):
    """``shown`` is what the README shows, ``command`` is run and ends with ``code``; lines with ``kept`` are shown."""

    shown: str
    command: list[str]
    kept: str = ""
    code: int = 0


STEPS = {
    "inspect": Step(
        "mflux-port inspect ../vega --repo acme/Vega -o answers.yml",
        ["-m", "mflux_port", "inspect", "../vega", "--repo", "acme/Vega", "-o", "answers.yml"],
    ),
    "copy": Step(
        "uvx copier copy --trust --data-file answers.yml <this repository> .",
        ["-m", "copier", "copy", "--trust", "--defaults", "--vcs-ref", "HEAD", "--data-file", "answers.yml"],
        r"^  \w+ +added|^check:|^next:",
    ),
    "tests": Step(
        "uv run python -m pytest tests -k vega -m fast",
        ["-m", "pytest", "-q", "tests", "-k", "vega", "-m", "fast"],
        r"\d passed",
    ),
    "draft": Step(
        "uv run --with diffusers --with <this repository> mflux-port draft vega --checkpoint ../vega --pipeline ../vega",
        ["-m", "mflux_port", "draft", "vega", "--checkpoint", "../vega", "--pipeline", "../vega"],
        r"^(?!draft: |[a-z_]+: .*\.\.\.)",
    ),
    "ledger": Step(
        "uv run --with <this repository> mflux-port ledger vega", ["-m", "mflux_port", "ledger", "vega"], r"^(?!note|  )"
    ),
    "reference": Step(
        "uv run porting/vega/run_reference.py --model ../vega --size 64",
        ["porting/vega/run_reference.py", "--model", "../vega", "--size", "64"],
        r"tensors,",
    ),
    "mflux": Step("uv run python porting/vega/run_mflux.py", ["porting/vega/run_mflux.py"], "", 1),
    "status": Step("mflux-port status vega", ["-m", "mflux_port", "status", "vega"]),
}  # fmt: skip


def play(scratch: Path) -> dict[str, str]:
    """The README's block of each step, by name. The checkout that comes of it is ``scratch/mflux``."""
    python = releases.environment(releases.NEWEST, TOOLS)
    root = releases.checkout(releases.NEWEST, scratch / "mflux")
    toy = PROJECT / "template/porting/{{ model }}/parity/record/toy_tokenizer.py"
    _run(python, scratch, [str(PROJECT / "docs/tour/vega_checkpoint.py"), str(scratch / "vega"), str(toy)])
    blocks = {}
    for name, step in STEPS.items():
        command = [*step.command, str(PROJECT), "."] if name == "copy" else step.command
        lines = [line.rstrip() for line in _run(python, root, command, step.code).replace(f"{root}/", "").splitlines()]
        kept = [line for line in lines if re.search(step.kept, line)] if step.kept else lines
        blocks[name] = "```console\n" + "\n".join([f"$ {step.shown}", *kept]).strip() + "\n```\n"
        if name == "inspect":
            _edit(root / "answers.yml")
        if name in ("copy", "draft"):
            releases.commit(root, name)
    return blocks


def filled(text: str, blocks: dict[str, str]) -> str:
    """``text`` with the blocks of the run in it."""
    return BLOCK.sub(lambda match: match["head"] + blocks[match["name"]] + match["tail"], text)


def without_figures(text: str) -> str:
    """``text`` with what differs from machine to machine and day to day taken out of it."""
    text = re.sub(r"template [\w.+-]+;", "template;", text)
    # Blanks and pytest's rules fill a line up, so that their number depends on that of the digits.
    return re.sub(r"\d[\d.e+-]*", "N", re.sub(r"([ =])\1+", r"\1", text))


def _run(python: Path, where: Path, command: list[str], code: int = 0) -> str:
    paths = os.pathsep.join([str(PROJECT / "hooks"), str(where / "src")])
    variables = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "MLX_DISABLE_COMPILE": "1", "NO_COLOR": "1"}
    done = subprocess.run([str(python), *command], cwd=where, env=variables, capture_output=True, text=True)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout + (done.stderr if "copier" in command else "")


def _edit(answers: Path) -> None:
    text = answers.read_text(encoding="utf-8")
    for old, new in EDITED.items():
        text = re.sub(old, new, text, flags=re.MULTILINE)
    answers.write_text(text, encoding="utf-8")


def _picture(report: Path) -> None:
    # The report's four pictures side by side: reference, mflux, difference, difference amplified.
    from PIL import Image

    found = re.findall(r"src='data:image/png;base64,([^']+)'", report.read_text(encoding="utf-8"))
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))).resize((192, 192), 0) for data in found]
    sheet = Image.new("RGB", (len(pictures) * 204 - 12, 192), "white")
    for at, picture in enumerate(pictures):
        sheet.paste(picture.convert("RGB"), (at * 204, 0))
    sheet.save(PICTURE, optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = play(Path(folder))
        README.write_text(filled(README.read_text(encoding="utf-8"), made), encoding="utf-8")
        _picture(Path(folder, "mflux/porting/vega/artifacts/report.html"))
