"""Run inside an mflux environment: break mflux's own mappings one line at a time and print what the ledger says.

``mapping_breaks.py REFERENCES`` prints {break: [[kind, name], …]}, and an unbroken account per component as
``<family> <component>``. The mappings, transforms and modules are mflux's; the headers are the references'.
"""

import importlib
import json
import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import mlx.core as mx
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.common.weights.loading.weight_definition import ComponentDefinition
from mflux.models.common.weights.mapping.weight_mapping import WeightTarget
from mflux.models.common.weights.mapping.weight_transforms import WeightTransforms
from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.keylist import snapshot
from mflux_port.checkpoint.layout import open_checkpoint
from mflux_port.ledger.balance import account
from mlx import nn

FAMILIES = {
    "z_image": ("z_image.weights.z_image_weight_definition", "ZImageWeightDefinition"),
    "flux2_klein": ("flux2.weights.flux2_weight_definition", "Flux2KleinWeightDefinition"),
    "qwen_image": ("qwen.weights.qwen_weight_definition", "QwenWeightDefinition"),
}


def build(family, component):
    if family == "z_image":
        from mflux.models.z_image import z_image_initializer as made

        return {"vae": made.VAE, "transformer": made.ZImageTransformer, "text_encoder": made.TextEncoder}[component]()
    if family == "qwen_image":
        from mflux.models.qwen import qwen_initializer as made

        return {"vae": made.QwenVAE, "transformer": made.QwenTransformer, "text_encoder": made.QwenTextEncoder}[
            component
        ]()
    from mflux.models.flux2 import flux2_initializer as made

    config = ModelConfig.flux2_klein_4b()
    if component == "vae":
        return made.Flux2VAE()
    if component == "transformer":
        return made.Flux2Transformer(**config.transformer_overrides)
    return made.Qwen3TextEncoder(**config.text_encoder_overrides)


def definition_of(family, name):
    module, cls = FAMILIES[family]
    definition = getattr(importlib.import_module(f"mflux.models.{module}"), cls)
    return next(component for component in definition.get_components() if component.name == name)


@cache
def tensors_of(references, family):
    return snapshot(open_checkpoint(str(references / f"{family}-full"))).tensors


def findings(references, family, name, change=None, remake=dict, **fields):
    component = definition_of(family, name)
    if change:
        targets = component.mapping_getter()
        fields["mapping_getter"] = lambda: change(targets)
    done = account(replace(component, **fields), build(family, name), remake(tensors_of(references, family)[name]))
    return [[finding.kind, finding.name] for finding in done.findings if finding.fails]


def edit(pattern, **fields):
    # Change fields of the line whose to_pattern is `pattern`; without fields, remove the line.
    def change(targets):
        assert any(target.to_pattern == pattern for target in targets), pattern
        kept = [target for target in targets if fields or target.to_pattern != pattern]
        return [replace(target, **fields) if target.to_pattern == pattern else target for target in kept]

    return change


def swap(first, second):
    def change(targets):
        sources = {target.to_pattern: target.from_pattern for target in targets}
        other = {first: sources[second], second: sources[first]}
        return [replace(t, from_pattern=other.get(t.to_pattern, t.from_pattern)) for t in targets]

    return change


def add(pattern, model):
    return lambda targets: [
        *targets,
        replace(next(t for t in targets if t.to_pattern == model), to_pattern=pattern),
    ]


FUSED = "layers.{layer}.attention.qkv.weight"


def fuse(tensors):
    # The checkpoint in another common form: one tensor for q, k and v.
    made = {}
    for name, tensor in tensors.items():
        head, found, tail = name.partition(".attention.to_q.weight")
        if found and head.startswith("layers."):
            fused = f"{head}.attention.qkv.weight"
            made[fused] = replace(tensor, name=fused, shape=(3 * tensor.shape[0], tensor.shape[1]))
        elif not re.fullmatch(r"layers\.\d+\.attention\.to_[kv]\.weight", name):
            made[name] = tensor
    return made


def thirds(*places):
    def change(targets):
        parts = {
            f"layers.{{layer}}.attention.to_{name}.weight": place for name, place in zip("qkv", places, strict=True)
        }
        return [
            replace(target, from_pattern=[FUSED], transform=third(parts[target.to_pattern]))
            if target.to_pattern in parts
            else target
            for target in targets
        ]

    return change


def third(place):
    return lambda tensor: mx.split(tensor, 3, axis=0)[place]


def typed(dtype):
    return lambda tensors: tensors | {"x_embedder.weight": replace(tensors["x_embedder.weight"], dtype=dtype)}


