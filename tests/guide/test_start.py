"""``mflux-port start``: the commands in order, up to the first thing that needs a person."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mflux_port.errors import PortError
from mflux_port.guide.answers import ANSWERS_FILE, note_copy, set_answers, verify_same_checkpoint
from mflux_port.guide.request import Request
from mflux_port.guide.start import Journey, inspect_command, needs_no_person, planned, question
from mflux_port.template import project

from tests.conftest import PROJECT

LOOK_UP = """# the pipeline's name
model: z_image

# the repo's name
display_name: Vega 2

# LOOK UP - hf_repo is not in the checkpoint; Copier will ask for it

# LOOK UP - not in the checkpoint: take it from the model card
steps: 20
"""


def request(root: Path, **given) -> Request:
    (root / "src/mflux/models/z_image").mkdir(parents=True, exist_ok=True)
    return Request(root, "../vega", **given)


@pytest.fixture
def answers(tmp_path) -> Path:
    path = tmp_path / ANSWERS_FILE
    path.write_text(LOOK_UP)
    return path


def test_taken_name_asks_for_another_one(tmp_path, answers):
    action = question(request(tmp_path), answers)
    assert action.command == "mflux-port start ../vega --model vega_2"
    assert "mflux has z_image already" in action.reason and not action.edit


def test_each_answer_leads_to_the_next_missing_one(tmp_path, answers):
    set_answers(answers, {"model": "vega_2"})
    action = question(request(tmp_path, model="vega_2"), answers)
    assert action.command == "mflux-port start ../vega --model vega_2 --repo ORG/NAME"
    set_answers(answers, {"model": "vega_2", "hf_repo": "acme/Vega"})
    action = question(request(tmp_path, model="vega_2", repo="acme/Vega"), answers)
    assert action.edit == ANSWERS_FILE and "1 to look up, first: not in the checkpoint" in action.reason
    answers.write_text(answers.read_text().replace("# LOOK UP - not in", "# not in"))
    assert question(request(tmp_path, model="vega_2", repo="acme/Vega"), answers) is None
    assert "\nhf_repo: acme/Vega\n" in answers.read_text() and "\nmodel: vega_2\n" in answers.read_text()


@pytest.mark.parametrize(
    ("command", "alone"),
    [
        ("uv run porting/vega/run_reference.py --size 512", True),
        ("uv run --with /template mflux-port ledger vega", True),
        ("uv run --with <template> mflux-port ledger vega", False),
        ("uv run python -m pytest tests -k vega -m fast", False),
        ("git add --all && git commit --message 'VAE done'", False),
        ("mflux-port finish vega", False),
    ],
)
def test_actions_that_need_no_person(command, alone):
    assert needs_no_person(command) == alone


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        ({"url": "https://example.org/t.git", "vcs_info": {"vcs": "git"}}, "git+https://example.org/t.git"),
        ({"url": f"file://{PROJECT}", "dir_info": {}}, str(PROJECT)),
        ({"url": "file:///gone", "dir_info": {}}, str(PROJECT)),
        ({"url": "file:///dist/a.whl", "archive_info": {}}, str(PROJECT)),
        ({}, str(PROJECT)),
    ],
)
def test_port_uses_the_template_that_the_program_came_from(monkeypatch, origin, source):
    monkeypatch.setattr(project, "_installed_from", lambda: origin)
    assert project.template_source() == source


@pytest.mark.parametrize(
    ("option", "typed"),
    [("guidance", "low"), ("steps", "2.5"), ("model", "Bad Name"), ("model", "mflux"), ("repo", "a")],
)
def test_invalid_option_is_refused_first(tmp_path, option, typed):
    runner = Refusing(2)
    with pytest.raises(PortError, match=f"the command line: .*{typed}"):
        Journey(request(tmp_path, **{option: typed}), runner, lambda line: None).go()
    assert not runner.ran


def test_numeric_options_become_numbers(tmp_path):
    assert request(tmp_path, guidance="4.5", steps="30").answers() == {
        "steps": 30, "guidance": 4.5, "supports_guidance": True}  # fmt: skip


def test_typed_values_replace_inferred_ones_everywhere(tmp_path):
    path = tmp_path / ANSWERS_FILE
    path.write_text("steps: 50\nsupports_guidance: true\ncheckpoints:\n- key: vega\n  steps: 50\n  sigma_steps: 50\n")
    set_answers(path, {"steps": "2"})
    assert path.read_text().count("steps: 2\n") == 2 and "sigma_steps: 50" in path.read_text()


def test_typed_values_are_added_to_the_answers_file(answers):
    set_answers(answers, {"guidance": 4.5, "supports_guidance": True})
    assert answers.read_text().endswith("steps: 20\n\nguidance: 4.5\n\nsupports_guidance: true\n")


def test_command_to_continue_repeats_the_options(tmp_path):
    typed = Request(tmp_path, "../vega", "vega", python=".venv/bin/python", checkout="mflux", steps="4")
    assert typed.again(repo="acme/Vega") == (
        "mflux-port start vega --repo acme/Vega --steps 4 --python .venv/bin/python --checkout mflux")  # fmt: skip


def test_repo_given_later_is_used_like_one_given_first(mflux_port, pristine, tmp_path):
    root = shutil.copytree(pristine(), tmp_path / "mflux")
    file = root / ANSWERS_FILE
    write_checkpoint(tmp_path / "vega")
    start = ["start", "../vega", "--model", "vega", "--python", sys.executable]
    assert "the Hugging Face repo of this folder is not known" in mflux_port(*start, cwd=root).stdout
    assert "to look up" in mflux_port(*start, "--repo", "acme/Vega", cwd=root).stdout
    later = file.read_text()
    file.unlink()
    said = json.loads(mflux_port(*start, "--repo", "acme/Vega", "--json", cwd=root).stdout)
    assert [step["step"] for step in said["steps"]] == ["inspect"] and said["next"]["edit"] == ANSWERS_FILE
    assert "num_layers: 4" in later and later == file.read_text()


def write_checkpoint(folder: Path) -> None:
    (folder / "transformer").mkdir(parents=True)
    parts = {"_class_name": "VegaPipeline", "transformer": ["diffusers", "VegaTransformer2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(parts))
    (folder / "transformer/config.json").write_text('{"_class_name": "VegaTransformer2DModel", "num_layers": 4}')
    header = json.dumps({"proj.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(4)
    (folder / "transformer/diffusion_pytorch_model.safetensors").write_bytes(weights)


@pytest.mark.parametrize(
    ("python", "tool"), [("", "uv run --with diffusers --with /t mflux-port"), ("p", "mflux-port")]
)
def test_pipeline_defaults_are_read_with_any_python(tmp_path, python, tool):
    command = inspect_command(request(tmp_path, template="/t", repo="acme/Vega"), python)
    assert command == f"{tool} inspect ../vega --repo acme/Vega -o {ANSWERS_FILE}"


@dataclass
class Refusing:
    """A runner whose commands end with ``code``."""

    code: int
    ran: list[str] = field(default_factory=list)
    python: str = ""

    def run(self, command: str) -> subprocess.CompletedProcess:
        self.ran.append(command)
        return subprocess.CompletedProcess(command, self.code, "", "mflux-port: ../vega is not there; name another\n")


def test_refused_command_stops_with_the_command_to_continue(tmp_path):
    runner = Refusing(2)
    with pytest.raises(
        PortError, match="inspect stopped: ../vega is not there; name another; then continue with: mflux-port"
    ):
        Journey(Request(tmp_path, "acme/Vega"), runner, lambda line: None).go()
    assert len(runner.ran) == 1


def test_a_copy_that_fails_keeps_the_answers(tmp_path, answers):
    set_answers(answers, {"model": "vega_2"})
    with pytest.raises(PortError, match="copy stopped: .*; then continue with: mflux-port start"):
        Journey(request(tmp_path), Refusing(1), lambda line: None).copy()
    assert "model: vega_2" in answers.read_text() and "has begun" not in answers.read_text()


def test_a_copy_that_was_killed_is_completed(tmp_path, answers):
    (tmp_path / "src/mflux/models/z_image").mkdir(parents=True)  # what the copy wrote
    for text in ("# LOOK UP - hf_repo is not in the checkpoint; Copier will ask for it", "# LOOK UP - not in"):
        answers.write_text(answers.read_text().replace(text, "hf_repo: acme/Vega" if "hf" in text else "# not in"))
    note_copy(answers, True)
    runner = Refusing(2)
    with pytest.raises(PortError, match="copy stopped"):
        Journey(Request(tmp_path, "acme/Vega"), runner, lambda line: None).go()
    assert [command.split()[1:5] for command in runner.ran] == [["copy", "--trust", "--defaults", "--overwrite"]]


def test_a_copy_that_was_killed_overwrites_no_other_port(tmp_path, answers):
    note_copy(answers, True)
    runner = Refusing(0)
    with pytest.raises(PortError, match="copy of z_image was interrupted; complete it first with: .* --model z_image"):
        Journey(Request(tmp_path, "acme/Vega", model="vega_2"), runner, lambda line: None).go()
    assert not runner.ran and "model: z_image" in answers.read_text()


@pytest.mark.parametrize(("content", "wrong"), [(b"- steps", "not a mapping of answers"), (b"\xff\xfe", "not UTF-8")])
def test_file_without_answers_is_named(tmp_path, answers, content, wrong):
    answers.write_bytes(content)
    with pytest.raises(PortError, match=f"{ANSWERS_FILE} is {wrong}"):
        Journey(request(tmp_path), Refusing(0), lambda line: None).go()


def test_answers_for_another_checkpoint_are_not_used(answers):
    verify_same_checkpoint(answers, "acme/Vega")
    verify_same_checkpoint(answers, "acme/Vega")
    with pytest.raises(PortError, match="is for acme/Vega; delete it to start with acme/Lyra"):
        verify_same_checkpoint(answers, "acme/Lyra")


@pytest.mark.parametrize("kind", ["gone", "empty", "without an index"])
def test_a_folder_that_cannot_be_ported_is_refused_before_anything_is_written(tmp_path, kind):
    place = tmp_path / "vega"
    if kind == "empty":
        place.mkdir()
    elif kind == "without an index":
        write_checkpoint(place)
        (place / "model_index.json").unlink()
    (tmp_path / "mflux").mkdir()
    wanted = Request(tmp_path / "mflux", str(place), model="vega")
    for act in (lambda: planned(wanted, ""), lambda: Journey(wanted, Refusing(0), lambda line: None).go()):
        with pytest.raises(PortError, match="vega (does not exist|holds no safetensors|has no model_index.json)"):
            act()
    assert not list((tmp_path / "mflux").iterdir())


def test_paths_with_spaces_are_quoted(tmp_path):
    plan = planned(Request(tmp_path, "acme/Vega", model="vega", template="/my template"), "")
    assert "--with '/my template' mflux-port" in plan[3]["command"]


def test_dry_run_writes_nothing(mflux_port, pristine, tmp_path):
    root = shutil.copytree(pristine(), tmp_path / "mflux")
    done = mflux_port("start", "acme/Vega", "--model", "vega", "--dry-run", "--json", cwd=root)
    assert done.returncode == 0, done.stderr
    steps = [step["step"] for step in json.loads(done.stdout)["planned"]]
    assert steps == ["inspect", "copy", "twin", "draft", "ledger", "reference", "compare"]
    left = subprocess.run(["git", "-C", str(root), "status", "--porcelain"], capture_output=True, text=True).stdout
    assert left == "" and not (root / ANSWERS_FILE).exists()
