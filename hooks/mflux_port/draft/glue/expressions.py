"""What the transformer gets beside latents, time and prompt, as expressions of sizes and of the prompt's length."""

from __future__ import annotations

from dataclasses import dataclass, field

_DTYPES = {"float": "mx.float32", "int": "mx.int32", "bool": "mx.bool_"}


@dataclass
class Given:
    """What ``prepare`` has: the names that expressions may use, and the lines that define them.

    ``pixels``: the pixels along one step of the latents.
    """

    class_name: str
    with_mask: bool
    pixels: int
    uses: set[str] = field(default_factory=set)

    def lines(self, body: str) -> list[str]:
        """The definitions of the names in ``body``."""
        found = []
        if "embeddings" in body or "mask" in body:
            names = [name if name in body else f"_{''}" for name in ("embeddings", "mask")]
            found += [f"{names[0]}, {names[1]} = prompt_embeds"] if self.with_mask else []
        if "height" in body or "width" in body:
            found.append("height, width = latents.shape[-2:]")
        return found

    @property
    def embeddings(self) -> str:
        return "embeddings" if self.with_mask else "prompt_embeds"


def argument(rule: dict, given: Given) -> str:
    """The expression for one argument; ``rule`` as the fact on arguments has it."""
    return {
        "text mask": _mask,
        "numbers": _numbers,
        "text ids": _text_ids,
        "image ids": _image_ids,
        "table": _table,
        "guidance": _guidance,
    }[rule["is"]](rule, given)


def _guidance(rule: dict, given: Given) -> str:  # noqa: ARG001
    return f"mx.array([{rule.get('factor', 1)} * guidance])" if rule.get("factor", 1) != 1 else "mx.array([guidance])"


def _mask(rule: dict, given: Given) -> str:
    dtype = _DTYPES[rule["dtype"]]
    if rule.get("all") or not given.with_mask:
        return f"mx.ones({given.embeddings}.shape[:2], dtype={dtype})"
    return f"mask.astype({dtype})"


def _numbers(rule: dict, given: Given) -> str:
    text = _nested(rule["numbers"], given)
    return f"mx.array({text}, dtype={_DTYPES[rule['dtype']]})" if rule["array"] else text


def _nested(value, given: Given) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_nested(item, given) for item in value)}]"
    return _symbol(value, given) if isinstance(value, str) else repr(value)


def _symbol(name: str, given: Given) -> str:
    if name == "text":
        return f"{given.embeddings}.shape[1]"
    if name == "tokens":
        return "int(mask.sum())" if given.with_mask else f"{given.embeddings}.shape[1]"
    for side in ("height", "width"):
        name = name.replace(f"pixel {side}", f"{side} * {given.pixels}")
    return name


def _text_ids(rule: dict, given: Given) -> str:
    length = f"{given.embeddings}.shape[1]"
    if not any(isinstance(column, str) for column in rule["columns"]):
        if set(rule["columns"]) == {0}:
            return f"mx.zeros(({'1, ' if rule['axes'] == 3 else ''}{length}, {len(rule['columns'])}), dtype={_DTYPES[rule['dtype']]})"
    columns = [f"mx.arange({length})" if column == "token" else f"mx.full(({length},), {column})" for column in rule["columns"]]
    return _stacked(columns, rule)


def _image_ids(rule: dict, given: Given) -> str:
    given.uses.add("grid")
    sizes = ", ".join(f"{side} // {rule['patch']}" if rule["patch"] > 1 else side for side in ("height", "width"))
    grid = f"{given.class_name}._grid({sizes})"
    names = {"row": f"{grid}[0]", "column": f"{grid}[1]"}
    return _stacked([names.get(column, f"mx.full({grid}[0].shape, {column})") for column in rule["columns"]], rule)


def _stacked(columns: list[str], rule: dict) -> str:
    return f"mx.stack([{', '.join(columns)}], axis=-1)" + ("[None]" if rule["axes"] == 3 else "") + f".astype({_DTYPES[rule['dtype']]})"


def _table(rule: dict, given: Given) -> str:
    items = (f'"{name}": {_item(item, given)}' for name, item in rule["items"].items())
    return f"{{{', '.join(items)}}}"


def _item(rule: dict, given: Given) -> str:
    return repr(rule["value"]) if rule["is"] == "constant" else argument(rule, given)
