"""The two files that a ledger keeps in the port: the reference's key list and the waivers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.keylist import Snapshot, collapse, expand, keylist_text, read_keylist, snapshot
from mflux_port.checkpoint.layout import open_checkpoint
from mflux_port.errors import PortError
from mflux_port.ledger.reused_modules import known_waivers
from mflux_port.ledger.waivers import read_waivers

_PART = st.sampled_from(["a", "blocks", "0", "1", "2", "3", "10", "01", "w"])
_NAMES = st.lists(st.lists(_PART, min_size=1, max_size=4).map(".".join), unique=True)


@given(_NAMES)
def test_grouped_names_expand_to_the_same_names(names):
    lines = collapse(names)
    assert sorted(name for line in lines for name in expand(line)) == sorted(names)
    assert len(lines) <= len(names)


def test_consecutive_numbers_become_ranges():
    names = [f"blocks.{block}.net.{layer}.weight" for block in range(30) for layer in (0, 2)]
    assert collapse(names) == ["blocks.{0-29}.net.0.weight", "blocks.{0-29}.net.2.weight"]
    assert collapse(["a.0.b", "a.1.b", "a.5.b", "a.b"]) == ["a.{0-1}.b", "a.5.b", "a.b"]


def test_key_list_restores_the_checkpoints_names(references, tmp_path):
    taken = snapshot(open_checkpoint(str(references / "qwen_image-full")))
    path = tmp_path / "keys.txt"
    path.write_text(keylist_text(taken))
    again = read_keylist(path)
    assert again.tensors == taken.tensors and again.files == taken.files and again.where == "qwen_image-full"
    assert path.stat().st_size < 20_000 and sum(map(len, taken.tensors.values())) == 2856


def test_key_list_with_a_scalar_and_a_name_with_spaces(tmp_path):
    tensors = {name: Tensor(name, "F32", ()) for name in ("scale", "a b.c")}
    (tmp_path / "keys.txt").write_text(keylist_text(Snapshot("x", [], {"vae": tensors})))
    assert read_keylist(tmp_path / "keys.txt").tensors == {"vae": tensors}


@pytest.mark.parametrize(
    "line", ["BF16 64", "Q4 64 a.weight", "BF16 64,64 a.weight", "BF16 2 a.{0-99999999}.b", "BF16 -1 a"]
)
def test_a_broken_key_list_names_the_line(tmp_path, line):
    path = tmp_path / "keys.txt"
    path.write_text(f"# x\n[vae]\n{line}\n")
    with pytest.raises(PortError):
        read_keylist(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ledger: [{component: vae, tensor: a.weight, reason: ''}]", "reason is '', which is not text; write why"),
        ("ledger: [{component: vae, tensor: a.weight}]", "entry 1 of ledger needs component"),
        ("ledger: {component: vae}", "ledger must be a list"),
        ("ledger: [{component: vae, weight: a, reason: b}]", "needs component, either tensor or parameter"),
        ("transformer: {tensors: {a.weight: not used}}", "may have the sections ledger and parity"),
        ("- transformer", "may have the sections ledger and parity"),
        ("{", "is not valid YAML"),
    ],
)
def test_malformed_waivers_are_refused(tmp_path, text, expected):
    path = tmp_path / "waivers.yml"
    path.write_text(text)
    with pytest.raises(PortError, match=expected):
        read_waivers(path)


def test_waivers_match_patterns_and_unused_ones_are_reported(tmp_path):
    path = tmp_path / "waivers.yml"
    path.write_text(
        "ledger:\n"
        "- {component: vae, tensor: bn.*, reason: counters}\n"
        "- {component: vae, tensor: gone, reason: was there}\n"
        "- {component: vae, parameter: freqs, reason: computed}\n"
        "parity: []\n"
    )
    vae = read_waivers(path)["vae"]
    assert (
        vae.cover("tensors", "bn.mean") and vae.cover("parameters", "freqs") and not vae.cover("parameters", "bn.mean")
    )
    assert vae.idle == ["gone"]
    assert read_waivers(tmp_path / "none.yml") == {}


@pytest.mark.parametrize(
    ("kind", "tensor", "is_covered"),
    [
        ("mistral3", "vision_tower.ln_pre.weight", True),
        ("mistral3", "model.multi_modal_projector.norm.weight", True),
        ("qwen3_vl", "model.visual.blocks.0.norm1.weight", True),
        ("qwen3", "lm_head.weight", True),
        ("qwen3", "visual.blocks.0.norm1.weight", False),
        ("mistral3", "language_model.layers.0.mlp.up_proj.weight", False),
    ],
)
def test_towers_and_heads_of_mfluxs_encoders_are_waived(kind, tensor, is_covered):
    port = SimpleNamespace(kinds={"text_encoder_2": kind})
    assert known_waivers(port, "text_encoder_2").cover("tensors", tensor) == is_covered


def test_an_encoder_of_the_port_has_no_known_waivers():
    assert known_waivers(SimpleNamespace(kinds={"text_encoder": "own"}), "text_encoder") is None
