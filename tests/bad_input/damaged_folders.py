"""Checkpoint folders with missing shards, wrong indexes or configs, links and pickles: each function makes one.

It returns the words of the error.
"""

from __future__ import annotations

import os
import pickle

from tests.bad_input.damaged_files import BASE, FILE
from tests.checkpoint.files import TRANSFORMER, write_header, write_sharded


class Trap:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


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


DAMAGED_FOLDERS = [
    index_names_a_missing_shard, a_shard_is_missing_without_index, index_names_another_shard,
    tensor_in_two_shards, config_is_a_list, model_index_is_broken, index_is_a_number,
    index_leads_out_of_the_folder, link_to_itself, file_is_a_pipe, two_checkpoints, two_sets_of_shards,
    index_of_nothing, index_names_a_pickle, index_is_deep, config_is_deep, config_is_not_utf_8, config_is_huge,
    config_is_a_loop, scheduler_is_a_number, name_of_a_file_of_two_lines, dangling_link, pickle_weights,
    pickle_under_another_name, no_weights,
]  # fmt: skip