FLUX, Z, Q = ("flux2_klein", "transformer"), ("z_image", "transformer"), ("qwen_image", "transformer")
VAE, TEXT = ("flux2_klein", "vae"), ("z_image", "text_encoder")
BREAKS = {
    "block count too small": (FLUX, edit("transformer_blocks.{block}.attn.to_q.weight", max_blocks=4)),
    "block count too large": (FLUX, edit("transformer_blocks.{block}.attn.to_q.weight", max_blocks=7)),
    "single block count too small": (FLUX, edit("single_transformer_blocks.{block}.attn.to_out.weight", max_blocks=19)),
    "layer count too small": (TEXT, None, {"num_layers": 35}),
    "layer count too large": (Z, None, {"num_layers": 31}),
    "q and k swapped": (FLUX, swap(*(f"transformer_blocks.{{block}}.attn.to_{x}.weight" for x in "qk"))),
    "norms swapped": (FLUX, swap(*(f"transformer_blocks.{{block}}.attn.norm_{x}.weight" for x in "qk"))),
    "linears of other shapes swapped": (FLUX, swap("x_embedder.weight", "context_embedder.weight")),
    "norms of the text encoder swapped": (
        TEXT, swap("layers.{layer}.input_layernorm.weight", "layers.{layer}.post_attention_layernorm.weight"),
    ),
    "k where q belongs": (FLUX, edit("transformer_blocks.{block}.attn.to_q.weight",
                                     from_pattern=["transformer_blocks.{block}.attn.to_k.weight"])),
    "misspelt source": (FLUX, edit("proj_out.weight", from_pattern=["project_out.weight"])),
    "misspelt destination": (FLUX, edit("proj_out.weight", to_pattern="project_out.weight")),
    "dropped weight": (FLUX, edit("x_embedder.weight")),
    "dropped bias": (VAE, edit("quant_conv.bias")),
    "dropped bias in every block": (Q, edit("transformer_blocks.{block}.attn.add_q_proj.bias")),
    "missing transpose": (VAE, edit("encoder.conv_out.weight", transform=None)),
    "missing transpose hidden by the shape": (VAE, edit("encoder.conv_in.weight", transform=None)),
    "transpose of a transposed convolution": (VAE, edit("decoder.conv_in.weight",
                                              transform=WeightTransforms.transpose_conv_transpose2d_weight)),
    "square linear transposed": (FLUX, edit("transformer_blocks.{block}.attn.to_q.weight", transform=mx.transpose)),
    "transform that fails": (FLUX, edit("proj_out.weight", transform=lambda tensor: tensor.transpose(0, 2, 1))),
    "two tensors for one parameter": (FLUX, edit("x_embedder.weight", from_pattern=["x_embedder.weight",
                                                                                    "proj_out.weight"])),
    "one tensor for two parameters": (FLUX, lambda targets: add("norm_out.linear.weight", "proj_out.weight")(
        edit("norm_out.linear.weight")(targets))),
    "a third of a fused tensor forgotten": (Z, edit("layers.{layer}.attention.to_q.weight",
        transform=lambda tensor: tensor[: tensor.shape[0] // 3])),
    "fused and whole": (Z, thirds(0, 1, 2), {"remake": fuse}),
    "a third taken twice": (Z, thirds(0, 0, 2), {"remake": fuse}),
    "one third for all": (Z, thirds(2, 2, 2), {"remake": fuse}),
    "thirds in another order": (Z, thirds(1, 0, 2), {"remake": fuse}),
    "linears of other depths swapped": (FLUX, swap(*(f"transformer_blocks.{{block}}.attn.{x}.weight" for x in ("to_out", "to_add_out")))),
    "numbers negated": (TEXT, edit("layers.{layer}.self_attn.q_norm.weight", transform=mx.negative)),
    "numbers read": (FLUX, edit("x_embedder.weight", transform=lambda tensor: tensor * tensor.sum().item())),
    "a type that MLX refuses": (FLUX, None, {"remake": typed("F64")}),
    "list within a list": (FLUX, edit("proj_out.weight", to_pattern="proj_out.0.0.weight")),
}  # fmt: skip


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.patch = nn.Embedding(6, 6), nn.Linear(16, 32, bias=False)


def small(table=None, patch=lambda tensor: tensor.reshape(32, -1)):
    # A square table, and a convolution's weight that becomes a matrix: here no shape shows what is wrong.
    tensors = {"table.weight": (6, 6), "patch.weight": (32, 4, 2, 2)}
    targets = [WeightTarget(to_pattern=name, from_pattern=[name], transform=change)
               for name, change in zip(tensors, (table, patch), strict=True)]  # fmt: skip
    component = ComponentDefinition("transformer", "transformer", mapping_getter=lambda: targets)
    headers = {name: Tensor(name, "BF16", shape) for name, shape in tensors.items()}
    return [[finding.kind, finding.name] for finding in account(component, Small(), headers).findings]


SMALL = {
    "a table and a patch": {},
    "a patch in another order": {"patch": lambda tensor: tensor.transpose(0, 2, 3, 1).reshape(32, -1)},
    "square table transposed": {"table": mx.transpose},
    "a patch scrambled": {"patch": lambda tensor: tensor.transpose(1, 0, 2, 3).reshape(32, -1)},
}


def main(references):
    said = {name: small(**changes) for name, changes in SMALL.items()}
    for family in FAMILIES:
        for name in ("vae", "transformer", "text_encoder"):
            said[f"{family} {name}"] = findings(references, family, name)
    for name, (where, change, *fields) in BREAKS.items():
        said[name] = findings(references, *where, change, **(fields[0] if fields else {}))
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
