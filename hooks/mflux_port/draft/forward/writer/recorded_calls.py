"""Calls of functions and modules whose source was recorded: the target in the port, and its arguments."""

from __future__ import annotations

import ast
import re

from mflux_port.draft.forward.record.callgraph import Site
from mflux_port.draft.forward.record.provenance import argument
from mflux_port.draft.forward.torch_calls.entry import Refused, already_written
from mflux_port.draft.forward.writer.project import is_processor


class RecordedCalls:
    """The part of the writer that writes calls of what was recorded."""

    def _recorded(self, node: ast.Call) -> ast.expr:
        targets = self.project.graph.targets(self.place, node)
        if isinstance(node.func, ast.Name) and node.func.id in self.elements:
            modules = self.elements[node.func.id][1]
            targets = [place for module in modules if (place := self.project.graph.place(module, self.place[1]))]
            targets = list(dict.fromkeys(target for target, _ in targets))
        if not targets:
            raise Refused(node, f"a call of {ast.unparse(node.func)} whose source was not recorded")
        if len({target[0].rsplit(".", 1)[-1] for target in targets}) > 1:
            raise Refused(node, "several functions in one call")
        target = targets[0]
        signatures = [self._signature_of(one) for one in targets]
        if any(one != signatures[0] for one in signatures):
            raise Refused(node, "functions of several signatures in one call")
        values, keywords = self._given(node, target)
        return ast.Call(self._callee(node, targets), values, keywords)

    def _signature_of(self, place) -> tuple:
        return tuple((name, one.keep, one.keys) for name, one in self.project.parameters(place).items())

    def _callee(self, node: ast.Call, targets: list) -> ast.expr:
        source = self.project.recording.sources[targets[0][0]]
        name, function = source.tree.name, node.func
        if is_processor(source):
            self.out.calls.append(targets[0])
            return ast.parse("self.attend", mode="eval").body
        if self._is_module_or_object(function):
            self.out.outside |= set(targets)
            self._read_child(function)
            return self.expr(function) if not isinstance(function, ast.Name) or function.id not in self.elements else \
                self.elements[function.id][0]  # fmt: skip
        holder = function.value if isinstance(function, ast.Attribute) else None
        own = holder is not None and isinstance(holder, ast.Name) and holder.id == self.owner
        if source.is_method and own:
            self.out.calls.append(targets[0])
            return ast.Attribute(ast.Name("self", ast.Load()), f"METHOD_{name}", ast.Load())
        if source.is_method and holder is not None and self._has_owner(holder):
            self.out.outside |= set(targets)
            name = "__call__" if name == "forward" else name
            return self.expr(holder) if name == "__call__" else ast.Attribute(self.expr(holder), name, ast.Load())
        if not source.is_method:
            self.out.calls.append(targets[0])
            return ast.Name(f"FUNCTION_{name}", ast.Load())
        raise Refused(node, f"a call of {ast.unparse(function)}")

    def _is_module_or_object(self, node: ast.expr) -> bool:
        fact = self.fact(node)
        if isinstance(node, ast.Name) and node.id in self.elements:
            return True
        return fact is not None and bool(fact.kinds) and fact.kinds <= {"module", "object"}

    def _has_owner(self, node: ast.expr) -> bool:
        return bool(self.owners(node))

    def _read_child(self, node: ast.expr) -> None:
        if isinstance(node, ast.Attribute):
            self.out.reads |= {(group, node.attr) for group in self.owners(node.value)}

    def _given(self, node: ast.Call, target) -> tuple[list, list]:
        """Every argument that the written function takes, those that the reference passes by position first."""
        source = self.project.recording.sources[target[0]]
        parameters = self.project.parameters(target)
        node = self._spread_keywords(node)
        if any(isinstance(value, ast.Starred) for value in node.args):
            return self._given_starred(node, parameters)
        values, keywords, seen = self._given_parameters(node, source, parameters)
        for key in (key for parameter in parameters.values() for key in parameter.keys if key not in seen):
            value = next((one.value for one in node.keywords if one.arg == key), ast.Constant(None))
            keywords.append(ast.keyword(key, self.expr(value)))
        return values, keywords

    def _given_parameters(self, node: ast.Call, source, parameters) -> tuple[list, list[ast.keyword], set[str]]:
        """Arguments for the parameters that the reference names, and the names of these parameters."""
        site = Site(self.place, node, int(is_processor(source)))
        values, keywords, seen = [], [], set()
        skip = 2 if is_processor(source) else int(source.is_method)
        by_name = {keyword.arg for keyword in node.keywords}
        for number, arg in enumerate(source.parameters):
            parameter = parameters.get(arg.arg)
            if number < skip or parameter is None or not parameter.keep:
                continue
            seen.add(arg.arg)
            value = argument(site, source, number)
            if value is None and (default := source.defaults.get(arg.arg)) is not None:
                keywords.append(ast.keyword(arg.arg, self._default_value(node, default)))
            elif value is None or value is ...:
                raise Refused(node, f"a call that does not give {arg.arg}")
            elif arg.arg in by_name or keywords:
                keywords.append(ast.keyword(arg.arg, self.expr(value)))
            else:
                values.append(self.expr(value))
        return values, keywords, seen

    def _given_starred(self, node: ast.Call, parameters) -> tuple[list, list]:
        if any(not parameter.keep for parameter in parameters.values()):
            raise Refused(node, "a call with * of a function that does not take all arguments")
        return [self.expr(value) for value in node.args], [
            ast.keyword(one.arg, self.expr(one.value)) for one in node.keywords
        ]

    def _default_value(self, node: ast.Call, default: ast.expr) -> ast.expr:
        text = ast.unparse(default)
        if isinstance(default, ast.Constant):
            return ast.Constant(default.value)
        if re.fullmatch(r"torch\.\w+", text):
            return self.dtype(default)
        try:
            return ast.parse(repr(ast.literal_eval(text)), mode="eval").body
        except ValueError:
            raise Refused(node, f"the default {text}") from None

    def _spread_keywords(self, node: ast.Call) -> ast.Call:
        # f(x, **kwargs), where the recorded keywords are known one by one.
        if all(keyword.arg is not None for keyword in node.keywords):
            return node
        keywords = []
        for keyword in node.keywords:
            keywords += [keyword] if keyword.arg is not None else self._keywords_of(node, keyword.value)
        spread = ast.copy_location(ast.Call(node.func, node.args, keywords), node)
        spread.number = getattr(node, "number", -1)
        return spread

    def _keywords_of(self, node: ast.Call, value: ast.expr) -> list[ast.keyword]:
        fact = self.fact(value)
        if fact is not None and fact.lengths == {0}:
            return []
        literal = self.spread_only.get(value.id) if isinstance(value, ast.Name) else None
        if literal is not None:
            return [ast.keyword(key.value, one) for key, one in zip(literal.keys, literal.values, strict=True)]
        parameter = self.parameters.get(value.id) if isinstance(value, ast.Name) else None
        if (
            isinstance(value, ast.Name)
            and (parameter is None or parameter.keep or self._is_rewritten(value.id, parameter))
            and fact is not None
            and len(fact.keys) == 1
        ):
            return [ast.keyword(key, self._of_dict(value, key)) for key in next(iter(fact.keys))]
        if parameter is None or value.id in self.stored and value.id not in self.left_out:
            raise Refused(node, f"**{ast.unparse(value)}")
        passed_on = set(fact.items) if fact is not None else set()
        constants = {name: one for name, one in parameter.constants.items() if name in passed_on}
        found = [ast.keyword(name, ast.Constant(constant)) for name, constant in constants.items()]
        for name in (name for name in parameter.keys if name in passed_on):
            passed = ast.Name(name, ast.Load())
            passed.is_written = True
            passed.number = -1
            found.append(ast.keyword(name, passed))
        return found

    def _is_rewritten(self, name: str, parameter) -> bool:
        # A dict under a parameter's name: not the function's own **keywords.
        return name in self.stored and name not in self.left_out and not parameter.keys and not parameter.constants

    def _of_dict(self, value: ast.Name, key: str) -> ast.expr:
        return already_written(ast.Subscript(ast.Name(value.id, ast.Load()), ast.Constant(key), ast.Load()))
