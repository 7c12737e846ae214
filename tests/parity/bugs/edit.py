"""Bugs in an edit pipeline, each with the row that must fail and words that must be in its note.

``Claim.apply`` changes the released FLUX.2 edit port inside its context. The expected answers were written
before the first run.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import mlx.core as mx
import PIL.Image
import PIL.ImageOps
from bugs import replaced
from bugs.claims.claim import Claim
from mflux.models.flux2.model.flux2_transformer.transformer import Flux2Transformer
from mflux.models.flux2.model.flux2_vae.vae import Flux2VAE
from mflux.models.flux2.variants.edit.flux2_klein_edit import Flux2KleinEdit
from mflux.models.flux2.variants.edit.flux2_klein_edit_helpers import _Flux2KleinEditHelpers as Helpers
from mflux.utils.image_util import ImageUtil

EDIT = "edit"


def helper(name: str, change: Callable) -> Callable:
    """Replaces one of the port's helpers with ``change(original)``."""
    return lambda: replaced(Helpers, name, staticmethod(change(getattr(Helpers, name))))


def image(change: Callable) -> Callable:
    """``change(image, width, height)`` instead of the code that resizes an image."""

    def prepare(_):
        return lambda given: change(given, *Helpers.reference_dims(given.width, given.height))

    return helper("prepare_reference_image", prepare)


def pixels(change: Callable) -> Callable:
    """Applies ``change(pixels)`` to the VAE's input, (1, 3, height, width)."""
    original = ImageUtil.to_array

    return lambda: replaced(ImageUtil, "to_array", staticmethod(lambda *a, **k: change(original(*a, **k))))


def normalised(change: Callable) -> Callable:
    """``change(latents, mean, std)`` instead of the normalisation."""

    def normalise(_):
        def apply(encoded, *, vae):
            mean = vae.bn.running_mean.reshape(1, -1, 1, 1)
            return change(encoded, mean, mx.sqrt(vae.bn.running_var.reshape(1, -1, 1, 1) + vae.bn.eps))

        return apply

    return helper("bn_normalize_vae_encoded_latents", normalise)


def conditioning(change: Callable) -> Callable:
    """Applies ``change(latents, ids)`` to what is concatenated to the noise."""

    def prepare(original):
        return lambda **given: change(*original(**given))

    return helper("prepare_reference_image_conditioning", prepare)


def paths(change: Callable) -> Callable:
    """Applies ``change(paths)`` to the images."""

    def prepare(original):
        return lambda *, image_paths=None, **given: original(image_paths=change(list(image_paths)), **given)

    return helper("prepare_reference_image_conditioning", prepare)


def transformer(change: Callable) -> Callable:
    """``change(call, latents, ids, images, image_ids)`` predicts; ``call(hidden_states, img_ids)``
    is the transformer.
    """

    def _predict(self, transformer):
        def predict(latents, image_latents, latent_ids, image_latent_ids, prompt_embeds, text_ids, timestep, **rest):
            given = {"encoder_hidden_states": prompt_embeds, "txt_ids": text_ids, "timestep": timestep}
            call = functools.partial(transformer, **given, guidance=None, kv_cache=None)
            return change(call, latents, latent_ids, image_latents, image_latent_ids)

        return predict

    return lambda: replaced(Flux2KleinEdit, "_predict", _predict)


def _joined(one: mx.array, other: mx.array) -> mx.array:
    return mx.concatenate([one, other], axis=1)


def _tail(call, latents, ids, images, image_ids):
    return call(hidden_states=_joined(latents, images), img_ids=_joined(ids, image_ids))[:, -latents.shape[1] :]


def _images_first(call, latents, ids, images, image_ids):
    """Another order of rows, with matching positions: correct."""
    return call(hidden_states=_joined(images, latents), img_ids=_joined(image_ids, ids))[:, -latents.shape[1] :]


def _images_first_positions_not(call, latents, ids, images, image_ids):
    return call(hidden_states=_joined(images, latents), img_ids=_joined(ids, image_ids))[:, -latents.shape[1] :]


def _first_step_only():
    def _predict(self, transformer):
        steps = iter(range(100))

        def predict(latents, image_latents, latent_ids, image_latent_ids, prompt_embeds, text_ids, timestep, **rest):
            first = not next(steps)
            rows = _joined(latents, image_latents) if first else latents
            ids = _joined(latent_ids, image_latent_ids) if first else latent_ids
            given = {"encoder_hidden_states": prompt_embeds, "txt_ids": text_ids, "timestep": timestep}
            predicted = transformer(hidden_states=rows, img_ids=ids, **given, guidance=None, kv_cache=None)
            return predicted[:, : latents.shape[1]]

        return predict

    return replaced(Flux2KleinEdit, "_predict", _predict)


