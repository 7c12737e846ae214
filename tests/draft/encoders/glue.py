"""What a porter writes by hand for a pipeline like FLUX.1's: the two embeddings, and the call of the drafted transformer."""

from __future__ import annotations

import re
from pathlib import Path

ENCODE = """
    @staticmethod
    def encode_prompt(
        prompt: str,
        tokenizer: LanguageTokenizer,
        text_encoder: NovaTextEncoder,
        tokenizer_2: LanguageTokenizer,
        text_encoder_2: T5Encoder,
    ) -> tuple[mx.array, mx.array]:
        tokens = tokenizer.tokenize(prompt)
        # The reference passes no mask: the padding is seen.
        _, pooled = text_encoder(tokens.input_ids, mx.ones_like(tokens.input_ids))
        return pooled, text_encoder_2(tokenizer_2.tokenize(prompt).input_ids).astype(ModelConfig.precision)
"""
PREDICT = """
    @staticmethod
    def _predict(
        transformer: NovaTransformer,
        latents: mx.array,
        prompt_embeds: tuple[mx.array, mx.array],
    ) -> Callable[[mx.array, mx.array], mx.array]:
        pooled, embeds = prompt_embeds
        _, channels, height, width = latents.shape
        rows, columns = height // 2, width // 2
        places = [mx.zeros(rows * columns), mx.repeat(mx.arange(rows), columns), mx.tile(mx.arange(columns), rows)]

        def predict(latents: mx.array, sigma: mx.array) -> mx.array:
            patches = latents.reshape(1, channels, rows, 2, columns, 2).transpose(0, 2, 4, 1, 3, 5)
            noise = transformer(
                hidden_states=patches.reshape(1, rows * columns, channels * 4),
                encoder_hidden_states=embeds,
                pooled_projections=pooled,
                timestep=sigma,
                img_ids=mx.stack([one.astype(mx.float32) for one in places], axis=-1),
                txt_ids=mx.zeros((embeds.shape[1], 3)),
            )
            noise = noise.reshape(1, rows, columns, channels, 2, 2).transpose(0, 3, 1, 4, 2, 5)
            return noise.reshape(latents.shape)

        return predict
"""


def write_glue(checkout: Path) -> None:
    package = checkout / "src/mflux/models/nova"
    _change(
        package / "model/nova_text_encoder/prompt_encoder.py", r"\n    @staticmethod\n    def encode_prompt.*", ENCODE
    )
    _change(package / "variants/txt2img/nova.py", r"\n    @staticmethod\n    def _predict.*", PREDICT)
    definition = package / "weights/nova_weight_definition.py"
    _change(definition, r"MAX_SEQUENCE_LENGTH = \d+", "MAX_SEQUENCE_LENGTH = 77")
    _change(definition, r'padding="longest"', 'padding="max_length"')


def _change(path: Path, pattern: str, text: str) -> None:
    changed, count = re.subn(pattern, lambda found: text, path.read_text(encoding="utf-8"), count=1, flags=re.DOTALL)
    assert count == 1, (path, pattern)
    path.write_text(changed, encoding="utf-8")
