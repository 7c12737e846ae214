"""Unsound checkpoints: one line, exit 2, nothing written, little memory, and no pickle is ever opened as one."""

from __future__ import annotations

import json
import os
import pickle
import resource

import pytest

from tests.bad_input.world import refused
from tests.checkpoint.files import TRANSFORMER, write_header, write_raw, write_sharded

BASE = "diffusion_pytorch_model"
FILE = f"{BASE}.safetensors"
ENTRY = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}


def header(folder, table, data=4):
    write_raw(folder / FILE, json.dumps(table).encode(), data)


def truncated_header(folder):
    path = write_header(folder / f"{BASE}.safetensors", TRANSFORMER)
    os.truncate(path, 40)
    return "ends within its header"


def truncated_data(folder):
    path = write_header(folder / f"{BASE}.safetensors", TRANSFORMER)
    os.truncate(path, path.stat().st_size - 1)
    return "bytes of data and lists 36992; download it again"


def length_beyond_the_file(folder):
    write_raw(folder / f"{BASE}.safetensors", b"{}", claim=5000)
    return "ends within its header"


def two_gigabytes_of_header(folder):
    write_raw(folder / f"{BASE}.safetensors", b"{}", data=3 * 2**30, claim=2 * 2**30)
    return "claims a header of 2147483648 bytes"


def empty_file(folder):
    (folder / f"{BASE}.safetensors").write_bytes(b"")
    return "shorter than a safetensors header"


def index_names_a_missing_shard(folder):
    write_sharded(folder, TRANSFORMER, 3, BASE)[1].unlink()
    return f"{BASE}-00002-of-00003.safetensors, which is missing"


def a_shard_is_missing_without_index(folder):
    write_sharded(folder, TRANSFORMER, 3, BASE, index=False)[1].unlink()
    return "lacks shard 2 of 3"


def index_names_another_shard(folder):
    write_sharded(folder, TRANSFORMER, 2, BASE)
    path = folder / f"{BASE}.safetensors.index.json"
    path.write_text(path.read_text().replace('"proj_out.weight"', '"proj_in.weight"'))
    return "says that"


def tensor_in_two_shards(folder):
    paths = write_sharded(folder, TRANSFORMER, 2, BASE, index=False)
    write_header(paths[1], {"x_embedder.bias": (64,)})
    return "both hold tensor 'x_embedder.bias'"


def unknown_type(folder):
    header = {"a.weight": ENTRY | {"dtype": "Q4_K"}}
    write_raw(folder / f"{BASE}.safetensors", json.dumps(header).encode(), 4)
    return "'a.weight' has the unknown type 'Q4_K'"


def header_is_a_list(folder):
    write_raw(folder / f"{BASE}.safetensors", b"[1, 2]")
    return "a JSON list, not an object"


def header_is_no_json(folder):
    write_raw(folder / f"{BASE}.safetensors", b"\x80\x02}q\x00.")
    return "no JSON header"


def header_is_deep(folder):
    write_raw(folder / f"{BASE}.safetensors", b"[" * 200_000)
    return "no JSON header"


def name_twice(folder):
    entry = json.dumps(ENTRY)
    write_raw(folder / f"{BASE}.safetensors", f'{{"a": {entry}, "a": {entry}}}'.encode(), 4)
    return "lists 'a' twice"


def shape_is_text(folder):
    header = {"a": ENTRY | {"shape": ["2"]}}
    write_raw(folder / f"{BASE}.safetensors", json.dumps(header).encode(), 4)
    return "must be lists of whole numbers"


def shape_and_bytes_differ(folder):
    header = {"a": ENTRY | {"shape": [3]}}
    write_raw(folder / f"{BASE}.safetensors", json.dumps(header).encode(), 4)
    return "needs 6 bytes and has 4"


def config_is_a_list(folder):
    write_header(folder / f"{BASE}.safetensors", TRANSFORMER)
    (folder / "config.json").write_text("[]")
    return "config.json is a JSON list, not an object"


def model_index_is_broken(folder):
    (folder.parent / "model_index.json").write_text("{")
    return "model_index.json is not JSON"


def index_is_a_number(folder):
    write_sharded(folder, TRANSFORMER, 2, BASE)
    (folder / f"{BASE}.safetensors.index.json").write_text("7")
    return "not a JSON object with a weight_map"


def index_leads_out_of_the_folder(folder):
    write_header(folder.parent.parent / "secret.safetensors", TRANSFORMER)
    write_sharded(folder, TRANSFORMER, 2, BASE)
    path = folder / f"{BASE}.safetensors.index.json"
    path.write_text(path.read_text().replace(f"{BASE}-00001-of-00002", "../../secret"))
    return "not a safetensors file in its folder"


def link_to_itself(folder):
    (folder / f"{BASE}.safetensors").symlink_to(folder / f"{BASE}.safetensors")
    return "is a broken link"


