"""Names that belong to another model are refused before anything is written."""

from __future__ import annotations

import pytest
from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from wiring_hosts import AMBER, NOVA, contents, port


def _one(key: str = "amber", repo: str = "amberlab/Amber", *aliases: str, **more) -> list[dict]:
    return [{"key": key, "hf_repo": repo, "aliases": list(aliases), **more}]


REFUSED = [
    # an alias or key of mflux, used for another purpose
    ("key is mflux's key", "0.24.0", _one("z-image"), r"'z-image' of z-image is taken by mflux's z-image"),
    ("key is mflux's alias", "0.24.0", _one("krea2"), r"'krea2' of krea2 is taken by mflux's krea-2"),
    ("alias is mflux's key", "0.18.1", _one("amber", "amberlab/Amber", "fibo"), r"'fibo' of amber is taken by mflux's fibo"),
    ("alias is mflux's alias", "0.24.0", _one("amber", "amberlab/Amber", "klein-4b"), r"'klein-4b' of amber is taken"),
    ("alias twice", "0.24.0", [*_one("amber-a", "a/Amber-A", "amber"), *_one("amber-b", "a/Amber-B", "amber")], r"'amber' names both amber-a and amber-b"),
    ("too short", "0.24.0", _one("amber", "amberlab/Amber", "am"), r"'am' is too short"),
    # mflux takes the model with the longest alias inside a name
    ("would take an existing name", "0.24.0", _one("amber", "amberlab/Amber", "seedvr2-3b-mflux"), r"'seedvr2-3b-mflux' would take"),
    ("would take the saves of a shorter alias", "0.18.1", _one("amber", "amberlab/Amber", "z-image-turbo-q"), r"'z-image-turbo-q' would take"),
    ("would be taken", "0.24.0", _one("amber", "amberlab/Animation-Amber-dev-anima-base"), r"read as mflux's anima-base; add"),
    ("would be taken, by its key", "0.24.0", _one("mydev", "amberlab/Other"), None),
    ("repo would be taken", "0.24.0", _one("amber", "amberlab/Swimming"), r"swimming-q4 of amber would be read as mflux's ming-image-design; add 'swimming'"),
    ("organisation would be taken", "0.24.0", _one("amber", "qwen-image-lab/Amber"), r"qwen-image-lab/amber-q4 of amber would be read as mflux's qwen-image; add 'qwen-image-lab' to its aliases"),
    ("organisation would be taken by a chain", "0.18.1", _one("amber", "qwen-image-lab/Amber"), r"would be read as mflux's qwen-image; add"),
    ("organisation named as an alias", "0.24.0", _one("amber", "qwen-image-lab/Amber", "qwen-image-lab"), None),
    ("organisation shorter than the key", "0.24.0", _one("amber", "dev-lab/Amber"), None),
    ("repo named as an alias", "0.24.0", _one("amber", "amberlab/Swimming", "swimming"), None),
    # other commands select keys by prefix
    ("prefix of flux2", "0.24.0", _one("flux2-amber"), r"starts with 'flux2-', which flux2_\w+\.py treats"),
    ("prefix of moss", "0.24.0", _one("moss-image-amber"), r"starts with 'moss-image-'"),
    ("prefix unknown to an older mflux", "0.18.1", _one("moss-image-amber"), None),
    # repos
    ("repo is mflux's", "0.24.0", _one("amber", "Tongyi-MAI/Z-Image-Turbo"), r"Tongyi-MAI/Z-Image-Turbo is already mflux's z-image-turbo"),
    ("repo is mflux's, other case", "0.18.0", _one("amber", "tongyi-mai/z-image-turbo"), r"is already mflux's z-image-turbo"),
    ("repo twice", "0.24.0", [*_one("amber-a", "a/Amber"), *_one("amber-b", "a/Amber", variant="edit")], None),
    ("repo twice, two revisions", "0.24.0", [*_one("amber-a", "a/Amber", revision="a" * 40), *_one("amber-b", "a/Amber", revision="b" * 40)], r"a/Amber has two revisions"),
    ("factory is mflux's", "0.24.0", _one("z.image", "a/Amber"), r"ModelConfig.z_image\(\) belongs to mflux's z-image"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "checkpoints", "error"), [pytest.param(*case[1:], id=case[0]) for case in REFUSED])
def test_taken_names_are_refused(version: str, checkpoints: list[dict], error: str | None, shared):
    root = shared(version)
    before = contents(root)
    one = port(AMBER, checkpoints=checkpoints, variants=["txt2img", "edit"])
    if error is None:
        wiring.wire(Checkout(root), one)
        wiring.unwire(Checkout(root), one)
    else:
        with pytest.raises(PortError, match=error):
            wiring.wire(Checkout(root), one)
        assert not (root / "porting").exists()
    assert contents(root) == before


