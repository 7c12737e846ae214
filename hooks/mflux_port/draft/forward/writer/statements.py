"""Statements of the reference in MLX."""

from __future__ import annotations

import ast
import copy
import re

from mflux_port.draft.forward.torch_calls.entry import Refused, filled, raising
from mflux_port.draft.forward.writer.gradient_checkpointing import checkpointed, is_checkpointed
from mflux_port.draft.forward.writer.printer import statements as source_lines
from mflux_port.draft.forward.writer.type_hints import hint, inner_hint

# Statements that only print a message or configure torch.
_SILENT = re.compile(r"(logger|logging|warnings|deprecate|print|torch\._check|torch\._dynamo|torch\.compiler|"
                     r"torch_compilable_check|self\.maybe_|self\.check_inputs|\w*kwargs\.pop|torch\.cuda)\b")  # fmt: skip
# Context managers that have no meaning in MLX.
_CONTEXTS = re.compile(
    r"autocast|no_grad|device\(|inference_mode|nullcontext|maybe_autocast|set_grad_enabled|cache_context"
)


def _annotation(text: str) -> ast.expr | None:
    return ast.parse(text, mode="eval").body if text else None


class Statements:
    """The part of the writer that writes statements."""

    def block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Statements in MLX. A statement that cannot be written becomes a raise that names it, and ends the block."""
        done: list[ast.stmt] = []
        for node in statements:
            outer, self.guards = self.guards, []
            try:
                written = self._statement(node)
            except Refused as refusal:
                place = refusal.node if hasattr(refusal.node, "lineno") else node
                written, self.guards = [self.problem(place, refusal.reason)], []
            except Exception as error:  # noqa: BLE001 - a mistake of the writer stops one statement, not the draft
                told = f"the writer stopped: {type(error).__name__}: {error}"
                written, self.guards = [self.problem(node, told)], []
            new = [*self.guards, *written]
            if new and self._has_space_above(node):
                new[0].is_spaced = True
            done += new
            self.guards = outer
            if done and isinstance(done[-1], (ast.Return, ast.Raise, ast.Continue, ast.Break)):
                break
        return done

    def _has_space_above(self, node: ast.stmt) -> bool:
        lines = self.source.text.splitlines()
        above = lines[node.lineno - 2].strip() if node.lineno > 1 else ""
        return not above or above.startswith("#")

    def _statement(self, node: ast.stmt) -> list[ast.stmt]:
        method = getattr(self, f"_do_{type(node).__name__}", None)
        if method is None:
            raise Refused(node, f"{type(node).__name__.lower()} statement")
        return method(node)

    def _nothing(self, node: ast.stmt) -> list[ast.stmt]:
        return []

    _do_Assert = _do_Pass = _do_Import = _do_ImportFrom = _do_Delete = _do_Global = _nothing

    def _do_Expr(self, node: ast.Expr) -> list[ast.stmt]:
        value = node.value
        if self.says_nothing(node):
            return []
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            fact = self.fact(value.func.value)
            if fact is not None and fact.always("tensor"):
                return self._in_place(node, value)
        return [ast.Expr(self.expr(value))]

    def says_nothing(self, node: ast.stmt) -> bool:
        """Whether a statement is a string, an assertion or a message to the user."""
        value = getattr(node, "value", None)
        return value is None or isinstance(value, ast.Constant) or bool(_SILENT.match(ast.unparse(value)))

    def _in_place(self, node: ast.Expr, call: ast.Call) -> list[ast.stmt]:
        name, target = call.func.attr, call.func.value
        if not isinstance(target, (ast.Name, ast.Subscript)):
            raise Refused(node, f"in place: {name}")
        self._may_be_view(node, target)
        store = self.store(target)
        if name == "copy_" and isinstance(target, ast.Subscript):
            return [ast.Assign([store], self.expr(call.args[0]))]
        if not name.endswith("_") or name.endswith("__"):
            raise Refused(node, f"in place: {name}")
        return [ast.Assign([store], self.by_name(call, name[:-1], [target, *call.args]))]

    def _may_be_view(self, node: ast.stmt, target: ast.expr) -> None:
        # A view of another array would change with it in torch; in MLX each name has its own array.
        name = target.id if isinstance(target, ast.Name) else None
        for other in ast.walk(self.source.tree):
            if isinstance(other, ast.Assign) and isinstance(other.value, (ast.Subscript, ast.Name)):
                targets = {one.id for one in other.targets if isinstance(one, ast.Name)}
                base = other.value
                while isinstance(base, ast.Subscript):
                    base = base.value
                fact = self.fact(other.value)
                if name in targets and isinstance(base, ast.Name) and fact is not None and fact.always("tensor"):
                    if base.id != name and self._read_after(base.id, node):
                        raise Refused(node, f"in place on a view of {base.id}")

    def _read_after(self, name: str, node: ast.stmt) -> bool:
        reads = (one for one in ast.walk(self.source.tree) if isinstance(one, ast.Name) and one.id == name)
        return any(isinstance(one.ctx, ast.Load) and one.lineno > node.lineno for one in reads)

    def _do_Assign(self, node: ast.Assign) -> list[ast.stmt]:
        return self._assign(node.targets, node.value)

    def _do_AnnAssign(self, node: ast.AnnAssign) -> list[ast.stmt]:
        return self._assign([node.target], node.value) if node.value is not None else []

    def _assign(self, targets: list[ast.expr], value: ast.expr) -> list[ast.stmt]:
        fact, target = self.fact(value), targets[0]
        if isinstance(target, ast.Name) and target.id in self.spread_only:
            return []
        if fact is not None and fact.always("device") or self._is_left_out(target, value, fact):
            return []
        pairs = self._pairs(target, value) if len(targets) == 1 else None
        if pairs is not None:
            return [statement for one, other in pairs for statement in self._assign([one], other)]
        masked = self._masked(target, value)
        if masked is not None:
            return masked
        if fact is not None and fact.always("dtype"):
            written = self.parameters_dtype(value) or self.dtype(value)
            if written is None:
                return []
            return [ast.Assign([self.store(one) for one in targets], written)]
        written = self._as_boolean(target, value) or self.read_one_by_one(value)
        if isinstance(written, ast.Name) and self._is_changed_copy(target, value):
            written = filled("mx.array(x)", {"x": written})
        if self.is_self(target, written):
            return []
        return [ast.Assign([self.store(one) for one in targets], written)]

    def _as_boolean(self, target: ast.expr, value: ast.expr) -> ast.expr | None:
        # mask[:n] = 1, where the mask holds booleans.
        is_number = isinstance(target, ast.Subscript) and isinstance(value, ast.Constant) and value.value in (0, 1)
        fact = self.fact(target.value) if is_number else None
        is_mask = fact is not None and fact.always("tensor") and fact.dtypes == {"bool"}
        return ast.Constant(bool(value.value)) if is_mask else None

    def _is_changed_copy(self, target: ast.expr, value: ast.expr) -> bool:
        # x.clone() whose elements are assigned: without a copy, those of x would change with them.
        is_copy = isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "clone"
        if not is_copy or not isinstance(target, ast.Name):
            return False
        parts = (one for one in ast.walk(self.source.tree) if isinstance(one, ast.Subscript))
        return any(isinstance(one.ctx, ast.Store) and ast.unparse(one.value) == target.id for one in parts)

    def _is_left_out(self, target: ast.expr, value: ast.expr, fact) -> bool:
        """Names of functions and of signatures, and whatever is filtered by them: a port does not need them.

        Only a filter of such a name is left out with it. Anything else that reads one is refused.
        """
        if isinstance(value, ast.Lambda) or not isinstance(target, ast.Name):
            return False
        if (
            fact is not None
            and fact.always("function")
            and isinstance(value, (ast.Call, ast.IfExp, ast.Attribute, ast.Name))
        ):
            self.functions.add(target.id)
            return True
        reads = {one.id for one in ast.walk(value) if isinstance(one, ast.Name)}
        filters = isinstance(value, (ast.ListComp, ast.DictComp, ast.SetComp)) and bool(reads & self.left_out)
        if "inspect.signature" in ast.unparse(value) or filters:
            self.left_out.add(target.id)
            return True
        return False

    def _pairs(self, target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]] | None:
        # a, b = x, device: separate assignments, if one of them is left out and none reads another.
        if not (isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts)):
            return None
        facts = [self.fact(part) for part in value.elts]
        return (
            list(zip(target.elts, value.elts, strict=True))
            if any(fact is not None and fact.always("device") for fact in facts)
            else None
        )

    def _masked(self, target: ast.expr, value: ast.expr) -> list[ast.stmt] | None:
        # x[mask] = values, where the mask is an array of booleans.
        if not isinstance(target, ast.Subscript) or not isinstance(target.value, ast.Name):
            return None
        index = self.fact(target.slice)
        if index is None or not index.always("tensor") or "bool" not in index.dtypes:
            return None
        x = self.expr(target.value)
        put = self.helper("put_where", x, self.expr(target.slice), self.expr(value))
        return [ast.Assign([self.store(target.value)], put)]

    def is_self(self, target: ast.expr, value: ast.expr) -> bool:
        """Whether an assignment assigns a name to itself."""
        return isinstance(target, ast.Name) and isinstance(value, ast.Name) and target.id == value.id

    def store(self, target: ast.expr) -> ast.expr:
        """The left side of an assignment."""
        if isinstance(target, ast.Name):
            return ast.Name(target.id, ast.Store())
        if isinstance(target, (ast.Tuple, ast.List)):
            return ast.Tuple([self.store(one) for one in target.elts], ast.Store())
        if isinstance(target, ast.Starred):
            return ast.Starred(self.store(target.value), ast.Store())
        if isinstance(target, ast.Subscript):
            return ast.Subscript(self.expr(target.value), self.index(target.slice), ast.Store())
        if isinstance(target, ast.Attribute):
            return ast.Attribute(self.expr(target.value), target.attr, ast.Store())
        raise Refused(target, "a target of this kind")

    def _do_AugAssign(self, node: ast.AugAssign) -> list[ast.stmt]:
        value = self.expr(node.value)
        index = self.fact(node.target.slice) if isinstance(node.target, ast.Subscript) else None
        if index is not None and index.always("tensor") and "bool" in index.dtypes:
            return self._masked_in_place(node, value)
        if isinstance(node.target, ast.Name) and self.is_complex(node.target):
            raise Refused(node, "arithmetic in place on complex numbers")
        if isinstance(node.target, ast.Name):
            # In torch the array itself changes, for everything that refers to it.
            self._may_be_view(node, node.target)
            read = ast.Name(node.target.id, ast.Load())
            return [ast.Assign([self.store(node.target)], ast.BinOp(read, node.op, value))]
        return [ast.AugAssign(self.store(node.target), node.op, value)]

    def _masked_in_place(self, node: ast.AugAssign, value: ast.expr) -> list[ast.stmt]:
        # x[mask] *= 2: computed everywhere, then used where the mask is true.
        fact = self.fact(node.value)
        if fact is None or not fact.always("int", "float") or not isinstance(node.target.value, ast.Name):
            raise Refused(node, "arithmetic in place through a mask with an array")
        x = self.expr(node.target.value)
        changed = ast.BinOp(x, node.op, value)
        put = self.helper("where_rows", self.expr(node.target.slice), changed, x)
        return [ast.Assign([self.store(node.target.value)], put)]

    def _do_Return(self, node: ast.Return) -> list[ast.stmt]:
        return [ast.Return(None if node.value is None else self._returned(node.value))]

    def _returned(self, node: ast.expr) -> ast.expr:
        verdict = self.truth(node.test) if isinstance(node, ast.IfExp) else None
        if verdict is not None:
            return self._returned(node.body if verdict else node.orelse)
        if self.is_output(node):
            values = [self.expr(value) for value in self.output_values(node)]
            return values[0] if len(values) == 1 else ast.Tuple(values, ast.Load())
        entry = self.project.is_entry(self.place)
        if entry and isinstance(node, ast.Tuple) and len(node.elts) == 1:
            return self._returned(node.elts[0])
        return self.expr(node)

    def is_output(self, node: ast.expr) -> bool:
        """Whether an expression creates a library's output object."""
        fact = self.fact(node.func) if isinstance(node, ast.Call) else None
        return (
            fact is not None and fact.always("type") and all("Output" in one.__name__ for one in fact.objects.values())
        )

    def output_values(self, node: ast.Call) -> list[ast.expr]:
        """The parts of an output object, without those that are always None."""
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        return [value for value in values if not ((fact := self.fact(value)) is not None and fact.always("none"))]

    def _do_Raise(self, node: ast.Raise) -> list[ast.stmt]:
        return [raising("ValueError", f"{self.source.where(node)}: the reference rejects this input")]

    def _do_For(self, node: ast.For) -> list[ast.stmt]:
        fact = self.fact(node.iter)
        if fact is not None and fact.lengths == {0}:
            return self._empty_loop(node)
        if node.orelse:
            raise Refused(node, "for with else")
        unrolled = self._unrolled(node)
        if unrolled is not None:
            return unrolled
        body = self.block(node.body)
        if not body:
            return []
        loop = ast.For(self.store(node.target), self.read_one_by_one(node.iter), body, [])
        if not (self.project.trains and is_checkpointed(node) and "forward" in self.project.recording.entries):
            return [loop]
        written = checkpointed(loop, not self.has_checkpointing)
        self.has_checkpointing |= len(written) > 1
        return written

    def _empty_loop(self, node: ast.For) -> list[ast.stmt]:
        if self.from_config(node.iter):
            return []
        return [ast.If(self.expr(node.iter), [self.problem(node, "no recorded run reached this line")], [])]

    def _unrolled(self, node: ast.For) -> list[ast.stmt] | None:
        """A loop over layers that differ in kind, written out layer by layer; None for any other loop."""
        from torch import nn

        backwards = isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) == "reversed"
        holder = node.iter.args[0] if backwards else node.iter
        fact = self.fact(holder)
        if fact is None or not fact.always("modulelist", "module") or not isinstance(node.target, ast.Name):
            return None
        lists = list(fact.objects.values())
        if not all(isinstance(one, (nn.ModuleList, nn.Sequential)) for one in lists):
            return None
        kinds = {tuple(self.project_group(part) for part in one) for one in lists}
        if len(kinds) != 1 or len(set(next(iter(kinds)))) < 2 or len(next(iter(kinds))) > 8:
            return None
        done = []
        for place in reversed(range(len(lists[0]))) if backwards else range(len(lists[0])):
            here = ast.Subscript(self.expr(holder), ast.Constant(place), ast.Load())
            self.elements[node.target.id] = (here, [one[place] for one in lists])
            done += self.block(node.body)
        del self.elements[node.target.id]
        return self._rolled(node, holder, len(lists[0]), done) if not backwards else done

    def _rolled(self, node: ast.For, holder: ast.expr, count: int, done: list[ast.stmt]) -> list[ast.stmt]:
        # If all layers are called the same way, the loop stays a loop.
        each, name = len(done) // count, node.target.id
        layers = self.expr(holder)
        parts = [done[place * each : (place + 1) * each] for place in range(count)]
        texts = {
            "\n".join(source_lines(copy.deepcopy(part))).replace(f"{ast.unparse(layers)}[{place}]", name)
            for place, part in enumerate(parts)
        }
        if len(done) % count or len(texts) != 1 or ast.unparse(layers) in next(iter(texts)):
            return done
        return [ast.For(self.store(node.target), layers, ast.parse(texts.pop()).body, [])]

    def project_group(self, module) -> str:
        from mflux_port.draft.forward.record.groups import group_of

        return group_of(module)

    def _do_With(self, node: ast.With) -> list[ast.stmt]:
        text = " ".join(ast.unparse(item.context_expr) for item in node.items)
        if not _CONTEXTS.search(text):
            raise Refused(node, f"with {text}")
        return self.block(node.body)

    def _do_FunctionDef(self, node: ast.FunctionDef) -> list[ast.stmt]:
        ran = any(getattr(part, "number", -1) in self.facts for body in node.body for part in ast.walk(body))
        if not ran:
            return []
        args = [ast.arg(arg.arg, _annotation(hint(self.fact(arg)))) for arg in node.args.args]
        self.inner |= {arg.arg for arg in node.args.args} | {node.name}
        arguments = ast.arguments([], args, None, [], [], None, [self.expr(value) for value in node.args.defaults])
        return [ast.FunctionDef(node.name, arguments, self.block(node.body), [], _annotation(inner_hint(self, node)))]

    def _do_Continue(self, node: ast.stmt) -> list[ast.stmt]:
        return [node]

    _do_Break = _do_Continue

    def _do_Try(self, node: ast.Try) -> list[ast.stmt]:
        raise Refused(node, "try")
