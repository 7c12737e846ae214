"""Further breaks: what a rule must see apart from its first example. Rule, what is broken, the one step that breaks it."""

from __future__ import annotations

import json

from tests.checks.breaks_package import CLI, EDIT, LORA, VARIANT, append, both, replace, write
from tests.checks.breaks_repo import ADAPTER, EXAMPLE, RUNNER

_STEPS = "num_inference_steps=Nova.DEFAULT_STEPS[self._model.checkpoint],\n            height"
_GUIDANCE = "guidance=Nova.DEFAULT_GUIDANCE[self._model.checkpoint],\n        )\n        self"
_NORMALISED = "        clean = NovaLatentCreator.normalize_latents(clean, vae=self.vae)\n"
_TARGETS = json.dumps({"model": "nova-turbo", "lora_layers": {"targets": ["transformer_blocks"]}})

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
]
