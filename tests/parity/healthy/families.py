"""The families: which port, which guidance, and the true differences between mflux 0.24 and diffusers 0.42."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.parity.healthy.settings import HIGH_GUIDANCE


@dataclass(frozen=True)
class Difference:
    """A true difference, shown in both sources. ``lines`` is a pattern of what the harness may say about it.

    ``module`` and ``limit`` make it a waiver; without them it is a whole stage that differs in some ``settings``.
    ``schedule``: the loop and the picture are judged again with the reference's steps, and have to pass then.
    """

    reason: str
    module: str = ""
    limit: float = 1e-5
    lines: str = ""
    settings: str = ""
    schedule: bool = False


@dataclass(frozen=True)
class Family:
    """``guidance`` is the model card's. ``calls`` are arguments that give the reference the port's own settings.

    ``words``: numbers in the source of the reference's pipeline, by module, and their replacements.
    ``negative`` is given whenever guidance is on; empty for a port that makes one prediction a step.
    """

    steps: int
    guidance: float
    supports_guidance: bool = True
    unit: int = 16  # pixels: both sides of a picture are multiples of it
    prompt: str = ""
    negative: str = "a blurry dog in a rain"
    off: float = 1.0
    high: float = HIGH_GUIDANCE
    calls: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    words: dict[str, dict[str, str]] = field(default_factory=dict)
    differences: tuple[Difference, ...] = field(default=())


FLUX = (
    Difference(
        "mflux's joint_attention.py and single_block_attention.py build these norms with MLX's default eps of 1e-5; "
        "diffusers' FluxAttention gives them 1e-6",
        module="transformer.*.attn.norm_*",
    ),
    Difference(
        "mflux's joint_transformer_block.py computes GELU by its error function for the image's rows; diffusers' "
        "FeedForward has gelu-approximate, the tanh form",
        module="transformer.*.ff",
        limit=1e-3,
    ),
    Difference(
        "mflux's flux_vae/common/attention.py:11 builds this norm with MLX's default eps of 1e-5; diffusers' "
        "autoencoders/vae.py:136 gives its mid block 1e-6",
        module="vae.*.mid_block.attentions.0.group_norm",
    ),
)
QWEN = (
    Difference(
        "mflux's qwen_text_encoder.py passes its embeddings on in bfloat16 in every dtype; diffusers keeps the encoder's",
        lines=r"^text_encoder FAIL relL2 1\.\d+e-03|^end_to_end FAIL relL2 \S+e-0[45]|text_encoder: text_encoder .*passes on bfloat16",
        settings="float32",
    ),
)
FIBO = (
    Difference(
        "mflux's FlowMatchEulerDiscreteScheduler spaces FIBO's steps from 1 to 0.001 and shifts them by a fixed mu of 1; "
        "diffusers' BriaFiboPipeline spaces them from 1 to 1/n and makes mu of the picture's size. Two steps hide it",
        lines=r"^scheduler FAIL relL2 (1\.\d+e-01|9\.\d+e-02) |^look at scheduler: scheduler .*spacing of the steps",
        settings="6 steps",
        schedule=True,
    ),
)
FIBO_PROMPTS = {
    "prompt": '{"short_description": "a red fox in deep snow"}',
    "negative": '{"short_description": "a blurry dog in a rain"}',
}
Z_IMAGE = (
    Difference(
        "mflux's z_image text encoder builds these norms with MLX's default eps of 1e-5; transformers' Qwen3 has 1e-6",
        module="text_encoder.layers.*.self_attn.[qk]_norm",
    ),
)
SHIFT = Difference(
    "mflux's ZImage takes FlowMatchEulerDiscreteScheduler for a checkpoint with guidance, which shifts the steps by an "
    "empirical mu of their number and the picture's size (about 7); diffusers shifts them by the checkpoint's fixed 6.0",
    lines=r"^scheduler FAIL relL2 (\d\.\d+e-02|[89]\.\d+e-03) |^look at scheduler: scheduler .*sigma shift: the port's is 1\.1\d* times",
    schedule=True,
)
FAMILIES = {
    # Turbo takes no guidance: the recording of another value is refused.
    "z_image": Family(4, 0.0, off=0.0, high=0.0, negative="", supports_guidance=False, differences=Z_IMAGE),
    "z_image_base": Family(4, 4.0, differences=(*Z_IMAGE, SHIFT)),
    "flux2": Family(
        4, 1.0,
        differences=(
            Difference(
                "mflux's flux2 attention builds these norms with MLX's default eps of 1e-5; diffusers' has 1e-6",
                module="transformer.*.attn.norm_*",
            ),
            Difference(
                "mflux's flux2_klein.py:90 encodes a space as the negative prompt; diffusers' pipeline_flux2_klein.py:750 nothing",
                lines=r"^text_encoder FAIL relL2 1\.\d+e-01 .*the prompt is right, the negative prompt is not"
                r"|^end_to_end FAIL relL2 ([0-9.]+e-02|1\.\d+e-01) "
                r"|^look at text_encoder: (text_encoder .*accumulated 1\.\de-01|tokenizer .*token \d+ is 230; the reference's is 5 )",
                settings="guidance high",
            ),
        ),
    ),
    "ernie_image": Family(8, 1.0),
    # Schnell takes no guidance, and the port only supports the model's own length.
    "flux": Family(4, 0.0, supports_guidance=False, negative="", calls=("max_sequence_length=256",), differences=FLUX),
    "flux_dev": Family(4, 3.5, negative="", differences=FLUX),
    "qwen": Family(4, 4.0, differences=QWEN),
    "krea2": Family(
        4, 4.5, off=0.0,
        overrides=(
            "transformer.text_num_attention_heads=4", "transformer.text_num_key_value_heads=4",
            "transformer.intermediate_size=256", "transformer.text_intermediate_size=256",
            "text_encoder.text_config.num_hidden_layers=36",
        ),
    ),
    # SmolLM3 leaves out the rotation in every fourth layer, mflux does not: the twin has none of these layers. mflux
    # does not mask the padding of the shorter prompt either, so both prompts have one length.
    "fibo": Family(4, 5.0, **FIBO_PROMPTS, overrides=("text_encoder.no_rope_layers=[1,1,1,1]",), differences=FIBO),
    "fibo2": Family(4, 5.0, **FIBO_PROMPTS),
}  # fmt: skip
# Families that only edit: judged with an input image, by test_edit.py. FIBO's steps differ there, too (its terminal
# shift).
EDITS = {
    "flux_kontext": Family(4, 2.5, negative="", calls=("_auto_resize=false",), differences=FLUX),
    "fibo_edit": Family(
        4, 5.0, overrides=("text_encoder.no_rope_layers=[1,1,1,1]",),
        prompt='{"short_description": "a red fox in deep snow", "edit_instruction": "make it green"}',
        negative='{"short_description": "a blurry dog in a rain", "edit_instruction": "make it brown"}',
    ),
    # diffusers gives the encoder and the VAE an image of a million pixels, mflux the encoder one of 384 * 384 and the
    # VAE one of the output's size: with that area in diffusers' source and an image of that size all three are one.
    "qwen_edit": Family(
        4, 4.0, words={
            "diffusers.pipelines.qwenimage.pipeline_qwenimage_edit": {"1024 * 1024": "384 * 384"},
            # Images are processed by the class that needs no torchvision.
            "transformers.models.auto.image_processing_auto": {"is_torchvision_available()": "False"},
        },
        overrides=("text_encoder.vision_config.fullatt_block_indexes=[1]",), differences=QWEN,
    ),
}  # fmt: skip
# Left out of the ten, and replaced by FLUX.1 dev (an embedded guidance) and Z-Image's base (guidance): mflux's
# Ideogram4 loads checkpoints in fp8 only, which diffusers does not, and its loop has no step of a scheduler. mflux's
# text-to-image class of Qwen-Image-2.1 is not diffusers' pipeline, as its qwen21/reference/README.md says: three
# channels of the VAE's four, the encoder's final norm (diffusers' pipeline_qwenimage21.py:303 takes the layer before
# it), its own schedule.
