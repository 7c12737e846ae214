"""Turn a tree of modules into classes: one per reference class, with the sizes that differ as parameters.

All instances of a class are compared. What is equal in all of them goes into the class; what differs becomes a
parameter that the caller gives. Instances that differ in more than sizes and optional children become further classes.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import groupby

from mflux_port.draft.tree.nodes import DICT, LIST, MODULE, Node
from mflux_port.draft.write.source_text import Call, Expression, Items, Row, Run, Table

_CONSTANTS = {"min", "max", "tuple"}
_FAMILY_ENDS = ("Transformer", "Model", "For", "Encoder", "Text", "Autoencoder", "Decoder", "Pre", "UNet", "DiT")
# Arguments that mlx.nn takes by position, and its defaults.
_POSITIONAL = ("input_dims", "output_dims", "num_embeddings", "num_groups", "num_features", "dims", "in_channels",
               "out_channels")  # fmt: skip
_DEFAULTS_OF = {"MultiHeadAttention": {"bias": "False"}}
_ASSUMED = {"bias": "True", "affine": "True", "stride": "1", "padding": "0", "dilation": "1", "groups": "1"}


@dataclass(eq=False)
class ClassDraft:
    """A class to write. ``parameters``: name to annotation; ``fields``: (attribute, expression, flag or '').

    ``base``: the call of the layer of mlx.nn that it derives from, None for a module.
    """

    name: str
    stem: str
    reference: str
    file: str
    call: tuple[str, ...]
    parameters: dict[str, str] = field(default_factory=dict)
    fields: list[tuple[str, Expression, str]] = field(default_factory=list)
    uses: set[ClassDraft] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)
    base: Call | None = None
    forward: object = None
    is_object: bool = False


class Different(Exception):
    """The instances of one class are not built alike."""


def draft_classes(tree: Node, prefix: str, top: tuple[str, str], taken: set[str]) -> list[ClassDraft]:
    """The classes of a component, the top one last.

    ``prefix`` starts every class name; ``top``: class and file stem of the tree's own class; ``taken``: names of config
    values, which no other parameter may have.
    """
    return _Drafter(tree, prefix, top, taken).run()


class _Drafter:
    def __init__(self, tree: Node, prefix: str, top: tuple[str, str], taken: set[str]):
        self.tree, self.prefix, self.top, self.taken = tree, prefix, top, taken
        self.family = _family(tree.class_name)
        self.class_of: dict[int, ClassDraft] = {}
        self.bindings: dict[int, dict[str, str]] = {}
        self.done: list[ClassDraft] = []
        self.names, self.stems = {top[0]}, {top[1]}

    def run(self) -> list[ClassDraft]:
        modules = [node for node in _post_order(self.tree) if node.kind == MODULE]
        keys = {id(node): (node.class_name, node.file, _nesting(node), _forward_key(node)) for node in modules}
        while cycle := _cycle(modules, keys):
            # Classes that contain each other in both orders: if their height is part of the key, none contains itself.
            keys |= {id(node): (*keys[id(node)], _height(node)) for node in modules if keys[id(node)] in cycle}
        groups: dict[tuple, list[Node]] = {}
        for node in modules:
            groups.setdefault(keys[id(node)], []).append(node)
        for key in _sorted_by_use(groups, keys):
            self._draft_group(groups[key])
        return self.done

    def _draft_group(self, nodes: list[Node], splits: int = 0) -> None:
        # Write all instances as one class, or else those that are built alike, with lists of one length, or else each
        # separately.
        try:
            self._draft(nodes)
        except Different:
            alike: dict[object, list[Node]] = {}
            for node in nodes:
                key = self._build_of(node, top=True, lengths=splits > 0) if splits < 2 else id(node)
                alike.setdefault(key, []).append(node)
            for part in alike.values():
                self._draft_group(part, splits + 1)

    def _draft(self, nodes: list[Node]) -> None:
        reader = _Reader(self, len(nodes))
        base, fields = reader.base(nodes), reader.fields(nodes)
        name, stem = self.top if nodes[0] is self.tree else self._name(nodes[0].class_name)
        draft = ClassDraft(name, stem, nodes[0].class_name, nodes[0].file, nodes[0].call)
        draft.parameters, draft.fields, draft.uses, draft.base = reader.parameters, fields, reader.uses, base
        draft.forward, draft.is_object = nodes[0].forward, nodes[0].is_object
        draft.remarks = [*dict.fromkeys(remark for node in nodes for remark in _remarks(node)), *_settings(nodes)]
        self.done.append(draft)
        for node, binding in zip(nodes, reader.bindings, strict=True):
            self.class_of[id(node)], self.bindings[id(node)] = draft, binding

    def _name(self, reference: str) -> tuple[str, str]:
        words = _words(reference)
        while words and self.family and words[0] in self.family and len(words) > 1:
            words = words[1:]
        core = "".join(word[:1].upper() + word[1:] for word in words) or "Part"
        stem = "_".join(words).lower()
        stem = stem if stem.isidentifier() and not keyword.iskeyword(stem) else f"part_{stem}".rstrip("_")
        number, name = 1, f"{self.prefix}{core}"
        while name in self.names or (stem if number == 1 else f"{stem}_{number}") in self.stems:
            number += 1
            name = f"{self.prefix}{core}{number}"
        stem = stem if number == 1 else f"{stem}_{number}"
        self.names.add(name)
        self.stems.add(stem)
        return name, stem

    def _build_of(self, node: Node | None, top: bool = False, lengths: bool = False) -> object:
        # How a node is built, apart from its sizes: the classes below it, its attributes, the lengths of mixed lists.
        if node is None:
            return None
        if node.kind == MODULE and not top:
            return self.class_of[id(node)].name
        inner = tuple((name, self._build_of(child, lengths=lengths)) for name, child in node.children.items())
        if node.kind == LIST and not lengths and len({build for _, build in inner}) == 1 and "count" in node.arguments:
            inner = inner[:1]
        return (node.kind, node.base, tuple((name, len(shape)) for name, shape in node.parameters.items()), inner)


class _Reader:
    """Reads the instances of one class side by side. A vector has one value per instance, None if there is none."""

    def __init__(self, drafter: _Drafter, count: int):
        self.drafter = drafter
        self.parameters: dict[str, str] = {}
        self.bindings: list[dict[str, str]] = [{} for _ in range(count)]
        self.uses: set[ClassDraft] = set()
        self.vectors: dict[tuple, str] = {}

    def base(self, nodes: list[Node]) -> Call | None:
        bases = {node.base for node in nodes}
        if len(bases) > 1:
            raise Different
        return self._leaf(nodes, bases.pop(), "") if bases != {""} else None

    def fields(self, nodes: list[Node]) -> list[tuple[str, Expression, str]]:
        names = dict.fromkeys(name for node in nodes for name in node.scalars)
        found = [(name, self._slot([node.scalars.get(name) for node in nodes], name), "") for name in names]
        for name in dict.fromkeys(name for node in nodes for name in (*node.parameters, *node.children)):
            children = [node.children.get(name) for node in nodes]
            shapes = [node.parameters.get(name) for node in nodes]
            flag = ""
            if any(child is None and shape is None for child, shape in zip(children, shapes, strict=True)):
                there = [str(name in node.children or name in node.parameters) for node in nodes]
                flag = self._slot(there, f"with_{name}")
            array = any(shape is not None for shape in shapes)
            found.append((name, self._array(shapes, name) if array else self._read(children, name), flag))
        return found

    def _array(self, shapes: list, name: str) -> Expression:
        ranks = {len(shape) for shape in shapes if shape is not None}
        if len(ranks) > 1:
            raise Different
        sizes = [
            self._slot([shape and shape[place] for shape in shapes], f"{name}_size_{place}")
            for place in range(ranks.pop())
        ]
        return Call("mx.zeros", (("", f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"),))

    def _read(self, nodes: list[Node | None], hint: str) -> Expression:
        present = [node for node in nodes if node is not None]
        kind = present[0].kind
        if any(node.kind != kind for node in present):
            raise Different
        if kind == MODULE:
            return self._class_call(nodes, hint)
        if kind == LIST:
            return self._list(nodes, hint)
        if kind == DICT:
            if len({tuple(node.children) for node in present}) > 1:
                raise Different
            names = present[0].children
            pick = lambda name: [node and node.children[name] for node in nodes]  # noqa: E731
            return Table(tuple((name, self._read(pick(name), _identifier(f"{hint}_{name}"))) for name in names))
        return self._leaf(nodes, kind, hint)

    def _class_call(self, nodes: list[Node | None], hint: str) -> Expression:
        drafts = {self.drafter.class_of[id(node)] for node in nodes if node is not None}
        if len(drafts) > 1:
            raise Different
        draft = drafts.pop()
        self.uses.add(draft)
        bound = [self.drafter.bindings[id(node)] if node is not None else {} for node in nodes]
        values = ((name, self._slot([one.get(name) for one in bound], f"{hint}_{name}")) for name in draft.parameters)
        return Call(draft.name, tuple(values))

    def _list(self, nodes: list[Node | None], hint: str) -> Expression:
        present = [node for node in nodes if node is not None]
        lengths = {len(node.children) for node in present}
        pick = lambda place: [node and node.children.get(str(place)) for node in nodes]  # noqa: E731
        items = [self._read(pick(place), f"{hint}_{place}") for place in range(max(lengths))]
        counts = [node and node.arguments.get("count", str(len(node.children))) for node in nodes]
        if (
            items
            and all(item == items[0] for item in items)
            and (len(items) > 1 or not all(map(str.isdigit, filter(None, counts))))
        ):
            return Row(items[0], self._slot(counts, f"num_{hint}"))
        if len(lengths) > 1:
            raise Different
        return Items(tuple(self._runs(items, nodes, hint)))

    def _runs(self, items: list[Expression], nodes: list[Node | None], hint: str) -> list[Expression]:
        """The items of a list; if the length of a run of equal ones follows a name, each run as one."""
        runs = [list(run) for _, run in groupby(items)]
        present = [node for node in nodes if node is not None]
        if any(sum(name.startswith("count_") for name in node.arguments) != len(runs) for node in present):
            return items
        counts = [[node and node.arguments[f"count_{place}"] for node in nodes] for place in range(len(runs))]
        if all(count.isdigit() for column in counts for count in column if count):
            return items
        found = []
        for place, (run, column) in enumerate(zip(runs, counts, strict=True)):
            one = {*column} <= {"1", None}
            found += run if one else [Run(run[0], self._slot(column, f"num_{hint}_{place}"))]
        return found

    def _leaf(self, nodes: list[Node | None], kind: str, hint: str) -> Expression:
        arguments = []
        defaults = _ASSUMED | _DEFAULTS_OF.get(kind, {})
        for name in dict.fromkeys(name for node in nodes if node is not None for name in node.arguments):
            values = [node and node.arguments.get(name, defaults.get(name)) for node in nodes]
            value = self._slot(values, f"{hint}_{name}" if hint else name)
            if value != defaults.get(name):
                arguments.append(("" if name in _POSITIONAL else name, value))
        return Call(f"nn.{kind}", tuple(arguments))

    def _slot(self, values: list[str | None], hint: str) -> str:
        known = [value for value in values if value is not None]
        if len(set(known)) == 1:
            for name in _free_names(known[0]):
                self._bind(name, "tuple[int, ...]" if _is_indexed(name, known[0]) else "int", [name] * len(values))
            return known[0]
        key = tuple(known[0] if value is None else value for value in values)
        if key not in self.vectors:
            name = _identifier(hint)
            while name in self.parameters or name in self.drafter.taken:
                name += "_"
            self.vectors[key] = name
            self._bind(name, _annotation(set(known)), list(key))
        return self.vectors[key]

    def _bind(self, name: str, annotation: str, values: list[str]) -> None:
        self.parameters.setdefault(name, annotation)
        for binding, value in zip(self.bindings, values, strict=True):
            binding[name] = value


def _forward_key(node: Node) -> str:
    # Modules that one class holds have one forward pass.
    return node.forward.key if node.forward is not None else ""


def _remarks(node: Node, path: str = "") -> Iterator[str]:
    # Its own, and those of lists and items below it without a class.
    yield from (f"{path}: {remark}" if path else remark for remark in node.remarks)
    for name, child in node.children.items():
        if child.kind != MODULE:
            yield from _remarks(child, f"{path}.{name}" if path else name)


def _settings(nodes: list[Node]) -> list[str]:
    values: dict[str, dict[str, None]] = {}
    for name, value in (pair for node in nodes for pair in node.settings.items()):
        values.setdefault(name, {})[value] = None
    return [f"{name} is {' or '.join(found)} in the reference" for name, found in values.items() if len(found) < 7]


def _free_names(value: str) -> list[str]:
    names = [node for node in ast.walk(ast.parse(value, mode="eval")) if isinstance(node, ast.Name)]
    names.sort(key=lambda node: (node.lineno, node.col_offset))
    return [name for name in dict.fromkeys(node.id for node in names) if name not in _CONSTANTS]


def _is_indexed(name: str, value: str) -> bool:
    return f"{name}[" in value or f"tuple({name})" in value


def _annotation(values: set[str]) -> str:
    if values <= {"True", "False"}:
        return "bool"
    if any(value.startswith("(") for value in values):
        return "int | tuple[int, ...]"
    return (
        "float"
        if any(re.fullmatch(r"\d+(\.\d+)?(e-?\d+)?", value) and not value.isdigit() for value in values)
        else "int"
    )


def _identifier(text: str) -> str:
    name = re.sub(r"\W", "_", text)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return f"{name}_" if keyword.iskeyword(name) else name


def _family(name: str) -> list[str]:
    words = _words(name)
    if words[:1] == ["Autoencoder"]:
        return words[2:]
    return words[: next((place for place, word in enumerate(words) if word.startswith(_FAMILY_ENDS)), 0)]


def _words(name: str) -> list[str]:
    return re.findall(r"[A-Z][a-z]+[1-3]D(?![a-z])|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+(?:_[0-9]+)?|[A-Z]+[0-9]*", name)


def _post_order(node: Node):
    for child in node.children.values():
        yield from _post_order(child)
    yield node


def _nesting(node: Node) -> int:
    # A class that contains itself: the inner instances are written first, as a separate class.
    below = [part for _, part in node.walk() if part is not node and part.kind == MODULE]
    same = [part for part in below if (part.class_name, part.file) == (node.class_name, node.file)]
    return 1 + max(map(_nesting, same)) if same else 0


def _cycle(modules: list[Node], keys: dict[int, tuple]) -> set[tuple]:
    """Keys whose classes use one another in a cycle; empty if there is none."""
    used: dict[tuple, set[tuple]] = {}
    for node in modules:
        used.setdefault(keys[id(node)], set()).update(keys[id(part)] for part in _nearest_modules(node))
    try:
        TopologicalSorter(used).prepare()
    except CycleError as error:
        return set(error.args[1])
    return set()


def _height(node: Node) -> int:
    return 1 + max(map(_height, _nearest_modules(node)), default=0)


def _sorted_by_use(groups: dict[tuple, list[Node]], keys: dict[int, tuple]) -> list[tuple]:
    order: list[tuple] = []

    def visit(key: tuple, trail: tuple) -> None:
        if key in order or key in trail:
            return
        for node in groups[key]:
            for part in _nearest_modules(node):
                visit(keys[id(part)], (*trail, key))
        order.append(key)

    for key in groups:
        visit(key, ())
    return order


def _nearest_modules(node: Node) -> Iterator[Node]:
    for child in node.children.values():
        if child.kind == MODULE:
            yield child
        else:
            yield from _nearest_modules(child)
