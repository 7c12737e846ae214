"""What is written is whole, or as it was before."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest


def test_a_file_or_folder_is_replaced_in_one_piece(tmp_path):
    from parity import files

    for name, write in (("a.json", lambda part: part.write_text("new")), ("twin", lambda part: part.mkdir())):
        path = tmp_path / name
        write(path)
        before = path.stat().st_ino
        with pytest.raises(KeyboardInterrupt), files.replaced(path) as part:
            write(part)
            raise KeyboardInterrupt
        assert path.stat().st_ino == before and not part.exists()
        write(part)  # of a run that was killed
        with files.replaced(path) as part:
            assert not part.exists()
            write(part)
        assert path.stat().st_ino != before and not part.exists()


@pytest.mark.parametrize("step", ["write", "seek", "close"])
def test_a_full_disk_leaves_no_part_of_a_recording_and_is_told_with_the_file(tmp_path, step):
    from parity.record.recording import Recorder

    path = tmp_path / "reference.safetensors"
    path.write_text("before")
    with pytest.raises(OSError) as found, Recorder(path, {}) as sink:
        sink.add("vae_decode/vae/out/0", np.zeros(9, np.float32))
        sink._file = Failing(sink._file, step)
        sink.add("vae_decode/vae/out/1", np.ones(9, np.float32))
    assert (found.value.errno, found.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "before" and [file.name for file in tmp_path.iterdir()] == [path.name]


class Failing:
    """A file on a disk that becomes full: one kind of call fails."""

    def __init__(self, file, step: str):
        self.file, self.step = file, step

    def __getattr__(self, name: str):
        def fail(*_):
            self.file.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return fail if name == self.step else getattr(self.file, name)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "/x/a"), "cannot use /x/a: No space left on device; free space on"),
        (ValueError("I/O error: No space left on device (os error 28)"), "(os error 28); free space on this disk"),
        (RuntimeError("[malloc] Unable to allocate 9 bytes."), "Unable to allocate 9 bytes; --dtype bfloat16 halves"),
        (FileNotFoundError(2, "No such file", "/x/a"), "cannot use /x/a: No such file; check that it exists"),
    ],
)
def test_a_lack_of_space_or_memory_is_one_line(error, words, capsys):
    from parity import errors

    with pytest.raises(SystemExit, match="^2$"):
        errors.run(_raising(error))
    said = capsys.readouterr().err
    assert said.startswith("parity: ") and said.count("\n") == 1 and words in said, said


def test_another_error_is_not_hidden():
    from parity import errors

    with pytest.raises(ValueError, match="wrong"):
        errors.run(_raising(ValueError("wrong")))


def _raising(error: Exception):
    def main() -> int:
        raise error

    return main
