"""What each argument of the transformer is, in terms of what the loop knows. One fact covers the whole call.

Runs that differ in size and in prompt are read side by side. An argument that no rule explains in all of them has no
value here, and the drafted call raises there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from mflux_port.draft.pipeline.encoding import Prompt
from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.of_config import FOLLOWING, with_origin
from mflux_port.draft.pipeline.rotary import rotary
from mflux_port.draft.pipeline.watch import Trace, same

_MANY = 64  # numbers; a longer list of numbers is a table


@dataclass(frozen=True)
class View:
    """One run: the arguments of its first conditional prediction, and the quantities that they may follow.

    ``sizes``: height and width in pixels and of the latents, by name; ``text``: the prompt's number of vectors;
    ``mask``: which of them are tokens of the prompt; ``changing``: the arguments that later steps give other values;
    ``masks``: the same as ``mask`` for further arguments with vectors of the prompt.
    """

    arguments: dict
    sizes: dict[str, int]
    text: int
    mask: list[int]
    changing: frozenset[str] = frozenset()
    masks: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Transformer:
    """``numbers``: its whole numbers, by attribute.

    ``twice``: runs with twice its sample ``size``; none without one.
    """

    numbers: dict[str, int]
    twice: list[View]
    size: int = 0


def arguments(views: list[View], known: dict[str, dict], transformer: Transformer) -> Fact:
    """The rule for each argument. ``known``: those that other facts explain, such as the latents and the time."""
    value, unknown = {}, []
    for name, first in views[0].arguments.items():
        if name in known:
            value[name] = known[name] | _wrapping(first)
            continue
        changes = any(name in view.changing for view in views)
        value[name] = None if changes else _found(name, views, transformer)
        if value[name] is None:
            unknown.append(f"{name}: {_shape(first)}{', which changes from step to step' if changes else ''}")
    where = f"the transformer's arguments in {len(views)} runs of several sizes and prompts"
    return Fact("arguments", value, where, tuple(unknown))


def _found(name: str, views: list[View], transformer: Transformer) -> dict | None:
    """The rule for an argument that is the same in every step."""
    given, twice = ([view.arguments.get(name) for view in runs] for runs in (views, transformer.twice))
    found = _rule(given, views, transformer.numbers) or _zeros(given)
    if not found or not twice:
        return found
    if found["is"] in FOLLOWING:
        return with_origin(found, _rule(twice, transformer.twice, transformer.numbers), transformer.size)
    # It does not depend on the transformer's size: one rule holds in all runs.
    every = [*given, *twice]
    return (
        found if found == (_rule(every, [*views, *transformer.twice], transformer.numbers) or _zeros(every)) else None
    )


def view(trace: Trace, size: tuple[int, int], prompts: list[Prompt]) -> View:
    """The run as seen by the conditional prompt's row of a call in its first step."""
    # Positions and masks follow the argument that has a vector for each token; if several have, the first.
    main = next((prompt for prompt in prompts if not prompt.is_pooled), prompts[0])
    calls = [entry for entry in trace.transformers if entry.step == 0]
    batch = _batch(calls[main.call].arguments[main.argument], main.is_pooled)
    given = {name: _row(value, main.row, batch) for name, value in calls[main.call].arguments.items()}
    latents = trace.noise[-1]
    sizes = {"pixel height": size[0], "pixel width": size[1], "height": latents.shape[-2], "width": latents.shape[-1]}
    vectors = given[main.argument]
    vectors = vectors[0] if isinstance(vectors, list) else vectors
    changing = _changing(trace, main, batch, given)
    masks = {name: _whole_mask(prompts, own) for name, own in _alone(prompts).items() if name != main.argument}
    text = 1 if main.is_pooled else vectors.shape[-2]
    return View(given, sizes, text, _whole_mask(prompts, main), changing, masks)


def _alone(prompts: list[Prompt]) -> dict[str, Prompt]:
    """The arguments that have the tokens' vectors of one encoder and nothing else."""
    found = {}
    for prompt in prompts:
        found.setdefault(prompt.argument, []).append(prompt)
    return {name: own[0] for name, own in found.items() if len(own) == 1 and not own[0].is_pooled}


def _whole_mask(prompts: list[Prompt], own: Prompt) -> list[int]:
    """Which vectors of an argument are tokens of the prompt."""
    return [number for prompt in _side_by_side(prompts, own) for number in prompt.mask]


def _changing(trace: Trace, main: Prompt, batch: int, first: dict) -> frozenset[str]:
    """The arguments that a later step gives another value; a step without that call gives none."""
    found = set()
    for step in {entry.step for entry in trace.transformers} - {0}:
        calls = [entry for entry in trace.transformers if entry.step == step]
        if main.call < len(calls):
            later = {name: _row(value, main.row, batch) for name, value in calls[main.call].arguments.items()}
            found |= {name for name in first.keys() | later.keys() if not same(first.get(name), later.get(name))}
    return frozenset(found)


