"""The forward pass of one group of modules: its methods as source, and what they need from their class.

Three names are placeholders, because the port chooses them: ``CLASS`` (the class itself), ``SHARED`` (the port's class
of functions) and, through it, the helpers. ``named`` replaces them.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from mflux_port.draft.forward.proof.result import VERIFIED, State
from mflux_port.draft.forward.record.callgraph import Place
from mflux_port.draft.forward.torch_calls.mlx_functions import HELPERS
from mflux_port.draft.forward.writer.channels_last import join_layers
from mflux_port.draft.forward.writer.init_arrays import InitialWriter, initial_place
from mflux_port.draft.forward.writer.known_tables import formula, numbers_of
from mflux_port.draft.forward.writer.layers import layer_call_of
from mflux_port.draft.forward.writer.names import table_name
from mflux_port.draft.forward.writer.printer import statements
from mflux_port.draft.forward.writer.project import Project, Written
from mflux_port.draft.forward.writer.returns import without_unread_parts
from mflux_port.draft.forward.writer.shared_functions import share
from mflux_port.draft.forward.writer.step_constants import OF_A_SHAPE, split_off
from mflux_port.draft.forward.writer.style import lifted, merged_processor, tidy
from mflux_port.draft.forward.writer.type_hints import hint


@dataclass
class Method:
    """``text``: source without indentation. ``is_static``: it does not take self."""

    name: str
    text: str
    is_static: bool


@dataclass
class Forward:
    """``reads``: the names of the module's own attributes in its methods. ``problems``: (file:line, source, reason)."""

    group: str
    methods: list[Method] = field(default_factory=list)
    shared: dict[str, str] = field(default_factory=dict)
    reads: set[str] = field(default_factory=set)
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    outside: set[Place] = field(default_factory=set)
    others: set[tuple[str, str]] = field(default_factory=set)
    where: str = ""
    signatures: dict[str, list[str]] = field(default_factory=dict)
    entries: dict[Place, str] = field(default_factory=dict)
    initial: list[str] = field(default_factory=list)
    state: State | None = None

    @property
    def is_verified(self) -> bool:
        return self.state is not None and self.state.kind == VERIFIED

    @property
    def key(self) -> str:
        """A key that is equal for forward passes with the same text."""
        return "\n".join([*(method.text for method in self.methods), *self.initial])

    @property
    def helpers(self) -> set[str]:
        """The functions of ``mlx_functions.py`` that are called."""
        text = "\n".join([self.key, *self.shared.values()])
        return {name for name in HELPERS if f"SHARED.{name}(" in text}


