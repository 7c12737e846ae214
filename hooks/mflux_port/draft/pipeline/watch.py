"""Run a pipeline of diffusers once and keep what passes between its networks.

Networks are watched by forward hooks, tokenizers, scheduler, noise and VAE by wrapping their methods for the run.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


class StopRun(Exception):
    """Raised to end a run as soon as it has shown what is needed."""


@dataclass
class NetworkCall:
    """One call of a network by the pipeline itself.

    ``arguments`` by the names of the signature; ``output`` as returned.

    ``path`` is the module that was called: the component, or a module inside it (``text_encoder.model``).
    """

    component: str
    path: str
    step: int
    arguments: dict
    output: object = None


@dataclass
class TokenizerCall:
    """One call of a tokenizer or processor. ``method`` is ``__call__`` or ``apply_chat_template``."""

    component: str
    method: str
    given: object
    options: dict
    result: object = None


@dataclass
class Step:
    """One scheduler step: what the scheduler was given, and the latents that it returned."""

    model_output: object
    sample: object
    result: object = None


@dataclass
class Trace:
    """Everything that one run showed, in order."""

    noise: list = field(default_factory=list)
    encoders: list[NetworkCall] = field(default_factory=list)
    transformers: list[NetworkCall] = field(default_factory=list)
    tokenizers: list[TokenizerCall] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    set_timesteps: dict = field(default_factory=dict)
    sigmas: list[float] = field(default_factory=list)
    timesteps: list[float] = field(default_factory=list)
    encoded: list = field(default_factory=list)  # the pixels that the VAE encoded
    decoded: object = None  # the VAE decoder's input
    error: str = ""  # what ended the run, if it was an error


@dataclass
class Intervention:
    """The values that replace a run's own (the noise, the latents after the last step), and where the run stops.

    ``encoded(latents, pixels)`` replaces what the VAE encodes the pixels to.
    """

    noise: Callable | None = None
    final: Callable | None = None
    encoded: Callable | None = None
    stop_at_encode: bool = False
    stop_at_transformer: bool = False
    stop_at_decode: bool = False


def run(pipe, call: dict, intervention: Intervention | None = None, ends: tuple = ()) -> Trace:
    """Run ``pipe(**call)`` from the same seed each time. The pipeline's objects are restored afterwards.

    An error of a type in ``ends`` ends the run; the trace has the error and what came before.
    """
    import torch

    call["generator"].manual_seed(0)
    watch = _Watch(pipe, intervention or Intervention(), call.get("num_inference_steps"))
    try:
        with torch.no_grad(), watch.attached(), contextlib.suppress(StopRun):
            pipe(**call)
    except ends as error:
        watch.trace.error = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return watch.trace


class _Watch:
    def __init__(self, pipe, intervention: Intervention, steps: int | None):
        self.pipe, self.intervention, self.step_count = pipe, intervention, steps
        self.trace = Trace()
        self._open: dict[str, int] = {}  # calls that are running, by component
        self._undo: list[Callable[[], None]] = []

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        try:
            for name, part in self.pipe.components.items():
                if hasattr(part, "named_modules"):
                    self._hook(name, part)
                elif part is not None and (hasattr(part, "apply_chat_template") or "tokenizer" in name):
                    self._wrap_tokenizer(name, part)
            self._wrap(self.pipe.scheduler, "set_timesteps", self._around_set_timesteps)
            self._wrap(self.pipe.scheduler, "step", self._around_step)
            if hasattr(self.pipe.vae, "encode"):
                self._wrap(self.pipe.vae, "encode", self._around_encode)
            self._wrap(self.pipe.vae, "decode", self._around_decode)
            self._wrap_noise()
            yield
        finally:
            for undo in reversed(self._undo):
                undo()

    def _hook(self, component: str, part) -> None:
        if component.startswith("vae"):
            return
        for path, module in part.named_modules():
            name = f"{component}.{path}".rstrip(".")
            before = module.register_forward_pre_hook(self._entering(component, name), with_kwargs=True)
            after = module.register_forward_hook(self._leaving(component))
            self._undo += [before.remove, after.remove]

    def _entering(self, component: str, path: str):
        def hook(module, args, kwargs):
            depth = self._open.get(component, 0)
            self._open[component] = depth + 1
            if depth:
                return
            call = NetworkCall(component, path, len(self.trace.steps), _named(module.forward, args, kwargs))
            if "transformer" in component:
                self.trace.transformers.append(call)
                if self.intervention.stop_at_transformer:
                    raise StopRun
            else:
                self.trace.encoders.append(call)

        return hook

    def _leaving(self, component: str):
        def hook(module, args, output):
            self._open[component] -= 1
            if self._open[component] == 0:
                calls = self.trace.transformers if "transformer" in component else self.trace.encoders
                calls[-1].output = _kept(output)

        return hook

    def _wrap_tokenizer(self, component: str, tokenizer) -> None:
        # Python looks up special methods on the class, so the class must be wrapped.
        kind = type(tokenizer)
        for method in ("__call__", "apply_chat_template"):
            original = getattr(kind, method, None)
            if original is None:
                continue

            @functools.wraps(original)
            def around(own, *args, _method=method, _original=original, **kwargs):
                if own is not tokenizer or self._open.get(component):
                    return _original(own, *args, **kwargs)
                self._open[component] = 1
                try:
                    result = _original(own, *args, **kwargs)
                finally:
                    self._open[component] = 0
                given = args[0] if args else kwargs.get("text", kwargs.get("conversation"))
                self.trace.tokenizers.append(TokenizerCall(component, _method, given, kwargs, result))
                return result

            had = method in vars(kind)
            setattr(kind, method, around)
            self._undo.append(_restorer(kind, method, original, had))

    def _around_set_timesteps(self, original, args, kwargs):
        result = original(*args, **kwargs)
        scheduler = self.pipe.scheduler
        self.trace.set_timesteps = _named(original, args, kwargs)
        self.trace.sigmas = [float(value) for value in getattr(scheduler, "sigmas", ())]
        self.trace.timesteps = [float(value) for value in scheduler.timesteps]
        return result

    def _around_step(self, original, args, kwargs):
        named = _named(original, args, kwargs)
        step = Step(_kept(named["model_output"]), _kept(named["sample"]))
        result = original(*args, **kwargs)
        self.trace.steps.append(step)
        after = result[0] if isinstance(result, tuple) else result.prev_sample
        last = len(self.trace.steps) == len(self.trace.timesteps)
        if last and self.intervention.final:
            changed = self.intervention.final(after)
            result = (changed, *result[1:]) if isinstance(result, tuple) else type(result)(prev_sample=changed)
            after = changed
        step.result = _kept(after)
        return result

    def _around_encode(self, original, args, kwargs):
        pixels = args[0] if args else kwargs["x"]
        self.trace.encoded.append(_kept(pixels))
        if self.intervention.stop_at_encode:
            raise StopRun
        result = original(*args, **kwargs)
        return _holding(result, self.intervention.encoded, pixels) if self.intervention.encoded else result

    def _around_decode(self, original, args, kwargs):
        self.trace.decoded = _kept(args[0] if args else kwargs["z"])
        if self.intervention.stop_at_decode:
            raise StopRun
        return original(*args, **kwargs)

    def _wrap_noise(self) -> None:
        modules = {sys.modules[kind.__module__] for kind in type(self.pipe).__mro__}
        for module in (module for module in modules if hasattr(module, "randn_tensor")):
            original = module.randn_tensor

            @functools.wraps(original)
            def randn_tensor(*args, _original=original, **kwargs):
                drawn = _original(*args, **kwargs)
                if self.intervention.noise:
                    drawn = self.intervention.noise(drawn)
                self.trace.noise.append(_kept(drawn))
                return drawn

            module.randn_tensor = randn_tensor
            self._undo.append(lambda m=module, o=original: setattr(m, "randn_tensor", o))

    def _wrap(self, owner, name: str, around) -> None:
        original = getattr(owner, name)
        had = name in vars(owner)

        @functools.wraps(original)  # pipelines inspect the signature
        def wrapped(*args, **kwargs):
            return around(original, args, kwargs)

        setattr(owner, name, wrapped)
        self._undo.append(_restorer(owner, name, original, had))


def _holding(result, change: Callable, pixels):
    """An encoder's result with other latents in it."""
    if hasattr(result, "latent_dist"):
        held = result.latent_dist
        held.mean = change(held.mode(), pixels)
        held.mode, held.sample = lambda: held.mean, lambda generator=None: held.mean
        return result
    if isinstance(result, tuple):
        return (change(result[0], pixels), *result[1:])
    result.latents = change(result.latents, pixels)
    return result


def _restorer(owner, name: str, original, had: bool) -> Callable[[], None]:
    return lambda: setattr(owner, name, original) if had else delattr(owner, name)


def _named(function, args: tuple, kwargs: dict) -> dict:
    bound = inspect.signature(function).bind_partial(*args, **kwargs).arguments
    named = {name: _kept(value) for name, value in bound.items() if name not in ("kwargs", "args")}
    return named | {name: _kept(value) for name, value in bound.get("kwargs", {}).items()}


def same(one, other) -> bool:
    """Whether two kept values are equal, including all that they contain."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if hasattr(one, "dim") and hasattr(other, "dim"):
        return one.shape == other.shape and bool(one.equal(other))
    return type(one) is type(other) and not hasattr(one, "dim") and one == other


def _kept(value):
    # A pipeline may write into a tensor later; floats become float32 so that values can be compared.
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().float().cpu().clone() if value.is_floating_point() else value.detach().cpu().clone()
    if isinstance(value, dict):
        return {name: _kept(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_kept(item) for item in value]
    return value
