"""TST: what each rule of ``checks/rules/tests.py`` must notice in the complete port."""

from __future__ import annotations

from tests.checks.breaking import Break, append, move, remove, replace, write
from tests.checks.complete_port import REFERENCES
from tests.checks.paths import COMMAND, GOLDEN, SAVING, TINY
from tests.checks.tree import Tree


def untrack(tree: Tree) -> None:
    tree.git("rm", "--quiet", "--cached", *REFERENCES)


def with_text(tree: Tree, text: str) -> list[str]:
    found = [path for path in (tree.root / "tests").rglob("*nova*.py") if text in path.read_text()]
    return [path.relative_to(tree.root).as_posix() for path in found]


BREAKS = [
    Break("TST01", move(GOLDEN, "tests/image_generation/test_nova_picture.py")),
    Break("TST01", write(GOLDEN, "# mark.slow check_images_close_enough\n"), "a file without tests"),
    Break("TST02", replace(GOLDEN, "mark.slow", "mark.fast")),
    Break("TST02", write(GOLDEN, "# mark.slow\n"), "the marker in a comment"),
    Break("TST03", replace(GOLDEN, "check_images_close_enough", "are_equal")),
    Break("TST04", remove(REFERENCES[1])),
    Break("TST04", write(REFERENCES[0], ""), "an empty file"),
    Break("TST05", untrack),
    Break("TST07", remove("tests/lora/test_nova_lora_mapping.py")),
    Break("TST07", write("tests/lora/test_nova_lora_mapping.py", "import pytest\n"), "a file without tests"),
    Break("TST08", remove("tests/training/test_nova_training_adapter.py")),
    Break("TST09", remove(SAVING)),
    Break("TST09", write(SAVING, "# index.json\n"), "a file without tests"),
    Break("TST10", replace(SAVING, "index.json", "config.json")),
    Break("TST10", write(SAVING, "# index.json\n"), "a file without tests"),
    Break("TST11", remove(COMMAND)),
    Break("TST11", write(COMMAND, "# mark.fast\n"), "a file without tests"),
    Break("TST12", replace(COMMAND, "pytest.mark.fast", "pytest.mark.plain")),
    Break("TST13", append(COMMAND, '\nNOTES = "porting/nova/PORTING.md"\n')),
    Break(
        "TST14", lambda tree: [tree.replace(name, "model_path=", "path=") for name in with_text(tree, "model_path=")]
    ),
    Break("TST16", remove(TINY, "tests/image_generation/test_tiny_edit_image_nova.py")),
    Break("TST17", remove("tests/parity/test_nova_parity.py")),
    Break("TST17", write("tests/image_generation/test_nova_latent_creator.py", "\n"), "a file without tests"),
]
