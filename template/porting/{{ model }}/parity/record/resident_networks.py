"""Keep one large network of the reference in memory at a time: 10 billion numbers take 40 GB in float32.

A network that is not used has parameters without memory (PyTorch's meta device). It is loaded again when it is called,
by its library's own loader, so no result changes.
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from parity.memo import Memo
from parity.needs import SPARE
from parity.progress import LOADED, process_peak
from parity.record import components, reading
from parity.record.fingerprints import fingerprint
from parity.record.probe import changed
from parity.record.recording import is_denoiser
from parity.record.torch_taps import to_numpy

STAYS = "vae"  # pipelines compute with its latent statistics without calling it


class Parts:
    """All networks of a checkpoint. ``weights`` has the fingerprints of their parameters and buffers.

    ``dtype`` is their type when they run. ``keep`` leaves all of them in memory. ``said`` is called with the progress.
    """

    def __init__(
        self,
        folder: Path,
        dtype: torch.dtype,
        device: str,
        keep: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ):
        self.folder, self.device, self.keep, self.say = folder, device, keep, say
        self.networks: dict[str, torch.nn.Module] = {}
        self.weights: dict[str, dict] = {}
        self.memory = Memo(torch.Tensor, _numbers)  # for encoders, which a run does not change
        self.remember = True
        self.rounds = False  # whether bfloat16 does not hold all numbers of the transformers
        self._dtypes, self._kinds = [dtype], network_classes(folder)
        self._read: list[str] = []  # the networks that are in memory
        self._bytes: dict[str, int] = {}
        # The encoder is called first. It stays in memory; the others are loaded again when they are called.
        for name in sorted(self._kinds, key=lambda name: "text" in name):
            self._add(name)
        self.limit = SPARE * max(self._bytes.values(), default=0)

    def enter(self, name: str) -> None:
        """Load a network, after freeing others if both are too large."""
        if name in self._read:
            return
        for other in [other for other in self._read if other != STAYS]:
            if sum(self._bytes[one] for one in (*self._read, name)) > self.limit and not self.keep:
                self.free(other)
        self.say(f"{name}{LOADED}")
        restore(self.networks[name], self._load(name))
        self._move(name)

    def free(self, name: str) -> None:
        """Free a network's parameters."""
        self.networks[name].to("meta")
        self._read = [other for other in self._read if other != name]
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        elif self.device == "mps":
            torch.mps.empty_cache()

    def change(self, dtype: torch.dtype) -> None:
        """Run in another dtype from now on: the values are rounded to it, and stay rounded in a longer one."""
        self._dtypes.append(dtype)
        self.memory.clear()
        for name, part in self.networks.items():
            part.to(dtype)
            self._bytes[name] = size(part)

    def _add(self, name: str) -> None:
        self.say(f"{name}{LOADED}")
        part = self._load(name)
        self.weights |= weights(name, part)
        self.rounds = self.rounds or is_denoiser(name) and not all(map(_is_short, part.parameters()))
        self._bytes[name] = size(part)
        part.__class__ = _on(type(part), self.device)
        self.networks[name] = part
        self._watch(name, part)
        if self.keep or name == STAYS or len(self.networks) == len(self._kinds):
            self._move(name)
        else:
            part.to("meta")

    def _load(self, name: str) -> torch.nn.Module:
        kind = self._kinds[name]
        stored, *changes = self._dtypes
        with _in_float32(kind) if stored == torch.float32 else contextlib.nullcontext():
            part = kind.from_pretrained(str(self.folder / name), torch_dtype=stored).eval()
        for dtype in changes:
            part.to(dtype)
        return part

    def _move(self, name: str) -> None:
        torch.nn.Module.to(self.networks[name], self.device)
        self._read.append(name)

    def _watch(self, name: str, part: torch.nn.Module) -> None:
        for path, module in part.named_modules():
            if path and (module._parameters or module._buffers):  # pipelines may call a part of a network
                module.register_forward_pre_hook(lambda *_: self.enter(name))
        part.forward = self._entering(name, part.forward)

    def _entering(self, name: str, forward):
        @functools.wraps(forward)
        def entering(*args, **kwargs):
            # This is not a hook on the whole network, because a probe that knows the result calls hooks but not
            # forward.
            remember = self.remember and not is_denoiser(name) and name != STAYS
            known = self.memory.get(name, args, kwargs) if remember else None
            if known is None:
                self.enter(name)
                known = forward(*args, **kwargs)
                if not remember:
                    return known
                self.memory.put(name, args, kwargs, known)
            return changed(known, torch.clone)

        return entering


def network_classes(folder: Path) -> dict[str, type]:
    """The classes of a checkpoint's networks, by component."""
    parts = components.read_index(folder)[1]
    kinds = {
        name: components.component_class(library, kind, folder / name)
        for name, (library, kind) in parts.items()
        if components.is_network(folder, name)
    }
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, torch.nn.Module)}


def weights(name: str, part: torch.nn.Module) -> dict[str, dict]:
    """Fingerprints of a network's parameters and buffers, by ``component.path``, as JSON."""
    named = [*part.named_parameters(), *part.named_buffers()]
    return {
        f"{name}.{path}": fingerprint(to_numpy(tensor)).as_json()
        for path, tensor in named
        if tensor.is_floating_point()
    }


def restore(part: torch.nn.Module, loaded: torch.nn.Module) -> None:
    """Give a network the parameters and buffers of an identical one. Shared ones stay shared."""
    for own, other in zip(part.modules(), loaded.modules(), strict=True):
        own._parameters.update(other._parameters)
        own._buffers.update(other._buffers)


def size(part: torch.nn.Module) -> int:
    """Bytes of a network's parameters."""
    return sum(parameter.numel() * parameter.element_size() for parameter in part.parameters())


@contextlib.contextmanager
def _in_float32(kind: type) -> Iterator[None]:
    """What loading a whole network in float32 needs: little memory, and not accelerate, which keeps some layers in it."""
    kept = getattr(kind, "_keep_in_fp32_modules", None)
    if kept:
        kind._keep_in_fp32_modules = None
    try:
        with reading.by_tensor():
            yield
    finally:
        if kept:
            kind._keep_in_fp32_modules = kept


def _on(kind: type, device: str) -> type:
    """A class that reports where its networks run, whether or not they are loaded now."""
    place = property(lambda part: torch.device(device))
    return type(kind.__name__, (kind,), {"device": place, "__module__": kind.__module__})


def _is_short(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or torch.equal(tensor, tensor.to(torch.bfloat16).to(tensor.dtype))


def _numbers(tensor: torch.Tensor) -> bytes:
    return f"{tensor.dtype}{tuple(tensor.shape)}".encode() + to_numpy(tensor).tobytes()


def peak(device: str) -> int:
    """The peak memory of PyTorch on a device, in bytes; on the CPU that of the whole process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_reserved(device)
    if device == "mps":
        return torch.mps.driver_allocated_memory()  # the current value: this device records no peak
    return process_peak()
