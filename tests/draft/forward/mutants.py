"""Changes drafted forward passes in one place at a time and replays them: an undetected change means a missing input.

``python mutants.py FAMILY…`` (needs torch and MLX): prints a JSON object for each family, with every undetected change.
"""

from __future__ import annotations

import ast
import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from drafted_twin import DraftedTwin, drafted_twin  # noqa: E402
from mflux_port.draft.forward.proof.twin_port import PACKAGE  # noqa: E402
from mflux_port.draft.forward.record.small_inputs import at_path  # noqa: E402

_OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
_TESTS = {ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
          ast.Is: ast.IsNot, ast.IsNot: ast.Is}  # fmt: skip
_NAMES = {"cos": "sin", "sin": "cos", "gelu_approx": "gelu", "gelu": "gelu_approx", "silu": "sigmoid", "zeros": "ones",
          "ones": "zeros", "maximum": "minimum", "minimum": "maximum"}  # fmt: skip
_EITHER_WAY = (
    "maximum",
    "minimum",
    "swapaxes",
    "outer",
    "logical_and",
    "logical_or",
    "moveaxis",
    "isinstance",
    "broadcast_to",
    "multiply_complex",
)

Change = tuple[ast.AST, str, Callable[[], None]]


def changes(tree: ast.AST) -> Iterator[Change]:
    """(node, kind, what makes the change) for every place in a method where a change affects the result."""
    for node in _reached(tree):
        yield from _changes_of(node)