def _not_given(call, latents, ids, images, image_ids):
    return call(hidden_states=latents, img_ids=ids)


@contextlib.contextmanager
def _listed():
    """The transformer takes the images' latents as a list of pictures, like that of a rendered port, and cuts its own
    result.
    """
    original = Flux2Transformer.__call__

    def call(self, latents, pictures, **rest):
        rows = [picture.reshape(*picture.shape[:2], -1).transpose(0, 2, 1) for picture in pictures]
        result = original(self, hidden_states=mx.concatenate([latents, *rows], axis=1), **rest)
        return result[:, : latents.shape[1]]

    def _predict(self, transformer):
        def predict(latents, image_latents, latent_ids, image_latent_ids, prompt_embeds, text_ids, timestep, **rest):
            given = {"encoder_hidden_states": prompt_embeds, "txt_ids": text_ids, "timestep": timestep}
            ids = _joined(latent_ids, image_latent_ids)
            pictures = list(_pictures(image_latents, image_latent_ids[0]))
            return transformer(latents, pictures, img_ids=ids, **given, guidance=None, kv_cache=None)

        return predict

    with replaced(Flux2Transformer, "__call__", call), replaced(Flux2KleinEdit, "_predict", _predict):
        yield


def _pictures(rows: mx.array, ids: mx.array):
    for place in dict.fromkeys(ids[:, 0].tolist()):
        own = [n for n, row in enumerate(ids.tolist()) if row[0] == place]
        height, width = (int(ids[own[-1], axis].item()) + 1 for axis in (1, 2))
        yield rows[:, own[0] : own[-1] + 1].reshape(1, height, width, -1).transpose(0, 3, 1, 2)


def _encoder(change: Callable) -> Callable:
    original = Flux2VAE.encode
    return lambda: replaced(Flux2VAE, "encode", lambda self, image: change(original(self, image)))


def _noisy(latents: mx.array) -> mx.array:
    return 0.9 * latents + 0.1 * mx.random.normal(latents.shape, key=mx.random.key(3))


def _column(ids: mx.array, value: Callable) -> mx.array:
    return mx.concatenate([value(ids[..., :1]), ids[..., 1:]], axis=-1)


def _other_rows(latents: mx.array) -> mx.array:
    half = latents.shape[1] // 2
    return _joined(latents[:, half:], latents[:, :half])


def _swapped_pictures(latents: mx.array, ids: mx.array) -> tuple[mx.array, mx.array]:
    """The second picture's rows first, with their own positions: right."""
    times = ids[0, :, 0].tolist()
    order = mx.array(sorted(range(len(times)), key=lambda n: (-times[n], n)))
    return latents[:, order], ids[:, order]


def _like_the_first(original: Callable) -> Callable:
    """Every image at the size of the first."""

    def prepare(given):
        prepared = original(given)
        return prepared.resize(_SIZES.setdefault("first", prepared.size), PIL.Image.LANCZOS)

    return prepare


