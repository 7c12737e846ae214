"""mflux's own modules at the sizes of a twin: their source with other numbers, where a constructor takes none.

Runs where mflux is installed. Only sizes change, by the tables below, so that mflux's code is judged as released.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import re
import sys
from pathlib import Path

M = "mflux.models."
Table = dict[str, dict[str, object]]  # by the prefix of a module's name: words in its source, and their replacements


def install(folder: Path, tables) -> None:
    """From now on, import mflux's modules with the sizes of the twin in ``folder``. ``tables(sizes)`` has them."""
    sizes = json.loads((folder / "sizes.json").read_text())
    sys.meta_path.insert(0, _Finder(tables(sizes)))


def change(words: Table) -> None:
    """From now on, import modules of the reference with other numbers as well."""
    sys.meta_path.insert(0, _Finder(words))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, tables: Table):
        self.tables = tables

    def find_spec(self, name, path=None, target=None):
        words = {}
        for prefix, table in self.tables.items():  # a later entry may be of a module inside an earlier one
            words |= table if name == prefix or name.startswith(f"{prefix}.") else {}
        spec = importlib.machinery.PathFinder.find_spec(name, path) if words else None
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            return None
        spec.loader = _Loader(spec.loader.name, spec.loader.path, words)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, words: dict):
        super().__init__(name, path)
        self.words = words

    def get_code(self, fullname):  # not from the cache, which holds the released numbers
        return self.source_to_code(self.get_data(self.path), self.path)

    def source_to_code(self, data, path, *, _optimize=-1):
        return super().source_to_code(replaced(data.decode(), self.words).encode(), path, _optimize=_optimize)


def replaced(source: str, words: dict[str, object]) -> str:
    """All at once, longer words first, so that no replacement is replaced again."""
    given = sorted(words, key=len, reverse=True)
    pattern = "|".join(rf"(?<![\w.]){re.escape(word)}(?!\w)" for word in given)
    return re.sub(pattern, lambda found: str(words[found[0]]), source) if given else source


def flux(sizes: dict) -> Table:
    transformer, clip, t5 = sizes["transformer"], sizes["text_encoder"], sizes["text_encoder_2"]
    width = transformer["num_attention_heads"] * transformer["attention_head_dim"]
    inner = t5["num_heads"] * t5["d_kv"]
    assert inner == t5["d_model"]  # T5's width and that of its heads are one number in mflux's source
    encoders = f"{M}flux.model.flux_text_encoder"
    return {
        f"{M}flux.model.flux_transformer": {
            "3072": width, "18432": 6 * width, "12288": 4 * width, "1536": width // 2,
            "24": transformer["num_attention_heads"], "128": transformer["attention_head_dim"], "768": clip["hidden_size"],
            "4096": t5["d_model"], "[16, 56, 56]": transformer["axes_dims_rope"],
        },
        f"{M}flux.model.flux_transformer.time_text_embed": {"128": 128},  # half of the timestep's own width
        f"{encoders}.clip_encoder": {
            "768": clip["hidden_size"], "3072": clip["intermediate_size"], "num_encoder_layers=12": "num_encoder_layers=4",
            "64": clip["hidden_size"] // clip["num_attention_heads"], "num_heads = 12": "num_heads = 4",
            "49408": clip["vocab_size"],
        },
        f"{encoders}.t5_encoder": {
            "4096": t5["d_model"], "10240": t5["d_ff"], "32128": t5["vocab_size"], "range(24)": f"range({t5['num_layers']})",
            "64, 64": f"{t5['num_heads']}, {t5['d_kv']}", "Embedding(32, 64)": f"Embedding(32, {t5['num_heads']})",
        },
        f"{M}flux.model.flux_vae": _halved(sizes["vae"]["block_out_channels"], (128, 256, 512)),
    }  # fmt: skip


def _halved(channels: list[int], released: tuple[int, ...]) -> dict:
    return dict(zip(map(str, released), sorted(set(channels)), strict=True))


def _qwen_vae(sizes: dict) -> Table:
    base = sizes["vae"]["base_dim"]
    return {f"{M}qwen.model.qwen_vae": {str(n * 96): n * base for n in (1, 2, 4)}}


def qwen(sizes: dict) -> Table:
    transformer, text = sizes["transformer"], sizes["text_encoder"]["text_config"]
    width = transformer["num_attention_heads"] * transformer["attention_head_dim"]
    sections = text["rope_parameters"]["mrope_section"]
    return {
        f"{M}qwen.model.qwen_transformer": {
            "3072": width, "24": transformer["num_attention_heads"], "128": transformer["attention_head_dim"],
            "3584": transformer["joint_attention_dim"], "60": transformer["num_layers"],
            "[16, 56, 56]": transformer["axes_dims_rope"],
        },
        f"{M}qwen.model.qwen_text_encoder": {
            "152064": text["vocab_size"], "3584": text["hidden_size"], "18944": text["intermediate_size"],
            "num_hidden_layers: int = 28": f"num_hidden_layers: int = {text['num_hidden_layers']}",
            "num_attention_heads: int = 28": f"num_attention_heads: int = {text['num_attention_heads']}",
            "num_key_value_heads: int = 4": f"num_key_value_heads: int = {text['num_key_value_heads']}",
            "hidden_size // 28": f"hidden_size // {text['num_attention_heads']}", "[16, 24, 24]": sections,
            "151655": sizes["text_encoder"]["image_token_id"],
        },
        **_qwen_vae(sizes),
    }  # fmt: skip


