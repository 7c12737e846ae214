"""Python source of a syntax tree, with double quotes and no redundant parentheses: a formatter only breaks lines."""

from __future__ import annotations

import ast
import json

_BINARY = {ast.Add: ("+", 10), ast.Sub: ("-", 10), ast.Mult: ("*", 11), ast.Div: ("/", 11), ast.FloorDiv: ("//", 11),
           ast.Mod: ("%", 11), ast.MatMult: ("@", 11), ast.Pow: ("**", 13), ast.BitOr: ("|", 6), ast.BitXor: ("^", 7),
           ast.BitAnd: ("&", 8), ast.LShift: ("<<", 9), ast.RShift: (">>", 9)}  # fmt: skip
_COMPARED = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Is: "is",
             ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in"}  # fmt: skip
_UNARY = {ast.USub: ("-", 12), ast.UAdd: ("+", 12), ast.Invert: ("~", 12), ast.Not: ("not ", 4)}
_TUPLE, _TEST, _OR, _AND, _COMPARE, _ATOM = 0, 1, 2, 3, 5, 15


def source(node: ast.expr, above: int = _TEST) -> str:
    """An expression as source. ``above``: the precedence of the surrounding expression."""
    text, own = _EXPRESSIONS[type(node)](node)
    return f"({text})" if own < above else text


def statements(body: list[ast.stmt], indent: str = "") -> list[str]:
    """Statements as lines of source."""
    lines: list[str] = []
    for node in body:
        lines += [""] if lines and getattr(node, "is_spaced", False) else []
        lines += _statement(node, indent)
    return lines


def _statement(node: ast.stmt, pad: str) -> list[str]:
    if isinstance(node, ast.Assign):
        targets = " = ".join(source(target, _TUPLE) for target in node.targets)
        return [f"{pad}{targets} = {source(node.value, _TUPLE)}"]
    if isinstance(node, ast.AugAssign):
        return [f"{pad}{source(node.target)} {_BINARY[type(node.op)][0]}= {source(node.value)}"]
    if isinstance(node, ast.Return):
        return [f"{pad}return {source(node.value, _TUPLE)}" if node.value is not None else f"{pad}return"]
    if isinstance(node, ast.Expr):
        return [pad + source(node.value)]
    if isinstance(node, ast.Raise):
        return [f"{pad}raise {source(node.exc)}"]
    if isinstance(node, ast.If):
        return _if(node, pad, "if")
    if isinstance(node, ast.For):
        head = f"{pad}for {source(node.target, _TUPLE)} in {source(node.iter)}:"
        return [head, *statements(node.body, pad + "    ")]
    if isinstance(node, ast.FunctionDef):
        return _function(node, pad)
    return [pad + {ast.Pass: "pass", ast.Continue: "continue", ast.Break: "break"}[type(node)]]


def _if(node: ast.If, pad: str, word: str) -> list[str]:
    lines = [f"{pad}{word} {source(node.test)}:", *statements(node.body, pad + "    ")]
    if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        return lines + _if(node.orelse[0], pad, "elif")
    return lines + ([f"{pad}else:", *statements(node.orelse, pad + "    ")] if node.orelse else [])


def _function(node: ast.FunctionDef, pad: str) -> list[str]:
    marks = [f"{pad}@{source(one)}" for one in node.decorator_list]
    returns = f" -> {source(node.returns)}" if node.returns is not None else ""
    head = f"{pad}def {node.name}({_arguments(node.args)}){returns}:"
    return [*marks, head, *statements(node.body, pad + "    ")]


def _arguments(args: ast.arguments) -> str:
    plain = [arg.arg + (f": {source(arg.annotation)}" if arg.annotation is not None else "") for arg in args.args]
    for number, default in enumerate(reversed(args.defaults), start=1):
        equals = " = " if args.args[-number].annotation is not None else "="
        plain[-number] += equals + source(default)
    return ", ".join(plain)


def _constant(node: ast.Constant) -> tuple[str, int]:
    if isinstance(node.value, str):
        return json.dumps(node.value, ensure_ascii=False), _ATOM
    text = "..." if node.value is Ellipsis else repr(node.value)
    return text, 12 if text.startswith("-") else _ATOM


def _binary(node: ast.BinOp) -> tuple[str, int]:
    sign, own = _BINARY[type(node.op)]
    if isinstance(node.op, ast.Pow):
        left, right = source(node.left, own + 1), source(node.right, 12)
        simple = all(
            isinstance(one, (ast.Name, ast.Constant, ast.Attribute, ast.UnaryOp)) for one in (node.left, node.right)
        )
        return f"{left}**{right}" if simple else f"{left} ** {right}", own
    return f"{source(node.left, own)} {sign} {source(node.right, own + 1)}", own


def _unary(node: ast.UnaryOp) -> tuple[str, int]:
    sign, own = _UNARY[type(node.op)]
    return sign + source(node.operand, own), own


