"""Z-Image, FLUX.2 Klein and ERNIE-Image as mflux has them, against diffusers: every parameter is paired and every stage
passes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mflux_port.checkpoint.headers import read_header

from tests.parity.families import PORTS

pytestmark = pytest.mark.full
STAGE = re.compile(r"^(\w+) +(\w+) +relL2 (\S+)  limit (\S+)", re.MULTILINE)
MINUTE = 60
STAGES = [
    "vae_decode", "vae_encode", "transformer", "guidance", "scheduler", "loop", "text_encoder", "end_to_end",
]  # fmt: skip


@pytest.fixture(params=PORTS)
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def compared(recorded, script):
    """The outcome of a search for the module in a released port, made once for each family."""
    made = {}

    def make(name: str):
        if name not in made:
            home = recorded(name)
            notes = home / "PORTING.md"  # other files' tests may have ticked boxes there
            notes.write_text(notes.read_text().replace("- [x]", "- [ ]"))
            made[name] = home, script(home, "run_mflux.py", "--bisect", "--port", PORTS[name].port)
        return made[name]

    return make


def test_every_stage_is_within_its_limit_and_nothing_is_blamed(compared, family):
    _, done = compared(family)
    stages = {stage: (state, float(error), float(limit)) for stage, state, error, limit in STAGE.findall(done.stdout)}
    assert list(stages) == STAGES, done.stdout + done.stderr
    assert all(state == "pass" and error <= limit <= 1e-4 for state, error, limit in stages.values()), done.stdout
    assert "look at" not in done.stdout
    assert done.returncode == 0


def test_a_recording_and_a_search_take_less_than_a_minute(compared):
    """Computing time: other work on the machine is not counted.

    The import of torch is not included either; it takes 4 s for each script.
    """
    home, done = compared("flux2")
    assert float((home / "artifacts/modules.seconds").read_text()) + done.seconds < MINUTE - 10


def test_all_parameters_and_nearly_all_modules_pair(compared, family):
    _, done = compared(family)
    found = re.search(r"weights: (\d+) of (\d+) parameters and (\d+) of (\d+) modules", done.stdout)
    parameters, of_parameters, modules, of_modules = map(int, found.groups())
    assert parameters == of_parameters > 300
    assert modules >= 0.97 * of_modules


def test_report_is_one_self_contained_page(compared, family):
    home, _ = compared(family)
    page = (home / "artifacts" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=(?!'data:)", page)
    assert page.count("data:image/png;base64,") == 4
    assert "<svg" in page and page.count("<circle") > 200
    assert all(stage in page for stage in STAGES)
    headings = [heading.split(",")[0] for heading in re.findall("<h2>(.*?)</h2>", page)]
    assert headings[:4] == ["Stages", "Pictures", "Error against depth", "Weights and modules"]
    assert "name=viewport" in page and "prefers-color-scheme: dark" in page
    # A colour outside the style sheet would not follow the theme.
    assert not re.search(r"(?:stroke|color)='#", page)
    assert ("MLX's default eps" in page or "MLX&#x27;s default eps" in page) == bool(PORTS[family].waived)


def test_json_report_agrees_with_the_page(compared, family):
    home, done = compared(family)
    report = json.loads((home / "artifacts" / "report.json").read_text())
    assert report["passed"] and report["answer"] == "" and not report["bisect"]
    shown = {stage: state for stage, state, _, _ in STAGE.findall(done.stdout)}
    assert {one["stage"]: one["status"] for one in report["stages"]} == shown


def test_module_search_ticks_no_box_and_names_what_it_judged(compared, family):
    home, done = compared(family)
    assert "- [x]" not in "".join(
        line for line in (home / "PORTING.md").read_text().splitlines() if "evidence:" in line
    )
    assert "against modules.safetensors: modules, float32, 112x80, 2 steps" in done.stdout
    assert "PORTING.md: a recording of modules or blocks ticks no box" in done.stdout
    assert "modules.png" in done.stdout and "reference.png" not in done.stdout


def test_plain_run_ticks_the_boxes_and_writes_the_figures(recorded, script):
    home = recorded("z_image", "--stages", "--no-calibration", output="reference")
    notes = home / "PORTING.md"
    before = notes.read_text()
    # Tests before this one may have ticked boxes in the same folder.
    notes.write_text(re.sub(r"^- \[x\] (.*-->).*", r"- [ ] \1", before, flags=re.M))
    done = script(home, "run_mflux.py", "--port", PORTS["z_image"].port)
    lines = [line for line in notes.read_text().splitlines() if "evidence:" in line]
    notes.write_text(before)
    ticked = [line for line in lines if line.startswith("- [x]")]
    assert len(ticked) >= 7, done.stdout + done.stderr
    figures = (
        r"- \[x\] .*--> relL2 \S+ of \S+, float32, 112x80, 2 steps, guidance \S+, tiny twin, \d{4}-\d\d-\d\d, commit "
    )
    assert [line for line in ticked if not re.match(figures, line)] == []
    # The run's memory and time are close to what is estimated now: the seconds come from this run.
    estimate = script(home, "run_mflux.py", "--port", PORTS["z_image"].port, "--estimate").stdout
    seconds, memory = re.search(r"the port took (\d+) s, ([\d.]+) MB at most", done.stdout).groups()
    found = re.search(r"estimate: ([\d.]+) MB of memory.*; (\d+) s, .*; ([\d.]+) MB on disk", estimate).groups()
    size = (home / "artifacts/mflux.safetensors").stat().st_size / 1e6
    assert float(found[0]) == pytest.approx(float(memory), rel=0.25)
    assert float(found[1]) == pytest.approx(float(seconds), rel=0.25, abs=2)  # the report comes later
    assert float(found[2]) == pytest.approx(size, rel=0.25)


def test_estimate_is_close(recorded, family):
    artifacts = recorded(family) / "artifacts"
    said = (artifacts / "modules.txt").read_text()
    disk, memory = re.search(r"estimate: ([\d.]+) MB for all modules.*?; ([\d.]+) MB of memory", said).groups()
    size = (artifacts / "modules.safetensors").stat().st_size / 1e6
    assert float(disk) == pytest.approx(size, rel=0.2)
    assert float(memory) == pytest.approx(float(re.search(r"reference took .* ([\d.]+) MB at most", said)[1]), rel=0.25)


def test_recorded_blocks_of_a_large_run_stay_small(twin, script):
    # The real sizes of a 6B model, of which only the configs are needed.
    home = twin("z_image")
    for file in (home / "artifacts/tiny/tokenizer").iterdir():
        (home / "reference/tokenizer" / file.name).write_bytes(file.read_bytes())
    flags = ("--blocks", "--size", "1024", "--steps", "8", "--estimate")
    done = script(home, "run_reference.py", "--model", home / "reference", *flags)
    assert 50 < float(re.search(r"estimate: ([\d.]+) MB", done.stdout)[1]) < 2000


def test_thinned_blocks_are_recorded_and_judged(twin, script):
    # At 1024x1024 the decoder's last block returns what the VAE returns: one is thinned, the other is a stage's output.
    home = twin("z_image")
    path = home / "artifacts/thinned.safetensors"
    flags = ("--model", home / "artifacts/tiny", "--blocks", "--size", "64x96", "--steps", "2", "--output", path)
    done = script(home, Path(__file__).with_name("run_thinned.py"), 5000, "run_reference.py", *flags)
    assert done.returncode == 0, done.stderr
    found = read_header(path)
    assert found["vae_decode/vae/out/0"].shape == (1, 3, 96, 64)
    assert max(tensor.elements for name, tensor in found.items() if "/vae.decoder" in name) <= 5000
    done = script(home, "run_mflux.py", "--port", PORTS["z_image"].port, "--reference", path)
    assert done.returncode == 0, done.stdout
