"""Run the port's image-to-image on the reference's noise and compare its start and its result."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np

from parity.compare import image_to_image as compare
from parity.compare.claim_row import Row
from parity.compare.limits import Limits
from parity.compare.pairing import Pairing
from parity.errors import ParityError
from parity.record.recording import Recording
from parity.run import device
from parity.run.mlx_port import Port
from parity.run.mlx_taps import to_numpy
from parity.run.patches import Patches
from parity.run.run_trace import Done, call_arguments, forget_prompts, legacy_decoding, scheduler_classes
from parity.run.stages import Judge


def judge(port: Port, recording: Recording, say: Callable[[Row], None]) -> list[Row]:
    """Steps, start latents and the picture."""
    facts = recording.facts["image"]
    if not Path(facts["picture"]).is_file():
        raise ParityError(f"{facts['picture']} is missing; run {recording.made_by} again")
    if "image_path" not in inspect.signature(port.model.generate_image).parameters:
        raise ParityError(
            f"{type(port.model).__name__}.generate_image takes no image_path; add it, or leave --image out"
        )
    orders = Judge(port, recording, Limits("float32"), Pairing(), bisect=False).orders
    if orders.loop is None or orders.noise is None:
        raise ParityError(f"the port's latents are not known ({'; '.join(orders.notes)}); run run_mflux.py first")
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        say(row)

    add(compare.starts(facts["starts"], _starts(port, facts)))
    first, picture = _Run(port, recording, orders).drawn()
    wanted = recording.get("image/latents/out/0")
    add(compare.latents(recording, orders.loop.to_source(first, wanted.size)))
    add(compare.picture(recording, picture))
    return rows


def own_strength(strength: float) -> float:
    """mflux's strength is how much of the image stays, the reference's how much is redrawn."""
    return round(1 - strength, 6)


def _starts(port: Port, facts: dict) -> dict[tuple[int, float], int]:
    from mflux.models.common.config.config import Config

    found = {}
    for steps, strength, _ in facts["starts"]:
        given = {"image_path": facts["picture"], "image_strength": own_strength(strength)}
        config = Config(model_config=port.model.model_config, num_inference_steps=steps, height=64, width=64, **given)
        found[steps, strength] = config.init_time_step
    return found


class _Run:
    """One run of ``generate_image`` with the image, in which the reference's noise is drawn."""

    def __init__(self, port: Port, recording: Recording, orders):
        self.port, self.recording, self.orders = port, recording, orders
        self.first: np.ndarray | None = None
        self.picture: np.ndarray | None = None
        self.encodes = False  # a VAE that draws a sample needs noise other than that of the start

    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """The latents of the first step, and the decoded picture."""
        from mflux.utils.image_util import ImageUtil

        patches, facts = Patches(), self.recording.facts
        patches.set(mx.random, "normal", self._normal(mx.random.normal))
        encoder = type(self.port.model.vae)
        if hasattr(encoder, "encode"):
            patches.set(encoder, "encode", self._encode(encoder.encode))
        patches.set(ImageUtil, "to_image", staticmethod(self._to_image))
        for kind in scheduler_classes():
            if "step" in vars(kind):
                patches.set(kind, "step", self._step(kind.step))
        more = {"image_path": facts["image"]["picture"], "image_strength": own_strength(facts["image"]["strength"])}
        forget_prompts(self.port.model)
        try:
            with legacy_decoding(self.port.model):
                self.port.model.generate_image(**call_arguments(self.port.model, facts), **more)
        except Done:
            pass
        except Exception as error:  # noqa: BLE001 - an unfinished port may raise anything
            device.stop_if_lacking(error)
            raise ParityError(
                f"image-to-image raised {type(error).__name__}: {error}; run its fast tests first"
            ) from None
        finally:
            patches.undo()
        if self.first is None or self.picture is None:
            raise ParityError(
                "image-to-image ran no step of an mflux scheduler, or decoded no picture; it must do both"
            )
        return self.first, self.picture

    def _normal(self, original):
        """The recording's noise for the first key that draws it; another key draws its own, as in the port."""
        first: list[list[int] | None] = []

        def normal(shape=(), *args, key=None, **kwargs):
            drawn, links = original(shape, *args, key=key, **kwargs), self.orders.noise
            if self.encodes or int(np.prod(shape, dtype=np.int64)) != len(links):
                return drawn
            seed = None if key is None else key.tolist()
            if first and (seed is None or seed != first[0]):
                return drawn
            first.append(seed)
            noise = self.recording.get("noise/pipeline/out/0").reshape(-1)[links].reshape(shape)
            return mx.array(noise).astype(drawn.dtype)

        return normal

    def _encode(self, original):
        def encode(*args, **kwargs):
            self.encodes = True
            try:
                return original(*args, **kwargs)
            finally:
                self.encodes = False

        return encode

    def _step(self, original):
        signature = inspect.signature(original)

        def step(scheduler, *args, **kwargs):
            if self.first is None:
                self.first = to_numpy(signature.bind(scheduler, *args, **kwargs).arguments["latents"])
            return original(scheduler, *args, **kwargs)

        return step

    def _to_image(self, *args, decoded_latents=None, **kwargs):
        self.picture = to_numpy(decoded_latents if decoded_latents is not None else args[0])
        raise Done
