"""`inspect` reads from a folder what diffusers and transformers load from it: the same files, the same tensors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mflux_port.checkpoint.layout import open_checkpoint
from mflux_port.errors import PortError

from tests.checkpoint.files import TRANSFORMER, write_header, write_sharded
from tests.conftest import PROJECT, run_in

HERE = Path(__file__).resolve().parent

BASE = "diffusion_pytorch_model"


@pytest.fixture(scope="module")
def compared(diffusers_python, tmp_path_factory) -> dict:
    printed = run_in(diffusers_python, HERE / "loader_agreement.py", tmp_path_factory.mktemp("loaders"), source=PROJECT)
    return json.loads(printed.splitlines()[-1])


@pytest.mark.full
def test_inspect_reads_the_same_files_as_the_loaders(compared):
    folders = compared["folders"]
    assert len(folders) >= 33
    for name, facts in folders.items():
        assert facts["theirs"] and facts["theirs"] == {key: facts["ours"].get(key) for key in facts["theirs"]}, name
        assert set(facts["theirs"].values()) == set(facts["ours"].values()), name


@pytest.mark.full
def test_a_pipeline_holds_what_its_index_lists(compared):
    assert compared["pipeline"] == {"theirs": ["unet"], "ours": ["unet"], "unlisted": ["vae"]}


def rename_shards(folder, names: list[str]) -> None:
    index = folder / f"{BASE}.safetensors.index.json"
    text = index.read_text()
    for old, new in zip(sorted(folder.glob(f"{BASE}-*.safetensors")), names, strict=True):
        text = text.replace(old.name, new)
        old.rename(folder / new)
    index.write_text(text)


@pytest.mark.parametrize(
    "names",
    [
        ["consolidated.00.safetensors", "consolidated.01.safetensors", "consolidated.02.safetensors"],
        [f"{BASE}-00000{n}-of-000003.safetensors" for n in (1, 2, 3)],
        ["0.safetensors", "1.safetensors", "2.safetensors"],
        ["head.safetensors", "body.safetensors", "tail.safetensors"],
    ],
)
@pytest.mark.parametrize("beside", ["", "other.safetensors", f"{BASE}-00004-of-00004.safetensors"])
def test_index_decides_regardless_of_the_shards_names(diffusers_folder, names, beside):
    folder = diffusers_folder / "transformer"
    write_sharded(folder, TRANSFORMER, 3, BASE)
    rename_shards(folder, names)
    if beside:
        write_header(folder / beside, {"odd.weight": (2, 2)})
    weights = open_checkpoint(str(diffusers_folder)).components["transformer"].weights
    assert weights.names == sorted(f"transformer/{name}" for name in names)
    assert (
        weights.others == ([f"transformer/{beside}"] if beside else [])
        and list(weights.read())
        and len(weights.read()) == 7
    )


@pytest.mark.parametrize(
    "names", [["0", "1"], ["model_part_1", "model_part_2"], ["nova-1", "nova-2"], ["nova.00", "nova.01"]]
)
def test_parts_without_an_index_are_read_together(tmp_path, names):
    for number, name in enumerate(names):
        write_header(tmp_path / f"{name}.safetensors", {f"a{number}.weight": (2, 2)})
    (component,) = open_checkpoint(str(tmp_path)).components.values()
    assert list(component.tensors) == ["a0.weight", "a1.weight"]


@pytest.mark.parametrize("names", [["nova-2"], ["flux.1"], ["sd_xl_base_1.0"]])
def test_number_in_a_single_file_name_is_not_a_shard_number(tmp_path, names):
    write_header(tmp_path / f"{names[0]}.safetensors", TRANSFORMER)
    (component,) = open_checkpoint(str(tmp_path)).components.values()
    assert len(component.tensors) == 7


@pytest.mark.parametrize("lost", [[1], [0, 2], [0, 1, 2]])
def test_every_missing_shard_is_named(diffusers_folder, lost):
    paths = write_sharded(diffusers_folder / "transformer", TRANSFORMER, 3, BASE)
    for number in lost:
        paths[number].unlink()
    with pytest.raises(PortError, match="missing; download the rest") as caught:
        open_checkpoint(str(diffusers_folder))
    assert all(paths[number].name in str(caught.value) for number in lost)


def write_pipeline(root, index: dict, folders: list[str]):
    (root / "model_index.json").write_text(json.dumps(index))
    for folder in folders:
        write_header(root / folder / "diffusion_pytorch_model.safetensors", TRANSFORMER)
    return root


@pytest.mark.parametrize(
    ("folder", "class_name"),
    [("dit", "NovaDiT"), ("unet", "UNet2DConditionModel"), ("denoiser", "NovaTransformer2DModel")],
)
def test_the_denoiser_may_be_in_any_folder(tmp_path, mflux_port, folder, class_name):
    root = write_pipeline(tmp_path, {"_class_name": "NovaPipeline", folder: ["diffusers", class_name]}, [folder])
    assert open_checkpoint(str(root)).part("transformer").name == folder
    done = mflux_port("inspect", root, cwd=root)
    assert f"this is the port's transformer; its weights are in {folder}/" in done.stdout


@pytest.mark.parametrize(
    ("entry", "files", "pipeline", "module"),
    [
        (["pipeline_nova", "NovaPipeline"], ["pipeline_nova.py"], "NovaPipeline", "pipeline_nova.py"),
        (["nova.pipe", "Nova2Pipeline"], ["pipeline.py"], "Nova2Pipeline", "pipeline.py"),
        (["elsewhere", "NovaPipeline"], [], "NovaPipeline", "elsewhere"),
    ],
)
def test_custom_pipeline_code_is_named(tmp_path, mflux_port, entry, files, pipeline, module):
    root = write_pipeline(tmp_path, {"_class_name": entry, "transformer": ["diffusers", "NovaDiT"]}, ["transformer"])
    for name in files:
        (root / name).write_text("raise SystemExit('must not run')\n")
    checkpoint = open_checkpoint(str(root))
    assert (checkpoint.pipeline, checkpoint.pipeline_module) == (pipeline, module)
    done = mflux_port("inspect", root, cwd=root)
    assert done.returncode == 0 and f"custom code: the pipeline is defined in {module}" in done.stdout


@pytest.mark.parametrize(
    ("folder", "module", "class_name"),
    [("transformer", "nova_model", "NovaNet"), ("unet", "unet_nova", "NovaUNet2D"), ("dit", "modeling", "NovaDiT")],
)
def test_component_with_custom_code_is_named(tmp_path, mflux_port, folder, module, class_name):
    root = write_pipeline(tmp_path, {"_class_name": "NovaPipeline", folder: [module, class_name]}, [folder])
    (root / f"{folder}/{module}.py").write_text("raise SystemExit('must not run')\n")
    done = mflux_port("inspect", root, cwd=root)
    assert f"custom code: {class_name} is defined in {folder}/{module}.py" in done.stdout


@pytest.mark.parametrize("missing", [["vae"], ["vae", "text_encoder"], ["tokenizer"], ["scheduler", "vae"]])
def test_the_missing_parts_of_a_download_are_named(tmp_path, mflux_port, missing):
    classes = {"vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "T5EncoderModel"],
               "tokenizer": ["transformers", "T5Tokenizer"], "scheduler": ["diffusers", "DDPMScheduler"]}  # fmt: skip
    index = {"_class_name": "P", "transformer": ["diffusers", "T"], "safety_checker": [None, None], "requires": False}
    root = write_pipeline(tmp_path, index | {name: classes[name] for name in missing}, ["transformer"])
    done = mflux_port("inspect", root, cwd=root)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"lacks {', '.join(missing)}, which model_index.json lists; download the rest" in done.stderr


def test_unlisted_folder_is_not_part_of_the_pipeline(tmp_path, mflux_port):
    index = {"_class_name": "P", "transformer": ["diffusers", "T"], "safety_checker": [None, None]}
    root = write_pipeline(tmp_path, index, ["transformer", "transformer_fp8", "safety_checker"])
    checkpoint = open_checkpoint(str(root))
    assert list(checkpoint.components) == ["transformer"]
    assert checkpoint.unlisted == ["safety_checker", "transformer_fp8"]
    assert "not a part of the pipeline: safety_checker, transformer_fp8" in mflux_port("inspect", root, cwd=root).stdout


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer"),
        ("a.safetensors", b"", "shorter than a safetensors header"),
        ("nova-Q4.gguf", b"GGUF", "is a GGUF file; download the checkpoint as safetensors"),
        ("nova.ckpt", b"x", "is a pickle"),
        ("a.safetensors", b"\2\0\0\0\0\0\0\0{}", "holds no tensor; download the checkpoint again"),
    ],
)
def test_incomplete_safetensors_file_is_named(tmp_path, mflux_port, name, content, words):
    (tmp_path / name).write_bytes(content)
    done = mflux_port("inspect", tmp_path, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and words in done.stderr


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("diffusion_pytorch_model.bin", "a pickle, which can run code"),
        ("nova-Q4_K.gguf", "a GGUF file"),
        ("model.onnx", "an ONNX file"),
        ("diffusion_flax_model.msgpack", "a file of Flax"),
        ("tf_model.h5", "a file of TensorFlow"),
        ("openvino_model.bin", "a file of OpenVINO"),
    ],
)
@pytest.mark.parametrize("config", [True, False])
def test_a_component_in_another_format_is_named(diffusers_folder, name, what, config):
    (diffusers_folder / "transformer" / name).write_bytes(b"x")
    if not config:
        (diffusers_folder / "transformer/config.json").unlink()
    with pytest.raises(PortError, match=f"transformer/{name} is {what}, and transformer has no safetensors file"):
        open_checkpoint(str(diffusers_folder))


@pytest.mark.parametrize(
    "shards",
    [
        [TRANSFORMER, TRANSFORMER],
        [TRANSFORMER, {"proj_out.weight": (16, 64)}],
        [{"proj_out.weight": (16, 64)}, {"a.weight": (2, 2)}, {"a.weight": (2, 2)}],
    ],
)
def test_a_tensor_in_two_shards_is_named(diffusers_folder, shards):
    for number, tensors in enumerate(shards, 1):
        write_header(diffusers_folder / f"transformer/{BASE}-0000{number}-of-0000{len(shards)}.safetensors", tensors)
    with pytest.raises(PortError, match="both hold tensor '.*'; keep one checkpoint in the folder"):
        open_checkpoint(str(diffusers_folder)).components["transformer"].weights.read()


@pytest.mark.parametrize(
    "shard", ["../../a.safetensors", "/tmp/a.safetensors", "sub/a.safetensors", "..\\a.safetensors"]
)
def test_an_index_that_points_elsewhere_is_refused(diffusers_folder, shard):
    write_header(diffusers_folder / "a.safetensors", TRANSFORMER)
    index = diffusers_folder / f"transformer/{BASE}.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(TRANSFORMER, shard)}))
    with pytest.raises(PortError, match="is not a safetensors file in its folder; do not use this checkpoint"):
        open_checkpoint(str(diffusers_folder))


SINGLE = {f"model.diffusion_model.{name}": shape for name, shape in TRANSFORMER.items()}


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ({"betas": (1000,), "alphas_cumprod": (1000,)}, {"transformer": 9}),
        ({"first_stage_model.decoder.a.weight": (2, 2), "cond_stage_model.b.weight": (2, 2)},
         {"transformer": 7, "vae": 1, "text_encoder": 1}),
        ({f"conditioner.embedders.{n}.a.weight": (2, 2) for n in range(2)},
         {"transformer": 7, "text_encoder": 1, "text_encoder_2": 1}),
        ({f"text_encoders.{name}.a.weight": (2, 2) for name in ("clip_l", "clip_g", "t5xxl")},
         {"transformer": 7, "text_encoder": 1, "text_encoder_2": 1, "text_encoder_3": 1}),
        ({"extra.weight": (2, 2)}, {"transformer": 7, "others": 1}),
    ],
)  # fmt: skip
def test_parts_of_an_all_in_one_file(tmp_path, more, parts):
    checkpoint = open_checkpoint(str(write_header(tmp_path / "nova.safetensors", SINGLE | more)))
    assert {name: len(part.tensors) for name, part in checkpoint.components.items()} == parts
    assert checkpoint.text_encoders == [name for name in parts if name.startswith("text_encoder")]
    assert list(checkpoint.components["transformer"].classified.loadable()) == list(TRANSFORMER)