def _side_by_side(prompts: list[Prompt], main: Prompt) -> list[Prompt]:
    """The consecutive parts of one argument's vectors; an encoder beside another has the same tokens."""
    found, blocks = [], set()
    for prompt in prompts:
        if prompt.argument == main.argument and prompt.block not in blocks:
            blocks.add(prompt.block)
            found.append(prompt)
    return found


def _batch(value, is_pooled: bool) -> int:
    return len(value) if isinstance(value, list) or value.dim() > 2 or is_pooled else 1


def _row(value, row: int, batch: int):
    """The part of an argument that belongs to one prompt of the batch."""
    if batch == 1:
        return value
    if isinstance(value, dict):
        return {name: _row(item, row, batch) for name, item in value.items()}
    if isinstance(value, list):
        return [value[row]] if len(value) == batch else value
    return value[row : row + 1] if getattr(value, "dim", int)() and len(value) == batch else value


def _wrapping(value) -> dict:
    return {"list": True, "axes": value[0].dim()} if isinstance(value, list) else {"axes": value.dim()}


def _rule(values: list, views: list[View], numbers: dict[str, int]) -> dict | None:
    if any(map(_is_complex, values)):
        return rotary(values, [view.sizes for view in views], numbers) if all(map(_is_complex, values)) else None
    for rule in (_constant, _mask, _other_mask, _numbers, _ids):
        if (found := rule(values, views)) is not None:
            return found
    return _table(values, views, numbers)


def _zeros(values: list) -> dict | None:
    """An input that the runs' prompts do not use: zeros of one shape in all of them."""
    if not _tensors(values) or len({tuple(value.shape) for value in values}) > 1 or any(map(_has_any, values)):
        return None
    return {"is": "zeros", "shape": list(values[0].shape)}


def _has_any(value) -> bool:
    return bool(value.any())


def _constant(values: list, views: list[View]) -> dict | None:
    first = values[0]
    plain = first is None or isinstance(first, (bool, int, float, str)) or first in ({}, [])
    return {"is": "constant", "value": first} if plain and all(value == first for value in values) else None


def _mask(values: list, views: list[View]) -> dict | None:
    """A mask of the prompt's vectors that are its tokens, or ones for all of them; ones for the tokens of the image may
    follow.
    """
    if not _tensors(values) or not all(value.numel() for value in values):
        return None
    flat = [[int(number) for number in value.reshape(-1).tolist()] for value in values]
    image = _image_after(flat, views)
    if image is None:
        return None
    rule = {"is": "text mask", "axes": values[0].dim(), "dtype": _dtype(values[0])} | (
        {"image": image} if image else {}
    )
    texts = [own[: view.text] for own, view in zip(flat, views, strict=True)]
    if all(own == view.mask for own, view in zip(texts, views, strict=True)):
        return rule
    if all(set(own) == {1} for own in texts) and views[0].text > 1:
        return rule | {"all": True}
    more = {sum(own) - sum(view.mask) for own, view in zip(texts, views, strict=True)}
    is_longer = len(more) == 1 and min(more) > 0 and len({sum(own) for own in texts}) > 1
    # If padding is at the end, its first vectors count as tokens.
    if is_longer and all(own == sorted(own, reverse=True) for own in [*texts, *(view.mask for view in views)]):
        return rule | {"extra": more.pop()}
    return None


def _other_mask(values: list, views: list[View]) -> dict | None:
    """Which vectors of a further argument are tokens of the prompt."""
    if not _tensors(values):
        return None
    flat = [[int(number) for number in value.reshape(-1).tolist()] for value in values]
    for name in views[0].masks:
        if flat == [view.masks.get(name) for view in views]:
            return {"is": "text mask", "of": name, "axes": values[0].dim(), "dtype": _dtype(values[0])}
    return None


