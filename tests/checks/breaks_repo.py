"""Per rule about what stands outside the package: one thing that breaks it in the complete port."""

from __future__ import annotations

import json
import re

from tests.checks.breaks_package import CLI, FEED_FORWARD, VARIANT, P, append, both, move, remove, replace, write
from tests.checks.complete_port import REFERENCES
from tests.checks.tree import Tree

CONFIG = "src/mflux/models/common/config/model_config.py"
DEFAULTS = "src/mflux/cli/defaults/defaults.py"
SAVE = "src/mflux/models/common/cli/save.py"
RUNNER = "src/mflux/models/common/training/runner.py"
REVISIONS = "src/mflux/models/common/resolution/model_revisions.py"
CHECKER = "src/mflux/models/common/checking/model_checker.py"
COMPLETIONS = "src/mflux/cli/completions/generator.py"
OVERLAY = "scripts/ci_extract_models.py"
EXAMPLE = "src/mflux/models/common/training/_example/train_nova.json"
ADAPTER = f"{P}/training_adapter/nova_training_adapter.py"
README = f"{P}/README.md"
PORTING = "porting/nova/PORTING.md"
GOLDEN = "tests/image_generation/test_generate_image_nova.py"
SAVING = "tests/model_saving/test_tiny_model_saving_nova.py"
COMMAND = "tests/cli/test_nova_command.py"
TINY = "tests/image_generation/test_tiny_generate_image_nova.py"
ROW = "|[Nova](src/mflux/models/nova/README.md)"

_KEYS = ("nova-turbo", "nova-base", "nova-edit")
_ROWS = "".join(f'    "{key}": ("text-to-image", "Nova", "{key}", [], [], "supported", None),\n' for key in _KEYS)


def other_module(tree: Tree) -> None:
    example = json.loads((tree.root / EXAMPLE).read_text())
    example["lora_layers"]["targets"][0]["module_path"] = "transformer_blocks.{block}.attn.to_nothing"
    tree.write(EXAMPLE, json.dumps(example))


def squash(tree: Tree) -> None:
    commit = tree.git("commit-tree", "HEAD^{tree}", "-p", "main", "-m", "Add nova")
    tree.git("update-ref", "refs/heads/squashed", commit)
    tree.git("symbolic-ref", "HEAD", "refs/heads/squashed")


def untrack(tree: Tree) -> None:
    tree.git("rm", "--quiet", "--cached", *REFERENCES)


def commit_tensor(tree: Tree) -> None:
    tree.write(f"{P}/latents.safetensors", "tensors")
    tree.git("add", "--force", f"{P}/latents.safetensors")


