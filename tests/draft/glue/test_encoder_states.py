"""Hidden states that a text encoder gives: which expression reads them, and the layers that are left out."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
from mflux_port.draft.glue.encoder_states import states
from mflux_port.draft.glue.layer_stack import LayerStack, layer_stack


@pytest.mark.parametrize(
    ("encoder", "wanted", "expressions"),
    [
        ("qwen3", ["hidden_states[-2]"], ["states[-2]"]),
        ("qwen3", ["last_hidden_state"], ["prompt_embeds"]),
        ("qwen3", ["hidden_states[-21]", "hidden_states[-3]"], ["states[-21]", "states[-3]"]),
        ("gemma2", ["hidden_states[-2]"], ["shortened(ids)"]),
        ("mistral3", ["hidden_states[-2]"], ["text_encoder(ids)"]),
    ],
)
def test_hidden_states_of_an_encoder(encoder, wanted, expressions):
    assert states(encoder, wanted, "ids").expressions == expressions


def test_missing_hidden_state_is_refused():
    assert states("mistral3", ["hidden_states[-1]"], "ids") is None
    assert states("own", ["hidden_states[-2]", "hidden_states[-3]"], "ids") is None
    assert states("qwen3", ["pooler_output"], "ids") is None


NESTED = {
    "own": "from a.inner import Inner\nclass Own:\n    def __init__(self):\n        self.text_model = Inner()\n",
    "a.inner": "from a.stack import Stack\nclass Inner:\n    def __init__(self):\n        self.embeddings = Other()\n"
    "        self.encoder = Stack()\n        self.final_layer_norm = nn.LayerNorm(4)\n",
    "a.stack": "class Stack:\n    def __init__(self):\n        self.layers = [Layer() for _ in range(3)]\n",
}


def test_the_layers_of_a_drafted_encoder_are_found_at_any_depth():
    stack = layer_stack(lambda module: NESTED.get(module, ""), "own")
    assert stack == LayerStack("text_model.encoder.layers", "text_model.final_layer_norm")
    lines = "\n".join(stack.shortened(-2))
    inner = SimpleNamespace(encoder=SimpleNamespace(layers=[1, 2, 3]), final_layer_norm="norm")
    scope = {"text_encoder": SimpleNamespace(text_model=inner), "copy": copy, "nn": SimpleNamespace(Identity=str)}
    exec(lines, scope)
    assert scope["shortened"].text_model.encoder.layers == [1, 2] and not scope["shortened"].text_model.final_layer_norm
    assert inner.encoder.layers == [1, 2, 3] and inner.final_layer_norm == "norm"


@pytest.mark.parametrize("more", ["self.blocks = [1]", "self.norm = nn.RMSNorm(4)"])
def test_layers_that_could_be_several_are_not_chosen(more):
    source = NESTED | {"a.inner": f"{NESTED['a.inner']}        {more}\n"}
    assert layer_stack(lambda module: source.get(module, ""), "own") is None
