"""Runs in mflux's environment: compare the arrays of a module built in ``blank_weights`` with those that MLX builds."""

import json

import mlx.core as mx
from mflux_port.ledger.shape_only_arrays import shape_only_weights
from mlx import nn
from mlx.utils import tree_flatten


def layers() -> nn.Module:
    module = nn.Module()
    module.parts = [nn.Linear(8, 6), nn.Linear(8, 6, bias=False), nn.Embedding(5, 4), nn.Conv1d(3, 4, 3)]
    module.parts += [nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3), nn.ConvTranspose2d(3, 4, 3), nn.RMSNorm(4)]
    module.own, module.positional = mx.random.normal((2, 3)), mx.random.uniform(0, 1, (2,), mx.float16)
    module.keyed = mx.random.normal(shape=(4,), dtype=mx.bfloat16, key=mx.random.key(3))
    return module


def seen(module: nn.Module) -> list:
    return [[path, list(array.shape), str(array.dtype)] for path, array in tree_flatten(module.parameters())]


own = (mx.random.uniform, mx.random.normal)
with shape_only_weights():
    blanks = layers()
try:
    with shape_only_weights():
        raise RuntimeError
except RuntimeError:
    pass
restored = own == (mx.random.uniform, mx.random.normal)
arrays = [array for _, array in tree_flatten(blanks.parameters())]
with shape_only_weights():
    before = mx.get_active_memory()
    large = [nn.Linear(2**20, 2**20) for _ in range(4)]  # 16 TB of numbers
    mx.eval(large[0].weight)  # one number in memory, for any size
    grown = mx.get_active_memory() - before
print(json.dumps({"alike": seen(blanks) == seen(layers()), "restored": restored, "grown": grown,
                  "distinct": len({id(array) for array in arrays}) == len(arrays)}))  # fmt: skip
