"""Matching the port's numbers with the reference's by sending numbers through both, for any shapes."""

from __future__ import annotations

import numpy as np
import pytest


def _packed(latents: np.ndarray, channels_inside: bool = True) -> np.ndarray:
    """(1, C, H, W) as rows of 2x2 patches; with the channels outside or inside a patch's four numbers."""
    _, c, h, w = latents.shape
    patches = latents.reshape(1, c, h // 2, 2, w // 2, 2)
    axes = (0, 2, 4, 1, 3, 5) if not channels_inside else (0, 2, 4, 3, 5, 1)
    return patches.transpose(axes).reshape(1, h * w // 4, 4 * c)


def _short(values: np.ndarray) -> np.ndarray:
    """As bfloat16 stores them."""
    from parity.record.recording import from_bfloat16, to_bfloat16

    return from_bfloat16(to_bfloat16(values))


SHAPE = (1, 16, 8, 8)  # packed 2x2 it is 16 rows of 64: as many rows as channels
SIZE = int(np.prod(SHAPE))


@pytest.mark.parametrize("inside", [True, False])
def test_packed_order_is_found_where_shapes_are_ambiguous(inside):
    from parity.compare.alignment import layouts
    from parity.latent_orders import trace

    drawn = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    assert layouts((1, 16, 64), SHAPE)  # a reshape that is not packing at all
    found = trace(lambda x: {"sample": _packed(x.reshape(SHAPE), inside)}, SIZE)["sample"]
    packed = _packed(drawn, inside)
    np.testing.assert_array_equal(found.to_source(packed, SIZE), drawn.reshape(-1))
    np.testing.assert_array_equal(found.of_source(drawn, np.zeros_like(packed)), packed)


def test_unchanged_numbers_need_one_run():
    from parity.latent_orders import trace

    runs = []
    trace(lambda x: runs.append(1) or {"sample": -x.reshape(SHAPE)}, SIZE)
    assert len(runs) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 0.9 * x,
        _short,
        lambda x: _short(x) * np.float32(-2),
        lambda x: x * np.linspace(0.5, 2, 16, dtype=np.float32).reshape(16, 1, 1) + 3,
        lambda x: _short(_short(_short(x) / np.float32(0.3611)) + np.float32(0.1159)),
    ],
    ids=["scaled", "bfloat16", "bfloat16 negated", "of each channel", "shifted in bfloat16"],
)
def test_scaled_shifted_or_rounded_numbers_are_sent_in_digits(change):
    from parity.latent_orders import trace

    found = trace(lambda x: {"vae": _packed(change(x.reshape(SHAPE)))}, SIZE)["vae"]
    np.testing.assert_array_equal(found.ids, _packed(np.arange(SIZE).reshape(SHAPE)))


def test_elements_outside_the_latents_stay_the_ports_own():
    from parity.latent_orders import NOTHING, trace

    text = np.full((1, 5, 64), 0.25, np.float32)
    found = trace(lambda x: {"input": np.concatenate([text, _packed(x.reshape(SHAPE))], axis=1)}, SIZE)["input"]
    assert (found.ids[:, :5] == NOTHING).all() and (found.ids[:, 5:] != NOTHING).all()
    own = np.full((1, 21, 64), 7, np.float32)
    moved = found.of_source(np.arange(SIZE, dtype=np.float32), own)
    assert (moved[:, :5] == 7).all() and set(moved[:, 5:].reshape(-1)) == set(range(SIZE))


def test_tensors_that_do_not_change_are_left_out():
    from parity.latent_orders import trace

    prompt = np.random.default_rng(2).standard_normal((7, 12)).astype(np.float32)
    found = trace(lambda x: {"prompt": prompt, "sample": x.reshape(SHAPE), "mean": x.mean(keepdims=True)}, SIZE)
    assert list(found) == ["sample"]


