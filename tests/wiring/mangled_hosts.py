"""Real files of mflux, changed as their owners might change them, and what wiring must do with each.

A case is (id, release, file, change, outcome). The outcome is ``wired`` (``wired:<text>``: with this text in the file),
``kept:<surface>`` (text that a person wrote is left as it is) or a pattern of the error.
"""

from __future__ import annotations

import re
from collections.abc import Callable

CONFIG = "src/mflux/models/common/config/model_config.py"
DEFAULTS = "src/mflux/cli/defaults/defaults.py"
SAVE = "src/mflux/models/common/cli/save.py"
RUNNER = "src/mflux/models/common/training/runner.py"
COMPLETIONS = "src/mflux/cli/completions/generator.py"
REVISIONS = "src/mflux/models/common/resolution/model_revisions.py"
CHECKER = "src/mflux/models/common/checking/model_checker.py"
OVERLAY = "scripts/ci_extract_models.py"
EXAMPLE = "src/mflux/models/common/training/_example/train_nova_image.json"

Change = Callable[[str], str]


def swap(old: str, new: str, count: int = -1) -> Change:
    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, count)

    return change


def sub(pattern: str, new: str | Callable, count: int = 0) -> Change:
    def change(text: str) -> str:
        changed, times = re.subn(pattern, new, text, count=count, flags=re.MULTILINE | re.DOTALL)
        assert times, pattern
        return changed

    return change


def add(more: str) -> Change:
    return lambda text: text + more


def put(new: str) -> Change:
    return lambda text: new


def _one_line(name: str) -> Change:
    def change(text: str) -> str:
        found = re.search(rf"^{name}(: [^=]+)? = ([\[{{].*?^[\]}}])", text, re.MULTILINE | re.DOTALL)
        flat = " ".join(line.strip() for line in found.group(0).splitlines() if not line.strip().startswith("#"))
        return text[: found.start()] + flat + text[found.end() :]

    return change


_NO_COMMA = sub(r",\n\}\n\Z", "\n}\n")
_BARE = "    aliases=[],\n"
_HAND_ENTRY = '    "nova-2.1-base": ModelConfig(priority=99, aliases=["nova-2.1-base"], model_name="me/mine"),\n}\n'
_ROWS = (
    'STANDARD_QUANTS = ["q4"]\nOVERLAY: dict = {\n'
    '    "dev": ("image", "flux1", "flux1-dev", ["mflux-generate"], [], "maintenance", STANDARD_QUANTS),\n}\n'
)
_BRANCH = '    elif "nova" in model_name_lower:\n        model_class = NovaImage\n'
_RETURN_NONE = r"^        return None\n(?=\s*(\n    @|\Z))"

