"""Real files of mflux, changed as their owners might: what wiring then has to do.

A case is (id, release, file, change, outcome). The outcome is ``wired``, ``kept:<surface>`` (somebody's own text is left
as it is) or a pattern of the error.
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
EXAMPLE = "src/mflux/models/common/training/_example/train_nova_image.json"

Change = Callable[[str], str]


def swap(old: str, new: str, count: int = -1) -> Change:
    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, count)

    return change


def sub(pattern: str, new: str, count: int = 0) -> Change:
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
_BRANCH = '    elif "nova" in model_name_lower:\n        model_class = NovaImage\n'
_RETURN_NONE = r"^        return None\n(?=\s*(\n    @|\Z))"

CASES: list[tuple[str, str, str, Change, str]] = [
    # the registry
    ("registry: syntax error", "0.24.0", CONFIG, add("\ndef broken(:\n"), r"line \d+ is no valid Python; mend"),
    ("registry: unclosed table", "0.18.1", CONFIG, sub(r"\}\n\Z", ""), r"line \d+ is no valid Python; mend"),
    ("registry: NUL byte", "0.24.0", CONFIG, add("\n# \0\n"), r"no valid Python; mend"),
    ("registry: not UTF-8", "0.24.0", CONFIG, swap("class ModelConfig", "# \udce9\nclass ModelConfig"), r"UTF-8; "),
    ("registry: another encoding", "0.24.0", CONFIG, lambda t: f"# coding: latin-1\n# \udce9\n{t}", r"UTF-8; "),
    ("registry: empty file", "0.24.0", CONFIG, put(""), r"no table AVAILABLE_MODELS; restore"),
    ("registry: renamed", "0.22.0", CONFIG, swap("AVAILABLE_MODELS", "MODELS"), r"no table AVAILABLE_MODELS; restore"),
    ("registry: twice", "0.18.1", CONFIG, add("\nAVAILABLE_MODELS = {}\n"), r"more than once \(lines \d+, \d+\); leave"),
    ("registry: a call", "0.24.0", CONFIG, sub(r"^(AVAILABLE_MODELS[^=]*= )\{(.*)\}", r"\1dict({\2})"), r"no literal"),
    ("registry: a list", "0.24.0", CONFIG, lambda t: t.split("AVAILABLE_MODELS = {")[0] + 'AVAILABLE_MODELS = [\n    "dev",\n]\n', r"is no dict"),
    ("registry: spliced in", "0.24.0", CONFIG, sub(r"^(AVAILABLE_MODELS[^=]*= \{\n)", r"\1    **OLD,\n"), r"no plain string"),
    ("registry: a variable as key", "0.24.0", CONFIG, swap('    "dev": ModelConfig(', "    DEV: ModelConfig("), r"no plain string"),
    ("registry: below an if", "0.24.0", CONFIG, sub(r"^AVAILABLE_MODELS", "if True:\n  AVAILABLE_MODELS"), r"no table"),
    ("registry: annotated", "0.18.1", CONFIG, swap("AVAILABLE_MODELS = {", "AVAILABLE_MODELS: dict = {"), "wired"),
    ("registry: added to later", "0.24.0", CONFIG, add('\nAVAILABLE_MODELS["x"] = AVAILABLE_MODELS["dev"]\n'), "wired"),
    ("registry: no last comma", "0.24.0", CONFIG, _NO_COMMA, "wired"),
    ("registry: no last comma, comment", "0.24.0", CONFIG, sub(r",\n\}\n\Z", "  # ours\n}\n"), "wired"),
    ("registry: brace behind the last entry", "0.24.0", CONFIG, sub(r",\n\}\n\Z", ",}\n"), r"more than one thing; give"),
    ("registry: comment behind the last entry", "0.24.0", CONFIG, sub(r"\}\n\Z", "    # the end\n}\n"), "wired"),
    ("registry: single quotes", "0.24.0", CONFIG, swap('"', "'"), "wired"),
    ("registry: class renamed", "0.24.0", CONFIG, swap("class ModelConfig:", "class Config:"), r"class ModelConfig, found 0"),
    ("registry: class twice", "0.24.0", CONFIG, add("\n\nclass ModelConfig:\n    pass\n"), r"class ModelConfig, found 2"),
    ("registry: other factories", "0.24.0", CONFIG, swap("    @lru_cache", "    @functools.lru_cache()"), r"no factory"),
    ("registry: no constructor", "0.24.0", CONFIG, swap("def __init__(", "def setup("), r"no __init__"),
    ("registry: field gone", "0.24.0", CONFIG, swap("sigma_base_shift", "base_shift"), r"takes no 'sigma_base_shift'"),
    ("registry: alias taken", "0.24.0", CONFIG, swap('aliases=["dev"]', 'aliases=["dev", "nova-2.1"]'), r"taken by mflux's dev"),
    ("registry: repo taken", "0.18.1", CONFIG, swap('"black-forest-labs/FLUX.1-dev"', '"ACME/nova-image-2.1"', 1), r"is mflux's dev already"),
    ("registry: key taken", "0.24.0", CONFIG, sub(r"\}\n\Z", _HAND_ENTRY), r"'nova-2.1-base'.*taken by mflux's nova-2.1-base"),
    ("registry: alias inside ours", "0.24.0", CONFIG, swap('aliases=["dev"]', 'aliases=["dev", "nova-2.1-turbo-q4"]'), r"read as mflux's dev; type another"),
    ("registry: factory taken", "0.24.0", CONFIG, sub(r"\}\n\Z", _HAND_ENTRY.replace("2.1-base", "2-1-base")), r"nova_2_1_base\(\) belongs to"),
    # steps and names
    ("steps: renamed", "0.24.0", DEFAULTS, swap("MODEL_INFERENCE_STEPS", "STEPS"), r"no table MODEL_INFERENCE_STEPS"),
    ("steps: twice", "0.22.0", DEFAULTS, add("\nMODEL_INFERENCE_STEPS = {}\n"), r"MODEL_INFERENCE_STEPS more than once"),
    ("steps: computed", "0.24.0", DEFAULTS, sub(r"^MODEL_INFERENCE_STEPS.*?^\}", "MODEL_INFERENCE_STEPS = steps()"), r"no literal table"),
    ("steps: empty", "0.24.0", DEFAULTS, sub(r"^MODEL_INFERENCE_STEPS.*?^\}", "MODEL_INFERENCE_STEPS = {}"), r"more than one thing"),
    ("steps: one line", "0.24.0", DEFAULTS, _one_line("MODEL_INFERENCE_STEPS"), r"more than one thing; give"),
    ("steps: spliced in", "0.24.0", DEFAULTS, sub(r"^(MODEL_INFERENCE_STEPS[^=]*= \{\n)", r"\1    **MORE,\n"), r"no plain string"),
    ("steps: annotated", "0.18.1", DEFAULTS, sub(r"^MODEL_INFERENCE_STEPS = ", "MODEL_INFERENCE_STEPS: dict[str, int] = "), "wired"),
    ("steps: ours, another number", "0.24.0", DEFAULTS, sub(r"^(MODEL_INFERENCE_STEPS[^=]*= \{\n)", r'\1    "nova-2.1-turbo": 4,\n'), "kept:defaults"),
    ("steps: ours twice", "0.24.0", DEFAULTS, sub(r"^(MODEL_INFERENCE_STEPS[^=]*= \{\n)", r'\1    "nova-2.1-edit": 4,\n    "nova-2.1-edit": 5,\n'), r"'nova-2.1-edit' twice"),
    ("steps: syntax error", "0.20.0", DEFAULTS, swap("MODEL_INFERENCE_STEPS", "MODEL INFERENCE_STEPS", 1), r"no valid Python"),
    ("names: sorted by a call", "0.18.1", DEFAULTS, sub(r"^MODEL_CHOICES = (\[.*?^\])", r"MODEL_CHOICES = sorted(\1)"), r"MODEL_CHOICES is no literal"),
    ("names: a tuple", "0.18.0", DEFAULTS, sub(r"^MODEL_CHOICES = \[(.*?)^\]", r"MODEL_CHOICES = (\1)"), r"MODEL_CHOICES is no literal"),
    ("names: one line", "0.18.1", DEFAULTS, _one_line("MODEL_CHOICES"), r"more than one thing; give"),
    ("names: spliced in", "0.18.1", DEFAULTS, swap("MODEL_CHOICES = [\n", "MODEL_CHOICES = [\n    *MORE,\n"), r"no plain string"),
    ("names: no last comma", "0.18.1", DEFAULTS, sub(r",\n\]\n", "\n]\n", 1), "wired"),
    ("names: no last comma, comment", "0.18.1", DEFAULTS, sub(r",\n\]\n", "  # last\n]\n", 1), "wired"),
    # what mflux-save loads
    ("save: a match", "0.18.1", SAVE, sub(r'^    if "ernie".*?        model_class = Flux1\n', "    match model_name_lower:\n        case _:\n            model_class = Flux1\n"), r"MODEL_CLASSES.*found 0"),
    ("save: a function", "0.18.0", SAVE, lambda t: sub(r"\n    (if \"ernie\".*?model_class = Flux1\n)", "\n    model_class = choose()\n")(t), r"MODEL_CLASSES.*found 0"),
    ("save: another variable", "0.18.1", SAVE, swap("model_class = QwenImage\n", "kind = QwenImage\n"), r"found 0"),
    ("save: two chains", "0.18.1", SAVE, swap("    # 2. Load", '    if args.path == "x":\n        model_class = FIBO\n    # 2. Load'), r"found 2"),
    ("save: main renamed", "0.18.1", SAVE, swap("def main(", "def run("), r"found neither"),
    ("save: other names", "0.18.1", SAVE, swap("_lower", "_small"), r"no model_name_lower"),
    ("save: no base model", "0.18.1", SAVE, lambda t: sub(r"^    base_model_lower = .*?\n", "")(swap(' or "ideogram" in base_model_lower', "")(t)), "wired"),
    ("save: ours last", "0.18.1", SAVE, sub(r"^    else:\n        model_class = Flux1\n", _BRANCH + "    else:\n        model_class = Flux1\n"), r"is the last one; move it up"),
    ("save: ours by hand", "0.18.1", SAVE, sub(r"^    elif \"fibo\"", _BRANCH + '    elif "fibo"'), "kept:save"),
    ("save: no else", "0.18.1", SAVE, sub(r"^    else:\n        model_class = Flux1\n", ""), "wired"),
    ("save: table renamed", "0.24.0", SAVE, swap("MODEL_CLASSES", "CLASSES"), r"MODEL_CLASSES.*found 0"),
    ("save: table twice", "0.24.0", SAVE, add("\nMODEL_CLASSES = {}\n"), r"MODEL_CLASSES more than once"),
    ("save: table built", "0.22.0", SAVE, sub(r"^MODEL_CLASSES[^{]*\{.*?^\}", "MODEL_CLASSES = classes()"), r"MODEL_CLASSES is no literal"),
    ("save: ours, another class", "0.24.0", SAVE, swap('    "z-image": ZImage,\n', '    "nova-2.1-base": ZImage,\n    "z-image": ZImage,\n'), "kept:save"),
    ("save: imports in a try", "0.24.0", SAVE, sub(r"^(from mflux)", r"if True:  #\n    \1"), r"imports nothing from mflux|no valid Python"),
    ("save: relative imports", "0.24.0", SAVE, sub(r"^from mflux\.models", "from ..."), "wired"),
    ("save: two imports on a line", "0.24.0", SAVE, sub(r"^(from mflux.models.moss_image import MOSSImage)\n", r"\1; import os\n"), r"more than one thing; give"),
    ("save: syntax error", "0.18.0", SAVE, swap("def main():", "def main()"), r"no valid Python"),
    # commands
    ("commands: no table", "0.24.0", "pyproject.toml", sub(r"^\[project\.scripts\]", "[project.commands]"), r"\[project.scripts\] table, found 0"),
    ("commands: inline", "0.24.0", "pyproject.toml", sub(r"^\[project\.scripts\]\n.*?\n\n", "[project.x]\n"), r"found 0"),
    ("commands: twice", "0.24.0", "pyproject.toml", add("\n[project.scripts]\n"), r"no valid TOML"),
    ("commands: no TOML", "0.18.1", "pyproject.toml", swap("[project.scripts]", "[project.scripts"), r"no valid TOML"),
    ("commands: in a string too", "0.24.0", "pyproject.toml", add('\n[tool.x]\ntext = """\n[project.scripts]\n"""\n'), r"found 2; leave"),
    ("commands: comment", "0.24.0", "pyproject.toml", swap("[project.scripts]", "[project.scripts]  # all of them"), "wired"),
    ("commands: spaces", "0.24.0", "pyproject.toml", swap("[project.scripts]", "[ project . scripts ]"), "wired"),
    ("commands: taken", "0.24.0", "pyproject.toml", swap("[project.scripts]\n", '[project.scripts]\n"mflux-generate-nova-2.1" = "a.b:main"\n'), r"command mflux-generate-nova-2.1 is taken by a.b:main"),
    ("commands: ours, other quotes", "0.24.0", "pyproject.toml", swap("[project.scripts]\n", "[project.scripts]\n'mflux-generate-nova-2.1'='mflux.models.nova_image.cli.nova_image_generate:main'\n"), "kept:pyproject"),
    ("commands: an unquoted dot", "0.24.0", "pyproject.toml", swap("[project.scripts]\n", '[project.scripts]\nmflux-generate-other-2.1 = "a.b:main"\n'), "wired"),
    ("commands: last, no newline", "0.24.0", "pyproject.toml", lambda t: _scripts_last(t).rstrip("\n"), "wired"),
    ("commands: last", "0.18.1", "pyproject.toml", lambda t: _scripts_last(t), "wired"),
    # training
    ("training: a table", "0.24.0", RUNNER, sub(r"(\n +)if ([^\n]*:\n +adapter = .*?)\n +else:", r"\1while \2\1else:"), r"found 0|no valid"),
    ("training: two chains", "0.24.0", RUNNER, add("\n\ndef other(x):\n    if x:\n        adapter = A()\n    elif not x:\n        adapter = B()\n"), r"found 2"),
    ("training: another variable", "0.22.0", RUNNER, swap("adapter = ", "trainer = "), r"found 0; wire"),
    ("training: example by hand", "0.24.0", EXAMPLE, put('{"model": "mine"}\n'), "kept:training_example"),
    # completions
    ("completions: sorted by a call", "0.18.1", COMPLETIONS, sub(r"self\.commands = (\[.*?^        \])", r"self.commands = sorted(\1)"), r"commands"),
    ("completions: a tuple", "0.19.0", COMPLETIONS, sub(r"self\.commands = \[(.*?)^        \]", r"self.commands = (\1)"), r"commands"),
    ("completions: recipes elsewhere", "0.18.1", COMPLETIONS, swap("command ==", "name =="), r"chain of parser recipes"),
    ("completions: a spliced list", "0.18.1", COMPLETIONS, swap("self.commands = [\n", "self.commands = [\n            *MORE,\n"), r"no plain string"),
    # pins and checks
    ("pins: renamed", "0.23.0", REVISIONS, swap("PINNED", "PINS"), r"no table PINNED"),
    ("pins: another class", "0.24.0", REVISIONS, swap("class ModelRevisions", "class Revisions"), r"class ModelRevisions, found 0"),
    ("pins: twice", "0.24.0", REVISIONS, add("\n\nclass ModelRevisions:\n    PINNED = {}\n"), r"class ModelRevisions, found 2"),
    ("pins: ours, another commit", "0.24.0", REVISIONS, sub(r"^(    PINNED[^=]*= \{\n)", r'\1        "acme/Nova-Image-2.1-Turbo": "' + "a" * 40 + r'",\n'), "kept:model_revisions"),
    ("check: renamed", "0.24.0", CHECKER, swap("_definition_for", "_definition_of"), r"_definition_for, found 0"),
    ("check: another ending", "0.24.0", CHECKER, sub(r"(def _definition_for.*?)return None\n(?=\n    @|\n\n|\Z)", r"\1raise KeyError(key)\n"), r"does not end in `return None`"),
    ("check: twice", "0.24.0", CHECKER, add("\n\ndef _definition_for(key):\n    return None\n"), r"_definition_for, found 2"),
    # text files
    ("readme: another header", "0.24.0", "README.md", swap("| Model | Release date |", "| Name | Released |"), r"headed Model \| Release date, found 0"),
    ("readme: two tables", "0.18.1", "README.md", add("\n| Model | Release date |\n|---|---|\n| x | y |\n"), r"found 2"),
    ("readme: our row by hand", "0.24.0", "README.md", sub(r"^(\|\[SeedVR2\])", r"|[Nova](src/mflux/models/nova_image/README.md) | Oct |\n\1"), "kept:readme_table"),
    ("readme: no thanks", "0.24.0", "README.md", sub(r"^- [^\n]+ for the \[[^\n]+ project\]\([^\n]*\n", ""), "wired"),
    ("changelog: nothing unreleased", "0.24.0", "CHANGELOG.md", swap("[Unreleased]", "0.24.0"), "wired"),
    ("changelog: models listed", "0.24.0", "CHANGELOG.md", swap("### 🐛", "### ✨ New models\n\n- **Other**: x.\n\n### 🐛"), "wired"),
    ("changelog: ours by hand", "0.24.0", "CHANGELOG.md", swap("- Nothing yet.", "- **Nova-Image 2.1**: my words."), "kept:changelog"),
    ("gitignore: hides nothing", "0.24.0", ".gitignore", put("*.png\n"), "wired"),
    ("gitignore: no newline", "0.24.0", ".gitignore", put("*.png\n*.json"), "wired"),
    ("ci: no table", "0.24.0", "scripts/ci_extract_models.py", put("ROWS = {}\n"), r"no table OVERLAY"),
    ("ci: a row", "0.24.0", "scripts/ci_extract_models.py", put('OVERLAY: dict = {\n    "dev": ("text-to-image", "FLUX", "dev", [], [], "supported", None),\n}\n'), "wired"),
]  # fmt: skip


def _scripts_last(text: str) -> str:
    found = re.search(r"^\[project\.scripts\]\n(?:[^\[\n][^\n]*\n)+", text, re.MULTILINE)
    return text[: found.start()] + text[found.end() :] + "\n" + found.group(0)
