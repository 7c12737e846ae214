"""``check --run`` in an environment that runs mflux: passes on a correct port, fails on a broken one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from mflux_port.checkout.tree import Checkout
from mflux_port.checks.engine.checkout_facts import Facts
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.registry import all_rules
from mflux_port.checks.engine.rule import FAIL, NOT_APPLICABLE, PASS
from mflux_port.checks.engine.run_rules import Row, ask
from mflux_port.template.project import address

from tests.checks import complete_port
from tests.copying.ports import PLAIN, runnable

ANSWERS = runnable({**PLAIN, "model": "nova", "hf_repo": "acme/Nova", "supports_guidance": False})
PACKAGE = "src/mflux/models/nova"


@pytest.fixture
def port(pristine, tmp_path):
    return complete_port.render(shutil.copytree(pristine(), tmp_path / "mflux"), ANSWERS)


def change(path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new))


@pytest.fixture
def own_python(environment, port):
    """The port with its own Python that runs mflux, like a checkout after ``uv sync``."""
    path = port / ".venv/bin/python"
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\nexec {environment("0.24.0")} "$@"\n')
    path.chmod(0o755)
    return path


def answer(root, rule: str) -> Row:
    return ask(all_rules()[rule], Package(Facts(Checkout(root)), "nova"))


@pytest.mark.full
def test_fast_tests_are_run(own_python, port):
    assert answer(port, "RUN02").state == PASS
    change(port / f"{PACKAGE}/latent_creator/nova_latent_creator.py", "or height % sides or", "or height % 7 or")
    assert answer(port, "RUN02").state == FAIL


@pytest.mark.full
def test_a_copy_is_saved_and_generates_an_image(own_python, port):
    assert answer(port, "RUN03").state == PASS
    variant = port / PACKAGE / "variants/txt2img/nova.py"
    right = variant.read_text()
    change(variant, "weight_definition=NovaWeightDefinition,", "weight_definition=None,")  # it saves nothing
    assert answer(port, "RUN03").state == FAIL
    variant.write_text(right)
    change(variant, "decoded = self._decode_latents(latents)", "decoded = None")  # the copy generates nothing
    assert answer(port, "RUN03").state == FAIL


@pytest.mark.full
def test_check_runs_the_ledger(own_python, mflux_port, environment, port):
    assert answer(port, "RUN04").state == NOT_APPLICABLE
    checkpoint = port.parent / "tiny"
    module = "tests.image_generation.helpers.tiny_nova_checkpoint"
    subprocess.run([own_python, "-m", module, checkpoint], cwd=port, check=True, env=_paths(port))
    for name in ("vae", "transformer", "text_encoder"):
        (checkpoint / name / "config.json").write_text("{}")
    mflux_port("ledger", "nova", "--checkpoint", checkpoint, cwd=port, python=environment("0.24.0"))
    assert answer(port, "RUN04").state == PASS
    change(port / f"{PACKAGE}/weights/nova_weight_mapping.py", '"proj_out.bias",\n', "")
    assert answer(port, "RUN04").state == FAIL


@pytest.mark.full
def test_all_rows_that_execute_pass_through_the_command(mflux_port, environment, port):
    done = mflux_port("check", "nova", "--run", "--json", cwd=port, python=environment("0.24.0"))
    rows = {row["rule"]: row["state"] for row in json.loads(done.stdout)["rows"] if row["rule"].startswith("RUN")}
    assert rows == {"RUN01": PASS, "RUN02": PASS, "RUN03": PASS, "RUN04": NOT_APPLICABLE}


def test_error_outside_the_environment_is_one_line(mflux_port, port, tmp_path):
    done = mflux_port("check", "nova", "--run", cwd=port)
    assert done.returncode == 2 and done.stdout == ""
    assert "mlx" in done.stderr and "uv run --with" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("template", "version", "wanted"),
    [
        ("gh:acme/copier-mflux-port", "v0.1.0", "git+https://github.com/acme/copier-mflux-port@v0.1.0"),
        ("https://example.org/t.git", "v0.1.0-3-g1a2b3c4", "git+https://example.org/t.git@1a2b3c4"),
        ("git+https://example.org/t", "", "git+https://example.org/t"),
        ("../template", "v0.1.0", "../template"),
        ("", "", ""),
    ],
)
def test_address_is_accepted_by_uv(template, version, wanted):
    assert address(template, version) == wanted


def _paths(root) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
