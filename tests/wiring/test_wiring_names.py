"""The meaning of names before and after three ports, as mflux itself reports it in an environment that runs it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from mflux_port.port.port import Port
from wiring_hosts import RELEASES, THREE, ZULU, port

from tests import preloaded

SCRIPT = Path(__file__).with_name("name_facts.py")


def _runner(version: str) -> str:
    # Releases that share an environment: mflux up to 0.18 needs an older MLX, 0.24 a newer Pillow.
    minor = int(version.split(".")[1])
    return "0.18.1" if minor < 19 else "0.22.0" if minor < 24 else "0.24.0"


@pytest.mark.full
@pytest.mark.parametrize("version", RELEASES)
def test_existing_names_keep_their_meaning_and_new_names_resolve(version: str, checkout, environment):
    root = checkout(version)
    python = environment(_runner(version))
    before = _facts(python, root)
    ports = [port(answers) for answers in THREE]
    for one in ports:
        _write_classes(root, one)
        wiring.wire(Checkout(root), one)
    new = {name: (one, c) for one in ports for c in one.checkpoints for name in (*c.aliases, c.hf_repo)}
    after = _facts(python, root, *new)

    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == set(new)
    for name, (one, checkpoint) in new.items():
        config, steps, saved = after[name]
        assert (config["model_name"], config["aliases"]) == (repr(checkpoint.hf_repo), repr(list(checkpoint.aliases)))
        assert config["supports_guidance"] == repr(checkpoint.supports_guidance)
        assert saved == one.variant_class(checkpoint.variant)
        if "/" not in name:  # before 0.19 mflux had no steps for a repo id
            assert steps == checkpoint.steps


@pytest.mark.full
def test_wrong_route_is_detected(checkout, environment):
    root = checkout("0.18.1")
    one = port(ZULU)
    _write_classes(root, one)
    wiring.wire(Checkout(root), one)
    save = root / "src/mflux/models/common/cli/save.py"
    save.write_text(save.read_text().replace('"zulu-art",', '"fibo",'))
    facts = _facts(environment("0.18.1"), root)
    assert (facts["fibo"][2], facts["zulu"][2]) == ("ZuluArt", "Flux1")


def _write_classes(root: Path, one: Port) -> None:
    # The part of the port's package that mflux-save imports.
    for variant in one.variants:
        module = root / "src" / (one.variant_module(variant).replace(".", "/") + ".py")
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(
            f"class {one.variant_class(variant)}:\n"
            "    def __init__(self, quantize=None, model_path=None, lora_paths=None, lora_scales=None, "
            "model_config=None): ...\n"
            "    def save_model(self, path): ...\n"
        )


def _facts(python: Path, root: Path, *names: str) -> dict:
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "HF_HUB_OFFLINE": "1"}
    done = preloaded.run([str(python), str(SCRIPT), *names], root, environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