class ClassWriter:
    """Writes the groups of a project, from the root to what it calls."""

    def __init__(self, project: Project):
        self.project = project
        self.entries: dict[str, list[Place]] = {}
        self.public: set[Place] = set()

    def write(self) -> dict[str, Forward]:
        from mflux_port.draft.forward.record.groups import group_of

        root = group_of(self.project.recording.root)
        waiting = [(key, root) for key in self.project.entries if (key, root) in self.project.recording.facts]
        self.public |= set(waiting)
        while waiting:
            place = waiting.pop(0)
            self.entries.setdefault(place[1], []).append(place)
            for written in self._reached(place):
                for other in sorted(written.outside - self.public):
                    self.public.add(other)
                    waiting.append(other)
        self._add_unreached()
        found = {group: self._class(group, places) for group, places in self.entries.items()}
        share(found)
        return found

    def _add_unreached(self) -> None:
        # Functions that only an unwritten construct would call are written anyway, and proven separately.
        for group in self.project.recording.calls:
            for one in self.project.recording.instances.get(group, ())[:1]:
                place = self.project.graph.place(one, group)
                if place is not None and group not in self.entries and layer_call_of(one) is None:
                    self.entries[group] = [place[0]]
                    self.public.add(place[0])

    def _reached(self, place: Place) -> list[Written]:
        found, waiting = {}, [place]
        while waiting:
            here = waiting.pop(0)
            written = self.project.function(here) if here not in found else None
            if written is not None:
                found[here] = written
                waiting += written.calls
        return list(found.values())

    def _class(self, group: str, places: list[Place]) -> Forward:
        out = Forward(group, where=self._where(places[0]))
        functions = {one.place: one for place in places for one in self._reached(place)}
        names = self._names(functions, places)
        nodes = {place: self._definition(written, names) for place, written in functions.items()}
        for written in functions.values():
            out.problems += [problem for problem in written.problems if problem not in out.problems]
            out.others |= written.reads
            out.outside |= written.outside
        self._initial(out, group, functions, names, nodes)
        self._merge(nodes, functions, places)
        out.methods = self._styled(group, nodes, functions, places)
        for place in places:
            out.signatures[names[place]] = [name for name, _, _ in functions[place].parameters]
            out.entries[place] = names[place]
        return self._without_removed(out)

    def _styled(self, group: str, nodes: dict, functions: dict[Place, Written], places: list[Place]) -> list[Method]:
        """The methods after the style passes, with private ones last."""
        without_unread_parts(list(nodes.values()))
        once = self._once(group, nodes, places)
        for node in nodes.values():
            join_layers(node)
        methods = _methods(nodes, functions)
        if once is not None:
            methods.append(Method(once.name, "\n".join(statements([tidy(once)])), False))
        return sorted(methods, key=lambda method: method.name.startswith("_") and method.name != "__call__")

    @staticmethod
    def _without_removed(out: Forward) -> Forward:
        # A style pass may have removed a test and what it read.
        out.others = {(owner, name) for owner, name in out.others if re.search(rf"\.{name}\b", out.key)}
        out.reads = _own_reads([*(method.text for method in out.methods), "\n".join(out.initial)])
        return out

    def _once(self, group: str, nodes: dict[Place, ast.FunctionDef], places: list[Place]) -> ast.FunctionDef | None:
        """The method for what is the same in every step, if the group is a transformer's."""
        entries = [place for place in places if self.project.is_entry(place) and nodes[place].name == "__call__"]
        if len(entries) != 1:
            return None
        module = self.project.recording.instances[group][0]
        is_table, reads_shape = lambda name: _is_table(module, name), lambda *names: self._reads_shape(module, *names)  # noqa: E731
        return split_off(nodes[entries[0]], is_table, self._type_of(entries[0]), reads_shape)

    def _reads_shape(self, owner, name: str, key: int | str) -> bool:
        """Whether a child of a module reads nothing but the shape of an argument, given by its place or keyword."""
        child = getattr(owner, name, None)
        place = self.project.graph.place(child, "") if child is not None else None
        written = self.project.function(place[0]) if place is not None else None
        parameters = [parameter for parameter, _, _ in written.parameters] if written is not None else []
        parameter = key if isinstance(key, str) else parameters[key] if key < len(parameters) else None
        if parameter not in parameters:
            return False
        nodes = [node for statement in written.body for node in ast.walk(statement)]
        shapes = [node.value for node in nodes if isinstance(node, ast.Attribute) and node.attr in OF_A_SHAPE]
        return all(node in shapes for node in nodes if isinstance(node, ast.Name) and node.id == parameter)

    def _type_of(self, place: Place) -> Callable[[str], str]:
        source, facts = self.project.recording.sources[place[0]], self.project.recording.facts[place]
        kinds = {}
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.number in facts:
                kinds.setdefault(node.id, hint(facts[node.number]))
        return lambda name: kinds.get(name, "")

    def _initial(self, out: Forward, group: str, functions: dict, names: dict, nodes: dict) -> None:
        """The part of ``__init__`` that creates the arrays that the methods read."""
        module = next(iter(self.project.recording.instances.get(group, ())), None)
        wanted = {name for one in functions.values() for owner, name in one.tables if owner == group}
        wanted -= self._known_tables(out, group, wanted)
        place = initial_place(self.project, module) if module is not None and wanted else None
        if place is None:
            return
        written = InitialWriter(self.project, place, group, wanted).write()
        reached = [other for start in written.calls for other in self._reached(start)]
        more = {one.place: one for one in reached if one.place not in functions}
        functions |= more
        names |= self._names(functions, [], names)
        for one in more.values():
            nodes[one.place] = self._definition(one, names)
        for one in (written, *more.values()):
            out.problems += one.problems
            out.others |= one.reads
        out.initial += statements(_Called(self.project, written, names).block(written.body))

    def _known_tables(self, out: Forward, group: str, wanted: set[str]) -> set[str]:
        known = set()
        instances = self.project.recording.instances[group]
        for name in sorted(wanted):
            arrays = [getattr(one, name) for one in instances]
            thetas = [
                number for one in instances for number in numbers_of(vars(one).get("_arguments", {}))
            ] + [number for one in (*instances, self.project.recording.root) for number in
                      numbers_of(getattr(one, "config", None) or {})]  # fmt: skip
            text = formula(name, arrays, thetas) if all(hasattr(array, "shape") for array in arrays) else None
            if text is not None:
                known.add(name)
                out.initial.append(f"self.{table_name(name)} = {text}")
        return known

    def _where(self, place: Place) -> str:
        source = self.project.recording.sources[place[0]]
        return source.where(source.tree)

    def _names(
        self, functions: dict[Place, Written], places: list[Place], known: dict | None = None
    ) -> dict[Place, str]:
        names: dict[Place, str] = dict(known or {})
        for place, written in functions.items():
            if place in names:
                continue
            name = written.name
            if name in ("forward", "__call__") and place in places:
                name = "__call__"
            elif written.is_processor:
                name = "_attend"
            elif place not in self.public:
                name = f"_{name.lstrip('_')}"
            number = sum(other.rstrip("0123456789") == name for other in names.values())
            names[place] = name if not number else f"{name}_{number + 1}"
        return names

    def _definition(self, written: Written, names: dict[Place, str]) -> ast.FunctionDef:
        args = [ast.arg("self")] if not written.is_static else []
        for name, kind, _ in written.parameters:
            args.append(ast.arg(name, ast.parse(kind, mode="eval").body if kind else None))
        defaults = [ast.parse(default, mode="eval").body for _, _, default in written.parameters if default]
        returns = ast.parse(written.returns, mode="eval").body if written.returns else None
        body = _Called(self.project, written, names).block(copy.deepcopy(written.body))
        arguments = ast.arguments([], args, None, [], [], None, defaults)
        node = ast.FunctionDef(names[written.place], arguments, body or [ast.Pass()], [], returns)
        node.decorator_list = [ast.Name("staticmethod", ast.Load())] if written.is_static else []
        node.type_params = []
        return tidy(node)

    def _merge(self, nodes: dict, functions: dict[Place, Written], places: list[Place]) -> None:
        # A forward that only calls the attention's processor is replaced with the processor's body.
        attends = [place for place in nodes if functions[place].is_processor]
        for place in places:
            for attend in attends:
                merged = merged_processor(nodes[place], nodes[attend])
                if merged is not None:
                    nodes[place] = merged
                    functions[place].parameters = functions[place].parameters
        still = "\n".join(line for node in nodes.values() for line in statements([node]))
        for attend in attends:
            if f"self.{nodes[attend].name}(" not in still:
                del nodes[attend]