def qwen_edit(sizes: dict) -> Table:
    text, vision = (sizes["text_encoder"][name] for name in ("text_config", "vision_config"))
    width, encoder = vision["hidden_size"], f"{M}qwen.model.qwen_text_encoder"
    released = {
        "1280": width, "3584": text["hidden_size"], "2.671875": f"{vision['intermediate_size']} / {width}",
        "depth: int = 32": f"depth: int = {vision['depth']}", "[7, 15, 23, 31]": vision["fullatt_block_indexes"],
        "num_heads: int = 16": f"num_heads: int = {vision['num_heads']}",
    }  # fmt: skip
    names = ("attention", "block", "mlp", "patch_embed", "transformer")
    return qwen(sizes) | {
        f"{encoder}.{name}": released for name in (*(f"qwen_vision_{n}" for n in names), "qwen_patch_merger")
    }


def krea2(sizes: dict) -> Table:
    transformer, text = sizes["transformer"], sizes["text_encoder"]["text_config"]
    return {
        f"{M}krea2.model.krea2_transformer.transformer": {
            "6144": transformer["num_attention_heads"] * transformer["attention_head_dim"],
            "2560": transformer["text_hidden_dim"], "48": transformer["num_attention_heads"],
            "kvheads: int = 12": f"kvheads: int = {transformer['num_key_value_heads']}",
            "20": transformer["text_num_attention_heads"], "28": transformer["num_layers"],
        },
        f"{M}krea2.model.krea2_text_encoder.text_encoder": {
            "151936": text["vocab_size"], "2560": text["hidden_size"], "num_attention_heads: int = 32":
            f"num_attention_heads: int = {text['num_attention_heads']}",
            "num_key_value_heads: int = 8": f"num_key_value_heads: int = {text['num_key_value_heads']}",
            "9728": text["intermediate_size"], "128": text["head_dim"],
            "num_hidden_layers: int = 36": f"num_hidden_layers: int = {text['num_hidden_layers']}",
            "return end": "return 34",  # the real tokenizer's tokens for the template that diffusers drops
        },
        **_qwen_vae(sizes),
    }  # fmt: skip


def fibo(sizes: dict) -> Table:
    transformer, text, vae = sizes["transformer"], sizes["text_encoder"], sizes["vae"]
    width = transformer["num_attention_heads"] * transformer["attention_head_dim"]
    layers = transformer["num_layers"] + transformer["num_single_layers"]
    return {
        f"{M}fibo.model.fibo_transformer": {
            "3072": width, "1536": width // 2, "4096": transformer["joint_attention_dim"],
            "2048": transformer["text_encoder_dim"], "24": transformer["num_attention_heads"],
            "128": transformer["attention_head_dim"], "num_layers: int = 8": f"num_layers: int = {transformer['num_layers']}",
            "38": transformer["num_single_layers"], "[16, 56, 56]": transformer["axes_dims_rope"],
        },
        f"{M}fibo.model.fibo_text_encoder": {
            "hidden_size: int = 2048": f"hidden_size: int = {text['hidden_size']}",
            "16": text["num_attention_heads"], "num_key_value_heads: int = 4":
            f"num_key_value_heads: int = {text['num_key_value_heads']}", "36": text["num_hidden_layers"],
            "11_008": text["intermediate_size"], "128_256": text["vocab_size"], "46": layers,
        },
        f"{M}fibo.model.fibo_vae.wan_2_2_vae": {
            "ENCODER_BASE_DIM = 160": f"ENCODER_BASE_DIM = {vae['base_dim']}",
            "DECODER_BASE_DIM = 256": f"DECODER_BASE_DIM = {vae['decoder_base_dim']}",
        },
    }  # fmt: skip


def fibo2(sizes: dict) -> Table:
    text, vision = (sizes["text_encoder"][name] for name in ("text_config", "vision_config"))
    sections = text["rope_parameters"]["mrope_section"]
    return {
        f"{M}fibo2.model.fibo2_text_encoder.fibo2_text_encoder": {
            "151936": text["vocab_size"], "2560": text["hidden_size"], "32": text["num_attention_heads"],
            '"num_key_value_heads": 8': f'"num_key_value_heads": {text["num_key_value_heads"]}', "128": text["head_dim"],
            "9728": text["intermediate_size"], "[24, 20, 20]": sections, '"depth": 24': f'"depth": {vision["depth"]}',
            "1024": vision["hidden_size"], "4096": vision["intermediate_size"],
            '"num_heads": 16': f'"num_heads": {vision["num_heads"]}',
            "[5, 11, 17]": vision["deepstack_visual_indexes"], "151655": sizes["text_encoder"]["image_token_id"],
        },
    }  # fmt: skip


def ernie_image(sizes: dict) -> Table:
    width = sizes["text_encoder"]["text_config"]["hidden_size"]
    return {f"{M}ernie_image.model.ernie_text_encoder.prompt_encoder": {"3072": width}}


TABLES = {
    "flux": flux, "flux_dev": flux, "flux_kontext": flux, "qwen": qwen, "krea2": krea2, "fibo": fibo, "fibo2": fibo2,
    "ernie_image": ernie_image, "fibo_edit": fibo, "qwen_edit": qwen_edit,
}  # fmt: skip
