"""The commands that these tests interrupt, each with the files that it may change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mflux_port.wiring.surfaces import SURFACES

from tests.faults.kills import Command
from tests.faults.runs import mflux_port, run
from tests.faults.tree import Tree

_SHARED = {surface.FILE.format(model="nova") for surface in SURFACES}
NAMES = ("wire", "unwire", "draft", "finish", "inspect -o")


def is_wired(name: str) -> bool:
    return name in _SHARED or name == "porting/nova/wiring.json"


def is_drafted(name: str) -> bool:
    written = ("src/mflux/models/nova/model/", "src/mflux/models/nova/weights/")
    records = ("artifacts/checkpoint.txt", "drafted.txt", "checkpoint_keys.txt", "unresolved.yml")
    return name.startswith(written) or name in {f"porting/nova/{record}" for record in records}


def is_scaffolding(name: str) -> bool:
    return name.startswith("porting/nova/") or name in ("tests/parity/test_nova_checkpoint_keys.py", "pr.md")


def prepared(name: str, tree: Tree, checkpoint: Callable[..., Path]) -> Command:
    """A command in a checkout that is ready for it."""
    draft = ("draft", "nova", "--component", "transformer", "--checkpoint")
    if name == "wire":
        _do(tree, "unwire", "nova")
        return Command(name, tree, mflux_port("wire", "nova"), is_wired)
    if name == "unwire":
        return Command(name, tree, mflux_port("unwire", "nova"), is_wired)
    if name == "draft":  # replaces the files of an earlier draft
        _do(tree, *draft, checkpoint(64))
        return Command(name, tree, mflux_port(*draft, checkpoint(96)), is_drafted)
    if name == "finish":
        artifacts = tree.root / "porting/nova/artifacts/reference"
        artifacts.mkdir(parents=True)
        (artifacts / "latents.safetensors").write_bytes(b"tensors" * 10_000)
        return Command(name, tree, mflux_port("finish", "nova", "--description", "pr.md"), is_scaffolding)
    folder = tree.root.with_name("answers")
    folder.mkdir()
    (folder / "notes.md").write_text("mine\n")
    act = mflux_port("inspect", checkpoint(64), "-o", "answers.yml")
    return Command(name, Tree(folder), act, lambda file: file == "answers.yml")


def _do(tree: Tree, *arguments: object) -> None:
    done = run(mflux_port(*arguments), tree.root)
    assert done.status == 0, done.err
