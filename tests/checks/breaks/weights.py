"""WGT: what each rule of ``checks/rules/weights.py`` must notice in the complete port."""

from __future__ import annotations

from tests.checks.breaking import Break, both, replace
from tests.checks.paths import DEFINITION, INIT, MAPPING, VARIANT

_TOKENIZER = '"tokenizer/*",'


BREAKS = [
    Break("WGT01", replace(DEFINITION, "def get_tokenizers", "def tokenizers")),
    Break("WGT01", replace(DEFINITION, "def get_components", "def components"), "no class"),
    Break("WGT02", replace(DEFINITION, "def quantization_predicate", "def predicate")),
    Break(
        "WGT03", replace(DEFINITION, "mapping_getter=NovaWeightMapping.get_transformer_mapping", "mapping_getter=None")
    ),
    Break(
        "WGT04",
        both(replace(DEFINITION, '"transformer/*.safetensors",\n'), replace(DEFINITION, '"transformer/*.json",\n')),
    ),
    Break("WGT05", replace(DEFINITION, '"vae/*.json",', '"vae/*.json",\n            "image_encoder/*.safetensors",')),
    Break("WGT05", replace(DEFINITION, _TOKENIZER, f'{_TOKENIZER}\n            "**",'), "a pattern for everything"),
    Break(
        "WGT05",
        replace(DEFINITION, _TOKENIZER, f'{_TOKENIZER}\n            "*.safetensors",'),
        "all weights of the repo",
    ),
    Break(
        "WGT06",
        both(
            replace(MAPPING, "transformer_blocks.", "layers."),
            replace(MAPPING, "max_blocks=NovaWeightMapping.NUM_BLOCKS,\n"),
            replace(DEFINITION, "num_blocks=NovaWeightMapping.NUM_BLOCKS,\n"),
        ),
    ),
    Break(
        "WGT07",
        both(
            replace(MAPPING, "transformer_blocks.{{block}}", "layers.{{layer}}"),
            replace(MAPPING, "max_blocks=NovaWeightMapping.NUM_BLOCKS,\n"),
            replace(DEFINITION, "num_layers=NovaWeightMapping.NUM_TEXT_ENCODER_LAYERS,\n"),
        ),
    ),
    Break(
        "WGT08",
        both(
            replace(MAPPING, "WeightTarget(", "make("),
            replace(DEFINITION, "mapping_getter=NovaWeightMapping.get_", "other="),
        ),
    ),
    Break("WGT09", replace(DEFINITION, "precision=ModelConfig.precision,\n")),
    Break("WGT11", replace(INIT, "WeightLoader.load(", "load(")),
    Break("WGT12", replace(VARIANT, "weight_definition=NovaWeightDefinition", "weight_definition=OtherDefinition")),
    Break("WGT13", replace(INIT, "model_path", "place")),
]