CASES: list[tuple[str, str, str, Change, str]] = [
    # the registry
    ("registry: syntax error", "0.24.0", CONFIG, add("\ndef broken(:\n"), r"line \d+ is not valid Python; fix"),
    ("registry: unclosed table", "0.18.1", CONFIG, sub(r"\}\n\Z", ""), r"line \d+ is not valid Python; fix"),
    ("registry: NUL byte", "0.24.0", CONFIG, add("\n# \0\n"), r"not valid Python; fix"),
    ("registry: not UTF-8", "0.24.0", CONFIG, swap("class ModelConfig", "# \udce9\nclass ModelConfig"), r"UTF-8; "),
    ("registry: another encoding", "0.24.0", CONFIG, lambda t: f"# coding: latin-1\n# \udce9\n{t}", r"UTF-8; "),
    ("registry: empty file", "0.24.0", CONFIG, put(""), r"no table AVAILABLE_MODELS; restore"),
    ("registry: renamed", "0.22.0", CONFIG, swap("AVAILABLE_MODELS", "MODELS"), r"no table AVAILABLE_MODELS; restore"),
    ("registry: twice", "0.18.1", CONFIG, add("\nAVAILABLE_MODELS = {}\n"), r"more than once \(lines \d+, \d+\); keep"),
    ("registry: a call", "0.24.0", CONFIG, sub(r"^(AVAILABLE_MODELS[^=]*= )\{(.*)\}", r"\1dict({\2})"), r"not a literal"),
    ("registry: a list", "0.24.0", CONFIG, lambda t: t.split("AVAILABLE_MODELS = {")[0] + 'AVAILABLE_MODELS = [\n    "dev",\n]\n', r"is not a dict"),
    ("registry: spliced in", "0.24.0", CONFIG, sub(r"^(AVAILABLE_MODELS[^=]*= \{\n)", r"\1    **OLD,\n"), r"not a plain string"),
    ("registry: a variable as key", "0.24.0", CONFIG, swap('    "dev": ModelConfig(', "    DEV: ModelConfig("), r"not a plain string"),
    ("registry: below an if", "0.24.0", CONFIG, sub(r"^AVAILABLE_MODELS", "if True:\n  AVAILABLE_MODELS"), r"no table"),
    ("registry: annotated", "0.18.1", CONFIG, swap("AVAILABLE_MODELS = {", "AVAILABLE_MODELS: dict = {"), "wired"),
    ("registry: added to later", "0.24.0", CONFIG, add('\nAVAILABLE_MODELS["nova-2.1"] = AVAILABLE_MODELS["dev"]\n'), r"line \d+ changes AVAILABLE_MODELS outside its literal; move"),
    ("registry: added to in a loop", "0.24.0", CONFIG, add('\nfor key in ("x",):\n    AVAILABLE_MODELS[key] = AVAILABLE_MODELS["dev"]\n'), r"changes AVAILABLE_MODELS"),
    ("registry: updated later", "0.18.1", CONFIG, add("\nAVAILABLE_MODELS.update(MORE)\n"), r"changes AVAILABLE_MODELS"),
    ("registry: merged later", "0.24.0", CONFIG, add("\nAVAILABLE_MODELS |= MORE\n"), r"changes AVAILABLE_MODELS"),
    ("registry: aliases by name", "0.24.0", CONFIG, swap('aliases=["dev"]', "aliases=DEV_ALIASES"), r"line \d+: aliases, model_name or priority of the entry 'dev'"),
    ("registry: one alias by name", "0.18.1", CONFIG, swap('aliases=["dev"]', 'aliases=["dev", NOVA]'), r"aliases, model_name or priority of the entry 'dev'"),
    ("registry: repo by name", "0.24.0", CONFIG, swap('model_name="black-forest-labs/FLUX.1-dev"', "model_name=REPO", 1), r"aliases, model_name or priority of the entry 'dev'"),
    ("registry: by position", "0.24.0", CONFIG, sub(r"\}\n\Z", '    "mine": ModelConfig(90, ["mine", "nova-2.1"], "me/Mine", None, None, None, 1000, 512, True, False),\n}\n'), r"aliases, model_name or priority of the entry 'mine'"),
    ("registry: fields unpacked", "0.24.0", CONFIG, sub(r"\}\n\Z", '    "mine": ModelConfig(**MINE),\n}\n'), r"aliases, model_name or priority of the entry 'mine'"),
    ("registry: an entry by name", "0.24.0", CONFIG, sub(r"\}\n\Z", '    "mine": MINE,\n}\n'), r"aliases, model_name or priority of the entry 'mine'"),
    ("registry: no last comma", "0.24.0", CONFIG, _NO_COMMA, "wired"),
    ("registry: no last comma, comment", "0.24.0", CONFIG, sub(r",\n\}\n\Z", "  # ours\n}\n"), "wired"),
    ("registry: brace behind the last entry", "0.24.0", CONFIG, sub(r",\n\}\n\Z", ",}\n"), r"more than one statement or entry; put"),
    ("registry: comment behind the last entry", "0.24.0", CONFIG, sub(r"\}\n\Z", "    # the end\n}\n"), "wired"),
    ("registry: single quotes", "0.24.0", CONFIG, swap('"', "'"), "wired"),
    ("registry: class renamed", "0.24.0", CONFIG, swap("class ModelConfig:", "class Config:"), r"class ModelConfig, found 0"),
    ("registry: class twice", "0.24.0", CONFIG, add("\n\nclass ModelConfig:\n    pass\n"), r"class ModelConfig, found 2"),
    ("registry: other factories", "0.24.0", CONFIG, swap("    @lru_cache", "    @functools.lru_cache()"), r"no factory"),
    ("registry: no constructor", "0.24.0", CONFIG, swap("def __init__(", "def setup("), r"no __init__"),
    ("registry: field gone", "0.24.0", CONFIG, swap("sigma_base_shift", "base_shift"), r"has no 'sigma_base_shift'"),
    ("registry: alias taken", "0.24.0", CONFIG, swap('aliases=["dev"]', 'aliases=["dev", "nova-2.1"]'), r"taken by mflux's dev"),
    ("registry: repo taken", "0.18.1", CONFIG, swap('"black-forest-labs/FLUX.1-dev"', '"ACME/nova-image-2.1"', 1), r"is already mflux's dev"),
    ("registry: key taken", "0.24.0", CONFIG, sub(r"\}\n\Z", _HAND_ENTRY), r"'nova-2.1-base'.*taken by mflux's nova-2.1-base"),
    ("registry: alias inside ours", "0.24.0", CONFIG, swap('aliases=["dev"]', 'aliases=["dev", "nova-2.1-turbo-q4"]'), r"read as mflux's dev; choose another"),
    ("registry: factory taken", "0.24.0", CONFIG, sub(r"\}\n\Z", _HAND_ENTRY.replace("2.1-base", "2-1-base")), r"nova_2_1_base\(\) belongs to"),
    # steps and names
    ("steps: renamed", "0.24.0", DEFAULTS, swap("MODEL_INFERENCE_STEPS", "STEPS"), r"no table MODEL_INFERENCE_STEPS"),
    ("steps: twice", "0.22.0", DEFAULTS, add("\nMODEL_INFERENCE_STEPS = {}\n"), r"MODEL_INFERENCE_STEPS more than once"),
    ("steps: computed", "0.24.0", DEFAULTS, sub(r"^MODEL_INFERENCE_STEPS.*?^\}", "MODEL_INFERENCE_STEPS = steps()"), r"not a literal table"),
    ("steps: empty", "0.24.0", DEFAULTS, sub(r"^MODEL_INFERENCE_STEPS.*?^\}", "MODEL_INFERENCE_STEPS = {}"), r"more than one statement or entry"),
    ("steps: one line", "0.24.0", DEFAULTS, _one_line("MODEL_INFERENCE_STEPS"), r"more than one statement or entry; put"),
    ("steps: spliced in", "0.24.0", DEFAULTS, sub(r"^(MODEL_INFERENCE_STEPS[^=]*= \{\n)", r"\1    **MORE,\n"), r"not a plain string"),
    ("steps: annotated", "0.18.1", DEFAULTS, sub(r"^MODEL_INFERENCE_STEPS = ", "MODEL_INFERENCE_STEPS: dict[str, int] = "), "wired"),
    ("steps: ours, another number", "0.24.0", DEFAULTS, sub(r"^(MODEL_INFERENCE_STEPS[^=]*= \{\n)", r'\1    "nova-2.1-turbo": 4,\n'), "kept:defaults"),
    ("steps: ours twice", "0.24.0", DEFAULTS, sub(r"^(MODEL_INFERENCE_STEPS[^=]*= \{\n)", r'\1    "nova-2.1-edit": 4,\n    "nova-2.1-edit": 5,\n'), r"'nova-2.1-edit' twice"),
    ("steps: in parentheses", "0.18.1", DEFAULTS, lambda t: re.sub(r"^(MODEL_INFERENCE_STEPS[^}]*: )(\d+),\n\}", r"\1(\n        \2\n    ),\n}", t, flags=re.MULTILINE), r"more than a comma between"),
    ("steps: changed later", "0.24.0", DEFAULTS, add('\nMODEL_INFERENCE_STEPS["nova-2.1-base"] = 3\n'), r"changes MODEL_INFERENCE_STEPS"),
    ("steps: syntax error", "0.20.0", DEFAULTS, swap("MODEL_INFERENCE_STEPS", "MODEL INFERENCE_STEPS", 1), r"not valid Python"),
    ("names: sorted by a call", "0.18.1", DEFAULTS, sub(r"^MODEL_CHOICES = (\[.*?^\])", r"MODEL_CHOICES = sorted(\1)"), r"MODEL_CHOICES is not a literal"),
    ("names: a tuple", "0.18.0", DEFAULTS, sub(r"^MODEL_CHOICES = \[(.*?)^\]", r"MODEL_CHOICES = (\1)"), r"MODEL_CHOICES is not a literal"),
    ("names: one line", "0.18.1", DEFAULTS, _one_line("MODEL_CHOICES"), r"more than one statement or entry; put"),
    ("names: spliced in", "0.18.1", DEFAULTS, swap("MODEL_CHOICES = [\n", "MODEL_CHOICES = [\n    *MORE,\n"), r"not a plain string"),
    ("names: no last comma", "0.18.1", DEFAULTS, sub(r",\n\]\n", "\n]\n", 1), "wired"),
    ("names: no last comma, comment", "0.18.1", DEFAULTS, sub(r",\n\]\n", "  # last\n]\n", 1), "wired"),
    # what mflux-save loads
    ("save: a match", "0.18.1", SAVE, sub(r'^    if "ernie".*?        model_class = Flux1\n', "    match model_name_lower:\n        case _:\n            model_class = Flux1\n"), r"MODEL_CLASSES.*found 0"),
    ("save: a function", "0.18.0", SAVE, lambda t: sub(r"\n    (if \"ernie\".*?model_class = Flux1\n)", "\n    model_class = choose()\n")(t), r"MODEL_CLASSES.*found 0"),
    ("save: another variable", "0.18.1", SAVE, swap("model_class = QwenImage\n", "kind = QwenImage\n"), r"found 0"),
    ("save: two chains", "0.18.1", SAVE, swap("    # 2. Load", '    if args.path == "x":\n        model_class = FIBO\n    # 2. Load'), r"found 2"),
    ("save: main renamed", "0.18.1", SAVE, swap("def main(", "def run("), r"one function main\(\), found 0"),
    ("save: main twice", "0.18.1", SAVE, add("\n\ndef main():\n    pass\n"), r"one function main\(\), found 2"),
    ("save: other names", "0.18.1", SAVE, swap("_lower", "_small"), "wired"),
    ("save: arguments renamed", "0.18.1", SAVE, sub(r"\bargs\b", "given"), "wired:ModelConfig.from_name(given.model, base_model=given.base_model).aliases[0] in {"),
    ("save: resolves nothing", "0.18.0", SAVE, swap("ModelConfig.from_name(", "ModelConfig.of("), r"ModelConfig.from_name\(…\)[^;]*, found none; wire"),
    ("save: resolves what comes later", "0.18.1", SAVE, lambda t: swap("from_name(args.model,", "from_name(wanted,")(swap("    # 2. Load", "    wanted = args.model\n    # 2. Load")(t)), r"that the chain can call, found none"),
    ("save: no base model", "0.18.1", SAVE, lambda t: sub(r"^    base_model_lower = .*?\n", "")(swap(' or "ideogram" in base_model_lower', "")(t)), "wired"),
    ("save: ours last", "0.18.1", SAVE, sub(r"^    else:\n        model_class = Flux1\n", _BRANCH + "    else:\n        model_class = Flux1\n"), r"is the last one; move it up"),
    ("save: ours by hand", "0.18.1", SAVE, sub(r"^    elif \"fibo\"", _BRANCH + '    elif "fibo"'), "kept:save"),
    ("save: no else", "0.18.1", SAVE, sub(r"^    else:\n        model_class = Flux1\n", ""), "wired"),
    ("save: table renamed", "0.24.0", SAVE, swap("MODEL_CLASSES", "CLASSES"), r"MODEL_CLASSES.*found 0"),
    ("save: table twice", "0.24.0", SAVE, add("\nMODEL_CLASSES = {}\n"), r"MODEL_CLASSES more than once"),
    ("save: table built", "0.22.0", SAVE, sub(r"^MODEL_CLASSES[^{]*\{.*?^\}", "MODEL_CLASSES = classes()"), r"MODEL_CLASSES is not a literal"),
    ("save: ours, another class", "0.24.0", SAVE, swap('    "z-image": ZImage,\n', '    "nova-2.1-base": ZImage,\n    "z-image": ZImage,\n'), "kept:save"),
    ("save: imports in a try", "0.24.0", SAVE, sub(r"^(from mflux)", r"if True:  #\n    \1"), r"imports nothing from mflux|not valid Python"),
    ("save: relative imports", "0.24.0", SAVE, sub(r"^from mflux\.models", "from ..."), "wired"),
    ("save: two imports on a line", "0.24.0", SAVE, sub(r"^(from mflux.models.moss_image import MOSSImage)\n", r"\1; import os\n"), r"more than one statement or entry; put"),
    ("save: syntax error", "0.18.0", SAVE, swap("def main():", "def main()"), r"not valid Python"),
    # commands
    ("commands: no table", "0.24.0", "pyproject.toml", sub(r"^\[project\.scripts\]", "[project.commands]"), r"\[project.scripts\] table, found 0"),
    ("commands: inline", "0.24.0", "pyproject.toml", sub(r"^\[project\.scripts\]\n.*?\n\n", "[project.x]\n"), r"found 0"),
    ("commands: twice", "0.24.0", "pyproject.toml", add("\n[project.scripts]\n"), r"not valid TOML"),
    ("commands: no TOML", "0.18.1", "pyproject.toml", swap("[project.scripts]", "[project.scripts"), r"not valid TOML"),
    ("commands: in a string too", "0.24.0", "pyproject.toml", add('\n[tool.x]\ntext = """\n[project.scripts]\n"""\n'), r"found 2; keep"),
    ("commands: comment", "0.24.0", "pyproject.toml", swap("[project.scripts]", "[project.scripts]  # all of them"), "wired"),
    ("commands: spaces", "0.24.0", "pyproject.toml", swap("[project.scripts]", "[ project . scripts ]"), "wired"),
    ("commands: taken", "0.24.0", "pyproject.toml", swap("[project.scripts]\n", '[project.scripts]\n"mflux-generate-nova-2.1" = "a.b:main"\n'), r"command mflux-generate-nova-2.1 is taken by a.b:main"),
    ("commands: ours, other quotes", "0.24.0", "pyproject.toml", swap("[project.scripts]\n", "[project.scripts]\n'mflux-generate-nova-2.1'='mflux.models.nova_image.cli.nova_image_generate:main'\n"), "kept:pyproject"),
    ("commands: an unquoted dot", "0.24.0", "pyproject.toml", swap("[project.scripts]\n", '[project.scripts]\nmflux-generate-other-2.1 = "a.b:main"\n'), "wired"),
    ("commands: last, no newline", "0.24.0", "pyproject.toml", lambda t: _scripts_last(t).rstrip("\n"), "wired"),
    ("commands: last", "0.18.1", "pyproject.toml", lambda t: _scripts_last(t), "wired"),
    # training
    ("training: a table", "0.24.0", RUNNER, sub(r"(\n +)if ([^\n]*:\n +adapter = .*?)\n +else:", r"\1while \2\1else:"), r"found 0|not valid"),
    ("training: two chains", "0.24.0", RUNNER, add("\n\ndef other(x):\n    if x:\n        adapter = A()\n    elif not x:\n        adapter = B()\n"), r"found 2"),
    ("training: another variable", "0.22.0", RUNNER, swap("adapter = ", "trainer = "), r"found 0; wire"),
    ("training: configuration renamed", "0.24.0", RUNNER, sub(r"\bmodel_config\b(?!=)", "config"), "wired:        elif config.aliases[0] in {"),
    ("training: specification renamed", "0.18.1", RUNNER, sub(r"\btraining_spec\b(?!=)", "spec"), "wired:quantize=spec.quantize,"),
    ("training: other arguments", "0.24.0", RUNNER, swap("quantize=training_spec.quantize", "bits=training_spec.quantize"), r"adapter created with model_config, quantize, model_path, found none"),
    ("training: example by hand", "0.24.0", EXAMPLE, put('{"model": "mine"}\n'), "kept:training_example"),
    # completions
    ("completions: sorted by a call", "0.18.1", COMPLETIONS, sub(r"self\.commands = (\[.*?^        \])", r"self.commands = sorted(\1)"), r"commands"),
    ("completions: a tuple", "0.19.0", COMPLETIONS, sub(r"self\.commands = \[(.*?)^        \]", r"self.commands = (\1)"), r"commands"),
    ("completions: recipes elsewhere", "0.18.1", COMPLETIONS, swap("command ==", "name =="), r"chain of parser recipes"),
    ("completions: a spliced list", "0.18.1", COMPLETIONS, swap("self.commands = [\n", "self.commands = [\n            *MORE,\n"), r"not a plain string"),
    ("completions: parser renamed", "0.18.1", COMPLETIONS, sub(r"\bparser(?=[. ](?!parsers))", "filled"), "wired:            filled.add_model_arguments(require_model_arg=False)\n            filled.add_lora_arguments()\n            filled.add_image_generator_arguments(supports_metadata_config=True, supports_dimension_scale_factor=True)\n            filled.add_argument("),
    ("completions: no Path", "0.19.0", COMPLETIONS, lambda t: swap("type=Path", "type=str")(swap("from pathlib import Path\n", "")(t)), r"does not import Path, which mflux-generate-nova-2.1-edit needs; import"),
    ("completions: another Path", "0.18.0", COMPLETIONS, swap("from pathlib import Path", "from click import Path"), r"does not import Path"),
    ("completions: last in parentheses", "0.18.1", COMPLETIONS, swap('            "mflux-completions",\n        ]', '            (\n                "mflux-completions"\n            ),\n        ]'), r"line \d+ has more than a comma between"),
    ("completions: first recipe fills nothing", "0.18.1", COMPLETIONS, swap('if command == "mflux-generate":\n', 'if command == "mflux-generate":\n            pass\n'), r"a recipe fills no parser; wire"),
    # pins and checks
    ("pins: renamed", "0.23.0", REVISIONS, swap("PINNED", "PINS"), r"no table PINNED"),
    ("pins: another class", "0.24.0", REVISIONS, swap("class ModelRevisions", "class Revisions"), r"class ModelRevisions, found 0"),
    ("pins: twice", "0.24.0", REVISIONS, add("\n\nclass ModelRevisions:\n    PINNED = {}\n"), r"class ModelRevisions, found 2"),
    ("pins: ours, another commit", "0.24.0", REVISIONS, sub(r"^(    PINNED[^=]*= \{\n)", r'\1        "acme/Nova-Image-2.1-Turbo": "' + "a" * 40 + r'",\n'), "kept:model_revisions"),
    ("check: renamed", "0.24.0", CHECKER, swap("_definition_for", "_definition_of"), r"_definition_for, found 0"),
    ("check: another ending", "0.24.0", CHECKER, sub(r"(def _definition_for.*?)return None\n(?=\n    @|\n\n|\Z)", r"\1raise KeyError(key)\n"), r"does not end in `return None`"),
    ("check: twice", "0.24.0", CHECKER, add("\n\ndef _definition_for(key):\n    return None\n"), r"_definition_for, found 2"),
    ("check: key renamed", "0.24.0", CHECKER, sub(r"(def _definition_for\()key(.*)", lambda m: m[1] + "name" + re.sub(r"\bkey\b", "name", m[2])), "wired:        if name in {"),
    ("check: syntax error elsewhere", "0.24.0", CHECKER, add("\ndef broken(:\n"), r"line \d+ is not valid Python; fix"),
    ("check: another encoding", "0.24.0", CHECKER, lambda t: f"# coding: latin-1\n# \udce9\n{t}", r"UTF-8; "),
    ("check: in a class within", "0.24.0", CHECKER, sub(r"^class ModelChecker:\n(.*)", lambda m: "class ModelChecker:\n    class Inner:\n" + re.sub(r"^(?=.)", "    ", m[1], flags=re.MULTILINE)), r"_definition_for, found 0"),
    ("check: only in a text", "0.24.0", CHECKER, lambda t: 'TEXT = """\n    def _definition_for(key):\n        return None\n"""\n' + t.replace("_definition_for(key: str)", "_definition_of(key: str)"), r"_definition_for, found 0"),
    ("check: comments further out", "0.24.0", CHECKER, sub(_RETURN_NONE, "# all others\n\n        return None\n"), "wired:# all others\n"),
    ("check: text further out", "0.24.0", CHECKER, sub(_RETURN_NONE, '        note = """\nall others\n"""\n        return None\n'), 'wired:\n"""\n        if key in {'),
    ("check: a form feed", "0.24.0", CHECKER, sub(r"^class ModelChecker:", "\f\nclass ModelChecker:"), "wired"),
    ("check: with tabs", "0.24.0", CHECKER, lambda t: t.replace("    ", "\t"), "wired:\t\tif key in {"),
    ("check: two keys", "0.24.0", CHECKER, swap("_definition_for(key: str)", "_definition_for(key: str, other: str)"), r"_definition_for takes 2 keys"),
    # text files
    ("readme: another header", "0.24.0", "README.md", swap("| Model | Release date |", "| Name | Released |"), r"headed Model \| Release date \|.*found 0"),
    ("readme: another column", "0.24.0", "README.md", lambda t: re.sub(r"^(\|.*\|)$", r"\1 x |", t, flags=re.MULTILINE), r"found one with other columns; add the row by hand"),
    ("readme: a column less", "0.18.1", "README.md", swap("| Training | Description |", "| Description |"), r"found one with other columns"),
    ("readme: two tables", "0.18.1", "README.md", add("\n| Model | Release date |\n|---|---|\n| x | y |\n"), r"found 2"),
    ("readme: our row by hand", "0.24.0", "README.md", sub(r"^(\|\[SeedVR2\])", r"|[Nova](src/mflux/models/nova_image/README.md) | Oct |\n\1"), "kept:readme_table"),
    ("readme: our row by hand, in another form", "0.24.0", "README.md", lambda t: re.sub(r"^(\|\[SeedVR2\].*)", r"\1\n|[Nova](src/mflux/models/nova_image/README.md) | x |", t, flags=re.MULTILINE).replace("| Size |", "|"), "kept:readme_table"),
    ("readme: no thanks", "0.24.0", "README.md", sub(r"^- [^\n]+ for the \[[^\n]+ project\]\([^\n]*\n", ""), "wired"),
    ("changelog: nothing unreleased", "0.24.0", "CHANGELOG.md", swap("[Unreleased]", "0.24.0"), "wired"),
    ("changelog: models listed", "0.24.0", "CHANGELOG.md", swap("### 🐛", "### ✨ New models\n\n- **Other**: x.\n\n### 🐛"), "wired"),
    ("changelog: ours by hand", "0.24.0", "CHANGELOG.md", swap("- Nothing yet.", "- **Nova-Image 2.1**: my words."), "kept:changelog"),
    ("gitignore: hides nothing", "0.24.0", ".gitignore", put("*.png\n"), "wired"),
    ("gitignore: no newline", "0.24.0", ".gitignore", put("*.png\n*.json"), "wired"),
    ("ci: no table", "0.24.0", OVERLAY, put("ROWS = {}\n"), r"no table OVERLAY"),
    ("gitignore: in all folders", "0.24.0", ".gitignore", put("*.png\n**/*.json\n"), "wired:**/*.json\n!src/"),
    ("gitignore: hidden again", "0.24.0", ".gitignore", add("*.json\n*.tmp\n"), "wired:*.json\n!src/mflux/models/common/training/_example/train_nova_image.json\n*.tmp\n"),
    ("gitignore: shown already", "0.24.0", ".gitignore", add("!src/mflux/models/common/training/_example/*.json\n"), "wired"),
    ("gitignore: the folder", "0.24.0", ".gitignore", add("src/mflux/models/common/training/_example/\n"), r"hides src/mflux/models/common/training/_example; delete that line"),
    ("gitignore: a folder of that name", "0.24.0", ".gitignore", add("training/\n"), r"\.gitignore: training/ in line \d+ hides src/"),
    ("gitignore: stars upon stars", "0.24.0", ".gitignore", add(f"src/{'*a' * 400}\n{'**/*x/' * 400}y\n"), "wired"),
    ("gitignore: a class of letters", "0.24.0", ".gitignore", put("*.[a-k]son\n"), "wired:*.[a-k]son\n!src/"),
    ("ci: rows", "0.24.0", OVERLAY, put(_ROWS), "wired"),
    ("ci: no quantizations", "0.24.0", OVERLAY, put(_ROWS.partition("\n")[2]), r"looked for STANDARD_QUANTS, found none"),
    ("ci: another column", "0.24.0", OVERLAY, put(_ROWS.replace("[], ", "")), r"line \d+: the row of 'dev' does not have 7 fields"),
]  # fmt: skip


def _scripts_last(text: str) -> str:
    found = re.search(r"^\[project\.scripts\]\n(?:[^\[\n][^\n]*\n)+", text, re.MULTILINE)
    return text[: found.start()] + text[found.end() :] + "\n" + found.group(0)
