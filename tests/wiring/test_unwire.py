"""``unwire`` removes what the port added to each shared file, and nothing else."""

from __future__ import annotations

import pytest
from mangled_hosts import RUNNER, SAVE
from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from wiring_hosts import (
    AMBER,
    NOVA,
    THREE,
    ZULU,
    contents,
    edit_text,
    port,
    result_of,
    shared_files,
    snapshot,
    undefined_names,
)

# Ports that share one name, or all names, with a model of mflux.
FOREIGN = {
    "a key": {"checkpoints": [{"key": "dev", "hf_repo": "amberlab/Amber"}]},
    "a key and its steps": {"checkpoints": [{"key": "schnell", "hf_repo": "amberlab/Amber", "steps": 4}]},
    "a package": {
        "model": "qwen",
        "class_name": "QwenImage",
        "cli_name": "qwen-own",
        "checkpoints": [{"key": "qwen-image", "hf_repo": "amberlab/Amber"}],
    },
    "everything": {
        "model": "z_image",
        "class_name": "ZImage",
        "cli_name": "z-image",
        "checkpoints": [{"key": "z-image", "hf_repo": "Tongyi-MAI/Z-Image", "steps": 50}],
    },
}


@pytest.mark.parametrize("version", ["0.18.1", "0.24.0"])
@pytest.mark.parametrize("removed", range(3))
def test_unwire_removes_one_of_three_ports(removed: int, version: str, shared):
    three, two = shared(version, "three"), shared(version, "two")
    ports = [port(answers) for answers in THREE]
    for one in ports:
        wiring.wire(Checkout(three), one)
    wiring.unwire(Checkout(three), ports[removed])
    for one in ports[:removed] + ports[removed + 1 :]:
        wiring.wire(Checkout(two), one)
    for file in shared_files():
        left, right = three / file, two / file
        if left.exists() and file != "src/mflux/models/common/config/model_config.py":  # priorities differ
            assert left.read_bytes() == right.read_bytes(), file


@pytest.mark.parametrize("version", ["0.18.1", "0.24.0"])
@pytest.mark.parametrize("names", FOREIGN)
def test_unwire_removes_nothing_of_mfluxs(names: str, version: str, shared):
    root = shared(version)
    before = contents(root)
    one = port(AMBER, **FOREIGN[names])
    with pytest.raises(PortError, match="is taken by mflux's"):
        wiring.wire(Checkout(root), one)
    results = wiring.unwire(Checkout(root), one)
    assert {(result.state, result.action) for result in results} == {("not applicable", "")}
    assert contents(root) == before


def test_unwire_with_newer_answers_removes_the_older_lines(shared):
    fewer = {
        "checkpoints": NOVA["checkpoints"][:1],
        "variants": ["txt2img"],
        "negative_prompt": False,
        "training": False,
    }
    root = shared()
    bare = contents(root)
    wiring.wire(Checkout(root), port(NOVA))
    wiring.unwire(Checkout(root), port({**NOVA, **fewer}))
    assert contents(root) == bare


def test_unwire_of_a_port_that_is_not_wired(shared):
    root = shared()
    before = snapshot(root)
    wiring.unwire(Checkout(root), port(ZULU))
    assert snapshot(root) == before


# Code that uses an import of ours, edited so that it stays when the port is removed.
USED = {
    "a table": ("0.24.0", SAVE, '"nova-2.1-edit": NovaImageEdit,', '"nova-2.1-edit": NovaImage,', "NovaImage"),
    "an own line": ("0.24.0", SAVE, "MODEL_CLASSES: dict", "OWN = NovaImageEdit\n\nMODEL_CLASSES: dict", "NovaImageEdit"),
    "a chain": ("0.18.1", SAVE, 'aliases[0] == "nova-2.1-edit"', 'aliases[0] == "nova-x"', "NovaImageEdit"),
    "a training chain": ("0.24.0", RUNNER, 'aliases[0] in {"nova-2.1-turbo",', 'aliases[0] in {"nova-x",', "NovaImageTrainingAdapter"),
}  # fmt: skip


@pytest.mark.parametrize("what", USED)
def test_unwire_keeps_an_import_that_is_still_used(what: str, shared):
    version, file, old, new, name = USED[what]
    root = shared(version)
    wiring.wire(Checkout(root), port(NOVA))
    edit_text(root, file, old, new)
    result = result_of(wiring.unwire, root, "save" if file == SAVE else "training_runner")
    assert f"left, because other lines there use it: import of {name}" in str(result)
    assert new in (root / file).read_text()
    assert undefined_names(root / file) == ""


def test_report_of_a_mixed_unwire(wired):
    root, _ = wired("save")
    edit_text(root, SAVE, '    "nova-2.1-edit": NovaImageEdit,\n', "")
    edit_text(root, SAVE, '"nova-2.1-base": NovaImage,', '"nova-2.1-base": NovaImage,  # mine')
    result = result_of(wiring.unwire, root, "save")
    assert result.action == "removed"
    assert result.detail == (
        "import of NovaImageEdit, nova-2.1-turbo; edited by hand, left as it is: nova-2.1-base; "
        "left, because other lines there use it: import of NovaImage; not there: nova-2.1-edit"
    )
