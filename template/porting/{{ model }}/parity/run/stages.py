"""Judge the stages of a port, in the order in which a port is written: from the image backwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from parity.answers import ABSENT, ENCODERS, FAIL, NOT_RUN, PASS
from parity.compare import guidance_formula
from parity.compare.alignment import align
from parity.compare.calls import ReferenceCalls
from parity.compare.encoder_shares import shares
from parity.compare.limits import FAR, FLOAT32, Limits
from parity.compare.pairing import Pairing
from parity.memo import Memo
from parity.metrics import distance, is_short
from parity.progress import Progress
from parity.record.recording import Recording
from parity.run import device, encode, port_latent_orders
from parity.run.forced_run import ForcedRun
from parity.run.long_sums import long_sums_in_parts
from parity.run.mlx_port import Port
from parity.run.mlx_taps import MlxTaps, numbers, to_numpy
from parity.run.module_call import Call
from parity.run.module_judge import ModuleJudge
from parity.run.run_state import FORCED, FREE, LOOP
from parity.run.run_trace import LATENTS, Comparison, RunTrace, legacy_decoding
from parity.run.strips import convolutions_in_strips

VAE_DECODE, VAE_ENCODE, TRANSFORMER, GUIDANCE = "vae_decode", "vae_encode", "transformer", "guidance"
SCHEDULER, DENOISE, TEXT_ENCODER, END_TO_END = "scheduler", "loop", "text_encoder", "end_to_end"
COMPONENTS = {
    VAE_DECODE: ("vae",), VAE_ENCODE: ("vae",), TRANSFORMER: ("transformer",), GUIDANCE: (), SCHEDULER: (),
    DENOISE: ("transformer",), END_TO_END: ("vae", "transformer", "text_encoder"),
    **{encoder: (encoder,) for encoder in ENCODERS},
}  # fmt: skip


def encoders_of(stage: str, pairing: Pairing) -> set[str]:
    """The reference's text encoders that a stage judges: its own, or all if no encoder of the port has its name."""
    if stage in pairing.components:
        return {pairing.components[stage]}
    known = [theirs for theirs in pairing.components.values() if theirs in ENCODERS]
    return set(known) if stage == ENCODERS[0] and known else {stage}


def components_of(stage: str, pairing: Pairing) -> tuple[str, ...]:
    """The port's components that a stage runs, under any name: those with the reference's weights."""
    names = COMPONENTS[stage]
    own = [own for own, theirs in pairing.components.items() if any(name in theirs for name in names)]
    return tuple(own) or names


@dataclass
class Result:
    """One stage: ``passed``, ``FAIL`` or ``not ported``, with its worst tensor."""

    stage: str
    status: str
    relative: float = float("nan")
    largest: float = float("nan")
    limit: float = float("nan")
    tensor: str = ""
    note: str = ""
    worst: Comparison | None = None

    @property
    def line(self) -> str:
        """The stage as it is printed."""
        figures = f"relL2 {self.relative:.2e}  limit {self.limit:.1e}  max {self.largest:.1e}" if self.tensor else ""
        return f"{self.stage:<14} {self.status:<10} {figures:<48} {self.note}".rstrip()


def first_line(error: Exception) -> str:
    """An error's message, cut to fit on a line."""
    return short((str(error).strip().splitlines() or [""])[0])


def _and(one: str, other: str) -> str:
    return "; ".join(filter(None, (one, other)))


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.size == other.size and np.array_equal(one.reshape(-1), other.reshape(-1))


def _part(item: Comparison, mask: np.ndarray) -> Comparison:
    """A comparison of only some of the numbers; of all if the two sides differ in shape."""
    if mask.all() or item.reference.shape != item.own.shape:
        return item
    pair = item.reference[mask], item.own[mask]
    return Comparison(item.name, *pair, distance(*pair), item.aligned)


def short(text: str) -> str:
    """The first sentence, shortened if necessary."""
    return text if len(text) <= 120 else f"{text[:117].rstrip()}..."


