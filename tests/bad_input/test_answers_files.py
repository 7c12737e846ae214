"""Every command refuses an answers file that was edited by hand so that a question would not accept it."""

from __future__ import annotations

import pytest
from mflux_port.update.steps import run_step

from tests.bad_input.world import ANSWERS, World, complains, refused

ENTRY = {"key": "nova", "hf_repo": "acme/Nova"}


def entry(**more: object) -> dict:
    return {"checkpoints": [{**ENTRY, **more}]}


TWINS = {"checkpoints": [{"key": "nova-2.1", "hf_repo": "a/b"}, {"key": "nova-2-1", "hf_repo": "a/c"}]}

# Case, changed answers, words in the error line.
CHANGED = [
    # names
    ("another model", {"model": "vega"}, "but is in the folder of nova; restore the old name"),
    ("a model of Python's", {"model": "class"}, "model is 'class', a name that is taken"),
    ("a model of mflux's", {"model": "common"}, "model is 'common', a name that is taken"),
    ("a model in upper case", {"model": "Nova"}, "model is 'Nova'; write lower case"),
    ("a model that is a path", {"model": "../nova"}, "model is '../nova'; write"),
    ("a model with two underscores", {"model": "no__va"}, "model is 'no__va'; write"),
    ("a model that is a number", {"model": 5}, "model is 5, which is not text"),
    ("a model that is a list", {"model": ["nova"]}, "model is ['nova'], which is not text"),
    ("a class in lower case", {"class_name": "nova"}, "class_name is 'nova'; write a class name"),
    ("a class of Python's", {"class_name": "None"}, "class_name is 'None', a name that is taken"),
    ("a class with a base", {"class_name": "Nova(object)"}, "class_name is"),
    ("a class far too long", {"class_name": "N" * 41}, "at most 40 characters"),
    ("a display name with two lines", {"display_name": "Nova\n## x"}, r"display_name is 'Nova\n## x'; write letters"),
    ("a display name with quotes", {"display_name": 'No"va'}, "display_name is"),
    ("a display name with a link", {"display_name": "x](http://y)"}, "display_name is"),
    ("a display name with Jinja", {"display_name": "{{ 7 * 7 }}"}, "display_name is"),
    ("a display name that is a number", {"display_name": 2.1}, "display_name is 2.1, which is not text"),
    ("a command with a blank", {"cli_name": "nova image"}, "cli_name is 'nova image'"),
    ("a command that is a path", {"cli_name": "../../bin/x"}, "cli_name is"),
    ("a command with a line end", {"cli_name": "nova\n"}, "cli_name is"),
    ("a repo without organisation", {"hf_repo": "nova"}, "hf_repo is 'nova'; write the repo id as organisation/name"),
    ("a repo that is an address", {"hf_repo": "https://hf.co/a/b"}, "hf_repo is"),
    ("a repo with dots", {"hf_repo": "a../b..c"}, "hf_repo is 'a../b..c'"),
    ("a pipeline with two dots", {"reference_pipeline": "a..b"}, "reference_pipeline is 'a..b'"),
    ("a pipeline that is empty", {"reference_pipeline": ""}, "reference_pipeline is ''"),
    # numbers and booleans
    ("steps that are text", {"steps": "8"}, "steps is '8'; write a whole number from 1 to 1000"),
    ("steps that are half", {"steps": 2.5}, "steps is 2.5; write a whole number"),
    ("steps that are true", {"steps": True}, "steps is True; write a whole number"),
    ("steps without end", {"steps": float("inf")}, "steps is inf; write a whole number"),
    ("no steps", {"steps": 0}, "steps is 0; write a whole number from 1"),
    ("a million steps", {"steps": 10**6}, "write a whole number from 1 to 1000"),
    ("guidance that is not a number", {"guidance": float("nan")}, "guidance is nan; write a number from 0 to 100"),
    ("guidance without end", {"guidance": float("inf")}, "guidance is inf"),
    ("guidance below nothing", {"guidance": -1.0}, "guidance is -1.0"),
    ("guidance that is text", {"guidance": "4"}, "guidance is '4'"),
    ("a flag that is text", {"supports_guidance": "false"}, "supports_guidance is 'false'; write true or false"),
    ("LoRA answered with no in quotes", {"lora": "no"}, "lora is 'no'; write true or false, without quotes"),
    ("training without an answer", {"training": None}, "training is None"),
    # choices
    ("a VAE that is a list", {"vae": []}, "vae is [], which is not text"),
    ("a text encoder with a blank", {"text_encoder": "x y"}, "text_encoder is 'x y'"),
    ("no scheduler", {"scheduler": None}, "scheduler is None, which is not text"),
    (
        "a level that is a number",
        {"mflux_api": 0.24},
        "mflux_api is 0.24, which is not text; write one of 0.24, 0.22, 0.18",
    ),
    ("variants that are text", {"variants": "txt2img"}, "variants is 'txt2img'; write [txt2img]"),
    ("variants without txt2img", {"variants": ["edit"]}, "variants is ['edit']"),
    ("variants with code", {"variants": ["txt2img", "edit import os\n#"]}, "variants is"),
    ("variants in a list", {"variants": [["txt2img"]]}, "variants is [['txt2img']]"),
    # the checkpoints
    ("checkpoints that are text", {"checkpoints": "nova"}, "checkpoints is 'nova'; write it as a list"),
    ("checkpoints that are a single entry", {"checkpoints": ENTRY}, "write it as a list"),
    ("no checkpoints", {"checkpoints": []}, "`checkpoints` is empty"),
    ("an entry that is text", {"checkpoints": ["nova"]}, "entry is 'nova'; write it as"),
    ("an entry without a repo", {"checkpoints": [{"key": "nova"}]}, "entry 1 has no answer 'hf_repo'"),
    ("an entry without a key", {"checkpoints": [ENTRY, {"hf_repo": "a/b"}]}, "entry 2 has no answer 'key'"),
    ("two entries with the same key", {"checkpoints": [ENTRY, ENTRY]}, "two entries of checkpoints have the same key"),
    ("two entries with the same function", TWINS, "have the same key, or the same function"),
    ("a key that is a list", entry(key=["nova"]), "entry 1, key is ['nova'], which is not text"),
    ("a key of digits", entry(key="5"), "starting with a letter"),
    ("a key of Python's", entry(key="class"), "no function can be called 'class'"),
    ("a key of two lines", entry(key="nova\nx"), "entry 1, key is"),
    ("an entry's repo with a quote", entry(hf_repo='a/b"'), "entry 1 (nova), hf_repo is"),
    ("aliases that are text", entry(aliases="abc"), "aliases is 'abc'; write a list of names"),
    ("aliases that are a mapping", entry(aliases={"abc": 1}), "aliases is {'abc': 1}"),
    ("an alias with a blank", entry(aliases=["no va"]), "an alias is 'no va'"),
    ("an alias that is a number", entry(aliases=[2.1]), "an alias is 2.1, which is not text"),
    ("fractional steps of an entry", entry(steps=2.5), "entry 1 (nova), steps is 2.5"),
    ("an entry without steps", entry(steps=0), "entry 1 (nova), steps is 0"),
    ("guidance of an entry that is not a number", entry(guidance=float("nan")), "entry 1 (nova), guidance is nan"),
    ("a flag of an entry that is text", entry(supports_guidance="no"), "supports_guidance is 'no'"),
    ("an unknown variant", entry(variant="video"), "has variant 'video'; `variants` lists txt2img"),
    ("a variant with code", entry(variant="edit\nimport os"), "has variant"),
    ("an entry's command that ends a table", entry(cli_name='x"\n[evil]'), "entry 1 (nova), cli_name is"),
    ("an entry's command that is a list", entry(cli_name=["x"]), "cli_name is ['x'], which is not text"),
    ("a revision that is a branch", entry(revision="main"), "revision is 'main'; write a commit of 40 hex digits"),
    ("sizes that are a list", entry(transformer_overrides=[1]), "transformer_overrides is [1]; write a mapping"),
    (
        "a count of blocks that is code",
        entry(transformer_overrides={"num_layers": "4); f("}),
        "num_layers of transformer_overrides is",
    ),
    ("a size without a name", entry(text_encoder_overrides={"a b": 1}), "text_encoder_overrides is {'a b': 1}"),
    ("a size that is not a number", entry(transformer_overrides={"a": float("nan")}), "'transformer_overrides' is nan"),
    ("a size with a line end", entry(transformer_overrides={"a": "x\ny"}), r"'transformer_overrides' is 'x\ny'"),
    ("a shift without end", entry(sigma_base_shift=float("inf")), "'sigma_base_shift' is inf"),
    # what Copier wrote
    ("a template that is an option", {"_src_path": "--upload-pack=x.git"}, "_src_path is"),
    ("a version that is an option", {"_commit": "--orphan"}, "_commit is '--orphan'"),
]
# Case, bytes of the file, words in the error line.
FILES = [
    ("an empty file", b"", "is not a mapping of answers"),
    ("a list", b"- model\n", "is not a mapping of answers"),
    ("a word", b"nova\n", "is not a mapping of answers"),
    ("a bracket left open", b"model: [\n", "line 2 is not valid YAML"),
    ("a conflict", b"model: nova\n<<<<<<< before updating\n=======\n>>>>>>> after\n", "is not valid YAML"),
    ("no text", b"\xff\xfe\x00", "is not UTF-8 text"),
    ("a NUL", b"model: nova\0\n", "is not valid YAML"),
    ("brackets without end", b"[" * 100_000, "is not valid YAML"),
    ("an object of Python's", b"model: !!python/object/apply:os.system [ls]\n", "is not valid YAML"),
    ("two documents", b"model: nova\n---\nmodel: vega\n", "is not valid YAML"),
    ("a thirteenth month", b"model: 2024-13-01\n", "a value that cannot be read (month must be in 1..12)"),
    ("an invalid int", b"model: !!int x\n", "a value that cannot be read"),
    ("an invalid bool", b"model: !!bool x\n", "a value that cannot be read"),
    ("an invalid time", b"model: !!timestamp x\n", "a value that cannot be read"),
    ("a number of 5000 digits", b"steps: " + b"9" * 5000 + b"\n", "a value that cannot be read"),
]  # fmt: skip
# Case, text inserted into the checkpoint's entry, words in the error line.
ENTRIES = [
    ("a date as a size", "transformer_overrides: {a: 2024-01-01}", "holds datetime.date(2024, 1, 1), which is not a plain"),
    ("half a character", r'transformer_overrides: {a: "\uD800"}', "is not valid YAML"),
    ("a loop of anchors", "sigma: &a {x: *a}", "is nested too deeply or is too long"),
    ("anchors that multiply", "sigma: &a [x,x,x,x]\n  b: &b [*a,*a,*a,*a]\n  c: &c [*b,*b,*b,*b]\n  d: &d [*c,*c,*c,*c]\n"
     "  e: &e [*d,*d,*d,*d]\n  f: &f [*e,*e,*e,*e]\n  g: [*f,*f,*f,*f]", "is nested too deeply or is too long"),
]  # fmt: skip
COMMANDS = [
    ["wire", "nova"],
    ["unwire", "nova"],
    ["check", "nova"],
    ["status", "nova"],
    ["finish", "nova"],
    ["draft", "nova", "--checkpoint", "../checkpoint"],
    ["ledger", "nova"],
    ["inspect", "../checkpoint", "--sizes", "nova"],
]


