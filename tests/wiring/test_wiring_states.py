"""Whose text is it: ours, ours from older answers, or somebody's own? And what the commands print."""

from __future__ import annotations

import copy
import json
import subprocess

import pytest
from mflux_port import wiring
from mflux_port.checkout import Checkout
from mflux_port.errors import PortError
from mflux_port.wiring import verification
from mflux_port.wiring.surfaces import SURFACES, defaults, model_config, pyproject, save
from wiring_hosts import AMBER, NOVA, ZULU, contents, port, snapshot

# A line of ours in each file, and what somebody makes of it.
EDITS = {
    "pyproject": (pyproject.FILE, "cli.nova_image_generate:main", "cli.nova_image_generate:own_main"),
    "model_config": (model_config.FILE, '"num_layers": 30', '"num_layers": 31'),
    "defaults": (defaults.FILE, '"nova-2.1-base": 50', '"nova-2.1-base": 45'),
    "save": (save.FILE, '"nova-2.1-edit": NovaImageEdit', '"nova-2.1-edit": NovaImage'),
    "training_runner": ("src/mflux/models/common/training/runner.py", '{"nova-2.1-turbo", ', '{"nova-x", "nova-2.1-turbo", '),
    "readme_table": ("README.md", "[Nova-Image 2.1](src/mflux/models/nova_image/README.md) | ?", "[Nova](src/mflux/models/nova_image/README.md) | Oct 2026"),
    "changelog": ("CHANGELOG.md", "- **Nova-Image 2.1**: added", "- **Nova-Image 2.1**: ported"),
    "model_revisions": ("src/mflux/models/common/resolution/model_revisions.py", "0123456789abcdef" * 2, "fedcba9876543210" * 2),
    "training_example": ("src/mflux/models/common/training/_example/train_nova_image.json", '"seed": 42', '"seed": 7'),
}  # fmt: skip


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "record lost"])
@pytest.mark.parametrize("surface", EDITS)
def test_a_line_edited_by_hand_stays_and_is_reported(surface: str, recorded: bool, shared):
    root = shared("0.24.0")
    file, old, new = EDITS[surface]
    wiring.wire(Checkout(root), port(NOVA))
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))
    if not recorded:
        (root / "porting/nova_image/wiring.json").unlink()
    edited = contents(root)
    assert wiring.states(Checkout(root), port(NOVA))[surface].state == "edited"
    for act in (wiring.wire, wiring.wire):
        results = {result.surface: result for result in act(Checkout(root), port(NOVA))}
        assert results[surface].action == "edited by hand, left as it is"
        assert contents(root) == edited
    wiring.unwire(Checkout(root), port(NOVA))
    assert new in (root / file).read_text()


def test_a_comment_behind_a_line_of_ours_stays(shared):
    root = shared()
    wiring.wire(Checkout(root), port(AMBER))
    path = root / defaults.FILE
    path.write_text(path.read_text().replace('"amber": 28,\n', '"amber": 28,  # measured\n'))
    wiring.wire(Checkout(root), port(AMBER))
    wiring.unwire(Checkout(root), port(AMBER))
    assert '"amber": 28,  # measured\n' in path.read_text()


@pytest.mark.parametrize("version", ["0.18.1", "0.24.0"])
def test_changed_answers_bring_the_wiring_up_to_date(version: str, shared):
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


def test_unwire_under_newer_answers_takes_the_older_lines(shared):
    root = shared()
    bare = contents(root)
    wiring.wire(Checkout(root), port(NOVA))
    wiring.unwire(Checkout(root), port(NOVA, training=False, checkpoints=NOVA["checkpoints"][:1], variants=["txt2img"]))
    assert contents(root) == bare


def test_a_second_wire_touches_nothing(shared):
    root = shared()
    wiring.wire(Checkout(root), port(ZULU))
    before = snapshot(root)
    results = wiring.wire(Checkout(root), port(ZULU))
    assert {result.action for result in results} == {""}
    assert snapshot(root) == before


def test_unwire_of_what_is_not_wired(shared):
    root = shared()
    before = snapshot(root)
    wiring.unwire(Checkout(root), port(ZULU))
    assert snapshot(root) == before


def test_dry_run_prints_the_diff_and_writes_nothing(checkout, mflux_port, answered):
    root = checkout()
    answered(root, NOVA)
    before = snapshot(root)
    dry = mflux_port("wire", "nova_image", "--dry-run", cwd=root)
    assert dry.returncode == 0, dry.stderr
    assert snapshot(root) == before
    assert {path.name for path in (root / ".git/mflux-port").iterdir()} == {"run.lock"}  # taken, so that nobody writes
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
    rows = {row["surface"]: row for row in json.loads(done.stdout)}
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
    "not Python": (save.FILE, "MODEL_CLASSES", "MODEL CLASSES", "no valid Python"),
    "not TOML": (pyproject.FILE, "[project.scripts]", "[project.scripts", "would not be right"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_plan_is_not_written(what: str, shared):
    checkout = Checkout(shared("0.24.0"))
    plan = wiring.plan_wire(checkout, port(NOVA))
    file, old, new, error = WRONG[what]
    text = plan.files[file].decode()
    assert old in text
    wrong = {**plan.files, file: text.replace(old, new).encode()}
    verification.verify(checkout, plan.files, port(NOVA), wired=True, edited=set())
    with pytest.raises(PortError, match=error) as raised:
        verification.verify(checkout, wrong, port(NOVA), wired=True, edited=set())
    assert str(raised.value).startswith(file)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"zulu",\n', "", "zulu-art would be saved by ZuluArt, nothing"),
        ("model_class = ZuluArt", "model_class = Flux1", "saved by Flux1"),
        (
            "    if {model_name_lower",
            '    if "u" in x:\n        model_class = A\n    elif {model_name_lower',
            "behind another's",
        ),
    ],
)
def test_a_wrong_branch_is_not_written(old: str, new: str, error: str, shared):
    checkout = Checkout(shared("0.18.1"))
    plan = wiring.plan_wire(checkout, port(ZULU))
    text = plan.files[save.FILE].decode()
    assert old in text
    with pytest.raises(PortError, match=error):
        wrong = {**plan.files, save.FILE: text.replace(old, new, 1).encode()}
        verification.verify(checkout, wrong, port(ZULU), wired=True, edited=set())


def _without_priorities(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if b"priority=" not in line]