_SIZES: dict[str, tuple[int, int]] = {}
EDITS = (
    Claim("squashed, not cropped", EDIT, image(lambda i, w, h: i.resize((w, h), PIL.Image.LANCZOS)), "preprocess", "resized"),
    Claim("cropped at the corner", EDIT, image(lambda i, w, h: i.crop((0, 0, w, h))), "preprocess", "cropped at the corner; the reference's is cropped in the middle"),
    Claim("at the output's size", EDIT, image(lambda i, w, h: i.resize((64, 48))), "preprocess", "is 64x48; the reference's is"),
    Claim("at half the size", EDIT, image(lambda i, w, h: i.resize((w // 32 * 16, h // 32 * 16))), "preprocess", "the reference's is"),
    Claim("pixels from 0 to 1", EDIT, pixels(lambda x: x / 2 + 0.5), "preprocess", "0 to 1"),
    Claim("blue before red", EDIT, pixels(lambda x: x[:, ::-1]), "preprocess", "blue before red"),
    Claim("mirrored", EDIT, pixels(lambda x: x[..., ::-1]), "preprocess", "mirrored"),
    Claim("one image only", EDIT, paths(lambda p: p[:1]), "preprocess", "2 images, the port 1"),
    Claim("encoder at half scale", EDIT, _encoder(lambda x: x / 2), "vae_encode", ""),
    Claim("mean and std not applied", EDIT, normalised(lambda x, mean, std: x), "condition", "not normalised"),
    Claim("mean and std twice", EDIT, normalised(lambda x, mean, std: ((x - mean) / std - mean) / std), "condition", "normalised twice"),
    Claim("mean not subtracted", EDIT, normalised(lambda x, mean, std: x / std), "condition", "without the shift"),
    Claim("std not applied", EDIT, normalised(lambda x, mean, std: x - mean), "condition", "without the scale"),
    Claim("noise on the images", EDIT, conditioning(lambda x, ids: (_noisy(x), ids)), "condition", "with noise added"),
    Claim("latents times 0.8", EDIT, conditioning(lambda x, ids: (0.8 * x, ids)), "condition", "0.8 times"),
    Claim("images swapped", EDIT, paths(lambda p: p[::-1]), "order", "image 2 before 1"),
    Claim("rows in another order", EDIT, conditioning(lambda x, ids: (_other_rows(x), ids)), "order", "image|rows are in another order"),
    Claim("rows from the end", EDIT, conditioning(lambda x, ids: (x[:, ::-1], ids)), "order", "image 2 before 1"),
    Claim("numbers of a row in another order", EDIT, conditioning(lambda x, ids: (mx.roll(x, 4, axis=-1), ids)), "order", "numbers in a row"),
    Claim("positions from 0", EDIT, conditioning(lambda x, ids: (x, _column(ids, mx.zeros_like))), "positions", "img_ids: .* rows differ"),
    Claim("one position for all images", EDIT, conditioning(lambda x, ids: (x, _column(ids, lambda t: mx.zeros_like(t) + 10))), "positions", "is 10, .*, the reference's 20"),
    Claim("height and width swapped", EDIT, conditioning(lambda x, ids: (x, ids[..., mx.array([0, 2, 1, 3])])), "positions", "rows differ"),
    Claim("positions of the noise for the images", EDIT, transformer(_images_first_positions_not), "order", "before the noise"),
    Claim("prediction from the images' rows", EDIT, transformer(_tail), "transformer", ""),
    Claim("images never given", EDIT, transformer(_not_given), "condition", "not given"),
    Claim("the first image twice", EDIT, paths(lambda p: [p[0], p[0]]), "preprocess", "image 2 is"),
    Claim("images in the first step only", EDIT, _first_step_only, "transformer", ""),
    Claim("encoder in bfloat16", EDIT, _encoder(lambda x: x.astype(mx.bfloat16).astype(mx.float32)), "vae_encode", ""),
    Claim("positions twice as far", EDIT, conditioning(lambda x, ids: (x, ids * 2)), "positions", "rows differ"),
    Claim("with bars, not cropped", EDIT, image(lambda i, w, h: PIL.ImageOps.pad(i, (w, h))), "preprocess", "other pixels"),
    Claim("crop moved by a pixel", EDIT, image(lambda i, w, h: i.crop((5, 4, 5 + w, 4 + h))), "preprocess", "other pixels"),
    Claim("positions of two images swapped", EDIT, conditioning(lambda x, ids: (x, _column(ids, lambda t: 30 - t))), "positions", "is 20, .*, the reference's 10"),
    Claim("positions one row down", EDIT, conditioning(lambda x, ids: (x, ids + mx.array([0, 1, 0, 0], dtype=ids.dtype))), "positions", "rows differ"),
    Claim("latents of two images swapped", EDIT, conditioning(lambda x, ids: (_swapped_pictures(x, ids)[0], ids)), "order", "image 2 before 1"),
    Claim("all images at the first one's size", EDIT, helper("prepare_reference_image", _like_the_first), "preprocess", "image 2"),
    Claim("in grey", EDIT, image(lambda i, w, h: PIL.ImageOps.fit(i.convert("L").convert("RGB"), (w, h))), "preprocess", "other pixels"),
    Claim("rows of two images mixed", EDIT, conditioning(lambda x, ids: (mx.concatenate([x[:, ::2], x[:, 1::2]], axis=1), ids)), "order", "image|rows are in another order"),
)  # fmt: skip
RIGHT = (
    Claim("images before the noise, with their positions", EDIT, transformer(_images_first), "", ""),
    Claim("images as a list of pictures", EDIT, _listed, "", ""),
    Claim("second image before the first, with their positions", EDIT, conditioning(_swapped_pictures), "", ""),
)