def _image_after(flat: list[list[int]], views: list[View]) -> int | None:
    """The patch of the image whose tokens follow the prompt's in a mask; 0 if none do, None if something else does."""
    rest = [own[view.text :] for own, view in zip(flat, views, strict=True)]
    if not any(rest):
        return 0 if all(len(own) == view.text for own, view in zip(flat, views, strict=True)) else None
    for patch in (1, 2, 4):
        counts = [(view.sizes["height"] // patch) * (view.sizes["width"] // patch) for view in views]
        if [[1] * count for count in counts] == rest:
            return patch
    return None


def _numbers(values: list, views: list[View]) -> dict | None:
    """A few numbers, each of which is the same in all runs or follows a size or the prompt's length."""
    flat = [list(_flat(value)) for value in values]
    if len({len(own) for own in flat}) > 1 or not 0 < len(flat[0]) <= _MANY or None in flat[0]:
        return None
    if _tensors(values) and any(value.numel() > 8 for value in values):
        return None
    named = [_quantity([own[place] for own in flat], views) for place in range(len(flat[0]))]
    if None in named:
        return None
    tensor = _tensors(values)
    return {"is": "numbers", "numbers": _nested(values[0], iter(named)), "array": tensor} | (
        {"dtype": _dtype(values[0])} if tensor else {}
    )


def _quantity(numbers: list, views: list[View]) -> object:
    if len(set(numbers)) == 1:
        number = numbers[0]
        return int(number) if float(number).is_integer() else number
    for name, known in _quantities(views).items():
        if all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(numbers, known, strict=True)):
            return name
    return None


def _quantities(views: list[View]) -> dict[str, list]:
    found = {"text": [view.text for view in views], "tokens": [sum(view.mask) for view in views]}
    for name in views[0].sizes:
        for divisor in (1, 2, 4):
            text = name if divisor == 1 else f"{name} // {divisor}"
            found.setdefault(text, [view.sizes[name] // divisor for view in views])
    found["pixel height / pixel width"] = [view.sizes["pixel height"] / view.sizes["pixel width"] for view in views]
    return found


def _table(values: list, views: list[View], numbers: dict[str, int]) -> dict | None:
    """A mapping of further arguments, each explained separately."""
    if not all(isinstance(value, dict) for value in values):
        return None
    items = {name: _rule([value.get(name) for value in values], views, numbers) for name in values[0]}
    return {"is": "table", "items": items} if items and None not in items.values() else None


def _ids(values: list, views: list[View]) -> dict | None:
    """Positions: one row for each image token or each vector of the prompt, with a rule for each column."""
    if not _tensors(values) or values[0].dim() not in (2, 3):
        return None
    rows = [value[0] if value.dim() == 3 else value for value in values]
    common = {"axes": values[0].dim(), "dtype": _dtype(values[0])}
    if all(len(own) == view.text for own, view in zip(rows, views, strict=True)):
        columns = _columns([(own, {"token": list(range(view.text))}) for own, view in zip(rows, views, strict=True)])
        return columns and {"is": "text ids", "columns": columns} | common
    for patch in (1, 2, 4):
        grids = [_grid(view.sizes["height"] // patch, view.sizes["width"] // patch) for view in views]
        if all(len(own) == len(grid["row"]) for own, grid in zip(rows, grids, strict=True)):
            columns = _columns(list(zip(rows, grids, strict=True)))
            return columns and {"is": "image ids", "columns": columns, "patch": patch} | common
    return None


def _grid(height: int, width: int) -> dict[str, list]:
    return {
        "row": [row for row in range(height) for _ in range(width)],
        "column": [column for _ in range(height) for column in range(width)],
    }


def _columns(tables: list[tuple]) -> list | None:
    found = []
    for place in range(tables[0][0].shape[-1]):
        columns = [own[:, place].tolist() for own, _ in tables]
        constants = {number for column in columns for number in column}
        if len(constants) == 1:
            found.append(int(constants.pop()))
            continue
        name = next(filter(None, (_counted(key, columns, tables) for key in tables[0][1])), None)
        if name is None:
            return None
        found.append(name)
    return found


def _counted(key: str, columns: list[list], tables: list[tuple]) -> str | None:
    """``key``, or ``key`` plus a whole number, if that gives the columns of all tables."""
    first = columns[0][0] - tables[0][1][key][0]
    if not float(first).is_integer() or first < 0:
        return None
    expected = [[number + first for number in table[key]] for _, table in tables]
    return (f"{key} + {int(first)}" if first else key) if columns == expected else None


def _tensors(values: list) -> bool:
    return all(hasattr(value, "dim") for value in values)


def _is_complex(value) -> bool:
    return hasattr(value, "is_complex") and value.is_complex()


def _dtype(value) -> str:
    return "float" if value.is_floating_point() else "bool" if str(value.dtype) == "torch.bool" else "int"


def _flat(value) -> Iterator:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat(item)
    elif hasattr(value, "dim"):
        yield from value.reshape(-1).tolist()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
    else:
        yield None


def _nested(value, named: Iterator) -> object:
    if isinstance(value, (list, tuple)):
        return [_nested(item, named) for item in value]
    if hasattr(value, "dim"):
        return [_nested(item, named) for item in value] if value.dim() else next(named)
    return next(named)


def _shape(value) -> str:
    if hasattr(value, "shape"):
        return f"a tensor {list(value.shape)}"
    return f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else repr(value)
