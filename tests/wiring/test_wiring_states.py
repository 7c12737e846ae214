"""Whether a text is current, from older answers, or edited; and what the commands print."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess

import pytest
from mangled_hosts import CHECKER, COMPLETIONS, OVERLAY, REVISIONS, RUNNER
from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from mflux_port.wiring import verification
from mflux_port.wiring.surfaces import SURFACES, defaults, model_config, pyproject, save
from wiring_hosts import AMBER, NOVA, ZULU, contents, port, snapshot

from tests.json_forms import facts_of

_FEWER = {"checkpoints": NOVA["checkpoints"][:1], "variants": ["txt2img"], "negative_prompt": False}


@pytest.mark.parametrize("version", ["0.18.1", "0.24.0"])
def test_changed_answers_update_the_wiring(version: str, shared):
    root, other = shared(version, "changed"), shared(version, "fresh")
    bare = contents(root)
    wiring.wire(Checkout(root), port(NOVA))
    changed = copy.deepcopy(NOVA)
    changed["checkpoints"][0] |= {"steps": 6, "aliases": ["nova-2.1", "nova-turbo-2.1"]}
    changed["checkpoints"][1]["cli_name"] = ""
    changed["checkpoints"][2]["key"] = "nova-2.1-editor"
    changed["training"] = False
    stale = {name for name, r in wiring.states(Checkout(root), port(changed)).items() if r.state == "stale"}
    assert {"pyproject", "training_runner", "training_example", "gitignore"} <= stale

    wiring.wire(Checkout(root), port(changed))
    wiring.wire(Checkout(other), port(changed))
    left, right = contents(root), contents(other)
    for file in left.keys() | right.keys():
        old, new = (sorted(files[file].splitlines()) for files in (left, right))
        assert _without_priorities(old) == _without_priorities(new), file
    wiring.unwire(Checkout(root), port(changed))
    assert contents(root) == bare


@pytest.mark.parametrize("version", ["0.18.1", "0.24.0"])
def test_import_of_an_unused_class_is_removed(version: str, shared):
    root = shared(version)
    bare = contents(root)
    wiring.wire(Checkout(root), port(NOVA))
    changed = {**copy.deepcopy(NOVA), "training": False}
    for checkpoint in changed["checkpoints"]:
        checkpoint["variant"] = "edit"
    wiring.wire(Checkout(root), port(changed))
    text = (root / save.FILE).read_text()
    assert "NovaImageEdit" in text and not re.search(r"\bNovaImage\b", text)
    once = contents(root)
    wiring.wire(Checkout(root), port(changed))
    assert contents(root) == once
    wiring.unwire(Checkout(root), port(changed))
    assert contents(root) == bare


def test_last_line_without_a_newline_is_removed_with_its_answer(shared):
    root = shared()
    table = b"[project.scripts]"
    (root / pyproject.FILE).write_bytes(table)
    wiring.wire(Checkout(root), port(NOVA))
    wiring.wire(Checkout(root), port(NOVA, **_FEWER))
    assert b"edit" not in (root / pyproject.FILE).read_bytes()
    wiring.unwire(Checkout(root), port(NOVA))
    assert (root / pyproject.FILE).read_bytes() == table


def test_second_wire_changes_nothing(shared):
    root = shared()
    wiring.wire(Checkout(root), port(ZULU))
    before = snapshot(root)
    results = wiring.wire(Checkout(root), port(ZULU))
    assert {result.action for result in results} == {""}
    assert snapshot(root) == before


def test_dry_run_prints_the_diff_and_writes_nothing(checkout, mflux_port, answered):
    root = checkout()
    answered(root, NOVA)
    shutil.rmtree(root / ".git/mflux-port", ignore_errors=True)  # copied even while other tests hold its lock
    before = snapshot(root)
    dry = mflux_port("wire", "nova_image", "--dry-run", cwd=root)
    assert dry.returncode == 0, dry.stderr
    assert snapshot(root) == before
    assert {path.name for path in (root / ".git/mflux-port").iterdir()} == {
        "run.lock"
    }  # the lock is held, so that nothing is written
    assert mflux_port("wire", "nova_image", cwd=root).returncode == 0
    wired = contents(root)
    back = mflux_port("unwire", "nova_image", "--dry-run", cwd=root)
    assert contents(root) == wired
    assert mflux_port("unwire", "nova_image", cwd=root).returncode == 0
    bare = contents(root)
    for diff, expected in ((dry, wired), (back, bare)):
        patch = ["git", "apply", "--whitespace=nowarn"]
        done = subprocess.run(patch, cwd=root, input=diff.stdout, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert contents(root) == expected


def test_json_names_every_surface(shared, mflux_port, answered):
    root = shared()
    answered(root, AMBER)
    done = mflux_port("wire", "amber", "--json", cwd=root)
    rows = {row["surface"]: row for row in facts_of("wire", done.stdout)["surfaces"]}
    assert list(rows) == [surface.ID for surface in SURFACES]
    assert (rows["save"]["state"], rows["save"]["action"]) == ("absent", "added")
    assert rows["ci_extract"]["state"] == "not applicable"


WRONG = {
    "another's entry": (model_config.FILE, '"schnell": ModelConfig(', '"fast": ModelConfig(', "would change for schnell"),
    "another's repo": (model_config.FILE, "black-forest-labs/FLUX.1-schnell", "x/y", "would change for"),
    "alias lost": (model_config.FILE, 'aliases=["nova-2.1-base", ', "aliases=[", "nova-2.1-base would have the names"),
    "factory of another": (model_config.FILE, 'AVAILABLE_MODELS["nova-2.1-base"]', 'AVAILABLE_MODELS["dev"]', "would return 'dev'"),
    "steps": (defaults.FILE, '"nova-2.1-base": 50', '"nova-2.1-base": 5', r"would have the steps \[5\]"),
    "class": (save.FILE, '"nova-2.1-base": NovaImage,', '"nova-2.1-base": Flux1,', "would be saved by Flux1"),
    "module": (save.FILE, "mflux.models.nova_image.variants.edit", "mflux.models.nova_image.other", "would come from"),
    "command": (pyproject.FILE, "nova_image_edit_generate:main", "other:main", "command mflux-generate-nova-2.1-edit"),
    "a class from two modules": (save.FILE, "from mflux.models.z_image import", "from mflux.own import NovaImage\nfrom mflux.models.z_image import", "NovaImage would come from mflux.models.nova_image.variants.txt2img.nova_image and mflux.own"),
    "an import lost": (save.FILE, "from mflux.models.moss_image import MOSSImage\n", "", "MOSSImage would be used but not imported"),
    "trained by another": (RUNNER, "adapter = NovaImageTrainingAdapter(", "adapter = OwnAdapter(", "NovaImageTrainingAdapter would train"),
    "trains another": (RUNNER, '"nova-2.1-base"}', '"nova-x"}', "NovaImageTrainingAdapter would train"),
    "another pin": (REVISIONS, "0123456789abcdef" * 2, "fedcba9876543210" * 2, "acme/Nova-Image-2.1-Turbo would be pinned to"),
    "another definition": (CHECKER, "weights.nova_image_weight_definition", "weights.own", "NovaImageWeightDefinition would come from another module"),
    "defined for another": (CHECKER, '"nova-2.1-edit"}:', '"nova-x"}:', "NovaImageWeightDefinition would be that of"),
    "another row": (OVERLAY, '"mflux-generate-nova-2.1-base"]', '"mflux-save"]', "nova-2.1-base would have the commands"),
    "not Python": (save.FILE, "MODEL_CLASSES", "MODEL CLASSES", "not valid Python"),
    "not TOML": (pyproject.FILE, "[project.scripts]", "[project.scripts", "would be wrong"),
}  # fmt: skip
WRONG_COMPLETIONS = {
    "not listed": ('            "mflux-generate-nova-2.1-base",\n', "", "would be listed 0 times"),
    "no recipe": ('command == "mflux-generate-nova-2.1-base"', 'command == "x"', "have 0 recipes"),
    "different parser": (
        'command == "mflux-generate-nova-2.1-base":\n            parser.',
        'command == "mflux-generate-nova-2.1-base":\n            other.',
        "would fill a different parser",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_plan_is_not_written(what: str, shared):
    root = shared("0.24.0")
    (root / "scripts").mkdir()
    (root / OVERLAY).write_text("STANDARD_QUANTS = []\nOVERLAY = {\n}\n")
    _assert_not_written(root, *WRONG[what], port(NOVA))


@pytest.mark.parametrize("what", WRONG_COMPLETIONS)
def test_wrong_completions_are_not_written(what: str, shared):
    _assert_not_written(shared("0.18.1"), COMPLETIONS, *WRONG_COMPLETIONS[what], port(NOVA))


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"zulu-art-xl"}', '"zulu"}', "zulu-art-xl would be saved by nothing"),
        ("model_class = ZuluArt", "model_class = Flux1", "saved by Flux1"),
        (
            "    if Model",
            '    if "u" in x:\n        model_class = A\n    elif Model',
            "after one with another condition",
        ),
    ],
)
def test_a_wrong_branch_is_not_written(old: str, new: str, error: str, shared):
    _assert_not_written(shared("0.18.1"), save.FILE, old, new, error, port(ZULU))


def _assert_not_written(root, file: str, old: str, new: str, error: str, one) -> None:
    checkout = Checkout(root)
    plan = wiring.plan_wire(checkout, one)
    text = plan.files[file].decode()
    assert old in text
    wrong = {**plan.files, file: text.replace(old, new, 1).encode()}
    verification.verify(checkout, plan.files, one, wired=True, edited=set())
    with pytest.raises(PortError, match=error) as raised:
        verification.verify(checkout, wrong, one, wired=True, edited=set())
    assert str(raised.value).startswith(file)


def _without_priorities(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if b"priority=" not in line]
