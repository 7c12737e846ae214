"""The input images of an edit pipeline, and the places of their encoded latents in its transformer's inputs."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from parity import latent_orders
from parity.errors import ParityError
from parity.record.pictures import DRAWN, default_picture
from parity.record.probe import Probe, changed, replaced
from parity.record.recording import is_denoiser

ODD = 27, 21  # more pixels than the output, and not multiples of 16: a crop and a resize differ


def pictures(given: list[str], folder: Path, width: int, height: int) -> tuple[Path, ...]:
    """The input images: the given files, or the given number of drawn images (one by default).

    A drawn image differs in size from the output, and its sides are not multiples of 16, so that the preprocessing has
    an effect.
    """
    count = int(given[0]) if len(given) == 1 and given[0].isdigit() else 1
    if given and not given[0].isdigit():
        missing = next((name for name in given if not Path(name).is_file()), "")
        if missing:
            raise ParityError(f"--edit {missing} is not a file; give images, or a number of images to draw")
        return tuple(Path(name).resolve() for name in given)
    if not 1 <= count <= len(DRAWN):
        raise ParityError(f"--edit {count}: draws 1 to {len(DRAWN)} images; give files for more")
    sizes = [(width + ODD[0], height + ODD[1]), (height + ODD[1], width + ODD[0])]  # the second is in portrait format
    return tuple(
        default_picture(folder / f"input_{n + 1}.png", *sizes[n % 2], number=n).resolve() for n in range(count)
    )


def facts_of(images: tuple[Path, ...]) -> dict:
    """The files and their content."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in images]
    return {"images": [[str(path), digest] for path, digest in zip(images, digests, strict=True)]} if images else {}


def arguments(pipe, images: tuple[Path, ...], width: int, height: int) -> dict:
    """The images under this pipeline's argument name. Raises ParityError if it takes none."""
    if not images:
        return {}
    known = inspect.signature(pipe.__call__).parameters
    if "image" not in known:
        raise ParityError(f"{type(pipe).__name__} takes no image; give the checkpoint of an edit pipeline with --model")
    opened = [Image.open(path).convert("RGB") for path in images]
    given = {"image": opened if len(opened) > 1 else opened[0]}
    return given | ({"max_area": width * height} if "max_area" in known else {})  # otherwise it generates a larger size


@contextlib.contextmanager
def most_likely(images: tuple[Path, ...]) -> Iterator[None]:
    """Encode to the mode of the VAE's distribution, as mflux does, if the pipeline would draw a sample."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    with contextlib.ExitStack() as stack:
        if images:
            stack.enter_context(
                replaced(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
            )
        yield


@contextlib.contextmanager
def encoded_once(pipe, images: tuple[Path, ...]) -> Iterator[_Encoded]:
    """Inside this context, the VAE encodes each image once, even if the pipeline is called several times."""
    encoded = _Encoded(pipe.vae)
    with contextlib.ExitStack() as stack:
        if images:
            stack.enter_context(replaced(pipe.vae, "encode", encoded))
        yield encoded


def conditions(
    pipe, call: Callable[[], object], outputs: dict, names: dict[str, list[str]], encoded: _Encoded
) -> dict[str, np.ndarray]:
    """The places of the encoded images in a transformer's inputs, by the name that a recording uses.

    ``ids`` has the input's shape: the index of each number among all latents of all images, in the VAE's order; or
    NOTHING. ``scale`` and ``shift`` are the pipeline's factor and offset for each latent. ``names`` are the arguments
    of the transformer's calls, ``outputs`` the networks' results.
    """
    size = encoded.size
    if not size:
        return {}
    probe = Probe(pipe, call, outputs)

    def run(numbers: np.ndarray) -> dict[str, np.ndarray]:
        encoded.sent = numbers
        return {name: values for name, values in probe.given().items() if is_denoiser(name)}

    zero, one = run(np.zeros(size, np.float32)), run(np.ones(size, np.float32))
    return _recorded(latent_orders.trace(run, size), zero, one, names, size)


def _recorded(orders: dict, zero: dict, one: dict, names: dict[str, list[str]], size: int) -> dict[str, np.ndarray]:
    # Scale and shift follow from two runs: one with latents of 0, one with latents of 1.
    recorded: dict[str, np.ndarray] = {}
    for place, order in orders.items():
        component, number, argument = place.split("/")
        stage = f"{component}.0"
        if number == "0" and argument in names.get(stage, ()):
            prefix = f"layout/{component}/condition", names[stage].index(argument)
            recorded["{}.ids/{}".format(*prefix)] = order.ids
            shift = order.to_source(zero[place], size)
            recorded["{}.shift/{}".format(*prefix)] = np.nan_to_num(shift)
            recorded["{}.scale/{}".format(*prefix)] = np.nan_to_num(order.to_source(one[place], size) - shift)
    return recorded


class _Encoded:
    """Replaces ``vae.encode``: returns its earlier results again, or the numbers in ``sent``, image after image."""

    def __init__(self, vae):
        self._original, self._results, self._call, self._at = getattr(vae, "encode", None), [], 0, 0
        self.sent: np.ndarray | None = None

    @property
    def size(self) -> int:
        return sum(_latents(result).numel() for result in self._results)

    def restart(self) -> None:
        """Start again with the first image, because the pipeline is called again."""
        self._call, self._at = 0, 0

    def __call__(self, *args, **kwargs):
        if self._call == len(self._results):
            self._results.append(self._original(*args, **kwargs))
        result = self._results[self._call]
        self._call += 1
        if self.sent is None:
            return result
        latents = _latents(result)
        values = torch.from_numpy(self.sent[self._at : self._at + latents.numel()])
        self._at += latents.numel()
        return _holding(result, values.reshape(latents.shape).to(latents))


def _latents(result) -> torch.Tensor:
    return result.latent_dist.mode() if hasattr(result, "latent_dist") else result[0]


def _holding(result, values: torch.Tensor):
    if not hasattr(result, "latent_dist"):
        return changed(result, lambda tensor: values)
    given = copy.copy(result.latent_dist)
    given.mean, given.mode, given.sample = values, lambda: values, lambda generator=None: values
    return type(result)(latent_dist=given)
