"""Evaluate code without running it: the tables that a mapping builds from strings.

Supports the part of Python that mflux's mappings use: literals, f-strings, comprehensions, loops, conditions, methods
of strings, lists and dicts, and static methods and constants of the same module and of modules that it imports.
Anything else raises Unknown, so that a rule can report that it cannot read the mapping.
"""

from __future__ import annotations

import ast
import contextlib
import operator
from collections.abc import Iterator
from typing import NamedTuple

from mflux_port.checks.engine import syntax
from mflux_port.checks.engine.checkout_facts import Facts, Unreadable

_MOST_STEPS = 400_000
_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
    ast.BitOr: operator.or_,
}
_PLAIN = (str, list, dict, set, tuple)
_BUILTINS = {
    function.__name__: function
    for function in (len, range, list, tuple, dict, set, sorted, enumerate, zip, reversed, str, int, min, max, sum, any, all)
}  # fmt: skip


class Unknown(Exception):
    """The code is outside the supported part of Python."""


class _Return(Exception):
    pass


class _Continue(Exception):
    pass


class Instance:
    """The result of calling a class, for example ``LoRATarget(model_path=…)``: class name, fields, line of the call."""

    def __init__(self, name: str, fields: dict[str, object], line: int):
        self.name, self.fields, self.line = name, fields, line


class _Scope(NamedTuple):
    """The names that a piece of code can use: its own, its class's and its module's."""

    module: _Module
    names: dict[str, object]
    owner: dict[str, ast.expr] = {}


class _Module:
    """The names of one file: its constants, classes, functions and imports."""

    def __init__(self, tree: ast.Module):
        self.imports = syntax.imports(tree)
        self.classes = {node.name: node for node in syntax.classes(tree)}
        self.functions = {node.name: node for node in syntax.functions(tree)}
        self.constants = dict(syntax.assignments(tree.body))


