"""Entries of mflux are never mistaken for the port's, for any answers, and the port's entries are recognised."""

from __future__ import annotations

import copy

import pytest
from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from mflux_port.wiring.surfaces import model_config, pyproject, save
from wiring_hosts import NOVA, ZULU, contents, port

_RECORD = "porting/nova_image/wiring.json"


def _with_dev(**more) -> dict:
    changed = copy.deepcopy(ZULU)
    changed["checkpoints"].append({"key": "dev", "hf_repo": "zulu-org/Zulu-Dev", **more})
    return changed


@pytest.mark.parametrize("version", ["0.18.1", "0.24.0"])
@pytest.mark.parametrize("more", [{}, {"hf_repo": "black-forest-labs/FLUX.1-dev"}], ids=["own repo", "mflux's repo"])
def test_mfluxs_key_in_newer_answers_is_not_taken_over(more: dict, version: str, shared):
    root = shared(version)
    before = contents(root)
    wiring.wire(Checkout(root), port(ZULU))
    wired = contents(root)
    with pytest.raises(PortError, match="'dev' of dev is taken by mflux's dev"):
        wiring.wire(Checkout(root), port(_with_dev(**more)))
    assert contents(root) == wired
    wiring.unwire(Checkout(root), port(_with_dev(**more)))
    assert contents(root) == before


def test_mfluxs_alias_in_newer_answers_is_not_taken_over(shared):
    root = shared("0.18.1")
    wiring.wire(Checkout(root), port(ZULU))
    changed = copy.deepcopy(ZULU)
    changed["checkpoints"][0]["aliases"].append("fibo")
    with pytest.raises(PortError, match="'fibo' of zulu-art is taken by mflux's fibo"):
        wiring.wire(Checkout(root), port(changed))


@pytest.mark.parametrize("version", ["0.18.1", "0.24.0"])
@pytest.mark.parametrize("file", [None, model_config.FILE, save.FILE, pyproject.FILE])
def test_port_without_its_record_is_recognized(file: str | None, version: str, shared):
    # The state after `git clean` and `git checkout` of one file.
    root = shared(version)
    bare = contents(root)
    wiring.wire(Checkout(root), port(NOVA))
    wired = contents(root)
    (root / _RECORD).unlink()
    if file:
        (root / file).write_bytes(bare[file])
    wiring.wire(Checkout(root), port(NOVA))
    assert contents(root) == wired
    (root / _RECORD).unlink()
    wiring.unwire(Checkout(root), port(NOVA))
    assert contents(root) == bare


def test_mfluxs_entry_is_not_claimed_after_the_record_is_lost(shared):
    # An entry with the same key and repo, saved by mflux's own class.
    root = shared("0.24.0")
    one = port(_with_dev(hf_repo="black-forest-labs/FLUX.1-dev"))
    wiring.wire(Checkout(root), port(ZULU))
    (root / "porting/zulu_art/wiring.json").unlink()
    with pytest.raises(PortError, match="taken by mflux's dev"):
        wiring.wire(Checkout(root), one)
