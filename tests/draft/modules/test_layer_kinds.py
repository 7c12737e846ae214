"""The table of layers known from a header, line by line: which layer of mlx.nn, or why it stays unresolved."""

from __future__ import annotations

import pytest
from mflux_port.checkpoint.headers import Tensor
from mflux_port.draft.tree.from_header import header_tree
from mflux_port.draft.tree.layer_kinds import KINDS

M, V = (64, 32), (64,)
# Kind -> inputs: arrays by name, and the layer with the arguments that matter.
LAYERS = {
    "embedding": [
        ("embed_tokens", {"weight": (320, 64)}, "Embedding", {"num_embeddings": "320", "dims": "64"}),
        ("shared", {"weight": (8, 4)}, "Embedding", {"num_embeddings": "8", "dims": "4"}),
        ("token_embedding", {"weight": (49408, 768)}, "Embedding", {"dims": "768"}),
    ],
    "linear": [
        ("to_q", {"weight": M}, "Linear", {"input_dims": "32", "output_dims": "64", "bias": "False"}),
        ("proj", {"weight": M, "bias": V}, "Linear", {"bias": "True"}),
        ("net", {"weight": (1, 1), "bias": (1,)}, "Linear", {"input_dims": "1"}),
    ],
    "one number": [
        ("act", {"weight": (1,)}, "PReLU", {"num_parameters": "1"}),
        ("prelu", {"weight": (1,)}, "PReLU", {}),
        ("gate", {"weight": (1,)}, "PReLU", {}),
    ],
    "norm with a scale": [
        ("norm", {"weight": V}, "RMSNorm", {"dims": "64"}),
        ("norm_q", {"weight": (2,)}, "RMSNorm", {"dims": "2"}),
        ("input_layernorm", {"weight": (4096,)}, "RMSNorm", {"dims": "4096"}),
    ],
    "norm with scale and shift": [
        ("norm", {"weight": V, "bias": V}, "LayerNorm", {"dims": "64"}),
        ("norm_out", {"weight": (1,), "bias": (1,)}, "LayerNorm", {"dims": "1"}),
        ("group_norm", {"weight": (512,), "bias": (512,)}, "LayerNorm", {"dims": "512"}),
    ],
    "batch norm": [
        ("bn", dict.fromkeys(("weight", "bias", "running_mean", "running_var"), V), "BatchNorm", {"num_features": "64", "affine": "True"}),
        ("norm1", dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (3,)), "BatchNorm", {"num_features": "3"}),
        ("norm", dict.fromkeys(("running_var", "bias", "weight", "running_mean"), (1,)), "BatchNorm", {"num_features": "1"}),
    ],
    "batch norm without scale": [
        ("bn", {"running_mean": V, "running_var": V}, "BatchNorm", {"num_features": "64", "affine": "False"}),
        ("norm", {"running_mean": (128,), "running_var": (128,)}, "BatchNorm", {"num_features": "128"}),
        ("out_bn", {"running_var": (1,), "running_mean": (1,)}, "BatchNorm", {"affine": "False"}),
    ],
    "convolution": [
        ("conv", {"weight": (64, 32, 3, 3), "bias": V}, "Conv2d", {"in_channels": "32", "out_channels": "64", "kernel_size": "3"}),
        ("up", {"weight": (32, 64, 4, 4), "bias": V}, "ConvTranspose2d", {"in_channels": "32", "out_channels": "64"}),
        ("conv", {"weight": (8, 4, 3)}, "Conv1d", {"kernel_size": "3", "bias": "False"}),
        ("time", {"weight": (96, 48, 3, 1, 1), "bias": (96,)}, "Conv3d", {"kernel_size": "(3, 1, 1)"}),
        ("patch_embedding", {"weight": (768, 3, 32, 32)}, "Conv2d", {"kernel_size": "32"}),
    ],
    "packed attention": [
        ("attn", {"in_proj_weight": (96, 32), "in_proj_bias": (96,), "out_proj.weight": (32, 32), "out_proj.bias": (32,)},
         "MultiHeadAttention", {"dims": "32", "bias": "True"}),
        ("self_attn", {"in_proj_weight": (192, 64), "out_proj.weight": (64, 64)}, "MultiHeadAttention", {"bias": "False"}),
        ("mha", {"in_proj_weight": (3, 1), "out_proj.weight": (1, 1)}, "MultiHeadAttention", {"dims": "1"}),
    ],
    "attention of several widths": [
        ("attn", {"q_proj_weight": (64, 64), "k_proj_weight": (64, 32), "v_proj_weight": (64, 48), "out_proj.weight": (64, 64)},
         "MultiHeadAttention", {"dims": "64", "key_input_dims": "32", "value_input_dims": "48"}),
        ("cross", {"q_proj_weight": (8, 8), "k_proj_weight": (8, 4), "v_proj_weight": (8, 4), "out_proj.weight": (8, 8)},
         "MultiHeadAttention", {"dims": "8"}),
        ("attn2", {f"{n}_proj_weight": (16, 16) for n in "qkv"} | {"out_proj.weight": (16, 16)}, "MultiHeadAttention", {"dims": "16"}),
    ],
    "recurrent without bias": [
        ("rnn", {"weight_ih_l0": (256, 32), "weight_hh_l0": (256, 64)}, "LSTM", {"input_size": "32", "hidden_size": "64"}),
        ("gru", {"weight_ih_l0": (192, 32), "weight_hh_l0": (192, 64)}, "GRU", {"bias": "False"}),
        ("cell", {"weight_ih_l0": (64, 32), "weight_hh_l0": (64, 64)}, "RNN", {"hidden_size": "64"}),
    ],
}  # fmt: skip
UNRESOLVED = {
    "recurrent with two biases": [
        {"weight_ih_l0": (256, 32), "weight_hh_l0": (256, 64), "bias_ih_l0": (256,), "bias_hh_l0": (256,)},
        {"weight_ih_l0": (192, 32), "weight_hh_l0": (192, 64), "bias_ih_l0": (192,), "bias_hh_l0": (192,)},
        {"weight_ih_l0": (64, 32), "weight_hh_l0": (64, 64), "bias_ih_l0": V, "bias_hh_l0": V},
    ],
    "weight norm": [
        {"weight_g": (64, 1), "weight_v": M, "bias": V},
        {"weight_g": (64, 1, 1), "weight_v": (64, 32, 3)},
        {"weight_g": (), "weight_v": (64, 32, 3, 3), "bias": V},
    ],
    "weight norm, parametrized": [
        {"parametrizations.weight.original0": (64, 1), "parametrizations.weight.original1": M, "bias": V},
        {"parametrizations.weight.original0": (64, 1, 1), "parametrizations.weight.original1": (64, 32, 7)},
        {"parametrizations.weight.original0": (64, 1, 1, 1), "parametrizations.weight.original1": (64, 32, 3, 3)},
    ],
    "spectral norm": [
        {"weight_orig": M, "weight_u": V, "weight_v": (32,), "bias": V},
        {"weight_orig": (64, 32, 3, 3), "weight_u": V},
        {"weight_orig": (64, 32, 3), "weight_u": V, "bias": V},
    ],
    "spectral norm, parametrized": [
        {"parametrizations.weight.original": M, "parametrizations.weight.0._u": V, "parametrizations.weight.0._v": (32,)},
        {"parametrizations.weight.original": (8, 4, 3, 3), "parametrizations.weight.0._u": (8,),
         "parametrizations.weight.0._v": (36,), "bias": (8,)},
        {"parametrizations.weight.original": (8, 4, 3), "parametrizations.weight.0._u": (8,), "parametrizations.weight.0._v": (12,)},
    ],
    "pruned weight": [
        {"weight_orig": M, "weight_mask": M, "bias": V},
        {"weight_orig": (64, 32, 3, 3), "weight_mask": (64, 32, 3, 3)},
        {"weight_orig": M, "weight_mask": M, "bias_orig": V, "bias_mask": V},
    ],
    "stack of matrices": [
        {"weight": (8, 512, 512)}, {"weight": (4, 1024, 256), "bias": (4, 1024)}, {"weight": (2, 64, 64), "bias": (2,)},
    ],
    "quantized weight": [
        {"qweight": (32, 8)}, {"qweight": (4, 64), "scales": (1, 64)}, {"qweight": V, "bias": V},
    ],
    "weight and bias of other sizes": [
        {"weight": M, "bias": (63,)}, {"weight": V, "bias": (32,)}, {"weight": (8, 4, 3, 3), "bias": (5,)},
        {"weight": M, "bias": ()},
    ],
    "weight of no known layer": [{"weight": ()}, {"weight": (8, 4, 99, 99)}, {"weight": (2, 2, 2, 2, 2, 2)}],
}  # fmt: skip
LIKE_A_LAYER = [
    {"weight": M, "odd": V}, {"weight": M, "bias": V, "extra": V}, {"running_mean": V},
    {"in_proj_weight": (97, 32), "out_proj.weight": (32, 32)}, {"weight_ih_l0": M, "weight_hh_l0": M, "weight_ih_l1": M},
    {"in_proj_weight": (96, 32), "bias_k": (1, 1, 32), "out_proj.weight": (32, 32)}, {"scales": V, "gain": V},
]  # fmt: skip