class Evaluator:
    """Evaluates calls of static methods in the files of one checkout."""

    def __init__(self, facts: Facts):
        self._facts = facts
        self._modules: dict[str, _Module] = {}
        self._steps = 0

    def result(self, file: str, class_name: str, method: str) -> object:
        """The return value of ``class_name.method()`` in a file. Raises Unknown when the code is not supported."""
        self._steps = 0
        try:
            return self._call_method(self._module(file), class_name, method, [], {})
        except RecursionError:
            raise Unknown(f"{class_name}.{method} recurses too deeply") from None

    def _module(self, file: str) -> _Module:
        if file not in self._modules:
            try:
                self._modules[file] = _Module(self._facts.tree(file))
            except Unreadable as error:
                raise Unknown(str(error)) from None
        return self._modules[file]

    def _call_method(self, module: _Module, name: str, method: str, args: list, named: dict) -> object:
        module, _, function = self._member(module, name, method)
        if not isinstance(function, ast.FunctionDef):
            raise Unknown(f"{name}.{method}")
        return self._call_function(module, function, args, named)

    def _member(self, module: _Module, name: str, member: str) -> tuple[_Module, dict, ast.AST]:
        """Find a method or constant of a class or its bases; returns its module, the class's constants and the node."""
        if name not in module.classes:
            module, name = self._imported(module, name)
        node = module.classes[name]
        constants = dict(syntax.assignments(node.body))
        own = syntax.methods(node) | constants
        if member in own:
            return module, constants, own[member]
        for base in map(syntax.dotted, node.bases):
            if base in module.classes or base in module.imports:
                return self._member(module, base, member)
        raise Unknown(f"{name}.{member}")

    def _imported(self, module: _Module, name: str) -> tuple[_Module, str]:
        origin, _, own = module.imports.get(name, "").rpartition(".")
        file = self._facts.find(origin) if origin.startswith("mflux.") else ""
        if not file or own not in self._module(file).classes:
            raise Unknown(name)
        return self._module(file), own

    def _call_function(self, module: _Module, function: ast.FunctionDef, args: list, named: dict) -> object:
        parameters = [name for name in syntax.parameters(function) if name not in ("self", "cls")]
        names = dict(zip(reversed(parameters), map(self._literal, reversed(function.args.defaults)), strict=False))
        for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
            names |= {argument.arg: self._literal(default)} if default else {}
        names |= dict(zip(parameters, args, strict=False)) | named
        if function.args.vararg:
            names[function.args.vararg.arg] = tuple(args[len(function.args.args) :])
        try:
            self._run(function.body, _Scope(module, names))
        except _Return as returned:
            return returned.args[0]
        return None

    def _literal(self, node: ast.expr) -> object:
        value = syntax.literal(node)
        if value is syntax.UNKNOWN:
            raise Unknown(ast.unparse(node))
        return value

    # Statements

    def _run(self, body: list[ast.stmt], scope: _Scope) -> None:
        for statement in body:
            self._step(statement)
            self._execute(statement, scope)

    def _execute(self, statement: ast.stmt, scope: _Scope) -> None:
        match statement:
            case ast.Return(value):
                raise _Return(self._value(value, scope) if value else None)
            case ast.Assign(targets, value):
                found = self._value(value, scope)
                for target in targets:
                    self._assign(target, found, scope)
            case ast.AnnAssign(target, _, value):
                self._assign(target, self._value(value, scope), scope) if value else None
            case ast.AugAssign(target, operator_, value):
                old, more = self._value(target, scope), self._value(value, scope)
                self._assign(target, self._operate(operator_, old, more), scope)
            case ast.For(target, iterated, inner):
                self._loop(target, iterated, inner, scope)
            case ast.If(test, inner, other):
                self._run(inner if self._value(test, scope) else other, scope)
            case ast.Expr(value):
                self._value(value, scope)
            case ast.Continue():
                raise _Continue
            case ast.FunctionDef(name):
                scope.names[name] = statement
            case ast.Pass():
                pass
            case _:
                raise Unknown(type(statement).__name__)

    def _loop(self, target: ast.expr, iterated: ast.expr, body: list[ast.stmt], scope: _Scope) -> None:
        for item in self._iterated(iterated, scope):
            self._assign(target, item, scope)
            with contextlib.suppress(_Continue):
                self._run(body, scope)

    def _assign(self, target: ast.expr, value: object, scope: _Scope) -> None:
        match target:
            case ast.Name(name):
                scope.names[name] = value
            case ast.Tuple(parts) | ast.List(parts):
                for part, item in zip(parts, value, strict=True):
                    self._assign(part, item, scope)
            case ast.Attribute(owner, name) if isinstance(instance := self._value(owner, scope), Instance):
                instance.fields[name] = value
            case ast.Subscript(owner, index):
                self._value(owner, scope)[self._value(index, scope)] = value
            case _:
                raise Unknown(ast.unparse(target))

    # Expressions

    def _value(self, node: ast.expr, scope: _Scope) -> object:
        self._step(node)
        evaluate = self._EXPRESSIONS.get(type(node))
        if evaluate is None:
            raise Unknown(type(node).__name__)
        try:
            return evaluate(self, node, scope)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise Unknown(f"{ast.unparse(node)}: {error}") from None

    def _step(self, node: ast.AST) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise Unknown(f"line {node.lineno} takes too long")

    def _constant(self, node: ast.Constant, scope: _Scope) -> object:
        return node.value

    def _name(self, node: ast.Name, scope: _Scope) -> object:
        if node.id in scope.names:
            return scope.names[node.id]
        for constants in (scope.owner, scope.module.constants):
            if node.id in constants:
                return self._value(constants[node.id], _Scope(scope.module, {}, scope.owner))
        raise Unknown(node.id)

    def _attribute(self, node: ast.Attribute, scope: _Scope) -> object:
        if isinstance(node.value, ast.Name) and node.value.id not in scope.names:
            module, constants, found = self._member(scope.module, node.value.id, node.attr)
            # A method that is passed as a value, such as a transform.
            return found if isinstance(found, ast.FunctionDef) else self._value(found, _Scope(module, {}, constants))
        owner = self._value(node.value, scope)
        if not isinstance(owner, Instance):
            raise Unknown(ast.unparse(node))
        if node.attr not in owner.fields:
            owner.fields[node.attr] = self._default(scope.module, owner.name, node.attr)
        return owner.fields[node.attr]

    def _default(self, module: _Module, name: str, field: str) -> object:
        """A dataclass field's default: a literal, or ``field(default_factory=list)``."""
        _, _, value = self._member(module, name, field)
        factory = syntax.dotted(syntax.keyword(value, "default_factory")) if isinstance(value, ast.Call) else ""
        return _BUILTINS[factory]() if factory else self._literal(value)

    def _joinedstr(self, node: ast.JoinedStr, scope: _Scope) -> str:
        return "".join(str(self._value(part, scope)) for part in node.values)

    def _formattedvalue(self, node: ast.FormattedValue, scope: _Scope) -> str:
        return format(
            self._value(node.value, scope), str(self._value(node.format_spec, scope)) if node.format_spec else ""
        )

    def _list(self, node: ast.List, scope: _Scope) -> list:
        return list(self._items(node.elts, scope))

    def _tuple(self, node: ast.Tuple, scope: _Scope) -> tuple:
        return tuple(self._items(node.elts, scope))

    def _set(self, node: ast.Set, scope: _Scope) -> set:
        return set(self._items(node.elts, scope))

    def _items(self, nodes: list[ast.expr], scope: _Scope) -> Iterator[object]:
        for node in nodes:
            if isinstance(node, ast.Starred):
                yield from self._iterated(node.value, scope)
            else:
                yield self._value(node, scope)

    def _dict(self, node: ast.Dict, scope: _Scope) -> dict:
        found: dict = {}
        for key, value in zip(node.keys, node.values, strict=True):
            found |= self._value(value, scope) if key is None else {self._value(key, scope): self._value(value, scope)}
        return found

    def _listcomp(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, scope: _Scope) -> list:
        return [self._value(node.elt, inner) for inner in self._rounds(node.generators, scope)]

    def _dictcomp(self, node: ast.DictComp, scope: _Scope) -> dict:
        rounds = self._rounds(node.generators, scope)
        return {self._value(node.key, inner): self._value(node.value, inner) for inner in rounds}

    def _rounds(self, generators: list[ast.comprehension], scope: _Scope) -> Iterator[_Scope]:
        if not generators:
            yield scope
            return
        for item in self._iterated(generators[0].iter, scope):
            inner = scope._replace(names=dict(scope.names))
            self._assign(generators[0].target, item, inner)
            if all(self._value(test, inner) for test in generators[0].ifs):
                yield from self._rounds(generators[1:], inner)

    def _iterated(self, node: ast.expr, scope: _Scope) -> list | range:
        found = self._value(node, scope)
        if isinstance(found, Instance):
            raise Unknown(ast.unparse(node))
        return found if isinstance(found, range) else list(found)

    def _binop(self, node: ast.BinOp, scope: _Scope) -> object:
        return self._operate(node.op, self._value(node.left, scope), self._value(node.right, scope))

    def _operate(self, operator_: ast.AST, left: object, right: object) -> object:
        if type(operator_) not in _OPERATORS:
            raise Unknown(type(operator_).__name__)
        return _OPERATORS[type(operator_)](left, right)

    def _compare(self, node: ast.Compare, scope: _Scope) -> bool:
        values = [self._value(part, scope) for part in (node.left, *node.comparators)]
        return all(self._operate(op, *pair) for op, *pair in zip(node.ops, values, values[1:], strict=False))

    def _boolop(self, node: ast.BoolOp, scope: _Scope) -> object:
        found: object = None
        for part in node.values:
            found = self._value(part, scope)
            if bool(found) is isinstance(node.op, ast.Or):
                break
        return found

    def _unaryop(self, node: ast.UnaryOp, scope: _Scope) -> object:
        value = self._value(node.operand, scope)
        return not value if isinstance(node.op, ast.Not) else -value

    def _ifexp(self, node: ast.IfExp, scope: _Scope) -> object:
        return self._value(node.body if self._value(node.test, scope) else node.orelse, scope)

    def _subscript(self, node: ast.Subscript, scope: _Scope) -> object:
        return self._value(node.value, scope)[self._value(node.slice, scope)]

    def _slice(self, node: ast.Slice, scope: _Scope) -> slice:
        return slice(*(self._value(part, scope) if part else None for part in (node.lower, node.upper, node.step)))

    # Calls

    def _call(self, node: ast.Call, scope: _Scope) -> object:
        args = list(self._items(node.args, scope))
        match node.func:
            case ast.Name(name):
                return self._call_name(node, name, args, scope)
            case ast.Attribute(ast.Name(owner), method) if owner not in scope.names and owner[:1].isupper():
                return self._call_method(scope.module, owner, method, args, self._named(node, scope))
            case ast.Attribute(ast.Name("dict"), "fromkeys"):
                return dict.fromkeys(*args)
            case ast.Attribute(owner, method):
                value = self._value(owner, scope)
                if isinstance(value, _PLAIN):
                    return getattr(value, method)(*args, **self._named(node, scope))
        raise Unknown(ast.unparse(node.func))

    def _call_name(self, node: ast.Call, name: str, args: list, scope: _Scope) -> object:
        if name in scope.module.functions:
            return self._call_function(scope.module, scope.module.functions[name], args, self._named(node, scope))
        if name in _BUILTINS and name not in scope.names:
            return _BUILTINS[name](*args, **self._named(node, scope))
        if name[:1].isupper():
            # A field may hold something that is not supported; the other fields can still be used.
            fields = {item.arg: self._field(item.value, scope) for item in node.keywords if item.arg}
            return Instance(name, fields, node.lineno)
        raise Unknown(name)

    def _named(self, node: ast.Call, scope: _Scope) -> dict[str, object]:
        return {item.arg: self._value(item.value, scope) for item in node.keywords if item.arg}

    def _field(self, node: ast.expr, scope: _Scope) -> object:
        try:
            return self._value(node, scope)
        except Unknown:
            return node

    _EXPRESSIONS = {
        ast.Constant: _constant,
        ast.Name: _name,
        ast.Attribute: _attribute,
        ast.JoinedStr: _joinedstr,
        ast.FormattedValue: _formattedvalue,
        ast.List: _list,
        ast.Tuple: _tuple,
        ast.Set: _set,
        ast.Dict: _dict,
        ast.ListComp: _listcomp,
        ast.GeneratorExp: _listcomp,
        ast.SetComp: _listcomp,
        ast.DictComp: _dictcomp,
        ast.BinOp: _binop,
        ast.Compare: _compare,
        ast.BoolOp: _boolop,
        ast.UnaryOp: _unaryop,
        ast.IfExp: _ifexp,
        ast.Subscript: _subscript,
        ast.Slice: _slice,
        ast.Call: _call,
    }
