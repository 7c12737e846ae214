"""One run of the port in which the reference's values replace the port's between the stages.

A run is driven through the port's own ``generate_image``, so each stage is judged independently of the stages before
it: the noise, each call of the transformer, the guided prediction, each step of the scheduler, the image.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator

import mlx.core as mx
import numpy as np

from parity.compare.calls import ReferenceCalls
from parity.memo import Memo
from parity.record.recording import Recording, is_denoiser
from parity.run import device, encode, stand_ins
from parity.run.forced_scheduler import ForcedScheduler
from parity.run.forced_transformer import ForcedTransformer
from parity.run.long_sums import long_sums_in_parts
from parity.run.mlx_port import Port
from parity.run.mlx_taps import MlxTaps, Sink, to_numpy
from parity.run.network_calls import NetworkCalls
from parity.run.patches import Patches
from parity.run.port_latent_orders import PortOrders
from parity.run.run_state import FREE, LOOP, RunState
from parity.run.run_trace import IMAGE, PREPROCESS, Done, RunTrace, call_arguments, forget_prompts
from parity.run.strips import convolutions_in_strips

NOISE = "noise/pipeline/out/0"
NO_BRANCH = "no prediction"


class ForcedRun:
    """One run of the port; ``force`` is one of ``run_state``. ``steps``: the steps in which the transformer runs.

    ``in_float32``: whether each prediction is also computed in float32, with the weights as they are.
    """

    def __init__(
        self,
        port: Port,
        recording: Recording,
        force: str,
        calls: ReferenceCalls,
        orders: PortOrders,
        memo: Memo,
        steps: set[int] | None = None,
        progress: Callable[[str], None] = lambda text: None,
        in_float32: bool = False,
    ):
        self.model, self.residents, self.memo = port.model, port.residents, memo
        self.state = RunState(recording, calls, orders, force, progress)
        self.transformer = ForcedTransformer(self.state, steps, in_float32)
        self.sink = Sink()  # what records the modules
        self.decode = True  # whether to continue after the last step
        self.within = ""  # vae_decode or vae_encode, while it runs
        self._patches = Patches()

    def run(self, skip: set[str] = frozenset()) -> RunTrace:
        """Generate one image. Stages in ``skip`` get stand-ins that return the reference's result, if possible."""
        state = self.state
        state.skip = set(skip)
        forget_prompts(self.model)
        with self._attached():
            try:
                self.model.generate_image(**call_arguments(self.model, state.recording.facts))
            except Done:
                pass
            except Exception as error:  # noqa: BLE001 - an unfinished port may raise anything; it is reported
                device.stop_if_lacking(error)
                state.trace.failure = state.stage, error
                state.trace.failures = [state.trace.failure]
        state.trace.unused = self.transformer.inputs.unused() if state.step else []
        return state.trace

    def stage_of(self, component: str) -> str:
        """The reference's name for the call that a component is in now."""
        if component == "vae":
            return "vae_encode" if self.within == "vae_encode" else "vae_decode"
        if not is_denoiser(component):
            return component
        known = next((branch for branch in self.state.branches if branch is not None), None)
        return known.stage if known is not None and component == self.transformer.component else NO_BRANCH

    @contextlib.contextmanager
    def _attached(self) -> Iterator[None]:
        calls = NetworkCalls(self.transformer, self.residents, self.memo, self.sink)
        try:
            self._patches.set(mx.random, "normal", self._drawing(mx.random.normal))
            ForcedScheduler(self.state, self._patches, self._step_ended).attach()
            self._wrap_image()
            if self.state.force != FREE and self.state.calls.encoded:
                encode.replace(self._patches, self.model, encode.Exchanged(self.state.calls, self._compare_pixels))
            self._stand_in()
            with convolutions_in_strips(), long_sums_in_parts(), MlxTaps(self.model, calls).attached():
                yield
        finally:
            self._patches.undo()

    def _drawing(self, original):
        def normal(shape=(), *args, **kwargs):
            drawn = original(shape, *args, **kwargs)
            noise = self._noise(tuple(drawn.shape))
            return drawn if noise is None else mx.array(noise).astype(drawn.dtype)

        return normal

    def _noise(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """The reference's noise for what the port draws, each number in the place of the port's own."""
        links = self.state.orders.noise
        if links is None or int(np.prod(shape, dtype=np.int64)) != len(links):
            return None
        return self.state.recording.get(NOISE).reshape(-1)[links].reshape(shape)

    def _step_ended(self) -> None:
        state = self.state
        state.step += 1
        self.transformer.begin_step()
        if state.step < state.recording.facts["steps"]:
            state.stage = "transformer"
            return
        state.stage = "vae_decode"
        if state.force == LOOP or not self.decode:
            raise Done
        state.progress("vae_decode")

    def _wrap_image(self) -> None:
        from mflux.utils.image_util import ImageUtil

        def to_image(*args, decoded_latents=None, **kwargs):
            own = to_numpy(decoded_latents if decoded_latents is not None else args[0])
            recording = self.state.recording
            if IMAGE in recording and np.abs(recording.get(IMAGE)).max() <= 1:
                own = np.clip(own, -1, 1)  # the reference's decoder clips, mflux clips later
            self.state.trace.image = own
            self._compare_image(own)
            raise Done

        self._patches.set(ImageUtil, "to_image", staticmethod(to_image))

    def _compare_pixels(self, number: int, reference: np.ndarray, own: np.ndarray) -> None:
        name = f"{PREPROCESS}/vae.{number}/in/0"
        if encode.squeezed(reference) != encode.squeezed(own):
            self.state.other_shape(name, reference, own)
        else:
            self.state.compare(name, reference, own.reshape(reference.shape))

    def _compare_image(self, own: np.ndarray) -> None:
        state = self.state
        unknown = state.forced and state.orders.loop is None  # it was not made from the reference's latents
        if IMAGE not in state.recording or unknown:
            return
        reference = state.recording.get(IMAGE)
        if tuple(n for n in own.shape if n != 1) != tuple(n for n in reference.shape if n != 1):
            state.other_shape(IMAGE, reference, own)
        else:
            state.compare(IMAGE, reference, own.reshape(reference.shape))

    def _stand_in(self) -> None:
        state, kind = self.state, type(self.model)
        if "text_encoder" in state.skip:
            stand_ins.encode_prompts(self._patches, self.model, state.calls, state.dtype)
        if "transformer" in state.skip:
            stand_ins.predict(self._patches, self.model, self.transformer.inputs.compare_prompts)
            return
        for name in stand_ins.PREDICT:
            predict = inspect.getattr_static(kind, name, None)
            if isinstance(predict, staticmethod):
                self._patches.set(kind, name, staticmethod(self._entering(predict.__func__)))

    def _entering(self, predict):
        # What the loop prepares with the transformer, such as rotary embeddings, is part of the transformer.
        def entering(*args, **kwargs):
            self.state.stage = "transformer"
            return predict(*args, **kwargs)

        return entering
