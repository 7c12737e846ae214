"""Lines of the port that were edited, reworded, moved or deleted: never overwritten, never
duplicated, always reported.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from mangled_hosts import CHECKER, COMPLETIONS, CONFIG, DEFAULTS, EXAMPLE, OVERLAY, REVISIONS, RUNNER, SAVE
from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from wiring_hosts import AMBER, NOVA, contents, edit_text, port, result_of, undefined_names

_LEFT = "edited by hand, left as it is"
# A line of the port in each file, and an edit of it. Wiring recognises the line by its key, class or address.
EDITS = {
    "pyproject": ("pyproject.toml", "cli.nova_image_generate:main", "cli.nova_image_generate:own_main"),
    "model_config": (CONFIG, '"num_layers": 30', '"num_layers": 31'),
    "defaults": (DEFAULTS, '"nova-2.1-base": 50', '"nova-2.1-base": 45'),
    "save": (SAVE, '"nova-2.1-edit": NovaImageEdit', '"nova-2.1-edit": NovaImage'),
    "training_runner": (RUNNER, '{"nova-2.1-turbo", ', '{"nova-x", "nova-2.1-turbo", '),
    "training_example": (EXAMPLE, '"seed": 42', '"seed": 7'),
    "readme_table": ("README.md", "[Nova-Image 2.1](src/mflux/models/nova_image/README.md) | ?", "[Nova](src/mflux/models/nova_image/README.md) | Oct 2026"),
    "readme_acknowledgement": ("README.md", "- acme for the [Nova-Image 2.1 project]", "- Acme Labs for the [Nova project]"),
    "changelog": ("CHANGELOG.md", "- **Nova-Image 2.1**: added", "- **Nova-Image 2.1**: ported"),
    "model_revisions": (REVISIONS, "0123456789abcdef" * 2, "fedcba9876543210" * 2),
    "model_checker": (CHECKER, 'if key in {"nova-2.1-turbo", ', 'if key in {"nova-x", "nova-2.1-turbo", '),
    "ci_extract": (OVERLAY, '"mflux-generate-nova-2.1-base"],\n        [],\n        "active"', '"mflux-generate-nova-2.1-base"],\n        [],\n        "experimental"'),
    "completions": (COMPLETIONS, 'help="The images to edit."', 'help="Images."'),
}  # fmt: skip
CHANGED = (
    "- **Nova-Image 2.1**: added, with `mflux-generate-nova-2.1`, `mflux-generate-nova-2.1-base` and "
    "`mflux-generate-nova-2.1-edit`."
)
# Wiring recognises these by its record, as long as there is one.
REWORDED = {
    "readme_acknowledgement": ("README.md", "(https://huggingface.co/acme/Nova-Image-2.1-Turbo)", "(https://nova.example)"),
    "readme_acknowledgement, owner too": ("README.md", "- acme for the [Nova-Image 2.1 project](https://huggingface.co/acme/Nova-Image-2.1-Turbo)", "- Acme, @jo for the [Nova-Image 2.1 project](https://nova.example)"),
    "readme_table": ("README.md", "(src/mflux/models/nova_image/README.md)", "(./src/mflux/models/nova_image/README.md)"),
    "readme_table, another link": ("README.md", "(src/mflux/models/nova_image/README.md)", "(https://nova.example)"),
    "changelog": ("CHANGELOG.md", CHANGED, "- New model Nova-Image 2.1 (#12)"),
    "changelog, by its command": ("CHANGELOG.md", CHANGED, "- Nova comes with `mflux-generate-nova-2.1`"),
    "gitignore": (".gitignore", "train_nova_image.json", "train_nova_*.json"),
    "save, a chain": (SAVE, 'aliases[0] == "nova-2.1-edit"', 'aliases[0] == "nova-2.1-e"'),
    "training_runner": (RUNNER, "adapter = NovaImageTrainingAdapter(", "adapter = OwnAdapter("),
    "save": (SAVE, "mflux.models.nova_image.variants.edit.nova_image_edit import", "mflux.models.nova_image import"),
}  # fmt: skip


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "record lost"])
@pytest.mark.parametrize("surface", EDITS)
def test_an_edited_line_stays_and_is_reported(surface: str, recorded: bool, wired):
    root, _ = wired(surface)
    edit_text(root, *EDITS[surface])
    if not recorded:
        (root / "porting/nova_image/wiring.json").unlink()
    _assert_left(root, surface.split(",")[0], EDITS[surface][2])


@pytest.mark.parametrize("surface", REWORDED)
def test_a_reworded_line_stays_and_is_reported(surface: str, wired):
    root, _ = wired(surface)
    edit_text(root, *REWORDED[surface])
    _assert_left(root, surface.split(",")[0], REWORDED[surface][2])


def _assert_left(root: Path, surface: str, text: str) -> None:
    edited = contents(root)
    assert wiring.states(Checkout(root), port(NOVA))[surface].state == "edited"
    for _ in range(2):
        assert result_of(wiring.wire, root, surface).action == _LEFT
        assert contents(root) == edited
    assert _LEFT in str(result_of(wiring.unwire, root, surface))
    file = next(file for file, data in edited.items() if text.encode() in data)
    assert text.encode() in (root / file).read_bytes()


def test_a_branch_for_another_class_stays(wired):
    root, _ = wired("save, a chain")
    edit_text(root, SAVE, "model_class = NovaImageEdit", "model_class = QwenImageEdit")
    _assert_left(root, "save", "model_class = QwenImageEdit")


def test_line_in_a_released_section_stays(wired):
    root, bare = wired("changelog")
    released = (root / "CHANGELOG.md").read_text().replace("## [Unreleased]", "## [Unreleased]\n\n## [0.25.0]")
    (root / "CHANGELOG.md").write_text(released)
    assert result_of(wiring.wire, root, "changelog").action == ""
    assert (root / "CHANGELOG.md").read_text() == released
    wiring.unwire(Checkout(root), port(NOVA))
    assert "nova" not in (root / "CHANGELOG.md").read_text()


# An edited line in each file that newer answers do not need.
DROPPED = {
    "defaults": EDITS["defaults"],
    "model_config": (CONFIG, '"sigma_base_shift"', '"sigma_base_shift"'),
    "ci_extract": EDITS["ci_extract"],
    "save": (SAVE, '"nova-2.1-base": NovaImage', '"nova-2.1-base": NovaImageEdit'),
    "pyproject": ("pyproject.toml", "cli.nova_2_1_base_generate:main", "cli.own:main"),
}


@pytest.mark.parametrize("surface", DROPPED)
def test_edited_line_of_a_removed_checkpoint_stays(surface: str, wired):
    root, _ = wired(surface)
    file, old, new = DROPPED[surface]
    if surface == "model_config":
        old, new = "sigma_base_shift=0.5", "sigma_base_shift=0.6"
    edit_text(root, file, old, new)
    fewer = copy.deepcopy(NOVA)
    del fewer["checkpoints"][1]
    fewer["negative_prompt"] = False  # no checkpoint with guidance remains
    for act in (wiring.wire, wiring.wire, wiring.unwire):
        result = result_of(act, root, surface, fewer)
        assert "nova-2.1-base" in result.detail and _LEFT in str(result)
        assert new in (root / file).read_text()


def test_example_stays_when_training_is_turned_off(wired):
    root, _ = wired("training_example")
    edit_text(root, *EDITS["training_example"])
    for act in (wiring.wire, wiring.unwire):
        assert result_of(act, root, "training_example", {**NOVA, "training": False}).action == _LEFT
    assert (root / EXAMPLE).exists()


_THANKS = "- amberlab for the [Amber project](https://huggingface.co/amberlab/Amber)\n"
_MOVED = {**AMBER, "hf_repo": "amber-two/Amber", "display_name": "Amber Two"}


def test_line_follows_the_answers_that_it_was_written_for(wired):
    root, _ = wired("readme_acknowledgement", AMBER)
    result = result_of(wiring.wire, root, "readme_acknowledgement", _MOVED)
    assert result.action == "updated"
    text = (root / "README.md").read_text()
    assert _THANKS not in text and text.count("- amber-two for the [Amber Two project]") == 1


def test_duplicate_text_of_older_answers_is_kept(wired):
    root, _ = wired("readme_acknowledgement", AMBER)
    edit_text(root, "README.md", _THANKS, f"{_THANKS}\n{_THANKS}")
    for act in (wiring.wire, wiring.unwire):
        assert result_of(act, root, "readme_acknowledgement", _MOVED).action == _LEFT
        assert (root / "README.md").read_text().count(_THANKS) == 2


def test_duplicate_line_of_a_dropped_answer_is_kept(wired):
    root, _ = wired("pyproject")
    line = 'mflux-generate-nova = "mflux.models.nova_image.cli.nova_image_generate:main"\n'
    wiring.wire(Checkout(root), port({**NOVA, "cli_name": "nova"}))
    edit_text(root, "pyproject.toml", line, line + "[tool.own]\n" + line)
    for act in (wiring.wire, wiring.unwire):
        assert _LEFT in str(result_of(act, root, "pyproject"))
        assert (root / "pyproject.toml").read_text().count(line) == 2


# Lines that are deleted as a whole.
DELETED = {
    "pyproject": ("pyproject.toml", "mflux-generate-nova-2.1-base"),
    "defaults": (DEFAULTS, '"nova-2.1-base"'),
    "save": (SAVE, "NovaImageEdit"),
    "readme_table": ("README.md", "models/nova_image/README.md"),
    "readme_acknowledgement": ("README.md", "[Nova-Image 2.1 project]"),
    "changelog": ("CHANGELOG.md", "Nova-Image 2.1"),
    "gitignore": (".gitignore", "train_nova_image.json"),
    "model_revisions": (REVISIONS, "acme/Nova-Image-2.1-Turbo"),
}


@pytest.mark.parametrize("surface", DELETED)
def test_deleted_line_is_restored_and_reported(surface: str, wired):
    root, _ = wired(surface)
    whole = contents(root)
    file, words = DELETED[surface]
    lines = (root / file).read_text().splitlines(keepends=True)
    assert sum(words in line for line in lines) in (1, 2)
    (root / file).write_text("".join(line for line in lines if words not in line))
    if surface == "changelog":  # together with its heading
        edit_text(root, file, "### New Model Support\n\n\n", "")
    result = result_of(wiring.wire, root, surface)
    assert result.action == "restored after it was deleted there" and result.put_back
    now = contents(root)
    assert {name: sorted(data.splitlines()) for name, data in now.items()} == {
        name: sorted(data.splitlines()) for name, data in whole.items()
    }
    if surface in ("save", "defaults"):  # these lines are sorted
        assert now == whole


def test_deleted_example_is_restored(wired):
    root, _ = wired("training_example")
    (root / EXAMPLE).unlink()
    assert result_of(wiring.wire, root, "training_example").put_back == ("the example",)
    assert (root / EXAMPLE).exists()


def test_wire_keeps_an_import_that_is_still_used(shared):
    root = shared("0.24.0")
    wiring.wire(Checkout(root), port(NOVA))
    edit_text(root, SAVE, '"nova-2.1-edit": NovaImageEdit,', '"nova-2.1-edit": NovaImageEdit,  # checked')
    fewer = {**copy.deepcopy(NOVA), "checkpoints": copy.deepcopy(NOVA["checkpoints"][:2])}
    for _ in range(2):
        result = result_of(wiring.wire, root, "save", fewer)
        assert "left, because other lines there use it: import of NovaImageEdit" in str(result)
        assert undefined_names(root / SAVE) == ""
    edit_text(root, SAVE, '    "nova-2.1-edit": NovaImageEdit,  # checked\n', "")
    wiring.unwire(Checkout(root), port(fewer))
    assert "Nova" not in (root / SAVE).read_text()


def test_report_of_a_mixed_wire(wired):
    root, _ = wired("defaults")
    edit_text(root, DEFAULTS, '    "nova-2.1-turbo": 9,\n', "")
    edit_text(root, DEFAULTS, '"nova-2.1-base": 50,', '"nova-2.1-base": 51,')
    more = copy.deepcopy(NOVA)
    more["checkpoints"][2]["steps"] = 41
    more["checkpoints"].append({"key": "nova-2.1-xl", "hf_repo": "acme/Nova-Image-2.1-XL"})
    result = result_of(wiring.wire, root, "defaults", more)
    assert (result.state, result.put_back) == ("absent", ("nova-2.1-turbo",))
    assert str(result).endswith(
        "restored after it was deleted there (nova-2.1-turbo; added: nova-2.1-xl; updated: nova-2.1-edit; "
        "edited by hand, left as it is: nova-2.1-base)"
    )
