"""Whether a value follows from the model's config alone, and is the same in the tiny twin and in the real model.

A value that was the same in all runs proves nothing: it is folded into a drafted forward pass only when no data reaches
it. Data is what the runs gave the model, and what is read from a tensor: sizes, numbers, booleans. Whether something is
a tensor of one rank or None is not data: it is how a function is called. A number that the twin has changed, such as a
width, counts as data: what follows from it may differ in the real model.
"""

from __future__ import annotations

import ast
from collections import defaultdict

from mflux_port.draft.forward.record.callgraph import CallGraph, Place
from mflux_port.draft.forward.record.facts import Fact
from mflux_port.draft.forward.record.recorder import Recording

DATA = ("data",)
_CONTRACT = ("ndim", "dtype", "device", "requires_grad", "is_cuda", "layout")  # tensor attributes, not data
_CONTRACT_CALLS = ("dim", "is_floating_point", "is_complex", "ndimension", "get_device")
_KIND_TESTS = ("isinstance", "hasattr", "callable", "type", "issubclass", "is_tensor", "is_grad_enabled", "is_scripting",
               "is_tracing", "is_compiling", "is_torch_npu_available", "is_torch_xla_available")  # fmt: skip


class Provenance:
    """Answers one question about a recording: ``from_config(place, expression)``."""

    def __init__(self, recording: Recording, graph: CallGraph, given: set[str], resized: set[tuple[str, str]]):
        self.recording, self.graph, self.given = recording, graph, given
        self.edges: dict[tuple, set[tuple]] = defaultdict(set)
        for place in list(recording.facts):
            _Reader(self, place).read()
        self.tainted = self._reach({("attribute", *one) for one in resized})

    def from_config(self, place: Place, node: ast.expr) -> bool:
        """Whether an expression has the same value for all inputs, in the twin and in the real model."""
        return not any(self.is_data(variable) for variable in _Reader(self, place).sources(node))

    def is_data(self, variable: tuple) -> bool:
        return variable == DATA or variable in self.tainted

    def _reach(self, resized: set[tuple]) -> set[tuple]:
        users = defaultdict(set)
        for variable, sources in self.edges.items():
            for source in sources:
                users[source].add(variable)
        found = {DATA, *resized}
        waiting = sorted(found)
        while waiting:
            for user in users[waiting.pop()]:
                if user not in found:
                    found.add(user)
                    waiting.append(user)
        return found


