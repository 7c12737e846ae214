"""A tokenizer of the reference's class with a vocabulary of single characters: real code paths, no download."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from parity.record.components import read_json

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = (  # T5's class needs its three tokens in this order
    "<pad>", "</s>", "<unk>", "<s>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
IDS = {token: n for n, token in enumerate(SPECIAL)}
MOST = 40  # the reference's other special tokens are left out: the vocabulary is small
# Files that hold a vocabulary or its ids; the toy tokenizer writes its own.
VOCABULARY = (
    "tokenizer*", "vocab*", "merges*", "*.model", "*.tiktoken", "added_tokens.json", "special_tokens_map.json",
)  # fmt: skip


def has_tokenizer(kind: type) -> bool:
    """Whether a component of this class is a tokenizer, or a processor around one."""
    from transformers import PreTrainedTokenizerBase, ProcessorMixin

    return issubclass(kind, PreTrainedTokenizerBase | ProcessorMixin)


def write_tokenizer(source: Path, target: Path, kind: type) -> None:
    """Write a toy tokenizer into ``target`` for the class ``kind``, with the template and settings of ``source``."""
    from tokenizers import models

    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*VOCABULARY))  # such as a processor's image settings
    unigram = getattr(kind, "model", None) is models.Unigram
    backend = _unigram() if unigram else _byte_pairs()
    around = _around_every_text(source)
    backend.add_special_tokens(list(dict.fromkeys([*SPECIAL, *filter(None, around), *_named_in(source)])))
    _put_around(backend, around)
    _save(backend, source, target)
    _as_the_class_reads_it(target, kind)


def _as_the_class_reads_it(target: Path, kind: type) -> None:
    """Make every reader split a text as ``kind`` does, which may add tokens around it or split words in its own way."""
    if not hasattr(kind, "convert_tokens_to_ids"):
        return  # a processor around one
    own = kind.from_pretrained(target)
    if hasattr(own, "backend_tokenizer"):
        own.backend_tokenizer.save(str(target / "tokenizer.json"))
    else:  # a tokenizer in Python, which reads no such file
        written = read_json(target / "tokenizer_config.json")
        written["tokenizer_class"] = kind.__name__
        (target / "tokenizer_config.json").write_text(json.dumps(written, indent=2), encoding="utf-8")


def _around_every_text(source: Path) -> list[str | None]:
    """The special tokens that the reference's own tokenizer puts around every text; None marks the text.

    With them even an empty text has tokens.
    """
    if not (source / "tokenizer.json").is_file():
        return _of_settings(source)
    processor = read_json(source / "tokenizer.json").get("post_processor") or {}
    for part in processor.get("processors", [processor]):
        if part.get("type") == "TemplateProcessing":
            return [entry["SpecialToken"]["id"] if "SpecialToken" in entry else None for entry in part["single"]]
        if part.get("cls") and part.get("sep"):  # BertProcessing and RobertaProcessing
            return [part["cls"][0], None, part["sep"][0]]
    return [None]


def _of_settings(source: Path) -> list[str | None]:
    """The same for a sentencepiece vocabulary, which transformers converts to such a file by these settings."""
    path = source / "tokenizer_config.json"
    config = read_json(path) if path.is_file() else {}

    def token(setting: str, name: str, usual: str) -> list[str]:
        given = config.get(name) or usual
        return [given["content"] if isinstance(given, dict) else given] if config.get(setting) is True else []

    return [*token("add_bos_token", "bos_token", "<s>"), None, *token("add_eos_token", "eos_token", "</s>")]


def _put_around(backend, around: list[str | None]) -> None:
    from tokenizers import processors

    if around != [None]:
        tokens = [(token, backend.token_to_id(token)) for token in dict.fromkeys(filter(None, around))]
        single = [token or "$A" for token in around]
        backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=tokens)


def _named_in(source: Path) -> list[str]:
    """The reference's own special tokens: templates are written with them, and each has to stay one token."""
    path = source / "tokenizer_config.json"
    config = read_json(path) if path.is_file() else {}
    added = config.get("added_tokens_decoder")
    named = [entry.get("content") for entry in added.values() if isinstance(entry, dict)] if added else []
    named += [token for token in config.get("additional_special_tokens") or [] if isinstance(token, str)]
    return [token for token in dict.fromkeys(named) if token and token not in SPECIAL][:MOST]


def _byte_pairs():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={word: n for n, word in enumerate(words)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _unigram():
    # Like sentencepiece: pieces with scores, and a space as a separate character.
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = [(word, 0.0) for word in SPECIAL]
    pieces += [(sign, -1.0) for sign in ("\u2581", *sorted(pre_tokenizers.ByteLevel.alphabet()))]
    backend = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL.index("<unk>"), byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return backend


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
