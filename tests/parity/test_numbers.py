"""The harness's own arithmetic, with only numpy: layouts, pairs, recordings, waivers, ticks."""

from __future__ import annotations

import json
from dataclasses import dataclass

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
def test_a_layout_is_found_and_undone(shape, change):
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


def test_rows_are_not_cut_from_the_width_of_another_tensor():
    """Cosines of 165 text tokens, and the table of an image with one token: (1, 16, 2)."""
    from parity.compare.alignment import align

    assert align(_values(1, 16, 2), _values(165, 16)) is None


def test_height_and_width_in_each_others_places_are_no_layout():
    from parity.compare.alignment import align

    reference = _values(1, 4, 6, 5)
    turned = np.ascontiguousarray(reference.transpose(0, 1, 3, 2)).reshape(1, 4, 30)
    assert align(reference, turned)[1].relative > 0.5


def test_keys_that_one_side_repeats():
    from parity.compare.alignment import align

    reference = _values(1, 2, 6, 4)
    repeated = np.repeat(reference, 3, axis=1)
    assert align(reference, repeated, repeats=True)[1].relative == 0
    assert align(repeated, reference, repeats=True)[1].relative == 0


def test_distances():
    from parity.metrics import distance

    values = _values(1000)
    gap = distance(values, -2 * values)
    assert gap.relative == pytest.approx(3, rel=1e-5)
    assert (gap.cosine, gap.ratio) == (pytest.approx(-1, abs=1e-5), pytest.approx(2, rel=1e-5))
    assert distance(values, values + 1e-6).relative == pytest.approx(1e-6 * 1000**0.5 / np.linalg.norm(values), rel=0.1)
    assert distance(values, np.where(np.arange(1000) == 3, np.nan, values)).relative == float("inf")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("masked", [-np.inf, np.finfo(np.float32).min])
def test_what_the_reference_masks_is_left_out_and_what_the_port_masks_alone_is_wrong(masked):
    from parity.metrics import distance

    values = _values(100)
    half = np.where(np.arange(100) < 50, values, np.float32(masked))
    assert distance(half, half).relative == 0 and distance(half, values).relative == 0
    assert distance(values, half).relative == float("inf")


class _Inputs(dict):
    """A recording of only these inputs."""


def test_a_prompt_without_the_padding_that_the_reference_masks():
    from parity.compare.prompts import without_padding

    embeddings, mask = _values(1, 6, 8), np.array([[1, 1, 1, 1, 0, 0]])
    inputs = _Inputs(
        {
            "latents": _values(1, 4, 6, 6),
            "embeddings": embeddings,
            "mask": mask,
            "timestep": _values(1),
            "scale": np.array(3.0),
        }
    )
    kept = without_padding(inputs, inputs)
    assert list(kept) == ["embeddings"]
    np.testing.assert_array_equal(kept["embeddings"], embeddings[:, :4])
    layers = _Inputs(inputs, embeddings=_values(1, 6, 3, 8))
    np.testing.assert_array_equal(
        without_padding(layers, layers)["embeddings"], layers["embeddings"][:, :4].reshape(1, 4, 24)
    )
    left = _Inputs(inputs, mask=np.array([[False, False, False, True, True, True]]))
    np.testing.assert_array_equal(without_padding(left, left)["embeddings"], embeddings[:, 3:])
    for other in (np.ones((1, 6), int), np.array([[0, 1, 2, 3, 4, 5]]), np.array([[1, 1, 1, 0]])):
        assert without_padding(_Inputs(inputs, mask=other), inputs) == {}


def test_a_prompt_without_the_padding_that_the_references_length_leaves_out():
    from parity.compare.prompts import without_padding

    embeddings = _values(1, 6, 8)
    padded = np.concatenate([embeddings[:, :4], np.zeros_like(embeddings[:, 4:])], axis=1)
    inputs = {"embeddings": padded, "length": np.array([4]), "seed": np.array([2])}
    kept = without_padding(inputs, inputs)
    np.testing.assert_array_equal(kept["embeddings"], embeddings[:, :4])
    for other in (
        {"embeddings": embeddings},
        {"length": np.array([3])},
        {"length": np.array([6])},
        {"length": np.array([4.0])},
    ):
        assert without_padding(inputs | other, inputs) == {}


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


def test_parameters_pair_whatever_they_are_called():
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


def test_a_recording_gives_back_what_was_written(tmp_path):
    from parity.record.recording import Recorder, Recording

    path, values = tmp_path / "run.safetensors", _values(3, 4, 5)
    with Recorder(path, {"seed": 1}) as sink:
        sink.add("vae_decode/vae/in/0", values)
        sink.add("text/ids/in/0", np.arange(6))
        sink.repeat("vae_decode/vae.decoder/in/0", "vae_decode/vae/in/0")
    found = Recording(path)
    assert found.facts == {"seed": 1}
    np.testing.assert_array_equal(found.get("vae_decode/vae.decoder/in/0"), values)
    np.testing.assert_array_equal(found.get("text/ids/in/0"), np.arange(6))
    assert found.names("vae_decode") == ["vae_decode/vae/in/0", "vae_decode/vae.decoder/in/0"]


