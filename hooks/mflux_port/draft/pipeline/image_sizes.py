"""The size at which a pipeline encodes an image to edit: rules, compared with the encoded pixels.

A rule is a mapping. ``size``: "the output's"; "its own", up to ``most`` pixels; or "of a list", the one of ``sizes``
whose ratio ``by`` is nearest to that of the image, with the sides cut to multiples of ``cut``. ``multiple``: both sides
are reduced to a multiple of it. ``to``: how the image is resized to it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from PIL import Image

from mflux_port.draft.pipeline.fact import Fact

# Width and height of images to edit. FLUX.2 takes none with a side below 64; the last one is more than 1024 * 1024.
_ODD = (83, 107), (150, 70), (1210, 1010)
_MOST = None, 1024 * 1024
_MULTIPLES = 8, 16, 32, 64
_MANY, _SMALL, _LARGE = 400, 64, 640  # sizes of images on which rules are compared
_SEVERAL = 3  # a list of sizes has more entries
RATIOS: dict[str, Callable[[float, float], float]] = {
    "width / height": lambda width, height: width / height,
    "height / width": lambda width, height: height / width,
    "the logarithm of width / height": lambda width, height: float(np.log(width / height)),
}
Pair = tuple[Image.Image, np.ndarray]


def image_size(encoded: Callable[[Image.Image], object], width: int, height: int, lists: dict[str, list]) -> Fact:
    """The only rule that fits.

    ``encoded(image)``: the pixels from -1 to 1 that the VAE is given, or why there are none.

    ``lists`` has the sizes that the pipeline's module lists, by name; the generated image is width x height.
    """
    where = f"what the VAE is given for images of {', '.join(f'{w}x{h}' for w, h in _ODD)}"
    images = [picture(*size) for size in _ODD]
    pairs = [(image, encoded(image)) for image in images]
    missing = next((f" ({values})" * bool(values) for _, values in pairs if isinstance(values, str)), None)
    if missing is not None:
        return Fact("input_image", None, f"{where}: one was not encoded{missing}")
    fitting = [rule for rule in _rules() if all(_explains(rule, width, height, *pair) for pair in pairs)]
    for name, sizes in lists.items():
        rules = [rule for rule in _of_list(sizes) if all(_explains(rule, width, height, *pair) for pair in pairs)]
        if rule := _confirmed(rules, encoded):
            fitting.append(rule)
            where = f"{where}, and of others for each size of {name} in the pipeline's module"
    if len(fitting) == 1:
        return Fact("input_image", fitting[0], where)
    sizes = tuple(f"{values.shape[-1]}x{values.shape[-2]}" for _, values in pairs)
    return Fact("input_image", None, where, tuple(map(str, fitting)) or sizes)


def listed_sizes(names: dict[str, object]) -> dict[str, list]:
    """The lists of (width, height) among a module's constants and the values of its dictionaries."""
    found: dict[str, list] = {}
    for name, value in names.items():
        parts = value.items() if isinstance(value, dict) and not name.startswith("_") else [("", value)]
        found |= {f"{name}[{key!r}]" if key != "" else name: list(one) for key, one in parts if _is_list(one)}
    return found


def picture(width: int, height: int) -> Image.Image:
    """An image in which no two places are equal, so that a crop differs from a resize."""
    rows, columns = np.mgrid[0:height, 0:width]
    values = np.stack([columns * 255 // width, rows * 255 // height, (rows * 7 + columns * 5) % 256], axis=-1)
    return Image.fromarray(values.astype(np.uint8))


def _is_list(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > _SEVERAL
        and all(isinstance(one, list | tuple) and len(one) == 2 for one in value)
        and all(type(side) is int and side > 0 for one in value for side in one)
    )


def _rules() -> list[dict]:
    rules = [{"size": "the output's", "to": to} for to in _WAYS]
    rules += [{"size": "its own", "most": most, "multiple": multiple, "to": to}
              for most, multiple, to in product(_MOST, _MULTIPLES, _WAYS)]  # fmt: skip
    return rules


def _of_list(sizes: list) -> Iterator[dict]:
    """Rules that choose from a list, simple ones first; a multiple that changes nothing in the list is left out."""
    tables: list[list] = []
    for multiple in (1, *_MULTIPLES):
        table = [[side // multiple * multiple for side in size] for size in sizes]
        if table not in tables:
            tables.append(table)
            for cut, by, to in product((1, *_MULTIPLES), RATIOS, _WAYS):
                rule = {"size": "of a list", "sizes": [list(size) for size in sizes], "by": by, "cut": cut}
                yield rule | {"multiple": multiple, "to": to}


def _confirmed(rules: list[dict], encoded: Callable[[Image.Image], object]) -> dict | None:
    """The simplest of ``rules``, if all fitting rules agree on many images, and an image for each size of the list
    fits.
    """
    rng = random.Random(0)
    many = [(rng.randrange(_SMALL, _LARGE), rng.randrange(_SMALL, _LARGE)) for _ in range(_MANY)]

    def fitting(size: tuple[int, int]) -> list[dict]:
        image = picture(*size)
        pixels = encoded(image)
        return [rule for rule in rules if not isinstance(pixels, str) and _explains(rule, *_NO_OUTPUT, image, pixels)]

    def differ(size: tuple[int, int]) -> bool:
        return len({_sides(rule, _NO_OUTPUT, size)[1] for rule in rules}) > 1

    while telling := next(filter(differ, many), None):
        rules = fitting(telling)
    if rules:
        for size in {_listed(rules[0], size): size for size in many}.values():
            rules = fitting(size) if rules else []
    return rules[0] if rules else None


_NO_OUTPUT = 0, 0  # a size from a list does not follow the output's


def _listed(rule: dict, size: tuple[int, int]) -> tuple[int, int]:
    """The entry of the list that an image of this size gets."""
    ratio = RATIOS[rule["by"]]
    own = ratio(*(side // rule["cut"] * rule["cut"] for side in size))
    return tuple(min(rule["sizes"], key=lambda entry: abs(own - ratio(*entry))))


def _explains(rule: dict, width: int, height: int, image: Image.Image, pixels: np.ndarray) -> bool:
    own = pixels.reshape(-1, *pixels.shape[-2:])[:3]
    shrunk, fitted = _sides(rule, (width, height), image.size)
    if fitted != own.shape[:0:-1]:
        return False
    image = image.resize(shrunk, Image.Resampling.LANCZOS) if shrunk != image.size else image
    wanted = np.asarray(_WAYS[rule["to"]](image, *fitted), np.float32).transpose(2, 0, 1) / 127.5 - 1
    return bool(np.abs(wanted - own).max() < 1e-3)


def _sides(rule: dict, output: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size to which a large image is shrunk first, and the size at which it is encoded."""
    if rule["size"] == "the output's":
        return size, output
    sides = _listed(rule, size) if rule["size"] == "of a list" else size
    if (most := rule.get("most")) and size[0] * size[1] > most:
        scale = (most / (size[0] * size[1])) ** 0.5
        size = sides = int(size[0] * scale), int(size[1] * scale)
    return size, tuple(side // rule["multiple"] * rule["multiple"] for side in sides)


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _cropped(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


_WAYS = {"resized": _resized, "cropped in the middle": _cropped}
