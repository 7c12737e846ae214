"""Steps and guidance that a checkpoint states next to its weights, each with the place where it was read."""

from __future__ import annotations

import json

import pytest
import yaml
from mflux_port.checkpoint import pipeline_source
from mflux_port.checkpoint.answers_file import answers_yaml
from mflux_port.checkpoint.inference import infer
from mflux_port.checkpoint.layout import open_checkpoint

from tests.checkpoint.files import TRANSFORMER, write_header
from tests.parity.other_references import T5
from tests.parity.references import SCHEDULER

SIDE = [
    ("guider/guider_config.json", {"_class_name": "ClassifierFreeGuidance", "guidance_scale": 3.5}, "guidance", 3.5, "guidance_scale"),
    ("guider/guider_config.json", {"guidance_scale": 7.5, "enabled": False}, "guidance", 1.0, "enabled is false"),
    ("guider_config.json", {"guidance_scale": 2}, "guidance", 2.0, "guidance_scale"),
    ("generation_config.json", {"guidance_scale": 5.0}, "guidance", 5.0, "guidance_scale"),
    ("generation_config.json", {"diff_guidance_scale": 2.5}, "guidance", 2.5, "diff_guidance_scale"),
    ("transformer/generation_config.json", {"cfg_scale": 4}, "guidance", 4.0, "cfg_scale"),
    ("generation_config.json", {"num_inference_steps": 30}, "steps", 30, "num_inference_steps"),
    ("generation_config.json", {"diff_infer_steps": 50}, "steps", 50, "diff_infer_steps"),
    ("transformer/generation_config.json", {"steps": 8}, "steps", 8, "steps"),
]  # fmt: skip


def put(folder, name: str, content: dict) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


@pytest.fixture
def folder(diffusers_folder):
    write_header(diffusers_folder / "transformer/diffusion_pytorch_model.safetensors", TRANSFORMER)
    return diffusers_folder


@pytest.mark.parametrize(("file", "content", "question", "value", "words"), SIDE)
def test_side_file_gives_steps_and_guidance(folder, file, content, question, value, words):
    put(folder, file, content)
    answer = infer(open_checkpoint(str(folder)))[question]
    assert (answer.value, answer.known) == (value, True) and answer.why == f"{file}: {words}"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("text_encoder/generation_config.json", {"guidance_scale": 3.0, "num_inference_steps": 3}),
        ("generation_config.json", {"guidance_scale": None, "num_inference_steps": "many"}),
        ("guider/guider_config.json", {"guidance_scale": -1.0}),
        ("generation_config.json", {"num_inference_steps": True}),
    ],
)
def test_unrelated_values_are_ignored(folder, file, content):
    put(folder, file, content)
    answers = infer(open_checkpoint(str(folder)))
    assert not answers["guidance"].known and not answers["steps"].known


PIPELINE = """import this_module_does_not_exist


class NovaPipeline:
    def __call__(self, prompt, num_inference_steps{kind}=40, {scale}=4.5, negative_prompt=None):
        raise SystemExit("must not run")
"""


@pytest.mark.parametrize("scale", ["guidance_scale", "true_cfg_scale", "cfg_scale"])
@pytest.mark.parametrize("kind", ["", ": int"])
def test_custom_pipeline_code_gives_steps_and_guidance(folder, scale, kind):
    index = json.loads((folder / "model_index.json").read_text()) | {"_class_name": ["pipeline_nova", "NovaPipeline"]}
    put(folder, "model_index.json", index)
    (folder / "pipeline_nova.py").write_text(PIPELINE.format(kind=kind, scale=scale))
    answers = infer(open_checkpoint(str(folder)))
    assert (answers["steps"].value, answers["guidance"].value) == (40, 4.5)
    assert "default of NovaPipeline in pipeline_nova.py" in answers["steps"].why and answers["steps"].known
    assert not answers["reference_pipeline"].known and "own code" in answers["reference_pipeline"].why


@pytest.mark.parametrize("source", ["def (", "class Other: pass", "class NovaPipeline:\n    x = 1\n", "\x00"])
def test_unreadable_pipeline_code_is_ignored(folder, source):
    put(folder, "model_index.json", {"_class_name": ["nova", "NovaPipeline"], "transformer": ["diffusers", "T"]})
    (folder / "nova.py").write_text(source)
    assert not infer(open_checkpoint(str(folder)))["steps"].known