def test_a_table_of_contents_that_outgrows_its_room(tmp_path):
    from parity.record.recording import Recorder, Recording

    path, values = tmp_path / "run.safetensors", [_values(3, n) for n in range(40)]
    with Recorder(path, {"seed": 1}, room=64) as sink:
        for n, one in enumerate(values):
            sink.add(f"vae_decode/vae.layers.{n}/out/0", one)
    found = Recording(path)
    for n, one in enumerate(values):
        np.testing.assert_array_equal(found.get(f"vae_decode/vae.layers.{n}/out/0"), one)


def test_a_long_tensor_has_one_fingerprint_whatever_its_order(monkeypatch):
    from parity.record import fingerprints

    values = _values(30, 41)
    whole = fingerprints.fingerprint(values)
    monkeypatch.setattr(fingerprints, "PIECE", 100)
    assert fingerprints.same_values(whole, fingerprints.fingerprint(values.T))
    assert whole.squares == pytest.approx(float(np.square(values, dtype=np.float64).sum()), rel=1e-12)


def test_a_recording_refuses_nan_and_leaves_nothing(tmp_path):
    from parity.errors import ParityError
    from parity.record.recording import Recorder

    with pytest.raises(ParityError, match="NaN"), Recorder(tmp_path / "run.safetensors", {}) as sink:
        sink.add("a/b/in/0", np.array([1.0, np.nan], np.float32))
    assert not list(tmp_path.iterdir())


def test_a_large_tensor_is_thinned(tmp_path):
    from parity.record.recording import Recorder, Recording

    values = _values(40, 50)
    with Recorder(tmp_path / "run.safetensors", {}, cap=100) as sink:
        sink.add("a/b/out/0", values)
    event = Recording(tmp_path / "run.safetensors").event("a/b/out/0")
    assert event.shape == (40, 50)
    np.testing.assert_array_equal(
        Recording(tmp_path / "run.safetensors").get("a/b/out/0"), values.reshape(-1)[:: event.stride]
    )


def test_values_in_another_order_are_told_from_rounded_ones():
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


def test_bfloat16_rounds_to_the_nearest():
    from parity.record.recording import from_bfloat16, to_bfloat16

    values = _values(1000)
    assert np.abs(from_bfloat16(to_bfloat16(values)) / values - 1).max() <= 2**-8


def test_waivers_cover_what_they_say_and_no_more(tmp_path):
    from parity.waivers import read_waivers

    path = tmp_path / "waivers.yml"
    assert read_waivers(path).entries == ()
    path.write_text('parity:\n- module: "a.*.norm"\n  limit: 2.0e-5\n  reason: chosen by the port\n')
    waivers = read_waivers(path)
    assert waivers.module(_Verdict("a.3.norm", 1e-5)) == "chosen by the port"
    assert not waivers.module(_Verdict("a.3.norm", 3e-5))
    assert not waivers.module(_Verdict("b.3.norm", 1e-6))


def test_a_waived_module_lets_its_stage_leave_the_limit_by_as_much():
    from parity.waivers import Waiver, Waivers

    waivers = Waivers((Waiver("eps of MLX's default", 1e-4, module="vae.*.group_norm"),))
    paths = ["vae.decoder.mid.group_norm", "vae.decoder.conv_in"]
    assert waivers.inherited(1.06e-4, 8.8e-5, paths).startswith("within 1.9e-04, its limit and that of the")
    assert waivers.inherited(1.9e-4, 8.8e-5, paths) == ""
    assert waivers.inherited(float("nan"), 8.8e-5, paths) == ""
    assert waivers.inherited(1.06e-4, 8.8e-5, ["transformer.norm"]) == ""
    wide = Waivers((Waiver("anything goes", 1.0, module="vae.*"),))
    assert wide.inherited(9e-4, 1e-4, paths) and not wide.inherited(1.1e-3, 1e-4, paths)


def test_modules_that_multiply_rounding_have_a_wider_limit():
    from dataclasses import replace

    from parity.compare.limits import Limits

    call = _Call()
    assert Limits("float32").of_sensitive(call, 1.2e-7) == pytest.approx(1e-5)
    assert 1.3e-5 < Limits("float32").of_sensitive(call, 4e-7) < 1e-4
    assert Limits("float32").of_sensitive(call, 1.0) == pytest.approx(1e-4)
    assert Limits("float32").of_sensitive(replace(call, leaf=True), 1.0) == pytest.approx(2.5e-6)


