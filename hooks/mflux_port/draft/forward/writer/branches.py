"""How a test is written: it is folded if the config decides it and kept if data does; a branch that
no run took raises.
"""

from __future__ import annotations

import ast

from mflux_port.draft.forward.torch_calls.entry import Refused
from mflux_port.draft.forward.writer.printer import source

NOT_REACHED = "no recorded run"  # the start of the reason for a branch that the recorded runs did not take
UNSEEN = f"{NOT_REACHED} reached this line"


class Branches:
    """The part of the writer that reads tests."""

    def _do_If(self, node: ast.If) -> list[ast.stmt]:
        verdict = self.truth(node.test)
        if verdict is not None:
            return [*self._bound(node.test), *self.block(node.body if verdict else node.orelse)]
        fact = self.fact(node.test)
        seen = fact.truths if fact is not None else set()
        if seen == {False} and not node.orelse and self._is_silent(node.body):
            return []
        body = self._side(node.body, node, True in seen or not seen)
        other = self._side(node.orelse, node, False in seen or not seen) if node.orelse else []
        if not node.orelse and seen == {True} and not self._ends_loop(node):
            other = [self.problem(node, f"{NOT_REACHED} passed this test")]
        if not body and not other:
            return []
        test = self.test(node.test)
        if self.guards and source(self.guards[-1].test) == source(test) and seen == {False}:
            return other  # the guard before it raises already
        return [ast.If(test, body, other) if body else ast.If(negated(test), other, [])]

    def _ends_loop(self, node: ast.If) -> bool:
        # Nothing follows it in its loop: if the test fails, the next iteration begins.
        return any(one.body[-1] is node for one in ast.walk(self.source.tree) if isinstance(one, ast.For))

    def _bound(self, test: ast.expr) -> list[ast.stmt]:
        # A name that a test binds with := may be read after it, even if the test itself is left out.
        bound = (part for part in ast.walk(test) if isinstance(part, ast.NamedExpr) and self.ran(part.value))
        return [ast.Assign([ast.Name(part.target.id, ast.Store())], self.expr(part.value)) for part in bound]

    def _side(self, statements: list[ast.stmt], node: ast.If, seen: bool) -> list[ast.stmt]:
        if seen or isinstance(statements[0], (ast.Raise, ast.Continue)):
            return self.block(statements)
        if self._is_silent(statements):
            return []
        return [self.problem(statements[0], UNSEEN)]

    def _is_silent(self, statements: list[ast.stmt]) -> bool:
        # A message to the user.
        return all(isinstance(one, (ast.Expr, ast.Assert)) and self.says_nothing(one) for one in statements)

    def truth(self, node: ast.expr) -> bool | None:
        """The outcome of a test that the config decides, None when data may decide it."""
        if isinstance(node, ast.Constant):
            return bool(node.value)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.truth(node.operand)
            return None if inner is None else not inner
        if isinstance(node, ast.BoolOp):
            return self._joined(node)
        if (
            isinstance(node, ast.Compare)
            and self._is_of_no_dict(node.left)
            and ast.unparse(node.comparators[0]) == "None"
        ):
            return isinstance(node.ops[0], ast.Is)
        fact = self.fact(node)
        if fact is None or len(fact.truths) != 1 or not self.from_config(node):
            return None
        if fact.always("tensor"):
            return None
        return next(iter(fact.truths))

    def _is_of_no_dict(self, node: ast.expr) -> bool:
        """Whether an expression calls ``keywords.get("name")`` on keywords that are always empty."""
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get"):
            return False
        default, name = node.args[1:], getattr(node.func.value, "id", "")
        parameter = self.parameters.get(name)
        empty = parameter is not None and not parameter.keep and parameter.value == {} and not parameter.keys
        return empty and name not in self.stored and all(ast.unparse(one) == "None" for one in default)

    def _joined(self, node: ast.BoolOp) -> bool | None:
        # From left to right: an operand that decides the whole test ends it, if those before it are decided too.
        decisive = isinstance(node.op, ast.Or)
        verdicts = [self.truth(value) for value in node.values]
        if decisive in verdicts:
            return decisive
        return None if None in verdicts else not decisive

    def test(self, node: ast.expr) -> ast.expr:
        """A test in MLX that depends on the data."""
        fact = self.fact(node)
        if fact is not None and fact.always("module"):
            return ast.Constant(True)
        written = self.expr(node)
        if isinstance(written, ast.BoolOp):
            neutral = isinstance(written.op, ast.And)
            kept = [one for one in written.values if not (isinstance(one, ast.Constant) and one.value is neutral)]
            written.values = kept or written.values[:1]
            return written.values[0] if len(written.values) == 1 else written
        return written

    def ran(self, node: ast.AST) -> bool:
        """Whether a recorded run reached an expression."""
        if isinstance(node, ast.Constant):
            return True
        parts = [part for part in ast.walk(node) if isinstance(part, ast.expr) and not isinstance(part, ast.Constant)]
        numbered = [part for part in parts if isinstance(getattr(part, "ctx", ast.Load()), ast.Load)]
        return any(part.number in self.facts for part in numbered if hasattr(part, "number"))

    def _IfExp(self, node: ast.IfExp) -> ast.expr:
        verdict = self.truth(node.test)
        if verdict is not None:
            if self._bound(node.test):
                raise Refused(node, "a test that the config decides binds a name inside an expression")
            return self.expr(node.body if verdict else node.orelse)
        fact = self.fact(node.test)
        seen = fact.truths if fact is not None else set()
        if len(seen) == 1:
            # An expression cannot contain a raise: the statement before it does.
            took = next(iter(seen))
            self._guard(node, self.expr(node.test), raise_if=not took)
            return self.expr(node.body if took else node.orelse)
        return ast.IfExp(self.test(node.test), self.expr(node.body), self.expr(node.orelse))

    def _guard(self, node: ast.expr, test: ast.expr, raise_if: bool) -> None:
        if self._in_comprehension(node):
            raise Refused(node, UNSEEN)
        self.guards.append(ast.If(test if raise_if else negated(test), [self.problem(node, UNSEEN)], []))

    def _in_comprehension(self, node: ast.expr) -> bool:
        kinds = (ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp, ast.Lambda)
        around = (one for one in ast.walk(self.source.tree) if isinstance(one, kinds))
        return any(part is node for one in around for part in ast.walk(one))

    def _BoolOp(self, node: ast.BoolOp) -> ast.expr:
        decisive = isinstance(node.op, ast.Or)
        values = []
        for value in node.values:
            verdict = self.truth(value)
            last = value is node.values[-1]
            if verdict is (not decisive) and not last:
                continue
            if not self.ran(value):
                # The operands before it always decide the test.
                before = values[0] if len(values) == 1 else ast.BoolOp(node.op, list(values))
                self._guard(node, before, raise_if=not decisive)
                return before
            values.append(self.expr(value))
            if verdict is decisive:
                break
        return values[0] if len(values) == 1 else ast.BoolOp(node.op, values)


def negated(test: ast.expr) -> ast.expr:
    """``not test``, simplified."""
    opposite = {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn,
                ast.NotIn: ast.In, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Lt: ast.GtE, ast.LtE: ast.Gt}  # fmt: skip
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and type(test.ops[0]) in opposite:
        return ast.Compare(test.left, [opposite[type(test.ops[0])]()], test.comparators)
    return ast.UnaryOp(ast.Not(), test)
