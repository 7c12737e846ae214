"""The order in which the port packs its latents: numbers are sent through it, as through the reference."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from parity import latent_orders
from parity.compare.calls import FEW, ReferenceCalls, is_prompt, pair, row_of
from parity.latent_orders import NOTHING, Order
from parity.memo import Memo
from parity.record.recording import Recording, is_denoiser
from parity.run import device, encode, stand_ins
from parity.run.mlx_port import Port
from parity.run.mlx_taps import MlxTaps, Sink, arrays, to_numpy
from parity.run.patches import Patches
from parity.run.run_trace import Done, call_arguments, legacy_decoding, rebuild, scheduler_classes

NOISE = "noise/pipeline/out/0"
VAE = "vae"
_evaluate = mx.eval  # a probe replaces it: nothing of a transformer is computed


@dataclass
class PortOrders:
    """How the port's numbers correspond to the reference's.

    ``noise`` maps what the port draws to what the reference draws; ``loop`` is the order of the port's latents in the
    reference's; ``inputs`` has, for each transformer, the place of the latents among its arrays and the order of one
    row, ``outputs`` the order of one row of its result; ``branches`` the place of the reference's prediction, or None,
    by transformer, call and row. ``conditions`` has, for each transformer, its arrays with encoded images in them, and
    which latent of the VAE each number is; ``first`` all arrays of its first call. ``notes`` say what could not be
    found. ``other`` is the reference's own order where the port's rows have its shape: an unpacking that is wrong looks
    like another order. ``by_noise``: what both sides draw decided the order; if the other one is right, the port packs
    its noise in a wrong order.
    """

    noise: np.ndarray | None = None
    loop: Order | None = None
    inputs: dict[str, tuple[int, Order]] = field(default_factory=dict)
    outputs: dict[str, Order] = field(default_factory=dict)
    sign: float = 1.0
    branches: dict[tuple[str, int, int], int | None] = field(default_factory=dict)
    conditions: dict[str, dict[int, Order]] = field(default_factory=dict)
    first: dict[str, list[np.ndarray]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    other: PortOrders | None = None
    by_noise: bool = False


def find_orders(port: Port, recording: Recording, calls: ReferenceCalls, memo: Memo) -> PortOrders:
    """Send numbers through the port. Never raises for an error of the port: what cannot be found stays unknown."""
    result = PortOrders()
    if NOISE not in recording or not calls.size:
        result.notes.append("the reference's noise was not recorded")
        return result
    size = int(np.prod(recording.event(NOISE).shape))
    probe, found = _first_that_arrives(port, recording, calls, memo, size)
    if "sample" not in found:
        reason = f": {probe.failure}" if probe.failure else ""
        result.notes.append(f"the noise that the port draws does not arrive at its scheduler{reason}")
        return result
    _add_conditions(result, probe, calls)
    given = {place: order for place, order in found.items() if is_denoiser(place)}
    result.branches = _paired(probe, given, calls, size)
    loop = _link(probe, found["sample"], recording, calls, size, result)
    if loop is None:
        return result
    theirs = Order(recording.get("layout/noise/out/0"))
    same = np.arange(size).reshape(theirs.ids.shape)
    if loop.ids.shape == same.shape and not np.array_equal(loop.ids, same):
        result.other = PortOrders(branches=result.branches, conditions=result.conditions, by_noise=result.by_noise)
        _complete(result.other, Order(same, loop.factor), found["sample"], given, probe, calls, theirs)
    _complete(result, loop, found["sample"], given, probe, calls, theirs)
    return result


def _add_conditions(result: PortOrders, probe: PortProbe, calls: ReferenceCalls) -> None:
    """Where the port's transformers receive the latents of the input images."""
    if not calls.condition_size:
        return
    result.first = {component: values for (component, call), values in probe.given.items() if not call}
    for place, order in latent_orders.trace(probe.encoded, calls.condition_size).items():
        component, call, number = place.split("/")
        if is_denoiser(component) and call == "0":
            result.conditions.setdefault(component, {})[int(number)] = order


def _complete(
    result: PortOrders, loop: Order, sample: Order, given: dict, probe: PortProbe, calls: ReferenceCalls, theirs: Order
) -> None:
    """Everything that follows from the order of the loop."""
    size = probe.size
    result.loop, result.noise = loop, _links_of_drawn(sample, loop, theirs, size)
    links = _links_of_noise(sample, loop, size)
    for place, order in given.items():
        component, _, number = place.split("/")
        result.inputs.setdefault(component, (int(number), latent_orders.rows_of(order.after(links), size)[0]))
    _add_outputs(result, probe, calls)


