"""Parameters and modules of both sides, paired by fingerprints."""

from __future__ import annotations

import numpy as np
import pytest

RANDOM = np.random.default_rng(3)


def _values(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def _model(names: list[str], shapes: dict[str, tuple]) -> tuple[dict, dict]:
    from parity.record.fingerprints import fingerprint

    arrays = {name: _values(*shapes.get(name, (6, 5))) for name in names}
    return arrays, {name: fingerprint(values).as_json() for name, values in arrays.items()}


NAMES = [f"transformer.layers.{n}.attn.{part}.weight" for n in range(3) for part in ("to_q", "to_k", "to_v")]


def _pair(arrays: dict, prints: dict):
    from parity.compare.pairing import pair

    modules = {}
    for name in prints:
        parts = name.split(".")[:-1]
        modules |= {".".join(parts[: n + 1]): "Linear" for n in range(len(parts)) if not parts[n].isdigit() or True}
    classes = {path: ["Linear", "torch.nn"] for path in modules}
    return pair(arrays.items(), modules, prints, classes)


def test_parameters_pair_regardless_of_their_names():
    arrays, prints = _model(NAMES, {})
    renamed = {name.replace("attn.to_", "attention."): values for name, values in arrays.items()}
    found = _pair(renamed, prints)
    assert len(found.parameters) == len(NAMES)
    assert all(path.replace("attention.", "attn.to_") == name for path, name in found.parameters.items())
    assert not found.faults


def test_swapped_transposed_and_unloaded_weights_are_found():
    arrays, prints = _model(NAMES, {name: (6, 6) for name in NAMES})
    assert not _pair(arrays, prints).faults
    swapped = arrays | {NAMES[0]: arrays[NAMES[1]], NAMES[1]: arrays[NAMES[0]]}
    assert {(fault.kind, fault.parameter) for fault in _pair(swapped, prints).faults} == {
        ("swapped", NAMES[0]),
        ("swapped", NAMES[1]),
    }
    turned = arrays | {NAMES[4]: np.ascontiguousarray(arrays[NAMES[4]].T)}
    assert [(fault.kind, fault.parameter) for fault in _pair(turned, prints).faults] == [("transposed", NAMES[4])]
    random = arrays | {NAMES[5]: _values(6, 6)}
    assert [(fault.kind, fault.parameter) for fault in _pair(random, prints).faults] == [("never loaded", NAMES[5])]


def test_long_tensor_has_the_same_fingerprint_in_any_order(monkeypatch):
    from parity.record import fingerprints

    values = _values(30, 41)
    whole = fingerprints.fingerprint(values)
    monkeypatch.setattr(fingerprints, "PIECE", 100)
    assert fingerprints.same_values(whole, fingerprints.fingerprint(values.T))
    assert whole.squares == pytest.approx(float(np.square(values, dtype=np.float64).sum()), rel=1e-12)


def test_a_kernel_with_axes_of_length_1_is_not_transposed():
    from parity.compare.pairing import pair
    from parity.record.fingerprints import fingerprint

    kernel, name = _values(6, 4, 3, 1, 1), "vae.time_conv.weight"
    own = np.ascontiguousarray(kernel.transpose(0, 2, 3, 4, 1))
    prints, classes = {name: fingerprint(kernel).as_json()}, {"vae.time_conv": ["Conv3d", "torch.nn"]}
    assert not pair({name: own}.items(), {"vae.time_conv": "Conv3d"}, prints, classes).faults
    turned = np.ascontiguousarray(kernel.transpose(1, 2, 3, 4, 0))
    assert [
        fault.kind for fault in pair({name: turned}.items(), {"vae.time_conv": "Conv3d"}, prints, classes).faults
    ] == ["transposed"]


def test_modules_with_copies_of_one_table_pair():
    from parity.compare.pairing import pair
    from parity.record.fingerprints import fingerprint

    table, weights = _values(7), [_values(5, 4), _values(5, 4)]
    reference = {f"encoder.layers.{n}.q.weight": values for n, values in enumerate(weights)} | {"encoder.table": table}
    own = {f"encoder.layers.{n}.attn.query.weight": values for n, values in enumerate(weights)}
    own |= {f"encoder.layers.{n}.attn.table": table for n in range(2)}
    prints = {name: fingerprint(values).as_json() for name, values in reference.items()}
    paths = ["encoder"] + [f"encoder.layers.{n}{rest}" for n in range(2) for rest in ("", ".q")]
    modules = {"encoder": "Encoder"}
    modules |= {f"encoder.layers.{n}{rest}": "Layer" for n in range(2) for rest in ("", ".attn", ".attn.query")}
    found = pair(own.items(), modules, prints, {path: ["Layer", "torch.nn"] for path in paths})
    assert {path for path in modules if path not in found.modules} == set()
    assert found.modules["encoder.layers.1"] == "encoder.layers.1"