def test_two_rows_of_a_batch_are_distinguished():
    from parity.latent_orders import rows_of, trace

    found = trace(lambda x: {"input": np.concatenate([x.reshape(SHAPE)] * 2)}, SIZE)["input"]
    assert [order.ids.shape for order in rows_of(found, SIZE)] == [SHAPE, SHAPE]
    single = trace(lambda x: {"input": _packed(x.reshape(SHAPE))}, SIZE)["input"]
    assert len(rows_of(single, SIZE)) == 1


@pytest.mark.parametrize("padding", [0, 1])
def test_loops_are_linked_by_their_vae_inputs(padding):
    """Expected: packed number n is the reference's at the same place, though neither shapes nor draws show it."""
    from parity.latent_orders import trace, vae_links

    reference = trace(lambda x: {"vae": x.reshape(SHAPE) * np.float32(3) - 1}, SIZE)["vae"]

    def decode(x):
        rows = x.reshape(1, 4, 4, 2, 2, 16)  # rows of patches, the channels inside
        picture = rows.transpose(0, 1, 3, 2, 4, 5).reshape(1, 8, 8, 16)
        return {"vae": np.pad(picture * np.float32(0.5), ((0, 0), (padding, padding), (padding, 0), (0, 0)))}

    links = vae_links(reference, trace(decode, SIZE)["vae"], SIZE)
    numbers = np.arange(SIZE, dtype=np.float32)
    np.testing.assert_array_equal(links, _packed(numbers.reshape(SHAPE)).reshape(-1).astype(int))


def test_vaes_of_different_sizes_are_not_linked():
    from parity.latent_orders import Order, vae_links

    numbers = np.arange(SIZE)
    reference, own = Order(numbers.reshape(SHAPE)), Order(numbers.reshape(1, 4, 4, 64))
    assert vae_links(reference, own, SIZE) is None


def test_noise_tensors_are_matched_by_moving_axes():
    from parity.latent_orders import axis_links

    [same] = axis_links((1, 16, 6, 10), (1, 16, 1, 6, 10))
    np.testing.assert_array_equal(same, np.arange(960))
    [last] = axis_links((1, 16, 6, 10), (1, 6, 10, 16))
    np.testing.assert_array_equal(last, np.arange(960).reshape(16, 6, 10).transpose(1, 2, 0).reshape(-1))
    assert axis_links((1, 16, 8, 8), (1, 16, 64)) == []  # packed or merged: the shapes do not say which
    square = axis_links((1, 16, 8, 8), (1, 16, 8, 8))
    np.testing.assert_array_equal(square[0], np.arange(SIZE))
    assert len(square) == 2 and len(axis_links((1, 8, 8, 8), (1, 8, 8, 8))) == 6


def test_convolution_has_its_channels_last_even_if_axes_are_equal():
    from parity.compare.alignment import align

    values = np.random.default_rng(3).standard_normal((1, 16, 16, 16)).astype(np.float32)
    last = np.moveaxis(values, 1, -1).copy()
    assert align(values, last)[1].relative == 0  # the values decide where nothing else does
    wrong = last + np.random.default_rng(4).standard_normal(last.shape).astype(np.float32)
    alignment, gap = align(values, wrong, channels_last=True)
    np.testing.assert_array_equal(alignment.to_reference(last), values)
    assert 0.5 < gap.relative < 1.2
    np.testing.assert_array_equal(alignment.to_mlx(values), last)


def test_tensor_without_the_other_rows_keeps_the_rest_of_the_order():
    """A transformer that keeps its text's keys may return the text's rows in the first step only."""
    from parity.latent_orders import Order

    order = Order(np.array([[-1, -1], [2, 3], [0, 1]]))
    image = np.array([[12.0, 13.0], [10.0, 11.0]])
    np.testing.assert_array_equal(order.of_size(4).to_source(image, 4), [10, 11, 12, 13])
    np.testing.assert_array_equal(order.of_size(4).of_source(np.array([10.0, 11, 12, 13]), 0 * image), image)
    assert order.of_size(6) is order and order.of_size(5) is None
