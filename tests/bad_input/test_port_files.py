"""LoRA files, key lists and waivers that `ledger` cannot use, and READMEs that `inspect --sizes` cannot fill."""

from __future__ import annotations

import json
import os
import pickle

import pytest
from mflux_port.checkpoint import keylist

from tests.bad_input.damages import folder, holds, loop
from tests.bad_input.world import refused
from tests.checkpoint.files import write_header, write_raw

KEYS, WAIVERS, README = (
    "porting/nova/checkpoint_keys.txt",
    "porting/nova/waivers.yml",
    "src/mflux/models/nova/README.md",
)
ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def lora(data: bytes, name: str = "a.safetensors"):
    return lambda world: (world.home / name).write_bytes(data)


def raw(table: object, data: int = 4):
    return lambda world: write_raw(world.home / "a.safetensors", json.dumps(table).encode(), data)


# Case, damage to ../a.safetensors, words in the error line.
LORAS = [
    ("no file", lambda world: None, "cannot be read (No such file"),
    ("a folder", lambda world: (world.home / "a.safetensors").mkdir(), "is not a regular file"),
    ("a pipe", lambda world: os.mkfifo(world.home / "a.safetensors"), "is not a regular file"),
    ("a loop", lambda world: (world.home / "a.safetensors").symlink_to("a.safetensors"), "symbolic link"),
    ("an empty file", lora(b""), "is shorter than a safetensors header"),
    ("a page of HTML", lora(b"<!DOCTYPE html><html><body>Sign in</body></html>"), "claims a header of"),
    ("a Git LFS pointer", lora(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "is a Git LFS pointer"),
    ("a zip", lora(b"PK\x03\x04" + bytes(100)), "ends within its header"),
    ("a header cut off", lora((100).to_bytes(8, "little") + b'{"a"'), "ends within its header"),
    ("no JSON", lora((4).to_bytes(8, "little") + b"abcd"), "has no JSON header"),
    ("a list", raw([]), "the header is a JSON list, not an object"),
    ("an unknown type", raw({"a": ENTRY | {"dtype": "Q8_0"}}), "has the unknown type 'Q8_0'"),
    ("data cut off", raw({"a": ENTRY}, 2), "holds 2 bytes of data and lists 4"),
    ("a name of two lines", raw({"a\nb": ENTRY}), r"'a\nb' is not a valid tensor name"),
    ("two tensors at the same offset", raw({"a": ENTRY, "b": ENTRY}), "overlaps another's"),
]


@pytest.mark.parametrize(("damage", "words"), [pytest.param(*case[1:], id=case[0]) for case in LORAS])
def test_bad_loras(world, capsys, damage, words):
    damage(world)
    refused(world, capsys, ["ledger", "nova", "--lora", "../a.safetensors"], (words, "a.safetensors"))


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth", ".BIN"])
def test_loras_that_are_pickles(world, capsys, suffix):
    (world.home / f"a{suffix}").write_bytes(pickle.dumps({}))
    refused(
        world, capsys, ["ledger", "nova", "--lora", f"../a{suffix}"], (f"a{suffix} is a pickle, which can run code",)
    )


def test_a_bad_second_lora_is_refused(world, capsys):
    write_header(world.home / "good.safetensors", {"a.lora_A.weight": (1, 1)})
    lora(b"")(world)
    command = ["ledger", "nova", "--lora", "../good.safetensors", "../a.safetensors"]
    refused(world, capsys, command, ("a.safetensors is shorter",))


# Case, key list, words in the error line.
KEY_LISTS = [
    ("no text", b"\xff\xfe", "is not UTF-8 text"),
    ("a line of nothing", b"# x\n[vae]\nnonsense\n", "line 3 is not a line of a key list"),
    ("a tensor before any folder", b"BF16 2 a\n", "line 1 is not a line of a key list"),
    ("an unknown type", b"[vae]\nQ4 2 a\n", "line 2 is not a line of a key list"),
    ("no shape", b"[vae]\nBF16 a\n", "line 2 is not a line of a key list"),
    ("a shape below nothing", b"[vae]\nBF16 -1 a\n", "line 2 is not a line of a key list"),
    ("a size of 5000 digits", b"[vae]\nBF16 " + b"9" * 5000 + b" a\n", "line 2 is not a line of a key list"),
    ("a range that runs back", b"[vae]\nBF16 2 a.{5-2}.b\n", "'a.{5-2}.b' expands to no name"),
    ("a range without end", b"[vae]\nBF16 2 a.{0-999999999}.b\n", "expands to no name, or to more than 1000000"),
    ("ranges that multiply", b"[vae]\nBF16 2 " + b".".join([b"{0-999}"] * 9) + b"\n", "to more than 1000000"),
    ("a tensor twice", b"[vae]\nBF16 2 a.{0-3}\nBF16 2 a.2\n", "line 3 lists 'a.2' a second time"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), [pytest.param(*case[1:], id=case[0]) for case in KEY_LISTS])
def test_bad_key_lists(world, capsys, data, words):
    world.write(KEYS, data)
    refused(world, capsys, ["ledger", "nova"], (words, "write the key list again"))


def test_key_list_that_expands_to_too_many_names(world, capsys, monkeypatch):
    monkeypatch.setattr(keylist, "_LIMIT", 100)
    world.write(KEYS, "[files]\na.{0-60}\nb.{0-60}\n")
    refused(world, capsys, ["ledger", "nova"], ("line 3 lists more than 100 names",))


# Case, waivers, words in the error line.
WAIVED = [
    ("no text", b"\xff\xfe", "is not UTF-8 text"),
    ("a brace left open", b"{", "is not valid YAML"),
    ("braces without end", b"{a: " * 20_000, "is not valid YAML"),
    ("a list", b"- transformer\n", "may have the sections ledger and parity"),
    ("another section", b"vae: {tensors: {a: not used}}\n", "may have the sections ledger and parity"),
    ("a section that is a mapping", b"ledger: {component: vae}\n", "ledger must be a list of entries"),
    ("an entry that is text", b"ledger: [vae]\n", "entry 1 of ledger needs component"),
    (
        "an entry with both sides",
        b"ledger:\n- {component: vae, tensor: a, parameter: b, reason: c}\n",
        "needs component",
    ),
    ("another side", b"ledger:\n- {component: vae, weight: a, reason: c}\n", "entry 1 of ledger needs component"),
    ("no reason", b"ledger:\n- {component: vae, tensor: a}\n", "entry 1 of ledger needs component"),
    (
        "an empty reason",
        b"ledger:\n- {component: vae, tensor: a, reason: ' '}\n",
        "reason is ' ', which is not text; write why",
    ),
    (
        "a reason that is a number",
        b"ledger:\n- {component: vae, tensor: a, reason: 5}\n",
        "reason is 5, which is not text",
    ),
    (
        "a pattern that is a number",
        b"ledger:\n- {component: vae, tensor: 5, reason: counted}\n",
        "tensor is 5, which is not text",
    ),
    ("a component that is a list", b"ledger:\n- {component: [vae], tensor: a, reason: c}\n", "component is ['vae']"),
    (
        "an invalid date",
        b"ledger:\n- {component: vae, tensor: 2024-99-99, reason: a}\n",
        "holds a value that cannot be read",
    ),
]


@pytest.mark.parametrize(("data", "words"), [pytest.param(*case[1:], id=case[0]) for case in WAIVED])
def test_bad_ledger_waivers(world, capsys, data, words):
    world.write(WAIVERS, data)
    refused(world, capsys, ["ledger", "nova"], ("waivers.yml", words))


# Case, damage, words in the error line.
READMES = [
    ("no README", lambda world: world.path(README).unlink(), ("cannot use", "README.md", "No such file")),
    ("a folder", folder(README), ("cannot use", "README.md", "Is a directory")),
    ("a loop", loop(README), ("cannot use", "README.md", "symbolic link")),
    ("no text", holds(README, b"\xff\xfe"), ("README.md is not UTF-8 text",)),
    ("no sentence for the figure", holds(README, b"# Nova\n"), ("README.md has no `acme/Nova` followed by",)),
]


@pytest.mark.parametrize(("damage", "words"), [pytest.param(*case[1:], id=case[0]) for case in READMES])
def test_readmes_without_the_sentence_for_sizes(world, capsys, damage, words):
    damage(world)
    refused(world, capsys, ["inspect", "../checkpoint", "--sizes", "nova"], words)


def test_copy_that_was_not_made_by_mflux_save(world, capsys):
    command = ["inspect", "../checkpoint", "--sizes", "nova", "--saved", "../checkpoint"]
    refused(world, capsys, command, ("../checkpoint is not a quantized copy made by mflux-save",))


def test_readme_that_links_outside_the_checkout(world, capsys):
    target = world.home / "README.md"
    world.path(README).rename(target)
    world.path(README).symlink_to(target)
    refused(
        world,
        capsys,
        ["inspect", "../checkpoint", "--sizes", "nova"],
        ("README.md is a link to a place outside the checkout",),
    )
