"""Both sides of a component: every checkpoint tensor taken once, every MLX parameter filled once with the right shape.

The mapping is expanded and applied by mflux's own WeightMapper, on arrays that are never evaluated.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from mflux_port.checkpoint.headers import Tensor
from mflux_port.ledger.axes import swapped, wrong_order
from mflux_port.ledger.elements import lost_elements
from mflux_port.ledger.expansion import Assignment, expand_component, fill_module
from mflux_port.ledger.waivers import Waivers

# Told, but no failure: mflux's own mappings rely on them.
NOTES = ("guessed count", "raw bytes")
# mx.load of 0.31 and 0.32: refuses the file, or gives the bytes as whole numbers.
_REFUSED = ("F4", "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F64")
_RAW = ("F8_E4M3", "F8_E8M0")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. ``name`` is a checkpoint tensor, an MLX parameter, a pattern or a file."""

    component: str
    kind: str
    name: str
    why: str

    @property
    def fails(self) -> bool:
        return self.kind not in NOTES


@dataclass
class Account:
    """A component's numbers and findings."""

    component: str
    tensors: int
    parameters: int
    waived: int
    findings: list[Finding]


def account(component, module, tensors: dict[str, Tensor], waivers: Waivers | None = None) -> Account:
    """Balance one component. ``component`` is mflux's ComponentDefinition, ``module`` its (unevaluated) MLX module.

    The module's parameters are replaced by unevaluated placeholders.
    """
    waivers = waivers or Waivers()
    book = _Book(component.name, waivers)
    expansion = expand_component(component, tensors)
    result = fill_module(module, expansion, component)
    _checkpoint_side(book, tensors, expansion)
    _parameter_side(book, expansion, result)
    for fill, why in (*wrong_order(module, expansion.fills), *swapped(expansion.fills, result.shapes)):
        if (fill.path, fill.source) not in book.named:
            book.add("wrong order" if "order" in why else "crossed", fill.source, why)
    for name, why in expansion.absent:
        book.add("not in the checkpoint", name, why)
    for pattern, why in expansion.guesses:
        book.add("guessed count", pattern, why)
    if result.refusal:
        book.add("mapper", component.name, result.refusal)
    for pattern in waivers.idle:
        book.add("idle waiver", pattern, "it waives nothing; delete it from waivers.yml")
    return Account(component.name, len(tensors), len(result.shapes), book.waived, book.findings)


class _Book:
    def __init__(self, component: str, waivers: Waivers):
        self.component, self.waivers = component, waivers
        self.findings: list[Finding] = []
        self.named: set[tuple[str, str]] = set()
        self.waived = 0

    def add(self, kind: str, name: str, why: str) -> None:
        self.findings.append(Finding(self.component, kind, name, why))

    def add_open(self, side: str, kind: str, name: str, why: str) -> None:
        if self.waivers.cover(side, name):
            self.waived += 1
        else:
            self.add(kind, name, why)


def _checkpoint_side(book: _Book, tensors: dict[str, Tensor], expansion) -> None:
    takers: dict[str, list[Assignment]] = defaultdict(list)
    for fill in expansion.fills:
        takers[fill.source].append(fill)
    judged: dict[tuple, str] = {}
    for name, tensor in tensors.items():
        if tensor.dtype in _REFUSED:
            book.add("unreadable", name, f"MLX reads no {tensor.dtype}, and refuses the file; store it as another type")
        elif tensor.dtype in _RAW:
            book.add("raw bytes", name, f"MLX reads {tensor.dtype} as bytes; a transform or the port must decode them")
        fills = takers.get(expansion.renamed.get(name, ""), [])
        if len(fills) == 1 and fills[0].transform is None:
            continue
        if not fills:
            book.add_open("tensors", "not mapped", name, "no target takes this tensor; map it or waive it")
        elif len({fill.path for fill in fills}) == len(fills) and not any(fill.failure for fill in fills):
            why = _of_numbers(fills, judged)
            kind = "wrong order" if "order" in why else "taken twice" if len(fills) > 1 else "changed numbers"
            if why and kind == "changed numbers":
                book.add_open("tensors", kind, name, f"{why}; mend it, or waive the tensor with the reason")
            elif why:
                book.add(kind, name, why)


def _of_numbers(fills: list[Assignment], judged: dict[tuple, str]) -> str:
    # Alike in every block: the same transforms of the same shape for the same names.
    names = [name for fill in fills if len(fills) > 1 for name in (fill.source, fill.path)]
    key = (tuple(fill.transform for fill in fills), fills[0].before, *(re.sub(r"\d+", "#", name) for name in names))
    if key not in judged:
        judged[key] = lost_elements(fills)
    return judged[key]


def _parameter_side(book: _Book, expansion, result) -> None:
    filled = Counter(fill.path for fill in expansion.fills)
    for path, shape in result.shapes.items():
        if not filled[path]:
            book.add_open("parameters", "not filled", path, f"no tensor fills this parameter of shape {shape}")
    for fill in expansion.fills:
        wanted = result.shapes.get(fill.path)
        if fill.failure:
            why = f"its transform fails on shape {fill.before}: {fill.failure}"
            book.add("transform", fill.source, why)
        elif wanted is None:
            book.add("no such parameter", fill.source, f"it goes to {fill.path}, which the module does not have")
        elif filled[fill.path] > 1:
            book.add("filled twice", fill.source, f"another tensor goes to {fill.path} too")
        elif fill.shape != wanted and _plain(fill.shape) == _plain(wanted) and book.waivers.cover("shapes", fill.path):
            book.waived += 1
            continue
        elif fill.shape != wanted:
            book.add("shape", fill.source, f"{fill.path} is {wanted}, the tensor gives {fill.shape}")
        elif fill.path in result.unset:
            book.add("not set", fill.source, f"mflux's mapper cannot set {fill.path} (a list within a list?)")
        else:
            continue
        book.named.add((fill.path, fill.source))


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    return _plain(shape[:-1]) if len(shape) > 1 and shape[-1] == 1 else shape
