"""Run inside an environment with mflux and diffusers: drafted modules at other sizes than the checkpoint that they came
from.

``other_sizes.py SCRATCH`` prints {case: names that do not fit}: a module drafted
from a checkpoint of one size is built with another size's config and must fit the reference of that size.
"""

import json
import sys
from pathlib import Path

import mflux.models
from build_references import build, write_component
from draft_agreement import ANSWERS, write_draft
from mflux.models.common.weights.loading.weight_definition import ComponentDefinition
from mflux_port.checkpoint.layout import open_checkpoint
from mflux_port.draft.component import draft_component
from mflux_port.ledger.balance import account
from mflux_port.port.port import port_from_answers
from mlx.utils import tree_flatten

TEXT = {"hidden_size": 64, "num_hidden_layers": 4, "intermediate_size": 96, "num_attention_heads": 4, "vocab_size": 100}
OTHER_TEXT = {"hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 8, "vocab_size": 90}
IMAGE = {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 32, "joint_attention_dim": 48,
         "axes_dims_rope": [8, 12, 12], "in_channels": 64, "out_channels": 16}  # fmt: skip
WIDE = {"dim": 768, "n_heads": 4, "n_kv_heads": 4, "axes_dims": [64, 64, 64]}
NARROW = {"dim": 96, "n_heads": 2, "n_kv_heads": 2, "axes_dims": [16, 16, 16]}
SD3 = {"num_attention_heads": 2, "attention_head_dim": 8, "joint_attention_dim": 12, "caption_projection_dim": 16,
       "pooled_projection_dim": 10, "pos_embed_max_size": 8, "sample_size": 8}  # fmt: skip
LAYERS = {"n_layers": 2, "n_refiner_layers": 1, "cap_feat_dim": 48}
TOWER = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_heads": 4,
    "out_hidden_size": 64,
    "patch_size": 14,
}
OTHER_TOWER = {"hidden_size": 48, "intermediate_size": 80, "num_heads": 2, "patch_size": 7}
# Case: the component, its class, the options of the checkpoint, the options that change.
CASES = {
    # The first config has as many layers as heads; both have a list with a kind for each layer.
    "grouped queries": ("text_encoder", "Qwen2Model", {**TEXT, "num_key_value_heads": 2},
                        {**OTHER_TEXT, "num_key_value_heads": 4}),
    "heads of their own size": ("text_encoder", "Qwen3Model", {**TEXT, "num_key_value_heads": 2, "head_dim": 24},
                                {**OTHER_TEXT, "num_key_value_heads": 1, "head_dim": 10}),
    "fused grouped queries": ("text_encoder", "Phi3Model",
                              {**TEXT, "num_key_value_heads": 2, "head_dim": 24, "pad_token_id": 0},
                              {**OTHER_TEXT, "num_key_value_heads": 1, "head_dim": 10}),
    "a tower for images": ("text_encoder", "Qwen2_5_VLForConditionalGeneration", {
        "text_config": {**TEXT, "num_key_value_heads": 2, "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}},
        "vision_config": TOWER,
    }, {"vision_config": OTHER_TOWER}),
    "patches": ("transformer", "QwenImageTransformer2DModel", IMAGE, {"patch_size": 3, "out_channels": 5}),
    "one more": ("transformer", "DiTTransformer2DModel",
                 {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "num_layers": 2, "sample_size": 8,
                  "num_embeds_ada_norm": 10, "norm_type": "ada_norm_zero", "norm_elementwise_affine": False},
                 {"num_embeds_ada_norm": 30, "attention_head_dim": 12}),
    "runs of unlike blocks": ("transformer", "SD3Transformer2DModel",
                              {**SD3, "num_layers": 5, "dual_attention_layers": [0, 1]},
                              {"num_attention_heads": 4, "caption_projection_dim": 32}),
    "a limit below": ("transformer", "ZImageTransformer2DModel", LAYERS | NARROW, WIDE),
    "a limit above": ("transformer", "ZImageTransformer2DModel", LAYERS | WIDE, NARROW),
}  # fmt: skip


def written(folder, class_name, options, name):
    reference, config = build(class_name, options)
    write_component(folder, reference, config, "model", 1)
    part = next(iter(open_checkpoint(str(folder)).components.values()))
    part.library, part.class_name = "transformers" if name == "text_encoder" else "diffusers", class_name
    return part, config


def examine(case, scratch):
    name, class_name, options, changed = CASES[case]
    model = case.replace(" ", "_")
    part, _ = written(scratch / "checkpoints" / model, class_name, options, name)
    nested = {key: options[key] | value for key, value in changed.items() if isinstance(value, dict)}
    other, config = written(scratch / "others" / model, class_name, options | changed | nested, name)
    port = port_from_answers({"model": model, "class_name": "Nova", **ANSWERS})
    draft = draft_component(part, name, port, with_forwards=False)
    component, module = write_draft(port, draft, ComponentDefinition(name, name), scratch)
    plain = {key: config[key] for key in changed.keys() - nested}
    plain |= {f"vision_{key}": value for part in nested for key, value in changed[part].items()}
    built = module(**plain)
    found = account(component, built, other.tensors).findings
    # A mapping has as many blocks as the checkpoint that it was drafted from.
    known = other.tensors.keys() | {path for path, _ in tree_flatten(built.parameters())}
    kept = {finding.name for finding in found if finding.fails and finding.name in known}
    return sorted(name for name in kept if not name.startswith(tuple(f"{path}." for path in draft.left_out)))


if __name__ == "__main__":
    scratch = Path(sys.argv[1])
    mflux.models.__path__.append(str(scratch))
    print(json.dumps({case: examine(case, scratch) for case in CASES}))
