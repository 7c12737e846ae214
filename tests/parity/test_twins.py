"""Tiny twins of references with pitfalls in their configs: each is built from config files alone and runs."""

from __future__ import annotations

import importlib
import json
import shutil
import struct
from pathlib import Path

import pytest
from parity.record import components, shrink, stored_names
from parity.record.recording import Recording
from parity.record.toy_tokenizer import IDS

from tests.parity.families import PORTING, write_scripts
from tests.parity.healthy.families import FAMILIES as FAMILIES_HEALTHY
from tests.parity.healthy.references import REFERENCES
from tests.parity.other_references import OTHERS
from tests.parity.references import FAMILIES, QWEN3_4B

VISION = {  # an image encoder next to the text encoder, and token ids that the toy vocabulary does not have
    "model_type": "qwen3_vl", "image_token_id": 151655, "vision_start_token_id": 151652, "vision_end_token_id": 151653,
    "text_config": {**QWEN3_4B, "hidden_size": 4096, "intermediate_size": 12288}, "vision_config": {
        "model_type": "qwen3_vl", "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16,
        "out_hidden_size": 4096, "deepstack_visual_indexes": [5, 11, 17],
    },
}  # fmt: skip
RUN = ("--steps", "1", "--size", "64", "--no-calibration")


def test_image_encoder_uses_the_text_encoders_width():
    made = shrink.shrink_all({"text_encoder": VISION})["text_encoder"]
    assert made["vision_config"]["out_hidden_size"] == made["text_config"]["hidden_size"] < 256
    assert VISION["vision_config"]["out_hidden_size"] == 4096


def test_layers_that_do_more_than_others_are_in_the_twin():
    """FIBO 2 passes the text to five of 44 layers, Qwen's image encoder looks at the whole picture in four of 32."""
    real = {"num_layers": 44, "injection_layer_ids": [6, 14, 22, 30, 38], "axes_lens": [8, 16, 24], "block_ids": [1, 2]}
    made = shrink.shrink_all({"transformer": real})["transformer"]
    assert made == {**real, "num_layers": 7, "injection_layer_ids": [1, 2, 3, 4, 5]}
    vision = shrink.shrink_all({"text_encoder": {"depth": 32, "fullatt_block_indexes": [7, 15, 23, 31]}})[
        "text_encoder"
    ]
    assert vision == {"depth": 5, "fullatt_block_indexes": [1, 2, 3, 4]}
    assert shrink.shrink_all({"text_encoder": VISION})["text_encoder"]["vision_config"]["deepstack_visual_indexes"] == [
        1,
        2,
        3,
    ]


def test_token_ids_are_in_the_toy_vocabulary():
    made = shrink.shrink_all({"text_encoder": VISION})["text_encoder"]
    shrink.follow_tokens(made, IDS)
    assert made["image_token_id"] == IDS["<|image_pad|>"]
    assert made["vision_start_token_id"] == IDS["<|vision_start|>"]
    assert made["text_config"]["eos_token_id"] == IDS["</s>"]
    low = {"eos_token_id": 2, "pad_token_id": 0}  # with an id of 2, CLIP finds the end in another way
    shrink.follow_tokens(low, IDS)
    assert low == {"eos_token_id": 2, "pad_token_id": 0}


@pytest.mark.parametrize("channels", [72, 80, 88, 96])
def test_no_width_equals_that_of_the_latents(channels):
    transformer = {"num_attention_heads": 24, "attention_head_dim": 128, "in_channels": channels, "caption_dim": 2560}
    made = shrink.shrink_all(
        {"transformer": transformer, "text_encoder": QWEN3_4B, "text_encoder_2": {**QWEN3_4B, "hidden_size": 2048}}
    )
    assert made["transformer"]["in_channels"] == channels
    widths = {made[name]["hidden_size"] for name in ("text_encoder", "text_encoder_2")}
    assert channels not in widths and made["transformer"]["caption_dim"] == made["text_encoder"]["hidden_size"]


def test_channels_do_not_follow_an_encoder_of_the_same_width():
    encoder = {**QWEN3_4B, "hidden_size": 72, "num_attention_heads": 4, "head_dim": 16}
    made = shrink.shrink_all(
        {
            "transformer": {"num_attention_heads": 24, "attention_head_dim": 128, "in_channels": 72},
            "text_encoder": encoder,
        }
    )
    assert made["transformer"]["in_channels"] == 72 != made["text_encoder"]["hidden_size"]