def _first_that_arrives(port: Port, recording, calls, memo: Memo, size: int) -> tuple[PortProbe, dict[str, Order]]:
    # The template's own methods have stand-ins. A released port has none of them: it runs as it is.
    text = {"text_encoder"} if stand_ins.can_encode(port.model) else set()
    for skip in (text, set(), {"text_encoder", "transformer"}):
        probe = PortProbe(port, recording, calls, memo, size, skip)
        found = latent_orders.trace(probe.inputs, size, latent_orders.inputs_found)
        if "sample" in found:
            break
    return probe, found


def _link(
    probe: PortProbe, sample: Order, recording: Recording, calls: ReferenceCalls, size: int, result
) -> Order | None:
    """The order of the port's loop in the reference's, by what both draw or, if that does not decide, by their VAEs."""
    drawn, shape = recording.event(NOISE).shape, probe.drawn
    theirs = Order(recording.get("layout/noise/out/0")) if "layout/noise/out/0" in recording else None
    if theirs is None:
        result.notes.append("the order of the reference's latents is not known; run run_reference.py again")
        return None
    by_noise = [sample.after(links).after(theirs.inverse(size)) for links in latent_orders.axis_links(drawn, shape)]
    unsure = not by_noise or any(_moves_channels(links, drawn) for links in latent_orders.axis_links(drawn, shape)[1:])
    result.by_noise = not unsure
    by_vae = _by_vae(probe, sample, recording, size) if unsure else None
    if by_vae is not None:
        same = [order for order in by_noise if np.array_equal(order.ids, by_vae.ids)]
        chosen = same[0] if same else by_noise[0] if by_noise else by_vae
    elif by_noise:
        chosen = by_noise[0]
        if unsure:
            result.notes.append(f"the noise {list(shape)} has axes of equal length; choose a --size without equal ones")
    else:
        result.notes.append(
            f"the port draws its noise as {list(shape)}, the reference as {list(drawn)}, and the port's VAE does not tell "
            "which number is which; port its decoder first, or draw the noise in the reference's shape"
            + (f" ({probe.failure})" if probe.failure else "")
        )
        return None
    return chosen