def dangling_link(folder):
    (folder / f"{BASE}.safetensors").symlink_to("../blobs/gone")
    return "is a broken link"


def pickle_weights(folder):
    (folder / f"{BASE}.bin").write_bytes(pickle.dumps(Trap(str(folder / "ran"))))
    return "is a pickle, which can run code"


def pickle_under_another_name(folder):
    (folder / f"{BASE}.safetensors").write_bytes(pickle.dumps(Trap(str(folder / "ran"))))
    return "claims a header of"


def no_weights(folder):
    return "lacks transformer, which model_index.json lists"


def header_of_nothing(folder):
    write_raw(folder / FILE, b"")
    return "no JSON header"


def header_in_latin_1(folder):
    write_raw(folder / FILE, '{"é": {}}'.encode("latin-1"))
    return "no JSON header"


def header_with_a_long_number(folder):
    write_raw(folder / FILE, b'{"a": {"dtype": "BF16", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}', 4)
    return "no JSON header"


def entry_is_a_list(folder):
    header(folder, {"a": [1]})
    return "tensor 'a' has no dtype, shape and data_offsets"


def entry_without_a_type(folder):
    header(folder, {"a": {"shape": [2], "data_offsets": [0, 4]}})
    return "tensor 'a' has no dtype, shape and data_offsets"


def type_is_a_list(folder):
    header(folder, {"a": ENTRY | {"dtype": ["BF16"]}})
    return "'a' has the unknown type ['BF16']"


def shape_is_negative(folder):
    header(folder, {"a": ENTRY | {"shape": [-2]}})
    return "'a' has shape [-2]"


def shape_is_half(folder):
    header(folder, {"a": ENTRY | {"shape": [2.0]}})
    return "'a' has shape [2.0]"


def shape_is_true(folder):
    header(folder, {"a": ENTRY | {"shape": [True, 2]}})
    return "'a' has shape [True, 2]"


def shape_of_a_million_sizes(folder):
    header(folder, {"a": ENTRY | {"shape": [2**62] * 1_000_000}})
    return "must be lists of whole numbers"


def offsets_are_one(folder):
    header(folder, {"a": ENTRY | {"data_offsets": [4]}})
    return "at [4]; these must be lists"


def offsets_run_back(folder):
    header(folder, {"a": ENTRY | {"data_offsets": [4, 0]}})
    return "needs 4 bytes and has -4"


def tensors_overlap(folder):
    header(folder, {"a": ENTRY, "b": ENTRY | {"data_offsets": [2, 6]}}, 6)
    return "the data of tensor 'b' overlaps another's"


def tensors_leave_a_gap(folder):
    header(folder, {"a": ENTRY, "b": ENTRY | {"data_offsets": [8, 12]}}, 12)
    return "the data of tensor 'b' begins after a gap"


def more_data_than_listed(folder):
    header(folder, {"a": ENTRY}, 100)
    return "holds 100 bytes of data and lists 4"


def metadata_is_a_list(folder):
    header(folder, {"__metadata__": ["x"], "a": ENTRY})
    return "__metadata__ is not a JSON object"


def name_of_two_lines(folder):
    header(folder, {"a\n[files]\nx": ENTRY})
    return r"'a\n[files]\nx' is not a valid tensor name"


def name_of_half_a_character(folder):
    write_raw(folder / FILE, b'{"\\ud800": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}', 4)
    return r"'\ud800' is not a valid tensor name"


def name_of_nothing(folder):
    header(folder, {"": ENTRY})
    return "'' is not a valid tensor name"


def name_of_a_megabyte(folder):
    header(folder, {"a" * 1_000_000: ENTRY})
    return "is not a valid tensor name"


def file_is_a_pipe(folder):
    os.mkfifo(folder / FILE)
    return "lacks transformer, which model_index.json lists"


def two_checkpoints(folder):
    for name in ("a", "b"):
        write_header(folder / f"{name}.safetensors", TRANSFORMER)
    return "holds several checkpoints (a, b)"


def two_sets_of_shards(folder):
    for count in (2, 3):
        write_sharded(folder, TRANSFORMER, count, BASE, index=False)
    return "lacks shard"


def index_of_nothing(folder):
    write_sharded(folder, TRANSFORMER, 2, BASE)
    (folder / f"{FILE}.index.json").write_text('{"weight_map": {}}')
    return "not a JSON object with a weight_map"


def index_names_a_pickle(folder):
    write_sharded(folder, TRANSFORMER, 2, BASE)
    (folder / f"{FILE}.index.json").write_text('{"weight_map": {"a": "pytorch_model.bin"}}')
    return "'pytorch_model.bin', which is not a safetensors file"