@pytest.mark.parametrize(("steps", "scale"), [(28, 3.5), (50, 4.0), (9, 0.0)])
def test_installed_pipeline_gives_steps_and_guidance(folder, tmp_path, monkeypatch, steps, scale):
    package = tmp_path / "site/diffusers/pipelines/nova"
    package.mkdir(parents=True)
    (tmp_path / "site/diffusers/__init__.py").write_text("raise SystemExit('must not be imported')\n")
    source = PIPELINE.format(kind="", scale="guidance_scale").replace("=40", f"={steps}").replace("=4.5", f"={scale}")
    (package / "pipeline_nova.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    pipeline_source.importlib.invalidate_caches()
    answers = infer(open_checkpoint(str(folder)))
    assert answers["steps"].why == "default of NovaPipeline in diffusers/pipelines/nova/pipeline_nova.py"
    assert (answers["steps"].value, answers["guidance"].value, answers["steps"].known) == (steps, scale, True)


def test_distilled_repo_does_not_inherit_its_pipelines_steps(folder):
    index = json.loads((folder / "model_index.json").read_text()) | {"_class_name": ["nova", "NovaPipeline"]}
    put(folder, "model_index.json", index)
    (folder / "nova.py").write_text(PIPELINE.format(kind="", scale="guidance_scale"))
    checkpoint = open_checkpoint(str(folder))
    checkpoint.repo = "acme/Nova-Turbo"
    answers = infer(checkpoint)
    assert not answers["steps"].known and answers["guidance"].value == 1.0 and not answers["guidance"].known


CALL = """class NovaPipeline:
    def encode(self, ids, mask):
        return self.text_encoder(ids, attention_mask=mask), self.text_encoder_2(ids)

    def __call__(self, prompt, sigmas=None, guidance_scale=3.5, {more}negative_prompt=None):
        {computed}
"""


@pytest.fixture
def with_call(folder):
    """``with_call(more, computed)``: the answers for this pipeline with two T5 encoders, the first with a mask."""

    def make(more: str = "", computed: str = "pass") -> dict:
        index = {"_class_name": ["nova", "NovaPipeline"], "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}
        index |= {name: ["transformers", "T5EncoderModel"] for name in ("text_encoder", "text_encoder_2")}
        put(folder, "model_index.json", index)
        put(folder, "scheduler/scheduler_config.json", {**SCHEDULER, "shift": 3.0})
        for name in ("text_encoder", "text_encoder_2"):
            put(folder, f"{name}/config.json", T5)
            write_header(folder / name / "model.safetensors", TRANSFORMER)
        (folder / "nova.py").write_text(CALL.format(more=more, computed=computed))
        return infer(open_checkpoint(str(folder)))

    return make


def test_encoder_with_a_mask_is_not_reused_as_one_without(with_call):
    answers = with_call()
    assert answers["text_encoder"].value == "own" and "gives it a mask" in answers["text_encoder"].why
    assert answers["text_encoders"].value[1]["kind"] == "t5"


@pytest.mark.parametrize(("computed", "scheduler"), [("pass", "own"), ("sigmas = [1.0]", "linear")])
def test_sigmas_from_the_scheduler_need_an_own_scheduler(with_call, computed, scheduler):
    assert with_call(computed=computed)["scheduler"].value == scheduler


@pytest.mark.parametrize(
    ("more", "takes"), [("", True), ("true_cfg_scale=4.0, ", True), ("true_cfg_scale=1.0, ", False)]
)
def test_disabled_second_scale_needs_no_negative_prompt(with_call, more, takes):
    assert ("negative_prompt" not in with_call(more)) == takes


@pytest.mark.parametrize(
    ("pipeline", "arguments", "model"),
    [
        ("NovaImageEditPipeline", "image=None", "nova_image"),
        ("NovaEditPlusPipeline", "image", "nova"),
        ("NovaKontextPipeline", "image=None, height=None", "nova"),
        ("NovaPipeline", "image=None", ""),  # it also generates from text, so the porter decides whether the port edits
        ("NovaEditInpaintPipeline", "image=None, mask_image=None, strength=0.6", ""),
        ("NovaEditPipeline", "height=None", ""),
    ],
)
def test_editing_pipeline_gives_an_edit_variant(folder, pipeline, arguments, model):
    put(folder, "model_index.json", {"_class_name": ["nova", pipeline], "transformer": ["diffusers", "T"]})
    (folder / "nova.py").write_text(f"class {pipeline}:\n    def __call__(self, prompt, {arguments}):\n        pass\n")
    checkpoint = open_checkpoint(str(folder))
    checkpoint.repo = "acme/Nova-Edit"
    answers = infer(checkpoint)
    entry = answers["checkpoints"].value[0]
    assert ("variants" in answers, entry.get("variant")) == ((True, "edit") if model else (False, None))
    assert yaml.safe_load(answers_yaml(answers, "x")) == {name: answer.value for name, answer in answers.items()}
    if model:
        assert answers["model"].value == model and answers["variants"].value == ["txt2img", "edit"]
