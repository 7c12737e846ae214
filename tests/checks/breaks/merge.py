"""MRG: what each rule of ``checks/rules/merge.py`` must notice in the complete port."""

from __future__ import annotations

import re

from tests.checks.breaking import Break, append, both, replace, write
from tests.checks.complete_port import FIGURES, PACKAGE
from tests.checks.paths import CREATOR, FEED_FORWARD, INIT, PORTING, README, SAVE, VARIANT
from tests.checks.tree import Tree


def squash(tree: Tree) -> None:
    commit = tree.git("commit-tree", "HEAD^{tree}", "-p", "main", "-m", "Add nova")
    tree.git("update-ref", "refs/heads/squashed", commit)
    tree.git("symbolic-ref", "HEAD", "refs/heads/squashed")


def commit_tensor(tree: Tree) -> None:
    tree.write(f"{PACKAGE}/latents.safetensors", "tensors")
    tree.git("add", "--force", f"{PACKAGE}/latents.safetensors")


def prove(tree: Tree, figures: str, stage: str = "transformer") -> None:
    """Replace the figures after a stage's box."""
    text = (tree.root / PORTING).read_text()
    tree.write(PORTING, re.sub(rf"(<!-- evidence: {stage} -->).*", rf"\1 {figures}".rstrip(), text))


def figures(old: str, new: str, stage: str = "transformer"):
    """Figures that differ from those of the complete port."""
    made = FIGURES.format(commit="0000000")
    assert old in made
    return lambda tree: prove(tree, made.replace(old, new), stage)


def picture(name: str):
    def step(tree: Tree) -> None:
        tree.write(name, "a picture")
        tree.git("add", "--force", name)

    return step


def ignore(tree: Tree) -> None:
    """The state for a user whose personal ignore file names a folder of the port."""
    tree.git("rm", "--quiet", "--cached", FEED_FORWARD)
    tree.write(".git/info/exclude", "feed_forward.py\n")


BREAKS = [
    Break("MRG01", lambda tree: prove(tree, "")),
    Break("MRG01", lambda tree: prove(tree, "1"), "any digit"),
    Break("MRG01", figures("3.1e-06", "9.9e-01"), "above the limit"),
    Break("MRG01", figures("3.1e-06", "nan"), "not a number"),
    Break("MRG01", figures("1024x1024", "272x208"), "a small image"),
    Break("MRG01", figures("float32", "bfloat16"), "another dtype"),
    Break("MRG01", figures("8 steps, guidance 4, ", ""), "figures of an earlier version"),
    Break("MRG01", figures("guidance 4", "guidance 0", "loop"), "without guidance"),
    Break("MRG01", figures("relL2", "FAIL relL2"), "failed since"),
    Break("MRG20", lambda tree: prove(tree, "", "bfloat16")),
    Break("MRG21", lambda tree: prove(tree, "", "lora"), "LoRA unproven"),
    Break("MRG21", lambda tree: prove(tree, "", "training"), "training unproven"),
    Break("MRG21", lambda tree: prove(tree, "", "image_to_image"), "image-to-image unproven"),
    Break("MRG21", lambda tree: prove(tree, "", "edit"), "editing unproven"),
    Break("MRG21", figures("relL2", "FAIL relL2", "quantized"), "a quantized copy that failed"),
    Break("MRG20", lambda tree: prove(tree, FIGURES.format(commit="0000000"), "bfloat16"), "float32"),
    Break("MRG02", replace(PORTING, "- [x] The plan was reviewed", "- [ ] The plan was reviewed")),
    Break("MRG03", append(FEED_FORWARD, '\nmx.save("latents.npy", mx.zeros(1))\n')),
    Break("MRG03", append(FEED_FORWARD, '\nREFERENCE = mx.load("latents.safetensors")\n'), "a tensor is loaded"),
    Break("MRG03", append(FEED_FORWARD, '\nmx.save_safetensors("x.safetensors", {})\n'), "tensors are saved"),
    Break("MRG03", append(VARIANT, "\nNOISE = mx.load(PATH)\n"), "a computed path in the variant"),
    Break("MRG03", append(FEED_FORWARD, "\nimport pdb\npdb.set_trace()\n"), "a debugger"),
    Break("MRG04", append(FEED_FORWARD, "\nprint(1)\n")),
    Break("MRG04", append(INIT, "\nprint(1)\n"), "in the initializer"),
    Break("MRG04", append(CREATOR, "\nprint(1)\n"), "in the latent creator"),
    Break("MRG05", append(FEED_FORWARD, '\nPATH = "/Users/somebody/latents"\n')),
    Break("MRG06", append(README, "\nTODO: more.\n")),
    Break(
        "MRG06",
        append(FEED_FORWARD, "\nclass A:\n    def f(self):\n        raise NotImplementedError\n"),
        "an unwritten method",
    ),
    Break("MRG07", commit_tensor),
    Break("MRG07", picture(f"{PACKAGE}/debug.png"), "an image of a run"),
    Break("MRG08", append("src/mflux/models/common/vae/vae_util.py", "# mine\n")),
    Break("MRG08", append(SAVE, "\nUNRELATED = 1\n"), "an unrelated line in a wired file"),
    Break("MRG08", append("README.md", "\nAn unrelated paragraph.\n"), "an unrelated paragraph in the README"),
    Break(
        "MRG08",
        both(
            append(PORTING, "\n- `src/mflux/utils/metadata_reader.py`:\n"),
            append("src/mflux/utils/metadata_reader.py", "#\n"),
        ),
        "a file without a reason",
    ),
    Break("MRG08", write("tests/test_supernova_unrelated.py", "import pytest\n"), "another model's test"),
    Break("MRG08", write("src/mflux/assets/other.bin", "x"), "another model's image"),
    Break("MRG09", append(".gitignore", "my_notes/\n")),
    Break("MRG10", squash),
    Break(
        "MRG11",
        both(
            append(VARIANT, "\nCOMPILED = mx.compile(len)\n"),
            replace(PORTING, "- [x] Transformer done", "- [ ] Transformer done"),
        ),
    ),
    Break("MRG16", append(FEED_FORWARD, "# more\n")),
    Break("MRG16", figures("", ""), "an unknown commit"),
    Break("MRG16", figures("commit 0000000", "commit unknown"), "source of another checkout"),
    Break(
        "MRG16",
        lambda tree: prove(tree, FIGURES.format(commit=f"{tree.git('rev-parse', '--short', 'HEAD~1')}+")),
        "measured with uncommitted changes",
    ),
    Break("MRG19", ignore),
]
