"""Replay the ports that mflux merged: each is wired into the release before it, to the same effect, or refused for the
right reason. Entries, steps and commands are read from the release that has the port: facts, no code.
"""

from __future__ import annotations

import ast
import json
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from mflux_port import wiring
from mflux_port.checkout import releases
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from mflux_port.port.port import Port
from mflux_port.wiring.source import source_of
from mflux_port.wiring.surfaces import model_config
from wiring_hosts import NOVA, contents, port


class Real(NamedTuple):
    """``keys`` are its entries, the default one first; ``both`` lists the keys that edit as well."""

    model: str
    class_name: str
    cli_name: str
    before: str
    release: str
    keys: tuple[str, ...]
    both: tuple[str, ...] = ()


# Today a port's class cannot be called Krea2, because ports can import mflux's Krea2TextEncoder.
PORTS = (
    Real("krea2", "Krea2Image", "krea2", "0.18.0", "0.18.1", ("krea-2",)),
    Real("boogu", "BooguImage", "boogu", "0.18.1", "0.19.0", ("boogu-image-turbo",)),
    Real("lens", "Lens", "lens", "0.18.1", "0.19.0", ("lens-turbo",)),
    Real("qwen21", "QwenImage21", "qwen21", "0.19.2", "0.20.0", ("qwen-image-2.1",)),
    Real("ming_image", "MingImage", "ming", "0.20.0", "0.21.0", ("ming-image-design",)),
    Real("flux3", "Flux3", "flux3", "0.22.0", "0.23.0", ("flux3-image-klein", "flux3-image-klein-base"), ("flux3-image-klein",)),
    Real("iris", "Iris", "iris", "0.23.0", "0.24.0", ("iris-3b", "iris-3b-base")),
    Real("fibo2", "Fibo2", "fibo2", "0.23.0", "0.24.0", ("fibo2", "fibo2-edit-turbo"), ("fibo2-edit-turbo",)),
    Real("moss_image", "MossImage", "moss-image", "0.23.0", "0.24.0", ("moss-image-sft", "moss-image-base")),
    Real("anima", "Anima", "anima", "0.23.0", "0.24.0", ("anima-turbo", "anima-aesthetic", "anima-base")),
)  # fmt: skip
# These came before mflux 0.18, on which no port of this template runs.
OLDER = {
    "flux2": ("flux2-klein-4b", "black-forest-labs/FLUX.2-klein-4B"),
    "z_image": ("z-image-turbo", "Tongyi-MAI/Z-Image-Turbo"),
    "qwen": ("qwen-image", "Qwen/Qwen-Image"),
    "fibo": ("fibo", "briaai/FIBO"),
    "seedvr2": ("seedvr2-3b", "numz/SeedVR2_comfyUI"),
    "ernie_image": ("ernie-image", "baidu/ERNIE-Image"),
    "ideogram4": ("ideogram4-fp8", "ideogram-ai/ideogram-4-fp8"),
}
PLAIN = {"supports_guidance": False, "negative_prompt": False}
WEIGHTS = "src/mflux/models/common/weights/loading/weight_definition.py"


def registry(root: Path) -> dict:
    return model_config.registry(source_of(Checkout(root), model_config.FILE))


def guided(version: str) -> dict[str, bool]:
    """For each key, whether the entry of mflux's registry supports guidance."""
    tree = ast.parse((releases.source(version) / model_config.FILE).read_text())
    tables = [node.value for node in tree.body if isinstance(getattr(node, "value", None), ast.Dict)]
    calls = {key.value: value for table in tables for key, value in zip(table.keys, table.values, strict=True)}
    return {
        key: any(word.arg == "supports_guidance" and ast.unparse(word.value) == "True" for word in call.keywords)
        for key, call in calls.items()
        if isinstance(call, ast.Call)
    }


def steps(text: str) -> dict[str, int]:
    assigned = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    (table,) = [node.value for node in assigned if getattr(node.targets[0], "id", "") == "MODEL_INFERENCE_STEPS"]
    return {key.value: value.value for key, value in zip(table.keys, table.values, strict=True)}


def scripts(text: str) -> dict[str, str]:
    return tomllib.loads(text)["project"]["scripts"]


def answers(real: Real) -> Port:
    source = releases.source(real.release)
    known, supports = registry(source), guided(real.release)
    table = steps((source / "src/mflux/cli/defaults/defaults.py").read_text())
    entries = [
        {
            "key": key,
            "hf_repo": known[key].repo,
            "aliases": list(known[key].aliases),
            "steps": table[key],
            "guidance": 4.0 if supports[key] else 1.0,
            "supports_guidance": supports[key],
            "variant": "both" if key in real.both else "txt2img",
        }
        for key in real.keys
    ]
    guidance = any(entry["supports_guidance"] for entry in entries)
    return port(
        NOVA,
        model=real.model,
        class_name=real.class_name,
        display_name=real.class_name,
        cli_name=real.cli_name,
        hf_repo=entries[0]["hf_repo"],
        checkpoints=entries,
        variants=["txt2img", "edit"] if real.both else ["txt2img"],
        supports_guidance=guidance,
        negative_prompt=guidance,
        training=False,
    )


def resolved(name: str, entries: dict) -> str | None:
    """The model that mflux assumes for a folder of that name: the entry with the longest alias in it."""
    aliases = {alias.lower(): key for key, entry in entries.items() for alias in entry.aliases}
    inside = [alias for alias in aliases if alias in name.lower()]
    return aliases[max(inside, key=len)] if inside else None