def refused_by_all(world: World, capsys, words: str, but: str = "") -> None:
    with world.unchanged():
        for command in [command for command in COMMANDS if command[0] != but]:
            complains(capsys, command, (words, "answers.yml"))


@pytest.mark.parametrize(("change", "words"), [pytest.param(*case[1:], id=case[0]) for case in CHANGED])
def test_answers_that_no_question_accepts(world, capsys, change, words):
    world.answer(**change)
    refused_by_all(world, capsys, words)


@pytest.mark.parametrize("name", ["class_name", "hf_repo", "steps", "lora", "variants", "mflux_api"])
def test_answers_that_are_missing(world, capsys, name):
    world.answer(**{name: ...})
    refused_by_all(world, capsys, f"has no answer {name!r}")


@pytest.mark.parametrize(("data", "words"), [pytest.param(*case[1:], id=case[0]) for case in FILES])
def test_files_without_answers(world, capsys, data, words):
    world.write(ANSWERS, data)
    refused_by_all(world, capsys, words, but="status" if b"<<<<" in data else "")  # status reports conflicts separately


@pytest.mark.parametrize(("text", "words"), [pytest.param(*case[1:], id=case[0]) for case in ENTRIES])
def test_checkpoint_entries_that_are_not_plain_values(world, capsys, text, words):
    world.answer(checkpoints=...)
    path = world.path(ANSWERS)
    path.write_text(f"{path.read_text()}checkpoints:\n- key: nova\n  hf_repo: acme/Nova\n  {text}\n")
    refused_by_all(world, capsys, words)