# Importing a class with the name of a class of mflux would replace that one.
CLASSES = [
    ("0.24.0", {"class_name": "QwenImage"}, r"models/common/cli/save.py already imports QwenImage from mflux.models.qwen"),
    ("0.18.1", {"class_name": "QwenImage"}, r"models/common/cli/save.py already imports QwenImage from mflux.models.qwen"),
    ("0.24.0", {"class_name": "ModelConfig"}, r"class_name is 'ModelConfig', a name that is taken"),
    ("0.24.0", {"class_name": "SaveDispatch"}, r"save.py already defines SaveDispatch"),
    ("0.24.0", {"class_name": "TimeoutError"}, r"TimeoutError is a Python built-in; choose another class_name"),
    ("0.24.0", {"class_name": "Ernie", "training": True, "lora": True}, r"runner.py already imports ErnieTrainingAdapter from mflux.models.ernie_image"),
    ("0.18.0", {"class_name": "Ernie", "training": True, "lora": True}, r"runner.py already imports ErnieTrainingAdapter from mflux.models.ernie_image"),
    ("0.24.0", {"class_name": "Boogu"}, r"model_checker.py already imports BooguWeightDefinition from mflux.models.boogu"),
    ("0.23.0", {"class_name": "Boogu"}, None),  # this release has no mflux-check
    ("0.24.0", {"class_name": "QwenImageTwo"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("version", "names", "error"), CLASSES)
def test_taken_class_names_are_refused(version: str, names: dict, error: str | None, shared):
    root = shared(version)
    before = contents(root)
    if error is None:
        wiring.wire(Checkout(root), port(AMBER, **names))
        wiring.unwire(Checkout(root), port(AMBER, **names))
    else:
        with pytest.raises(PortError, match=error):
            wiring.wire(Checkout(root), port(AMBER, **names))
    assert contents(root) == before


def test_a_class_of_another_port(shared):
    root = shared()
    wiring.wire(Checkout(root), port(AMBER))
    other = {"model": "amber_two", "cli_name": "two", "hf_repo": "a/Two", "checkpoints": _one("two-own", "a/Two")}
    with pytest.raises(
        PortError, match="save.py already imports Amber from mflux.models.amber.variants.txt2img.amber; choose another"
    ):
        wiring.wire(Checkout(root), port(AMBER, **other))


@pytest.mark.parametrize("name", ["z-image-turbo", "amber-own"])
def test_taken_commands_are_refused(name: str, shared):
    root = shared("0.24.0")
    path = root / "pyproject.toml"
    path.write_text(
        path.read_text().replace("[project.scripts]\n", '[project.scripts]\nmflux-generate-amber-own = "x:y"\n')
    )
    before = contents(root)
    for changed in ({"cli_name": name}, {"checkpoints": _one("amber-pro", cli_name=name)}):
        with pytest.raises(PortError, match=rf"the command mflux-generate-{name} is taken by "):
            wiring.wire(Checkout(root), port(AMBER, **changed))
    assert contents(root) == before


def test_two_ports_do_not_collide(shared):
    root = shared()
    wiring.wire(Checkout(root), port(AMBER))
    before = contents(root)
    other = {**AMBER, "model": "amber_two", "class_name": "AmberTwo", "cli_name": "amber-two"}
    with pytest.raises(PortError, match="'amber' of amber is taken by mflux's amber"):
        wiring.wire(Checkout(root), port(other))
    with pytest.raises(PortError, match="amberlab/Amber is already mflux's amber"):
        wiring.wire(Checkout(root), port(other, checkpoints=_one("ambertwo")))
    assert contents(root) == before


def test_a_wired_port_does_not_collide_with_itself(shared):
    root = shared()
    wiring.wire(Checkout(root), port(NOVA))
    wiring.verify_free(Checkout(root), port(NOVA))


def test_a_half_wired_port_is_completed(shared):
    # The state after `git checkout` of one file.
    for file in ("src/mflux/models/common/cli/save.py", "pyproject.toml", "porting/nova_image/wiring.json"):
        root = shared(name=file.replace("/", "-"))
        original = (root / file).read_bytes() if (root / file).exists() else None
        wiring.wire(Checkout(root), port(NOVA))
        wired = contents(root)
        if original is None:
            (root / file).unlink()
        else:
            (root / file).write_bytes(original)
        wiring.wire(Checkout(root), port(NOVA))
        assert contents(root) == wired


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=["", "dry run"])
def test_command_refuses_in_one_line(options: list[str], shared, mflux_port, answered):
    root = shared()
    answered(root, {**AMBER, "checkpoints": _one("z-image")})
    done = mflux_port("wire", "amber", *options, cwd=root)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "taken by mflux's z-image; choose another key or alias" in done.stderr