@pytest.mark.parametrize("real", PORTS, ids=lambda real: real.model)
def test_real_port_is_wired_to_the_same_effect(real, shared):
    root, source, one = shared(real.before), releases.source(real.release), answers(real)
    before, old, wanted = contents(root), registry(root), registry(source)
    wiring.wire(Checkout(root), one)
    new = registry(root)
    for key in real.keys:
        assert new[key].repo == wanted[key].repo
        assert set(wanted[key].aliases) <= set(new[key].aliases)
    assert {key: new[key] for key in old} == old and set(new) == {*old, *real.keys}
    names = [name for key, entry in old.items() for name in (key, *entry.aliases, entry.repo.split("/")[1])]
    assert {name: resolved(f"{name}-q4", old) for name in names} == {
        name: resolved(f"{name}-q4", new) for name in names
    }
    defaults = "src/mflux/cli/defaults/defaults.py"
    table = steps((root / defaults).read_text())
    assert {key: table[key] for key in real.keys} == {
        key: steps((source / defaults).read_text())[key] for key in real.keys
    }
    own = {
        name
        for name in scripts((root / "pyproject.toml").read_text())
        if name not in scripts(before["pyproject.toml"].decode())
    }
    commands = [f"mflux-generate-{real.cli_name}"] + ([f"mflux-generate-{real.cli_name}-edit"] if real.both else [])
    assert own == set(commands)
    wiring.unwire(Checkout(root), one)
    assert contents(root) == before


def test_class_name_that_mflux_uses_today_is_refused():
    with pytest.raises(PortError, match="class_name is 'Krea2', a name that is taken"):
        port(NOVA, class_name="Krea2")


@pytest.mark.parametrize("model", OLDER)
def test_port_from_before_the_first_release_is_refused(model, shared):
    key, repo = OLDER[model]
    root = shared("0.18.0")
    one = port(
        NOVA,
        model=f"my_{model}",
        checkpoints=[{"key": f"my-{key}", "hf_repo": repo, "aliases": [f"my-{key}"]}],
        **PLAIN,
    )
    with pytest.raises(PortError, match="already mflux's"):
        wiring.wire(Checkout(root), one)
    (root / WEIGHTS).parent.mkdir(parents=True)
    (root / WEIGHTS).write_text("class ComponentDefinition:\n    name: str\n")
    with pytest.raises(PortError, match="older than mflux 0.18, which ports need .*key_transform"):
        Checkout(root)


def test_facts_cover_seventeen_ports():
    assert len(PORTS) + len(OLDER) == 17
    assert json.dumps(OLDER) and all(real.keys for real in PORTS)


def test_readme_row_is_among_the_models_and_names_their_types(shared):
    root = shared("0.24.0")
    entries = [
        {"key": "nova-turbo", "hf_repo": "acme/Nova-Turbo", "aliases": ["nova-turbo"], "supports_guidance": True},
        {"key": "nova-base", "hf_repo": "acme/Nova-Base", "aliases": ["nova-base"], "supports_guidance": True},
    ]
    wiring.wire(Checkout(root), port(NOVA, checkpoints=entries, supports_guidance=True, negative_prompt=True))
    rows = [line for line in (root / "README.md").read_text().splitlines() if line.startswith("|[")]
    (at,) = [number for number, row in enumerate(rows) if "nova_image" in row]
    assert "| Turbo (distilled) & Base |" in rows[at]
    assert "Qwen Image 2.1" in rows[at - 1] and "Depth Pro" in rows[at + 1]


@pytest.mark.parametrize(
    ("repo", "thanked"),
    [("black-forest-labs/FLUX.9", True), ("briaai/Nine", True), ("comfy-org/Nine", True), ("acme/Nine", False)],
)
def test_authors_are_thanked_once(repo, thanked, shared):
    root = shared("0.24.0")
    before = (root / "README.md").read_text()
    checkpoints = [{"key": "nova-nine", "hf_repo": repo, "aliases": ["nova-nine"]}]
    wiring.wire(Checkout(root), port(NOVA, hf_repo=repo, checkpoints=checkpoints, **PLAIN))
    added = [line for line in (root / "README.md").read_text().splitlines() if line not in before.splitlines()]
    assert any(" project](" in line for line in added) != thanked


def test_changelog_line_is_under_its_heading(shared):
    root = shared("0.24.0")
    (root / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n### ✨ Improvements\n\n- Faster.\n\n## [0.1.0]\n\n### 🎨 New Model Support\n\n- Old.\n"
    )
    before, ports = contents(root), []
    for name in ("vega", "lyra"):
        entry = {"key": f"{name}-image", "hf_repo": f"acme/{name}-image", "aliases": [f"{name}-image"]}
        names = {"model": name, "class_name": name.title(), "display_name": f"My {name}", "cli_name": name}
        ports.append(port(NOVA, **names, hf_repo=entry["hf_repo"], checkpoints=[entry], **PLAIN))
        wiring.wire(Checkout(root), ports[-1])
    text = (root / "CHANGELOG.md").read_text()
    section = text[: text.index("### ✨")]
    assert section.count("### 🎨 New Model Support") == 1 and section.count("- **My ") == 2
    for one in ports:
        wiring.unwire(Checkout(root), one)
    assert contents(root) == before
