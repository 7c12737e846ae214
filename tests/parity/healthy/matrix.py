"""Record and judge families in settings, and look for every failed stage and finding among the true differences."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mflux_port.checkout import releases

from tests import preloaded
from tests.parity.families import write_scripts
from tests.parity.healthy.families import EDITS, FAMILIES, Family
from tests.parity.healthy.references import REFERENCES
from tests.parity.healthy.settings import (
    DTYPES,
    HIGH,
    LARGE,
    OBLONG,
    OFF,
    SMALLEST,
    STAGES,
    Setting,
)  # fmt: skip

HERE = Path(__file__).parent
DIFFUSERS = "diffusers==0.42.*"
STAGE = re.compile(
    r"^(vae_decode|vae_encode|transformer|guidance|scheduler|loop|text_encoder(?:_\d)?|end_to_end) +"
    r"(pass|FAIL|not ported|not run|waived)(.*)$",
    re.MULTILINE,
)
AFTER_STEPS = ("loop", "end_to_end")  # what follows from a schedule
UNITS = {SMALLEST: (1, 1), OBLONG: (7, 5), LARGE: (10, 8)}  # width and height
LARGER = (16, 12)  # where only stages are recorded: 256x192, a quarter of what a model draws
PATCHES = {"temporal_patch_size": 2, "merge_size": 2}
PROCESSORS = {  # what a processor's folder holds besides the tokenizer. Images are processed without torchvision
    "Qwen3VLProcessor": {
        "preprocessor_config.json": {
            "image_processor_type": "Qwen2VLImageProcessorPil", "patch_size": 16, "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3, "size": {"shortest_edge": 65536, "longest_edge": 16777216}, **PATCHES,
        },
        "video_preprocessor_config.json": {
            "video_processor_type": "Qwen3VLVideoProcessor", "patch_size": 16,
            "size": {"shortest_edge": 4096, "longest_edge": 25165824}, **PATCHES,
        },
    },
    "Qwen2VLProcessor": {
        "preprocessor_config.json": {
            "image_processor_type": "Qwen2VLImageProcessorPil", "patch_size": 14,
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
            "min_pixels": 3136, "max_pixels": 12845056, **PATCHES,
        },
        "video_preprocessor_config.json": {
            "video_processor_type": "Qwen2VLVideoProcessor", "patch_size": 14, "min_pixels": 3136,
            "max_pixels": 12845056, **PATCHES,
        },
    },
}  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """One recording judged in one dtype. ``alarms`` are the lines that no true difference explains."""

    family: str
    setting: Setting
    dtype: str
    stages: int
    findings: int
    alarms: tuple[str, ...]
    explained: tuple[str, ...]
    seconds: float


def judge_family(name: str, settings: tuple[Setting, ...], folder: Path, dtypes=DTYPES) -> Iterator[Judged]:
    """A twin of the family, a recording of each setting, and the released port judged by each of them."""
    home = prepare(name, folder)
    references = run(home, "run_reference.py", [_recording(name, home, setting) for setting in settings])
    good = [(setting, row) for setting, row in zip(settings, references, strict=True) if not row["code"]]
    for setting, row in zip(settings, references, strict=True):
        if row["code"]:
            yield Judged(name, setting, "reference", 0, 0, (_last(row["text"]),), (), row["seconds"])
    for dtype in dtypes:
        asked = [_judging(home, setting, dtype) for setting, _ in good]
        again = _with_reference_steps(name, home, dtype, [setting for setting, _ in good])
        for (setting, _), row in zip(good, run(home, "run_mflux.py", asked), strict=True):
            yield _judged(name, setting, dtype, row, again.get(setting, {}))


def _with_reference_steps(name: str, home: Path, dtype: str, settings: list[Setting]) -> dict[Setting, dict[str, str]]:
    """The loop and the picture of a port with another schedule, judged with the reference's steps."""
    where = [one.settings for one in FAMILIES[name].differences if one.schedule]
    chosen = [setting for setting in settings if any(re.search(one, f"{dtype}: {setting}") for one in where)]
    asked = [(setting, stage) for setting in chosen for stage in AFTER_STEPS]
    port = ["--port", "ports:WithReferenceSteps"]
    calls = [[*_judging(home, setting, dtype), *port, "--stage", stage] for setting, stage in asked]
    found: dict[Setting, dict[str, str]] = {}
    for (setting, stage), row in zip(asked, run(home, "run_mflux.py", calls) if calls else [], strict=True):
        state, line = next(((state, line) for _, state, line in _stages(row["text"])), ("", _last(row["text"])))
        found.setdefault(setting, {})[stage] = "" if state == "pass" else f"with the reference's steps: {line}"
    return found


