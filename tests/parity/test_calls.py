"""Predictions are judged one by one: which prompt each was made for, how guidance combines them, what was left out."""

from __future__ import annotations

import numpy as np
import pytest

RNG = np.random.default_rng(5)
SHAPE = (1, 4, 6, 10)
SIZE = int(np.prod(SHAPE))
G = 3.5


def _values(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


POSITIVE, NEGATIVE, POOLED = _values(1, 7, 12), _values(1, 7, 12), _values(1, 12)
CONDITIONAL, UNCONDITIONAL = _values(*SHAPE), _values(*SHAPE)


def _recording(path, calls: dict[str, tuple[dict, list]], prediction: np.ndarray, listed: bool = False):
    """A recording of one step: the inputs by argument and the outputs of each call."""
    from parity.record.recording import Recorder, Recording

    facts = {"denoisers": {"transformer": {"latents": "x", "listed": listed}}, "sign": 1.0, "prompt": "a fox"}
    facts["arguments"] = {stage: list(inputs) for stage, (inputs, _) in calls.items()}
    row = np.arange(SIZE).reshape(SHAPE[1:] if listed else SHAPE)
    with Recorder(path, facts) as sink:
        sink.add("loop/scheduler.0/in/0", prediction)
        sink.add("loop/scheduler.0/in/1", _values(*SHAPE))
        for name in ("in", "out"):
            sink.add(f"layout/transformer/{name}/0", row)
        for stage, (inputs, outputs) in calls.items():
            for n, values in enumerate(inputs.values()):
                sink.add(f"{stage}/transformer/in/{n}", values)
            for n, values in enumerate(outputs):
                sink.add(f"{stage}/transformer/out/{n}", values)
    return Recording(path)


def _inputs(*prompts: np.ndarray) -> dict:
    x, time = _values(*SHAPE), np.array([0.5], np.float32)
    count = len(prompts)
    return {"x": np.concatenate([x] * count), "t": np.repeat(time, count), "prompt": np.concatenate(prompts)}


def _guided() -> np.ndarray:
    return UNCONDITIONAL + np.float32(G) * (CONDITIONAL - UNCONDITIONAL)


@pytest.fixture(params=["two calls", "one batch", "a list"])
def recorded(request, tmp_path):
    path, x = tmp_path / "run.safetensors", _values(*SHAPE[1:])
    if request.param == "two calls":
        calls = {
            "transformer.0": (_inputs(POSITIVE), [CONDITIONAL]),
            "transformer.0.1": (_inputs(NEGATIVE), [UNCONDITIONAL]),
        }
        return _recording(path, calls, _guided())
    if request.param == "one batch":
        outputs = [np.concatenate([UNCONDITIONAL, CONDITIONAL])]
        return _recording(path, {"transformer.0": (_inputs(NEGATIVE, POSITIVE), outputs)}, _guided())
    inputs = {"x.0": x, "x.1": x, "t": np.full(2, 0.5, np.float32), "cap.0": POSITIVE[0], "cap.1": NEGATIVE[0]}
    return _recording(path, {"transformer.0": (inputs, [CONDITIONAL[0], UNCONDITIONAL[0]])}, _guided(), listed=True)


def test_predictions_are_read_from_any_form_of_call(recorded):
    from parity.compare.calls import ReferenceCalls

    calls = ReferenceCalls(recorded)
    branches = calls.branches(0)
    assert len(branches) == 2
    conditional = branches[calls.conditional()]
    np.testing.assert_allclose(calls.output(conditional), CONDITIONAL.reshape(-1))
    [prompt] = conditional.prompts.values()
    np.testing.assert_array_equal(prompt.reshape(7, 12), POSITIVE[0])
    assert [values.size for values in conditional.times.values()] in ([1], [2])


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_predictions_of_both_sides_pair_by_their_prompts(recorded, noise):
    from parity.compare.calls import ReferenceCalls, pair

    calls = ReferenceCalls(recorded)
    place = calls.conditional()
    own = [("transformer", [values + np.float32(noise) * _values(1, 7, 12)]) for values in (NEGATIVE, POSITIVE)]
    assert pair(calls.branches(0), own) == [1 - place, place]
    assert pair(calls.branches(0), own[1:]) == [place]
    extra = [*own, ("transformer", [_values(1, 9, 12)])]
    assert pair(calls.branches(0), extra) == [1 - place, place, None]


def test_zeros_in_place_of_a_negative_prompt_pair_with_zeros(tmp_path):
    from parity.compare.calls import ReferenceCalls, is_prompt, pair

    zeros, mask = np.zeros_like(POSITIVE), np.zeros((1, 12), np.float32)
    outputs = [np.concatenate([UNCONDITIONAL, CONDITIONAL])]
    recorded = _recording(tmp_path / "a", {"transformer.0": (_inputs(zeros, POSITIVE), outputs)}, _guided())
    own = [("transformer", [values for values in (one, mask) if is_prompt(values)]) for one in (POSITIVE, zeros)]
    assert pair(ReferenceCalls(recorded).branches(0), own) == [1, 0]


def test_a_prompt_of_another_length_is_explained():
    from parity.compare.prompts import other_length

    filled = np.concatenate([POSITIVE, np.zeros((1, 3, 12), np.float32)], axis=1)
    asked = ["max_sequence_length"]
    assert other_length(filled, POSITIVE, asked).endswith("; the reference fills it up with 3 rows of zeros")
    assert other_length(POSITIVE, POSITIVE[:, :5], asked).endswith(
        "--call max_sequence_length=5 if that is the model's length"
    )
    assert other_length(POSITIVE, filled, ()).endswith("the reference's are [1, 7, 12]")


def test_table_made_outside_the_network_does_not_affect_the_pairing(recorded):
    from parity.compare.calls import ReferenceCalls, pair

    calls = ReferenceCalls(recorded)
    place, table = calls.conditional(), _values(1, 22, 1, 5)
    own = [("transformer", [table, NEGATIVE]), ("transformer", [table, POSITIVE])]
    assert pair(calls.branches(0), own) == [1 - place, place]


def _branch(tmp_path, inputs: dict):
    from parity.compare.calls import ReferenceCalls

    calls = {"transformer.0": (_inputs(POSITIVE) | inputs, [CONDITIONAL])}
    return ReferenceCalls(_recording(tmp_path / "run.safetensors", calls, CONDITIONAL)).branches(0)[0]


def test_each_input_of_the_prompt_finds_its_array(tmp_path):
    from parity.compare.calls import match_prompts

    branch = _branch(tmp_path, {"pooled": POOLED, "glyphs": _values(1, 3, 12)})
    found = match_prompts(branch, {4: POOLED + np.float32(1e-6), 2: POSITIVE})
    assert {n: branch.names[match.name] for n, match in found.items()} == {4: "pooled", 2: "prompt"}
    assert all(match.gap < 1e-5 for match in found.values())
    # The glyphs were never passed on: no array of the port is left for them.
    assert {branch.names[name] for name in branch.prompts} == {"pooled", "prompt", "glyphs"}


@pytest.mark.parametrize(("name", "listed"), [("layers.{}", True), ("layers_{}", False)])
def test_inputs_of_one_shape_keep_their_order(tmp_path, name, listed):
    """Hidden states of all layers: values show which is which, unless one of them is wrong or they are one list."""
    from parity.compare.calls import match_prompts

    layers = [_values(1, 7, 16) for _ in range(3)]
    branch = _branch(tmp_path, {name.format(n): values for n, values in enumerate(layers)})
    turned = match_prompts(branch, {4: layers[2], 5: layers[0], 6: layers[1]})
    first, second, third = list(branch.prompts)[-3:]
    assert [turned[n].name for n in (4, 5, 6)] == ([first, second, third] if listed else [third, first, second])
    further = match_prompts(branch, {4: layers[1], 5: layers[2], 6: layers[2]})
    assert [further[n].name for n in (4, 5, 6)] == [first, second, third]
    assert further[4].gap > 0.5


def test_port_padding_stays_and_other_lengths_are_reported(tmp_path):
    from parity.compare.calls import match_prompts

    branch = _branch(tmp_path, {})
    padded = np.concatenate([POSITIVE, np.full((1, 3, 12), 9, np.float32)], axis=1)
    match = match_prompts(branch, {1: padded})[1]
    assert match.gap == 0 and (match.reference[:, 7:] == 9).all()
    left = np.concatenate([np.full((1, 3, 12), 9, np.float32), POSITIVE], axis=1)
    assert match_prompts(branch, {1: left})[1].gap == 0
    shorter = match_prompts(branch, {1: POSITIVE[:, :5]})[1]
    assert shorter.reference is None and shorter.gap == np.inf


def test_masked_padding_of_the_reference_is_left_out(tmp_path):
    from parity.compare.calls import match_prompts

    mask = np.array([[1, 1, 1, 1, 1, 0, 0]])
    branch = _branch(tmp_path, {"mask": mask})
    match = match_prompts(branch, {1: POSITIVE[:, :5]})[1]
    assert match.gap == 0 and match.reference.shape == (1, 5, 12)


FORMULAS = {
    "u + g(c - u)": lambda c, u: u + G * (c - u),
    "c + g(c - u)": lambda c, u: c + G * (c - u),
    "c alone": lambda c, u: c,
    "c + g(u - c)": lambda c, u: c + G * (u - c),
    "g(c - u)": lambda c, u: G * (c - u),
    "-(c + g(c - u))": lambda c, u: -(c + G * (c - u)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_guidance_formula_is_fitted_and_named(name):
    from parity.compare import guidance_formula

    prediction = FORMULAS[name](CONDITIONAL, UNCONDITIONAL)
    factors, rest = guidance_formula.fit([CONDITIONAL, UNCONDITIONAL], prediction)
    assert guidance_formula.formula(factors, rest, G) == name


def test_nonlinear_formula_is_reported_and_two_formulas_are_distinguished():
    from parity.compare import guidance_formula

    outputs = [CONDITIONAL, UNCONDITIONAL]
    plain = UNCONDITIONAL + G * (CONDITIONAL - UNCONDITIONAL)
    clipped = np.clip(plain, -2, 2)
    fits = [
        guidance_formula.fit(outputs, values)
        for values in (plain, clipped, CONDITIONAL + G * (CONDITIONAL - UNCONDITIONAL))
    ]
    assert "not a sum of the two" in guidance_formula.formula(*fits[1], G)
    assert guidance_formula.difference(fits[0], fits[0], G) == ""
    said = guidance_formula.difference(fits[0], fits[2], G)
    assert "the port computes c + g(c - u), the reference u + g(c - u)" in said


def test_step_with_fewer_predictions_is_paired_by_prompt(tmp_path):
    """Guidance that ends before the last step."""
    from parity.compare.calls import ReferenceCalls

    calls = {
        "transformer.0": (_inputs(NEGATIVE), [UNCONDITIONAL]),
        "transformer.0.1": (_inputs(POSITIVE), [CONDITIONAL]),
        "transformer.1": (_inputs(POSITIVE), [CONDITIONAL]),
    }
    reference = ReferenceCalls(_recording(tmp_path / "run.safetensors", calls, _guided()))
    first = reference.branches(0)
    assert reference.like(first[0], 0, 1) is None
    assert reference.like(first[1], 1, 1).stage == "transformer.1"


def _tf32(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


def _floors(short) -> dict[str, float]:
    from parity import float32_floor

    def attention(q, k, v):
        scores = short(q) @ short(k).swapaxes(-1, -2) / np.float32(np.sqrt(q.shape[-1]))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return short(weights / weights.sum(axis=-1, keepdims=True)) @ short(v)

    def convolution(picture, kernels):
        windows = np.lib.stride_tricks.sliding_window_view(short(picture), kernels.shape[2:], axis=(2, 3))
        return np.einsum("bchwij,ocij->bohw", windows, short(kernels))

    return float32_floor.measure(lambda a, b: short(a) @ short(b), convolution, attention)


def test_tf32_products_are_reported_and_float32_is_not():
    from parity import float32_floor

    floors = _floors(lambda values: values)
    assert set(floors) == {"matmul", "convolution", "attention"} and max(floors.values()) < 2e-6
    assert float32_floor.sentence("PyTorch on cuda", floors, "…") == ""
    said = float32_floor.sentence("PyTorch on cuda", _floors(_tf32), "run it with --device cpu")
    assert said.startswith("PyTorch on cuda does not compute in float32 (matmul ") and "--device cpu" in said


@pytest.mark.parametrize(
    ("config", "unit"),
    [
        ({"block_out_channels": [1, 2, 3, 4]}, 16),
        ({"scale_factor_spatial": 16, "dim_mult": [1, 2, 4, 4]}, 32),
        ({"spatial_compression_ratio": 32, "block_out_channels": [1, 2, 3, 4, 5, 6]}, 64),
        ({"dim_mult": [1, 2, 4, 4]}, 16),
        ({}, 16),
    ],
)
def test_sizes_are_multiples_of_the_vae_scale(tmp_path, config, unit):
    import json

    from parity.errors import ParityError
    from parity.record import sizes

    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/config.json").write_text(json.dumps(config))
    width, height = sizes.small(tmp_path, 16)
    assert all(side % 48 == side % unit == 0 for side in sizes.small(tmp_path, 48))
    assert sizes.multiple(tmp_path) == unit and width % unit == height % unit == 0 and width != height
    sizes.verify_drawn((1, 3, height, width), width, height, tmp_path)
    with pytest.raises(ParityError, match=f"drew 256x{height} when asked for {width}x{height}.* multiples of {unit}"):
        sizes.verify_drawn((1, 3, height, 256), width, height, tmp_path)


@pytest.mark.parametrize(("sides", "size"), [(16, (1024, 768)), (48, (1008, 768)), (1024, (1024, 1024))])
def test_the_default_size_is_one_that_the_port_takes(sides, size):
    from parity.record.sizes import usual

    assert usual(sides) == size


def test_whole_tensors_are_never_thinned_and_kept_once(tmp_path):
    from parity.record.recording import Recorder, Recording

    values, path = _values(40, 50), tmp_path / "run.safetensors"
    with Recorder(path, {}, cap=100) as sink:
        sink.add("vae_decode/vae/out/0", values, whole=True)
        sink.add("vae_encode/vae/in/0", values.copy(), whole=True)
        sink.add("vae_encode/vae.encoder.0/in/0", values)
    found = Recording(path)
    assert found.event("vae_encode/vae/in/0").same == "vae_decode/vae/out/0"
    assert found.event("vae_encode/vae.encoder.0/in/0").stride > 1
    np.testing.assert_array_equal(found.get("vae_encode/vae/in/0"), values)
