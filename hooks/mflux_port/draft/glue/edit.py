"""The MLX code of the methods that only an edit port has, except those that call the transformer, written from the
facts.
"""

from __future__ import annotations

from mflux_port.draft.forward.writer.step_constants import ARGUMENT
from mflux_port.draft.glue.expressions import DTYPES

PLAIN = "import mlx.core as mx\n"
_FITS = {
    "resized": ["return image.resize((width, height), PIL.Image.Resampling.LANCZOS)"],
    "cropped in the middle": [
        "left, top = (image.width - width) // 2, (image.height - height) // 2",
        "return image.crop((left, top, left + width, top + height))",
    ],
}


_RATIOS = {
    "width / height": "{width} / {height}",
    "height / width": "{height} / {width}",
    "the logarithm of width / height": "math.log({width} / {height})",
}


def imports(value: dict) -> str:
    """The imports of the file that has ``fit_image``, except for those of mflux."""
    return "import math\n\n" * ("logarithm" in value.get("by", "")) + f"{PLAIN}import PIL.Image\n"


def fit_lines(value: dict) -> list[str]:
    """The body of ``fit_image``, from the fact about images to edit."""
    if value["size"] == "the output's":
        return _FITS[value["to"]]
    lines = _chosen(value) if value["size"] == "of a list" else _own_size(value)
    return [*lines, *_FITS[value["to"]]]


def _own_size(value: dict) -> list[str]:
    """The image's own width and height, reduced if it is too large."""
    multiple, most = value["multiple"], value["most"]
    scaled = [
        f"if image.width * image.height > {most}:",
        f"    scale = ({most} / (image.width * image.height)) ** 0.5",
        "    smaller = int(image.width * scale), int(image.height * scale)",
        "    image = image.resize(smaller, PIL.Image.Resampling.LANCZOS)",
    ]
    return [*(scaled if most else []), *_sides_cut("image.width", "image.height", multiple), *_too_small(multiple)]


def _chosen(value: dict) -> list[str]:
    """Width and height from the reference's list, by the nearest ratio."""
    cut, multiple, ratio = value["cut"], value["multiple"], _RATIOS[value["by"]]
    own = [*_sides_cut("image.width", "image.height", cut), *_too_small(cut)] if cut > 1 else []
    names = ("width", "height") if own else ("image.width", "image.height")
    each = ratio.format(width="size[0]", height="size[1]")
    return [
        "sizes = [",
        *(f"    ({width}, {height})," for width, height in value["sizes"]),
        "]",
        *own,
        f"ratio = {ratio.format(width=names[0], height=names[1])}",
        f"width, height = min(sizes, key=lambda size: abs(ratio - {each}))",
        *(_sides_cut("width", "height", multiple) if multiple > 1 else []),
    ]


def _sides_cut(width: str, height: str, multiple: int) -> list[str]:
    return [f"width, height = {width} // {multiple} * {multiple}, {height} // {multiple} * {multiple}"]


def _too_small(multiple: int) -> list[str]:
    return [
        "if not width or not height:",
        '    size = f"{image.width}x{image.height}"',
        f'    raise ValueError(f"The image has {{size}} pixels, and a side needs {multiple} or more.")',
    ]


def prepare_lines(name: str, value: dict, fixed: dict[str, str], patch: int, unpacked: list[str]) -> list[str]:
    """The body of ``prepare_edit``: what ``prepare`` of the class ``name`` returns, with the images' positions.

    ``fixed``: the names that ``prepare`` returns, with their expressions. Rotary embeddings are computed again, for all
    positions; ``unpacked``: the lines that define the prompt's vectors that they read.
    """
    one = ["if len(image_latents) > 1:", '    raise ValueError("This model edits one image at a time.")']
    lines = one if value["count"] == 1 else []
    before = f"{name}.prepare(transformer, latents, prompt_embeds, guidance)"
    rotary, packed = fixed.get(ARGUMENT, ""), f"{name}._pack(latents)"
    if not value["positions"] and packed not in rotary:
        return [*lines, f"return {before}"]
    lines.append(f"{', '.join(fixed)}{',' if len(fixed) == 1 else ''} = {before}")
    sides = ", ".join(f"image.shape[{axis}] // {patch}" for axis in (-2, -1)) if patch > 1 else "*image.shape[-2:]"
    stacks = {argument: _stacked(rule) for argument, rule in value["positions"].items()}
    numbered = any("number" in text for text in stacks.values())
    if stacks:
        lines.append("for number, image in enumerate(image_latents):" if numbered else "for image in image_latents:")
        lines.append(f"    rows, columns = {name}._grid({sides})")
    for argument, text in stacks.items():
        lines.append(f"    places = {text}")
        lines.append(f"    {argument} = mx.concatenate([{argument}, places], axis=-2)")
    lines += joined(name) if packed in rotary else []
    lines += [*unpacked, f"{ARGUMENT} = {rotary.replace(packed, 'joined')}"] if rotary else []
    return [*lines, f"return {', '.join(fixed)}{',' if len(fixed) == 1 else ''}"]


def _stacked(rule: dict) -> str:
    columns = [
        {"row": "rows", "column": "columns"}[one] if isinstance(one, str) else _number(one) for one in rule["columns"]
    ]
    return f"mx.stack([{', '.join(columns)}], axis=-1){'[None]' if rule['axes'] == 3 else ''}.astype({DTYPES[rule['dtype']]})"


def _number(column: dict) -> str:
    if not column["each"]:
        return f"mx.full(rows.shape, {column['first']})" if column["first"] else "mx.zeros_like(rows)"
    return f"mx.full(rows.shape, {column['first']} + {column['each']} * number)"


def joined(name: str) -> list[str]:
    """The lines that define ``packed``, the latents as the transformer takes them, and ``joined``, with the images'."""
    return [
        f"packed = {name}._pack(latents)",
        f"joined = mx.concatenate([packed, *map({name}._pack, image_latents)], axis=1)",
    ]
