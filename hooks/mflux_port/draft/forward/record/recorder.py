"""Runs a reference and records every expression of its source, and the inputs and outputs of its modules."""

from __future__ import annotations

import builtins
import functools
import gc
import importlib.util
import sys
import types
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mflux_port.draft.forward.record.facts import Fact
from mflux_port.draft.forward.record.groups import group_of, is_torch_layer
from mflux_port.draft.forward.record.init_arrays import initial_group, initial_keys
from mflux_port.draft.forward.record.instrument import instrumented
from mflux_port.draft.forward.record.small_inputs import scaled_calls
from mflux_port.draft.forward.record.sources import Source, key_of
from mflux_port.draft.forward.torch_calls.opaque import OPAQUE

CALLS_OF_A_GROUP = 4  # the most calls of a group that are kept from one run


@dataclass
class ModuleCall:
    """One call of one module: its inputs and its outputs. ``run``: the number of the recorded run."""

    path: str
    method: str
    run: int
    args: tuple
    kwargs: dict
    output: object


@dataclass
class Recording:
    """``facts``: by (function, group) and node number; ``instances``: modules and objects by group; ``calls``: by
    group.

    ``idle_casts``: (function, group, node number) of casts that change no type.
    """

    facts: dict = field(default_factory=lambda: defaultdict(dict))
    sources: dict[str, Source] = field(default_factory=dict)
    instances: dict[str, list] = field(default_factory=lambda: defaultdict(list))
    calls: dict[str, list[ModuleCall]] = field(default_factory=lambda: defaultdict(list))
    root: object = None
    entries: tuple[str, ...] = ()
    idle_casts: set[tuple[str, str, int]] = field(default_factory=set)


def record(model, runs: list[tuple[str, dict]], rebuild: Callable | None = None) -> Recording:
    """Record ``runs``, each the name of a method and its keywords. The model's functions are restored afterwards.

    ``rebuild`` builds the model again: this shows how it makes the arrays that no checkpoint holds.
    """
    import torch

    recorder = _Recorder(model)
    initial = initial_keys(model)
    if initial and rebuild is not None:
        codes = _executed(rebuild, model, {"__init__"})
        recorder.is_building = True
        with recorder.instrumenting(codes, initial):
            rebuild()
        recorder.is_building = False
    recorder.recording.entries = tuple(dict.fromkeys(method for method, _ in runs))
    with torch.no_grad():
        codes = _executed(lambda: [getattr(model, method)(**clone(inputs)) for method, inputs in runs[:]], model)
        _restore_state(recorder)
        with recorder.instrumenting(codes), recorder.watching():
            for number, (method, inputs) in enumerate(runs):
                recorder.run = number
                recorder.enter(method, inputs)
        _restore_state(recorder)
        _add_scaled_calls(recorder)
    return recorder.recording


def _add_scaled_calls(recorder) -> None:
    for calls in recorder.recording.calls.values():
        first = calls[0]
        for run, *made in scaled_calls(recorder.model, first, clone):
            calls.append(ModuleCall(first.path, first.method, run, *made))
            _restore_state(recorder)


def calls_of(model, runs: list[tuple[str, dict]]) -> dict[str, list[ModuleCall]]:
    """The calls of every group of modules in ``runs``, without their expressions."""
    import torch

    recorder = _Recorder(model)
    with torch.no_grad(), recorder.watching():
        for number, (method, inputs) in enumerate(runs):
            recorder.run = number
            recorder.enter(method, inputs)
    _restore_state(recorder)
    return recorder.recording.calls


def _restore_state(recorder) -> None:
    for module, state in recorder.before:
        for name in [*vars(module)]:
            if name not in state:
                del module.__dict__[name]
        module.__dict__.update(state)


