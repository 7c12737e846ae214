"""Balance a component: every checkpoint tensor is used once, every MLX parameter is loaded once with the right shape.

The mapping is expanded and applied by mflux's own WeightMapper, on arrays that are never evaluated.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.kinds.classify import Classified, classify
from mflux_port.ledger.axes import swapped, wrong_order
from mflux_port.ledger.elements import Fault, element_fault
from mflux_port.ledger.expansion import AppliedModule, Assignment, Expansion, apply_assignments, expand_component
from mflux_port.ledger.waivers import Waivers

# Reported without failing: mflux's own mappings rely on them.
NOTES = ("guessed count", "raw bytes", "left out")
# Types for which mx.load of MLX 0.31 and 0.32 refuses the file, or returns the bytes as integers.
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


def account(
    component, module, tensors: dict[str, Tensor], waivers: Waivers | None = None, metadata: dict | None = None
) -> Account:
    """Balance one component. ``component`` is mflux's ComponentDefinition, ``module`` its (unevaluated) MLX module.

    The module's parameters are replaced by unevaluated placeholders. ``metadata``: that of the checkpoint's headers.
    """
    waivers = waivers or Waivers()
    classified = classify(tensors, metadata=metadata)
    book = _Book(component.name, waivers, dict(classified.waived))
    book.waived = len(classified.waived)
    _add_kinds(book, classified)
    expansion = expand_component(component, tensors)
    applied = apply_assignments(module, expansion, component)
    _add_types(book, tensors)
    _add_tensors(book, tensors, expansion)
    _add_parameters(book, expansion, applied)
    _add_orders(book, module, expansion, applied)
    for name, why in expansion.absent:
        book.add("not in the checkpoint", name, why)
    for pattern, why in expansion.guesses:
        book.add("guessed count", pattern, why)
    if applied.refusal:
        book.add("mapper", component.name, applied.refusal)
    for pattern in waivers.idle:
        book.add("idle waiver", pattern, "it matches nothing; delete it from waivers.yml")
    return Account(component.name, len(tensors), len(applied.shapes), book.waived, book.findings)


class _Book:
    """The findings of one component.

    ``explained``: tensors that a port need not load, with the reason; ``named``: (path, source) of assignments that
    have a finding already.
    """

    def __init__(self, component: str, waivers: Waivers, explained: dict[str, str]):
        self.component, self.waivers, self.explained = component, waivers, explained
        self.findings: list[Finding] = []
        self.named: set[tuple[str, str]] = set()
        self.waived = 0

    def add(self, kind: str, name: str, why: str) -> None:
        self.findings.append(Finding(self.component, kind, name, why))

    def add_unless_waived(self, side: str, kind: str, name: str, why: str) -> None:
        if self.waivers.cover(side, name):
            self.waived += 1
        else:
            self.add(kind, name, why)

    def known(self, side: str, name: str) -> bool:
        """Whether the finding is about a module that the port reuses unchanged from mflux."""
        return self.waivers.known is not None and self.waivers.known.cover(side, name)


def _add_kinds(book: _Book, classified: Classified) -> None:
    # One finding for all tensors of a kind that cannot be loaded as they are; its name may be waived like a tensor.
    for kind in classified.kinds:
        if kind.blocks and book.waivers.cover("tensors", kind.id):
            book.waived += 1
        elif kind.blocks:
            book.add("not plain weights", kind.id, str(kind))
            book.explained |= dict.fromkeys(kind.names, kind.id)
        elif kind.names:
            book.add("left out", kind.id, str(kind))


def _add_types(book: _Book, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype in _REFUSED:
            why = f"MLX cannot read {tensor.dtype} and refuses the file; store it as another type"
            book.add("unreadable", name, why)
        elif tensor.dtype in _RAW:
            why = f"MLX reads {tensor.dtype} as bytes; a transform or the port must decode them"
            book.add("raw bytes", name, why)


def _add_tensors(book: _Book, tensors: dict[str, Tensor], expansion: Expansion) -> None:
    by_source: dict[str, list[Assignment]] = defaultdict(list)
    for assignment in expansion.assignments:
        by_source[assignment.source].append(assignment)
    known: dict[tuple, Fault | None] = {}
    for name in tensors:
        assignments = by_source.get(expansion.renamed.get(name, ""), [])
        if not assignments and name in book.explained:
            book.waivers.cover("tensors", name)  # a waiver for the same tensor counts as used
        elif not assignments:
            book.add_unless_waived("tensors", "not mapped", name, "no target takes this tensor; map it or waive it")
        elif assignments and _is_judged(assignments) and (fault := _element_fault(assignments, known)):
            _add_element_fault(book, name, fault)


def _is_judged(assignments: list[Assignment]) -> bool:
    # An unchanged tensor loses nothing; failed transforms and parameters loaded twice have separate findings.
    if len(assignments) == 1 and assignments[0].transform is None:
        return False
    distinct = len({assignment.path for assignment in assignments}) == len(assignments)
    return distinct and not any(assignment.failure for assignment in assignments)


def _element_fault(assignments: list[Assignment], known: dict[tuple, Fault | None]) -> Fault | None:
    # Blocks are alike: the same transforms of the same shape for the same names are checked once.
    names = [name for one in assignments for name in (one.source, one.path)] if len(assignments) > 1 else []
    transforms = tuple(one.transform for one in assignments)
    key = (transforms, assignments[0].before, *(re.sub(r"\d+", "#", name) for name in names))
    if key not in known:
        known[key] = element_fault(assignments)
    return known[key]


def _add_element_fault(book: _Book, name: str, fault: Fault) -> None:
    if fault.waivable:
        why = f"{fault.why}; fix it, or waive the tensor with a reason"
        book.add_unless_waived("tensors", fault.kind, name, why)
    elif book.known("tensors", name):
        book.waived += 1
    else:
        book.add(fault.kind, name, fault.why)


def _add_parameters(book: _Book, expansion: Expansion, applied: AppliedModule) -> None:
    count = Counter(assignment.path for assignment in expansion.assignments)
    for path, shape in applied.shapes.items():
        if not count[path]:
            why = f"no tensor is loaded into this parameter of shape {shape}"
            book.add_unless_waived("parameters", "not filled", path, why)
    for assignment in expansion.assignments:
        problem = _problem(assignment, applied, count[assignment.path])
        if problem is None:
            continue
        if problem[0] == "shape" and _is_waived_shape(book, assignment, applied.shapes[assignment.path]):
            book.waived += 1
            continue
        if problem[0] == "no such parameter" and book.known("tensors", assignment.source):
            book.waived += 1  # mflux's own mapping has it, but mflux's own module does not
            continue
        book.add(problem[0], assignment.source, problem[1])
        book.named.add((assignment.path, assignment.source))


def _problem(assignment: Assignment, applied: AppliedModule, count: int) -> tuple[str, str] | None:
    """The kind and the reason of what is wrong with one assignment, or None."""
    path, shape = assignment.path, applied.shapes.get(assignment.path)
    if assignment.failure:
        return "transform", f"its transform fails on shape {assignment.before}: {assignment.failure}"
    if shape is None:
        return "no such parameter", f"it goes to {path}, which the module does not have"
    if count > 1:
        return "filled twice", f"another tensor goes to {path} too"
    if assignment.shape != shape:
        return "shape", f"{path} is {shape}, the tensor gives {assignment.shape}"
    if path in applied.unset:
        return "not set", f"mflux's mapper cannot set {path}, which may be in a list within a list"
    return None


def _is_waived_shape(book: _Book, assignment: Assignment, shape: tuple[int, ...]) -> bool:
    same = _without_trailing_ones(assignment.shape) == _without_trailing_ones(shape)
    return same and book.waivers.cover("shapes", assignment.path)


def _without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return _without_trailing_ones(shape[:-1]) if len(shape) > 1 and shape[-1] == 1 else shape


def _add_orders(book: _Book, module, expansion: Expansion, applied: AppliedModule) -> None:
    found = [("wrong order", *pair) for pair in wrong_order(module, expansion.assignments)]
    found += [("swapped", *pair) for pair in swapped(expansion.assignments, applied.shapes)]
    for kind, assignment, why in found:
        if (assignment.path, assignment.source) not in book.named:
            book.add(kind, assignment.source, why)
