"""Record what flows through a diffusers pipeline: stages by wrapped methods, modules by forward hooks."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import torch

from parity.record.recording import is_denoiser

MOST_ENCODED = 1 << 24  # a larger result of an encoder is a word prediction, which no stage uses
STAGES, BLOCKS, MODULES = "stages", "blocks", "modules"


def tensors(value, depth: int = 0) -> Iterator[torch.Tensor]:
    """All tensors in arguments or results, in order, through lists, dicts and model outputs."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < 4:
        for item in value:
            yield from tensors(item, depth + 1)


def named_tensors(module, args: tuple, kwargs: dict) -> list[tuple[str, torch.Tensor]]:
    """The tensors of a call in the order of ``tensors``, each with its argument's name: ``x.1`` is the second of x."""
    known = list(inspect.signature(type(module).forward).parameters)[1:]
    names = [*known[: len(args)], *(f"argument{n}" for n in range(len(known), len(args)))]
    return [pair for name, value in [*zip(names, args, strict=True), *kwargs.items()] for pair in _named(name, value)]


def _named(name: str, value, depth: int = 1) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _named(f"{name}.{key}", item, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < 4:
        for n, item in enumerate(value):
            yield from _named(f"{name}.{n}", item, depth + 1)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """float32, int64 or bool.

    Complex numbers get a last axis of 2. A tensor without values becomes an array without memory.
    """
    tensor = tensor.detach()
    if tensor.device.type == "meta":
        kind = np.float32 if tensor.is_floating_point() or tensor.is_complex() else np.int64
        shape = (*tensor.shape, 2) if tensor.is_complex() else tuple(tensor.shape)
        return np.broadcast_to(np.zeros((), np.bool_ if tensor.dtype == torch.bool else kind), shape)
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if tensor.is_floating_point():
        tensor = tensor.float()
    elif tensor.dtype != torch.bool:
        tensor = tensor.long()
    return tensor.cpu().numpy()


def components(pipe) -> dict[str, torch.nn.Module]:
    """The pipeline's networks by name: transformer, vae, text_encoder and so on."""
    return {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}


def classes(pipe) -> dict[str, list[str]]:
    """``component.path`` to the module's class and the file that defines it."""
    found = {}
    for name, part in components(pipe).items():
        for path, module in part.named_modules():
            kind = type(module)
            found[f"{name}.{path}".rstrip(".")] = [kind.__name__, kind.__module__]
    return found


class TorchTaps:
    """Hooks on a pipeline. ``sink`` has ``add(name, array)``, ``repeat(name, first)`` and ``in``.

    ``level`` is ``stages``, ``blocks`` (numbered children and a component's own children) or ``modules``.
    ``only`` narrows modules to one path and all below it. ``steps`` holds the denoising steps to record, None for all.
    ``given`` holds an earlier run's values: each stage then gets that run's input instead of its own. A transformer's
    inputs and results are recorded in every step. ``arguments`` names its inputs, ``outputs`` keeps the networks'
    results up to the first step, ``began`` is called with each stage.
    """

    def __init__(
        self,
        sink,
        level: str = STAGES,
        only: str = "",
        steps: set[int] | None = None,
        given=None,
        began: Callable[[str], None] = lambda stage: None,
    ):
        self.sink, self.level, self.only, self.steps, self.given, self.began = sink, level, only, steps, given, began
        self.step = 0
        self.arguments: dict[str, list[str]] = {}
        self.outputs: dict[tuple[str, int], object] = {}
        self._stack: list[tuple[str, str]] = []  # (stage, path) of the modules that are running
        self._calls: dict[str, int] = {}
        self._repeats: dict[str, int] = {}
        self._within: str = ""  # set while a method other than forward runs: vae_decode, vae_encode
        self._seen: dict[int, tuple[weakref.ref, int, str, bool]] = {}  # the last item says that it was not thinned
        self._undo: list[Callable[[], None]] = []

    @contextlib.contextmanager
    def attached(self, pipe) -> Iterator[TorchTaps]:
        try:
            self._hook_modules(pipe)
            self._wrap_methods(pipe)
            self._wrap_attention()
            yield self
        finally:
            for undo in reversed(self._undo):
                undo()
            self._undo.clear()

    def record(self, name: str, tensor: torch.Tensor, whole: bool = False) -> None:
        """Record one tensor of a stage. The same tensor again becomes a reference to the first.

        A ``whole`` tensor is never thinned, because another stage may need it as its input; so it never refers to one
        that may be thinned.
        """
        if name in self.sink:
            return
        known = self._seen.get(id(tensor))
        if known and known[0]() is tensor and known[1] == tensor._version and known[2] in self.sink:
            if known[3] or not whole:
                self.sink.repeat(name, known[2])
                return
        self.sink.add(name, to_numpy(tensor), whole=whole)
        self._seen[id(tensor)] = (
            weakref.ref(tensor),
            tensor._version,
            name,
            whole or self.level == MODULES and not self.only,
        )

    def _record_all(self, prefix: str, value, whole: bool = False, most: int | None = None) -> None:
        for n, tensor in enumerate(tensors(value)):
            self.record(f"{prefix}/{n}", tensor, whole and (most is None or tensor.numel() <= most))

    def _hook_modules(self, pipe) -> None:
        for component, part in components(pipe).items():
            for path, module in part.named_modules():
                name = f"{component}.{path}".rstrip(".")
                wanted = self._wanted(name, path, module)
                if not wanted and not self.only:
                    continue  # a hook costs time on every call; with --module, hooks distinguish attention calls
                before = module.register_forward_pre_hook(self._entering(name, wanted), with_kwargs=True)
                after = module.register_forward_hook(self._leaving(wanted), always_call=False)
                self._undo += [before.remove, after.remove]

    def _wanted(self, name: str, path: str, module) -> bool:
        if isinstance(module, (torch.nn.ModuleList, torch.nn.Dropout)):
            return False
        if not path:
            return True
        if self.only:
            return name == self.only or name.startswith(f"{self.only}.")
        if self.level == BLOCKS:
            last = path.split(".")[-1]
            return last.isdigit() and path.count(".") <= 3 or "." not in path
        return self.level == MODULES

    def _entering(self, name: str, wanted: bool):
        def hook(module, args, kwargs):
            root = not self._stack and not self._within
            stage, key = self._place(name)
            self._stack.append((stage, key if wanted and (root or self._step_wanted(stage)) else ""))
            if root:
                self.began(stage)
                if is_denoiser(name):
                    self.arguments[stage] = [path for path, _ in named_tensors(module, args, kwargs)]
            if self._stack[-1][1]:
                self._record_all(f"{stage}/{key}/in", (args, kwargs), whole=root)
            if self.given is not None and len(self._stack) == 1 and not self._within:
                return self._replace((args, kwargs), f"{stage}/{key}/in", itertools.count())
            return None

        return hook

    def _replace(self, value, prefix: str, numbers: Iterator[int], depth: int = 0):
        # The same traversal as ``tensors``, with the earlier run's values in place of this run's.
        if isinstance(value, torch.Tensor):
            name = f"{prefix}/{next(numbers)}"
            return self._earlier(name, value) if value.is_floating_point() else value
        if isinstance(value, dict):
            for key, item in list(value.items()):  # in place: a model's output is a dict with its own class
                value[key] = self._replace(item, prefix, numbers, depth + 1)
            return value
        if isinstance(value, (list, tuple)) and depth < 4:
            return type(value)(self._replace(item, prefix, numbers, depth + 1) for item in value)
        return value

    def _earlier(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        event = self.given.event(name)
        if event is None or event.stride != 1 or event.shape != tuple(tensor.shape):
            return tensor
        return torch.from_numpy(self.given.get(name)).to(tensor)

    def _leaving(self, wanted: bool):
        def hook(module, args, output):
            stage, key = self._stack.pop()
            root = not self._stack and not self._within
            if root and not self.step:
                component, *numbers = stage.split(".")
                self.outputs[component, int(numbers[-1]) if len(numbers) > is_denoiser(component) else 0] = output
            if key:
                most = None if is_denoiser(stage) else MOST_ENCODED
                self._record_all(f"{stage}/{key}/out", output, whole=root, most=most)

        return hook

    def _place(self, name: str) -> tuple[str, str]:
        component = name.split(".")[0]
        if not self._stack:
            stage = self._within or self._next_stage(component)
            self._repeats = {}
        else:
            stage = self._stack[-1][0]
        count = self._repeats.get(name, 0)
        self._repeats[name] = count + 1
        return stage, f"{name}#{count}" if count else name

    def _next_stage(self, component: str) -> str:
        if is_denoiser(component):
            label = f"{component}.{self.step}"
        else:
            label = component
        count = self._calls.get(label, 0)
        self._calls[label] = count + 1
        return f"{label}.{count}" if count else label

    def _step_wanted(self, stage: str) -> bool:
        return self.steps is None or not is_denoiser(stage) or self.step in self.steps

    def _wrap_methods(self, pipe) -> None:
        vae = getattr(pipe, "vae", None)
        for method in ("decode", "encode"):
            if hasattr(vae, method):
                self._wrap(vae, method, self._around_vae(f"vae_{method}"))
        self._wrap(pipe.scheduler, "step", self._around_step)

    def _around_vae(self, method: str):
        def around(original, args, kwargs):
            self._within = stage = self._next_stage(method)
            self.began(stage)
            self._record_all(
                f"{stage}/vae/in", (args, {k: v for k, v in kwargs.items() if k in ("z", "x")}), whole=True
            )
            if self.given is not None:
                args, kwargs = self._replace((args, kwargs), f"{stage}/vae/in", itertools.count())
            try:
                result = original(*args, **kwargs)
            finally:
                self._within = ""
            latent = getattr(result, "latent_dist", None)
            self._record_all(f"{stage}/vae/out", latent.mode() if latent is not None else result, whole=True)
            return result

        return around

    def _around_step(self, original, args, kwargs):
        named = dict(zip(("model_output", "timestep", "sample"), args, strict=False)) | kwargs
        result = original(*args, **kwargs)
        self.record(f"loop/scheduler.{self.step}/in/0", named["model_output"], whole=True)
        self.record(f"loop/scheduler.{self.step}/in/1", named["sample"], whole=True)
        after = next(tensors(result))
        name = f"loop/scheduler.{self.step}/out/0"
        self.record(name, after, whole=True)
        if self.given is not None:
            result = self._replace(result, name[:-2], itertools.count())
        self.step += 1
        return result

    def _wrap(self, owner, name: str, around) -> None:
        original = getattr(owner, name)

        def wrapped(*args, **kwargs):
            return around(original, args, kwargs)

        had = name in vars(owner)
        setattr(owner, name, wrapped)
        self._undo.append(lambda: setattr(owner, name, original) if had else delattr(owner, name))

    def _wrap_attention(self) -> None:
        if self.level == STAGES:
            return

        def around(original, args, kwargs):
            result = original(*args, **kwargs)
            stage, key = self._stack[-1] if self._stack else ("", "")
            if key and self.level == MODULES:
                self._record_attention(f"{stage}/{key}.sdpa", args, kwargs, result)
            return result

        self._wrap(torch.nn.functional, "scaled_dot_product_attention", around)

    def _record_attention(self, prefix: str, args, kwargs, result) -> None:
        count = self._repeats.get(prefix, 0)
        self._repeats[prefix] = count + 1
        prefix = f"{prefix}#{count}" if count else prefix
        named = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | kwargs
        scale = kwargs.get("scale")
        scale = named["query"].shape[-1] ** -0.5 if scale is None else float(scale)
        for n, part in enumerate(("query", "key", "value")):
            self.record(f"{prefix}/in/{n}", named[part])
        self.record(f"{prefix}/in/3", torch.tensor(scale))
        self.record(f"{prefix}/out/0", result)