def index_is_deep(folder):
    write_sharded(folder, TRANSFORMER, 2, BASE)
    (folder / f"{FILE}.index.json").write_text("[" * 100_000)
    return "not a JSON object with a weight_map"


def config_is_deep(folder):
    write_header(folder / FILE, TRANSFORMER)
    (folder / "config.json").write_text("[" * 100_000)
    return "config.json is not JSON"


def config_is_not_utf_8(folder):
    write_header(folder / FILE, TRANSFORMER)
    (folder / "config.json").write_bytes(b"\xff\xfe{}")
    return "config.json is not JSON"


def config_is_huge(folder):
    write_header(folder / FILE, TRANSFORMER)
    os.truncate(folder / "config.json", 65_000_000)
    return "has 65000000 bytes, too many for a configuration file"


def config_is_a_loop(folder):
    write_header(folder / FILE, TRANSFORMER)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("config.json")
    return "config.json is a broken link"


def scheduler_is_a_number(folder):
    write_header(folder / FILE, TRANSFORMER)
    (folder.parent / "scheduler").mkdir()
    (folder.parent / "scheduler/scheduler_config.json").write_text("3")
    return "scheduler_config.json is a JSON int, not an object"


def name_of_a_file_of_two_lines(folder):
    write_header(folder / FILE, TRANSFORMER)
    (folder / "a\nb.json").write_text("{}")
    return "is not a valid file name"


class Trap:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


BAD = [
    truncated_header, truncated_data, length_beyond_the_file, two_gigabytes_of_header, empty_file,
    index_names_a_missing_shard, a_shard_is_missing_without_index, index_names_another_shard, tensor_in_two_shards,
    unknown_type, header_is_a_list, header_is_no_json, header_is_deep, name_twice, shape_is_text, shape_and_bytes_differ,
    config_is_a_list, model_index_is_broken, index_is_a_number, index_leads_out_of_the_folder, link_to_itself,
    header_of_nothing, header_in_latin_1, header_with_a_long_number, entry_is_a_list, entry_without_a_type, type_is_a_list,
    shape_is_negative, shape_is_half, shape_is_true, shape_of_a_million_sizes, offsets_are_one, offsets_run_back,
    tensors_overlap, tensors_leave_a_gap, more_data_than_listed, metadata_is_a_list, name_of_two_lines,
    name_of_half_a_character, name_of_nothing, name_of_a_megabyte, file_is_a_pipe, two_checkpoints, two_sets_of_shards,
    index_of_nothing, index_names_a_pickle, index_is_deep, config_is_deep, config_is_not_utf_8, config_is_huge,
    config_is_a_loop, scheduler_is_a_number, name_of_a_file_of_two_lines,
    dangling_link, pickle_weights, pickle_under_another_name, no_weights,
]  # fmt: skip


@pytest.mark.parametrize("damage", BAD)
def test_bad_checkpoints(world, capsys, damage):
    folder = world.checkpoint / "transformer"
    (folder / FILE).unlink()
    expected = damage(folder)
    refused(world, capsys, ["inspect", "../checkpoint", "-o", "../answers.yml"], (expected,))
    draft = ["draft", "nova", "--checkpoint", "../checkpoint", "--component", "transformer"]
    refused(world, capsys, draft, (expected,))
    assert not (folder / "ran").exists()


def test_a_draft_looks_at_all_components_first(world, capsys):
    # The key list is of the whole checkpoint: an unsound VAE must not be found when the transformer is written already.
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
    # 400 MB of addresses: room for Python, none for what a header claims.
    resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20, 400 * 2**20))


def test_a_loop_of_folders_ends(mflux_port, pipeline):
    write_header(pipeline / f"transformer/{BASE}.safetensors", TRANSFORMER)
    (pipeline / "transformer" / "again").symlink_to(pipeline)
    done = mflux_port("inspect", "--json", pipeline, cwd=pipeline)
    assert done.returncode == 0, done.stderr
    assert [part["name"] for part in json.loads(done.stdout)["components"]] == ["transformer"]


@pytest.mark.parametrize("where", ["nowhere", "a/b/c", "../x", "-o"])
def test_no_such_checkpoint(mflux_port, tmp_path, where):
    done = mflux_port("inspect", where, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_text_of_a_checkpoint_cannot_write_lines(mflux_port, pipeline):
    write_header(pipeline / f"transformer/{BASE}.safetensors", TRANSFORMER)
    index = {"_class_name": "Nova\nPipeline\x1b[31m", "transformer": ["diffusers", "X"]}
    (pipeline / "model_index.json").write_text(json.dumps(index))
    answers = pipeline / "answers.yml"
    done = mflux_port("inspect", pipeline, "-o", answers, cwd=pipeline)
    assert "\x1b" not in done.stdout and "\nPipeline" not in done.stdout
    assert "\nPipeline" not in answers.read_text()
