"""DOC: what each rule of ``checks/rules/docs.py`` must notice in the complete port."""

from __future__ import annotations

import re

from tests.checks.breaking import Break, append, both, remove, replace, write
from tests.checks.paths import README
from tests.checks.tree import Tree

_HERO = "![Nova](../../assets/nova.jpg)\n"
_ROW = "|[Nova](src/mflux/models/nova/README.md)"


def cut(tree: Tree, heading: str) -> None:
    """Remove one section of the README."""
    parts = re.split(r"(?m)^(?=## )", (tree.root / README).read_text())
    tree.write(README, "".join(part for part in parts if not part.startswith(f"## {heading}")))


BREAKS = [
    Break("DOC01", replace("README.md", _ROW, "|[Nova](elsewhere.md)")),
    Break(
        "DOC02", replace("README.md", "| Oct 2026 | 6B | Turbo (distilled) & Base |", "| ? | 6B | Distilled & Base |")
    ),
    Break("DOC03", replace("README.md", "- acme for the [Nova project](https://huggingface.co/acme/Nova-Turbo)\n")),
    Break("DOC04", replace("README.md", "| Nova | [@you]", "| Another | [@you]")),
    Break("DOC05", remove(README)),
    Break("DOC06", replace(README, "mflux-generate-nova-edit", "mflux-generate-nova")),
    Break("DOC06", lambda tree: cut(tree, "Base model example"), "a checkpoint that no example uses"),
    Break("DOC07", replace(README, "--steps 8", "--number-of-steps 8")),
    Break("DOC07", replace(README, "--model nova-base", "--model nova-bass"), "an unknown model"),
    Break("DOC08", replace(README, "ModelConfig.nova_turbo()", "ModelConfig.nova_fast()")),
    Break("DOC08", replace(README, "model = Nova(", "model = = Nova("), "an example that is not valid Python"),
    Break(
        "DOC08",
        replace(README, "mflux.models.nova import Nova\n", "mflux.models.nova import NovaTurbo\n"),
        "an unknown class",
    ),
    Break("DOC09", replace(README, "--steps 8 \\", "--steps 25 \\")),
    Break(
        "DOC09", replace(README, "num_inference_steps=8", "num_inference_steps=50"), "other steps in the Python example"
    ),
    Break("DOC10", replace(README, "12.5 GB", "(not measured yet)")),
    Break(
        "DOC10",
        both(replace(README, "12.5 GB", "much"), append(README, "\n- Peak memory is 9 GB.\n")),
        "a memory size instead of a disk size",
    ),
    Break("DOC11", both(replace(README, "## Notes", "## More"), replace(README, "## Weights", "## Files"))),
    Break("DOC12", replace(README, "## Training", "## More")),
    Break("DOC13", both(replace(README, "## Image-to-image", "## More"), replace(README, "--image", "--picture"))),
    Break("DOC14", both(replace(README, "## LoRA", "## More"), replace(README, "--lora", "--adapter"))),
    Break("DOC15", write(README, "# Nova\n## Example\n")),
    Break("DOC16", replace(README, "nova.jpg", "other.jpg")),
    Break(
        "DOC16",
        lambda tree: tree.git("rm", "--quiet", "--cached", "src/mflux/assets/nova.jpg"),
        "an image that git does not have",
    ),
    Break("DOC16", both(replace(README, _HERO), append(README, f"\n{_HERO}")), "an image at the end"),
    Break("DOC17", append(README, "\nSee [this](../nothing/README.md).\n")),
    Break("DOC18", write(README, "# Nova\n## Example\n")),
    Break("DOC19", write(README, "# Nova\n## Example\n")),
    Break("DOC20", replace("CHANGELOG.md", "**Nova**", "**Another**")),
    Break(
        "DOC20",
        both(replace("CHANGELOG.md", "**Nova**", "**Other**"), append("CHANGELOG.md", "\n## [0.1]\n- Nova\n")),
        "listed under another release",
    ),
    Break("DOC20", replace("CHANGELOG.md", "**Nova**", "**Supernova**"), "another model's name"),
    Break("DOC22", append(README, "\nSee .agents/skills/mflux-model-porting/SKILL.md.\n")),
    Break("DOC23", replace(README, "--steps 8 \\", "--steps 8 \\\n  --guidance 7.0 \\")),
    Break("DOC24", replace(README, "- The weight mapping is explicit; it renames only.\n")),
    Break("DOC24", replace(README, "- Tolerances: below 1e-4 in every stage.\n"), "no tolerances"),
]
