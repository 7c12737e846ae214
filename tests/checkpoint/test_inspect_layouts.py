"""`mflux-port inspect` on the layouts that checkpoints have in the wild."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import yaml
from mflux_port.checkout import releases
from mflux_port.checkpoint.inference import overrides
from mflux_port.checkpoint.layout import open_checkpoint

from tests.checkpoint.files import TRANSFORMER, write_header, write_sharded

BASE = "diffusion_pytorch_model"


def inspected(mflux_port, folder, *options) -> dict:
    done = mflux_port("inspect", "--json", folder, *options, cwd=folder if folder.is_dir() else folder.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def list_component(folder, name: str, library: str, class_name: str) -> None:
    """Add a component to model_index.json."""
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {name: [library, class_name]}))


def parts_of(facts: dict) -> dict:
    return {part["name"]: part for part in facts["components"]}


def test_single_file(mflux_port, diffusers_folder):
    write_header(diffusers_folder / f"transformer/{BASE}.safetensors", TRANSFORMER)
    facts = inspected(mflux_port, diffusers_folder)
    part = parts_of(facts)["transformer"]
    assert (part["class"], part["tensors"], part["files"]) == ("NovaTransformer2DModel", 7, 1)
    assert part["parameters"] == 64 * 16 + 64 + 4 * 64 * 64 + 16 * 64
    assert part["dtypes"] == {"BF16": 1.0} and part["notes"] == []
    assert facts["tokenizers"] == {"tokenizer": ["tokenizer.json"]}
    assert facts["to_port"][0] == "transformer: NovaTransformer2DModel, 7 tensors"


def test_gemma_of_another_size_sets_its_attention_scale(diffusers_folder):
    write_header(diffusers_folder / f"transformer/{BASE}.safetensors", TRANSFORMER)
    sizes = {"hidden_size": 3584, "query_pre_attn_scalar": 224, "attn_logit_softcapping": 50.0}
    config = {"model_type": "gemma2", **sizes, "max_position_embeddings": 8192}
    (diffusers_folder / "text_encoder").mkdir(exist_ok=True)
    (diffusers_folder / "text_encoder/config.json").write_text(json.dumps(config))
    write_header(diffusers_folder / "text_encoder/model.safetensors", TRANSFORMER)
    list_component(diffusers_folder, "text_encoder", "transformers", "Gemma2Model")
    assert overrides(open_checkpoint(str(diffusers_folder)), ["gemma2"])["text_encoder_overrides"] == sizes
    taken = (
        releases.source(releases.NEWEST) / "src/mflux/models/common/pid_decoder/gemma2/gemma2_config.py"
    ).read_text()
    assert all(f"    {name}: " in taken for name in sizes)


@pytest.mark.parametrize("index", [True, False])
def test_shards_give_the_same_tensors_as_one_file(mflux_port, diffusers_folder, index):
    write_sharded(diffusers_folder / "transformer", TRANSFORMER, 3, BASE, index)
    part = parts_of(inspected(mflux_port, diffusers_folder))["transformer"]
    assert (part["tensors"], part["files"]) == (7, 3)
    assert part["notes"] == ([] if index else ["shards without an index; all of them are read"])


def test_variant_is_read_if_there_is_no_plain_checkpoint(mflux_port, diffusers_folder):
    write_header(diffusers_folder / f"transformer/{BASE}.fp16.safetensors", TRANSFORMER, "F16")
    part = parts_of(inspected(mflux_port, diffusers_folder))["transformer"]
    assert (part["variant"], part["dtypes"]) == ("fp16", {"F16": 1.0})
    assert part["notes"] == ["only the fp16 variant is there"]


def test_variant_next_to_a_plain_checkpoint_is_reported_but_not_read(mflux_port, diffusers_folder):
    folder = diffusers_folder / "transformer"
    write_header(folder / f"{BASE}.fp16.safetensors", TRANSFORMER, "F16")
    write_sharded(folder, TRANSFORMER, 2, BASE)
    part = parts_of(inspected(mflux_port, diffusers_folder))["transformer"]
    assert (part["variant"], part["dtypes"], part["tensors"]) == ("", {"BF16": 1.0}, 7)
    assert f"{BASE}.fp16.safetensors" in part["notes"][0]


def test_a_sharded_variant_with_its_own_index(mflux_port, diffusers_folder):
    folder = diffusers_folder / "transformer"
    write_sharded(folder, TRANSFORMER, 2, f"{BASE}.fp16", index=True)
    (folder / f"{BASE}.fp16.safetensors.index.json").rename(folder / f"{BASE}.safetensors.index.fp16.json")
    part = parts_of(inspected(mflux_port, diffusers_folder))["transformer"]
    assert (part["variant"], part["files"], part["notes"]) == ("fp16", 2, ["only the fp16 variant is there"])


def test_several_checkpoints_side_by_side(mflux_port, diffusers_folder):
    folder = diffusers_folder / "transformer"
    write_header(folder / "nova-raw.safetensors", TRANSFORMER)
    write_header(folder / "nova-turbo.safetensors", TRANSFORMER)
    done = mflux_port("inspect", diffusers_folder, cwd=diffusers_folder)
    assert done.returncode == 2 and "several checkpoints (nova-raw, nova-turbo)" in done.stderr
    write_header(folder / f"{BASE}.safetensors", TRANSFORMER)
    part = parts_of(inspected(mflux_port, diffusers_folder))["transformer"]
    assert part["tensors"] == 7 and "nova-raw" in part["notes"][0]


def test_everything_in_one_file(mflux_port, tmp_path):
    tensors = {f"model.diffusion_model.{name}": shape for name, shape in TRANSFORMER.items()}
    tensors |= {"vae.decoder.conv_in.weight": (8, 4, 3, 3), "text_encoders.qwen.norm.weight": (32,)}
    parts = parts_of(inspected(mflux_port, write_header(tmp_path / "nova.safetensors", tensors)))
    assert {name: part["tensors"] for name, part in parts.items()} == {"transformer": 7, "vae": 1, "text_encoder": 1}


def test_cache_snapshot_gives_repo_and_revision(mflux_port, diffusers_folder, tmp_path):
    write_header(diffusers_folder / f"transformer/{BASE}.safetensors", TRANSFORMER)
    home = tmp_path / "models--acme--Nova-Image"
    snapshot = home / "snapshots" / ("a" * 40)
    shutil.copytree(diffusers_folder, snapshot)
    # The cache stores the files elsewhere and links to them.
    weights = snapshot / f"transformer/{BASE}.safetensors"
    (home / "blobs").mkdir()
    weights.rename(home / "blobs" / "1234")
    weights.symlink_to("../../../blobs/1234")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("a" * 40)
    for place in (home, snapshot):
        facts = inspected(mflux_port, place)
        assert (facts["repo"], facts["revision"]) == ("acme/Nova-Image", "a" * 40)
        assert facts["answers"]["hf_repo"]["value"] == "acme/Nova-Image"
        assert facts["answers"]["checkpoints"]["value"][0]["revision"] == "a" * 40


def test_a_repo_id_is_found_in_the_cache_without_network(mflux_port, diffusers_folder, tmp_path):
    write_header(diffusers_folder / f"transformer/{BASE}.safetensors", TRANSFORMER)
    home = tmp_path / "hub" / "models--acme--Nova-Image"
    shutil.copytree(diffusers_folder, home / "snapshots" / ("b" * 40))
    offline = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = mflux_port("inspect", "--json", "acme/Nova-Image", cwd=tmp_path, env=offline)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["repo"] == "acme/Nova-Image"
    done = mflux_port("inspect", "acme/Other", cwd=tmp_path, env=offline)
    assert done.returncode == 2 and "acme/Other is not in the Hugging Face cache" in done.stderr


EXPECTED = {
    "z_image": {"vae": "flux", "text_encoder": "qwen3", "scheduler": "linear"},
    "flux2_klein": {"vae": "flux2", "text_encoder": "qwen3", "scheduler": "flow_match_euler_discrete"},
    "qwen_image": {"vae": "qwen", "text_encoder": "own", "scheduler": "linear"},
}


@pytest.mark.parametrize(
    "family", ["z_image", *(pytest.param(name, marks=pytest.mark.full) for name in ("flux2_klein", "qwen_image"))]
)
def test_answers_are_accepted_by_copier(mflux_port, references, pristine, tmp_path, family):
    from tests.conftest import PROJECT

    answers = tmp_path / "answers.yml"
    repo = f"acme/{family.replace('_', '-')}"
    facts = inspected(mflux_port, references / f"{family}-full", "-o", answers, "--repo", repo)
    checkout = tmp_path / "mflux"
    shutil.copytree(pristine(), checkout)
    command = [sys.executable, "-m", "copier", "copy", "--trust", "--defaults", "--skip-tasks", "--vcs-ref", "HEAD"]
    command += ["--data-file", str(answers), "-d", "model=nova", str(PROJECT), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    kept = yaml.safe_load((checkout / "porting/nova/answers.yml").read_text())
    assert {name: kept[name] for name in EXPECTED[family]} == EXPECTED[family]
    for name, answer in facts["answers"].items():
        assert name == "model" or kept[name] == answer["value"], name
    entry = kept["checkpoints"][0]
    assert entry["hf_repo"] == repo and entry["transformer_overrides"]


def test_every_answer_has_a_comment_and_unknown_ones_are_marked(mflux_port, references, tmp_path):
    answers = tmp_path / "answers.yml"
    facts = inspected(mflux_port, references / "z_image-full", "-o", answers, "--repo", "acme/Nova")
    lines = answers.read_text().splitlines()
    for name, answer in facts["answers"].items():
        comment = lines[next(i for i, line in enumerate(lines) if line.startswith(f"{name}:")) - 1]
        assert comment.startswith("# ") and ("LOOK UP" in comment) == (not answer["known"]), name
    again = mflux_port("inspect", references / "z_image-full", "-o", answers, cwd=tmp_path)
    assert again.returncode == 2 and "--force" in again.stderr


@pytest.mark.parametrize("family", ["z_image-tiny", "flux2_klein-tiny", "qwen_image-tiny"])
def test_missing_sizes_and_shift_are_reported_without_a_repo_id(mflux_port, references, tmp_path, family):
    said = "sigma shift; run inspect again with --repo ORG/NAME"
    for options, lost in (((), True), (("--repo", "acme/Nova"), False)):
        answers = tmp_path / f"{lost}.yml"
        done = mflux_port("inspect", references / family, "-o", answers, *options, cwd=tmp_path)
        assert done.returncode == 0 and ("the answers lack the sizes and the sigma shift" in done.stdout) == lost
        assert (said in answers.read_text()) == lost and ("checkpoints" in yaml.safe_load(answers.read_text())) != lost
        assert lost or "requires_sigma_shift" in answers.read_text()


def test_sizes_of_every_component_are_in_the_overrides(mflux_port, references):
    facts = inspected(mflux_port, references / "flux2_klein-full", "--repo", "acme/Nova")
    entry = facts["answers"]["checkpoints"]["value"][0]
    assert entry["transformer_overrides"]["num_single_layers"] == 20
    assert entry["text_encoder_overrides"]["num_hidden_layers"] == 36
    assert entry["requires_sigma_shift"] is True


def test_missing_component_is_named(mflux_port, diffusers_folder):
    write_header(diffusers_folder / "transformer/model.safetensors", {"a.weight": (2, 2)})
    list_component(diffusers_folder, "vae", "diffusers", "AutoencoderKL")
    done = mflux_port("inspect", diffusers_folder, cwd=diffusers_folder)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "lacks vae, which model_index.json lists; download the rest of the checkpoint" in done.stderr
