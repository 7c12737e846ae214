"""Unsound checkpoints: one line, exit 2, little memory, and no pickle is ever opened as one."""

from __future__ import annotations

import json
import os
import pickle
import resource

import pytest
from mflux_port.cli import main

from tests.checkpoint.files import TRANSFORMER, write_header, write_raw, write_sharded

BASE = "diffusion_pytorch_model"
ENTRY = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}


def truncated_header(folder):
    path = write_header(folder / f"{BASE}.safetensors", TRANSFORMER)
    os.truncate(path, 40)
    return "ends within its header"


def truncated_data(folder):
    path = write_header(folder / f"{BASE}.safetensors", TRANSFORMER)
    os.truncate(path, path.stat().st_size - 1)
    return "bytes of data; download it again"


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
    return "model_index.json is no JSON"


def index_is_a_number(folder):
    write_sharded(folder, TRANSFORMER, 2, BASE)
    (folder / f"{BASE}.safetensors.index.json").write_text("7")
    return "no JSON object with a weight_map"


def index_leads_out_of_the_folder(folder):
    write_header(folder.parent.parent / "secret.safetensors", TRANSFORMER)
    write_sharded(folder, TRANSFORMER, 2, BASE)
    path = folder / f"{BASE}.safetensors.index.json"
    path.write_text(path.read_text().replace(f"{BASE}-00001-of-00002", "../../secret"))
    return "no safetensors file in its folder"


def link_to_itself(folder):
    (folder / f"{BASE}.safetensors").symlink_to(folder / f"{BASE}.safetensors")
    return "leads nowhere"


def dangling_link(folder):
    (folder / f"{BASE}.safetensors").symlink_to("../blobs/gone")
    return "leads nowhere"


def pickle_weights(folder):
    (folder / f"{BASE}.bin").write_bytes(pickle.dumps(Trap(str(folder / "ran"))))
    return "is a pickle, which can run code"


def pickle_under_another_name(folder):
    (folder / f"{BASE}.safetensors").write_bytes(pickle.dumps(Trap(str(folder / "ran"))))
    return "claims a header of"


def no_weights(folder):
    return "holds no safetensors file"


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
    dangling_link, pickle_weights, pickle_under_another_name, no_weights,
]  # fmt: skip


@pytest.mark.parametrize("damage", BAD)
def test_bad_input_is_one_line(capsys, diffusers_folder, damage):
    expected = damage(diffusers_folder / "transformer")
    answers = diffusers_folder / "answers.yml"
    code = main(["inspect", str(diffusers_folder), "-o", str(answers)])
    said = capsys.readouterr()
    assert code == 2, (said.out, said.err)
    assert len(said.err.splitlines()) == 1 and expected in said.err
    assert said.out == "" and not answers.exists()
    assert not (diffusers_folder / "transformer" / "ran").exists()


@pytest.mark.parametrize("damage", [two_gigabytes_of_header, header_is_deep, length_beyond_the_file])
def test_bad_input_takes_little_memory(mflux_port, diffusers_folder, damage):
    expected = damage(diffusers_folder / "transformer")
    done = mflux_port("inspect", diffusers_folder, cwd=diffusers_folder, preexec_fn=limit_memory)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and expected in done.stderr


def limit_memory() -> None:
    # 400 MB of addresses: room for Python, none for what a header claims.
    resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20, 400 * 2**20))


def test_a_loop_of_folders_ends(mflux_port, diffusers_folder):
    write_header(diffusers_folder / f"transformer/{BASE}.safetensors", TRANSFORMER)
    (diffusers_folder / "transformer" / "again").symlink_to(diffusers_folder)
    done = mflux_port("inspect", "--json", diffusers_folder, cwd=diffusers_folder)
    assert done.returncode == 0, done.stderr
    assert [part["name"] for part in json.loads(done.stdout)["components"]] == ["transformer"]


@pytest.mark.parametrize("where", ["nowhere", "a/b/c", "../x", "-o"])
def test_no_such_checkpoint(mflux_port, tmp_path, where):
    done = mflux_port("inspect", where, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_text_of_a_checkpoint_cannot_write_lines(mflux_port, diffusers_folder):
    write_header(diffusers_folder / f"transformer/{BASE}.safetensors", TRANSFORMER)
    index = {"_class_name": "Nova\nPipeline\x1b[31m", "transformer": ["diffusers", "X"]}
    (diffusers_folder / "model_index.json").write_text(json.dumps(index))
    answers = diffusers_folder / "answers.yml"
    done = mflux_port("inspect", diffusers_folder, "-o", answers, cwd=diffusers_folder)
    assert "\x1b" not in done.stdout and "\nPipeline" not in done.stdout
    assert "\nPipeline" not in answers.read_text()
