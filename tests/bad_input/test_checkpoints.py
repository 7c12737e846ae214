"""An invalid checkpoint gives one line and exit code 2. Nothing is written, no pickle loaded, little memory used."""

from __future__ import annotations

import json
import resource

import pytest

from tests.bad_input.damaged_files import (
    BASE,
    DAMAGED_FILES,
    FILE,
    header_is_deep,
    length_beyond_the_file,
    two_gigabytes_of_header,
)
from tests.bad_input.damaged_folders import DAMAGED_FOLDERS
from tests.bad_input.world import refused
from tests.checkpoint.files import TRANSFORMER, write_header, write_raw


@pytest.mark.parametrize("damage", [*DAMAGED_FILES, *DAMAGED_FOLDERS])
def test_bad_checkpoints(world, capsys, damage):
    folder = world.checkpoint / "transformer"
    (folder / FILE).unlink()
    expected = damage(folder)
    refused(world, capsys, ["inspect", "../checkpoint", "-o", "../answers.yml"], (expected,))
    draft = ["draft", "nova", "--checkpoint", "../checkpoint", "--component", "transformer"]
    refused(world, capsys, draft, (expected,))
    assert not (folder / "ran").exists()


def test_draft_checks_all_components_first(world, capsys):
    # The key list covers the whole checkpoint, so an invalid VAE must be found before the transformer is written.
    write_raw(world.checkpoint / "vae" / FILE, b"[]")
    index = json.loads((world.checkpoint / "model_index.json").read_text()) | {"vae": ["diffusers", "AutoencoderKL"]}
    (world.checkpoint / "model_index.json").write_text(json.dumps(index))
    draft = ["draft", "nova", "--checkpoint", "../checkpoint", "--component", "transformer"]
    refused(world, capsys, draft, ("vae", "a JSON list, not an object"))


@pytest.mark.parametrize("damage", [two_gigabytes_of_header, header_is_deep, length_beyond_the_file])
def test_bad_input_takes_little_memory(mflux_port, pipeline, damage):
    expected = damage(pipeline / "transformer")
    done = mflux_port("inspect", pipeline, cwd=pipeline, preexec_fn=limit_memory)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and expected in done.stderr


def limit_memory() -> None:
    # 400 MB of address space: enough for Python, not for what a header claims.
    resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20, 400 * 2**20))


def test_loop_of_folders_is_refused(mflux_port, pipeline):
    write_header(pipeline / f"transformer/{BASE}.safetensors", TRANSFORMER)
    (pipeline / "transformer" / "again").symlink_to(pipeline)
    done = mflux_port("inspect", "--json", pipeline, cwd=pipeline)
    assert done.returncode == 0, done.stderr
    assert [part["name"] for part in json.loads(done.stdout)["components"]] == ["transformer"]


@pytest.mark.parametrize("where", ["nowhere", "a/b/c", "../x", "-o"])
def test_no_such_checkpoint(mflux_port, tmp_path, where):
    done = mflux_port("inspect", where, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_text_in_a_checkpoint_cannot_add_lines_to_the_output(mflux_port, pipeline):
    write_header(pipeline / f"transformer/{BASE}.safetensors", TRANSFORMER)
    index = {"_class_name": "Nova\nPipeline\x1b[31m", "transformer": ["diffusers", "X"]}
    (pipeline / "model_index.json").write_text(json.dumps(index))
    answers = pipeline / "answers.yml"
    done = mflux_port("inspect", pipeline, "-o", answers, cwd=pipeline)
    assert "\x1b" not in done.stdout and "\nPipeline" not in done.stdout
    assert "\nPipeline" not in answers.read_text()
