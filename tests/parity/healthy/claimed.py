"""The claims of mflux's own ports besides text-to-image, and the true differences between mflux 0.24 and diffusers
0.42.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# As large as what is drawn: mflux's FLUX.1 Kontext and FIBO scale an image to that size, diffusers encodes it at its
# own.
IMAGE, LARGE_IMAGE = "image-64x48.png", "image-384x384.png"
SIZE = ("--size", "64x48", "--no-calibration")
FLAGS = {
    "edit": ("--edit", "--steps", "4", *SIZE),
    "image": ("--image", "--steps", "4", "--strength", "0.7", "--size", "128x96", "--no-calibration"),
    "lora": ("--lora", "--steps", "1", "--no-calibration"),
    "training": ("--training", "--steps", "4", "--no-calibration"),
}


@dataclass(frozen=True)
class Known:
    """A true difference, shown in both sources. ``line``: a pattern of the rows that it explains, in ``claim``."""

    claim: str
    line: str
    reason: str


@dataclass(frozen=True)
class Claimed:
    """``flags``: more of run_reference.py for a claim. ``ports``: a class of ports.py other than Port for a claim; for
    training, another one than Adapter.
    """

    claims: tuple[str, ...]
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)
    known: tuple[Known, ...] = ()

    def explains(self, claim: str, line: str) -> str:
        """The reason for a row's failure; empty when it is a false alarm."""
        return next((one.reason for one in self.known if one.claim == claim and re.search(one.line, line)), "")


OLD = (
    "mflux's mapping of the family lists no lora.up and lora.down; diffusers' state_dict_utils.py:54 reads them as lora_B "
    "and lora_A"
)
SAVED = "the reference does not read this key"
# What a resumed adapter of ERNIE-Image and Krea 2 lacks: ernie_training_adapter.py:126 and
# krea2_training_adapter.py:139 call LoRALoader.load_and_apply_lora without bake_lora=False, as
# flux2_base_training_adapter.py:106 does, so that lora_loader.py:75 adds it to the weights and nothing is trained. The
# rest is judged with an adapter that keeps it apart.
UNBAKED = {"training": "Unbaked"}
CLAIMED = {
    "z_image": Claimed(
        ("image", "lora", "training"),
        known=(
            Known(
                "training",
                f"^saved FAIL diffusion_model.t_embedder.linear.*{SAVED}",
                "mflux's z_image_training_adapter.py:145 saves its own paths, here t_embedder.linear2 (timestep_embedder.py:20); "
                "diffusers' transformer_z_image.py:44 has t_embedder.mlp.2",
            ),
        ),
    ),
    "flux2": Claimed(
        ("edit", "image", "lora", "training"),
        {"edit": ("--edit", "2")},
        {"edit": "Edit"},
        known=(
            Known(
                "lora",
                "^diffusers(_alpha)? FAIL .*: time_guidance_embed.timestep_embedder.linear_1 and 1 more: not applied",
                "mflux's flux2_lora_mapping.py:121 lists time_guidance_embed.linear_1, its own path; diffusers' "
                "transformer_flux2.py:1012 has time_guidance_embed.timestep_embedder.linear_1",
            ),
            Known("lora", "^diffusers_old FAIL refused, such as transformer.context_embedder.lora.down", OLD),
            Known(
                "lora",
                "^lokr_diffusers FAIL .*: context_embedder and 8 more: not applied",
                "mflux's flux2_lora_mapping.py:92 has no LoKr names for layers outside the blocks; diffusers' "
                "lora_pipeline.py:5838 reads them for every layer",
            ),
            Known(
                "training",
                f"^saved FAIL transformer.transformer_blocks.2.attn.to_out.lora_B.*{SAVED}",
                "mflux's flux2_base_training_adapter.py:133 saves its own paths, here attn.to_out (attention.py:21); diffusers' "
                "transformer_flux2.py:538 has a list there, attn.to_out.0",
            ),
        ),
    ),
    "ernie_image": Claimed(
        ("image", "lora", "training"),
        ports=UNBAKED,
        known=(
            Known(
                "lora",
                "^(diffusers(_alpha)?|comfyui) FAIL .*: adaLN_modulation.1: not applied",
                "mflux's ernie_lora_mapping.py:11 lists adaln_modulation, its own path, for these files; diffusers' "
                "transformer_ernie_image.py:331 has adaLN_modulation.1",
            ),
            Known("lora", "^diffusers_old FAIL refused, such as transformer.adaLN_modulation.1.lora.down", OLD),
            Known(
                "lora",
                "^peft FAIL refused, such as base_model.model.adaLN_modulation.1.lora_A",
                "mflux's ernie_lora_mapping.py lists no name with base_model.model; diffusers' lora_pipeline.py:6613 "
                "reads it as diffusion_model",
            ),
            Known(
                "training",
                "^sigmas FAIL .*another schedule",
                "mflux's ernie_training_adapter.py:35 takes lora_training_steps of the model's config, not the steps of the "
                "training file, with which diffusers' pipeline_ernie_image.py makes its sigmas",
            ),
            Known(
                "training",
                "^saved FAIL .*was trained with 2 times the saved update",
                "mflux's ernie_training_adapter.py:144 saves the factors without the scale (alpha / rank); diffusers reads a "
                "file without alpha at scale 1",
            ),
        ),
    ),
    "flux_dev": Claimed(("image", "lora")),
    "qwen": Claimed(("image", "lora")),
    "krea2": Claimed(
        ("lora", "training"),
        ports=UNBAKED,
        known=(
            Known(
                "training",
                f"^saved FAIL transformer.txtmlp.*{SAVED}",
                "mflux's krea2_training_adapter.py:162 saves its own paths, here txtmlp.linear_out; diffusers' "
                "transformer_krea2.py has other names for these layers",
            ),
        ),
    ),
    "flux_kontext": Claimed(("edit", "lora"), {"edit": ("--edit", IMAGE)}),
    "qwen_edit": Claimed(
        ("edit",),
        {"edit": ("--edit", LARGE_IMAGE, "--size", "384x384", "--steps", "2")},
        known=(
            Known(
                "edit",
                r"^text_encoder FAIL relL2 2\.\d+e-04 ",
                "mflux's qwen_image_edit.py:215 passes the prompts' embeddings on in float16 in every dtype; diffusers' "
                "pipeline_qwenimage_edit.py:268 keeps the encoder's",
            ),
        ),
    ),
    "fibo_edit": Claimed(("edit",), {"edit": ("--edit", IMAGE)}, {"edit": "WithReferenceSteps"}),
}