def prepare(name: str, folder: Path) -> Path:
    """The family's scripts with its answers, waivers and port, and its twin in ``artifacts/tiny``."""
    family = family_of(name)
    home = write_scripts(name, REFERENCES[name], "Port", folder)
    _write_processor(home / "reference/processor", REFERENCES[name].get("processor", ("", ""))[1])
    if family.words:  # read by Python before it imports anything
        (home / "sitecustomize.py").write_text(f"import small_mflux\n\nsmall_mflux.change({family.words!r})\n")
    for file in ("ports.py", "small_mflux.py", "run_many.py", "list_lora.py"):
        shutil.copy(HERE / file, home)
    answers = (home / "answers.yml").read_text().splitlines()
    other = {
        "steps": family.steps,
        "guidance": family.guidance,
        "supports_guidance": str(family.supports_guidance).lower(),
    }
    kept = [line for line in answers if line.partition(":")[0] not in other]
    (home / "answers.yml").write_text("\n".join([*kept, *(f"{key}: {value}" for key, value in other.items())]))
    waived = [one for one in family.differences if one.module]
    if waived:
        entries = [{"module": one.module, "limit": one.limit, "reason": one.reason} for one in waived]
        (home / "waivers.yml").write_text(json.dumps({"parity": entries}))
    overrides = [word for text in family.overrides for word in ("--override", text)]
    made = run(home, "make_tiny_checkpoint.py", [["--model", str(home / "reference"), *overrides]])[0]
    assert made["code"] == 0, made["text"]
    return home


def family_of(name: str) -> Family:
    """A family that generates from text, or one that only edits."""
    return EDITS.get(name) or FAMILIES[name]


def _write_processor(folder: Path, kind: str) -> None:
    if folder.is_dir():
        (folder / "config.json").unlink(missing_ok=True)  # a network's
        for file, config in ({"tokenizer_config.json": {}} | PROCESSORS[kind]).items():
            (folder / file).write_text(json.dumps(config | ({"processor_class": kind} if config else {})))


def run(home: Path, script: str, calls: list[list[str]]) -> list[dict]:
    """Run a script many times in one process; returns each exit code and output."""
    done = _python(home, home / "run_many.py", home / script, given=json.dumps(calls))
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"code"')]
    lost = {"code": done.returncode or 1, "seconds": 0.0, "text": done.stderr[-2000:] or "the process ended"}
    return rows + [lost] * (len(calls) - len(rows))


def run_bugs(home: Path, name: str, dtype: str, *bugs: str) -> list[dict]:
    """The harness's answer for each bug, of all or of those that are named."""
    done = _python(home, HERE.parent / "run_bugs.py", home, name, dtype, *bugs)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def _python(home: Path, *command: object, given: str = "") -> subprocess.CompletedProcess:
    python = releases.environment(releases.NEWEST, (DIFFUSERS,))
    paths = [str(home), str(releases.source(releases.NEWEST) / "src"), str(HERE / "stubs")]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", "MLX_ENABLE_TF32": "0"}
    words = [str(python), *map(str, command)]
    if (home / "sitecustomize.py").is_file():  # only read where Python starts
        return preloaded.fresh(words, home, variables, given)
    return preloaded.run(words, home, variables, given, stubs=str(HERE / "stubs"))


def _recording(name: str, home: Path, setting: Setting) -> list[str]:
    family = FAMILIES[name]
    larger = setting.size == LARGE and setting.level == STAGES
    width, height = (family.unit * units for units in (LARGER if larger else UNITS[setting.size]))
    guided = setting.guidance != OFF
    guidance = {OFF: family.off, HIGH: family.high}.get(setting.guidance, family.guidance)
    words = [f"--{setting.level}", "--size", f"{width}x{height}", "--steps", setting.steps, "--guidance", guidance]
    words += ["--prompt", family.prompt] * bool(family.prompt)
    words += ["--negative-prompt", family.negative] * (guided and bool(family.negative))
    words += [word for call in family.calls for word in ("--call", call)]
    words += ["--model", home / "artifacts/tiny", "--output", _path(home, setting)]
    return [str(word) for word in words]


def _judging(home: Path, setting: Setting, dtype: str) -> list[str]:
    return ["--port", "ports:Port", "--reference", str(_path(home, setting)), "--dtype", dtype]


def _path(home: Path, setting: Setting) -> Path:
    return home / "artifacts" / f"{setting.slug}.safetensors"


def _judged(name: str, setting: Setting, dtype: str, row: dict, again: dict[str, str]) -> Judged:
    """``again`` has what is wrong with a stage by another measure, empty when nothing is."""
    stages = _stages(row["text"])
    findings = [line for line in row["text"].splitlines() if line.startswith("look at ")]
    lines = [again.get(stage) or line for stage, state, line in stages if state not in ("pass", "waived")] + findings
    right = [line for stage, _, line in stages if again.get(stage) == ""]
    if not stages or row["code"] not in (0, 1):
        lines.append(f"no verdict: {_last(row['text'])}")
    known = [line for line in lines if line in right or explained(FAMILIES[name], f"{dtype}: {setting}", line)]
    alarms = [line for line in lines if line not in known]
    return Judged(name, setting, dtype, len(stages), len(findings), tuple(alarms), tuple(known), row["seconds"])


def _stages(text: str) -> list[tuple[str, str, str]]:
    """The name, the state and the whole line of each stage."""
    return [(stage, state, " ".join(f"{stage} {state}{rest}".split())) for stage, state, rest in STAGE.findall(text)]


def explained(family: Family, setting: str, line: str) -> str:
    """The true difference that a line is about; empty when there is none."""
    known = (one for one in family.differences if one.lines and re.search(one.lines, line))
    return next((one.reason for one in known if re.search(one.settings, setting)), "")


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was printed"])[-1][:300]