class _Reader:
    """Finds the edges of one function: which variable gets its value from which."""

    def __init__(self, whole: Provenance, place: Place):
        self.whole, self.place = whole, place
        self.source = whole.recording.sources[place[0]]
        self.facts: dict[int, Fact] = whole.recording.facts[place]
        self.locals = {arg.arg for arg in self.source.parameters}
        args = self.source.tree.args
        self.locals |= {arg.arg for arg in (args.vararg, args.kwarg) if arg is not None}
        stored = (node for node in ast.walk(self.source.tree) if isinstance(node, ast.Name))
        self.locals |= {node.id for node in stored if isinstance(node.ctx, ast.Store)}
        for inner in ast.walk(self.source.tree):
            if isinstance(inner, (ast.FunctionDef, ast.Lambda)) and inner is not self.source.tree:
                self.locals |= {arg.arg for arg in inner.args.args}

    def read(self) -> None:
        self._parameters()
        self._block(self.source.tree.body, frozenset())

    # Statements.

    def _parameters(self) -> None:
        edges, sites = self.whole.edges, self.whole.graph.sites[self.place]
        entry = self.place[1] and self._is_entry()
        for place, arg in enumerate(self.source.parameters):
            fact = self.facts.get(arg.number)
            if entry and arg.arg in self.whole.given and fact is not None and not fact.always("tensor"):
                edges[self._local(arg.arg)].add(DATA)
            made = not self.place[1] or self.place[0].endswith(".__init__")  # while it is built: from the config alone
            if not sites and not entry and not made and self._given_unseen(arg, fact):
                edges[self._local(arg.arg)].add(DATA)
            for site in sites:
                reader = _Reader(self.whole, site.caller)
                value = argument(site, self.source, place)
                if value is ...:
                    edges[self._local(arg.arg)] |= reader.stars(site.node, arg.arg)
                elif value is not None:
                    edges[self._local(arg.arg)] |= reader.sources(value)
        for arg in (self.source.tree.args.kwarg, self.source.tree.args.vararg):
            for site in sites if arg is not None else ():
                reader = _Reader(self.whole, site.caller)
                for value in self._unnamed(site, arg is self.source.tree.args.kwarg):
                    edges[self._local(arg.arg)] |= reader.sources(value)

    def _unnamed(self, site, by_name: bool) -> list[ast.expr]:
        # Arguments of a call that match no parameter's name.
        if not by_name:
            return list(site.node.args)
        names = {arg.arg for arg in self.source.parameters}
        return [keyword.value for keyword in site.node.keywords if keyword.arg not in names]

    def _given_unseen(self, arg: ast.arg, fact: Fact | None) -> bool:
        # No recorded call expression ran this function: all arguments except its defaults are data.
        if fact is None or arg.arg == "self" or fact.always("tensor"):
            return False
        default = self.source.defaults.get(arg.arg)
        return not (isinstance(default, ast.Constant) and fact.only == default.value)

    def _is_entry(self) -> bool:
        recording = self.whole.recording
        root = type(recording.root)
        from mflux_port.draft.forward.record.sources import key_of

        return self.place[0] in {key_of(getattr(root, name)) for name in recording.entries}

    def stars(self, node: ast.Call, name: str) -> set[tuple]:
        """What a call's star arguments may pass for a parameter: nothing, if its keywords never had the name."""
        found = set()
        for keyword in node.keywords:
            if keyword.arg is None:
                fact = self.facts.get(getattr(keyword.value, "number", -1))
                found |= set() if fact is not None and name not in fact.items else self.sources(keyword.value)
        starred = (value for value in node.args if isinstance(value, ast.Starred))
        return found.union(*(self.sources(value) for value in starred))

    def _block(self, statements: list[ast.stmt], control: frozenset) -> None:
        for node in statements:
            self._statement(node, control)

    def _statement(self, node: ast.stmt, control: frozenset) -> None:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._store(target, node.value, control)
        elif isinstance(node, ast.AugAssign):
            self._store(node.target, node.value, control)
        elif isinstance(node, ast.Return) and node.value is not None and self._ran(node.value):
            self._return(node.value, control)
        elif isinstance(node, (ast.If, ast.While)):
            inner = control | self.truth(node.test)
            self._block(node.body, inner)
            self._block(node.orelse, inner)
        elif isinstance(node, ast.For):
            inner = control | self.iteration(node.iter)
            self._store_sources(node.target, self._elements(node.iter), inner)
            self._block(node.body, inner)
        elif isinstance(node, (ast.With, ast.Try, ast.FunctionDef)):
            self._block(node.body, control)
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):
                self._store(inner.target, inner.value, control)
            elif isinstance(inner, ast.comprehension):
                self._store_sources(inner.target, self._elements(inner.iter), control)

    def _store(self, target: ast.expr, value: ast.expr, control: frozenset) -> None:
        if not self._ran(value):
            return
        if isinstance(target, (ast.Tuple, ast.List)):
            if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts):
                for one, other in zip(target.elts, value.elts, strict=True):
                    self._store(one, other, control)
                return
            for number, one in enumerate(target.elts):
                self._store_sources(one, self._part(value, number), control)
            return
        self._store_sources(target, self.sources(value), control)

    def _store_sources(self, target: ast.expr, sources: set[tuple], control: frozenset) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            for one in target.elts:
                self._store_sources(one, sources, control)
            return
        while isinstance(target, (ast.Subscript, ast.Starred)):
            target = target.value
        if isinstance(target, ast.Name):
            self.whole.edges[self._local(target.id)] |= sources | control
        elif isinstance(target, ast.Attribute):
            self.whole.edges[self._attribute(target)] |= sources | control

    def _return(self, value: ast.expr, control: frozenset) -> None:
        self.whole.edges["return", *self.place, None] |= self.sources(value) | control
        parts = value.elts if isinstance(value, ast.Tuple) else []
        for number in range(8):
            sources = self.sources(parts[number]) if number < len(parts) else self.sources(value)
            self.whole.edges["return", *self.place, number] |= sources | control

    def _ran(self, node: ast.expr) -> bool:
        # Whether a run reached an expression: one that no run reached is not in the draft.
        if isinstance(node, (ast.Constant, ast.JoinedStr, ast.Lambda)):
            return True
        return any(getattr(part, "number", None) in self.facts for part in ast.walk(node)) or not any(
            isinstance(part, (ast.Name, ast.Call)) for part in ast.walk(node)
        )

    # Expressions.

    def sources(self, node: ast.expr | None) -> set[tuple]:
        """The variables that an expression's value depends on."""
        if node is None or isinstance(node, ast.Constant):
            return set()
        fact = self.facts.get(getattr(node, "number", -1))
        if fact is not None and fact.always("tensor"):
            return set()
        method = getattr(self, f"_{type(node).__name__}", None)
        if method is not None:
            return method(node)
        children = (child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))
        return set().union(*(self.sources(child) for child in children))

    def truth(self, node: ast.expr) -> set[tuple]:
        """The variables that decide a test."""
        fact = self.facts.get(getattr(node, "number", -1))
        if fact is not None and "tensor" in fact.kinds:
            return {DATA}
        return self.sources(node)

    def iteration(self, node: ast.expr) -> set[tuple]:
        fact = self.facts.get(getattr(node, "number", -1))
        return {DATA} if fact is not None and fact.always("tensor") else self.sources(node)

    def _elements(self, node: ast.expr) -> set[tuple]:
        return self.sources(node)

    def _part(self, value: ast.expr, number: int) -> set[tuple]:
        if isinstance(value, ast.Call):
            targets = self.whole.graph.targets(self.place, value)
            if targets:
                return {("return", *target, number) for target in targets}
        return self.sources(value)

    def _Name(self, node: ast.Name) -> set[tuple]:
        return {self._local(node.id)} if node.id in self.locals else set()

    def _Attribute(self, node: ast.Attribute) -> set[tuple]:
        fact = self.facts.get(getattr(node.value, "number", -1))
        if fact is not None and "tensor" in fact.kinds:
            return set() if node.attr in _CONTRACT else {DATA}
        return {self._attribute(node)} | self.sources(node.value)

    def _Compare(self, node: ast.Compare) -> set[tuple]:
        if isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            fact = self.facts.get(getattr(node.left, "number", -1))
            if fact is not None and "none" not in fact.kinds:
                return set()
            return self.sources(node.left)
        found = set()
        for part in (node.left, *node.comparators):
            fact = self.facts.get(getattr(part, "number", -1))
            found |= {DATA} if fact is not None and "tensor" in fact.kinds else self.sources(part)
        return found

    def _Call(self, node: ast.Call) -> set[tuple]:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        targets = self.whole.graph.targets(self.place, node)
        if targets:
            return {("return", *target, None) for target in targets}
        if name in _KIND_TESTS:
            fact = self.facts.get(getattr(node.args[0], "number", -1)) if node.args else None
            mixed = fact is not None and len(fact.kinds) > 1
            return self.sources(node.args[0]) if mixed else set()
        if isinstance(node.func, ast.Attribute):
            fact = self.facts.get(getattr(node.func.value, "number", -1))
            if fact is not None and "tensor" in fact.kinds:
                return set() if name in _CONTRACT_CALLS else {DATA}
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        found = self.sources(node.func.value) if isinstance(node.func, ast.Attribute) else set()
        for value in values:
            fact = self.facts.get(getattr(value, "number", -1))
            found |= {DATA} if fact is not None and "tensor" in fact.kinds else self.sources(value)
        return found

    def _Subscript(self, node: ast.Subscript) -> set[tuple]:
        fact = self.facts.get(getattr(node.value, "number", -1))
        if fact is not None and "tensor" in fact.kinds:
            return {DATA}
        return self.sources(node.value) | self.sources(node.slice)

    def _IfExp(self, node: ast.IfExp) -> set[tuple]:
        sides = [side for side in (node.body, node.orelse) if self._ran(side)]
        return self.truth(node.test).union(*(self.sources(side) for side in sides))

    def _comprehension(self, node) -> set[tuple]:
        parts = [getattr(node, name) for name in ("elt", "key", "value") if hasattr(node, name)]
        found = set().union(*(self.sources(part) for part in parts))
        for generator in node.generators:
            found = found.union(self.iteration(generator.iter), *(self.truth(test) for test in generator.ifs))
        return found

    _ListComp = _GeneratorExp = _SetComp = _DictComp = _comprehension

    def _Lambda(self, node: ast.Lambda) -> set[tuple]:
        return set()

    # Names of variables.

    def _local(self, name: str) -> tuple:
        return ("local", *self.place, name)

    def _attribute(self, node: ast.Attribute) -> tuple:
        # An attribute by its name and group, no matter which code reads it.
        fact = self.facts.get(getattr(node.value, "number", -1))
        owners = sorted(owner_groups(fact)) if fact is not None else []
        return ("attribute", owners[0] if owners else self.place[1], node.attr)


def owner_groups(fact: Fact) -> set[str]:
    """The groups of the modules and objects that an expression evaluated to."""
    from torch import nn

    from mflux_port.draft.forward.record.groups import group_of
    from mflux_port.draft.forward.record.recorder import object_group

    values = fact.objects.values()
    return {group_of(value) if isinstance(value, nn.Module) else object_group(value) for value in values}


def argument(site, source, place: int) -> ast.expr | None:
    """What a call passes for a function's parameter: an expression, None for nothing, or ``...`` if a star argument may
    pass it.
    """
    name = source.parameters[place].arg
    for keyword in site.node.keywords:
        if keyword.arg == name:
            return keyword.value
    bound = 1 if source.is_method else 0
    where = place - bound if not site.skip else place - 1
    positional = len(source.tree.args.posonlyargs) + len(source.tree.args.args)
    if any(isinstance(value, ast.Starred) for value in site.node.args[: where + 1]):
        return ...
    if 0 <= where < len(site.node.args) and place < positional:
        return site.node.args[where]
    return ... if any(keyword.arg is None for keyword in site.node.keywords) else None