BREAKS = {
    "REG01": replace("pyproject.toml", "mflux-generate-nova-edit =", "mflux-generate-nova-other ="),
    "REG02": replace(CLI, "def main(", "def start("),
    "REG03": replace(CONFIG, '    "nova-base": ModelConfig(', '    "nova-basic": ModelConfig('),
    "REG04": replace(CONFIG, '["nova-base"],', '["nova-basic"],'),
    "REG05": replace(CONFIG, 'aliases=["nova-edit"]', 'aliases=["nova-edit", "krea-2"]'),
    "REG06": lambda tree: set_field(tree, "nova-base", "base_model=None", 'base_model="nova-turbo"'),
    "REG07": replace(CONFIG, 'return AVAILABLE_MODELS["nova-base"]', 'return AVAILABLE_MODELS["nova-turbo"]'),
    "REG08": lambda tree: set_field(tree, "nova-base", "supports_guidance=True,", ""),
    "REG09": replace(CONFIG, 'model_name="acme/Nova-Base"', 'model_name="Nova"'),
    "REG10": replace(CONFIG, 'model_name="acme/Nova-Base"', 'model_name="acme/Qwen-Image-2.1"'),
    "REG11": replace(CONFIG, 'aliases=["nova-edit"]', 'aliases=["nova-edit", "krea-2-raw-q"]'),
    "REG12": replace(SAVE, '    "nova-base": Nova,\n'),
    "REG13": replace(SAVE, '"nova-edit": NovaEdit', '"nova-edit": Nova'),
    "TAB01": replace(DEFAULTS, '    "nova-base": 40,\n'),
    "TAB02": replace(DEFAULTS, '"nova-turbo": 8', '"nova-turbo": 25'),
    "TAB03": replace(DEFAULTS, '"nova-edit"]', '"other"]'),
    "TAB04": replace(DEFAULTS, '    "nova-base": 40,\n', '    "nova-base": 40,\n    "nova-base": 50,\n'),
    "TAB05": replace(COMPLETIONS, '"mflux-generate-nova-edit"', '"mflux-generate-other"'),
    "TAB06": replace(REVISIONS, '"acme/Nova-Base"', '"acme/Other"'),
    "TAB07": replace(CHECKER, ', "nova-edit"}', "}"),
    "TAB08": replace(OVERLAY, '    "nova-edit"', '    "nova-turbo"'),
    "TAB09": replace("CHANGELOG.md", "- **Nova**: added, with `mflux-generate-nova`.\n"),
    "TAB10": append(
        "src/mflux/models/moss_image/cli/moss_image_generate.py",
        '\nOURS = [key for key in KEYS if key.startswith("nova-")]\n',
    ),
    "TAB11": replace(VARIANT, "def save_model(", "def keep("),
    "TRN01": replace(RUNNER, "NovaTrainingAdapter(", "OtherAdapter("),
    "TRN02": replace(ADAPTER, "def freeze_base(", "def freeze("),
    "TRN03": remove(EXAMPLE),
    "TRN04": replace(".gitignore", "!src/mflux/models/common/training/_example/train_nova.json\n"),
    "TRN05": other_module,
    "TRN06": replace(
        ADAPTER,
        "num_inference_steps=Nova.DEFAULT_STEPS[self._model.checkpoint],\n            height",
        "num_inference_steps=steps,\n            height",
    ),
    "TRN07": replace(ADAPTER, "bake_lora=False,"),
    "TRN08": replace(ADAPTER, ", model_path: str | None = None"),
    "TRN09": replace(RUNNER, "low_ram", "tiled"),
    "TRN10": replace(ADAPTER, "NovaLatentCreator.normalize_latents(", "plain("),
    "TRN11": replace(
        "README.md",
        "| Distilled & Base | Yes | Text-to-image and editing.",
        "| Distilled & Base | No | Text-to-image and editing.",
    ),
    "TRN12": both(move(ADAPTER, f"{P}/nova_training.py"), replace(RUNNER, "mflux.models.nova.", "mflux.models.other.")),
    "TST01": move(GOLDEN, "tests/image_generation/test_nova_picture.py"),
    "TST02": replace(GOLDEN, "mark.slow", "mark.fast"),
    "TST03": replace(GOLDEN, "check_images_close_enough", "are_equal"),
    "TST04": remove(REFERENCES[1]),
    "TST05": untrack,
    "TST07": remove("tests/lora/test_nova_lora_mapping.py"),
    "TST08": remove("tests/training/test_nova_training_adapter.py"),
    "TST09": remove(SAVING),
    "TST10": replace(SAVING, "index.json", "config.json"),
    "TST11": remove(COMMAND),
    "TST12": replace(COMMAND, "pytest.mark.fast", "pytest.mark.plain"),
    "TST13": append(COMMAND, '\nNOTES = "porting/nova/PORTING.md"\n'),
    "TST14": lambda tree: [tree.replace(name, "model_path=", "path=") for name in with_text(tree, "model_path=")],
    "TST17": remove("tests/parity/test_nova_parity.py"),
    "TST16": remove(TINY, "tests/image_generation/test_tiny_edit_image_nova.py"),
    "DOC01": replace("README.md", ROW, "|[Nova](elsewhere.md)"),
    "DOC02": replace("README.md", "| Oct 2026 | 6B | Distilled & Base |", "| ? | 6B | Distilled & Base |"),
    "DOC03": replace("README.md", "- acme for the [Nova project](https://huggingface.co/acme/Nova-Turbo)\n"),
    "DOC04": replace("README.md", "| Nova | [@you]", "| Another | [@you]"),
    "DOC05": remove(README),
    "DOC06": replace(README, "mflux-generate-nova-edit", "mflux-generate-nova"),
    "DOC07": replace(README, "--steps 8", "--number-of-steps 8"),
    "DOC08": replace(README, "ModelConfig.nova_turbo()", "ModelConfig.nova_fast()"),
    "DOC09": replace(README, "--steps 8 \\", "--steps 25 \\"),
    "DOC10": replace(README, "12.5 GB", "(not measured yet)"),
    "DOC11": both(replace(README, "## Notes", "## More"), replace(README, "## Weights", "## Files")),
    "DOC12": replace(README, "## Training", "## More"),
    "DOC13": both(replace(README, "## Image-to-image", "## More"), replace(README, "--image", "--picture")),
    "DOC14": both(replace(README, "## LoRA", "## More"), replace(README, "--lora", "--adapter")),
    "DOC15": lambda tree: tree.write(README, "# Nova\n## Example\n"),
    "DOC16": replace(README, "nova.jpg", "other.jpg"),
    "DOC17": append(README, "\nSee [this](../nothing/README.md).\n"),
    "DOC18": lambda tree: tree.write(README, "# Nova\n## Example\n"),
    "DOC19": lambda tree: tree.write(README, "# Nova\n## Example\n"),
    "DOC20": replace("CHANGELOG.md", "**Nova**", "**Another**"),
    "DOC23": replace(README, "--steps 8 \\", "--steps 8 \\\n  --guidance 7.0 \\"),
    "DOC24": replace(README, "- The weight mapping is explicit; it renames only.\n"),
    "DOC22": append(README, "\nSee .agents/skills/mflux-model-porting/SKILL.md.\n"),
    "MRG01": lambda tree: prove(tree, ""),
    "MRG02": replace(PORTING, "- [x] The plan was reviewed", "- [ ] The plan was reviewed"),
    "MRG03": append(FEED_FORWARD, '\nmx.save("latents.npy", mx.zeros(1))\n'),
    "MRG04": append(FEED_FORWARD, "\nprint(1)\n"),
    "MRG05": append(FEED_FORWARD, '\nPATH = "/Users/somebody/latents"\n'),
    "MRG06": append(README, "\nTODO: more.\n"),
    "MRG07": commit_tensor,
    "MRG08": append("src/mflux/models/common/vae/vae_util.py", "# mine\n"),
    "MRG09": append(".gitignore", "my_notes/\n"),
    "MRG10": squash,
    "MRG11": both(
        append(VARIANT, "\nCOMPILED = mx.compile(len)\n"),
        replace(PORTING, "- [x] Transformer done", "- [ ] Transformer done"),
    ),
    "MRG16": append(FEED_FORWARD, "# more\n"),
    "MRG19": lambda tree: prove(tree, "", "bfloat16"),
    "RUN01": append(FEED_FORWARD, "\nimport os\n"),
}
BEFORE = {
    "TAB03": append(DEFAULTS, '\nMODEL_CHOICES = ["nova-turbo", "nova", "nova-base", "nova-edit"]\n'),
    "TAB05": append(
        COMPLETIONS,
        '\nself.commands = ["mflux-generate-nova", "mflux-generate-nova-edit"]\nRECIPES = ["mflux-generate-nova", "mflux-generate-nova-edit"]\n',
    ),
    "TAB08": write(OVERLAY, f"OVERLAY = {{\n{_ROWS}}}\n"),
}


def prove(tree: Tree, figures: str, stage: str = "transformer") -> None:
    """Write other figures behind a stage's box."""
    text = (tree.root / PORTING).read_text()
    tree.write(PORTING, re.sub(rf"(<!-- evidence: {stage} -->).*", rf"\1 {figures}".rstrip(), text))


def set_field(tree: Tree, key: str, old: str, new: str) -> None:
    """Change a field of one entry of the registry."""
    text = (tree.root / CONFIG).read_text()
    start = text.index(f'    "{key}": ModelConfig(')
    end = text.index("\n    ),\n", start)
    assert old in text[start:end]
    tree.write(CONFIG, text[:start] + text[start:end].replace(old, new) + text[end:])


def with_text(tree: Tree, text: str) -> list[str]:
    found = [path for path in (tree.root / "tests").rglob("*nova*.py") if text in path.read_text()]
    return [path.relative_to(tree.root).as_posix() for path in found]