def _moves_channels(links: np.ndarray, drawn: tuple[int, ...]) -> bool:
    # Height and width of a square are never swapped in the noise; channels first or last is a convention.
    shape = [length for length in drawn if length != 1]
    inner = int(np.prod(shape[1:], dtype=np.int64))
    return not np.array_equal(links // inner, np.arange(len(links)) // inner)


def _by_vae(probe: PortProbe, sample: Order, recording: Recording, size: int) -> Order | None:
    if "layout/vae/in/0" not in recording:
        return None
    own = latent_orders.trace(probe.decoded, size).get(VAE)
    links = own and latent_orders.vae_links(Order(recording.get("layout/vae/in/0")), own, size)
    if links is None:
        return None
    return Order(links.reshape(sample.ids.shape), sample.factor)


def _links_of_noise(sample: Order, loop: Order, size: int) -> np.ndarray:
    """Map what the port draws to the reference's loop: the port's own loop has both."""
    links = np.full(size, NOTHING, np.int64)
    known = sample.ids != NOTHING
    links[sample.ids[known]] = loop.ids[known]
    return links


def _links_of_drawn(sample: Order, loop: Order, theirs: Order, size: int) -> np.ndarray:
    """Map what the port draws to what the reference draws."""
    return np.append(theirs.ids.reshape(-1), NOTHING)[_links_of_noise(sample, loop, size)]


def _paired(probe: PortProbe, given: dict[str, Order], calls: ReferenceCalls, size: int) -> dict:
    """The place of the reference's prediction for each row of each call of the port's first step."""
    rows: list[tuple[str, int, int]] = []
    own: list[tuple[str, list[np.ndarray]]] = []
    for (component, call), values in probe.given.items():
        latents = next((n for n in range(len(values)) if f"{component}/{call}/{n}" in given), None)
        count = len(latent_orders.rows_of(given[f"{component}/{call}/{latents}"], size)) if latents is not None else 1
        if count == 1 and latents is not None:  # alternatively, the transformer itself repeats its latents per prompt
            count = _rows_made(values[latents], probe.outputs.get((component, call)))
        prompts = [array for n, array in enumerate(values) if n != latents and is_prompt(array)]
        for row in range(count):
            rows.append((component, call, row))
            own.append((component, [row_of(array, row, count) for array in prompts]))
    return dict(zip(rows, pair(calls.branches(0), own), strict=True))


def _rows_made(latents: np.ndarray, output) -> int:
    """How many predictions a transformer makes from one row of latents."""
    made = [array for array in arrays(output) if mx.issubdtype(array.dtype, mx.floating)]
    one = len(made) == 1 and latents.ndim and len(latents) == 1
    return len(made[0]) if one and made[0].size == len(made[0]) * latents.size else 1


def _add_outputs(result: PortOrders, probe: PortProbe, calls: ReferenceCalls) -> None:
    shapes = {}
    for (component, call), output in probe.outputs.items():
        values = [array for array in arrays(output) if mx.issubdtype(array.dtype, mx.floating)]
        if call or not values or component not in result.inputs:
            continue
        count = sum(1 for name, n, _ in result.branches if name == component and n == 0)
        shapes[component] = (1, *values[0].shape[1:]) if count > 1 and len(values) == 1 else tuple(values[0].shape)
    if not shapes or probe.stubbed:
        return
    sent = _sent_back(probe, shapes, result, calls)
    # Map to the port's loop first, then to the reference's.
    result.outputs = {name: own.after(result.loop.ids.reshape(-1)) for name, own in sent.items()}
    result.sign = 1.0 if sum(own.factor for own in sent.values()) >= 0 else -1.0


def _sent_back(
    probe: PortProbe, shapes: dict[str, tuple], result: PortOrders, calls: ReferenceCalls
) -> dict[str, Order]:
    """The order of one row of each transformer's result in the port's loop. Those of one shape are sent together."""
    alike = len(set(shapes.values())) == 1
    found: dict[str, Order] = {}
    for names in [tuple(shapes)] if alike else [(name,) for name in shapes]:
        shape = shapes[names[0]]
        count = int(np.prod(shape, dtype=np.int64))
        probe.only = None if alike else {key for key in result.branches if key[0] in names}
        order = latent_orders.trace(probe.prediction, count).get("prediction")
        if order is None:  # a formula in which two equal predictions cancel out: that of the prompt alone
            probe.only = {key for key, place in result.branches.items() if place == calls.conditional()}
            order = latent_orders.trace(probe.prediction, count).get("prediction")
        probe.only = None
        if order is not None and order.ids.size == result.loop.ids.size:
            found |= {name: Order(order.inverse(count).reshape(shape), order.factor) for name in names}
    return found


class PortProbe(Sink):
    """Runs the port as far as needed. Each call of a transformer runs once and is repeated after that."""

    def __init__(self, port: Port, recording: Recording, calls: ReferenceCalls, memo: Memo, size: int, skip: set[str]):
        self.model, self.residents, self.unwritten = port.model, port.residents, set(port.unwritten)
        self.recording, self.calls, self.memo, self.size, self.skip = recording, calls, memo, size, skip
        self.drawn: tuple[int, ...] = ()
        self.given: dict[tuple[str, int], list[np.ndarray]] = {}
        self.outputs: dict[tuple[str, int], object] = {}
        self.failure = ""
        self.only: set[tuple[str, int, int]] | None = None  # the calls, and their rows, that carry the numbers
        self.seen: dict[str, np.ndarray] = {}
        self._noise: np.ndarray | None = None
        self._sent: np.ndarray | None = None
        self._encoded: np.ndarray | None = None
        self._final: np.ndarray | None = None
        self._calls: Counter = Counter()
        self._step = 0

    @property
    def stubbed(self) -> bool:
        """Whether the transformer is not called at all."""
        return "transformer" in self.skip

    def inputs(self, noise: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs of the first step's transformer calls and scheduler when the port draws ``noise``."""
        self._noise = noise
        self._run()
        self._noise = None
        return self.seen

    def encoded(self, latents: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs of the first step's transformer calls when the VAE encodes the input images as ``latents``."""
        self._encoded = latents
        self._run()
        self._encoded = None
        return {name: values for name, values in self.seen.items() if is_denoiser(name)}

    def prediction(self, output: np.ndarray) -> dict[str, np.ndarray]:
        """The scheduler's input when each row of the transformer's results holds ``output``."""
        self._sent = output
        self._run()
        self._sent = None
        return {name: values for name, values in self.seen.items() if name == "prediction"}

    def decoded(self, latents: np.ndarray) -> dict[str, np.ndarray]:
        """The input of the VAE's first convolution when the loop ends with ``latents``."""
        self._final = latents
        self._run()
        self._final = None
        return {name: values for name, values in self.seen.items() if name == VAE}

    def _run(self) -> None:
        self.seen, self._step, self.failure = {}, 0, ""
        self._calls.clear()
        patches = Patches()
        try:
            self._replace_calls(patches)
            self._leave_out(patches)
            with legacy_decoding(self.model), MlxTaps(self.model, self).attached():
                self.model.generate_image(**call_arguments(self.model, self.recording.facts))
        except Done:
            pass
        except Exception as error:  # noqa: BLE001 - an unfinished port may raise anything; the judge says so later
            device.stop_if_lacking(error)
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            patches.undo()

    def _replace_calls(self, patches: Patches) -> None:
        """Feed the probe's numbers to the run, and record what it computes from them."""
        patches.set(mx.random, "normal", self._drawing(mx.random.normal))
        for kind in scheduler_classes():
            if "step" in vars(kind):
                patches.set(kind, "step", self._stepping(kind.step))
        for name in ("conv1d", "conv2d", "conv3d", "conv_general"):
            patches.set(mx, name, self._convolving(getattr(mx, name)))

    def _leave_out(self, patches: Patches) -> None:
        """Leave out what no probe needs: the image, and the networks in front of the transformer."""
        from mflux.utils.image_util import ImageUtil

        patches.set(ImageUtil, "to_image", staticmethod(_stop))
        patches.set(mx, "eval", lambda *arrays: None)
        if self.calls.encoded:
            latents = np.zeros(self.calls.condition_size, np.float32) if self._encoded is None else self._encoded
            encode.replace(patches, self.model, encode.Numbered(self.calls, latents))
        if "text_encoder" in self.skip:
            stand_ins.encode_prompts(patches, self.model, self.calls, mx.float32)
        if self.stubbed:
            stand_ins.predict(patches, self.model, lambda args, kwargs: None)

    def _drawing(self, original):
        def normal(shape=(), *args, **kwargs):
            drawn = original(shape, *args, **kwargs)
            if drawn.size != self.size or self._noise is None:
                return drawn
            self.drawn = tuple(drawn.shape)
            return mx.array(self._noise.reshape(drawn.shape)).astype(drawn.dtype)

        return normal

    def _stepping(self, original):
        def step(scheduler, *args, **kwargs):
            named = dict(zip(("noise", "timestep", "latents"), args, strict=False)) | kwargs
            if self._final is None:
                name, argument = ("sample", "latents") if self._sent is None else ("prediction", "noise")
                self.seen[name] = to_numpy(named[argument])
                raise Done
            result = original(scheduler, *args, **kwargs)
            self._step += 1
            self._calls.clear()
            if self._step < self.recording.facts["steps"]:
                return result
            return mx.array(self._final.reshape(result.shape)).astype(result.dtype)

        return step

    def _convolving(self, original):
        def convolve(values, *args, **kwargs):
            self._convolved(values)
            return original(values, *args, **kwargs)

        return convolve

    def _convolved(self, values: mx.array) -> None:
        if self._final is not None and self._step >= self.recording.facts["steps"]:
            self.seen[VAE] = to_numpy(values)
            raise Done

    def enter(self, path, module, args, kwargs):
        if not is_denoiser(path):
            known = self.memo.get(path, args, kwargs) if "." not in path else None
            if known is None:
                self.residents.enter(path.split(".")[0])
            return args, kwargs, known
        if "." in path:
            return args, kwargs, None
        key = path, self._calls[path]
        self._calls[path] += 1
        if not self._step:
            values = [to_numpy(array) for array in arrays((args, kwargs))]
            self.given[key] = values
            self.seen |= {f"{path}/{key[1]}/{n}": array for n, array in enumerate(values) if array.size > FEW}
        if key not in self.outputs and path in self.unwritten:
            self.outputs[key] = _zeros(max(arrays((args, kwargs)), key=lambda array: array.size == self.size))
        return args, kwargs, self._repeated(key)

    def leave(self, path, module, args, kwargs, result, call):
        if "." in path:
            return result
        if not is_denoiser(path):
            _evaluate(list(arrays(result)))  # otherwise it would keep the network's weights
            self.memo.put(path, args, kwargs, result)
            return result
        key = path, self._calls[path] - 1
        self.outputs[key] = _zeros(result)
        return self._repeated(key)

    def _repeated(self, key: tuple[str, int]):
        result = self.outputs.get(key)
        if result is None or self._sent is None:
            return result
        return rebuild(result, iter([self._filled(array, key) for array in arrays(result)]))

    def _filled(self, array: mx.array, key: tuple[str, int]) -> mx.array:
        if array.size % self._sent.size or not mx.issubdtype(array.dtype, mx.floating):
            return array
        rows = array.size // self._sent.size
        wanted = [self.only is None or (*key, row) in self.only for row in range(rows)]
        filled = np.concatenate([self._sent * np.float32(one) for one in wanted])
        return mx.array(filled.reshape(array.shape)).astype(array.dtype)


def _zeros(result):
    # MLX computes only what is used: a result of zeros skips the whole network.
    return rebuild(result, iter([mx.zeros(array.shape, array.dtype) for array in arrays(result)]))


def _stop(*args, **kwargs):
    raise Done