class _Recorder:
    def __init__(self, model):
        self.model, self.recording, self.run = model, Recording(root=model), 0
        self.stack: list[str] = []
        self.is_building = False
        self.seen: dict[tuple, int] = defaultdict(int)
        self.before = [(part, dict(vars(part))) for part in _parts(model)]

    def enter(self, method: str, inputs: dict) -> None:
        given = clone(inputs)
        output = self.model(**given) if method == "forward" else getattr(self.model, method)(**given)
        if method != "forward":
            call = ModuleCall("", method, self.run, (), clone(inputs), clone(output))
            self.recording.calls[group_of(self.model)].append(call)

    # What expressions report.

    def entered(self, key: str, owner) -> None:
        group = self.stack[-1] if self.stack else ""
        if key.endswith(".__init__"):
            group = initial_group(type(owner))
        elif owner is not None and not _is_processor(owner) and not self.is_building:
            group = group_of(owner) if _is_module(owner) else object_group(owner)
            known = self.recording.instances[group]
            if not any(owner is one for one in known):
                known.append(owner)
        self.stack.append(group)

    def left(self) -> None:
        self.stack.pop()

    def recorded(self, key: str, number: int, value):
        table = self.recording.facts[key, self.stack[-1] if self.stack else ""]
        fact = table.get(number)
        if fact is None:
            fact = table[number] = Fact()
        fact.add(value)
        return value

    # Functions and modules that are watched.

    def instrumenting(self, codes: list[types.CodeType], initial: set[str] = frozenset()) -> _Swapped:
        swapped = []
        functions, caches = _loaded_functions(codes)
        for code, function in functions:
            if code.co_name != "__init__" or key_of(function) in initial:
                swapped += self._swap(function, code, caches)
        return _Swapped(swapped, self)

    def _swap(self, function, code, caches: list) -> list[tuple]:
        try:
            source = Source(function)
        except (OSError, SyntaxError, TypeError):
            return []
        import ast

        generator = any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(source.tree))
        if not isinstance(source.tree, ast.FunctionDef) or generator:
            return []
        new = instrumented(source, code)
        if new is None:
            return []
        for cache in caches:
            if cache.__wrapped__ is function:
                cache.cache_clear()  # a cached call would not run
        self.recording.sources[source.key] = source
        return [(function, code, new)]

    def watching(self) -> _Hooks:
        handles = []
        for path, module in self.model.named_modules():
            if not is_torch_layer(module):
                handles.append(module.register_forward_pre_hook(self._before(), with_kwargs=True))
                handles.append(module.register_forward_hook(self._after(path), with_kwargs=True))
        classes = {
            type(value) for part in _parts(self.model) if _is_module(part) for value in own_objects(part).values()
        }
        return _Hooks(handles, [(cls, cls.__call__, self._object_call(cls.__call__)) for cls in classes])

    def _object_call(self, function):
        @functools.wraps(function)
        def call(owner, *args, **kwargs):
            group = object_group(owner)
            keep = self.seen[group, self.run] < CALLS_OF_A_GROUP
            given = (clone(args), clone(kwargs)) if keep else None
            output = function(owner, *args, **kwargs)
            if given is not None:
                self.seen[group, self.run] += 1
                path = self.paths.get(id(owner), "")
                self.recording.calls[group].append(ModuleCall(path, "__call__", self.run, *given, clone(output)))
            return output

        return call

    @property
    def paths(self) -> dict[int, str]:
        found = {}
        for path, module in self.model.named_modules():
            for name, value in own_objects(module).items():
                found[id(value)] = f"{path}.{name}" if path else name
        return found

    def _before(self):
        def hook(module, args, kwargs):
            keep = self.seen[group_of(module), self.run] < CALLS_OF_A_GROUP
            self.given = getattr(self, "given", [])
            self.given.append((clone(args), clone(kwargs)) if keep else None)

        return hook

    def _after(self, path: str):
        def hook(module, args, kwargs, output):
            given = self.given.pop()
            group = group_of(module)
            if given is not None and self.seen[group, self.run] < CALLS_OF_A_GROUP:
                self.seen[group, self.run] += 1
                call = ModuleCall(path, "forward", self.run, *given, clone(output))
                self.recording.calls[group].append(call)

        return hook


