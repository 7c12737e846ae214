"""A checkpoint becomes a mapped port with the commands alone: inspect, copy, draft, ledger."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mflux_port.draft.write.unresolved import UNRESOLVED

from tests.checkpoint.files import write_header
from tests.conftest import PROJECT
from tests.json_forms import facts_of

MODEL = "src/mflux/models/nova"
TRANSFORMER = f"{MODEL}/model/nova_transformer/transformer.py"
MAPPING = f"{MODEL}/weights/nova_weight_mapping.py"


def copy(checkout: Path, *options: str) -> None:
    command = [sys.executable, "-m", "copier", "copy", "--trust", "--defaults", "--vcs-ref", "HEAD", *options]
    done = subprocess.run([*command, str(PROJECT), str(checkout)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def said(done) -> dict:
    assert done.returncode == 0, done.stdout + done.stderr
    return facts_of("draft", done.stdout)


def files_of(checkout: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(checkout.rglob("*"))
        if path.is_file() and ".git/" not in str(path)
    }


@pytest.mark.full
def test_inspect_copy_draft_ledger(mflux_port, references, pristine, diffusers_python, tmp_path):
    """A family whose text encoder has a vision tower, which no recorded run calls."""
    checkpoint, checkout = references / "qwen_image-tiny", shutil.copytree(pristine(), tmp_path / "mflux")
    answers = tmp_path / "answers.yml"
    assert mflux_port("inspect", checkpoint, "-o", answers, "--repo", "acme/Nova", cwd=tmp_path).returncode == 0
    copy(checkout, "--data-file", str(answers), "-d", "model=nova")
    port = {"cwd": checkout, "python": diffusers_python}
    facts = said(mflux_port("draft", "nova", "--checkpoint", checkpoint, "--json", **port))
    assert {part["from"] for part in facts["components"]} == {"the reference's modules"} and facts["beside"] == {}
    for options in (["check"], ["format", "--check"]):
        done = subprocess.run(["ruff", *options, MODEL], cwd=checkout, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    open_ends = said_rows(mflux_port("ledger", "nova", "--json", **port))
    assert {row[::2] for row in open_ends if row[0] != "files"} == set()
    waivers = checkout / "porting/nova/waivers.yml"
    towers = {part["component"]: part["left_out"] for part in facts["components"] if part["left_out"]}
    assert towers == {"text_encoder": ["visual", "lm_head"]}
    assert all(f'"{path}.*"' in waivers.read_text() for path in towers["text_encoder"])


def said_rows(done) -> set:
    assert done.returncode in (0, 1), done.stderr
    return {
        (row["component"], row["kind"], row["name"])
        for row in facts_of("ledger", done.stdout)["findings"]
        if row["fails"]
    }


@pytest.fixture(scope="module")
def rendered(tmp_path_factory, pristine) -> Path:
    checkout = shutil.copytree(pristine(), tmp_path_factory.mktemp("draft") / "mflux")
    copy(checkout, "--skip-tasks", "-d", "model=nova", "-d", "hf_repo=acme/Nova")
    return checkout


@pytest.fixture
def draft(rendered, references, mflux_port, tmp_path):
    checkout = shutil.copytree(rendered, tmp_path / "mflux")

    def run(*options, checkpoint=references / "flux2_klein-full"):
        return mflux_port("draft", "nova", "--checkpoint", checkpoint, *options, cwd=checkout)

    run.checkout = checkout
    return run


def test_a_dry_run_writes_nothing(draft):
    before = files_of(draft.checkout)
    done = draft("--dry-run")
    assert done.returncode == 0 and f"+++ b/{TRANSFORMER}" in done.stdout
    assert "+++ b/porting/nova/checkpoint_keys.txt" in done.stdout
    assert files_of(draft.checkout) == before


def test_a_pipeline_that_cannot_run_and_sizes_with_other_names_are_reported(draft, references):
    sizes = draft.checkout / "tests/image_generation/helpers/tiny_nova_sizes.py"
    facts = said(draft("--json", "--pipeline", references / "flux2_klein-full"))  # a folder without weights
    listed = yaml.safe_load((draft.checkout / UNRESOLVED.format(model="nova")).read_text())
    (entry,) = [one for one in listed if one["component"] == "pipeline"]
    assert entry["why"] == facts["pipeline_refusal"] and "cannot be run" in entry["why"]
    told = facts["tiny_sizes"]
    assert told["file"] == str(sizes.relative_to(draft.checkout)) and "hidden_size" in told["says"]
    text = re.sub(
        r"TRANSFORMER = \{.*?\}", f"TRANSFORMER = {dict.fromkeys(told['takes'], 4)}", sizes.read_text(), flags=re.DOTALL
    )
    done = draft()
    assert (
        done.returncode == 0 and f"fix {told['file']}: it names {', '.join(told['says'])}, the drafted" in done.stdout
    )
    sizes.write_text(text)
    assert said(draft("--json"))["tiny_sizes"] == {}
    sizes.unlink()
    assert said(draft("--json"))["tiny_sizes"] == {}


def test_drafted_files(draft):
    facts = said(draft("--json"))
    assert TRANSFORMER in facts["written"] and MAPPING in facts["written"] and facts["beside"] == {}
    mapping = (draft.checkout / MAPPING).read_text()
    assert (
        'from_pattern=["single_transformer_blocks.{block}.attn.to_out.weight"]' in mapping
        and "max_blocks=20" in mapping
    )
    assert "in Flux2WeightMapping.get_text_encoder_mapping()" in mapping and "_TRANSFORMER_TOP_LEVEL" not in mapping
    lora = (draft.checkout / f"{MODEL}/weights/nova_lora_mapping.py").read_text()
    assert '_target("transformer_blocks.{block}.attn.add_q_proj")' in lora
    assert '_target("single_transformer_blocks.{block}.attn.to_qkv_mlp_proj")' in lora
    assert "raise NotImplementedError(" in (draft.checkout / TRANSFORMER).read_text()
    keys = (draft.checkout / "porting/nova/checkpoint_keys.txt").read_text()
    assert "transformer_blocks.{0-4}.attn.to_q.weight" in keys
    for options in (["check"], ["format", "--check"]):
        done = subprocess.run(["ruff", *options, MODEL], cwd=draft.checkout, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.full
def test_porters_work_stays_and_the_draft_is_next_to_it(draft):
    work = draft.checkout / TRANSFORMER
    work.write_text(work.read_text() + "# mine\n")
    facts = said(draft("--json"))
    beside = TRANSFORMER.replace(".py", "_drafted.py")
    assert facts["beside"] == {TRANSFORMER: beside} and work.read_text().endswith("# mine\n")
    assert "class NovaTransformer(" in (draft.checkout / beside).read_text()
    assert "which you edited" in draft().stdout
    # A later draft may replace what a draft wrote, unless it was edited since.
    mapping = draft.checkout / MAPPING
    assert MAPPING in said(draft("--json"))["written"]
    mapping.write_text(mapping.read_text().replace("max_blocks=20", "max_blocks=19"))
    assert MAPPING in said(draft("--json"))["beside"]


@pytest.mark.full
def test_undecided_parts_are_listed(draft):
    facts = said(draft("--component", "vae", "--json"))
    names = [entry["name"] for entry in facts["components"][0]["unresolved"]]
    assert "decoder.conv_in.weight" not in names and "bn.num_batches_tracked" not in names
    assert "decoder.mid_block.resnets.0.conv1.weight" in names
    listed = yaml.safe_load((draft.checkout / "porting/nova/unresolved.yml").read_text())
    assert [entry["name"] for entry in listed] == names and all(entry["candidates"] for entry in listed)
    assert "decoder.mid_block.resnets.0.conv1.weight" not in (draft.checkout / MAPPING).read_text()


@pytest.mark.full
def test_component_replaces_only_its_own_facts(draft, tmp_path):
    keys, listed = (draft.checkout / f"porting/nova/{name}" for name in ("checkpoint_keys.txt", "unresolved.yml"))
    said(draft("--component", "vae", "--json"))
    whole, undecided = keys.read_text(), listed.read_text()
    path = write_header(tmp_path / "nova.safetensors", {"a.weight": (64, 16), "a_embed.weight": (8, 8)})
    facts = said(draft("--component", "transformer", "--json", checkpoint=path))
    assert facts["key_list"] == [
        "checkpoint_keys.txt: transformer of flux2_klein-full replaced by nova.safetensors",
        "checkpoint_keys.txt: text_encoder, vae of flux2_klein-full kept, nova.safetensors has none",
    ]
    assert keys.read_text().partition("[vae]")[2] == whole.partition("[vae]")[2]
    assert (
        "BF16 64x16 a.weight" in keys.read_text()
        and "attn.to_q" not in keys.read_text().partition("[vae]")[0].partition("[transformer]")[2]
    )
    entries = yaml.safe_load(listed.read_text())
    assert [one for one in entries if one["component"] == "vae"] == yaml.safe_load(undecided)
    assert [one["name"] for one in entries if one["component"] == "transformer"] == ["a_embed"]
    # A decision removes the entry from the list, but only for its component.
    write_header(path, {"a.weight": (64, 16)})
    said(draft("--component", "transformer", "--json", checkpoint=path))
    assert yaml.safe_load(listed.read_text()) == yaml.safe_load(undecided)
    listed.write_text("- 3\n")
    done = draft("--component", "vae")
    assert done.returncode == 2 and "must be a list of entries" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.full
def test_one_file_is_enough_for_a_component(draft, tmp_path):
    tensors = {
        "x_embedder.weight": (64, 16),
        "blocks.0.attn.qkv.weight": (192, 64),
        "blocks.1.attn.qkv.weight": (192, 64),
    }
    path = write_header(tmp_path / "nova.safetensors", tensors)
    (part,) = said(draft("--json", "--component", "transformer", checkpoint=path))["components"]
    assert part["from"] == "the header alone" and part["targets"] == 2


@pytest.mark.full
def test_input_that_is_wrong(draft, references, tmp_path):
    broken = draft.checkout / MAPPING
    checks = [
        (("--component", "unet"), {}, "unet is not a component of this port"),
        ((), {"checkpoint": tmp_path / "none"}, "does not exist"),
    ]
    for options, keywords, expected in checks:
        done = draft(*options, **keywords)
        assert done.returncode == 2 and expected in done.stderr and len(done.stderr.splitlines()) == 1
    before = files_of(draft.checkout)
    for text, expected in (("class Other:\n    pass\n", "has no class NovaWeightMapping"), ("def (", "is not Python")):
        broken.write_text(text)
        done = draft()
        assert done.returncode == 2 and expected in done.stderr and len(done.stderr.splitlines()) == 1
    broken.unlink()
    assert "is missing" in draft().stderr
    broken.write_bytes(before[str(broken)])
    assert files_of(draft.checkout) == before


HOSTILE = {
    "a tensor above others": {"a": (2,), "a.weight": (2, 2)},
    "a tensor below another": {"a.weight": (2, 2), "a.weight.b": (2,)},
    "a number too large": {"blocks.4000000000.weight": (2, 2), "blocks.0.weight": (2, 2)},
    "a tree too deep": {".".join(["a"] * 5000): (2,)},
}


@pytest.mark.full
@pytest.mark.parametrize("names", HOSTILE)
def test_names_that_form_no_tree_are_refused(draft, tmp_path, names):
    done = draft("--component", "transformer", checkpoint=write_header(tmp_path / "nova.safetensors", HOSTILE[names]))
    assert (
        done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "is this a model's checkpoint?" in done.stderr
    )


def test_names_cannot_inject_code(draft, tmp_path):
    names = [
        'x"]; import os #.weight',
        "class.weight",
        "1x.2-1.weight",
        "in.from.weight",
        "blocks.0.lambda.q.weight",
        "é.weight",
    ]
    folder = tmp_path / "transformer"
    write_header(folder / "model.safetensors", {name: (4, 4) for name in names})
    config = {"_class_name": "X\nimport os", "lambda": 3, "self": 4, "dim": 4}
    (folder / "config.json").write_text(json.dumps(config))
    said(draft("--json", "--component", "transformer", checkpoint=folder))
    for path in (draft.checkout / MODEL).rglob("*.py"):
        source = path.read_text()
        compile(source, str(path), "exec")
        assert "\nimport os" not in source
