"""How images to edit are passed to the transformer: their size, and where their latents and position ids go."""

from __future__ import annotations

import inspect
import sys

from mflux_port.draft.pipeline import image_sizes, loop
from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.image_sizes import picture
from mflux_port.draft.pipeline.watch import Intervention, Trace, run, same

_SEVERAL = 3
_REFUSALS = (Exception,)  # a pipeline may behave in any way with images that it does not support


def takes_images(pipe) -> bool:
    """Whether the pipeline can be given an image and can do without one."""
    parameter = inspect.signature(type(pipe).__call__).parameters.get("image")
    return parameter is not None and parameter.default is None


def without_images(pipe) -> list[Fact]:
    """The facts about images to edit of a pipeline that takes none: all of them stay open."""
    name = type(pipe).__name__
    cures = f"{name} takes no image: draft from a pipeline that edits", "answer variants without edit"
    return [Fact(fact, None, f"the arguments of {name}", cures) for fact in ("input_image", "images")]


def not_resized(pipe) -> dict:
    """Arguments that keep a small image at its size, if the pipeline has any: its largest sizes take too long."""
    return {"_auto_resize": False} if "_auto_resize" in inspect.signature(type(pipe).__call__).parameters else {}


def input_image(pipe, call: dict) -> Fact:
    """The size at which an image is encoded and how it is resized to it, found from images of several sizes."""

    def encoded(image):
        trace = run(pipe, call | {"image": image}, Intervention(stop_at_encode=True), _REFUSALS)
        return trace.encoded[0].float().cpu().numpy() if trace.encoded else trace.error

    lists = image_sizes.listed_sizes(vars(sys.modules[type(pipe).__module__]))
    return image_sizes.image_size(encoded, call["width"], call["height"], lists)


def layout(pipe, call: dict, known: dict[str, Fact]) -> Fact:
    """Find where the latents of images and their positions go in the transformer's arguments.

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
    images = [picture(*size) for size in sizes]
    count = _SEVERAL
    given = run(pipe, call | {"image": images}, _numbered(one), _REFUSALS)
    if not given.transformers:
        one, count, where = _Numbered(packing), 1, "the transformer's arguments without images and with one"
        given = run(pipe, call | {"image": images[0]}, _numbered(one), _REFUSALS)
    if not given.transformers or not one.grids:
        return Fact("images", None, f"{where}: the run with images did not reach the transformer{_ended(given)}")
    return _compared(plain, given, one, {"count": count, "argument": packing["argument"]}, known, where)


def guided_alike(pipe, call: dict, keyword: str | None, scales: tuple[float, float], known: dict[str, Fact]) -> bool:
    """Whether the first rows of the transformer's result are the prediction, guided as without images."""
    short = call | {"num_inference_steps": 1, "image": picture(96, 64)}
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
        self.pixels = packing["pixels"] * (2 if "p = q = 2" in packing["pattern"] else 1)  # latents that a token spans
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
    for name in (name for name in after if name not in moving and not same(before.get(name), after[name])):
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
