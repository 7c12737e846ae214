"""Headers that the safetensors library writes are read as they are; headers that it refuses are never accepted."""

from __future__ import annotations

import json
from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mflux_port.checkpoint.headers import read_header
from safetensors.numpy import save

from fuzz import header

_BYTES = {"BOOL": 1, "U8": 1, "I16": 2, "F16": 2, "F32": 4, "I64": 8, "F64": 8}
_NUMPY = {"BOOL": "?", "U8": "u1", "I16": "i2", "F16": "f2", "F32": "f4", "I64": "i8", "F64": "f8"}
_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}(\.[A-Za-z0-9_]{1,6}){0,3}", fullmatch=True)
_tensors = st.dictionaries(
    _names.filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(sorted(_BYTES)), st.lists(st.integers(0, 5), max_size=4)),
    max_size=6,
)
_oddities = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(_tensors, st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), min_size=1, max_size=2))
def test_headers_written_by_the_library_are_read(tmp_path_factory, tensors, metadata):
    path = tmp_path_factory.getbasetemp() / "written.safetensors"
    arrays = {name: np.zeros(shape, _NUMPY[dtype]) for name, (dtype, shape) in tensors.items()}
    path.write_bytes(save(arrays, metadata))
    read = {name: (tensor.dtype, list(tensor.shape)) for name, tensor in read_header(path).items()}
    assert read == tensors


@given(_tensors, st.data())
def test_damaged_headers_are_refused(tensors, data):
    table, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + _BYTES[dtype] * prod(shape)
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    if table and data.draw(st.booleans()):
        entry = table[data.draw(st.sampled_from(sorted(table)))]
        entry[data.draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))] = data.draw(_oddities)
    else:
        table[data.draw(st.sampled_from(["__metadata__", "a", ""]))] = data.draw(_oddities)
    header.one(json.dumps(table).encode())
