"""Further breaks: what a rule must see apart from its first example. Rule, what is broken, the one step that breaks it."""

from __future__ import annotations

import json
import re

from tests.checks.breaks_package import (
    CLI,
    CREATOR,
    DEFINITION,
    EDIT,
    FEED_FORWARD,
    INIT,
    LORA,
    VARIANT,
    P,
    append,
    both,
    replace,
    write,
)
from tests.checks.breaks_repo import (
    ADAPTER,
    COMMAND,
    DEFAULTS,
    EXAMPLE,
    GOLDEN,
    PORTING,
    README,
    RUNNER,
    SAVE,
    SAVING,
    prove,
)
from tests.checks.complete_port import FIGURES, REFERENCES
from tests.checks.tree import Tree

_STEPS = "num_inference_steps=Nova.DEFAULT_STEPS[self._model.checkpoint],\n            height"
_GUIDANCE = "guidance=Nova.DEFAULT_GUIDANCE[self._model.checkpoint],\n        )\n        self"
_NORMALISED = "        clean = NovaLatentCreator.normalize_latents(clean, vae=self.vae)\n"
_HERO = "![Nova](../../assets/nova.jpg)\n"
_TOKENIZER = '"tokenizer/*",'
_STEP = "\n\nclass OtherScheduler:\n    def step(self, latents):\n        return latents\n"
_TARGETS = json.dumps({"model": "nova-turbo", "lora_layers": {"targets": ["transformer_blocks"]}})


def figures(old: str, new: str, stage: str = "transformer"):
    """Other figures than those of the complete port."""
    made = FIGURES.format(commit="0000000")
    assert old in made
    return lambda tree: prove(tree, made.replace(old, new), stage)


def cut(tree: Tree, heading: str) -> None:
    """Take one section out of the README."""
    parts = re.split(r"(?m)^(?=## )", (tree.root / README).read_text())
    tree.write(README, "".join(part for part in parts if not part.startswith(f"## {heading}")))


def picture(name: str):
    def step(tree: Tree) -> None:
        tree.write(name, "a picture")
        tree.git("add", "--force", name)

    return step