def tree_of(name: str, arrays: dict):
    shapes = {f"blocks.0.{name}.{array}": shape for array, shape in arrays.items()} | {"out.weight": M}
    return header_tree({key: Tensor(key, "BF16", shape) for key, shape in shapes.items()}, {})


def test_every_line_of_the_table_is_tested():
    assert {kind.name for kind in KINDS} == {*LAYERS, *UNRESOLVED}
    assert all(len(inputs) >= 3 for inputs in (*LAYERS.values(), *UNRESOLVED.values()))


@pytest.mark.parametrize(("kind", "number"), [(kind, n) for kind, inputs in LAYERS.items() for n in range(len(inputs))])
def test_a_layer_that_mlx_has(kind, number):
    name, arrays, layer, arguments = LAYERS[kind][number]
    found = tree_of(name, arrays)
    node = found.root.find(f"blocks.0.{name}")
    assert node.layer == layer and arguments.items() <= node.arguments.items() and not found.unresolved
    assert node.doubt or layer in ("Linear", "Embedding", "LSTM", "GRU", "RNN")


@pytest.mark.parametrize(("kind", "number"), [(k, n) for k, inputs in UNRESOLVED.items() for n in range(len(inputs))])
def test_a_layer_that_stays_unresolved(kind, number):
    arrays = UNRESOLVED[kind][number]
    found = tree_of("part", arrays)
    assert {doubt[0] for doubt in found.unresolved.values()} == {kind} and all(
        why[1] for why in found.unresolved.values()
    )
    assert set(found.unresolved) == {f"blocks.0.part.{array}" for array in arrays}
    assert found.root.find("blocks.0.part") is None


@pytest.mark.parametrize("arrays", LIKE_A_LAYER)
def test_arrays_of_a_layer_that_the_table_lacks_are_never_bare(arrays):
    found = tree_of("part", arrays)
    unresolved = {name for name in found.unresolved if not name.startswith("blocks.0.part.out_proj")}
    assert unresolved == {f"blocks.0.part.{array}" for array in arrays if not array.startswith("out_proj")}


@pytest.mark.parametrize(
    "arrays", [{"scale_shift_table": (6, 64)}, {"gamma": V}, {"alpha": V, "beta": V}, {"cls_token": (1, 1, 64)}]
)
def test_bare_arrays_of_a_module_are_drafted(arrays):
    found = tree_of("part", arrays)
    assert not found.unresolved and found.root.find("blocks.0.part").parameters.keys() == arrays.keys()


@pytest.mark.parametrize("dtype", ["I64", "I32", "BOOL", "U8"])
def test_integer_arrays_are_never_drafted(dtype):
    found = header_tree({"a.table": Tensor("a.table", dtype, (4, 4)), "b.weight": Tensor("b.weight", "BF16", M)}, {})
    assert set(found.unresolved) == {"a.table"}
