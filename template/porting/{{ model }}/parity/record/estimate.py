"""Estimate a recording's disk and memory: the reference's own pipeline runs with networks that have only shapes.

The networks are built without memory (PyTorch's meta device) and called by the pipeline with inputs of the real sizes.
The hooks of a real recording run too and only count, so nothing here depends on how a model is built.
"""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Callable
from dataclasses import replace

import diffusers
import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from parity import needs
from parity.progress import process_peak
from parity.record import claim_needs, components
from parity.record.guidance import OFF
from parity.record.recording import is_denoiser, stride_for

ENOUGH = 3  # steps: the first, one in the middle, the last
_SECOND = re.compile(r"[^/]*(?:/scheduler)?\.1[./]")  # a name of the second step
TRAINING = "training"
CLAIMS = {
    "lora": "LoRA files and what they change", TRAINING: "a training step", "image": "image-to-image",
    "edit": "the stages of editing",
}  # fmt: skip


class Counter:
    """Replaces a Recorder and keeps only sizes. ``bytes`` is what the Recorder would have written."""

    def __init__(self, cap: int | None, half: bool, room: int):
        self.cap, self.half = cap, half
        self.bytes, self.tensors = room, 0
        self.sizes: dict[str, int] = {}  # the numbers of each tensor
        self.middle = [0, 0]  # bytes and tensors of the second step, one like all between the first and the last
        self.weights = 0  # bytes of the networks that are in memory together
        self.activations = 0  # the peak of the networks' intermediate results, in bytes
        self._image: tuple[int, ...] = ()

    def __contains__(self, name: str) -> bool:
        return name in self.sizes

    def add(self, name: str, values: np.ndarray, whole: bool = False) -> None:
        kept = -(-values.size // (1 if whole else stride_for(values.size, self.cap)))
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
        if _SECOND.match(name) and (is_denoiser(name) or name.startswith("loop/")):
            self.middle = [self.middle[0] + size, self.middle[1] + 1]

    def add_steps(self, count: int) -> None:
        """Count ``count`` more steps like the second."""
        self.bytes, self.tensors = self.bytes + count * self.middle[0], self.tensors + count * self.middle[1]

    def read(self, name: str) -> np.ndarray:
        """An empty image of the decoded image's size, for the encoder."""
        return np.zeros(self._image, np.float32)


def sentence(run, seconds: str = "", claim: str = "") -> str:
    """One line for the user: how much, and for what, or that no estimate is possible."""
    loaded, have = needs.weights(run.model, run.dtype), memory_of(run.device)
    what = {"stages": "the stages", "blocks": "the blocks", "modules": "all modules"}[run.level]
    what = f"everything inside {run.only}" if run.only else CLAIMS.get(claim, what)
    try:
        counter = count(run, claim)
    except Exception as error:  # noqa: BLE001 - a pipeline that cannot run without values is still recorded
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        memory = needs.of_memory(loaded, 0, have)
        return f"estimate: not possible for this pipeline ({type(error).__name__}: {reason}); at least {memory}"
    size = f"{run.width}x{run.height}, {run.steps} steps"
    disk = f"{counter.bytes / 1e6:.1f} MB for {what} at {size} ({counter.tensors} tensors)"
    # On the CPU the whole process counts, including PyTorch and the file that it is reading.
    base = process_peak() + needs.largest_file(run.model) if run.device == "cpu" else 0
    memory = needs.of_memory(loaded or counter.weights, base + counter.activations, have)
    return "; ".join(filter(None, (f"estimate: {disk}", memory, seconds)))


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
    if len(values) > 1:
        tried = {value: _count(pipe, replace(run, guidance=value, steps=1)).bytes for value in values}
        run = replace(run, guidance=min(tried, key=tried.get))
    counter = _count(pipe, replace(run, steps=min(run.steps, ENOUGH)))
    counter.add_steps(max(0, run.steps - ENOUGH))
    with torch.no_grad(), _NoQuestions():
        need = claim_needs.of_claim(claim, pipe, counter.sizes)
    if claim == TRAINING:
        claim_needs.train(pipe)
        run = replace(run, steps=claim_needs.steps_of_training(run.steps))
        counter.activations = max(counter.activations, _count(pipe, run).activations)
    counter.bytes += need.disk
    counter.activations += need.memory
    return counter


def _count(pipe, run) -> Counter:
    from parity.record import reference

    counter = Counter(run.cap, run.dtype == "bfloat16", run.room)
    undo, live = _bridge(pipe), _Live(pipe)
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


def _bridge(pipe) -> list[Callable[[], None]]:
    """Inside this context, each network takes the pipeline's tensors as shapes and returns zeros."""
    empty = _Empty()
    undo = []
    for name, part in pipe.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        after = part.register_forward_hook(lambda module, args, result: _mapped(result, _zeros))
        before = part.register_forward_pre_hook(_entering(empty, "text" in name, after.id), with_kwargs=True)
        undo += [before.remove, after.remove]
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
