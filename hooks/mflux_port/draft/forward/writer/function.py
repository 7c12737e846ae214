"""One recorded function, written in MLX."""

from __future__ import annotations

import ast
from collections import Counter

from mflux_port.draft.forward.record.callgraph import Place
from mflux_port.draft.forward.record.facts import MANY, Fact
from mflux_port.draft.forward.torch_calls.entry import Refused, filled, raising
from mflux_port.draft.forward.torch_calls.mlx_functions import HELPERS
from mflux_port.draft.forward.writer.branches import Branches
from mflux_port.draft.forward.writer.calls import Invocations
from mflux_port.draft.forward.writer.dtypes import Types
from mflux_port.draft.forward.writer.expressions import Expressions
from mflux_port.draft.forward.writer.layer_calls import LayerCalls
from mflux_port.draft.forward.writer.project import Parameter, Project, Written, is_processor
from mflux_port.draft.forward.writer.recorded_calls import RecordedCalls
from mflux_port.draft.forward.writer.statements import Statements
from mflux_port.draft.forward.writer.type_hints import hint, return_hint


class FunctionWriter(Statements, Branches, Expressions, Types, Invocations, LayerCalls, RecordedCalls):
    """Writes the function at ``place``. What follows from the config is folded, what depends on data stays."""

    def __init__(self, project: Project, place: Place):
        self.project, self.place = project, place
        self.source = project.recording.sources[place[0]]
        self.facts = project.recording.facts[place]
        self.out = Written(place, self.source, self.source.tree.name)
        self.parameters: dict[str, Parameter] = project.parameters(place)
        self.is_processor = is_processor(self.source)
        names = [arg.arg for arg in self.source.parameters]
        self.owner = names[1] if self.is_processor else "self" if self.source.is_method else ""
        stores = (node for node in ast.walk(self.source.tree) if isinstance(node, ast.Name))
        self.stored = {node.id for node in stores if isinstance(node.ctx, ast.Store)}
        self.guards: list[ast.stmt] = []
        self.has_checkpointing = False
        self.elements: dict[str, tuple[ast.expr, object]] = {}
        self.inner: set[str] = set()
        self.left_out: set[str] = set()
        self.functions: set[str] = set()
        self.spread_only = self._spread_only()

    def _spread_only(self) -> dict[str, ast.Dict]:
        # Dicts that are assigned once and only passed to calls as **, or copied for that purpose: their keywords are
        # written there.
        found, copies, stored, spread, read = {}, {}, Counter(), Counter(), Counter()
        for node in ast.walk(self.source.tree):
            if isinstance(node, ast.Assign):
                if isinstance(node.targets[0], ast.Name) and _has_keywords(node.value):
                    found[node.targets[0].id] = node.value
                if isinstance(node.targets[0], ast.Name) and (original := self._copied(node.value)) in found:
                    copies[node.targets[0].id] = original
                    spread[original] += 1
                elif isinstance(node.targets[0], ast.Subscript) and not self.ran(node.value):
                    spread[getattr(node.targets[0].value, "id", "")] += 1
            if isinstance(node, ast.Name):
                (read if isinstance(node.ctx, ast.Load) else stored)[node.id] += 1
            if isinstance(node, ast.keyword) and node.arg is None and isinstance(node.value, ast.Name):
                spread[node.value.id] += 1
        only = {name for name in (*found, *copies) if stored[name] == 1 and 0 < spread[name] == read[name]}
        found |= {name: found[original] for name, original in copies.items() if original in only}
        return {name: value for name, value in found.items() if name in only}

    def _copied(self, node: ast.expr) -> str:
        # The name of the dict that an expression copies.
        called = node.func if isinstance(node, ast.Call) and not node.args else None
        is_copy = isinstance(called, ast.Attribute) and called.attr == "copy" and isinstance(called.value, ast.Name)
        return called.value.id if is_copy else ""

    def write(self) -> Written:
        out = self.out
        out.is_processor, out.is_static = self.is_processor, not self.owner
        out.body = self.block(self.source.tree.body)
        try:
            out.parameters = self._signature()
        except Refused as refusal:
            out.body = [self.problem(refusal.node, refusal.reason)]
        out.returns = return_hint(self)
        return out

    def _signature(self) -> list[tuple[str, str, str]]:
        # (name, type, default as source or ''); those without a default first.
        found = []
        numbers = {arg.arg: arg.number for arg in self.source.parameters}
        for name, parameter in self.parameters.items():
            if parameter.keep and name in numbers:
                fact = self.facts.get(numbers[name])
                found.append((name, hint(fact), self._default(name, fact)))
            elif parameter.keep:
                raise Refused(self.source.tree, f"*{name}")
            items = self._keyword_facts() if parameter.keys else {}
            found += [(key, hint(items[key]), "") for key in parameter.keys if key not in {one[0] for one in found}]
        return [one for one in found if not one[2]] + [one for one in found if one[2]]

    def _keyword_facts(self) -> dict[str, Fact]:
        return self.facts[self.source.tree.args.kwarg.number].items

    def _default(self, name: str, fact: Fact | None) -> str:
        # Calls within a port give every argument; a top-level call may leave out what a recorded run left out.
        default = self.source.defaults.get(name)
        if default is None or not self.project.is_entry(self.place):
            return ""
        if fact is not None and "none" in fact.kinds:
            return "None"
        never_given = name not in self.project.given and isinstance(default, ast.Constant)
        return repr(default.value) if never_given else ""

    # Called by the other parts of the writer.

    def fact(self, node: ast.expr | None) -> Fact | None:
        """The facts that were recorded about an expression of the reference."""
        if node is None:
            return None
        if isinstance(node, ast.Constant):
            fact = Fact()
            fact.add(node.value)
            return fact
        if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant) and node.number not in self.facts:
            return self.fact(node.operand)
        return self.facts.get(getattr(node, "number", -1))

    def value(self, node: ast.expr) -> object:
        """The one value that an expression had in all runs, else ``MANY``."""
        if isinstance(node, ast.Constant):
            return node.value
        fact = self.fact(node)
        return fact.only if fact is not None else MANY

    def known(self, node: ast.expr, at: ast.AST) -> object:
        """The value of an expression that the config decides. Refuses any other."""
        value = self.value(node)
        if value is MANY or not self.from_config(node):
            raise Refused(at, f"{ast.unparse(node)} is not decided by the config")
        return value

    def from_config(self, node: ast.expr) -> bool:
        return self.project.provenance.from_config(self.place, node)

    def helper(self, name: str, *arguments: ast.expr | None) -> ast.expr:
        """A call of a function of ``mlx_functions.py``."""
        assert name in HELPERS, name
        values = [ast.Constant(None) if value is None else value for value in arguments]
        return ast.Call(ast.Attribute(ast.Name("SHARED", ast.Load()), name, ast.Load()), values, [])

    def read_one_by_one(self, node: ast.expr) -> ast.expr:
        """An expression in MLX; a numpy row becomes a list, whose numbers loops and slices read.

        A name already refers to one.
        """
        fact, written = self.fact(node), self.expr(node)
        is_row = fact is not None and fact.is_numpy and fact.rank == 1 and not isinstance(node, ast.Name)
        return filled("x.tolist()", {"x": written}) if is_row else written

    def is_complex(self, node: ast.expr) -> bool:
        """Whether an expression was a complex array: it is an array of pairs in MLX."""
        fact = self.fact(node)
        return fact is not None and "tensor" in fact.kinds and any(dtype.startswith("complex") for dtype in fact.dtypes)

    def held_weight(self, node: ast.expr) -> bool:
        """Whether an array is a weight that a layer of mlx.nn holds, in MLX's order of axes."""
        return isinstance(node, ast.Attribute) and node.attr == "weight"

    def problem(self, node: ast.AST, reason: str) -> ast.stmt:
        """Record what cannot be written, and return the statement that raises instead."""
        where = self.source.where(node)
        self.out.problems.append((where, self.source.line(node), reason))
        return raising("NotImplementedError", f"{where}: {reason}")


def _has_keywords(node: ast.expr) -> bool:
    keys = node.keys if isinstance(node, ast.Dict) else [None]
    return all(isinstance(key, ast.Constant) and isinstance(key.value, str) for key in keys)


def write_function(project: Project, place: Place) -> Written:
    """The function at ``place`` in MLX."""
    return FunctionWriter(project, place).write()