def _reached(node: ast.AST) -> Iterator[ast.AST]:
    # Only what runs: no annotations, no raises of a branch that no run took, and no tests that only decide about these.
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list") or isinstance(node, ast.Raise):
            continue
        if isinstance(node, ast.If) and name == "test" and any(_is_raise(side) for side in (node.body, node.orelse)):
            continue
        if isinstance(node, ast.Assign) and (
            _is_checkpointing(node.value) or name == "targets" and _is_equal(node.value)
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _reached(child)


def _is_raise(statements: list[ast.stmt]) -> bool:
    return bool(statements) and isinstance(statements[0], ast.Raise)


def _is_checkpointing(value: ast.expr) -> bool:
    return isinstance(value, ast.IfExp) and ast.unparse(value.test) == "gradient_checkpointing"


def _is_equal(value: ast.expr) -> bool:
    return isinstance(value, ast.Tuple) and len({ast.unparse(part) for part in value.elts[:2]}) == 1


def _changes_of(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        yield node, "operator", lambda: setattr(node, "op", _OPERATORS[type(node.op)]())
        if isinstance(node.op, (ast.Add, ast.Mult)):
            yield node, "dropped term", lambda: _become(node, node.left)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield node, "constant", lambda: setattr(node, "value", _other_number(node.value))
    elif isinstance(node, ast.Attribute) and node.attr in _NAMES:
        yield node, "function", lambda: setattr(node, "attr", _NAMES[node.attr])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield node, "sign", lambda: setattr(node, "op", ast.UAdd())
    elif isinstance(node, ast.IfExp):
        yield node, "branches", lambda: node.__dict__.update(body=node.orelse, orelse=node.body)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in _TESTS:
        yield node, "test", lambda: setattr(node, "ops", [_TESTS[type(node.ops[0])]()])
    elif isinstance(node, ast.keyword) and node.arg == "mask":
        yield node, "mask", lambda: setattr(node, "value", ast.Constant(None))
    elif isinstance(node, ast.Call):
        yield from _changes_of_call(node)
    elif isinstance(node, (ast.List, ast.Tuple)) and len(node.elts) > 1:
        if ast.unparse(node.elts[0]) != ast.unparse(node.elts[1]) and ast.unparse(node.elts[0]) != "_":
            yield node, "order", lambda: node.elts.insert(0, node.elts.pop(1))


def _changes_of_call(node: ast.Call) -> Iterator[Change]:
    called = ast.unparse(node.func)
    if called.startswith("self.") and len(node.args) == 1 and not node.keywords:
        yield node, "dropped layer", lambda: _become(node, node.args[0])
    plain = [ast.unparse(value) for value in node.args]
    if len(plain) > 1 and plain[-1] != plain[-2] and called.rsplit(".", 1)[-1] not in _EITHER_WAY:
        yield node, "order of arguments", lambda: node.args.insert(len(plain) - 2, node.args.pop())


def _become(node: ast.AST, other: ast.expr) -> None:
    node.__class__, node.__dict__ = other.__class__, dict(other.__dict__)


def _other_number(value: float) -> float:
    return value + 1 if type(value) is int else value * 1.5


class Mutation:
    """Changes one class of a port at a time and replays everything that uses it."""

    def __init__(self, twin: DraftedTwin):
        self.twin, self.replay = twin, twin.replay()
        self.classes = {cls.__name__: cls for name, module in list(sys.modules.items()) if name.startswith(f"{PACKAGE}.")
                        for cls in vars(module).values() if isinstance(cls, type) and cls.__module__ == name}  # fmt: skip
        self.groups = self._groups()
        # Objects that are not modules keep the tables that they made: each change makes new ones.
        self.unused = self._values([group for groups in self.groups.values() for group in groups])
        # Methods that an __init__ calls: the port is built again for each change of one.
        self.initial = self._called_by_init()

    def _called_by_init(self) -> set[str]:
        # Names in the code of an __init__, in that of methods of these names, and so on.
        methods = [(name, one) for cls in self.classes.values() for name, one in vars(cls).items()]
        codes = [(name, getattr(getattr(one, "__func__", one), "__code__", None)) for name, one in methods]
        found, wanted = set(), {"__init__"}
        while wanted:
            found |= wanted
            wanted = {used for name, code in codes if code and name in wanted for used in code.co_names} - found
        return found

    def _groups(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for group in self.twin.proven:
            path = self.replay.calls[group][0].path
            found.setdefault(type(at_path(self.replay.port, path)).__name__, []).append(group)
        return found

    def methods(self) -> Iterator[tuple[str, ast.ClassDef, ast.FunctionDef]]:
        """(class, its tree, method) of every drafted method but ``__init__``."""
        for file in sorted((self.twin.folder / PACKAGE).glob("*.py")):
            for cls in ast.parse(file.read_text()).body:
                if isinstance(cls, ast.ClassDef) and (cls.name in self.groups or cls.name == "TwinFunctions"):
                    yield from ((file.stem, cls, one) for one in cls.body if isinstance(one, ast.FunctionDef) and
                                one.name != "__init__")  # fmt: skip

    def mutants(self) -> Iterator[tuple[str, str, ast.FunctionDef]]:
        for _, cls, method in self.methods():
            lines = ast.unparse(method).splitlines()
            method = ast.parse("\n".join(lines)).body[0]
            for number in range(len(list(changes(method)))):
                changed = copy.deepcopy(method)
                node, kind, change = list(changes(changed))[number]
                before = ast.unparse(node) if not isinstance(node, ast.keyword) else f"mask={ast.unparse(node.value)}"
                line = lines[node.lineno - 1].strip()
                change()
                yield cls.name, f"{cls.name}.{method.name}: {kind} in {before[:60]}: {line[:160]}", changed

    def is_seen(self, cls: str, changed: ast.FunctionDef) -> bool:
        """Whether a replay of a class with a changed method differs."""
        owner = self.classes[cls]
        before = vars(owner)[changed.name]
        space = dict(vars(sys.modules[owner.__module__]))
        try:
            tree = ast.Module([ast.ClassDef("Changed", [], [], [changed], [], type_params=[])], [])
            exec(compile(ast.fix_missing_locations(tree), "mutant", "exec"), space)
        except (SyntaxError, ValueError):
            return True
        setattr(owner, changed.name, vars(space["Changed"])[changed.name])
        groups = self.groups.get(cls) or self.twin.proven
        try:
            replay = self.twin.replay_again(self.replay) if changed.name in self.initial else self.replay
            return any(replay.group(group)["kind"] != "verified" for group in groups)
        except Exception:  # noqa: BLE001 - a port that cannot be built counts as detected
            return True
        finally:
            setattr(owner, changed.name, before)
            self._give_back(self.unused)

    def _values(self, groups: list[str]) -> list[tuple[object, dict]]:
        owners = {id(owner): owner for group in groups for owner in self._owners(group) if not isinstance(owner, dict)}
        return [(owner, dict(vars(owner))) for owner in owners.values()]

    def _owners(self, group: str) -> list[object]:
        return [at_path(self.replay.port, call.path) for call in self.replay.calls[group]]

    @staticmethod
    def _give_back(kept: list[tuple[object, dict]]) -> None:
        for owner, values in kept:
            vars(owner).clear()
            vars(owner).update(values)


def _family(name: str, start: int) -> None:
    mutation = Mutation(drafted_twin(name))
    for number, (cls, told, changed) in enumerate(mutation.mutants()):
        if number >= start:
            print(json.dumps({"number": number, "told": told}), flush=True)
            print(json.dumps({"number": number, "seen": mutation.is_seen(cls, changed)}), flush=True)


def main(names: list[str]) -> None:
    for name in names:
        told, seen, start = {}, {}, 0
        while True:
            command = [sys.executable, __file__, "--family", name, str(start)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            told |= {one["number"]: one["told"] for one in lines if "told" in one}
            seen |= {one["number"]: one["seen"] for one in lines if "seen" in one}
            stopped = max(told, default=-1)
            if stopped in seen or not told or stopped < start:
                break
            seen[stopped], start = True, stopped + 1  # MLX ended the interpreter: the change was detected
        missed = [told[number] for number, one in sorted(seen.items()) if not one]
        print(
            json.dumps({"name": name, "mutants": len(seen), "seen": sum(seen.values()), "missed": missed}), flush=True
        )


if __name__ == "__main__":
    _family(sys.argv[2], int(sys.argv[3])) if sys.argv[1] == "--family" else main(sys.argv[1:])
