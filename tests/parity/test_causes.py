"""The lines about numbers that differ: one line for one cause, and a cause only if the numbers support it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

RANDOM = np.random.default_rng(5)


def _values(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def _turned(values: np.ndarray, positions: np.ndarray, base: float, halves: bool) -> np.ndarray:
    """Rotary positions by their plain formula: pair i of a token at p is rotated by p / base ** (i / pairs)."""
    pairs = values.shape[-1] // 2
    angles = positions[:, None] / base ** (np.arange(pairs) / pairs)
    one, other = (values[..., :pairs], values[..., pairs:]) if halves else (values[..., 0::2], values[..., 1::2])
    left = one * np.cos(angles) - other * np.sin(angles)
    right = one * np.sin(angles) + other * np.cos(angles)
    joined = [left, right] if halves else [np.stack([left, right], axis=-1).reshape(values.shape)]
    return np.concatenate(joined, axis=-1)


@pytest.mark.parametrize("halves", [True, False])
def test_how_queries_are_rotated_differently(halves):
    from parity.compare.rotation import of_rotated

    values, places = _values(1, 2, 9, 16), np.arange(9)
    right = _turned(values, places, 10000.0, halves)
    assert of_rotated(right, right) == ""
    assert "the base (theta)" in of_rotated(right, _turned(values, places, 500.0, halves))
    assert "the positions differ" in of_rotated(right, _turned(values, places + 1, 10000.0, halves))
    assert "other pairs" in of_rotated(right, _turned(values, places, 10000.0, not halves))
    assert of_rotated(right, 2 * right) == "" and of_rotated(right, _values(1, 2, 9, 16)) == ""


def test_wrong_position_on_one_of_several_axes():
    from parity.compare.rotation import of_rotated

    values, places = _values(1, 2, 9, 32), np.arange(9)
    halves = [values[..., :16], values[..., 16:]]

    def turned(first, second, base):
        return np.concatenate(
            [_turned(halves[0], first, base, False), _turned(halves[1], second, base, False)], axis=-1
        )

    right = turned(np.ones(9), places, 10000.0)
    assert "the positions differ" in of_rotated(right, turned(np.ones(9), 0 * places, 10000.0))
    assert "the positions differ" in of_rotated(right, turned(np.ones(9), places + 3, 10000.0))
    assert "the base (theta)" in of_rotated(right, turned(np.ones(9), places, 500.0))


def _table(positions: np.ndarray, base: float) -> np.ndarray:
    angles = positions[:, None] / base ** (np.arange(8) / 8)
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)[None]


def test_base_of_a_table_is_named():
    from parity.compare.rotation import is_table, of_tables

    places = np.arange(6)
    reference = _table(places, 256.0)
    assert is_table(reference) and not is_table(_values(1, 6, 8, 2))
    assert of_tables(reference, _table(places, 10000.0)) == "the base (theta) is 1e+04; the reference's is 256"
    assert "positions" in of_tables(reference, _table(places + 2, 256.0))
    rows, columns = np.divmod(np.arange(12), 4)
    axes = np.concatenate([_table(np.ones(12), 256.0), _table(rows, 256.0), _table(columns, 256.0)], axis=2)
    turned = np.concatenate([_table(np.ones(12), 256.0), _table(columns, 256.0), _table(rows, 256.0)], axis=2)
    assert "positions" in of_tables(axes, turned) and of_tables(axes, axes) == ""
    assert "other direction" in of_tables(reference, _table(-places, 256.0))


def test_tokens_or_heads_in_another_order():
    from parity.compare.rows import same_rows

    values = _values(1, 4, 10, 8)
    assert same_rows(values, np.concatenate([values[:, :, 6:], values[:, :, :6]], axis=2))
    assert same_rows(values, values[:, [1, 0, 3, 2]], axis=-3)
    assert not same_rows(values, values) and not same_rows(values, _values(1, 4, 10, 8))


def test_heads_as_the_inner_axis():
    from parity.compare.rows import turned_axis

    values = _values(1, 5, 12)
    turned = values.reshape(1, 5, 3, 4).swapaxes(-1, -2).reshape(1, 5, 12)
    assert turned_axis(values, turned).startswith("the last axis is split into 4 and 3 the other way round")
    assert turned_axis(values, values) == "" and turned_axis(values, _values(1, 5, 12)) == ""


def test_uncut_template_is_distinguished_from_another_layer():
    from parity.compare.rows import rows_cut

    values = _values(1, 12, 8)
    assert rows_cut(values[:, 4:], values).startswith("the port has 4 more rows, the first ones")
    assert rows_cut(values, values[:, :9]).startswith("the reference has 3 more rows, the last ones")
    assert rows_cut(values[:, 4:], _values(1, 12, 8)) == ""


def test_another_order_is_only_reported_for_values_that_are_far_off():
    from parity.explain.causes_in_values import of_values

    values = _values(6, 50)
    near = values + 5e-4 * np.abs(values).mean() * _values(6, 50)
    assert of_values(values, near) == ""
    assert of_values(values, values[:, ::-1]).startswith("layout")


@pytest.mark.parametrize(
    ("path", "is_time"),
    [("context_embedder", False), ("t_embedder", True), ("time_text_embed.linear", True), ("temb", True),
     ("timestep_embedder", True), ("sentiment", False), ("x.runtime", False)],
)  # fmt: skip
def test_names_are_compared_by_words(path, is_time):
    from parity.explain.causes_in_values import TIME

    assert bool(TIME.search(f"transformer.{path}")) is is_time


@dataclass
class Finding:
    module: str
    cause: str = "eps is 1e-05, the reference computes with 1e-06"
    kind: str = "module"
    waived: str = ""
    places: str = ""


def test_equal_findings_in_many_blocks_become_one_line():
    from parity.explain.grouping import grouped

    layers = [*range(1, 6), *range(8, 35)]
    found = [Finding(f"text_encoder.layers.{n}.self_attn.k_norm") for n in layers]
    other = Finding("text_encoder.layers.7.mlp", "the activation is SiLU; the reference's is ReLU")
    [first, second] = grouped([*found, other])
    assert (first.module, first.places) == ("text_encoder.layers.1.self_attn.k_norm", "layers 1-5, 8-34")
    assert (second.module, second.places) == (other.module, "")


def test_findings_with_other_figures_in_the_same_sentence_are_equal():
    from parity.explain.grouping import grouped

    weights = [
        Finding(f"a.blocks.{n}.q", f"never loaded: weight its values are not (their size is 0.{n}3 of a.blocks.{n}.q)")
        for n in range(4)
    ]
    assert [item.places for item in grouped(weights)] == ["blocks 0-3"]
    assert len(grouped([Finding("a.1.q"), Finding("a.1.k"), Finding("a.2.q", waived="known")])) == 3


def test_output_of_an_encoder_next_to_a_norm_is_a_separate_finding():
    from parity.explain.grouping import ranges

    assert ranges([0, 2, 3, 4, 9]) == "0, 2-4, 9"


def _model(blocks: int, loaded: int | None = None):
    names = [f"transformer.layers.{n}.{part}.weight" for n in range(blocks) for part in ("q", "k")]
    return {name: _values(5, 4) for name in names[: 2 * (blocks if loaded is None else loaded)]}


def _pair(own: dict, reference: dict):
    from parity.compare.pairing import pair
    from parity.record.fingerprints import fingerprint

    prints = {name: fingerprint(values).as_json() for name, values in reference.items()}
    modules = {name.rpartition(".")[0]: "Linear" for name in (*own, *reference)}
    return pair(own.items(), modules, prints, {path: ["Linear", "torch.nn"] for path in modules})


def test_finding_about_too_many_blocks_is_one_line():
    reference = _model(3)
    own = reference | {name: _values(5, 4) for name in _model(6) if name not in reference}
    [fault] = _pair(own, reference).faults
    assert (fault.kind, fault.module) == ("block count", "transformer.layers")
    assert fault.detail == "the port has 6 blocks, 3 of them loaded, the checkpoint has 3 (in transformer.layers)"


def test_port_with_fewer_blocks_than_the_checkpoint_is_recognized():
    reference = _model(5)
    own = {name: reference[name] for name in _model(3)}
    found = _pair(own, reference)
    assert (
        found.faults == []
    )  # an encoder's last layers may be left out on purpose: only a stage that fails is blamed on it
    assert list(found.fewer.values()) == [
        "the port has 3 blocks in transformer.layers, the checkpoint has 5 (in transformer.layers)"
    ]


def test_missing_list_is_recognized_except_in_an_encoder():
    reference = _model(2) | {
        "transformer.refiner.0.q.weight": _values(5, 4),
        "text_encoder.visual.0.q.weight": _values(5, 4),
    }
    reference["text_encoder.norm.weight"] = _values(7)
    own = {name: values for name, values in reference.items() if "refiner" not in name and "visual" not in name}
    assert list(_pair(own, reference).fewer.values()) == [
        "the port has no blocks of transformer.refiner, the checkpoint has 1"
    ]


def test_finding_about_partly_filled_blocks_is_one_line():
    reference = _model(5)
    own = {name: values if int(name.split(".")[2]) < 2 else _values(5, 4) for name, values in reference.items()}
    [fault] = _pair(own, reference).faults
    assert fault.detail == "the port has 5 blocks, 2 of them loaded, the checkpoint has 5 (in transformer.layers)"


def test_single_unloaded_tensor_is_not_blamed_on_blocks():
    reference = _model(3)
    own = reference | {"transformer.layers.1.q.weight": _values(5, 4)}
    assert [fault.kind for fault in _pair(own, reference).faults] == ["never loaded"]
    assert _pair(reference, reference).faults == []


def test_different_rotary_frequencies_are_not_reported_as_unloaded_weights():
    def frequencies(base: float) -> np.ndarray:
        return (base ** -(np.arange(16) / 16)).astype(np.float32)

    reference = _model(2) | {"transformer.rotary.inv_freq": frequencies(1e6)}
    [fault] = _pair(reference | {"transformer.rotary.inv_freq": frequencies(1e4)}, reference).faults
    assert (fault.kind, fault.detail) == ("RoPE", "has the base (theta) 1e+04, the reference's has 1e+06")
