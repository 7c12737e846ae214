"""Runs in an environment of mflux: save a small model of each class, and print the tensors that a port cannot read.

Arguments: the classes by the answer, as JSON; an empty folder. A port is nova_<answer>.
"""

import importlib
import json
import sys
from pathlib import Path

import transformers
from mflux.models.common.weights.mapping.weight_mapper import WeightMapper
from safetensors import safe_open

SIZES = {
    "vocab_size": 32,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS = {"num_key_value_heads": 1, "head_dim": 4}
MORE = {
    "clip": {},
    "t5": {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 2, "num_heads": 2, "feed_forward_proj": "gated-gelu"},
    "qwen3_vl": {**HEADS, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 0], "rope_theta": 1e4}},
}


def main(classes: dict[str, str], folder: Path) -> None:
    lacking = {}
    for answer, name in classes.items():
        model_class = getattr(transformers, name)
        config = model_class.config_class(**SIZES, **MORE.get(answer, HEADS))
        model_class(config).save_pretrained(folder / answer)
        with safe_open(folder / answer / "model.safetensors", "numpy") as file:
            saved = set(file.keys())
        lacking[answer] = sorted(saved - _mapped(answer))
    print(json.dumps(lacking))


def _mapped(answer: str) -> set[str]:
    module = importlib.import_module(f"mflux.models.nova_{answer}.weights.nova_{answer}_weight_mapping")
    mapping = next(value for name, value in vars(module).items() if name.startswith("Nova"))
    return set(WeightMapper._build_flat_mapping(mapping.get_text_encoder_mapping(), 2, 2))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
