"""What a run needs of the machine: operations, memory and seconds."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "message",
    [
        "The operator 'aten::isin.Tensor_Tensor_out' is not currently implemented for the MPS device. If you want this op",
        "Could not run 'aten::empty.memory_format' with arguments from the 'MPS' backend. This could be because",
        "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. Please use float32",
        "[Recv::eval_gpu] has no GPU implementation.",
        "[linalg::qr] This op is not yet supported on the GPU. Explicitly pass a CPU stream to run it.",
        "[metal_kernel] No Metal back-end.",
        "query is not correctly aligned (strideM)",
    ],
)
def test_missing_operation_is_recognized_by_its_error(message):
    from parity import devices

    with pytest.raises(devices.DeviceError, match="^MLX on gpu lacks an operation .*; run it with --device cpu$"):
        devices.stop_if_lacking(RuntimeError(message), "MLX on gpu")


@pytest.mark.parametrize("message", ["", "the loop is not implemented yet", "float64 is not supported", "no device"])
def test_another_error_is_not_blamed_on_the_device(message):
    from parity import devices

    assert devices.lacking(NotImplementedError(message)) == ""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 40.00 GB). Tried to allocate 10.00 GB on shared pool."),
        RuntimeError(
            "[metal::malloc] Attempting to allocate 9 bytes which is greater than the maximum allowed buffer size"
        ),
        RuntimeError("[malloc] Unable to allocate 2147483648 bytes."),
        MemoryError("Unable to allocate 16.0 GiB for an array"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_no_error_of_the_port(error):
    from parity import devices

    with pytest.raises(devices.DeviceError, match="^MLX on gpu has too little memory ") as found:
        devices.stop_if_lacking(error, "MLX on gpu")
    assert str(found.value).endswith(devices.LESS)


def test_a_recording_that_does_not_fit_on_its_disk_is_told_what_takes_less(tmp_path):
    from parity import needs

    path = tmp_path / "not made yet" / "modules.safetensors"
    assert needs.lacking_disk(1, path) == ""
    assert needs.lacking_disk(1e18, path).endswith("GB left: --blocks and --module take less")


def test_a_container_may_have_less_memory_than_the_machine(tmp_path):
    from parity import needs

    limit = tmp_path / "memory.max"
    whole = needs.machine(limit)
    limit.write_text("max\n")
    assert needs.machine(limit) == whole
    limit.write_text("4000\n")
    assert needs.machine(limit) == min(whole, 4000)


def test_run_that_needs_too_much_memory_suggests_options():
    from parity import needs

    assert needs.of_memory(27e9, 5e9, 64e9) == "32.0 GB of memory (27.0 GB of weights, 5.0 GB for the rest)"
    said = needs.of_memory(27e9, 5e9, 24e9, "--dtype bfloat16")
    assert said.endswith("this machine has 24.0 GB: --dtype bfloat16")
    assert needs.together([10_000, 900, 6_000]) == 11_000 and needs.together([10_000, 500]) == 10_500


def test_seconds_are_scaled_from_a_timed_run(tmp_path):
    from types import SimpleNamespace

    from parity.needs import Timings

    assert Timings(tmp_path).sentence("port", 4).startswith("seconds: unknown")
    progress = SimpleNamespace(seconds=20.0, seconds_of_a_step=lambda: 4.0)
    Timings(tmp_path).keep("port", progress, steps=2)
    assert Timings(tmp_path).sentence("port", 4) == "28 s, by the steps of a run that took 20 s"
    (tmp_path / "timings.json").write_text("[1]")
    assert Timings(tmp_path).sentence("port", 4).startswith("seconds: unknown")


def test_loading_is_no_part_of_a_later_step(monkeypatch):
    from parity import progress

    for texts, step in (
        (["text_encoder", "transformer, step 1 of 2", "transformer is loaded", "transformer, step 2 of 2", "vae"], 10),
        (["transformer, step 1 of 1", "transformer is loaded", "vae_decode"], 20),  # nothing better is known
        ([], 0),  # a claim without a step
        (["loop: transformer, step 1 of 2", "loop: transformer, step 2 of 2", "whole: transformer, step 1 of 2"], 20),
    ):
        timed = progress.Progress("reference")
        timed._start = 0
        timed._marks = [(text, 10 * n) for n, text in enumerate(texts)]
        end = 10 * len(texts)
        monkeypatch.setattr(progress.time, "monotonic", lambda end=end: end)
        assert timed.seconds_of_a_step() == step, texts
