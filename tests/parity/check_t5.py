"""Run inside an environment with transformers, mflux and MLX: T5's attention at real sizes, with and without a bug.

``check_t5.py PORTING`` prints a JSON line for each: its error on the reference's input, and the largest that passes.
T5 does not scale its scores, so they are large and multiply rounding.
"""

from __future__ import annotations

import json
import os
import sys

sys.path.insert(0, sys.argv[1])
os.environ["MLX_ENABLE_TF32"] = "0"

import mlx.core as mx  # noqa: E402 - after the environment's settings
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mflux.models.flux.model.flux_text_encoder.t5_encoder.t5_self_attention import T5SelfAttention  # noqa: E402
from parity.compare.limits import Limits  # noqa: E402
from parity.metrics import distance  # noqa: E402
from parity.run.module_call import Call  # noqa: E402
from parity.run.module_replay import replay_of  # noqa: E402
from parity.run.sensitivity import sensitivity  # noqa: E402
from transformers import T5Config  # noqa: E402
from transformers.models.t5.modeling_t5 import T5Attention  # noqa: E402

PATH, TOKENS, SCORES = "t5_text_encoder.t5_blocks.0.attention.SelfAttention", 12, 16.0
WEIGHTS = {"q": SCORES * (4096 * 64) ** -0.5, "k": 4096**-0.5, "v": 4096**-0.5, "o": 4096**-0.5}

torch.manual_seed(0)
config = T5Config(d_model=4096, d_kv=64, num_heads=64, attn_implementation="eager")
reference, port = T5Attention(config, has_relative_attention_bias=True).eval(), T5SelfAttention()
with torch.no_grad():
    for name, size in {**WEIGHTS, "relative_attention_bias": 1.0}.items():
        getattr(reference, name).weight.normal_(0, size)
    hidden = torch.randn(1, TOKENS, 4096)
    wanted = reference(hidden)[0].numpy()


def judged(kind: str, change=lambda name, weight: weight) -> None:
    weights = {name: getattr(reference, name).weight.detach().numpy() for name in (*WEIGHTS, "relative_attention_bias")}
    port.update({name: {"weight": mx.array(change(name, weight))} for name, weight in weights.items()})
    call = Call(
        "text_encoder_2.0",
        PATH,
        "",
        0,
        [Call("text_encoder_2.0", f"{PATH}.{name}", "", n) for n, name in enumerate(WEIGHTS)],
    )
    call.replay = replay_of(port, (mx.array(hidden.numpy()),), {})
    call.local = distance(wanted, call.replay()[0])
    limit = Limits("float32").of_sensitive(call, sensitivity(call))
    print(json.dumps({"port": kind, "error": call.local.relative, "limit": limit}), flush=True)


judged("right")
judged("one bias", lambda name, weight: np.roll(weight, 1, axis=0) if name == "relative_attention_bias" else weight)