def _is_table(module, name: str) -> bool:
    """Whether an attribute of a module is a number, a text, or a module without weights."""
    from torch import nn

    value = getattr(module, name, None)
    if isinstance(value, nn.Module):
        return not any(True for _ in value.parameters())
    return (
        value is None
        or isinstance(value, (bool, int, float, str, tuple, list))
        and not isinstance(value, nn.ModuleList)
    )


class _Called(ast.NodeTransformer):
    """Renames the functions that a body calls to their names in the class."""

    def __init__(self, project: Project, written: Written, names: dict[Place, str]):
        self.by_name = {}
        for place in written.calls:
            source = project.recording.sources[place[0]]
            self.by_name[source.tree.name] = names[place]
            if place in names and names[place] == "_attend":
                self.by_name["attend"] = "_attend"

    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [self.visit(node) for node in body]

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id.startswith("FUNCTION_"):
            name = self.by_name[node.id.removeprefix("FUNCTION_")]
            return ast.Attribute(ast.Name("CLASS", ast.Load()), name, ast.Load())
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.generic_visit(node)
        if node.attr.startswith("METHOD_"):
            node.attr = self.by_name[node.attr.removeprefix("METHOD_")]
        elif node.attr == "attend" and isinstance(node.value, ast.Name) and node.value.id == "self":
            node.attr = "_attend"
        return node


def _methods(nodes: dict[Place, ast.FunctionDef], functions: dict[Place, Written]) -> list[Method]:
    """The text of each function, with the functions inside it as separate methods."""
    methods, taken = [], {node.name for node in nodes.values()}
    for place, node in nodes.items():
        inner = lifted(node, taken)
        taken |= {one.name for one in inner}
        methods.append(Method(node.name, "\n".join(statements([node])), functions[place].is_static))
        methods += [Method(one.name, "\n".join(statements([one])), True) for one in inner]
    return methods


def _own_reads(texts: list[str]) -> set[str]:
    found = set()
    for text in texts:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                found.add(node.attr)
    return found


def named(text: str, class_name: str, shared: str) -> str:
    """Source with the placeholders filled in."""
    return re.sub(r"\bSHARED\b", shared, re.sub(r"\bCLASS\b", class_name, text))