AGAIN = [
    ("LOR02", "one matrix of diffusers", replace(LORA, "lora_B", "up")),
    ("LOR05", "kohya's matrices", replace(LORA, '        patterns += [f"{path}.{kohya_name}.weight"]\n', "")),
    ("LOR05", "kohya's alpha", replace(LORA, "possible_alpha_patterns=[", "possible_alpha_patterns=[] and [")),
    ("LOR03", "one target of many", replace(LORA, ".default.weight", ".{'x' if 'to_q' in path else 'default'}.weight")),
    ("LOR07", "answers say lora, no option", replace(CLI, "    parser.add_lora_arguments()\n")),
    ("LOR11", "own --lora-paths", append(CLI, '\nbuild_parser().add_argument("--lora-paths", nargs="*")\n')),
    ("FEA16", "image-to-image without normalisation", replace(VARIANT, _NORMALISED)),
    ("FEA16", "image-to-image without packing", replace(VARIANT, "NovaLatentCreator.pack_latents(", "dict(")),
    ("TRN03", "example is no JSON", write(EXAMPLE, "{")),
    ("TRN05", "targets are no mappings", write(EXAMPLE, _TARGETS)),
    ("TRN05", "layers are a list", write(EXAMPLE, _TARGETS.replace('{"targets"', '[{"targets"').replace("}}", "}]}"))),
    ("TRN06", "fixed steps", replace(ADAPTER, _STEPS, "num_inference_steps=50,\n            height")),
    (
        "TRN06",
        "the training file's steps by another name",
        both(
            replace(ADAPTER, _STEPS, "num_inference_steps=count,\n            height"),
            replace(ADAPTER, "        image = self._model", "        count = steps\n        image = self._model"),
        ),
    ),
    ("TRN06", "fixed guidance", replace(ADAPTER, _GUIDANCE, "guidance=4.0,\n        )\n        self")),
    ("TRN06", "no guidance", replace(ADAPTER, _GUIDANCE, ")\n        self")),
    (
        "TRN09",
        "switched off for this model",
        replace(
            RUNNER,
            "        if training_spec.low_ram:\n            TrainingRunner._apply",
            '        if training_spec.low_ram and model_config.aliases[0] != "nova-turbo":\n            TrainingRunner._apply',
        ),
    ),
    (
        "TRN10",
        "the variants forget what training does",
        both(replace(VARIANT, _NORMALISED), replace(EDIT, "NovaLatentCreator.normalize_latents(", "dict(")),
    ),
    ("TRN11", "a row without the column", replace("README.md", " | Oct 2026 | 6B | Distilled & Base | Yes |", " |")),
    ("MRG01", "any digit", lambda tree: prove(tree, "1")),
    ("MRG01", "out of the limit", figures("3.1e-06", "9.9e-01")),
    ("MRG01", "not a number", figures("3.1e-06", "nan")),
    ("MRG01", "small", figures("1024x1024", "272x208")),
    ("MRG01", "another dtype", figures("float32", "bfloat16")),
    ("MRG01", "figures of an earlier version", figures("8 steps, guidance 4, ", "")),
    ("MRG01", "without guidance", figures("guidance 4", "guidance 0", "loop")),
    ("MRG01", "failed since", figures("relL2", "FAIL relL2")),
    ("MRG19", "float32", lambda tree: prove(tree, FIGURES.format(commit="0000000"), "bfloat16")),
    ("MRG16", "an unknown commit", figures("", "")),
    (
        "MRG16",
        "uncommitted changes were measured",
        lambda tree: prove(tree, FIGURES.format(commit=f"{tree.git('rev-parse', '--short', 'HEAD~1')}+")),
    ),
    ("MRG03", "a tensor is loaded", append(FEED_FORWARD, '\nREFERENCE = mx.load("latents.safetensors")\n')),
    ("MRG03", "tensors are saved", append(FEED_FORWARD, '\nmx.save_safetensors("x.safetensors", {})\n')),
    ("MRG03", "a path that is worked out, while drawing", append(VARIANT, "\nNOISE = mx.load(PATH)\n")),
    ("MRG03", "a debugger", append(FEED_FORWARD, "\nimport pdb\npdb.set_trace()\n")),
    ("MRG04", "in the initializer", append(INIT, "\nprint(1)\n")),
    ("MRG04", "in the latent creator", append(CREATOR, "\nprint(1)\n")),
    (
        "MRG06",
        "an unwritten method",
        append(FEED_FORWARD, "\nclass A:\n    def f(self):\n        raise NotImplementedError\n"),
    ),
    ("MRG07", "a picture of a run", picture(f"{P}/debug.png")),
    ("MRG08", "another line in a wired file", append(SAVE, "\nUNRELATED = 1\n")),
    ("MRG08", "another paragraph in the README", append("README.md", "\nAn unrelated paragraph.\n")),
    (
        "MRG08",
        "a file without a reason",
        both(
            append(PORTING, "\n- `src/mflux/utils/metadata_reader.py`:\n"),
            append("src/mflux/utils/metadata_reader.py", "#\n"),
        ),
    ),
    ("MRG08", "another model's test", write("tests/test_supernova_unrelated.py", "import pytest\n")),
    ("MRG08", "another model's picture", write("src/mflux/assets/other.bin", "x")),
    ("STY01", "in single quotes", append(FEED_FORWARD, "\n\nclass A:\n    'what it is'\n")),
    ("DOC06", "a checkpoint that no example draws with", lambda tree: cut(tree, "Base model example")),
    ("DOC07", "a model that is none", replace(README, "--model nova-base", "--model nova-bass")),
    ("DOC08", "an example that is no Python", replace(README, "model = Nova(", "model = = Nova(")),
    ("DOC09", "other steps in Python", replace(README, "num_inference_steps=8", "num_inference_steps=50")),
    (
        "DOC10",
        "memory is no size on the disk",
        both(replace(README, "12.5 GB", "much"), append(README, "\n- Peak memory is 9 GB.\n")),
    ),
    ("DOC16", "git has no picture", lambda tree: tree.git("rm", "--quiet", "--cached", "src/mflux/assets/nova.jpg")),
    ("DOC16", "at the end", both(replace(README, _HERO), append(README, f"\n{_HERO}"))),
    (
        "DOC20",
        "in another release",
        both(replace("CHANGELOG.md", "**Nova**", "**Other**"), append("CHANGELOG.md", "\n## [0.1]\n- Nova\n")),
    ),
    ("DOC20", "another model's name", replace("CHANGELOG.md", "**Nova**", "**Supernova**")),
    ("DOC24", "nothing about tolerances", replace(README, "- Tolerances: below 1e-4 in every stage.\n")),
    (
        "FEA17",
        "a long one",
        replace(VARIANT, "        decoded = self._dec", "        pass\n" * 90 + "        decoded = self._dec"),
    ),
    ("WGT05", "everything", replace(DEFINITION, _TOKENIZER, f'{_TOKENIZER}\n            "**",')),
    (
        "WGT05",
        "all weights of the repo",
        replace(DEFINITION, _TOKENIZER, f'{_TOKENIZER}\n            "*.safetensors",'),
    ),
    (
        "LAY13",
        "a scheduler elsewhere",
        both(lambda tree: tree.remove_folder(f"{P}/model/nova_scheduler"), append(FEED_FORWARD, _STEP)),
    ),
    ("TST01", "emptied", write(GOLDEN, "# mark.slow check_images_close_enough\n")),
    ("TST02", "the marker in a comment", write(GOLDEN, "# mark.slow\n")),
    ("TST04", "no picture", write(REFERENCES[0], "")),
    ("TST07", "emptied", write("tests/lora/test_nova_lora_mapping.py", "import pytest\n")),
    ("TST09", "emptied", write(SAVING, "# index.json\n")),
    ("TST10", "emptied", write(SAVING, "# index.json\n")),
    ("TST11", "emptied", write(COMMAND, "# mark.fast\n")),
    ("TST17", "emptied", write("tests/image_generation/test_nova_latent_creator.py", "\n")),
    ("STY08", "a broken test", append(COMMAND, "x = = 1\n")),
    ("TAB01", "a name among the values", replace(DEFAULTS, '    "nova-base": 40,\n', "    **{'nova-base': 40},\n")),
]
