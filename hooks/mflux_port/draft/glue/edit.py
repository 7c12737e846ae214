"""The methods that only a port which edits has, beside those that call the transformer: from facts to lines of MLX code."""

from __future__ import annotations

from mflux_port.draft.forward.writer.once import ARGUMENT
from mflux_port.draft.glue.expressions import DTYPES

IMPORT = "import PIL.Image\n"
_FITS = {
    "resized": ["return image.resize((width, height), PIL.Image.Resampling.LANCZOS)"],
    "cropped in the middle": [
        "left, top = (image.width - width) // 2, (image.height - height) // 2",
        "return image.crop((left, top, left + width, top + height))",
    ],
}


def fit_lines(value: dict) -> list[str]:
    """The body of ``fit_image``, from the fact about images to edit."""
    if value["size"] == "the output's":
        return _FITS[value["to"]]
    multiple, most = value["multiple"], value["most"]
    scaled = [
        f"if image.width * image.height > {most}:",
        f"    scale = ({most} / (image.width * image.height)) ** 0.5",
        "    smaller = int(image.width * scale), int(image.height * scale)",
        "    image = image.resize(smaller, PIL.Image.Resampling.LANCZOS)",
    ]
    sides = (f"image.{side} // {multiple} * {multiple}" for side in ("width", "height"))
    small = [
        "if not width or not height:",
        '    size = f"{image.width}x{image.height}"',
        f'    raise ValueError(f"The image has {{size}} pixels, and a side needs {multiple} or more.")',
    ]
    return [*(scaled if most else []), f"width, height = {', '.join(sides)}", *small, *_FITS[value["to"]]]


def prepare_lines(name: str, value: dict, fixed: dict[str, str], patch: int) -> list[str]:
    """The body of ``prepare_edit``: what ``prepare`` of the class ``name`` returns, with the images' positions.

    ``fixed``: the names that ``prepare`` returns, with their expressions. Rotary embeddings are made anew, for all positions.
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
    lines += [f"{ARGUMENT} = {rotary.replace(packed, 'joined')}"] if rotary else []
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
