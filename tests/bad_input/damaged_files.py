"""Safetensors files that are cut off or have a wrong header: each function makes one and returns words of the error."""

from __future__ import annotations

import json
import os

from tests.checkpoint.files import TRANSFORMER, write_header, write_raw

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


DAMAGED_FILES = [
    truncated_header, truncated_data, length_beyond_the_file, two_gigabytes_of_header, empty_file, unknown_type,
    header_is_a_list, header_is_no_json, header_is_deep, name_twice, shape_is_text, shape_and_bytes_differ,
    header_of_nothing, header_in_latin_1, header_with_a_long_number, entry_is_a_list, entry_without_a_type,
    type_is_a_list, shape_is_negative, shape_is_half, shape_is_true, shape_of_a_million_sizes, offsets_are_one,
    offsets_run_back, tensors_overlap, tensors_leave_a_gap, more_data_than_listed, metadata_is_a_list,
    name_of_two_lines, name_of_half_a_character, name_of_nothing, name_of_a_megabyte,
]  # fmt: skip
