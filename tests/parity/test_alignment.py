"""Layouts of an array on both sides: found, undone and measured."""

from __future__ import annotations

import numpy as np
import pytest

RANDOM = np.random.default_rng(3)


def _values(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "change"),
    [
        ((2, 5, 7, 3), lambda x: x.transpose(0, 2, 3, 1)),
        ((1, 4, 6, 5), lambda x: x.reshape(1, 4, 30).transpose(0, 2, 1)),
        ((9, 1, 8), lambda x: x.transpose(1, 0, 2)),
        ((1, 3, 1, 8), lambda x: x.reshape(3, 8)),
        ((3, 8), lambda x: x[None, :, None]),
    ],
)
def test_layout_is_found_and_undone(shape, change):
    from parity.compare.alignment import align

    reference = _values(*shape)
    own = np.ascontiguousarray(change(reference))
    alignment, gap = align(reference, own)
    assert gap.relative == 0
    np.testing.assert_array_equal(alignment.to_mlx(reference), own)
    np.testing.assert_array_equal(alignment.to_reference(own).reshape(-1), reference.reshape(-1))


def test_rows_that_only_one_side_has_are_cut():
    from parity.compare.alignment import align

    reference = _values(1, 12, 8)
    assert align(reference, reference[:, 4:])[1].relative == 0
    assert align(reference[:, :9], reference)[1].relative == 0
    assert align(reference, _values(1, 11, 9)) is None


def test_rows_are_not_cut_by_another_tensors_width():
    """Cosines of 165 text tokens, and the table of an image with one token: (1, 16, 2)."""
    from parity.compare.alignment import align

    assert align(_values(1, 16, 2), _values(165, 16)) is None


def test_swapped_height_and_width_are_not_a_layout():
    from parity.compare.alignment import align

    reference = _values(1, 4, 6, 5)
    turned = np.ascontiguousarray(reference.transpose(0, 1, 3, 2)).reshape(1, 4, 30)
    assert align(reference, turned)[1].relative > 0.5


def test_repeated_keys_of_one_side_are_handled():
    from parity.compare.alignment import align

    reference = _values(1, 2, 6, 4)
    repeated = np.repeat(reference, 3, axis=1)
    assert align(reference, repeated, repeats=True)[1].relative == 0
    assert align(repeated, reference, repeats=True)[1].relative == 0


def test_distances_are_measured():
    from parity.metrics import distance

    values = _values(1000)
    gap = distance(values, -2 * values)
    assert gap.relative == pytest.approx(3, rel=1e-5)
    assert (gap.cosine, gap.ratio) == (pytest.approx(-1, abs=1e-5), pytest.approx(2, rel=1e-5))
    assert distance(values, values + 1e-6).relative == pytest.approx(1e-6 * 1000**0.5 / np.linalg.norm(values), rel=0.1)
    assert distance(values, np.where(np.arange(1000) == 3, np.nan, values)).relative == float("inf")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("masked", [-np.inf, np.finfo(np.float32).min])
def test_tokens_masked_by_the_reference_are_left_out_and_those_masked_by_the_port_alone_are_wrong(masked):
    from parity.metrics import distance

    values = _values(100)
    half = np.where(np.arange(100) < 50, values, np.float32(masked))
    assert distance(half, half).relative == 0 and distance(half, values).relative == 0
    assert distance(values, half).relative == float("inf")


def test_values_in_another_order_are_distinguished_from_rounded_ones():
    from parity.explain import causes_in_values
    from parity.record.recording import from_bfloat16, to_bfloat16

    values = _values(6, 50)
    short = from_bfloat16(to_bfloat16(values))
    assert causes_in_values.of_values(values, values[:, ::-1]).startswith("layout")
    assert causes_in_values.of_values(values, short).startswith("precision")
    assert causes_in_values.of_values(values, short[:, ::-1]).startswith("layout")
    assert causes_in_values.of_values(np.full((3, 4), 2.0, np.float32), _values(3, 4)) == ""


def test_swapped_axes_of_positions():
    from parity.explain import causes_in_values

    rows, columns = np.meshgrid(np.arange(3), np.arange(5), indexing="ij")
    ids = np.stack([np.zeros_like(rows), rows, columns], axis=-1).reshape(-1, 3)
    assert "1 and 2" in causes_in_values.of_ids(ids, ids[:, [0, 2, 1]]) and "swapped" in causes_in_values.of_ids(
        ids, ids[:, [0, 2, 1]]
    )
    assert "swapped" not in causes_in_values.of_ids(ids, ids + [0, 1, 0])
