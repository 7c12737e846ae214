"""The pull request's description, written from the evidence."""

from __future__ import annotations

from mflux_port.checks.engine import evidence
from mflux_port.checks.engine.changes import changed_outside, known_reason, written_reasons
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.readme import sizes
from mflux_port.checks.engine.rule import NEEDS_YOU
from mflux_port.checks.engine.run_rules import Row
from mflux_port.checks.report import counts

_FEATURES = {
    "img2img": "image-to-image",
    "negative_prompt": "negative prompts",
    "lora": "LoRA",
    "training": "training",
}


def description(package: Package, rows: list[Row]) -> str:
    """The Markdown text: port, parity, outside changes, omissions, sizes, commands, manual checks and release note."""
    port = package.port
    parts = [
        f"# Port {port.display_name}",
        f"`{port.hf_repo}` ({port.reference_pipeline}) runs with "
        + ", ".join(f"`{name}`" for name in port.scripts)
        + f". Checklist: {counts(rows)}.",
        "## Parity with the reference",
        *_parity(package),
        "## Changes outside the package",
        *_outside_changes(package),
        "## Not ported",
        *_omissions(package),
        "## Sizes",
        *([f"- {line.strip().lstrip('>- ')}" for line in sizes(package)] or ["- the README gives none"]),
        "## Commands",
        *_commands(package),
        "## Checked by a person",
        *[_question(row) for row in rows if row.state == NEEDS_YOU],
        "## Release note",
        "```release-note",
        f"Add {port.display_name} (`mflux-generate-{port.cli_name}`).",
        "```",
    ]
    return "\n".join(parts) + "\n"


def _question(row: Row) -> str:
    # No link into the porting folder: a reviewer has neither the folder nor this program.
    unavailable = "porting/" in row.detail or "mflux-port" in row.detail
    return f"- [ ] {row.title}" if unavailable else f"- [ ] {row.title}: `{row.detail}`"


def _parity(package: Package) -> list[str]:
    found = evidence.stages(package)
    table = [f"| {name.replace('_', ' ')} | {box.figures.replace('|', '/') or '-'} |" for name, box in found.items()]
    return ["| Stage | Figures |", "|---|---|", *table]


def _outside_changes(package: Package) -> list[str]:
    written, files = written_reasons(package), changed_outside(package)
    return [f"- `{file}`: {written.get(file) or known_reason(package, file)}" for file in files] or ["- none"]


def _omissions(package: Package) -> list[str]:
    port = package.port
    omitted = [text for name, text in _FEATURES.items() if not getattr(port, name)]
    return [f"- {text}" for text in omitted] + [f"- see the notes in `{package.folder}/README.md`"]


def _commands(package: Package) -> list[str]:
    port = package.port
    return [
        "```sh",
        f'mflux-generate-{port.cli_name} --prompt "a vintage red bicycle" --seed 42 --steps {port.checkpoints[0].steps}',
        f"mflux-save --model {port.checkpoints[0].key} --quantize 8 --path {port.cli_name}-8bit",
        f"uv run python -m pytest tests -k {port.model} -m fast",
        "MFLUX_PRESERVE_TEST_OUTPUT=1 uv run python -m pytest "
        f"tests/image_generation/test_generate_image_{port.model}.py -m slow",
        "```",
    ]
