"""How images to edit get to the transformer: at which size, and where their latents and positions go."""

from __future__ import annotations

import inspect

from mflux_port.draft.pipeline import loop
from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.watch import Intervention, Trace, run

# Width and height of images to edit. FLUX.2 takes none with a side below 64; the last one is more than 1024 * 1024.
_ODD = (83, 107), (150, 70), (1210, 1010)
_MOST = None, 1024 * 1024
_MULTIPLES = 8, 16, 32, 64
_SEVERAL = 3
_REFUSALS = (Exception,)  # a pipeline may do anything with images that it does not take


def takes_images(pipe) -> bool:
    """Whether the pipeline can be given an image and can do without one."""
    parameter = inspect.signature(type(pipe).__call__).parameters.get("image")
    return parameter is not None and parameter.default is None


def not_resized(pipe) -> dict:
    """Arguments that keep a small image at its size, if the pipeline has any: its largest sizes take too long."""
    return {"_auto_resize": False} if "_auto_resize" in inspect.signature(type(pipe).__call__).parameters else {}


def input_image(pipe, call: dict) -> Fact:
    """The size at which an image is encoded, and how it is resized to it: found from images of several sizes."""
    where = f"what the VAE is given for images of {', '.join(f'{w}x{h}' for w, h in _ODD)}"
    images = [_picture(*size) for size in _ODD]
    stop = Intervention(stop_at_encode=True)
    traces = [run(pipe, call | {"image": image}, stop, _REFUSALS) for image in images]
    missing = next((trace for trace in traces if not trace.encoded), None)
    if missing:
        return Fact("input_image", None, f"{where}: one was not encoded{_ended(missing)}")
    pairs = [(image, trace.encoded[0]) for image, trace in zip(images, traces, strict=True)]
    rules = [{"size": "the output's", "to": to} for to in _WAYS]
    rules += [{"size": "its own", "most": most, "multiple": multiple, "to": to}
              for most in _MOST for multiple in _MULTIPLES for to in _WAYS]  # fmt: skip
    fitting = [rule for rule in rules if all(_explains(rule, call, *pair) for pair in pairs)]
    if len(fitting) == 1:
        return Fact("input_image", fitting[0], where)
    sizes = tuple(f"{pixels.shape[-1]}x{pixels.shape[-2]}" for _, pixels in pairs)
    return Fact("input_image", None, where, tuple(map(str, fitting)) or sizes)


def layout(pipe, call: dict, known: dict[str, Fact]) -> Fact:
    """Where the latents of images and their positions go in the transformer's arguments.

    The images' latents are numbered by place instead of encoded, and the noise is the same with and without them.
    """
    packing = known["packing"].value or {}
    sizes = [
        (6 * packing.get("pixels", 8) * 2, (4 + place) * packing.get("pixels", 8) * 2) for place in range(_SEVERAL)
    ]
    where = f"the transformer's arguments without images and with {_SEVERAL}"
    if "b (h w)" not in packing.get("pattern", ""):
        return Fact("images", None, f"{where}: the latents are not packed in rows")
    one = _Numbered(packing)
    plain = run(pipe, call, Intervention(noise=_same, stop_at_transformer=True))
    images = [_picture(*size) for size in sizes]
    count = _SEVERAL
    given = run(pipe, call | {"image": images}, _numbered(one), _REFUSALS)
    if not given.transformers:
        one, count, where = _Numbered(packing), 1, "the transformer's arguments without images and with one"
        given = run(pipe, call | {"image": images[0]}, _numbered(one), _REFUSALS)
    if not given.transformers or not one.grids:
        return Fact("images", None, f"{where}: the run with images did not reach the transformer{_ended(given)}")
    return _compared(plain, given, one, {"count": count, "argument": packing["argument"]}, known, where)


def guided_alike(pipe, call: dict, keyword: str | None, scales: tuple[float, float], known: dict[str, Fact]) -> bool:
    """Whether the first rows of what the transformer returns are the prediction, guided as it is without images."""
    short = call | {"num_inference_steps": 1, "image": _picture(96, 64)}
    traces = [run(pipe, short | ({keyword: scale} if keyword else {}), ends=_REFUSALS) for scale in scales]
    if not all(trace.steps for trace in traces):
        return False
    found, wanted = loop.guidance(tuple(traces), scales).value, known["guidance"].value
    return bool(found and wanted) and found["formula"] == wanted["formula"] and found.get("sign") == wanted.get("sign")


# -------------------------------------------------------------------------------------------------------------- layout


def _ended(trace: Trace) -> str:
    return f" ({trace.error})" if trace.error else ""