@pytest.mark.parametrize("width", [16, 64, 128])
def test_channels_do_not_follow_a_width_that_they_equal_by_chance(width):
    transformer = {"num_attention_heads": width // 8, "attention_head_dim": 8, "in_channels": width, "mlp_dim": width}
    made = shrink.shrink_all({"transformer": {**transformer, "axes_dims_rope": [2, 2, 4]}})["transformer"]
    assert made["in_channels"] == width


def test_width_of_many_joined_hidden_states_follows_the_encoder():
    transformer = {"num_attention_heads": 18, "attention_head_dim": 256, "features_dim": 13 * 4096, "heads": 3}
    made = shrink.shrink_all({"transformer": transformer, "text_encoder": VISION})
    assert made["transformer"]["features_dim"] == 13 * made["text_encoder"]["text_config"]["hidden_size"]


def test_block_heads_divide_the_encoders_width():
    transformer = {
        "num_attention_heads": 48,
        "attention_head_dim": 128,
        "text_hidden_dim": 2560,
        "text_num_attention_heads": 20,
    }
    made = shrink.shrink_all({"transformer": transformer, "text_encoder": QWEN3_4B})["transformer"]
    assert made["text_hidden_dim"] % made["text_num_attention_heads"] == 0


def test_layers_that_a_pipeline_reads_by_number_are_kept_in_a_nested_config():
    config = {"text_config": {"num_hidden_layers": 4, "layer_types": ["full", "window", "full", "window"]}}
    shrink.keep_layers(config, 6)
    assert config["text_config"]["num_hidden_layers"] == len(config["text_config"]["layer_types"]) == 6


SMALL = {**QWEN3_4B, "hidden_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
         "intermediate_size": 96, "vocab_size": 100, "num_hidden_layers": 2}  # fmt: skip


@pytest.mark.parametrize(
    "transformer", [{"dim": 64, "n_heads": 2}, {"dim": 3840, "n_heads": 30}, {"hidden_size": 96, "n_heads": 4}]
)
def test_small_network_keeps_its_sizes(transformer):
    real = {"transformer": {**transformer, "cap_feat_dim": 48}, "text_encoder": SMALL}
    made = shrink.shrink_all(real)
    text = made["text_encoder"]
    assert text["hidden_size"] == made["transformer"]["cap_feat_dim"] == 48 and text["num_attention_heads"] == 4
    assert text["vocab_size"] >= 306, "the toy vocabulary must fit"
    width = made["transformer"].get("dim", made["transformer"].get("hidden_size"))
    assert width == min(96, transformer.get("dim", 96)) and shrink.keeps_width(real["text_encoder"], text)


def test_padded_encoder_is_as_wide_as_its_vectors():
    real = {
        name: OTHERS["stable_diffusion_3"][name][2] for name in ("text_encoder", "text_encoder_2", "text_encoder_3")
    }
    kept = {"text_encoder": ("hidden_size", "num_attention_heads")}
    made = shrink.shrink_all(real, kept)
    widths = [made[name].get("hidden_size", made[name].get("d_model")) for name in real]
    assert widths[0] == 768 and widths[2] >= sum(widths[:2]) and len(set(widths)) == 3


@pytest.mark.parametrize(
    ("kind", "sections"), [("qwen2_5_vl_text", 16), ("qwen2_vl", 16), ("qwen3", 0), ("qwen2_5_vl_text given", 16)]
)
def test_hard_coded_rotary_sections_fit_the_twins_head(kind, sections):
    config = {
        "model_type": kind.split()[0],
        "hidden_size": 3584,
        "num_attention_heads": 28,
        "rope_parameters": {"rope_theta": 1e6},
    }
    if "given" in kind:
        config["rope_parameters"]["mrope_section"] = [8, 28, 28]
    made = shrink.shrink_all({"text_encoder": config})["text_encoder"]
    rope = made["rope_parameters"]
    assert sum(rope.get("mrope_section", [])) == sections and rope["rope_theta"] == 1e6
    assert not sections or sections == made["hidden_size"] // made["num_attention_heads"] // 2


def test_networks_of_one_config_stay_the_same_size():
    parts = {name: REFERENCES["ideogram4"][name][2] for name in ("transformer", "unconditional_transformer")}
    made = shrink.shrink_all({**parts, "text_encoder": VISION})
    assert made["transformer"] == made["unconditional_transformer"]
    assert 2 * sum(made["transformer"]["mrope_section"]) == made["transformer"]["attention_head_dim"]


def test_hard_coded_layers_of_a_pipeline_are_counted(tmp_path, monkeypatch):
    source = """
class Pipeline:
    def __init__(self, select_layers=None):
        if select_layers is None:
            select_layers = (2, 8, 35)
        eos_token_id = 128000

    def __call__(self, number_of_layers=None):
        pass
"""
    (tmp_path / "some_pipeline.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("some_pipeline")
    assert shrink.hidden_layers_read(module.Pipeline) == 37
    assert shrink.token_ids_read(module.Pipeline) == 128000


def test_names_equal_those_of_the_references_files(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir(), target.mkdir()
    table = {f"model.layers.{n}.q.weight": "a.safetensors" for n in range(9)}
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    write(target / "model.safetensors", ["layers.0.q.weight", "layers.1.q.weight"])
    stored_names.write_stored_names(source, target, "Any")
    assert names(target / "model.safetensors") == {"model.layers.0.q.weight", "model.layers.1.q.weight"}
    before = (target / "model.safetensors").read_bytes()
    stored_names.write_stored_names(source, target, "Any")
    assert (target / "model.safetensors").read_bytes() == before
    stored_names.write_index(target)
    index = json.loads((target / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == names(target / "model.safetensors")


def test_names_with_different_prefixes_equal_those_of_the_files(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir(), target.mkdir()
    layers = [f"layers.{n}.norm.weight" for n in range(3)]
    stored = [f"model.language_model.{name}" for name in ("norm.weight", "embed_tokens.weight", *layers)]
    stored += ["model.visual.blocks.0.norm.weight", "lm_head.weight"]
    write(source / "model.safetensors", stored)
    short = [
        name.replace("language_model.", "").replace("model.visual", "visual")
        for name in stored
        if "layers.2" not in name
    ]
    write(target / "model.safetensors", short)
    stored_names.write_stored_names(source, target, "Any")
    assert names(target / "model.safetensors") == {name for name in stored if "layers.2" not in name}


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        ([], "text_model.encoder.weight"),
        (["encoder.weight"], "encoder.weight"),
        (["text_model.encoder.weight"], "text_model.encoder.weight"),
    ],
)
def test_prefix_is_assumed_only_if_no_file_shows_the_names(tmp_path, stored, written):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir(), target.mkdir()
    if stored:
        write(source / "model.safetensors", stored)
    write(target / "model.safetensors", ["encoder.weight"])
    stored_names.write_stored_names(source, target, "CLIPTextModel")
    assert names(target / "model.safetensors") == {written}


def write(path: Path, keys: list[str]) -> None:
    head = {name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]} for n, name in enumerate(keys)}
    data = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data + bytes(4 * len(keys)))


def names(path: Path) -> set[str]:
    data = path.read_bytes()
    return set(json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]]))


