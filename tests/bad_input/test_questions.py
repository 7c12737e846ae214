"""Answers to Copier's questions that no port can have: the last line is our message, and nothing is written.

When it is not interactive, Copier prints its own traceback above that line; a validator's line ends Copier's error, a
task's line is on stderr.
"""

from __future__ import annotations

import re
import shutil

import copier
import pytest
from copier.errors import CopierError

from tests.template.rendering import PROJECT, template_copy

NEW = {"model": "vega", "hf_repo": "acme/Vega"}
ENTRY = {"key": "vega", "hf_repo": "acme/Vega"}
NAME = "type lower case letters, digits and single underscores"
PYTHON = "is a Python keyword"


def entry(**more: object) -> dict:
    return {"checkpoints": [{**ENTRY, **more}]}


# Case, answers, words in the last line.
BAD = [
    # names
    ("no model", {"model": ""}, NAME),
    ("a model in upper case", {"model": "Vega"}, NAME),
    ("a model that begins with a digit", {"model": "2vega"}, NAME),
    ("a model that is a path", {"model": "../vega"}, NAME),
    ("a model that ends in an underscore", {"model": "vega_"}, NAME),
    ("a model with two underscores", {"model": "ve__ga"}, NAME),
    ("a model with a line end", {"model": "vega\n"}, NAME),
    ("a model with a Cyrillic letter", {"model": "v\u0435ga"}, NAME),
    ("a model with Jinja", {"model": "{{ 7 }}"}, NAME),
    ("a model far too long", {"model": "v" * 41}, "has 41 characters; type at most 40"),
    ("a model of mflux's", {"model": "flux2"}, "mflux already has src/mflux/models/flux2"),
    ("a folder of mflux's", {"model": "common"}, "mflux's own folder of shared code|mflux already has"),
    ("a model of Python's", {"model": "class"}, f"class {PYTHON}"),
    ("a class in lower case", {"class_name": "vega"}, "type a class name in CamelCase"),
    ("a class with a blank", {"class_name": "Vega Image"}, "type a class name in CamelCase"),
    ("a class with a base", {"class_name": "Vega(object)"}, "type a class name in CamelCase"),
    ("a class of Python's", {"class_name": "None"}, f"None {PYTHON}"),
    ("a class far too long", {"class_name": "V" * 41}, "has 41 characters"),
    ("a display name with quotes", {"display_name": 'Ve"ga'}, "type letters, digits, spaces"),
    ("a display name with two lines", {"display_name": "Vega\n## x"}, "type letters, digits, spaces"),
    ("a display name with a link", {"display_name": "x](http://y)"}, "type letters, digits, spaces"),
    ("a display name with braces", {"display_name": "{% raw %}"}, "type letters, digits, spaces"),
    ("a display name with a backslash", {"display_name": "Ve\\nga"}, "type letters, digits, spaces"),
    ("a display name that reverses the text direction", {"display_name": "Vega \u202egnp"}, "type letters, digits, spaces"),
    ("a display name far too long", {"display_name": "V" * 61}, "has 61 characters"),
    ("a command with a semicolon", {"cli_name": "vega; ls"}, "type lower case letters, digits, hyphens and dots"),
    ("a command that is a path", {"cli_name": "../vega"}, "type lower case letters, digits, hyphens and dots"),
    ("a command that is an option", {"cli_name": "--vega"}, "type lower case letters, digits, hyphens and dots"),
    ("a command far too long", {"cli_name": "v" * 41}, "has 41 characters"),
    ("no repo", {"hf_repo": ""}, "type the repo id as organisation/name"),
    ("a repo that is an address", {"hf_repo": "https://huggingface.co/acme/Vega"}, "type the repo id as organisation/name"),
    ("a repo without organisation", {"hf_repo": "Vega"}, "type the repo id as organisation/name"),
    ("a repo with dots", {"hf_repo": "acme/../Vega"}, "type the repo id as organisation/name"),
    ("a repo with a line end", {"hf_repo": "acme/Vega\n"}, "type the repo id as organisation/name"),
    ("a repo with a quote", {"hf_repo": 'acme/Vega"'}, "type the repo id as organisation/name"),
    ("a repo far too long", {"hf_repo": "acme/" + "V" * 200}, "has 205 characters"),
    ("a pipeline with a blank", {"reference_pipeline": "Vega Pipeline"}, "type the name of a class"),
    ("a pipeline with a call", {"reference_pipeline": "os.system('ls')"}, "type the name of a class"),
    # numbers
    ("no steps", {"steps": 0}, "type a number from 1 to 1000"),
    ("a million steps", {"steps": 10**6}, "type a number from 1 to 1000"),
    ("steps that are text", {"steps": "many"}, "steps|many"),
    ("guidance below nothing", {"guidance": -1}, "type a number from 0 to 100"),
    ("guidance that is not a number", {"guidance": float("nan")}, "must be a number from 0 to 100|type a number"),
    # the checkpoints
    ("checkpoints that are text", {"checkpoints": "vega"}, "type a YAML list with at least one entry"),
    ("checkpoints that are a single entry", {"checkpoints": ENTRY}, "type a YAML list with at least one entry"),
    ("no checkpoints", {"checkpoints": []}, "type a YAML list with at least one entry"),
    ("an entry that is text", {"checkpoints": ["vega"]}, "entry 1 has no key or no hf_repo"),
    ("an entry without a repo", {"checkpoints": [{"key": "vega"}]}, "entry 1 has no key or no hf_repo"),
    ("an entry's repo with dots", entry(hf_repo="acme/.."), "hf_repo of vega must be the repo id as organisation/name"),
    ("a key that is a number", entry(key=5), "key and hf_repo of entry 1 must be text"),
    ("a key of digits", entry(key="5"), "the key 5 must be .*, starting with a letter"),
    ("a key of Python's", entry(key="class"), f"class {PYTHON}"),
    ("a key with a quote", entry(key='ve"ga'), "must be lower case letters"),
    ("an alias with a slash", entry(aliases=["acme/vega"]), "must be lower case letters"),
    ("an alias of dots", entry(aliases=[".."]), "must be lower case letters"),
    ("an alias that is a number", entry(aliases=[2.1]), "aliases of vega must be a list of texts"),
    ("aliases that are text", entry(aliases="vega-a"), "aliases of vega must be a list of texts"),
    ("aliases that are a mapping", entry(aliases={"vega": 1}), "aliases of vega must be a list of texts"),
    ("an alias far too long", entry(aliases=["v" * 51]), "longer than 50 characters"),
    ("fractional steps of an entry", entry(steps=2.5), "steps of vega must be a whole number"),
    ("boolean steps of an entry", entry(steps=True), "steps of vega must be a whole number"),
    ("a million steps of an entry", entry(steps=10**6), "steps of vega must be a whole number from 1 to 1000"),
    ("guidance of an entry that is text", entry(guidance="4"), "guidance of vega must be a number"),
    ("infinite guidance of an entry", entry(guidance=float("inf")), "guidance of vega must be a number"),
    ("a flag of an entry that is text", entry(supports_guidance="no"), "supports_guidance of vega must be true or false"),
    ("an unknown variant", entry(variant="video"), "variant of vega must be txt2img or edit"),
    ("an entry's command with a quote", entry(cli_name='x"\n[evil]'), "cli_name of vega must be lower case"),
    ("a revision that is a branch", entry(revision="main"), "must be a commit of 40 hex digits"),
    ("sizes that are a list", entry(transformer_overrides=[1]), "transformer_overrides of vega must be a mapping"),
    ("a size that is code", entry(text_encoder_overrides={"a b": 1}), "in text_encoder_overrides of vega is not a keyword"),
    ("a count of blocks that is code", entry(transformer_overrides={"num_layers": "4); f("}), "num_layers in transformer_overrides of vega must be a whole number"),
    ("a fractional count of layers", entry(text_encoder_overrides={"num_hidden_layers": 2.5}), "must be a whole number from 1 to 10000"),
    ("a size with a quote", entry(transformer_overrides={"a": 'x"'}), "transformer_overrides of vega must be plain words"),
    ("a size without end", entry(transformer_overrides={"a": float("inf")}), "transformer_overrides of vega must be a number"),
    ("two entries with the same key", {"checkpoints": [ENTRY, ENTRY]}, "two entries have the same key"),
    # invalid choices, and choices that exclude each other
    ("a VAE that is not there", {"vae": "dc"}, "Invalid choice"),
    ("an unknown encoder", {"text_encoder": "bert"}, "Invalid choice"),
    ("an unknown variant", {"variants": ["video"]}, "Invalid choice"),
    ("variants without txt2img", {"variants": ["edit"]}, "txt2img is always included"),
    ("an edit without the variant", entry(variant="edit"), "add edit to the variants"),
    ("training without LoRA", {"training": True, "lora": False}, "answer yes to lora, or no here"),
    ("a negative prompt without guidance", {"guidance": 1.0, "negative_prompt": True}, "answer no"),
    ("a level of another mflux", {"mflux_api": "0.18"}, "this checkout is newer than mflux 0.18"),
]  # fmt: skip
# These are refused when the port is wired, and rolled back.
TAKEN = [
    ("an alias of mflux's", entry(aliases=["dev"]), "'dev' of vega is taken by mflux's dev"),
    ("a key of mflux's", entry(key="z-image"), "'z-image' of z-image is taken by mflux's z-image"),
    ("a command of mflux's", {"cli_name": "z-image", **entry()}, "mflux-generate-z-image is taken by"),
    ("a repo of mflux's", {"hf_repo": "Tongyi-MAI/Z-Image-Turbo"}, "is taken by mflux's z-image-turbo"),
    ("a field that ModelConfig lacks", entry(stepz=2), "has no 'stepz'; delete it from the answers of vega"),
    ("a field that is code", entry(**{"x=1, y": 2}), "has no 'x=1, y'"),
    ("a field that is a date", entry(sigma_base_shift={"a": [[[[[[[[1]]]]]]]]}), "is nested too deeply or is too long"),
    ("a field without end", entry(sigma_base_shift=float("inf")), "sigma_base_shift of vega must be a number from"),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The template as plain files, with the hooks that its task runs."""
    folder = template_copy(tmp_path_factory.mktemp("template"))
    shutil.copytree(PROJECT / "hooks", folder / "hooks", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def error_of(template, root, answers: dict, tasks: bool) -> str:
    """The error with which Copier ends."""
    with pytest.raises((ValueError, TypeError, CopierError)) as raised:
        copier.run_copy(
            str(template), root, {**NEW, **answers}, defaults=True, quiet=True, unsafe=True, skip_tasks=not tasks
        )
    return str(raised.value)


@pytest.mark.parametrize(("answers", "words"), [pytest.param(*case[1:], id=case[0]) for case in BAD])
def test_answers_that_are_refused(world, plain, answers, words):
    with world.unchanged():
        said = error_of(plain, world.root, answers, tasks=False)
    assert re.search(words, said.splitlines()[-1]), said


@pytest.mark.parametrize(
    ("answers", "words"),
    [pytest.param(*case[1:], id=case[0], marks=() if case in TAKEN[:2] else pytest.mark.full) for case in TAKEN],
)
def test_answers_that_do_not_fit_the_checkout(world, plain, capfd, answers, words):
    with world.unchanged():
        said = error_of(plain, world.root, answers, tasks=True)
    # Either a question or the last step of the copy refuses it.
    printed = capfd.readouterr().err.splitlines()
    assert words in (printed[-1] if printed else said)
    assert not printed or printed[-1].startswith("mflux-port: ")


@pytest.mark.parametrize("where", ["an empty folder", "another project"])
def test_folders_that_are_not_a_checkout(world, plain, where):
    folder = world.home / "elsewhere"
    folder.mkdir()
    if where == "another project":
        (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with world.unchanged():
        said = error_of(plain, folder, {}, tasks=True)
    assert "is not an mflux checkout; run this in the root of a clone of mflux" in said.splitlines()[-1]


# The folder that is replaced by a link to another place.
LINKS = ["src/mflux/models", "src/mflux/models/vega", "porting", "porting/vega", "tests", "tests/cli"]


@pytest.mark.parametrize("name", LINKS)
def test_folders_outside_the_checkout(world, plain, name):
    target = world.home / "outside"
    if world.path(name).exists():
        world.path(name).rename(target)
    else:
        target.mkdir()
    world.path(name).symlink_to(target)
    with world.unchanged():
        said = error_of(plain, world.root, {}, tasks=True)
    assert "is a link to a place outside the checkout:" in said.splitlines()[-1] and name in said


def test_link_in_place_of_a_file_is_kept(world, plain):
    target = world.home / "mine.py"
    target.write_text("# mine\n")
    world.path("tests/cli/test_vega_command.py").symlink_to(target)
    with world.unchanged():
        said = error_of(plain, world.root, {}, tasks=False)
    assert "tests/cli/test_vega_command.py exists" in said.splitlines()[-1]


TYPED = [{"model": "Vega"}, {"cli_name": "z-image"}, {"checkpoints": [{"key": "vega"}]}]


@pytest.mark.parametrize("change", [TYPED[0], *(pytest.param(change, marks=pytest.mark.full) for change in TYPED[1:])])
def test_command_line_refuses_in_one_line(world, plain, copy_port, change):
    """The same with the command: it fails, its last line is our message, and nothing is written."""
    with world.unchanged():
        done = copy_port(world.root, **{**NEW, **change})
        (world.home / "mflux-answers.yml").unlink()
    lines = done.stderr.rstrip().splitlines()
    assert done.returncode != 0
    assert any(words in line for line in lines[-3:] for words in ("mflux-port: ", "Validation error")), done.stderr