class Judge:
    """Runs the port against one recording and keeps what every run showed."""

    def __init__(
        self, port: Port, recording: Recording, limits: Limits, pairing: Pairing, bisect: bool,
        progress: Progress | None = None, waived: Callable[[str, float], str] = lambda path, error: "",
    ):  # fmt: skip
        self.waived = waived  # why an error of a module is not a fault
        self.decode = True  # whether forced runs continue to the image
        self.port, self.recording, self.limits, self.pairing = port, recording, limits, pairing
        self.bisect = bisect  # whether every module is also judged
        self.calls: list[Call] = []
        self.watch: ModuleJudge | None = None
        self.trace = RunTrace()  # the last forced run's
        self._forced: RunTrace | None = None
        self.end_to_end: RunTrace | None = None
        self.reference = ReferenceCalls(recording)
        self.progress = progress or Progress("port", mx.get_peak_memory)
        self._orders: port_latent_orders.PortOrders | None = None
        self.packs_noise_wrongly = False
        self._memo = Memo(mx.array, numbers)

    @property
    def orders(self) -> port_latent_orders.PortOrders:
        """The order in which the port packs its latents; found once, with the weights of the first call."""
        if self._orders is None:
            self.progress("the order of its latents")
            self._orders = port_latent_orders.find_orders(self.port, self.recording, self.reference, self._memo)
        return self._orders

    def judge(self, stage: str) -> Result:
        """One stage. An error in the port becomes a result and is never raised."""
        missing = [name for name in COMPONENTS[stage] if self._unwritten(name)]
        if missing:
            return Result(stage, ABSENT, note=short(f"{missing[0]}: {self._unwritten(missing[0])}"))
        if stage == VAE_ENCODE:
            return self._encode()
        if stage == DENOISE:
            trace = self._run(LOOP)
            if any(not item.aligned for item in trace.of("prompt/")):  # it ran on the port's own prompt
                return Result(stage, NOT_RUN, note="; ".join(dict.fromkeys(trace.notes)))
            if self.packs_noise_wrongly:
                return Result(stage, FAIL, note="the noise is packed in another order than the rows of the transformer")
            # In the forced run, each step gets the reference's values: any other error is the loop's.
            trace.seen += self._forced.of(f"{LATENTS}/") if self._forced and not trace.failure else []
            return self._worst(stage, trace, "loop/", f"{LATENTS}/")
        if stage == END_TO_END:
            self.end_to_end = self._run(FREE)
            return self._worst(stage, self.end_to_end, "vae_decode/")
        if stage == GUIDANCE:
            return self._guidance(self.forced())
        if stage in ENCODERS:
            return self._worst_of(stage, self.forced(), self._prompts_of(stage, self.forced()))
        prefixes = {
            TRANSFORMER: (FLOAT32, *(f"{name}." for name in self.recording.facts["denoisers"])),
            SCHEDULER: ("sigmas/", "scheduler/"),
        }.get(stage, (f"{stage}/",))
        return self._worst(stage, self.forced(), *prefixes)

    def forced(self) -> RunTrace:
        """The forced run, made once."""
        if self._forced is None:
            trace = self._without_failures()
            if self.orders.other and self._is_off(trace):
                trace = self._in_the_references_order(trace)
            self._forced = self.trace = trace
        return self._forced

    def _in_the_references_order(self, trace: RunTrace) -> RunTrace:
        """The better one of two runs: the order of the port's latents may come from an unpacking that is wrong."""
        before = self._orders, self.calls, self.watch
        self._orders, self.calls = self.orders.other, []
        again = self._without_failures()
        if self._off(again) < self._off(trace) / 2:
            self.packs_noise_wrongly = self.orders.by_noise
            return again
        self._orders, self.calls, self.watch = before
        return trace

    def _predictions(self, trace: RunTrace) -> list[Comparison]:
        named = [item for name in self.recording.facts["denoisers"] for item in trace.of(f"{name}.")]
        return trace.of(FLOAT32) or named

    def _is_off(self, trace: RunTrace) -> bool:
        seen = self._predictions(trace)
        return any(item.distance.relative > self.limits.of_stage(TRANSFORMER, item.name) for item in seen)

    def _off(self, trace: RunTrace) -> float:
        return max((item.distance.relative for item in self._predictions(trace)), default=0.0)

    def _without_failures(self) -> RunTrace:
        """The forced run. If a stage raises, the run is repeated with a stand-in for that stage."""
        skip: set[str] = set()
        trace = self._run(FORCED, skip)
        failures = [trace.failure] if trace.failure else []
        while trace.failure and trace.failure[0] in {TEXT_ENCODER, TRANSFORMER} - skip:
            skip.add(trace.failure[0])
            more = self._run(FORCED, skip)
            known = {item.name for item in trace.seen}
            more.seen = trace.seen + [item for item in more.seen if item.name not in known]
            failures += [more.failure] if more.failure else []
            trace = more
        trace.failure = failures[0] if failures else None
        trace.failures = failures
        return trace

    def _run(self, force: str, skip: set[str] = frozenset()) -> RunTrace:
        # A transformer without its weights need not run: its result is replaced by the reference's anyway.
        steps = set() if self._unwritten(TRANSFORMER) else {0, self.recording.facts["steps"] - 1}
        run = self._forced_run(force, steps)
        run.decode = self.decode or force == FREE
        if force != FORCED or not self.bisect:
            return run.run(skip)
        with self._watched(run):
            return run.run(skip)

    def _forced_run(self, force: str, steps: set[int] | None = None) -> ForcedRun:
        what = {FORCED: "each stage alone", LOOP: "the loop", FREE: "the whole run"}[force]
        return ForcedRun(
            self.port, self.recording, force, self.reference, self.orders, self._memo, steps,
            progress=lambda text: self.progress(f"{what}: {text}"), in_float32=self.limits.dtype == "bfloat16",
        )  # fmt: skip

    @contextlib.contextmanager
    def _watched(self, run: ForcedRun) -> Iterator[None]:
        run.sink = watch = ModuleJudge(self.recording, self.pairing, run, self.limits, self.waived)
        try:
            with legacy_decoding(self.port.model):
                yield
        finally:
            self.calls += [call for root in watch.roots for call in root.walk()]
            self.watch = watch

    def _unwritten(self, component: str) -> str:
        """Why the port lacks a component of the reference; empty if it has it, under any name."""
        if component in self.port.unwritten:
            return self.port.unwritten[component]
        known = component in self.pairing.components.values()
        return "" if known or self.port.component(component) is not None else f"the port has no {component}"

    def _worst(self, stage: str, trace: RunTrace, *prefixes: str) -> Result:
        return self._worst_of(stage, trace, [item for prefix in prefixes for item in trace.of(prefix)])

    def _worst_of(self, stage: str, trace: RunTrace, seen: list[Comparison]) -> Result:
        failure = next((item for item in trace.failures if item[0] == stage), trace.failure)
        if failure and failure[0] == stage:
            status = ABSENT if isinstance(failure[1], NotImplementedError) else FAIL
            return Result(stage, status, note=f"raised {type(failure[1]).__name__}: {first_line(failure[1])}")
        if not seen:
            note = f"{failure[0]} raised {type(failure[1]).__name__}" if failure else "the run never reached it"
            return Result(stage, NOT_RUN, note="; ".join([*self.orders.notes, *dict.fromkeys(trace.notes)]) or note)
        limits = [self.limits.of_stage(stage, item.name, exact=not is_short(item.own)) for item in seen]
        # The one that exceeds its own limit most; NaN counts as most.
        order = [item.distance.relative / limit if item.distance.relative == item.distance.relative else np.inf
                 for item, limit in zip(seen, limits, strict=True)]  # fmt: skip
        at = int(np.argmax(order))
        result = self._result(stage, seen[at], limits[at])
        if stage in (*ENCODERS, TRANSFORMER) and result.status == FAIL:
            result.note = "; ".join(dict.fromkeys(trace.notes))
        if stage == TRANSFORMER and result.status == FAIL and trace.unused:
            result.note = _and(result.note, f"not passed to it: {', '.join(trace.unused)}")
        if stage in ENCODERS and result.status == FAIL and self._prompt_is_right(seen, limits):
            result.note = _and(result.note, "the prompt is right, the negative prompt is not: another text, or none")
        result.note = _and(result.note, self._unsteady(stage, seen, limits))
        return result

    def _unsteady(self, stage: str, seen: list[Comparison], limits: list[float]) -> str:
        """The reason why the limits of a stage are so high that little exceeds them; empty if they are not."""
        gaps = [self.limits.gap(item.name, stage) for item, limit in zip(seen, limits, strict=True) if limit > FAR]
        if not gaps:
            return ""
        repeated = any(item.name.startswith(FLOAT32) for item in seen)
        how = "so the port's is also judged in float32" if repeated else "so this limit excludes little"
        return f"the reference's own bfloat16 run is {max(gaps):.1e} off, {how}"

    def _prompts_of(self, stage: str, trace: RunTrace) -> list[Comparison]:
        """The prompt embeddings of one text encoder: all of them, or only its numbers if there are several.

        Numbers without an owner count as the first one's.
        """
        prompts = trace.of("prompt/")
        own = [name for name in ENCODERS if self.port.component(name) is not None]
        if len(own) < 2:
            return prompts
        outputs = {name: self._outputs(self.pairing.components.get(name, name)) for name in own}
        found = []
        for item in prompts:
            masks = shares(item.reference, outputs)
            mask = masks[stage]
            if stage == own[0]:
                mask = mask | ~np.any(list(masks.values()), axis=0)
            found += [_part(item, mask)] if mask.any() else []
        return found

    def _outputs(self, component: str) -> list[np.ndarray]:
        """What a text encoder of the reference returned, in all of its calls."""
        events = [
            event
            for event in self.recording.events
            if event.stage.split(".")[0] == component and event.module == component and event.stride == 1
        ]
        return [self.recording.get(event.name) for event in events if "/out/" in event.name]

    def _prompt_is_right(self, seen: list[Comparison], limits: list[float]) -> bool:
        """Whether only the embeddings of the negative prompt are wrong."""
        branches = self.reference.branches(0)
        if len(branches) < 2:
            return False
        known = [values for values in branches[self.reference.conditional()].prompts.values()]
        good = [item for item, limit in zip(seen, limits, strict=True) if item.distance.relative <= limit]
        return bool(good) and all(any(_same(item.reference, values) for item in good) for values in known)

    def _guidance(self, trace: RunTrace) -> Result:
        result = self._worst_of(GUIDANCE, trace, [self._combined(item) for item in trace.of("guidance/")])
        if result.status == FAIL and result.worst is not None:
            result.note = self._formula(result) or result.note
        return result

    def _combined(self, item: Comparison) -> Comparison:
        """The comparison of a guided prediction, which may have been made from rounded ones."""
        outputs = [self.reference.output(branch) for branch in self.reference.branches(_step_of(item.name))]
        if len(outputs) < 2 or any(one is None for one in outputs) or not item.aligned:
            return item
        short = self.limits.dtype == "bfloat16"
        return replace(item, distance=guidance_formula.distance_of(outputs, item.reference, item.own, short))

    def _formula(self, result: Result) -> str:
        """Which guidance formula the port computes, and which one the reference computes."""
        step = _step_of(result.tensor)
        branches = self.reference.branches(step)
        own = len([place for (_, _, row), place in self.orders.branches.items()])
        if len(branches) != own and len(branches) > 1:
            return f"the reference combines {len(branches)} predictions a step, the port makes {own}"
        outputs = [self.reference.output(branch) for branch in branches]
        if len(outputs) != 2 or any(output is None for output in outputs):
            return ""
        if self.reference.conditional(step) == 1:
            outputs.reverse()
        fits = (guidance_formula.fit(outputs, values) for values in (result.worst.reference, result.worst.own))
        return guidance_formula.difference(*fits, self.recording.facts["guidance"])

    def _result(self, stage: str, item: Comparison, limit: float, note: str = "") -> Result:
        gap = item.distance
        good = item.aligned and gap.relative <= limit
        return Result(stage, PASS if good else FAIL, gap.relative, gap.largest, limit, item.name, note, item)

    def _encode(self) -> Result:
        name = "vae_encode/vae/out/0"
        if name not in self.recording:
            return Result(VAE_ENCODE, ABSENT, note="the reference has no encoder")
        vae, image = self.port.component("vae"), self.recording.get("vae_encode/vae/in/0")
        image = image.reshape(image.shape[0], image.shape[1], *image.shape[-2:])
        try:
            own = self._encoded(vae, mx.array(image).astype(_dtype(vae)))
        except Exception as error:  # noqa: BLE001 - as in a run: an unfinished port may raise anything
            device.stop_if_lacking(error)
            absent = isinstance(error, (NotImplementedError, AttributeError))
            return Result(
                VAE_ENCODE, ABSENT if absent else FAIL, note=f"raised {type(error).__name__}: {first_line(error)}"
            )
        reference = encode.normalised(self.recording.get(name), self.recording.facts)
        found = align(reference, own)
        gap = found[1] if found else distance(np.ones(1), np.full(1, np.nan))
        moved = found[0].to_reference(own) if found else own
        comparison = Comparison("vae_encode/vae/out/0", reference, moved, gap, found is not None)
        return self._result(VAE_ENCODE, comparison, self.limits.of_stage(VAE_ENCODE, name))

    def _encoded(self, vae, image: mx.array) -> np.ndarray:
        self.progress(VAE_ENCODE)
        self.port.residents.enter("vae")
        with convolutions_in_strips(), long_sums_in_parts():
            if not self.bisect:
                return to_numpy(vae.encode(image))
            run = self._forced_run(FORCED)
            run.within = VAE_ENCODE
            with self._watched(run), MlxTaps(self.port.model, run.sink).attached():
                return to_numpy(vae.encode(image))


def _step_of(name: str) -> int:
    return int(name.split("/")[1].split(".")[1])  # guidance/scheduler.STEP/in/0


def _dtype(module) -> mx.Dtype:
    from mlx.utils import tree_flatten

    return next(
        value.dtype for _, value in tree_flatten(module.parameters()) if mx.issubdtype(value.dtype, mx.floating)
    )
