"""A port that passes every rule: rendered and wired in a real mflux checkout, then finished as a porter would."""

from __future__ import annotations

import subprocess
from pathlib import Path

import copier

PROJECT = Path(__file__).resolve().parents[2]
MODEL = "nova"
PACKAGE = f"src/mflux/models/{MODEL}"
ANSWERS = {
    "model": MODEL,
    "hf_repo": "acme/Nova-Turbo",
    "display_name": "Nova",
    "variants": ["txt2img", "edit"],
    "scheduler": "own",
    "training": True,
    "checkpoints": [
        {
            "key": "nova-turbo",
            "hf_repo": "acme/Nova-Turbo",
            "aliases": ["nova"],
            "steps": 8,
            "guidance": 1.0,
            "supports_guidance": False,
            "revision": "1" * 40,
            "transformer_overrides": {"num_layers": 2},
        },
        {
            "key": "nova-base",
            "hf_repo": "acme/Nova-Base",
            "aliases": [],
            "steps": 40,
            "guidance": 4.0,
            "supports_guidance": True,
            "revision": "2" * 40,
        },
        {
            "key": "nova-edit",
            "hf_repo": "acme/Nova-Edit",
            "aliases": [],
            "steps": 40,
            "guidance": 4.0,
            "supports_guidance": True,
            "variant": "edit",
            "revision": "3" * 40,
        },
    ],
}
PNG = b"\x89PNG\r\n\x1a\n"
REFERENCES = ("tests/resources/reference_nova_turbo.png", "tests/resources/reference_nova_base.png")
# The figures that run_mflux.py writes after a box.
FIGURES = "relL2 3.1e-06 of 1.0e-04, float32, 1024x1024, 8 steps, guidance 4, 2026-10-01, commit {commit}"


def render(root: Path, answers: dict = ANSWERS) -> Path:
    """Copy the template into the checkout ``root``, wiring included."""
    copier.run_copy(str(PROJECT), root, data=answers, defaults=True, unsafe=True, quiet=True, vcs_ref="HEAD")
    return root


def complete(root: Path) -> Path:
    """Do what only a porter can do: prove, measure, review, and commit each stage on a branch."""
    git(root, "checkout", "--quiet", "-b", "port")
    _fill_readme(root / f"{PACKAGE}/README.md")
    _fill_root_readme(root / "README.md")
    for name in ("src/mflux/assets/nova.jpg", *REFERENCES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG)
        git(root, "add", "--force", name)
    for message in ("VAE done", "Transformer done", "Text encoder done"):
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--allow-empty", "--message", message)
    _tick(root / f"porting/{MODEL}/PORTING.md", git(root, "rev-parse", "--short", "HEAD"))
    git(root, "commit", "--quiet", "--all", "--message", "Every stage proven")
    return root


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _tick(path: Path, commit: str) -> None:
    text = path.read_text().replace("- [ ]", "- [x]")
    path.write_text("\n".join(_with_figures(line, commit) for line in text.splitlines()) + "\n")


def _with_figures(line: str, commit: str) -> str:
    if "<!-- evidence:" not in line:
        return line
    if "<!-- evidence: bfloat16 -->" in line:
        return f"{line} worst transformer {FIGURES.format(commit=commit).replace('float32', 'bfloat16')}"
    return f"{line} {FIGURES.format(commit=commit)}"


def _fill_readme(path: Path) -> None:
    text = (
        path.read_text()
        .replace("(not measured yet)", "12.5 GB")
        .replace("what it has and this port omits is listed here", "the upscaler is omitted")
        .replace("what it splits, joins or transposes is listed here", "it renames only")
        .replace("how close each stage comes to the reference in float32 is listed here", "below 1e-4 in every stage")
    )
    title, rest = text.split("\n", 1)
    path.write_text(f"{title}\n\n![Nova](../../assets/nova.jpg)\n\n{rest}")


def _fill_root_readme(path: Path) -> None:
    text = path.read_text().replace(f"({PACKAGE}/README.md) | ? | ? |", f"({PACKAGE}/README.md) | Oct 2026 | 6B |")
    row = "| Model or feature | Contributor | PR |\n|--|--|--|\n"
    path.write_text(
        text.replace(row, row + "| Nova | [@you](https://github.com/you) | [#999](https://example.org) |\n")
    )
