"""Padding between a prompt and its suffix comes last when a recording is read, in every tensor of its stage."""

from __future__ import annotations

import numpy as np

MASK = np.array([[1, 1, 0, 0, 1]], dtype=bool)
ORDER = [0, 1, 4, 2, 3]


def _read(tmp_path, mask: np.ndarray, **tensors: np.ndarray) -> dict[str, np.ndarray]:
    from parity.record.recording import Recorder, Recording

    path = tmp_path / "reference.safetensors"
    with Recorder(path, {}) as sink:
        sink.add("transformer.0/transformer/in/0", np.zeros((1, 3, 8), np.float32))
        sink.add("transformer.0/transformer/in/1", mask)
        for name, values in tensors.items():
            sink.add(f"transformer.0/transformer.{name}/out/0", values)
        sink.add("scheduler/loop/out/0", np.arange(5.0))
    recording = Recording(path)
    read = {name: recording.get(f"transformer.0/transformer.{name}/out/0") for name in tensors}
    return read | {
        "mask": recording.get("transformer.0/transformer/in/1"),
        "other": recording.get("scheduler/loop/out/0"),
    }


def test_padding_in_the_middle_is_moved_to_the_end(tmp_path):
    text, scores = np.arange(10.0).reshape(1, 5, 2), np.arange(25.0).reshape(1, 1, 5, 5)
    joint, width = np.arange(16.0).reshape(1, 8, 2), np.arange(20.0).reshape(1, 4, 5)
    read = _read(tmp_path, MASK, text=text, scores=scores, joint=joint, width=width)
    assert read["mask"].tolist() == [[True, True, True, False, False]]
    np.testing.assert_array_equal(read["text"], text[:, ORDER])
    np.testing.assert_array_equal(read["scores"], scores[:, :, ORDER][..., ORDER])
    np.testing.assert_array_equal(read["joint"], joint[:, [0, 1, 4, 5, 6, 7, 2, 3]])  # the image's rows follow the text
    np.testing.assert_array_equal(read["width"], width)
    np.testing.assert_array_equal(read["other"], np.arange(5.0))


def test_padding_at_either_end_stays(tmp_path):
    text = np.arange(10.0).reshape(1, 5, 2)
    for mask in ([1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]):
        read = _read(tmp_path, np.array([mask], dtype=bool), text=text)
        np.testing.assert_array_equal(read["text"], text)
        assert read["mask"].tolist() == [[bool(value) for value in mask]]
