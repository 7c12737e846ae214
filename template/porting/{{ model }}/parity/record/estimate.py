"""Estimate a recording's disk and memory: the reference's own pipeline runs with networks that have only shapes.

The networks are built without memory (PyTorch's meta device) and called by the pipeline with inputs of the real sizes.
The hooks of a real recording run too and only count, so nothing here depends on how a model is built.
"""

from __future__ import annotations

import contextlib
import functools
import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from parity import needs
from parity.memo import Memo
from parity.progress import process_peak
from parity.record import claim_needs, components, reading
from parity.record.guidance import OFF
from parity.record.probe import changed
from parity.record.recording import is_denoiser, stride_for
from parity.record.torch_taps import STAGES

ENOUGH = 3  # steps: the first, one in the middle, the last
_SECOND = re.compile(r"[^/]*(?:/scheduler)?\.1[./]")  # a name of the second step
TRAINING = "training"
CLAIMS = {
    "lora": "LoRA files and what they change", TRAINING: "a training step", "image": "image-to-image",
    "edit": "the stages of editing",
}  # fmt: skip


class Counter:
    """Replaces a Recorder and keeps only sizes. ``bytes`` is what the Recorder would have written."""

    def __init__(self, run):
        self.run, self.half = run, run.dtype == "bfloat16"
        self.bytes, self.tensors, self.step = run.room, 0, 0
        self.sizes: dict[str, int] = {}  # the numbers of each tensor
        self.middle = [0, 0]  # bytes and tensors of the second step, one like all between the first and the last
        self.weights = 0  # bytes of the networks that are in memory together
        self.activations = 0  # the peak of the networks' intermediate results, in bytes
        self._image: tuple[int, ...] = ()

    def __contains__(self, name: str) -> bool:
        return name in self.sizes

    def add(self, name: str, values: np.ndarray, whole: bool = False) -> None:
        kept = -(-values.size // (1 if whole else stride_for(values.size, self.run.cap)))
        width = {"f": 2 if self.half else 4, "b": 1}.get(values.dtype.kind, 8)
        self._count(name, kept * width)
        self.sizes[name] = values.size
        if name == "vae_decode/vae/out/0":
            self._image = values.shape

    def repeat(self, name: str, first: str) -> None:
        self._count(name, 0)
        self.sizes[name] = self.sizes[first]

    def _count(self, name: str, size: int) -> None:
        self.bytes, self.tensors = self.bytes + size, self.tensors + 1
        self.step += name.startswith("loop/scheduler.") and "/out/" in name
        if _SECOND.match(name) and (is_denoiser(name) or name.startswith("loop/")):
            self.middle = [self.middle[0] + size, self.middle[1] + 1]

    def add_steps(self, count: int) -> None:
        """Count ``count`` more steps like the second."""
        self.bytes, self.tensors = self.bytes + count * self.middle[0], self.tensors + count * self.middle[1]

    def looks_inside(self, network: str) -> bool:
        """Whether what a network computes inside is recorded, in the current step of a transformer."""
        steps = self.run.recorded_steps
        return self.run.level != STAGES and (steps is None or not is_denoiser(network) or self.step in steps)

    def read(self, name: str) -> np.ndarray:
        """An empty image of the decoded image's size, for the encoder."""
        return np.zeros(self._image, np.float32)


def sentence(run, path: Path, seconds: str = "", claim: str = "") -> str:
    """One line for the user: how much, and for what, or that no estimate is possible. ``path``: the recording's file."""
    loaded, have = needs.weights(run.model, run.dtype), memory_of(run.device)
    what = {"stages": "the stages", "blocks": "the blocks", "modules": "all modules"}[run.level]
    what = f"everything inside {run.only}" if run.only else CLAIMS.get(claim, what)
    try:
        counter = count(run, claim)
    except Exception as error:  # noqa: BLE001 - a pipeline that cannot run without values is still recorded
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        memory = needs.of_memory(loaded, 0, have)
        return f"estimate: not possible for this pipeline ({type(error).__name__}: {reason}); at least {memory}"
    size = f"{run.width}x{run.height}, {run.steps} step{'s' * (run.steps > 1)}"
    disk = f"{counter.bytes / 1e6:.1f} MB for {what} at {size} ({counter.tensors} tensors)"
    disk += needs.lacking_disk(counter.bytes, path)
    rest = counter.activations
    if run.device == "cpu":  # the whole process counts; a file is in memory before a network runs
        rest = process_peak() + max(_mapped_files(run), rest)
    memory = needs.of_memory(loaded or counter.weights, rest, have)
    return "; ".join(filter(None, (f"estimate: {disk}", memory, seconds)))


def _mapped_files(run) -> int:
    """Bytes of a network's files that are in memory next to the network."""
    if run.dtype == "float32" and reading.can_read_by_tensor():
        return 0
    stored = needs.largest_file(run.model)
    return stored if abs(stored - needs.largest(run.model, run.dtype)) > stored / 10 else 0  # else it is the network


def is_large(run) -> bool:
    """Whether a run may need more memory than the machine has, so that an estimate is worth its time."""
    return needs.weights(run.model, run.dtype) > memory_of(run.device) / 2 > 0


def memory_of(device: str) -> int:
    """Bytes of memory of a device; 0 if it does not report it."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_properties(device).total_memory
    return needs.machine()


def count(run, claim: str = "") -> Counter:
    """Run the pipeline on shapes only, and add what recording the ``claim`` takes in addition.

    If guidance must be off, the value that records the least is used.
    """
    pipe = _empty_pipeline(run)
    values = dict.fromkeys((run.guidance, *OFF)) if run.unguided else [run.guidance]
    memo = Memo(torch.Tensor, _key)
    if len(values) > 1:
        outside = replace(run, steps=1, level=STAGES, only="")
        tried = {value: _count(pipe, replace(outside, guidance=value), memo).bytes for value in values}
        run = replace(run, guidance=min(tried, key=tried.get))
    counter = _count(pipe, replace(run, steps=min(run.steps, ENOUGH)), memo)
    counter.add_steps(max(0, run.steps - ENOUGH))
    with torch.no_grad(), _NoQuestions():
        need = claim_needs.of_claim(claim, pipe, counter.sizes)
    if claim == TRAINING:
        claim_needs.train(pipe)
        run = replace(run, steps=claim_needs.steps_of_training(run.steps))
        trained = _count(pipe, run, Memo(torch.Tensor, _key))  # the same calls keep more now
        counter.activations = max(counter.activations, trained.activations)
    counter.bytes += need.disk
    counter.activations += need.memory
    return counter


def _count(pipe, run, memo: Memo) -> Counter:
    from parity.record import reference

    counter = Counter(run)
    live = _Live(pipe)
    undo = _bridge(pipe, _Remembered(memo, counter, live))
    autocast, torch.autocast = torch.autocast, lambda *args, **kwargs: contextlib.nullcontext()
    try:
        with torch.no_grad(), _NoQuestions(), live:
            reference.run_once(pipe, run, counter)
    finally:
        torch.autocast = autocast
        for step in reversed(undo):
            step()
    counter.weights, counter.activations = needs.together(live.networks), live.most
    return counter


def _empty_pipeline(run):
    diffusers.utils.logging.set_verbosity_error()
    kind, (name, parts) = components.pipeline_class(run.model), components.read_index(run.model)
    built = {}
    for part, (library, named) in parts.items():
        cls = components.component_class(library, named, run.model / part)
        if components.is_network(run.model, part):
            with torch.device("meta"):
                built[part] = components.build(library, cls, components.read_json(run.model / part / "config.json"))
            built[part].to(getattr(torch, run.dtype)).eval()
            if part == "vae":
                _give_values(built[part])
        else:
            built[part] = cls.from_pretrained(str(run.model / part))
    here = property(lambda pipe: torch.device("cpu"))  # the code between the networks computes as usual
    pipe = type(name, (kind,), {"device": here, "_execution_device": here, "__module__": kind.__module__})(**built)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _give_values(vae) -> None:
    # Latent statistics are buffers that the pipeline computes with outside the network.
    for module in vae.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = torch.ones(buffer.shape, dtype=buffer.dtype)


def _bridge(pipe, remembered: _Remembered) -> list[Callable[[], None]]:
    """From now on, each network takes the pipeline's tensors as shapes and returns zeros. The result undoes that."""
    empty = _Empty()
    undo = []
    for name, part in pipe.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        after = part.register_forward_hook(lambda module, args, result: _mapped(result, _zeros))
        before = part.register_forward_pre_hook(_entering(empty, "text" in name, after.id), with_kwargs=True)
        part.forward = remembered.around(name, part.forward)
        undo += [before.remove, after.remove, functools.partial(delattr, part, "forward")]
    for method in ("decode", "encode"):
        if hasattr(getattr(pipe, "vae", None), method):
            undo.append(_wrap(pipe.vae, method, empty))
    return undo


def _entering(empty: _Empty, text: bool, last: int):
    def hook(module, args, kwargs):
        module._forward_hooks.move_to_end(last)  # the recording's hooks must see the network's own result
        kwargs = _mapped(dict(kwargs), empty)
        if text:
            kwargs.pop("attention_mask", None)  # whether it masks anything depends on values
        return _mapped(args, empty), kwargs

    return hook


class _Remembered:
    """A network that was called with the same shapes before runs again only if something inside it is recorded."""

    def __init__(self, memo: Memo, counter: Counter, live: _Live):
        self.memo, self.counter, self.live = memo, counter, live

    def around(self, name: str, forward):
        @functools.wraps(forward)
        def remembering(*args, **kwargs):
            known = None if self.counter.looks_inside(name) else self.memo.get(name, args, kwargs)
            if known is None:
                result, peak = self.live.during(lambda: forward(*args, **kwargs))
                # Of each tensor, one number is kept.
                kept = changed(result, lambda tensor: tensor.new_empty(()).expand(tensor.shape))
                self.memo.put(name, args, kwargs, (kept, peak))
                return result
            kept, peak = known
            self.live.rise(peak)
            return changed(kept, lambda tensor: tensor.new_empty(tensor.shape))

        return remembering


def _wrap(vae, method: str, empty: _Empty) -> Callable[[], None]:
    original = getattr(vae, method)

    def wrapped(*args, **kwargs):
        result = original(*_mapped(args, empty), **_mapped(kwargs, empty))
        latent = getattr(result, "latent_dist", None)
        if latent is not None:
            latent.mean, latent.std = _zeros(latent.mean), _zeros(latent.std)
        return _mapped(result, _zeros)

    setattr(vae, method, wrapped)
    return lambda: delattr(vae, method)


class _NoQuestions(TorchFunctionMode):
    """Handles calls that need values: whether all are true, which rows are meant, setting rows."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.nn.functional.scaled_dot_product_attention:
            return _attention(function, *args, **kwargs)
        first = args[0] if args else None
        if isinstance(first, torch.Tensor) and first.device.type == "meta":
            masked = len(args) > 1 and isinstance(args[1], torch.Tensor) and args[1].dtype == torch.bool
            if function is torch.Tensor.__setitem__ and masked:
                return None
            if function is torch.Tensor.__getitem__ and masked:
                return first.flatten(0, args[1].ndim - 1)  # as if the mask kept everything
            if function in (torch.Tensor.__bool__, torch.Tensor.__int__, torch.Tensor.__float__, torch.Tensor.item):
                return True
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:
            if "meta" not in str(error):
                raise
            return function(*_mapped(args, _shape), **_mapped(dict(kwargs), _shape))


class _Live(TorchDispatchMode):
    """Counts the bytes of the shapes that exist at the same time, besides the networks' own."""

    def __init__(self, pipe):
        super().__init__()
        self.most = self._now = 0
        parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
        self.networks = [sum(tensor.nbytes for tensor in part.parameters()) for part in parts]
        own = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
        self._kept = [tensor.untyped_storage() for tensor in own]
        self._known = {id(storage) for storage in self._kept}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
                self._count(tensor.untyped_storage())
        return result

    def during(self, compute: Callable[[], object]) -> tuple[object, int]:
        """A result, and the most bytes that existed while it was computed, besides those from before."""
        before, most, self.most = self._now, self.most, self._now
        result, peak = compute(), self.most - before
        self.most = max(most, self.most)
        return result, peak

    def rise(self, size: int) -> None:
        """Count ``size`` bytes that exist for a moment."""
        self.most = max(self.most, self._now + size)

    def _count(self, storage) -> None:
        key, size = id(storage), storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            weakref.finalize(storage, self._forget, key, size)
            self._now += size
            self.most = max(self.most, self._now)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size


def _attention(function, query, key, value, *args, **kwargs):
    if query.device.type != "meta":
        return function(query, key, value, *args, **kwargs)
    if query.requires_grad:  # like the real function, this keeps its inputs for their gradients
        one = query.square().sum(-1, keepdim=True) + key.square().mean() + value.square().mean()
        return one.expand(*query.shape[:-1], value.shape[-1]).contiguous()
    return query.new_empty(*query.shape[:-1], value.shape[-1])  # the real function does not store a table of all pairs


def _key(tensor: torch.Tensor) -> bytes:
    return f"{tensor.dtype}{tuple(tensor.shape)}".encode()


def _shape(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to("meta")


class _Empty:
    """The shape of a tensor; the same object for the same tensor, so that repeats are recognised."""

    def __init__(self):
        self._known: dict[int, tuple[weakref.ref, int, torch.Tensor]] = {}

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type == "meta" or tensor.ndim < 2 and not tensor.is_floating_point():
            return tensor  # the code reads lengths from such tensors
        known = self._known.get(id(tensor))
        if known is None or known[0]() is not tensor or known[1] != tensor._version:
            known = weakref.ref(tensor), tensor._version, tensor.to("meta")
            self._known[id(tensor)] = known
        return known[2]


def _zeros(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.device.type == "meta" else tensor


def _mapped(value, change: Callable[[torch.Tensor], torch.Tensor], depth: int = 0):
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        for key, item in list(value.items()):
            value[key] = _mapped(item, change, depth + 1)
        return value
    if isinstance(value, (list, tuple)) and depth < 4:
        return type(value)(_mapped(item, change, depth + 1) for item in value)
    return value