class _Swapped:
    def __init__(self, functions: list[tuple], recorder: _Recorder):
        self.functions, self.recorder = functions, recorder

    def __enter__(self):
        recorder = self.recorder
        builtins.__recorded__, builtins.__entered__ = recorder.recorded, recorder.entered
        builtins.__left__ = recorder.left
        for function, _, new in self.functions:
            function.__code__ = new

    def __exit__(self, *_):
        for function, old, _ in self.functions:
            function.__code__ = old
        del builtins.__recorded__, builtins.__entered__, builtins.__left__


class _Hooks:
    def __init__(self, handles: list, classes: list[tuple]):
        self.handles, self.classes = handles, classes

    def __enter__(self):
        for cls, _, call in self.classes:
            cls.__call__ = call

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()
        for cls, call, _ in self.classes:
            cls.__call__ = call


def _loaded_functions(codes: list[types.CodeType]) -> tuple[list[tuple], list]:
    """Pairs (code, function) for those of ``codes`` that belong to a function, and all functions with a cache, in one
    pass over all objects.
    """
    functions, caches = {}, []
    wanted = {id(code) for code in codes}
    gc.unfreeze()  # get_objects omits frozen objects
    for one in gc.get_objects():
        if type(one) is types.FunctionType and id(one.__code__) in wanted:
            functions.setdefault(id(one.__code__), one)
        elif type(one) is functools._lru_cache_wrapper:
            caches.append(one)
    return [(code, functions[id(code)]) for code in codes if id(code) in functions], caches


def _executed(run: Callable, model, more: set[str] = frozenset()) -> list[types.CodeType]:
    codes, folders = set(), _folders(model)

    def profile(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(folders):
            codes.add(frame.f_code)

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    kept = [code for code in codes if _is_recorded(code) or code.co_name in more]
    return sorted(kept, key=lambda code: (code.co_filename, code.co_firstlineno))


def _is_recorded(code: types.CodeType) -> bool:
    name = code.co_name
    if name in OPAQUE or "<" in name or "<locals>" in code.co_qualname:
        return False
    return name == "__call__" or not name.startswith("__")


def _folders(model) -> tuple[str, ...]:
    # The libraries that the model's classes come from, as folders; for a module that is one file, that file.
    names = {type(module).__module__.split(".")[0] for module in model.modules()} - {"torch"}
    found = []
    for name in sorted(names | {"diffusers", "transformers"}):
        spec = importlib.util.find_spec(name) if name not in sys.modules else sys.modules[name].__spec__
        origin = getattr(spec, "origin", None) or getattr(sys.modules.get(name), "__file__", None)
        if origin:
            path = Path(origin)
            found.append(str(path.parent) + "/" if path.name == "__init__.py" else str(path))
    return tuple(found)


def object_group(value) -> str:
    """The group of an object that is not a module."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def own_objects(module) -> dict[str, object]:
    """The plain objects of the reference's own library that a module keeps as attributes, by name."""
    library = type(module).__module__.split(".")[0]
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and _is_own_object(value, library)
    }


def _is_own_object(value, library: str) -> bool:
    cls = type(value)
    if _is_module(value) or _is_processor(value) or cls.__module__.split(".")[0] != library:
        return False
    return callable(value) and hasattr(value, "__dict__") and not isinstance(value, (type, types.FunctionType))


def _is_processor(owner) -> bool:
    return "Processor" in type(owner).__name__


def _is_module(value) -> bool:
    from torch import nn

    return isinstance(value, nn.Module)


def _parts(model) -> list:
    modules = list(model.modules())
    return [*modules, *(value for module in modules for value in own_objects(module).values())]


def clone(value):
    """A copy of nested tensors; outputs of a library become tuples of what they hold, distributions their mode."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if hasattr(value, "latent_dist"):
        return value.latent_dist.mode().detach().clone()
    if hasattr(value, "to_tuple"):
        return clone(value.to_tuple())
    if type(value) in (list, tuple):
        return type(value)(clone(part) for part in value)
    if type(value) is dict:
        return {name: clone(part) for name, part in value.items()}
    return value