@pytest.mark.parametrize(
    ("expected", "holds"),
    [
        ("", True),
        ("DiffusionPipeline", True),
        ("FluxPipeline", True),
        ("mine.FluxPipeline", True),
        ("Flux2Pipeline", False),
    ],
)
def test_names_of_pipelines_in_the_answers(expected, holds):
    assert components.same_pipeline(expected, "FluxPipeline") is holds


def test_pipeline_given_as_a_list(tmp_path, request):
    index = {
        "_class_name": ["pipeline_mine", "MinePipeline"],
        "vae": ["diffusers", "AutoencoderKL"],
        "none": [None, None],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert components.read_index(tmp_path) == ("MinePipeline", {"vae": ("diffusers", "AutoencoderKL")})
    (tmp_path / "pipeline_mine.py").write_text("class MinePipeline:\n    pass\n")
    with pytest.raises(components.ParityError, match="is the checkpoint's own code and was not run; read it, then add"):
        components.pipeline_class(tmp_path)
    request.addfinalizer(lambda: components.allow_custom_code(False))
    components.allow_custom_code(True)
    for expected in ("", "DiffusionPipeline", "MinePipeline", "pipeline_mine.MinePipeline"):
        assert components.pipeline_class(tmp_path, expected).__name__ == "MinePipeline"
    with pytest.raises(components.ParityError, match="is a MinePipeline, the port's reference_pipeline is Other"):
        components.pipeline_class(tmp_path, "Other")


@pytest.mark.full
def test_custom_pipeline_of_the_checkpoint_is_recorded(tmp_path, script):
    reference = {**FAMILIES["z_image"], "_class_name": ["pipeline_mine", "MinePipeline"]}
    home = write_scripts("z_image", reference, "Other", tmp_path)
    own = "from diffusers import ZImagePipeline\n\n\nclass MinePipeline(ZImagePipeline):\n    pass\n"
    (home / "reference/pipeline_mine.py").write_text(own)
    refused = script(home, "make_tiny_checkpoint.py", "--model", home / "reference")
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert "pipeline_mine.py is the checkpoint's own code and was not run" in refused.stderr
    assert not (home / "artifacts/tiny").exists()
    done = script(home, "make_tiny_checkpoint.py", "--model", home / "reference", "--custom-code")
    assert done.returncode == 0, done.stderr
    for expected in ("DiffusionPipeline", "pipeline_mine.MinePipeline", "MinePipeline"):
        answers = (home / "answers.yml").read_text().splitlines()
        kept = [line for line in answers if not line.startswith("reference_pipeline")]
        (home / "answers.yml").write_text("\n".join([*kept, f"reference_pipeline: {expected}"]))
        shutil.rmtree(home / "artifacts/recorded", ignore_errors=True)
        path = home / "artifacts/recorded.safetensors"
        done = script(
            home, "run_reference.py", "--model", home / "artifacts/tiny", *RUN, "--output", path, "--custom-code"
        )
        assert done.returncode == 0 and path.is_file(), done.stderr


@pytest.mark.full
@pytest.mark.parametrize("name", ["ideogram4", "krea2"])
def test_twin_that_needs_only_diffusers(tmp_path, script, name):
    """A guidance for each step, and two transformers whose results differ in shape; layers that are kept in float32."""
    home = write_scripts(name, REFERENCES[name], "Other", tmp_path)
    overrides = (
        [word for text in FAMILIES_HEALTHY[name].overrides for word in ("--override", text)]
        if name in FAMILIES_HEALTHY
        else []
    )
    done = script(home, "make_tiny_checkpoint.py", "--model", home / "reference", *overrides)
    assert done.returncode == 0, done.stderr
    flags = (*RUN, "--guidance", "3", "--call", "max_sequence_length=128")
    done = script(home, "run_reference.py", "--model", home / "artifacts/tiny", *flags)
    assert done.returncode == 0, done.stderr
    recorded = Recording(home / "artifacts/reference.safetensors")
    denoisers = [part for part in REFERENCES[name] if "transformer" in part]
    assert all(f"layout/{part}/out/0" in recorded for part in denoisers), denoisers


CUT = """
import json, pathlib, sys

sys.path.insert(0, sys.argv[1])
import transformers
from parity.record.toy_tokenizer import write_tokenizer

found = {}
around = [{"SpecialToken": {"id": "[gMASK]"}}, {"SpecialToken": {"id": "<sop>"}}, {"Sequence": {"id": "A"}}]
template = {"type": "TemplateProcessing", "single": around}
for name in sys.argv[2:]:
    kind, source = getattr(transformers, name), pathlib.Path(name)
    source.mkdir()
    settings = {"add_bos_token": True, "bos_token": {"content": "<bos>"}} if name == "GemmaTokenizerFast" else {}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    if name == "PreTrainedTokenizerFast":
        steps = {"post_processor": {"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]}}
        (source / "tokenizer.json").write_text(json.dumps(steps))
    target = pathlib.Path(f"{name}-toy")
    write_tokenizer(source, target, kind)
    readers = kind, transformers.AutoTokenizer
    found[name] = [[reader.from_pretrained(target)(text).input_ids for text in ("a fox", "")] for reader in readers]
print(json.dumps(found))
"""


@pytest.mark.full
def test_toy_tokenizer_splits_text_as_its_class_does(tmp_path, script):
    (tmp_path / "cut.py").write_text(CUT)
    kinds = (
        "Qwen2Tokenizer",
        "T5TokenizerFast",
        "CLIPTokenizer",
        "ByT5Tokenizer",
        "LlamaTokenizerFast",
        "PreTrainedTokenizerFast",
        "GemmaTokenizerFast",
    )
    done = script(tmp_path, "cut.py", PORTING, *kinds)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for kind, (own, other) in found.items():
        assert own == other, kind
    # T5 ends every text, CLIP also begins it; Qwen adds nothing. One's own file puts two tokens ahead, and the last
    # one's settings put one.
    lengths = [len(found[kind][0][1]) for kind in kinds]
    assert lengths == [0, 1, 2, 1, 0, 2, 1]
