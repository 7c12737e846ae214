"""What the porter of the README's run writes by hand: `edits.py CHECKOUT`. Each edit follows from pipeline_facts.yml."""

from __future__ import annotations

import sys
from pathlib import Path

# File in the package, what the template rendered there, what the port needs.
EDITS = [
    # prompt.cap_feats: the last hidden state but one.
    (
        "model/vega_text_encoder/prompt_encoder.py",
        "        prompt_embeds, _ = text_encoder(tokens.input_ids, tokens.attention_mask)\n        return prompt_embeds\n",
        "        _, states = text_encoder(tokens.input_ids, tokens.attention_mask, output_hidden_states=True)\n"
        "        return states[-2]\n",
    ),
    # tokenization.tokenizer: the template's options.
    ("weights/vega_weight_definition.py", '"enable_thinking": False', '"enable_thinking": True'),
    # packing, timestep and the sign under guidance: how the transformer is called.
    (
        "variants/txt2img/vega.py",
        "        rotary = transformer.get_rotary_embeddings(latents, prompt_embeds)\n        mx.eval(rotary)\n\n",
        "",
    ),
    (
        "variants/txt2img/vega.py",
        "            timestep = sigma * 1000\n            return transformer(latents, timestep, prompt_embeds, rotary)\n",
        "            image = latents[0][:, None]\n"
        "            noise = transformer([image], 1 - sigma, [prompt_embeds[0]])[0]\n"
        "            return -noise[:, 0][None]\n",
    ),
]


def apply(checkout: Path) -> None:
    for name, old, new in EDITS:
        path = checkout / "src/mflux/models/vega" / name
        text = path.read_text(encoding="utf-8")
        if old not in text:
            raise SystemExit(f"{path} has no {old.strip()!r}: does the template render it otherwise now?")
        path.write_text(text.replace(old, new), encoding="utf-8")


if __name__ == "__main__":
    apply(Path(sys.argv[1]))
