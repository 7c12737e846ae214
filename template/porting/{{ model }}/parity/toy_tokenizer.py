"""A tokenizer of the reference's class with a vocabulary of bytes: real code paths, no download."""

from __future__ import annotations

import json
from pathlib import Path

from parity.components import read_json

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>")


def write_tokenizer(source: Path, target: Path) -> int:
    """Write a toy tokenizer into ``target`` with the class, template and settings of ``source``. Returns its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={word: n for n, word in enumerate(words)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL))
    _save(backend, source, target)
    return len(words)


def _save(backend, source: Path, target: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    given = read_json(source / "tokenizer_config.json") if (source / "tokenizer_config.json").is_file() else {}
    toy = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        padding_side=given.get("padding_side", "right"), model_max_length=given.get("model_max_length", 512),
    )  # fmt: skip
    template = source / "chat_template.jinja"
    toy.chat_template = template.read_text(encoding="utf-8") if template.is_file() else given.get("chat_template", CHAT)
    toy.save_pretrained(target)
    written = read_json(target / "tokenizer_config.json")
    written["tokenizer_class"] = "PreTrainedTokenizerFast"
    (target / "tokenizer_config.json").write_text(json.dumps(written, indent=2), encoding="utf-8")
