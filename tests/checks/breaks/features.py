"""FEA: what each rule of ``checks/rules/features.py`` must notice in the complete port."""

from __future__ import annotations

from tests.checks.breaking import Break, both, replace
from tests.checks.paths import CREATOR, EDIT, INIT, NORMALIZED, SAVER, VARIANT

BREAKS = [
    Break("FEA01", replace(CREATOR, "def unpack_latents(", "def unpack(")),
    Break("FEA02", replace(CREATOR, "seed", "number")),
    Break("FEA03", replace(CREATOR, "def pack_latents(", "def pack(")),
    Break(
        "FEA04",
        both(
            replace(CREATOR, "        if latents.ndim == 5:\n            latents = latents[:, :, 0, :, :]\n"),
            replace(
                CREATOR, "return Flux2LatentCreator.patchify_latents(latents)", "return latents.reshape(*latents.shape)"
            ),
        ),
    ),
    Break("FEA05", replace(VARIANT, "LatentCreator.encode_image(", "encode(")),
    Break("FEA06", replace(VARIANT, "(latents, tiling_config=self.tiling_config)", "(latents)")),
    Break(
        "FEA07",
        replace(SAVER, 'getattr(model, "tiling_config", None) is None', "True"),
        before=replace(INIT, "model.tiling_config = None", "model.tiling_config = TilingConfig()"),
    ),
    Break("FEA08", replace(INIT, "model.tiling_config", "model.tiles")),
    Break("FEA09", replace(INIT, "model_config.transformer_overrides", "model_config.sizes")),
    Break("FEA10", replace(VARIANT, "ctx.in_loop(t, latents)", "pass")),
    Break("FEA11", replace(VARIANT, "ctx.interruption(t, latents)", "pass")),
    Break("FEA12", replace(VARIANT, "prompt_cache", "cache")),
    Break("FEA13", replace(VARIANT, "self.prompt_cache[prompt_key] = ", "self.prompt_cache[cache_key] = ")),
    Break(
        "FEA13",
        replace(EDIT, "[(prompt, *image_paths)]", "[tuple(image_paths)]"),
        "an encoder that sees the images, keyed by these alone",
        before=replace(
            EDIT,
            "        return self._encode_prompt(prompt, **options)\n",
            "        self.prompt_cache[(prompt, *image_paths)] = self._encode_prompt(prompt, **options)\n"
            "        return self.prompt_cache[(prompt, *image_paths)]\n",
        ),
    ),
    Break("FEA14", replace(VARIANT, "def _predict(", "def _step(")),
    Break("FEA15", replace(VARIANT, "def _decode_latents(", "def _decode(")),
    Break("FEA16", replace(EDIT, "NovaLatentCreator.normalize_latents(", "dict(")),
    Break("FEA16", replace(VARIANT, NORMALIZED), "image-to-image without normalisation"),
    Break("FEA16", replace(VARIANT, "NovaLatentCreator.pack_latents(", "dict("), "image-to-image without packing"),
    Break(
        "FEA17",
        replace(
            VARIANT,
            "        latents = self._prepare_latents(",
            "        mx.eval(mx.zeros(1))\n" * 3 + "        latents = self._prepare_latents(",
        ),
    ),
    Break(
        "FEA17",
        replace(VARIANT, "        decoded = self._dec", "        pass\n" * 90 + "        decoded = self._dec"),
        "a long method",
    ),
    Break(
        "FEA18",
        replace(
            VARIANT,
            "        latents = self._denoise(",
            "        rotary = self.transformer.get_rotary_embeddings(latents, prompt_embeds)\n        latents = self._denoise(",
        ),
    ),
]