def test_a_reference_that_is_far_off_itself_in_bfloat16_does_not_let_anything_pass():
    """FLUX.1 dev multiplies the guidance by 1000 in bfloat16: its own result is then 0.45 off."""
    from parity.compare.limits import FLOAT32, Limits

    name = "transformer.0/transformer/out/0"
    gaps = {"transformer.0/transformer/out/0": 0.45, "loop/scheduler.0/out/0": 0.21, "loop/scheduler.0/in/0": 0.45}
    limits = Limits("bfloat16", gaps)
    assert limits.is_unsteady(name) and limits.of_stage("transformer", f"{FLOAT32}{name}") == pytest.approx(0.03)
    assert not Limits("float32", gaps).is_unsteady(name)
    assert not Limits("bfloat16", {name: 0.02}).is_unsteady(name)
    for combined in ("guidance/scheduler.0/in/0", "scheduler/scheduler.0/out/0"):
        assert limits.of_stage("scheduler", combined) == pytest.approx(0.04)
    assert limits.of_stage("guidance", "guidance/scheduler.0/in/0", exact=True) == pytest.approx(5e-3)


def test_a_network_of_many_modules_rounds_more_than_one_of_few():
    from dataclasses import replace

    from parity.compare.limits import Limits

    leaf = _Call(leaf=True)
    few, many, most = (replace(_Call(), inside=(leaf,) * count) for count in (9, 64, 10_000))
    assert Limits("float32").of_module(few) == pytest.approx(1e-5)
    assert Limits("float32").of_module(many) == pytest.approx(2e-5)
    assert Limits("float32").of_module(most) == pytest.approx(1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "parity:\n- module: a\n",
        "parity:\n- {module: a, reason: eps}\n",
        "parity:\n- {stage: nowhere, limit: 1, reason: a b c}\n",
        "x: [",
        "parity: [3]\n",
        "parity: b\n",
        "a: b\n",
        "- {module: a, limit: 1.0e-5, reason: a b c}\n",
    ],
)
def test_waivers_that_say_too_little(tmp_path, text):
    from parity.errors import ParityError
    from parity.waivers import read_waivers

    (tmp_path / "waivers.yml").write_text(text)
    with pytest.raises(ParityError, match="waivers.yml"):
        read_waivers(tmp_path / "waivers.yml")


@dataclass
class _Call:
    leaf: bool = False
    whole: bool = True
    short: bool = False
    sinusoid: bool = False
    size: int = 10
    event: str = "transformer.0/transformer"
    inside: tuple[_Call, ...] = ()

    def walk(self):
        return [*self.inside, self]


@dataclass
class _Verdict:
    module: str
    local: float


def test_gaps_of_another_run_do_not_count(tmp_path):
    from parity.record.calibration import read_calibration, write_calibration

    write_calibration(tmp_path / "gaps.json", {"a": 0.5}, "one")
    assert read_calibration(tmp_path / "gaps.json", "one") == {"a": 0.5}
    assert read_calibration(tmp_path / "gaps.json", "two") == {}
    assert json.loads((tmp_path / "gaps.json").read_text())["run"] == "one"


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


def test_modules_that_keep_a_copy_of_one_table_pair():
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


@pytest.mark.parametrize(
    "message",
    [
        "The operator 'aten::isin.Tensor_Tensor_out' is not currently implemented for the MPS device. If you want this op",
        "Could not run 'aten::empty.memory_format' with arguments from the 'MPS' backend. This could be because",
        "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. Please use float32",
        "[Recv::eval_gpu] has no GPU implementation.",
        "[linalg::qr] This op is not yet supported on the GPU. Explicitly pass a CPU stream to run it.",
        "[metal_kernel] No Metal back-end.",
    ],
)
def test_an_operation_that_a_device_lacks_is_known_by_its_error(message):
    from parity import devices

    with pytest.raises(devices.DeviceError, match="^MLX on gpu lacks an operation .*; run it with --device cpu$"):
        devices.stop_if_lacking(RuntimeError(message), "MLX on gpu")


@pytest.mark.parametrize("message", ["", "the loop is not implemented yet", "float64 is not supported", "no device"])
def test_another_error_is_not_blamed_on_the_device(message):
    from parity import devices

    assert devices.lacking(NotImplementedError(message)) == ""


def test_a_run_that_needs_more_memory_than_there_is_says_what_to_use():
    from parity import needs

    assert needs.of_memory(27e9, 5e9, 64e9) == "32.0 GB of memory (27.0 GB of weights, 5.0 GB for the rest)"
    said = needs.of_memory(27e9, 5e9, 24e9, "--dtype bfloat16")
    assert said.endswith("this machine has 24.0 GB: --dtype bfloat16")
    assert needs.together([10_000, 900, 6_000]) == 11_000 and needs.together([10_000, 500]) == 10_500


def test_seconds_are_those_of_a_timed_run_with_more_or_fewer_steps(tmp_path):
    from types import SimpleNamespace

    from parity.needs import Timings

    assert Timings(tmp_path).sentence("port", 4).startswith("seconds: not known")
    progress = SimpleNamespace(seconds=20.0, seconds_in_steps=lambda: 8.0)
    Timings(tmp_path).keep("port", progress, steps=2)
    assert Timings(tmp_path).sentence("port", 4) == "28 s, by the steps of a run that took 20 s"
    (tmp_path / "timings.json").write_text("[1]")
    assert Timings(tmp_path).sentence("port", 4).startswith("seconds: not known")
