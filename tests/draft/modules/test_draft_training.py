"""The trained modules follow the draft: in the example, the rendered tests of training and LoRA, and the wiring."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from mflux_port import wiring
from mflux_port.checkout import releases
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError, format_error
from mflux_port.port.lora_modules import LORA_MODULES, read_lora_modules
from mflux_port.port.port import load_port

from tests.draft.modules.test_draft_command import copy
from tests.template.test_combinations import run_fast_tests

EXAMPLE = "src/mflux/models/common/training/_example/train_nova.json"
SIZES = "tests/image_generation/helpers/tiny_nova_sizes.py"
MODULES = LORA_MODULES.format(model="nova")


@pytest.fixture(scope="module")
def wired(tmp_path_factory, pristine) -> Path:
    checkout = shutil.copytree(pristine(), tmp_path_factory.mktemp("training") / "mflux")
    copy(checkout, "-d", "model=nova", "-d", "hf_repo=acme/Nova", "-d", "training=true")
    return checkout


@pytest.fixture
def draft(wired, references, mflux_port, diffusers_python, tmp_path):
    """A wired port with training: ``draft(*options)``, with the checkout as ``draft.checkout``."""
    checkout = shutil.copytree(wired, tmp_path / "mflux")

    def run(*options):
        # Only layers are trained; their forward passes would take a minute each time.
        given = ("--checkpoint", references / "z_image-tiny", "--component", "transformer", "--layers-only", *options)
        return mflux_port("draft", "nova", *given, cwd=checkout, python=diffusers_python)

    run.checkout = checkout
    return run


def targets(checkout: Path) -> dict[str, dict]:
    listed = json.loads((checkout / EXAMPLE).read_text())["lora_layers"]["targets"]
    return {target["module_path"]: target.get("blocks") for target in listed}


def states(checkout: Path) -> dict[str, str]:
    found = wiring.states(Checkout(checkout), load_port(checkout, "nova"))
    return {surface: result.state for surface, result in found.items() if result.state != "not applicable"}


@pytest.mark.full
def test_example_trains_the_drafted_modules(draft):
    checkout = draft.checkout
    assert "transformer_blocks.{block}.attn.to_q" in targets(checkout)
    assert f"+++ b/{EXAMPLE}" in draft("--dry-run").stdout and not (checkout / MODULES).exists()

    format_error(draft("--json"))

    mapping = (checkout / "src/mflux/models/nova/weights/nova_lora_mapping.py").read_text()
    loaded = re.findall(r'_target\("([^"]+)"\)', mapping)
    # A LoRA file may change any linear layer; only those of blocks are trained, without modulation.
    assert list(targets(checkout)) == [path for path in loaded if "{block}" in path and "adaLN" not in path]
    assert "all_x_embedder.2-1" in loaded
    assert targets(checkout)["layers.{block}.attention.to_q"] == {"start": 0, "end": 3}
    assert set(states(checkout).values()) == {"present"}
    record = (checkout / EXAMPLE).read_bytes()
    wiring.wire(Checkout(checkout), load_port(checkout, "nova"))
    assert (checkout / EXAMPLE).read_bytes() == record
    wiring.unwire(Checkout(checkout), load_port(checkout, "nova"))
    assert not (checkout / EXAMPLE).exists()


@pytest.mark.full
def test_the_rendered_tests_run_on_the_drafted_modules(draft):
    checkout = draft.checkout
    format_error(draft("--json"))
    # The sizes that the constructor was drafted with are those of this small checkpoint.
    sizes = checkout / SIZES
    sizes.write_text(re.sub(r"TRANSFORMER = \{.*?\}", "TRANSFORMER = {}", sizes.read_text(), count=1, flags=re.DOTALL))
    names = ("tests/lora/test_nova_lora_mapping.py", "tests/training/test_nova_training_adapter.py")
    # The tests that need no forward pass, because this draft has none.
    chosen = "LoRAMapping or saved_adapter or example or sigmas or preview"
    printed = run_fast_tests(checkout, releases.NEWEST, [checkout / name for name in names], "-k", chosen)
    assert int(re.search(r"(\d+) passed", printed)[1]) == 22


@pytest.mark.full
def test_edited_example_stays(draft):
    example = draft.checkout / EXAMPLE
    example.write_text(example.read_text().replace('"rank": 16', '"rank": 32'))
    edited = example.read_bytes()

    format_error(draft("--json"))

    assert example.read_bytes() == edited
    assert states(draft.checkout)["training_example"] == "edited"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"layers.{block}.to_q": null}',
        '{"layers.{block}.to_q": 0}',
        '{"layers.0.to_q": 2}',
        '{"a.{block}": true}',
    ],
)
def test_malformed_list_is_refused(tmp_path, text):
    assert read_lora_modules(tmp_path, "nova") == ()
    (tmp_path / "porting/nova").mkdir(parents=True)
    (tmp_path / MODULES).write_text(text)
    with pytest.raises(PortError, match="lora_modules.json is not a table of modules"):
        read_lora_modules(tmp_path, "nova")
