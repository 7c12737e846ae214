"""The evidence of a box of PORTING.md: it names the setting that was run, and nothing more."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from mflux_port.checks.engine import evidence

STAGES = evidence.STAGES
BEFORE = (
    "# Notes\n" + "".join(f"- [ ] {s} (`x`) <!-- evidence: {s} -->\n" for s in (*STAGES, "bfloat16")) + "- [ ] Mine\n"
)


@dataclass
class Result:
    stage: str
    status: str = "pass"
    relative: float = 1e-6
    limit: float = 1e-4


@dataclass
class Settings:
    """``guidance`` and whether the port guides, as in the answers."""

    guidance: float
    supports_guidance: bool = True
    text_encoders: tuple = ()


class Notes:
    """A PORTING.md, written by the harness and read by the checks."""

    def __init__(self, path: Path, guidance: float = 4.0):
        self.path, self.port = path, Settings(guidance)
        path.write_text(BEFORE)

    def run(self, *results: Result, size: str = "512x512", dtype="float32", commit="abc1234", **setting) -> list[str]:
        from parity.explain.boxes import Setting, tick

        width, height = map(int, size.split("x"))
        setting = {"steps": 4, "guidance": 4.0} | setting
        return tick(self.path, results, Setting(dtype, width, height, **setting), commit)

    def box(self, stage: str) -> evidence.Box:
        return evidence.stages(self)[stage]

    @property
    def facts(self) -> Notes:
        return self

    model = "nova"

    def text(self, _) -> str:
        return self.path.read_text()


@pytest.fixture
def notes(tmp_path) -> Notes:
    return Notes(tmp_path / "PORTING.md")


def test_port_without_guidance_needs_no_proof_of_it(notes):
    assert "guidance" in evidence.wanted(notes)
    notes.port = Settings(1.0, False)
    assert evidence.wanted(notes) == [stage for stage in STAGES if stage != "guidance"]


def test_guidance_that_ran_is_in_the_evidence(tmp_path):
    from parity.explain.boxes import setting_of

    facts = {"model": str(tmp_path), "width": 64, "height": 96, "steps": 2, "guidance": 3.5}
    assert str(setting_of(facts, "float32")) == "float32, 64x96, 2 steps, guidance 3.5"
    (tmp_path / "sizes.json").write_text("{}")
    facts["applied"] = {"value": None}
    assert str(setting_of(facts, "float32")) == "float32, 64x96, 2 steps, guidance 0, tiny twin"


def whole(status: str = "pass", **one: str) -> list[Result]:
    return [Result(stage, one.get(stage, status)) for stage in STAGES]


def test_figures_include_the_whole_setting(notes):
    notes.run(Result("loop"), steps=1, twin=True, commit="abc1234+")
    figures = notes.box("loop").figures
    assert figures.startswith("relL2 1.0e-06 of 1.0e-04, float32, 512x512, 1 step, guidance 4, tiny twin, 2")
    assert figures.endswith(", commit abc1234+") and notes.box("loop").commit == "abc1234+"
    assert notes.box("loop").proven and not notes.box("vae_decode").ticked
    assert notes.path.read_text().endswith("- [ ] Mine\n")


def test_boxes_of_other_stages_stay_as_they_are(notes):
    notes.run(Result("loop"))
    before = notes.path.read_text()
    notes.run(Result("loop", "not run"), Result("vae_decode", "not ported"))
    assert notes.path.read_text() == before


def test_failure_removes_the_tick_and_names_what_failed(notes):
    notes.run(Result("loop"))
    notes.run(Result("loop", "FAIL", 3e-2))
    box = notes.box("loop")
    assert not box.ticked and box.problem.startswith(
        "failed (relL2 3.0e-02 of 1.0e-04, float32, 512x512, 4 steps, guid"
    )


@pytest.mark.parametrize(
    "lesser", [{"guidance": 0.0}, {"size": "64x64"}, {"steps": 2}, {"twin": True}, {"guidance": 9.0}]
)
def test_smaller_run_does_not_hide_a_failure(notes, lesser):
    notes.run(Result("loop", "FAIL", 3e-2))
    before = notes.path.read_text()
    [line] = notes.run(Result("loop"), **lesser)
    assert notes.path.read_text() == before
    assert "loop stays open" in line and "--size 512x512 --steps 4 --guidance 4" in line
    assert notes.run(Result("loop"), size="512x768", steps=8) == []
    assert notes.box("loop").proven


def test_smaller_run_of_the_same_commit_does_not_replace_better_proof(notes):
    notes.run(Result("loop"))
    notes.run(Result("loop"), size="64x64")
    assert notes.box("loop").proven
    notes.run(Result("loop"), size="64x64", commit="def5678")  # other code: the old figures no longer prove anything
    assert notes.box("loop").problem == "was run at 64x64; only 512x512 or larger counts"


def test_box_that_does_not_count_has_a_reason_and_a_command(notes):
    judge = "uv run python porting/nova/run_mflux.py --stage loop"
    assert (notes.box("loop").problem, notes.box("loop").commands("nova")) == ("is open", judge)
    notes.run(Result("loop"), size="64x96", twin=True, guidance=1.0)
    assert notes.box("loop").problem == "was run at 64x96; only 512x512 or larger counts"
    reference = "uv run porting/nova/run_reference.py --model porting/nova/artifacts/tiny --size 512 --guidance 4"
    assert notes.box("loop").commands("nova") == f"{reference} && {judge}"
    notes.run(Result("loop"), Result("vae_decode"), guidance=1.0)
    assert notes.box("loop").problem == "was run with guidance 1; the port's is 4"
    assert notes.box("loop").commands("nova") == f"uv run porting/nova/run_reference.py --guidance 4 && {judge}"
    assert notes.box("vae_decode").proven  # a decoder does not depend on guidance


def test_guidance_of_a_port_without_guidance_does_not_matter(notes):
    notes.port = Settings(1.0, False)
    notes.run(*whole(), guidance=0.0)
    assert all(notes.box(stage).proven for stage in STAGES)


def test_figures_without_steps_and_guidance_must_be_measured_again(notes):
    old = "relL2 3.1e-06 of 1.0e-04, float32, 1024x1024, 2026-10-01, commit abc1234"
    notes.path.write_text(f"- [x] loop <!-- evidence: loop --> {old}\n")
    assert notes.box("loop").problem == "has figures without steps and guidance, as earlier versions wrote them"


def test_bfloat16_is_one_box_for_all_stages(notes):
    notes.run(Result("loop"), dtype="bfloat16")
    assert not notes.box("bfloat16").ticked and not notes.box("loop").ticked
    results = whole()
    results[2].relative, results[2].limit = 6e-3, 1e-2
    notes.run(*results, dtype="bfloat16")
    assert notes.box("bfloat16").figures.startswith("worst transformer relL2 6.0e-03 of 1.0e-02, bfloat16, 512x512")
    assert notes.box("bfloat16").proven and not notes.box("loop").ticked
    notes.run(Result("scheduler", "FAIL", 1.0), dtype="bfloat16")
    assert notes.box("bfloat16").problem.startswith("failed (worst scheduler relL2 1.0e+00")
    assert notes.box("bfloat16").commands("nova") == "uv run python porting/nova/run_mflux.py --dtype bfloat16"


def test_a_reference_without_an_encoder_does_not_keep_bfloat16_open(notes):
    notes.run(*whole(vae_encode="not ported"), dtype="bfloat16")
    assert notes.box("bfloat16").proven
    notes.run(*whole(transformer="not ported"), dtype="bfloat16", commit="def5678")
    assert notes.box("bfloat16").commit == "abc1234"


@pytest.mark.parametrize("level", ["modules", "blocks"])
def test_a_recording_of_modules_ticks_nothing(level):
    from parity.explain.boxes import why_not

    own = "mflux.models.nova.variants.txt2img.nova:Nova"
    assert why_not({"level": level}, "nova", own) == "a recording of modules or blocks ticks no box"
    assert why_not({"level": "stages"}, "nova", own) == ""
    assert "is not this port" in why_not({"level": "stages"}, "nova", "mflux.models.nova_edit.variants:Edit")


def git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(["git", "-C", root, *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    root = tmp_path / "checkout"
    for path in ("src/mflux/__init__.py", "porting/nova/answers.yml"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("")
    git(tmp_path, "init", "--quiet", root)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "start")
    return root


def commit_of(home: Path, source: Path) -> str:
    from tests.parity.families import PORTING

    code = f"from pathlib import Path; from parity.explain.boxes import source_commit; print(source_commit(Path({str(home)!r})))"
    path = os.pathsep.join([str(source), str(PORTING), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_commit_is_that_of_the_source_that_ran(checkout, tmp_path):
    home, head = checkout / "porting/nova", git(checkout, "rev-parse", "--short", "HEAD")
    assert commit_of(home, checkout / "src") == head
    (home / "PORTING.md").write_text("mine")  # what is not source changes nothing that was measured
    assert commit_of(home, checkout / "src") == head
    (checkout / "src/mflux/__init__.py").write_text("a = 1\n")
    assert commit_of(home, checkout / "src") == f"{head}+"
    git(checkout, "checkout", "--quiet", "src")
    (checkout / "src/mflux/new.py").write_text("")
    assert commit_of(home, checkout / "src") == f"{head}+"
    other = tmp_path / "other/mflux"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    assert commit_of(home, other.parent) == "unknown"
