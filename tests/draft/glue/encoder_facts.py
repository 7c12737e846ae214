"""Facts about the encoding of prompts, as draft reads them from a pipeline."""

from __future__ import annotations


def fact(**value) -> dict:
    return {"value": value, "where": ""}


def _of_encoder(number: str, keep: str = "all", **more) -> dict:
    return {
        f"tokenization.tokenizer{number}": fact(options={"padding": "max_length", "max_length": 4}),
        f"encoding.text_encoder{number}": fact(tokenizer=f"tokenizer{number}", mask=False, first=0, keep=keep, **more),
    }


CLIP_AND_T5 = {
    **_of_encoder("", keep="pooled", outputs=["last_hidden_state", "pooler_output"]),
    **_of_encoder("_2"),
    "prompt.encoder_hidden_states": fact(states=["text_encoder_2.last_hidden_state"]),
    "prompt.pooled_projections": fact(states=["text_encoder.pooler_output"]),
}


SIDE_BY_SIDE = {
    **_of_encoder("", outputs=["text_embeds", "last_hidden_state"]),
    **_of_encoder("_2"),
    "prompt.encoder_hidden_states": fact(
        blocks=[
            {"states": ["text_encoder.last_hidden_state"], "zeros_behind": 3},
            {"states": ["text_encoder_2.last_hidden_state"]},
        ]
    ),
    "prompt.pooled_projections": fact(states=["text_encoder.text_embeds"]),
}


ZEROS = {
    "tokenization.tokenizer": fact(options={"max_length": 4}),
    "encoding.text_encoder": fact(tokenizer="tokenizer", mask=False, first=0, keep="tokens", pad_to=4),
    "prompt.encoder_hidden_states": fact(states=["text_encoder.last_hidden_state"], zeros_after=True),
    "negative": fact(guided="guidance > 1", default="", zeros=True),
}
