"""Replace the latents that the port's VAE makes from the input images."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from parity.compare.calls import ReferenceCalls
from parity.metrics import relative_error
from parity.run.mlx_taps import to_numpy
from parity.run.patches import Patches

Original = Callable[[], mx.array]


def replace(patches: Patches, model, change: Callable[[mx.array, Original], mx.array]) -> None:
    """From now on ``vae.encode`` returns ``change(pixels, original)``; ``original()`` is what it would return."""
    kind = type(model.vae)
    encode = kind.encode

    def changed(vae, image, *args, **kwargs):
        return change(image, lambda: encode(vae, image, *args, **kwargs))

    patches.set(kind, "encode", changed)


def normalised(values: np.ndarray, facts: dict) -> np.ndarray:
    """The latents that the reference's encoder makes, as mflux's VAEs return them: scaled for the transformer."""
    given = facts["normalisation"]
    if "mean" in given:
        shape = [1, -1] + [1] * (values.ndim - 2)
        return (values - np.reshape(given["mean"], shape)) / np.reshape(given["std"], shape)
    return (values - given["shift"]) * given["scale"]


class Images:
    """The reference's input image for each one that the port encodes, matched by pixels, in the port's order."""

    def __init__(self, calls: ReferenceCalls):
        self.recording, self.events = calls.recording, calls.encoded
        self.latents = [calls.recording.event(name).shape for name in self.events]
        self._taken: set[int] = set()

    def pixels(self, number: int) -> np.ndarray:
        """The input of the reference's VAE."""
        return self.recording.get(self.events[number].replace("/out/", "/in/"))

    def take(self, image: mx.array) -> int | None:
        """The remaining image with the nearest pixels; the first remaining one if no size is the same."""
        left = [n for n in range(len(self.events)) if n not in self._taken]
        own, gaps = to_numpy(image), {}
        for number in left:
            wanted = self.pixels(number)
            if wanted.size == own.size and squeezed(wanted) == squeezed(own):
                gaps[number] = relative_error(wanted, own)
        found = min(gaps, key=gaps.__getitem__, default=left[0] if left else None)
        self._taken |= {found} - {None}
        return found


def squeezed(values: np.ndarray) -> tuple[int, ...]:
    return tuple(length for length in values.shape if length != 1)


class Numbered:
    """Replaces ``vae.encode``: returns its part of ``latents``, which has those of all images in a row."""

    def __init__(self, calls: ReferenceCalls, latents: np.ndarray):
        self.images, self._latents = Images(calls), latents

    def __call__(self, image: mx.array, original: Original) -> mx.array:
        number = self.images.take(image)
        if number is None:
            return original()  # the port encodes more images than the reference
        shapes = self.images.latents
        start = sum(int(np.prod(shape)) for shape in shapes[:number])
        shape = shapes[number]
        return mx.array(self._latents[start : start + int(np.prod(shape))].reshape(shape))


class Exchanged:
    """Replaces ``vae.encode``: compares the pixels, and returns the reference's latents of that image.

    ``note(number, reference, own)`` gets the pixels of both sides; ``order`` is the order in which they came.
    """

    def __init__(self, calls: ReferenceCalls, note: Callable[[int, np.ndarray, np.ndarray], None]):
        self.images, self._note = Images(calls), note

    def __call__(self, image: mx.array, original: Original) -> mx.array:
        number = self.images.take(image)
        if number is None:
            return original()
        self._note(number, self.images.pixels(number), to_numpy(image))
        latents = self.images.recording.get(self.images.events[number])
        return mx.array(normalised(latents, self.images.recording.facts)).astype(image.dtype)
