"""TRN: what each rule of ``checks/rules/training.py`` must notice in the complete port."""

from __future__ import annotations

import json

from tests.checks.breaking import Break, both, move, remove, replace, write
from tests.checks.complete_port import PACKAGE
from tests.checks.paths import ADAPTER, EDIT, EXAMPLE, NORMALIZED, RUNNER, VARIANT
from tests.checks.tree import Tree

_STEPS = "num_inference_steps=MODEL_INFERENCE_STEPS[self._model.checkpoint],\n            height"
_GUIDANCE = "guidance=Nova.DEFAULT_GUIDANCE[self._model.checkpoint],\n        )\n        self"
_TARGETS = json.dumps({"model": "nova-turbo", "lora_layers": {"targets": ["transformer_blocks"]}})


def other_module(tree: Tree) -> None:
    example = json.loads((tree.root / EXAMPLE).read_text())
    example["lora_layers"]["targets"][0]["module_path"] = "transformer_blocks.{block}.attn.to_nothing"
    tree.write(EXAMPLE, json.dumps(example))


BREAKS = [
    Break("TRN01", replace(RUNNER, "NovaTrainingAdapter(", "OtherAdapter(")),
    Break("TRN01", replace(RUNNER, "models.nova.training_adapter", "models.other.training_adapter"), "not imported"),
    Break("TRN02", replace(ADAPTER, "def freeze_base(", "def freeze(")),
    Break("TRN02", remove(ADAPTER), "no adapter"),
    Break("TRN03", remove(EXAMPLE)),
    Break("TRN03", write(EXAMPLE, "{"), "not valid JSON"),
    Break("TRN04", replace(".gitignore", "!src/mflux/models/common/training/_example/train_nova.json\n")),
    Break("TRN05", other_module),
    Break("TRN05", write(EXAMPLE, _TARGETS), "targets are not objects"),
    Break(
        "TRN05", write(EXAMPLE, _TARGETS.replace('{"targets"', '[{"targets"').replace("}}", "}]}")), "layers are a list"
    ),
    Break(
        "TRN06",
        replace(
            ADAPTER,
            "num_inference_steps=MODEL_INFERENCE_STEPS[self._model.checkpoint],\n            height",
            "num_inference_steps=steps,\n            height",
        ),
    ),
    Break("TRN06", replace(ADAPTER, _STEPS, "num_inference_steps=50,\n            height"), "fixed steps"),
    Break(
        "TRN06",
        both(
            replace(ADAPTER, _STEPS, "num_inference_steps=count,\n            height"),
            replace(ADAPTER, "        image = self._model", "        count = steps\n        image = self._model"),
        ),
        "the training file's steps under another name",
    ),
    Break("TRN06", replace(ADAPTER, _GUIDANCE, "guidance=4.0,\n        )\n        self"), "fixed guidance"),
    Break("TRN06", replace(ADAPTER, _GUIDANCE, ")\n        self"), "no guidance"),
    Break("TRN07", replace(ADAPTER, "bake_lora=False,")),
    Break("TRN08", replace(ADAPTER, ", model_path: str | None = None")),
    Break(
        "TRN08",
        replace(RUNNER, "                model_path=training_spec.model_path,\n"),
        "a runner that does not pass it",
    ),
    Break("TRN09", replace(RUNNER, "low_ram", "tiled")),
    Break(
        "TRN09",
        replace(
            RUNNER,
            "        if training_spec.low_ram:\n            TrainingRunner._apply",
            '        if training_spec.low_ram and model_config.aliases[0] != "nova-turbo":\n            TrainingRunner._apply',
        ),
        "switched off for this model",
    ),
    Break("TRN10", replace(ADAPTER, "NovaLatentCreator.normalize_latents(", "plain(")),
    Break(
        "TRN10",
        both(replace(VARIANT, NORMALIZED), replace(EDIT, "NovaLatentCreator.normalize_latents(", "dict(")),
        "the variants do not normalize",
    ),
    Break(
        "TRN11",
        replace(
            "README.md",
            "| Turbo (distilled) & Base | Yes | Text-to-image and editing.",
            "| Turbo (distilled) & Base | No | Text-to-image and editing.",
        ),
    ),
    Break(
        "TRN11",
        replace("README.md", " | Oct 2026 | 6B | Turbo (distilled) & Base | Yes |", " |"),
        "a row without the column",
    ),
    Break(
        "TRN12",
        both(
            move(ADAPTER, f"{PACKAGE}/nova_training.py"), replace(RUNNER, "mflux.models.nova.", "mflux.models.other.")
        ),
    ),
]
