"""The names that follow from a port's answers, and answers files that the questions would refuse."""

from __future__ import annotations

import pytest
from mflux_port.errors import PortError
from mflux_port.port.port import list_ports, load_port, port_from_answers

ANSWERS = {
    "model": "nova_image",
    "class_name": "NovaImage",
    "display_name": "Nova-Image 2.1",
    "cli_name": "nova-image",
    "hf_repo": "acme/Nova-Image",
    "reference_pipeline": "NovaPipeline",
    "steps": 8,
    "guidance": 1.0,
    "supports_guidance": False,
    "checkpoints": [
        {"key": "nova-image-2.1", "hf_repo": "acme/Nova-Image", "aliases": ["nova-image", "nova-image-2.1"]},
        {
            "key": "nova-edit",
            "hf_repo": "acme/Nova-Edit",
            "variant": "edit",
            "steps": 40,
            "guidance": 4.0,
            "supports_guidance": True,
            "cli_name": "nova-editor",
            "transformer_overrides": {"num_layers": 2},
        },
    ],
    "variants": ["txt2img", "edit"],
    "vae": "own",
    "text_encoder": "own",
    "scheduler": "linear",
    "img2img": True,
    "negative_prompt": False,
    "lora": True,
    "training": False,
    "mflux_api": "0.24",
}


def test_derived_names():
    port = port_from_answers(ANSWERS)

    assert port.folder == "src/mflux/models/nova_image"
    assert [port.variant_class(variant) for variant in port.variants] == ["NovaImage", "NovaImageEdit"]
    assert port.variant_module("edit") == "mflux.models.nova_image.variants.edit.nova_image_edit"
    assert [checkpoint.factory for checkpoint in port.checkpoints] == ["nova_image_2_1", "nova_edit"]
    assert port.scripts == {
        "mflux-generate-nova-image": "mflux.models.nova_image.cli.nova_image_generate:main",
        "mflux-generate-nova-editor": "mflux.models.nova_image.cli.nova_edit_generate:main",
        "mflux-generate-nova-image-edit": "mflux.models.nova_image.cli.nova_image_edit_generate:main",
    }


def test_entry_inherits_the_family_values():
    first, second = port_from_answers(ANSWERS).checkpoints

    assert (first.steps, first.guidance, first.supports_guidance) == (8, 1.0, False)
    assert (second.steps, second.guidance, second.supports_guidance) == (40, 4.0, True)
    assert first.aliases == ("nova-image-2.1", "nova-image")
    assert second.config == {"transformer_overrides": {"num_layers": 2}}


def test_entry_without_guidance_has_guidance_one():
    entries = [{"key": "nova", "hf_repo": "a/b"}, {"key": "fast", "hf_repo": "a/c", "supports_guidance": False}]
    answers = {**ANSWERS, "guidance": 4.0, "supports_guidance": True, "checkpoints": entries}

    assert [entry.guidance for entry in port_from_answers(answers).checkpoints] == [4.0, 1.0]


def test_fields_derived_from_the_components():
    answers = {**ANSWERS, "scheduler": "flow_match_euler_discrete", "text_encoder": "clip"}
    entry = {"key": "nova", "hf_repo": "a/b"}

    implied = {"requires_sigma_shift": True, "max_sequence_length": 77}
    assert port_from_answers({**answers, "checkpoints": [entry]}).checkpoints[0].config == implied
    said = {"requires_sigma_shift": False, "max_sequence_length": 64}
    assert port_from_answers({**answers, "checkpoints": [entry | said]}).checkpoints[0].config == said


_OWN = [{"key": "nova", "hf_repo": "a/b", "cli_name": "own"}, {"key": "pro", "hf_repo": "a/c", "cli_name": "own"}]
_EDIT = [{"key": "nova", "hf_repo": "a/b", "cli_name": f"{ANSWERS['cli_name']}-edit"}]


@pytest.mark.parametrize("entries", [_OWN, _EDIT], ids=["two entries", "an entry and the edit variant"])
def test_two_commands_of_one_name_are_refused(entries):
    with pytest.raises(PortError, match="would be two commands; type another cli_name"):
        port_from_answers({**ANSWERS, "variants": ["txt2img", "edit"], "checkpoints": entries})


def test_two_keys_of_one_function_are_refused():
    entries = [{"key": "nova-2.1", "hf_repo": "a/b"}, {"key": "nova-2-1", "hf_repo": "a/c"}]
    with pytest.raises(PortError, match="or the same function"):
        port_from_answers({**ANSWERS, "checkpoints": entries})


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "checkpoints"])
def test_missing_answer_is_named(name):
    with pytest.raises(PortError, match=f"no answer '{name}'"):
        port_from_answers({key: value for key, value in ANSWERS.items() if key != name})


@pytest.mark.parametrize("model", ["../foo", "foo/bar", "", "Foo", ".."])
def test_path_is_not_a_model_name(model, tmp_path):
    with pytest.raises(PortError, match="not a package name"):
        load_port(tmp_path, model)


def test_ports_of_a_checkout(tmp_path):
    for name in ("zeta", "alpha"):
        (tmp_path / "porting" / name).mkdir(parents=True)
        (tmp_path / "porting" / name / "answers.yml").touch()
    (tmp_path / "porting/notes").mkdir()

    assert list_ports(tmp_path) == ["alpha", "zeta"]