# An update would replace an answer that its validator refuses by the question's default. Both `update` and the first
# step of `copier update` must refuse first.
@pytest.mark.parametrize(
    ("change", "words"),
    [pytest.param(*case[1:], id=case[0]) for case in CHANGED if next(iter(case[1])) not in ("model", "class_name")],
)
def test_update_refuses_an_answer_that_copier_would_replace(world, capsys, monkeypatch, change, words):
    world.answer(**change)
    world.commit()
    before = world.written()
    monkeypatch.setenv("VERSION_FROM", "HEAD")
    assert run_step(world.root, "check", ANSWERS, "{}", str(world.root)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and words in said
    assert world.written() == before


@pytest.mark.parametrize("answer", ["display_name", "guidance", "variants", "checkpoints", "_commit"])
def test_update_command_refuses(world, capsys, answer):
    _, change, words = next(case for case in CHANGED if next(iter(case[1])) == answer)
    world.answer(**change)
    world.commit()
    refused(world, capsys, ["update", "nova"], (words, ANSWERS), out=UPDATE)


@pytest.mark.parametrize("case", [case for case in FILES if case[0] in ("a bracket left open", "no text", "a list")])
def test_update_refuses_a_broken_answers_file(world, capsys, case):
    world.write(ANSWERS, case[1])
    world.commit()
    refused(world, capsys, ["update", "nova"], (case[2], ANSWERS), out=UPDATE)


UPDATE = "if this is interrupted, `mflux-port update --restore` restores the tree\n"
