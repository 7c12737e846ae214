"""The transformer's other arguments (not latents, time, prompt), as expressions of sizes and the prompt's length."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mflux_port.draft.glue.prompt_embeds import PromptEmbeds
from mflux_port.draft.pipeline.of_config import NAME

DTYPES = {"float": "mx.float32", "int": "mx.int32", "bool": "mx.bool_"}


@dataclass
class Given:
    """What is available in ``prepare``: the names that expressions may use, and the lines that define them.

    ``pixels``: how many pixels one latent spans.
    """

    class_name: str
    embeds: PromptEmbeds
    pixels: int
    uses: set[str] = field(default_factory=set)
    extra: dict[str, None] = field(default_factory=dict)  # lines that expressions need, in order

    def lines(self, body: str) -> list[str]:
        """The definitions of the names in ``body``."""
        extra = list(self.extra)
        body = "\n".join([body, *extra])
        found = []
        words = set(re.findall(r"\w+", body))
        found += self.embeds.unpacking(words)
        if words & {"height", "width"}:
            found.append("height, width = latents.shape[-2:]")
        return [*found, *extra]

    @property
    def embeddings(self) -> str:
        return self.embeds.main_name


def argument(rule: dict, given: Given) -> str:
    """The expression for one argument; ``rule`` comes from the fact about arguments."""
    return {
        "text mask": _mask,
        "numbers": _numbers,
        "text ids": _text_ids,
        "image ids": _image_ids,
        "table": _table,
        "guidance": _guidance,
        "rotary": _rotary,
    }[rule["is"]](rule, given)


def _guidance(rule: dict, given: Given) -> str:  # noqa: ARG001
    return f"mx.array([{rule.get('factor', 1)} * guidance])" if rule.get("factor", 1) != 1 else "mx.array([guidance])"


def constant(rule: dict) -> str:
    """A constant of the pipeline, or its formula from the transformer's config."""
    return re.sub(rf"\b{NAME}\b", f"transformer.{NAME}", rule["of"]) if "of" in rule else repr(rule["value"])


def _rotary(rule: dict, given: Given) -> str:
    given.uses.add("rotary, " + rule["layout"])
    factor = constant(rule | {"value": rule.get("side", rule.get("factor"))})
    if "side" in rule:
        area = f"height * width * {given.pixels**2}"
        factor = f"({area}) ** 0.5 / ({factor})"
    rows, columns = rule["positions"]
    return f"{given.class_name}._rotary({rows}, {columns}, transformer.{rule['width']}, {rule['theta']}, {factor})"


def _mask(rule: dict, given: Given) -> str:
    dtype = DTYPES[rule["dtype"]]
    if "of" in rule:
        text = f"{given.embeds.mask_of(rule['of'])}.astype({dtype})"
    elif rule.get("all") or not given.embeds.with_mask:
        text = f"mx.ones({given.embeddings}.shape[:2], dtype={dtype})"
    elif rule.get("extra"):
        given.extra[f"positions = mx.arange({given.embeddings}.shape[1])[None]"] = None
        text = f"(positions < mask.sum(axis=1, keepdims=True) + {rule['extra']}).astype({dtype})"
    else:
        text = f"mask.astype({dtype})"
    if rule.get("image"):
        sides = " * ".join(
            f"({side} // {rule['image']})" if rule["image"] > 1 else side for side in ("height", "width")
        )
        text = f"mx.concatenate([{text}, mx.ones((1, {sides}), dtype={dtype})], axis=1)"
    return text + {1: "[0]", 2: "", 3: "[:, None]", 4: "[:, None, None]"}[rule["axes"]]


def _numbers(rule: dict, given: Given) -> str:
    text = _nested(rule["numbers"], given)
    return f"mx.array({text}, dtype={DTYPES[rule['dtype']]})" if rule["array"] else text


def _nested(value, given: Given) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_nested(item, given) for item in value)}]"
    return _symbol(value, given) if isinstance(value, str) else repr(value)


def _symbol(name: str, given: Given) -> str:
    if name == "text":
        return f"{given.embeddings}.shape[1]"
    if name == "tokens":
        return "int(mask.sum())" if given.embeds.with_mask else f"{given.embeddings}.shape[1]"
    for side in ("height", "width"):
        name = name.replace(f"pixel {side}", f"{side} * {given.pixels}")
    return name


def _text_ids(rule: dict, given: Given) -> str:
    if set(rule["columns"]) == {0}:
        shape = f"{'1, ' if rule['axes'] == 3 else ''}{given.embeddings}.shape[1], {len(rule['columns'])}"
        return f"mx.zeros(({shape}), dtype={DTYPES[rule['dtype']]})"
    given.extra[f"places = mx.arange({given.embeddings}.shape[1])"] = None
    return _stacked({"token": "places"}, "places", rule)


def _image_ids(rule: dict, given: Given) -> str:
    given.uses.add("grid")
    sizes = ", ".join(f"{side} // {rule['patch']}" if rule["patch"] > 1 else side for side in ("height", "width"))
    given.extra[f"rows, columns = {given.class_name}._grid({sizes})"] = None
    return _stacked({"row": "rows", "column": "columns"}, "rows", rule)


def _stacked(names: dict[str, str], like: str, rule: dict) -> str:
    columns = [
        _counted(names, column) if isinstance(column, str) else _filled(like, column) for column in rule["columns"]
    ]
    batch = "[None]" if rule["axes"] == 3 else ""
    return f"mx.stack([{', '.join(columns)}], axis=-1){batch}.astype({DTYPES[rule['dtype']]})"


def _counted(names: dict[str, str], column: str) -> str:
    name, plus, first = column.partition(" + ")
    return f"{names[name]}{plus}{first}"


def _filled(like: str, number: int) -> str:
    return f"mx.zeros_like({like})" if number == 0 else f"mx.full({like}.shape, {number})"


def _table(rule: dict, given: Given) -> str:
    items = (f'"{name}": {_item(item, given)}' for name, item in rule["items"].items())
    return f"{{{', '.join(items)}}}"


def _item(rule: dict, given: Given) -> str:
    return constant(rule) if rule["is"] == "constant" else argument(rule, given)
