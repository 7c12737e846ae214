"""Everything recorded about a model, and what the writer looks up: signatures, written functions, names."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field

from mflux_port.draft.forward.record.callgraph import CallGraph, Place
from mflux_port.draft.forward.record.facts import MANY, Fact
from mflux_port.draft.forward.record.provenance import Provenance, argument
from mflux_port.draft.forward.record.recorder import Recording
from mflux_port.draft.forward.record.sources import Source, key_of
from mflux_port.draft.forward.twin.runs import FIXED


@dataclass
class Parameter:
    """``keep``: the parameter is in the signature; otherwise ``value`` replaces it.

    ``keys``: of ``**keywords``, each a parameter.
    """

    keep: bool
    value: object = None
    keys: tuple[str, ...] = ()
    constants: dict[str, object] = field(default_factory=dict)


@dataclass
class Written:
    """A function in MLX. ``calls``: the functions that it calls as methods; ``reads``: (group, attribute)."""

    place: Place
    source: Source
    name: str
    parameters: list[tuple[str, str, str]] = field(default_factory=list)
    returns: str = ""
    body: list[ast.stmt] = field(default_factory=list)
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    calls: list[Place] = field(default_factory=list)
    outside: set[Place] = field(default_factory=set)
    reads: set[tuple[str, str]] = field(default_factory=set)
    tables: set[tuple[str, str]] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)
    is_static: bool = False
    is_processor: bool = False


class Project:
    """``resized``: (group, attribute) of numbers that differ between the tiny twin and the real model.

    ``write_function`` writes one function of the reference, given the project and the function's place. ``trains``: the
    port has training.
    """

    def __init__(
        self,
        recording: Recording,
        given: set[str],
        resized: set[tuple[str, str]],
        write_function: Callable[[Project, Place], Written],
        trains: bool = True,
    ):
        self.trains = trains
        self.write_function = write_function
        self.recording, self.graph = recording, CallGraph(recording)
        self.given = given - FIXED
        self.provenance = Provenance(recording, self.graph, self.given, resized)
        self.written: dict[Place, Written | None] = {}
        self._parameters: dict[Place, dict[str, Parameter]] = {}
        root = type(recording.root)
        self.entries = {key_of(getattr(root, name)): name for name in recording.entries}

    def function(self, place: Place) -> Written | None:
        """A function in MLX, written once; None while it is being written."""
        if place not in self.written:
            self.written[place] = None
            self.written[place] = self.write_function(self, place)
        return self.written[place]

    def is_entry(self, place: Place) -> bool:
        from mflux_port.draft.forward.record.groups import group_of

        return place[0] in self.entries and place[1] == group_of(self.recording.root)

    def parameters(self, place: Place) -> dict[str, Parameter]:
        """How each parameter of the reference is treated, the same for all groups that one expression may call."""
        if place not in self._parameters:
            alike = self.graph.alike(place)
            found = [self._of(other) for other in sorted(alike) if other[0] == place[0]] or [self._of(place)]
            merged = self._of(place)
            for name, one in merged.items():
                others = [other[name] for other in found if name in other]
                if not one.keep and not one.keys and any(other.keep or other.value != one.value for other in others):
                    merged[name] = Parameter(True)
            self._parameters[place] = merged
        return self._parameters[place]

    def _of(self, place: Place) -> dict[str, Parameter]:
        source, facts = self.recording.sources[place[0]], self.recording.facts[place]
        found = {}
        skip = 2 if is_processor(source) else int(source.is_method)
        for number, arg in enumerate(source.parameters):
            if number >= skip:
                found[arg.arg] = self._parameter(place, source, number, facts.get(arg.number))
        args = source.tree.args
        if args.vararg is not None:
            fact = facts.get(args.vararg.number)
            taken = fact is not None and fact.lengths != {0}
            found[args.vararg.arg] = Parameter(taken and _reads(source, args.vararg.arg), ())
        if args.kwarg is not None:
            found[args.kwarg.arg] = self._keywords(place, args.kwarg.arg, facts.get(args.kwarg.number))
        return found

    def _parameter(self, place: Place, source: Source, number: int, fact: Fact | None) -> Parameter:
        name = source.parameters[number].arg
        if fact is None or fact.always("device", "none", "function") and "none" not in fact.kinds:
            return Parameter(False)
        if fact.always("dict") and fact.lengths == {0}:
            return Parameter(False, {})
        only = fact.only
        if only is MANY or self.provenance.is_data(("local", *place, name)):
            return Parameter(True)
        if fact.always("none") or fact.always("bool") or fact.always("str"):
            return Parameter(False, only)
        if fact.always("int") or fact.always("float"):
            if self._is_literal(place, source, number) and not self.is_entry(place):
                return Parameter(False, only)
        return Parameter(True)

    def _is_literal(self, place: Place, source: Source, number: int) -> bool:
        # Whether every call passes a literal number or keeps the reference's default.
        default = source.defaults.get(source.parameters[number].arg)
        sites = self.graph.sites[place]
        values = [argument(site, source, number) for site in sites]
        values = [default if value is None else value for value in values]
        return bool(sites) and all(map(_is_literal, values))

    def _keywords(self, place: Place, name: str, fact: Fact | None) -> Parameter:
        if fact is None or fact.lengths == {0}:
            return Parameter(False, {})
        keys = tuple(dict.fromkeys(key for names in sorted(fact.keys) for key in names))
        constants = {}
        data = self.provenance.is_data(("local", *place, name))
        for key in keys:
            item = fact.items[key]
            fixed = item.only is not MANY and item.always("none", "bool", "str")
            if (
                fixed
                and (not data or key in FIXED or item.always("none"))
                or item.always("device", "dtype", "function")
            ):
                constants[key] = item.only if item.only is not MANY else None
        kept = tuple(key for key in keys if key not in constants)
        return Parameter(False, {}, kept, constants)


def _reads(source: Source, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(source.tree))


def _is_literal(node: ast.expr | None) -> bool:
    signed = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    return isinstance(node.operand if signed else node, ast.Constant)


def is_processor(source: Source) -> bool:
    """Whether a function is the ``__call__`` of an attention processor: its second parameter is the attention."""
    owner = source.key.rsplit(".", 2)[-2]
    return "Processor" in owner and source.tree.name == "__call__"
