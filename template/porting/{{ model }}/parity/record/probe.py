"""Send numbers through a pipeline to find the order in which it packs latents, and count its transformer calls.

Every network runs at most once. After that its result is reused, so that a probe takes no longer than the code between
the networks.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import torch

from parity import latent_orders
from parity.latent_orders import Order
from parity.record.recording import is_denoiser
from parity.record.torch_taps import components, named_tensors, tensors, to_numpy

VAE = "vae"


class Reached(BaseException):
    """Ends a pipeline's call once the probe has what it needs. Not an Exception, so that no pipeline catches it."""


class Probe:
    """``call`` runs the pipeline. ``outputs`` may hold known results of the networks, by component and call."""

    def __init__(self, pipe, call: Callable[[], object], outputs: dict | None = None):
        self.pipe, self.call = pipe, call
        self.outputs = {} if outputs is None else dict(outputs)
        self.seen: dict[str, np.ndarray] = {}  # inputs of the transformers and of the scheduler
        self._send: Callable[[object], object] | None = None  # a function that is applied to a transformer's output
        self._final: np.ndarray | None = None  # latents that replace those after the last step
        self._last = 0
        self._largest = 0.0
        self._calls: Counter = Counter()
        self._step = 0
        self._latents = ""  # the argument of the call that holds the drawn noise
        self.stand_in = False  # whether the first transformer call returns zeros: only the number of calls matters
        self.rows = 0  # copies of the drawn noise that the transformer was given in the first step
        self.only: tuple[str, ...] = ()  # the transformers whose outputs are replaced; all if empty
        self.most: int | None = None  # the number of these after which nothing more is needed

    def inputs(self, noise: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs of the first step's transformer calls and of its scheduler when the pipeline draws ``noise``."""
        self.rows = 0
        self._largest = float(noise.max(initial=0.0))
        self._run(noise)
        return self.seen

    def given(self) -> dict[str, np.ndarray]:
        """The inputs of the first step's transformer calls and of its scheduler, with nothing replaced."""
        self._run(None)
        return self.seen

    def prediction(self, output: np.ndarray) -> dict[str, np.ndarray]:
        """The scheduler's input when each transformer output holds ``output``, row by row."""
        self._send = lambda result: _filled(result, output)
        self._run(None)
        self._send = None
        return {"prediction": self.seen["prediction"]}

    def decoded(self, latents: np.ndarray, steps: int) -> dict[str, np.ndarray]:
        """The input of the VAE's first convolution when the loop of ``steps`` ends with ``latents``."""
        self._final, self._last = latents, steps - 1
        self._run(None)
        self._final = None
        return {VAE: self.seen[VAE]} if VAE in self.seen else {}

    def _run(self, noise: np.ndarray | None) -> None:
        self.seen, self._step = {}, 0
        self._calls.clear()
        with contextlib.ExitStack() as stack:
            if noise is not None:
                stack.enter_context(noise_changed(self.pipe, lambda drawn: _like(noise, drawn)))
            for name, part in components(self.pipe).items():
                if name != VAE:
                    stack.enter_context(replaced(part, "forward", self._network(name, part)))
            stack.enter_context(replaced(self.pipe.scheduler, "step", self._scheduler(self.pipe.scheduler.step)))
            stack.enter_context(self._convolutions())
            with contextlib.suppress(Reached):
                self.call()

    def _network(self, name: str, part):
        original = part.forward

        def forward(*args, **kwargs):
            key = name, self._calls[name]
            self._calls[name] += 1
            if is_denoiser(name) and not self._step:
                self._look(f"{name}/{key[1]}", named_tensors(part, args, kwargs))
            if key not in self.outputs:
                result = _zeros(part, args, kwargs, self._latents) if self.stand_in and is_denoiser(name) else None
                self.outputs[key] = original(*args, **kwargs) if result is None else result
            result = self.outputs[key]
            if self._send is None or not is_denoiser(name):
                return result
            return self._send(result) if not self.only or name in self.only else _filled(result, np.zeros(1))

        return forward

    def _look(self, call: str, given: list[tuple[str, torch.Tensor]]) -> None:
        self._latents = ""
        for path, tensor in given:
            self.seen[f"{call}/{path}"] = values = to_numpy(tensor)
            copies = int(np.count_nonzero(values == self._largest)) if values.size >= self._largest else 0
            self._latents = self._latents or (path.partition(".")[0] if copies else "")
            self.rows += copies
        if self.most is not None and self.rows > self.most:
            raise Reached

    def _scheduler(self, original):
        def step(*args, **kwargs):
            named = dict(zip(("model_output", "timestep", "sample"), args, strict=False)) | kwargs
            if self._final is None:
                self.seen["prediction"], self.seen["sample"] = (
                    to_numpy(named[name]) for name in ("model_output", "sample")
                )
                raise Reached
            result = original(*args, **kwargs)
            if self._step == self._last:
                result = _filled(result, self._final)
            self._step += 1
            self._calls = Counter({name: count for name, count in self._calls.items() if not is_denoiser(name)})
            return result

        return step

    @contextlib.contextmanager
    def _convolutions(self) -> Iterator[None]:
        vae = getattr(self.pipe, VAE, None)
        kinds = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
        handles = [
            module.register_forward_pre_hook(self._convolving)
            for module in (vae.modules() if vae is not None else ())
            if isinstance(module, kinds)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _convolving(self, module, args) -> None:
        if self._final is not None and self._step > self._last:
            self.seen[VAE] = to_numpy(args[0])
            raise Reached


class _Zeros(tuple):
    """A network's result, for pipelines that take its first item and for those that take its sample."""

    @property
    def sample(self):
        return self[0]


def _zeros(part, args: tuple, kwargs: dict, name: str) -> _Zeros | None:
    """A transformer's output in most families: the shape of its input. None if its input is not the noise itself."""
    known = list(inspect.signature(type(part).forward).parameters)[1:]
    given = dict(zip(known, args, strict=False)) | kwargs
    return _Zeros((changed(given[name], torch.zeros_like),)) if name in given else None


@torch.no_grad()
def find_orders(pipe, call: Callable[[], object], outputs: dict, noise: int, steps: int) -> tuple[dict, dict]:
    """The orders of a pipeline's tensors relative to its loop, under the names that a recording uses; and facts.

    ``noise`` is the number of elements that it draws, ``outputs`` its networks' results in the first step.
    """
    probe = Probe(pipe, call, outputs)
    found = latent_orders.trace(probe.inputs, noise, latent_orders.inputs_found)
    loop = found.get("sample")
    if loop is None or np.count_nonzero(loop.inverse(noise) == latent_orders.NOTHING):
        return {}, {}  # the loop does not hold all of the noise, so the rest is unknown
    inputs, facts = _input_orders(found, loop.inverse(noise), noise)
    shapes = {component: _row(outputs[component, 0], len(rows)) for component, rows in inputs.items()}
    sent = _output_orders(probe, shapes, noise)
    vae = latent_orders.trace(lambda x: probe.decoded(x, steps), noise).get(VAE)
    named = {
        "layout/noise/out/0": loop.ids,
        **{f"layout/{component}/in/0": rows[0].ids for component, rows in inputs.items()},
        **{f"layout/{component}/out/0": order.ids for component, order in sent.items()},
        **({"layout/vae/in/0": vae.ids} if vae is not None else {}),
    }
    sign = sum(order.factor for order in sent.values())  # the factor of the unconditional one may be negative
    return named, {"denoisers": facts, "sign": 1.0 if sign >= 0 else -1.0}


def _input_orders(
    found: dict[str, Order], links: np.ndarray, size: int
) -> tuple[dict[str, list[Order]], dict[str, dict]]:
    """For each transformer, the order of its latents in its first call, row by row, and the argument that holds them."""
    rows: dict[str, list[Order]] = {}
    facts: dict[str, dict] = {}
    for place, order in found.items():
        component, _, rest = place.partition("/")
        number, _, path = rest.partition("/")
        if is_denoiser(component) and component not in facts and number == "0":
            rows[component] = latent_orders.rows_of(order.after(links), size)
            argument, _, item = path.partition(".")
            facts[component] = {"latents": argument, "listed": bool(item)}
    return rows, facts


def _output_orders(probe: Probe, shapes: dict[str, tuple[int, ...]], size: int) -> dict[str, Order]:
    """For each transformer, the element of the loop that each number of one row of its output becomes.

    ``shapes`` are those of one row. Transformers with outputs of one shape get the same numbers; with several
    shapes, one after another while the others return zeros.
    """
    alike = len(set(shapes.values())) == 1
    found: dict[str, Order] = {}
    for names in [tuple(shapes)] if alike else [(name,) for name in shapes]:
        probe.only = () if alike else names
        shape = shapes[names[0]]
        count = int(np.prod(shape, dtype=np.int64))
        order = latent_orders.trace(probe.prediction, count).get("prediction")
        if order is None or order.ids.size != size:
            continue
        # The prediction shows from which output element each of its elements comes; the inverse is needed.
        found |= {name: Order(order.inverse(count).reshape(shape), order.factor) for name in names}
    probe.only = ()
    return found


def _row(result, rows: int) -> tuple[int, ...]:
    """The shape of one row of a network's result: a batch is one tensor, or a list with a tensor for each row."""
    first, *others = tensors(result)
    return (1, *first.shape[1:]) if rows > 1 and not others else tuple(first.shape)


def _filled(result, values: np.ndarray):
    """A network's result with other numbers in every row."""

    def fill(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point() or tensor.numel() % values.size:
            return tensor
        copies = tensor.numel() // values.size
        return torch.from_numpy(np.tile(values, copies)).reshape(tensor.shape).to(tensor)

    return changed(result, fill)


def changed(value, change: Callable[[torch.Tensor], torch.Tensor], depth: int = 0):
    """Lists, dicts and model outputs with each tensor changed; the original is unchanged."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        items = {key: changed(item, change, depth + 1) for key, item in value.items()}
        return type(value)(**items) if all(isinstance(key, str) for key in items) else items
    if isinstance(value, (list, tuple)) and depth < 4:
        items = [changed(item, change, depth + 1) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _like(values: np.ndarray, drawn: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(values).reshape(drawn.shape).to(drawn) if values.size == drawn.numel() else drawn


@contextlib.contextmanager
def noise_changed(pipe, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Inside this context, the pipeline's first random tensor becomes ``change(drawn)``."""
    owners = [(sys.modules[kind.__module__], "randn_tensor") for kind in type(pipe).__mro__]
    owners = [(owner, name) for owner, name in dict.fromkeys(owners) if hasattr(owner, name)] or [(torch, "randn")]
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:
        for owner, name in owners:
            original = getattr(owner, name)

            def draw(*args, _original=original, **kwargs):
                drawn = _original(*args, **kwargs)
                return drawn if next(numbers) else change(drawn)

            stack.enter_context(replaced(owner, name, draw))
        yield


@contextlib.contextmanager
def replaced(owner, name: str, value) -> Iterator[None]:
    had, before = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if had:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