class _Numbered:
    """Replaces the VAE's encoding: each patch holds its number among all patches of all images."""

    def __init__(self, packing: dict):
        self.pixels = packing["pixels"] * (2 if "p = q = 2" in packing["pattern"] else 1)  # that a token spans
        self.grids: list[tuple[int, int]] = []

    def __call__(self, latents, pixels):
        import torch

        height, width = pixels.shape[-2] // self.pixels, pixels.shape[-1] // self.pixels
        before = sum(rows * columns for rows, columns in self.grids)
        numbers = torch.arange(before, before + height * width, dtype=latents.dtype).reshape(height, width)
        self.grids.append((height, width))
        for axis in (0, 1):
            numbers = numbers.repeat_interleave(latents.shape[axis - 2] // numbers.shape[axis], dim=axis)
        return numbers.expand(latents.shape).clone()


def _numbered(one: _Numbered) -> Intervention:
    return Intervention(noise=_same, encoded=one, stop_at_transformer=True)


def _same(noise):
    import torch

    return torch.linspace(-1, 1, noise.numel(), dtype=noise.dtype).reshape(noise.shape)


def _compared(plain: Trace, given: Trace, one: _Numbered, value: dict, known: dict[str, Fact], where: str) -> Fact:
    before, after = plain.transformers[0].arguments, given.transformers[0].arguments
    rest = _further_rows(before.get(value["argument"]), after.get(value["argument"]))
    counts = [rows * columns for rows, columns in one.grids]
    if rest is None or len(rest) != sum(counts) or not _in_order(rest):
        return Fact("images", None, f"{where}: the images' latents do not follow those of the noise, row after row")
    moving = {fact.value["argument"] for name in ("packing", "timestep") if (fact := known.get(name)) and fact.value}
    value["positions"], unknown = {}, []
    for name in (name for name in after if name not in moving and not _equal(before.get(name), after[name])):
        rule = _positions(before.get(name), after[name], one.grids)
        if rule is None:
            unknown.append(name)
        else:
            value["positions"][name] = rule
    return Fact("images", None if unknown else value, where, tuple(f"{name} differs, too" for name in unknown))


def _further_rows(before, after):
    """The rows of ``after`` that follow those of ``before``, as (rows, features); None if they are not the same."""
    if not all(hasattr(value, "dim") and value.dim() in (2, 3) for value in (before, after)):
        return None
    before, after = (value[0] if value.dim() == 3 else value for value in (before, after))
    same = len(after) > len(before) and before.shape[1:] == after.shape[1:] and before.equal(after[: len(before)])
    return after[len(before) :] if same else None


def _in_order(rows) -> bool:
    """Whether each feature is linear in the number of its row, as the numbered latents are."""
    import torch

    step = (rows[-1] - rows[0]) / (len(rows) - 1)
    wanted = rows[0] + torch.arange(len(rows), dtype=rows.dtype)[:, None] * step
    return bool((step != 0).all()) and torch.allclose(rows, wanted, rtol=1e-3, atol=1e-3)


def _positions(before, after, grids: list[tuple[int, int]]) -> dict | None:
    rest = _further_rows(before, after)
    if rest is None or len(rest) != sum(rows * columns for rows, columns in grids):
        return None
    parts, at = [], 0
    for rows, columns in grids:
        parts.append((rest[at : at + rows * columns], columns))
        at += rows * columns
    columns = [_column([(part[:, place].tolist(), width) for part, width in parts]) for place in range(rest.shape[1])]
    dtype = "float" if after.is_floating_point() else "int"
    return None if None in columns else {"columns": columns, "axes": after.dim(), "dtype": dtype}


def _column(parts: list[tuple[list, int]]) -> str | dict | None:
    """``row``, ``column``, or the number that every token of the first image has, and how it grows with each image."""
    if all(own == [place // width for place in range(len(own))] for own, width in parts):
        return "row"
    if all(own == [place % width for place in range(len(own))] for own, width in parts):
        return "column"
    numbers = [set(own) for own, _ in parts]
    if any(len(own) > 1 for own in numbers):
        return None
    found = [int(own.pop()) for own in numbers]
    each = found[1] - found[0] if len(found) > 1 else 0
    return {"first": found[0], "each": each} if found == [found[0] + each * n for n in range(len(found))] else None


def _equal(one, other) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if hasattr(one, "dim") and hasattr(other, "dim"):
        return one.shape == other.shape and bool(one.equal(other))
    return type(one) is type(other) and not hasattr(one, "dim") and one == other


# ---------------------------------------------------------------------------------------------------------------- size


def _picture(width: int, height: int):
    """An image in which no two places are the same, so that a crop differs from a resize."""
    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[0:height, 0:width]
    values = np.stack([columns * 255 // width, rows * 255 // height, (rows * 7 + columns * 5) % 256], axis=-1)
    return Image.fromarray(values.astype(np.uint8))


def _explains(rule: dict, call: dict, image, pixels) -> bool:
    import numpy as np

    fitted = _fitted(rule, call, image)
    own = pixels.reshape(-1, *pixels.shape[-2:])[:3].numpy()
    if (fitted.height, fitted.width) != own.shape[-2:]:
        return False
    wanted = np.asarray(fitted, np.float32).transpose(2, 0, 1) / 127.5 - 1
    return bool(np.abs(wanted - own).max() < 1e-3)


def _fitted(rule: dict, call: dict, image):
    from PIL import Image

    if rule["size"] == "the output's":
        return _WAYS[rule["to"]](image, call["width"], call["height"])
    area = image.width * image.height
    if rule["most"] and area > rule["most"]:
        scale = (rule["most"] / area) ** 0.5
        image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.LANCZOS)
    width, height = (side // rule["multiple"] * rule["multiple"] for side in image.size)
    return _WAYS[rule["to"]](image, width, height)


def _resized(image, width: int, height: int):
    from PIL import Image

    return image.resize((width, height), Image.Resampling.LANCZOS)


def _cropped(image, width: int, height: int):
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


_WAYS = {"resized": _resized, "cropped in the middle": _cropped}
