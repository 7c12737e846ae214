"""What keeps the port small (needs MLX): ``check_memory.py HOME PORT`` with a twin in HOME/artifacts/tiny."""

from __future__ import annotations

import sys
from pathlib import Path

home, where = Path(sys.argv[1]), sys.argv[2]
sys.path.insert(0, str(home))

import mlx.core as mx  # noqa: E402
import numpy as np  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402
from parity.memo import Memo  # noqa: E402
from parity.run import mlx_port, strips  # noqa: E402
from parity.run.mlx_taps import components, numbers  # noqa: E402

# A convolution in strips gives the same result as a whole one, for any stride, padding and dilation.
random = np.random.default_rng(0)
strips.MOST = 700


def same_in_strips(name: str, shape: tuple[int, ...], kernel: tuple[int, ...], *setting) -> None:
    picture, kernels = (mx.array(random.standard_normal(size).astype(np.float32)) for size in (shape, kernel))
    whole = getattr(mx, name)(picture, kernels, *setting)
    calls, original = [], getattr(mx, name)
    setattr(mx, name, lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs))
    with strips.convolutions_in_strips():
        parts = getattr(mx, name)(picture, kernels, *setting)
    setattr(mx, name, original)
    assert len(calls) > 3 and whole.shape == parts.shape, (name, setting, whole.shape, parts.shape)
    assert np.allclose(np.array(whole), np.array(parts), atol=1e-5), (name, setting)


for setting in ((1, 1, 1), (2, 1, 1), (1, 0, 1), (2, 0, 1), ((2, 1), (1, 0), 1), (1, 2, 2)):
    same_in_strips("conv2d", (1, 37, 21, 6), (5, 3, 3, 6), *setting)
for setting in ((1, 1, 1), (2, 0, 1), ((1, 2, 1), (2, 1, 0), 1), ((2, 1, 2), (0, 1, 1), 1)):
    same_in_strips("conv3d", (1, 3, 19, 11, 6), (5, 3, 3, 3, 6), *setting)

# One large component at a time: what is in memory stays within the limit, and a freed one gets its numbers back.
port = mlx_port.load(where, home / "artifacts/tiny", "float32", {})
mx.clear_cache()
assert mx.get_active_memory() < 1e6, "weights are read before they are needed"
residents, sizes = port.residents, port.residents.bytes
residents.enter("transformer")
before = {path: np.array(array) for path, array in tree_flatten(components(port.model)["transformer"].parameters())}
for name in (*sizes, *reversed(sizes)):
    residents.enter(name)
    mx.clear_cache()
    assert mx.get_active_memory() <= residents.limit + 1e6, (name, mx.get_active_memory(), residents.limit)
residents.free_all()
assert mx.get_active_memory() < 1e6, mx.get_active_memory()
after = {path: np.array(array) for path, array in tree_flatten(components(port.model)["transformer"].parameters())}
assert before.keys() == after.keys() and all(np.array_equal(before[path], after[path]) for path in before)

# The same numbers give the known result; other numbers, another dtype or an object without numbers do not.
memo = Memo(mx.array, numbers)
memo.put("encoder", (mx.arange(4),), {"scale": 2.0}, "known")
assert memo.get("encoder", (mx.arange(4),), {"scale": 2.0}) == "known"
for args, kwargs in (((mx.arange(5),), {"scale": 2.0}), ((mx.arange(4),), {}), ((mx.arange(4.0),), {"scale": 2.0})):
    assert memo.get("encoder", args, kwargs) is None
memo.put("encoder", (object(),), {}, "unknown")
assert memo.get("encoder", (object(),), {}) is None
print("right")