def _joined(node: ast.BoolOp) -> tuple[str, int]:
    word, own = ("and", _AND) if isinstance(node.op, ast.And) else ("or", _OR)
    return f" {word} ".join(source(value, own + 1) for value in node.values), own


def _compare(node: ast.Compare) -> tuple[str, int]:
    parts = [source(node.left, _COMPARE + 1)]
    for op, value in zip(node.ops, node.comparators, strict=True):
        parts += [_COMPARED[type(op)], source(value, _COMPARE + 1)]
    return " ".join(parts), _COMPARE


def _if_else(node: ast.IfExp) -> tuple[str, int]:
    return f"{source(node.body, _OR)} if {source(node.test, _OR)} else {source(node.orelse)}", _TEST


def _tuple(node: ast.Tuple) -> tuple[str, int]:
    if not node.elts:
        return "()", _ATOM
    text = ", ".join(source(one) for one in node.elts)
    return (f"{text},", _TUPLE) if len(node.elts) == 1 else (text, _TUPLE)


def _call(node: ast.Call) -> tuple[str, int]:
    if len(node.args) == 1 and not node.keywords and isinstance(node.args[0], ast.GeneratorExp):
        return f"{source(node.func, _ATOM)}({_loops(node.args[0], source(node.args[0].elt))})", _ATOM
    values = [source(value) for value in node.args]
    values += [f"{one.arg}={source(one.value)}" if one.arg else f"**{source(one.value)}" for one in node.keywords]
    return f"{source(node.func, _ATOM)}({', '.join(values)})", _ATOM


def _subscript(node: ast.Subscript) -> tuple[str, int]:
    spread = (
        isinstance(node.slice, ast.Tuple)
        and node.slice.elts
        and not any(isinstance(one, ast.Starred) for one in node.slice.elts)
    )
    index = ", ".join(source(one) for one in node.slice.elts) if spread else source(node.slice)
    index += "," if spread and len(node.slice.elts) == 1 else ""
    return f"{source(node.value, _ATOM)}[{index}]", _ATOM


def _slice(node: ast.Slice) -> tuple[str, int]:
    simple = all(
        one is None or isinstance(one, (ast.Name, ast.Constant, ast.UnaryOp)) for one in (node.lower, node.upper)
    )
    low, high = ("" if one is None else source(one) for one in (node.lower, node.upper))
    colon = ":" if simple else f"{' ' if low else ''}:{' ' if high else ''}"
    return f"{low}{colon}{high}" + ("" if node.step is None else f":{source(node.step)}"), _ATOM


def _attribute(node: ast.Attribute) -> tuple[str, int]:
    return f"{source(node.value, _ATOM)}.{node.attr}", _ATOM


def _loops(node, head: str) -> str:
    for one in node.generators:
        head += f" for {source(one.target, _TUPLE)} in {source(one.iter, _OR)}"
        head += "".join(f" if {source(test, _OR)}" for test in one.ifs)
    return head


def _dict(node: ast.Dict) -> tuple[str, int]:
    pairs = zip(node.keys, node.values, strict=True)
    return f"{{{', '.join(f'{source(key)}: {source(value)}' for key, value in pairs)}}}", _ATOM


def _f_string(node: ast.JoinedStr) -> tuple[str, int]:
    parts = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            parts.append(f"{{{source(part.value)}}}")
        else:
            parts.append(json.dumps(part.value, ensure_ascii=False)[1:-1].replace("{", "{{").replace("}", "}}"))
    return f'f"{"".join(parts)}"', _ATOM


_EXPRESSIONS = {
    ast.Constant: _constant, ast.Name: lambda node: (node.id, _ATOM), ast.Attribute: _attribute, ast.Call: _call,
    ast.Subscript: _subscript, ast.Slice: _slice, ast.BinOp: _binary, ast.UnaryOp: _unary, ast.BoolOp: _joined,
    ast.Compare: _compare, ast.IfExp: _if_else, ast.Tuple: _tuple, ast.Dict: _dict, ast.JoinedStr: _f_string,
    ast.List: lambda node: (f"[{', '.join(map(source, node.elts))}]", _ATOM),
    ast.Set: lambda node: (f"{{{', '.join(map(source, node.elts))}}}", _ATOM),
    ast.Starred: lambda node: (f"*{source(node.value, _OR)}", _ATOM),
    ast.ListComp: lambda node: (f"[{_loops(node, source(node.elt))}]", _ATOM),
    ast.SetComp: lambda node: (f"{{{_loops(node, source(node.elt))}}}", _ATOM),
    ast.GeneratorExp: lambda node: (f"({_loops(node, source(node.elt))})", _ATOM),
    ast.DictComp: lambda node: (f"{{{_loops(node, f'{source(node.key)}: {source(node.value)}')}}}", _ATOM),
    ast.Lambda: lambda node: (f"lambda {_arguments(node.args)}: {source(node.body)}", _TEST),
    ast.NamedExpr: lambda node: (f"{node.target.id} := {source(node.value)}", _TUPLE),
}  # fmt: skip
