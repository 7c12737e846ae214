"""The places where one stage hands over to the next, in any mflux port: noise, transformer, scheduler, image.

A run is driven through the port's own ``generate_image``. At each seam the reference's values can take the place of the
port's, so that a stage is judged by itself whatever the stages before it do.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator

import mlx.core as mx
import numpy as np

from parity.compare.alignment import Alignment, align, layouts
from parity.metrics import Distance, distance
from parity.record.recording import Recording
from parity.run.mlx_taps import MlxTaps, Sink, arrays, to_numpy
from parity.run.prompts import without_padding
from parity.run.run_trace import Comparison, Done, RunTrace, call_arguments, rebuild, scheduler_classes

FORCED, LOOP, FREE = "forced", "loop", "free"
NOISE = "noise/pipeline/out/0"
FIRST_LATENTS = "loop/scheduler.0/in/1"
ROUNDING = 1e-5
IMAGE = "vae_decode/vae/out/0"
LATENTS = "latents"  # what the loop hands to the transformer and the scheduler


class ForcedRun:
    """One run of the port. ``force`` is FORCED (every stage gets the reference's input), LOOP (only noise and prompt
    embeddings are the reference's) or FREE (only the noise is). ``steps``: the steps whose transformer runs."""

    def __init__(
        self, model, recording: Recording, force: str, steps: set[int] | None = None, sink: Sink | None = None
    ):
        self.model, self.recording, self.force, self.steps = model, recording, force, steps
        self.sink = sink or Sink()
        self.decode = True  # whether the run shall go on after the last step
        self.step, self.call = 0, 0
        self.crossing = RunTrace()
        self.stage = "text_encoder"
        self.within = ""  # vae_decode or vae_encode, for as long as it runs
        self._undo: list[Callable[[], None]] = []

    def run(self, skip: set[str] = frozenset()) -> RunTrace:
        """Drive one image. Stages in ``skip`` get stand-ins that give the reference's result, where the port allows."""
        facts = self.recording.facts
        cache = getattr(self.model, "prompt_cache", None)
        if isinstance(cache, dict):
            cache.clear()  # or the encoder would not run again
        with self._attached(skip):
            try:
                self.model.generate_image(**call_arguments(self.model, facts))
            except Done:
                pass
            except Exception as error:  # noqa: BLE001 - a port in the making may raise anything; it is reported
                self.crossing.failure = self.stage, error
                self.crossing.failures = [self.crossing.failure]
        return self.crossing

    @contextlib.contextmanager
    def _attached(self, skip: set[str]) -> Iterator[None]:
        try:
            self._wrap_noise()
            self._wrap_schedulers()
            self._wrap_image()
            self._stand_in(skip)
            with MlxTaps(self.model, _Gate(self)).attached():
                yield
        finally:
            for undo in reversed(self._undo):
                undo()
            self._undo.clear()

    def stage_of(self, component: str) -> str:
        """The reference's name for the stage that a component runs in now."""
        if component == "vae":
            return "vae_encode" if self.within == "vae_encode" else "vae_decode"
        return f"{component}.{self.step}" if component == "transformer" else component

    # ------------------------------------------------------------------------------------------------------- the seams

    def _wrap_noise(self) -> None:
        original = mx.random.normal

        def normal(shape=(), *args, **kwargs):
            drawn = original(shape, *args, **kwargs)
            noise = self._noise(tuple(drawn.shape))
            return drawn if noise is None else mx.array(noise).astype(drawn.dtype)

        self._set(mx.random, "normal", normal)

    def _noise(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """The reference's noise for what the port draws: as it was drawn there, or packed as the loop has it."""
        known = [self.recording.get(name) for name in (NOISE, FIRST_LATENTS) if name in self.recording]
        known.sort(key=lambda values: [n for n in values.shape if n > 1] != [n for n in shape if n > 1])
        found = [(layouts(values.shape, shape), values) for values in known]
        return next((options[0].to_mlx(values) for options, values in found if options), None)

    def _wrap_schedulers(self) -> None:
        for kind in scheduler_classes():
            if "step" in vars(kind):
                self._set(kind, "step", self._around_step(kind.step))

    def _around_step(self, original):
        signature = inspect.signature(original)

        def step(scheduler, *args, **kwargs):
            bound = signature.bind(scheduler, *args, **kwargs)
            self.stage = "scheduler"
            self._scheduler(scheduler)
            names = f"loop/scheduler.{self.step}"
            bound.arguments["noise"] = self.exchange(f"{names}/in/0", bound.arguments["noise"], "transformer")
            handed_on = LATENTS if self.force == FORCED else ""  # in a forced run they can only be the reference's
            bound.arguments["latents"] = self.exchange(f"{names}/in/1", bound.arguments["latents"], handed_on)
            result = original(*bound.args, **bound.kwargs)
            result = self.exchange(f"{names}/out/0", result, "scheduler" if self.force == FORCED else "loop")
            self.step, self.call = self.step + 1, 0
            self.stage = "transformer" if self.step < self.recording.facts["steps"] else "vae_decode"
            if self.stage == "vae_decode" and (self.force == LOOP or not self.decode):
                raise Done
            return result

        return step

    def _scheduler(self, scheduler) -> None:
        if self.step:
            return
        wanted = self.recording.get("scheduler/scheduler/out/0").reshape(-1)
        own = to_numpy(mx.array(scheduler.sigmas)).reshape(-1)
        length = min(len(wanted), len(own))
        pair = wanted[:length], own[:length]
        self._note("sigmas/scheduler/out/0", *pair, distance(*pair), abs(len(wanted) - len(own)) <= 1)

    def _wrap_image(self) -> None:
        from mflux.utils.image_util import ImageUtil

        def to_image(*args, decoded_latents=None, **kwargs):
            own = to_numpy(decoded_latents if decoded_latents is not None else args[0])
            if IMAGE in self.recording and np.abs(self.recording.get(IMAGE)).max() <= 1:
                own = np.clip(own, -1, 1)  # the reference's decoder cuts what no picture holds, mflux's picture does
            self.crossing.image = own
            self.compare(IMAGE, own, "vae_decode")
            raise Done

        self._set(ImageUtil, "to_image", staticmethod(to_image))

    def _stand_in(self, skip: set[str]) -> None:
        # Only where the method is the template's: then its result is known.
        if "text_encoder" in skip and hasattr(type(self.model), "_encode_prompt"):
            self._set(type(self.model), "_encode_prompt", lambda model, *args, **kwargs: self._prompt())
        predict = inspect.getattr_static(type(self.model), "_predict", None)
        if predict is not None and "transformer" in skip:
            self._set(type(self.model), "_predict", staticmethod(self._prediction))
        elif isinstance(predict, staticmethod):
            self._set(type(self.model), "_predict", staticmethod(self._entering(predict.__func__)))

    def _entering(self, predict):
        # What the loop prepares of the transformer, as its rotary embeddings, is the transformer's doing.
        def entering(*args, **kwargs):
            self.stage = "transformer"
            return predict(*args, **kwargs)

        return entering

    def _prompt(self) -> mx.array:
        names = [name for name in self.recording.names("transformer.0") if "/in/" in name]
        wanted = [name for name in names if self._forceable(name) and not self._is_latents(name)]
        values = without_padding(self.recording, names).get(wanted[0], self.recording.get(wanted[0]))
        return mx.array(values if values.ndim > 2 else values[None]).astype(self._dtype())

    def _prediction(self, *args, **kwargs):
        self.enter_transformer(args, kwargs)  # for what it is given
        self.call = 0
        return self._predicted

    def _predicted(self, latents=None, *args, **kwargs) -> mx.array:
        return mx.zeros_like(latents if latents is not None else next(arrays((args, kwargs))))

    # --------------------------------------------------------------------------------------------------- the transformer

    def enter_transformer(self, args: tuple, kwargs: dict) -> tuple[tuple, dict, mx.array | None]:
        """The transformer's arguments with the reference's values in them, or its result when it need not run."""
        self.stage = "transformer"
        stage = self._reference_call()
        if self.call and stage.count(".") == 1 and self.recording.facts["guidance"] <= 1:
            # A port that predicts the negative prompt in any case; the reference has no such call.
            return args, kwargs, None
        names = [name for name in self.recording.names(stage) if name.split("/")[1:3] == [self._component(), "in"]]
        given = list(arrays((args, kwargs)))
        taken: set[str] = set()
        exchanged = [self._argument(array, names, taken) for array in given]
        self.call += 1
        replaced = iter(exchanged)
        args, kwargs = rebuild((args, kwargs), replaced)
        result = None
        if self.force == FORCED and self.steps is not None and self.step not in self.steps:
            result = self._reference_noise(given)
        return args, kwargs, result

    def _argument(self, array: mx.array, names: list[str], taken: set[str]) -> mx.array:
        if not mx.issubdtype(array.dtype, mx.floating):
            return array
        if array.size <= 4:
            return self._timestep(array, names)
        own = None
        found: list[tuple[float, str, Alignment]] = []
        for name in names:
            if name in taken or not self._forceable(name):
                continue
            reference = self.recording.get(name)
            if not layouts(reference.shape, tuple(array.shape)):
                continue
            own = to_numpy(array) if own is None else own
            alignment, gap = align(reference, own)
            found.append((gap.relative, name, alignment))
        if not found:
            names = [name for name in names if name not in taken]
            shorter = self._shorter_argument(array, names, taken)
            return self._cut_argument(array, names) if shorter is None else shorter
        found.sort(key=lambda item: item[0])
        gap, name, alignment = found[0] if found[0][0] < 0.5 else min(found, key=lambda item: names.index(item[1]))
        taken.add(name)
        reference = self.recording.get(name)
        latents = self._is_latents(name)
        if not latents and self.step == 0:
            moved = alignment.to_reference(own)
            self._note(f"prompt/{name.split('/', 1)[1]}", reference, moved, distance(reference, moved))
        if latents and self.force == FORCED:
            moved = alignment.to_reference(own)
            self._note(f"{LATENTS}/{name.split('/', 1)[1]}", reference, moved, distance(reference, moved))
        if self.force == FREE or self.force == LOOP and latents:
            return array
        return mx.array(alignment.to_mlx(reference)).astype(self._wide(array.dtype))

    def _timestep(self, array: mx.array, names: list[str]) -> mx.array:
        # A sinusoid of 1000 times the timestep makes a thousandfold of float32's rounding. Only that is taken away: a
        # timestep that differs by more is the port's own.
        for name in names:
            reference = self.recording.get(name).reshape(-1)
            if reference.size >= array.size and reference.dtype.kind == "f":
                wanted = reference[: array.size]
                if np.allclose(to_numpy(array).reshape(-1), wanted, rtol=ROUNDING, atol=0):
                    return mx.array(wanted.reshape(array.shape)).astype(array.dtype)
        known = [self.recording.get(name).reshape(-1) for name in names]
        scalars = [values for values in known if values.size <= 4 and values.dtype.kind == "f"]
        if scalars:
            self.crossing.timesteps.append((float(scalars[0][0]), float(to_numpy(array).reshape(-1)[0])))
        return array

    def _shorter_argument(self, array: mx.array, names: list[str], taken: set[str]) -> mx.array | None:
        # A prompt without the padding that the reference has, and masks.
        for name, values in without_padding(self.recording, names).items():
            if values.size == array.size and values.shape[-1] == array.shape[-1]:
                taken.add(name)
                reference = values.reshape(array.shape)
                if self.step == 0:
                    own = to_numpy(array)
                    self._note(f"prompt/{name.split('/', 1)[1]}", reference, own, distance(reference, own))
                return array if self.force == FREE else mx.array(reference).astype(self._wide(array.dtype))
        return None

    def _cut_argument(self, array: mx.array, names: list[str]) -> mx.array:
        # Prompt embeddings of another length: the tokens, the padding or the rows that are dropped differ.
        if array.ndim < 2 or self.step:
            return array
        for name in names:
            reference = self.recording.get(name)
            if not self._forceable(name) or self._is_latents(name) or reference.shape[-1] != array.shape[-1]:
                continue
            own = to_numpy(array)
            found = align(reference, own)
            self.crossing.notes.append(
                f"prompt embeddings are {list(array.shape)}, the reference's are {list(reference.shape)}"
            )
            gap = found[1] if found else distance(np.ones(1), np.zeros(1))
            self._note(f"prompt/{name.split('/', 1)[1]}", reference, own, gap, aligned=False)
            break
        return array

    def _reference_call(self) -> str:
        base = f"{self._component()}.{self.step}"
        wanted = f"{base}.{self.call}" if self.call else base
        return wanted if self.recording.names(wanted) else base

    def _component(self) -> str:
        return "transformer"

    def _reference_noise(self, given: list[mx.array]) -> mx.array:
        wanted = self.recording.get(f"loop/scheduler.{self.step}/in/0")
        for array in given:
            found = layouts(wanted.shape, tuple(array.shape))
            if found and mx.issubdtype(array.dtype, mx.floating):
                return mx.array(found[0].to_mlx(wanted)).astype(array.dtype)
        return mx.zeros(wanted.shape)

    def _forceable(self, name: str) -> bool:
        # Position ids and timesteps are the port's own doing: replacing them would hide their errors.
        event = self.recording.event(name)
        shape = [length for length in event.shape if length != 1]
        return len(shape) >= 2 and event.shape[-1] > 4 and self.recording.get(name).dtype.kind == "f"

    def _is_latents(self, name: str) -> bool:
        noise, shape = self.recording.event(NOISE).shape, self.recording.event(name).shape
        return int(np.prod(noise[1:])) in (int(np.prod(shape)), int(np.prod(shape[1:])))

    # ------------------------------------------------------------------------------------------------------- comparing

    def compare(self, name: str, own: np.ndarray, stage: str) -> Alignment | None:
        """Note how far ``own`` is from the reference's tensor ``name``, under the name of a stage."""
        if name not in self.recording:
            return None
        reference = self.recording.get(name)
        found = align(reference, own)
        label = f"{stage}/{name.split('/', 1)[1]}"
        if found is None:
            self.crossing.notes.append(f"{label} is {list(own.shape)}, the reference's is {list(reference.shape)}")
            self._note(label, reference, own, distance(np.ones(1), np.full(1, np.nan)), aligned=False)
            return None
        self._note(label, reference, found[0].to_reference(own), found[1])
        return found[0]

    def exchange(self, name: str, array: mx.array, stage: str) -> mx.array:
        """Compare (when ``stage`` is given), and in a forced run hand back the reference's values in the port's layout."""
        own = to_numpy(array)
        if stage and (stage != "transformer" or self.force == FORCED and self._computed()):
            alignment = self.compare(name, own, stage)
        elif name in self.recording:
            found = align(self.recording.get(name), own)
            alignment = found[0] if found else None
        else:
            alignment = None
        if self.force != FORCED or alignment is None:
            return array
        values = alignment.to_mlx(self.recording.get(name))
        return array if values is None else mx.array(values).astype(array.dtype)

    def _computed(self) -> bool:
        return self.steps is None or self.step in self.steps

    def _note(self, name: str, reference, own, gap: Distance, aligned: bool = True) -> None:
        self.crossing.seen.append(Comparison(name, reference, own, gap, aligned))

    def _wide(self, dtype: mx.Dtype) -> mx.Dtype:
        # A port that always hands on bfloat16 is told so where it does; the next stage gets the reference's values.
        return mx.float32 if self._dtype() == mx.float32 else dtype

    def _dtype(self) -> mx.Dtype:
        from mflux.models.common.config.model_config import ModelConfig

        return ModelConfig.precision

    def _set(self, owner, name: str, value) -> None:
        had = name in vars(owner)
        before = vars(owner).get(name)
        setattr(owner, name, value)
        self._undo.append(lambda: setattr(owner, name, before) if had else delattr(owner, name))


class _Gate(Sink):
    """Lets the transformer's root pass through the seam; everything goes on to the run's own sink."""

    def __init__(self, seams: ForcedRun):
        self.seams = seams

    def enter(self, path, module, args, kwargs):
        if path == "transformer":
            args, kwargs, result = self.seams.enter_transformer(args, kwargs)
            if result is not None:
                return args, kwargs, result
        return self.seams.sink.enter(path, module, args, kwargs)

    def leave(self, path, module, args, kwargs, result, call):
        return self.seams.sink.leave(path, module, args, kwargs, result, call)

    def attention(self, *args):
        self.seams.sink.attention(*args)
