"""Evaluated mappings equal those that Python builds when it runs the same code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.checkout_facts import Facts
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.run_rules import all_models
from mflux_port.checks.engine.static_evaluation import Evaluator, Unknown

LISTS = ("possible_up_patterns", "possible_down_patterns", "possible_alpha_patterns")
# The same lists, built by running the code: mflux with its dependencies, in its own environment.
RUN = f"""
import importlib, json, sys
made = {{}}
for line in sys.stdin:
    model, module = line.split()
    found = importlib.import_module(module)
    for name, kind in vars(found).items():
        if isinstance(kind, type) and kind.__module__ == module and hasattr(kind, "get_mapping"):
            made[model] = [[t.model_path, *(sorted(getattr(t, f)) for f in {LISTS})] for t in kind.get_mapping()]
print(json.dumps(made))
"""


@pytest.mark.full
@pytest.mark.parametrize("release", ["0.24.0", "0.18.1"])
def test_lora_mappings_equal_those_that_running_them_gives(pristine, environment, release):
    root = pristine(release)
    facts = Facts(Checkout(root))
    packages = [Package(facts, model) for model in all_models(facts)]
    mapped = [package for package in packages if package.lora_mappings]
    modules = [(p.model, p.lora_mappings[0].removeprefix("src/").removesuffix(".py").replace("/", ".")) for p in mapped]
    done = subprocess.run(
        [environment(release), "-c", RUN],
        input="\n".join(" ".join(pair) for pair in modules),
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ran = json.loads(done.stdout)
    assert len(ran) > 5
    for package in mapped:
        evaluated = [
            [target.fields["model_path"], *(sorted(target.fields.get(name) or []) for name in LISTS)]
            for target in package.lora_targets
        ]
        assert evaluated == ran[package.model], package.model


@pytest.fixture(scope="module")
def evaluated(pristine, tmp_path_factory):
    """``evaluated(body)``: the return value of a static method with this body."""
    root = shutil.copytree(pristine(), tmp_path_factory.mktemp("sample") / "mflux")
    (root / "src/mflux/sample.py").write_text("")

    def evaluate(body: str) -> object:
        text = "import os\n\nNAMES = ('q', 'k')\n\n\ndef joined(a, *, b='x'):\n    return a + b\n\n\nclass Base:\n    ROOT = 'r'\n\n\n"
        text += "class Sample(Base):\n    PATHS = [f'to_{name}' for name in NAMES]\n\n"
        text += "    @staticmethod\n    def get():\n" + "".join(f"        {line}\n" for line in body.splitlines())
        (root / "src/mflux/sample.py").write_text(text)
        return Evaluator(Facts(Checkout(root))).result("src/mflux/sample.py", "Sample", "get")

    return evaluate


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("return Sample.PATHS + ['x']", ["to_q", "to_k", "x"]),
        ("return [a for a in NAMES for b in range(2) if b and a != 'q']", ["k"]),
        ("made = {}\nfor i, n in enumerate(NAMES):\n    made[n] = i\nreturn made", {"q": 0, "k": 1}),
        ("return f'{3:02}' if NAMES and not None else 1", "03"),
        ("return 'a.b'.replace('.', '_')[1:]", "_b"),
        ("return Sample.ROOT + joined('a') + joined('b', b='c')", "raxbc"),
        ("return {**{name: len(name) for name in NAMES}, 'v': 2}", {"q": 1, "k": 1, "v": 2}),
        ("def unused():\n    pass\nreturn 1", 1),
        ("made = Target(path='x')\nmade.path += 'y'\nreturn made.path", "xy"),
    ],
)
def test_supported_code_is_evaluated(evaluated, body, value):
    assert evaluated(body) == value


@pytest.mark.parametrize(
    "body",
    [
        "return os.listdir('.')",
        "while True:\n    pass",
        "return [1 for _ in range(10 ** 6)]",
        "return nothing",
        "return 'a' * 'b'",
        "return open('x')",
        "return Sample.get()",
        "return Sample.nothing",
        "return Sample.nothing()",
        "return Other.get()",
        "made = Target(path='x')\nfor one in made:\n    pass",
    ],
)
def test_unsupported_code_is_unknown(evaluated, body):
    with pytest.raises(Unknown):
        evaluated(body)
