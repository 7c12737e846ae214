"""Findings in modules that a port reuses from mflux unchanged: facts of mflux 0.18 to 0.24, not of the port."""

from __future__ import annotations

from mflux_port.ledger.waivers import Waivers
from mflux_port.port.port import Port
from mflux_port.port.text_encoders import part_of

_ROTARY = {"rotary_emb.inv_freq": "computed from rope_theta"}
_HEAD = {"*lm_head.weight": "the output head: a pipeline reads hidden states and no logits"}
_NO_IMAGE = "a tower for images, which a prompt does not have"
_FACTS = {
    ("vae", "qwen"): Waivers(
        tensors={"encoder.down_blocks.5.time_conv.*": "halves the number of frames of a video; an image has one frame"},
        shapes={"*norm*.weight": "mflux keeps the scale with trailing axes of length 1 and loads it flat"},
    ),
    ("vae", "qwen21"): Waivers(
        tensors={"*.time_conv.*": "halves or doubles the number of frames of a video; an image has one frame"}
    ),
    ("vae", "wan22"): Waivers(
        tensors={"*.time_conv.*": "halves or doubles the number of frames of a video; an image has one frame"},
        shapes={"*norm*.weight": "mflux keeps the scale with trailing axes of length 1 and loads it flat"},
    ),
    ("text_encoder", "t5"): Waivers(
        tensors={"*.relative_attention_bias.weight": "one table shared by all blocks; mflux keeps a copy in each"}
    ),
    ("text_encoder", "qwen3"): Waivers(tensors=_HEAD, parameters=_ROTARY),
    ("text_encoder", "smollm3"): Waivers(tensors=_HEAD, parameters=_ROTARY),
    ("text_encoder", "qwen3_vl"): Waivers(tensors={"*visual.*": _NO_IMAGE, **_HEAD}),
    ("text_encoder", "mistral3"): Waivers(
        tensors={"*vision_tower.*": _NO_IMAGE, "*multi_modal_projector.*": _NO_IMAGE, **_HEAD}
    ),
    ("text_encoder", "gemma2"): Waivers(tensors=_HEAD),
}


def known_waivers(port: Port, component: str) -> Waivers | None:
    """The findings that need no waiver in this component; None when the component is the port's own."""
    return _FACTS.get((part_of(component), port.kinds.get(component, "")))
