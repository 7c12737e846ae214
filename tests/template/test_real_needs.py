"""What real ports need and an earlier template refused: one checkpoint for both commands, mflux 0.19 to 0.21."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from tests import frozen, preloaded
from tests.skips import unexpected_skips
from tests.template import rendering


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return rendering.template_copy(tmp_path_factory.mktemp("needs") / "template")


def command(root: Path, name: str) -> tuple[str, list[str]]:
    """The default checkpoint of a command, and its other checkpoints."""
    text = (root / f"src/mflux/models/nova/cli/{name}.py").read_text()
    family = re.search(r"^FAMILY_MODELS = \((.*?)\)$", text, re.MULTILINE | re.DOTALL)[1]
    return re.search(r'^DEFAULT_MODEL = "(.*)"', text, re.MULTILINE)[1], re.findall(r'"(.+?)"', family)


def test_a_checkpoint_serves_both_commands(checkout, template):
    root = checkout()
    entries = [
        {"key": "nova", "hf_repo": "acme/Nova", "variant": "txt2img"},
        {"key": "nova-turbo", "hf_repo": "acme/Nova-Turbo", "variant": "both"},
        {"key": "nova-retouch", "hf_repo": "acme/Nova-Retouch", "variant": "edit"},
    ]
    answers = {"checkpoints": entries, "variants": ["txt2img", "edit"], "training": True}
    rendering.render(template, root, {"model": "nova", **answers})
    assert command(root, "nova_generate") == ("nova", ["nova-turbo"])
    assert command(root, "nova_edit_generate") == ("nova-turbo", ["nova-retouch"])
    rendering.wire(root, "nova")
    save = (root / "src/mflux/models/common/cli/save.py").read_text()
    classes = dict(re.findall(r'"(nova[a-z-]*)": (\w+)', save))
    assert classes == {"nova": "Nova", "nova-turbo": "Nova", "nova-retouch": "NovaEdit"}


@pytest.mark.parametrize("release", ["0.19.2", "0.20.0", "0.21.0"])
def test_releases_that_only_lack_lora_support(release, checkout, template):
    root = checkout(release)
    assert rendering.render(template, root, {"model": "nova", "lora": False})
    assert "dense_component" not in (root / "src/mflux/models/nova/nova_initializer.py").read_text()
    rendering.wire(root, "nova")


@pytest.mark.full
@pytest.mark.parametrize("release", ["0.19.2", "0.20.0", "0.21.0"])
def test_port_in_a_release_without_lora_support_passes_its_tests(release, checkout, template, environment):
    root = checkout(release)
    answers = {"model": "nova", "lora": False, "vae": "own", "text_encoder": "own"}
    rendering.render(template, root, answers)
    rendering.wire(root, "nova")
    # 0.22 requires every package that these releases require.
    command = [str(environment("0.22.0")), "-m", "pytest", "-q", "-rs", "-o", "addopts=", "-m", "fast", "-k", "nova", "tests"]
    command += frozen.PLUGIN
    variables = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{frozen.PATH}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = preloaded.run(command, root, variables)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 20
    assert unexpected_skips(done.stdout) == []


@pytest.mark.parametrize(
    ("cli_name", "repo", "aliases"),
    [
        ("nova-image", "acme/Nova_Xl.v2", ["nova-image", "nova_xl.v2"]),
        ("nova", "acme/Nova-Turbo", ["nova"]),  # the alias is part of the repo's name
        ("nova-image", "acme/Nova__Xl", ["nova-image"]),  # nova__xl is not a valid alias
    ],
)
def test_default_aliases_contain_the_repo_name(cli_name, repo, aliases, checkout, template):
    root = checkout()
    rendering.render(template, root, {"model": "nova", "hf_repo": repo, "cli_name": cli_name})
    (entry,) = yaml.safe_load((root / "porting/nova/answers.yml").read_text())["checkpoints"]
    assert entry["aliases"] == aliases
    rendering.wire(root, "nova")
