"""Modules that run again on the reference's input, and latents of another shape (needs MLX): ``check_replays.py
PORTING``.
"""

from __future__ import annotations

import sys

sys.path.insert(0, sys.argv[1])

import mlx.core as mx  # noqa: E402
import numpy as np  # noqa: E402
from mlx import nn  # noqa: E402
from parity.latent_orders import Order  # noqa: E402
from parity.run.mlx_taps import widened_activations  # noqa: E402
from parity.run.module_judge import largest_angle  # noqa: E402
from parity.run.module_replay import in_float32, with_results  # noqa: E402
from parity.run.port_latent_orders import PortOrders  # noqa: E402
from parity.run.run_state import FORCED, RunState  # noqa: E402


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.other = nn.RMSNorm(4, eps=5.0), nn.RMSNorm(4, eps=5.0)

    def __call__(self, x, scale):
        return self.norm(x) + scale * self.other(x)


block, x = Block(), mx.array([[1.0, 2.0, 3.0, 4.0]])
wanted = nn.RMSNorm(4, eps=1e-6)(x)
error = float(np.linalg.norm(np.array(block.norm(x) - wanted)) / np.linalg.norm(np.array(wanted)))
right = with_results(block, [(block.norm, wanted, error), (block.other, wanted, error)])(x, 2.0)
assert np.allclose(np.array(right), 3 * np.array(wanted))
assert not np.allclose(np.array(block(x, 2.0)), np.array(right))  # afterwards the block computes as before
one = with_results(block, [(block.norm, wanted, error)])(x, 2.0)  # the other module of the class is left alone
assert np.allclose(np.array(one), np.array(wanted + 2 * block.other(x)))
wrong = with_results(block, [(block.norm, wanted, error)])(x[:, ::-1], 2.0)  # the block gives the module a wrong input
assert np.allclose(np.array(wrong), np.array(block(x[:, ::-1], 2.0)))


class Pair(nn.Module):
    def __call__(self, x):
        return x + 1e-3, None


pair = Pair()
assert np.allclose(np.array(with_results(pair, [(pair, x, 1e-3)])(x)[0]), np.array(x))  # a tuple stays a tuple
nothing = mx.zeros((0, 4))
assert largest_angle(pair, (mx.arange(9), nothing), {}, (nothing, mx.ones(9))) == 8.0

short, exact = x.astype(mx.bfloat16) / 3, x / 3
results, casts = in_float32(lambda x, scale: x * scale, (short,), {"scale": mx.array(0.1)}, [(short, exact)])
assert np.allclose(results[0], np.array(exact) * 0.1, rtol=1e-6) and not casts
assert in_float32(lambda x: x.astype(mx.bfloat16), (short,), {}, [(short, exact)])[1]


class Queries(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows, self.table = mx.random.normal((3, 4)), nn.Embedding(5, 4)

    def __call__(self, ids):
        return self.rows[:2] / 3 + self.table(ids) / 3


queries, ids = Queries(), mx.array([1, 4])
queries.set_dtype(mx.bfloat16)
exact = (np.array(queries.rows[:2].astype(mx.float32)) + np.array(queries.table(ids).astype(mx.float32))) / 3
with widened_activations(queries):
    assert np.allclose(np.array(queries(ids)), exact, rtol=1e-6, atol=1e-6)  # bfloat16 is 1e-3 off
assert queries(ids).dtype == mx.bfloat16


class Recording(dict):
    get = dict.__getitem__


NAME, RIGHT, OTHER = "loop/scheduler.0/in/0", (1, 64, 2, 2), (1, 16, 8, 8)
orders = PortOrders(loop=Order(np.arange(256).reshape(RIGHT)))
state = RunState(Recording({NAME: np.zeros(RIGHT, np.float32)}), None, orders, FORCED, print)
state.exchange(NAME, mx.zeros(OTHER), "guidance")
assert state.trace.notes == [f"guidance/scheduler.0/in/0 is {list(OTHER)}; the reference's is {list(RIGHT)}"]
assert not state.trace.seen[0].aligned
print("right")
