"""Parity recordings, calibrations, waivers and arguments that the port's scripts cannot use: one line, before MLX is
loaded.

Cases that need the reference's libraries (another family's checkpoint, NaN in the reference) are in
tests/parity/test_bad_input.py.
"""

from __future__ import annotations

import copy
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoint.files import write_header

HERE = Path(__file__).resolve().parent
REFERENCE, GAPS = "artifacts/reference.safetensors", "artifacts/reference.gaps.json"
PRINT = {"shape": [2], "low": 0.0, "high": 1.0, "total": 1.0, "squares": 1.0, "probes": [0.0]}
FACTS = {
    "pipeline": "NovaPipeline", "model": "{checkpoint}", "checkpoint": "{digest}", "run": "r", "prompt": "a fox",
    "negative_prompt": "", "dtype": "float32", "seed": 42, "width": 64, "height": 64, "steps": 2, "guidance": 1.0,
    "versions": {"torch": "2"}, "normalisation": {"shift": 0.0, "scale": 1.0}, "weights": {"vae.a": PRINT},
    "classes": {"vae": ["AutoencoderKL", "diffusers"]}, "sign": 1.0,
    "denoisers": {"transformer": {"latents": "x", "listed": False}}, "arguments": {"transformer.0": ["x", "t"]},
    "applied": {"branches": 1, "embedded": False, "value": None},
}  # fmt: skip
EVENTS = [["vae_decode/vae/in/0", [2, 2], 1, ""], ["vae_decode/vae.a/in/0", [2, 2], 1, "vae_decode/vae/in/0"]]
INDEX = {"vae_decode/vae/in/0": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
DROP = object()


def facts(**changed: object) -> dict:
    return {"facts": {name: value for name, value in {**FACTS, **changed}.items() if value is not DROP}}


def event(*row: object) -> dict:
    return {"events": [EVENTS[0], list(row)]}


def tensor(**changed: object) -> dict:
    return {"index": {"vae_decode/vae/in/0": {**INDEX["vae_decode/vae/in/0"], **changed}}}


# Case, changes to the recording (or all of its bytes), words in the error line.
RECORDINGS = [
    ("no recording", None, "is missing; run run_reference.py first"),
    ("an empty file", b"", "is cut off or not a recording"),
    ("eight bytes", bytes(8), "is cut off or not a recording"),
    ("a length beyond the file", (1 << 40).to_bytes(8, "little") + b"{}", "is cut off or not a recording"),
    ("no JSON", (2).to_bytes(8, "little") + b"ab", "is cut off or not a recording"),
    ("a list", (2).to_bytes(8, "little") + b"[]", "is cut off or not a recording"),
    ("a tower of brackets", (5000).to_bytes(8, "little") + b"[" * 5000, "is cut off or not a recording"),
    ("another safetensors file", {"format": None}, "was not written by this port's run_reference.py"),
    ("another format", {"format": "mflux-port parity 0"}, "was not written by this port's run_reference.py"),
    ("facts that are not JSON", {"facts": "{"}, "is damaged (the run's facts is not JSON)"),
    ("facts that are a list", {"facts": "[]"}, "is damaged (the run's facts is not a JSON object)"),
    ("no facts", {"facts": None}, "is damaged (the run's facts is not JSON)"),
    *((f"facts without {name}", facts(**{name: DROP}), f"is damaged (its facts have no {name})") for name in FACTS),
    ("a prompt that is a number", facts(prompt=5), "is damaged (its facts have no prompt)"),
    ("steps that are text", facts(steps="2"), "is damaged (its facts have no steps)"),
    ("weights without fingerprints", facts(weights={"vae.a": {}}), "no fingerprints of the weights"),
    ("classes that are text", facts(classes={"vae": "AutoencoderKL"}), "no classes of the modules"),
    ("denoisers that are text", facts(denoisers={"transformer": "x"}), "no latents of the transformer"),
    ("arguments of no step", facts(arguments={"transformer": ["x"]}), "no arguments of the transformer"),
    ("arguments that are numbers", facts(arguments={"transformer.0": [1]}), "no arguments of the transformer"),
    ("guidance that is text", facts(applied={"value": "3"}), "no guidance that was applied"),
    ("another normalisation", facts(normalisation={"shift": 0.0}), "its facts have no normalisation"),
    ("events that are not JSON", {"events": "["}, "is damaged (the table of events is not JSON)"),
    ("events that are a mapping", {"events": "{}"}, "the table of events has another form"),
    ("an event of three", event("a/b/in/0", [2, 2], 1), "the table of events has another form"),
    ("an event without stage", event("a", [2, 2], 1, ""), "the table of events has another form"),
    ("an event without a stride", event("a/b/in/0", [2, 2], 0, ""), "the table of events has another form"),
    ("an event with a fractional size", event("a/b/in/0", [2.5], 1, ""), "the table of events has another form"),
    ("an event without values", event("a/b/in/0", [2, 2], 1, ""), "nothing holds the values of a/b/in/0"),
    ("an event with another's shape", event("a/b/in/0", [4], 1, EVENTS[0][0]), "nothing holds the values of a/b/in/0"),
    ("an event with missing values", event("a/b/in/0", [2, 2], 1, "x/y/in/0"), "nothing holds the values of"),
    ("two events with the same name", {"events": [EVENTS[0], EVENTS[0]]}, "two events have one name"),
    ("a tensor without offsets", tensor(data_offsets=None), "has no place in the file"),
    ("a tensor that runs back", tensor(data_offsets=[16, 0]), "has -16 bytes, not what its shape needs"),
    ("a tensor of an unknown type", tensor(dtype="F8"), "has no place in the file"),
    ("a tensor of another size", tensor(data_offsets=[0, 12]), "has 12 bytes, not what its shape needs"),
    ("a tensor that is a list", {"index": {EVENTS[0][0]: []}}, "has no place in the file"),
    ("data that is cut off", {"data": 10}, "it is cut off, 10 of 16 bytes are left"),
    ("a checkpoint that is gone", facts(model="/nowhere"), "/nowhere is not a folder; name the reference's checkpoint"),
    ("a checkpoint of other weights", facts(checkpoint="0" * 16), "is not the checkpoint that the reference ran"),
    ("another pipeline", facts(pipeline="VegaPipeline"), "is of a VegaPipeline, the port's reference_pipeline is Nova"),
]  # fmt: skip
# Case, file, its bytes, words in the error line.
FILES = [
    ("no calibration", GAPS, None, "reference.gaps.json is not of the run that wrote reference.safetensors, which was interrupted"),
    ("another run's calibration", GAPS, b'{"run": "s", "gaps": {"a": 0.5}}', "run run_reference.py again"),
    ("a calibration that is not JSON", GAPS, b"{", "is not a calibration; run run_reference.py again"),
    ("a calibration that is a list", GAPS, b"[]", "is not a calibration; run run_reference.py again"),
    ("a calibration without gaps", GAPS, b'{"run": "r"}', "is not a calibration; run run_reference.py again"),
    ("a calibration of texts", GAPS, b'{"run": "r", "gaps": {"a": "b"}}', "is not a calibration"),
    ("a calibration with other content", GAPS, b"\xff\xfe", "is not a calibration"),
    ("waivers that are not YAML", "waivers.yml", b"[", "waivers.yml is not YAML"),
    ("waivers with other content", "waivers.yml", b"\xff\xfe", "waivers.yml is not YAML"),
    ("waivers with an invalid month", "waivers.yml", b"parity:\n- limit: 2024-13-01\n", "waivers.yml is not YAML"),
    ("waivers without a section", "waivers.yml", b"- module: a\n", "waivers.yml may have the sections ledger and parity"),
    ("waivers of another section", "waivers.yml", b"vae: []\n", "waivers.yml may have the sections ledger and parity"),
    ("a section that is a mapping", "waivers.yml", b"parity: {module: a}\n", "parity must be a list"),
    ("a waiver that is text", "waivers.yml", b"parity:\n- a\n", "entry 1 of parity needs either module or stage"),
    ("a waiver of both", "waivers.yml", b"parity:\n- {module: a, stage: loop, reason: as we want it}\n", "entry 1 of parity needs either"),
    ("a waiver with another word", "waivers.yml", b"parity:\n- {module: a, why: x}\n", "entry 1 of parity needs either module or stage"),
    ("a waiver without a reason", "waivers.yml", b"parity:\n- {module: a}\n", "entry 1 of parity has no reason"),
    ("a waiver with one word", "waivers.yml", b"parity:\n- {module: a, reason: wanted}\n", "entry 1 of parity has no reason"),
    ("an unknown stage", "waivers.yml", b"parity:\n- {stage: x, limit: 1, reason: as we want it}\n", "one of the stages"),
    ("a limit that is text", "waivers.yml", b"parity:\n- {module: a, limit: x, reason: as we want it}\n", "is not a number from 0 to 1"),
    ("a limit without end", "waivers.yml", b"parity:\n- {module: a, limit: .inf, reason: as we want it}\n", "is not a number from"),
    ("a limit that is not a number", "waivers.yml", b"parity:\n- {module: a, limit: .nan, reason: as we want it}\n", "is not a number from"),
    ("no answers", "answers.yml", None, "answers.yml is missing"),
    ("answers that are not YAML", "answers.yml", b"[", "answers.yml cannot be used"),
    ("answers that are a list", "answers.yml", b"- a\n", "answers.yml cannot be used"),
    ("answers without end", "answers.yml", b"steps: .inf\nmodel: nova\n", "answers.yml cannot be used"),
    ("answers with an invalid bool", "answers.yml", b"model: !!bool x\n", "answers.yml cannot be used"),
    ("a model that is code", "answers.yml", b"model: 'os; x'\nclass_name: A\n", "'os; x' is not a name"),
    ("a checkpoint without index", "checkpoint/model_index.json", None, "model_index.json is missing"),
    ("an index that is a list", "checkpoint/model_index.json", b"[]", "model_index.json is not a JSON object"),
    ("an index that names nothing", "checkpoint/model_index.json", b"{}", "names no pipeline"),
    ("weights that are cut off", "checkpoint/vae/a.safetensors", b"\x00" * 5, "a.safetensors is cut off"),
    ("weights that are a list", "checkpoint/vae/a.safetensors", (2).to_bytes(8, "little") + b"[]x", "is not a safetensors file"),
    ("weights without offsets", "checkpoint/vae/a.safetensors", (8).to_bytes(8, "little") + b'{"a":{}}x', "is not a safetensors"),
]  # fmt: skip
MFLUX, TINY, REF = "run_mflux.py", "make_tiny_checkpoint.py", "run_reference.py"
# Case, script with its arguments, words in the error line.
ARGUMENTS = [
    ("an unknown stage", (MFLUX, "--stage", "x"), "argument --stage: invalid choice: 'x'"),
    ("an unknown type", (MFLUX, "--dtype", "int8"), "argument --dtype: invalid choice: 'int8'"),
    ("steps that are text", (MFLUX, "--steps", "x"), "argument --steps: invalid int value: 'x'"),
    ("an unknown flag", (MFLUX, "--bisekt"), "unrecognized arguments: --bisekt; see `"),
    ("a size that is text", (MFLUX, "--size", "big"), "--size big is not a size; type one multiple of 16"),
    ("a size that is odd", (MFLUX, "--size", "63"), "--size 63 is not a size"),
    ("a size of three", (MFLUX, "--size", "64x64x64"), "--size 64x64x64 is not a size"),
    ("two claims", (MFLUX, "--lora", "--image"), "not allowed with argument"),
    ("a claim in bfloat16", (MFLUX, "--lora", "--dtype", "bfloat16"), "leave out --dtype bfloat16"),
    ("a claim and a stage", (MFLUX, "--quantize", "8", "--stage", "loop"), "--quantize is judged in float32, in a separate run; leave out --stage"),
    ("a claim without its recording", (MFLUX, "--training"), "training.safetensors is missing; run `uv run porting/nova/run_reference.py --training` first"),
    ("another prompt", (MFLUX, "--prompt", "b"), "the reference ran with prompt 'a fox', not 'b'"),
    ("another size", (MFLUX, "--size", "128"), "the reference ran with width 64, not 128"),
    ("an unknown device", (MFLUX, "--device", "foo"), "argument --device: invalid choice: 'foo'"),
    ("other steps", (MFLUX, "--steps", "3"), "the reference ran with steps 2, not 3"),
    ("a recording that is a folder", (MFLUX, "--reference", "/"), "/ is missing; run run_reference.py first"),
    ("a checkpoint that is a file", (MFLUX, "--model", "/etc/hostname"), "/etc/hostname is not a folder"),
    ("a folder that is not a checkpoint", (TINY, "--model", "/"), "/ has no model_index.json"),
    ("a twin over something else", (TINY, "--model", "{checkpoint}", "--output", "{checkpoint}"), "is not a tiny twin"),
    ("an unknown flag of the twin", (TINY, "--sise", "3"), "unrecognized arguments: --sise 3"),
    ("an invalid override", (TINY, "--model", "{checkpoint}", "--override", "a"), "--override a is not an override"),
    ("a reference that is not a folder", (REF, "--model", "/"), "/ has no model_index.json"),
    ("two levels at once", (REF, "--blocks", "--modules"), "not allowed with argument --blocks"),
    ("a seed that is text", (REF, "--seed", "x"), "argument --seed: invalid int value: 'x'"),
]  # fmt: skip
CASES = [
    *((f"recording: {what}", words) for what, _, words in RECORDINGS),
    *((f"file: {what}", words) for what, _, _, words in FILES),
    *((f"arguments: {what}", words) for what, _, words in ARGUMENTS),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory, built) -> list:
    """The result of each case, all run in one process."""
    home = shutil.copytree(built.root / "porting/nova", tmp_path_factory.mktemp("porting") / "nova")
    shutil.copytree(built.checkpoint, home / "checkpoint")
    write_header(home / "checkpoint/vae/b.safetensors", {"a": (2,)})
    text = (home / "answers.yml").read_text()
    (home / "answers.yml").write_text(text.replace("DiffusionPipeline", "NovaPipeline"))
    (home / REFERENCE).parent.mkdir(exist_ok=True)
    (home / REFERENCE).write_bytes(recording(home, {}))
    cases = [({REFERENCE: recording(home, change)}, (MFLUX,)) for _, change, _ in RECORDINGS]
    calibrated = recording(home, facts(calibrated=True))
    cases += [({REFERENCE: calibrated, name: data}, (MFLUX,)) for _, name, data, _ in FILES]
    cases += [({}, argv) for _, argv, _ in ARGUMENTS]
    cases += [({}, (MFLUX,))]
    asked = [
        {
            "files": {name: data if data is None else data.decode("latin-1") for name, data in files.items()},
            "argv": [word.replace("{checkpoint}", str(home / "checkpoint")) for word in argv],
        }
        for files, argv in cases
    ]
    command = [sys.executable, str(HERE / "run_recordings.py"), str(home)]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(("place", "words"), [pytest.param(n, case[1], id=case[0]) for n, case in enumerate(CASES)])
def test_bad_recordings(answers, place, words):
    code, out, err, changed = answers[place]
    assert (code, out, changed) == (2, "", []), (code, out, err, changed)
    lines = err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("parity: ") and len(lines[0]) < 600, err
    assert words in lines[0], lines[0]


def test_undamaged_recording_is_accepted(answers):
    """The script gets as far as loading MLX, which is not installed in the environment of these tests."""
    code, _, err, _ = answers[-1]
    assert code is None and "No module named 'mlx'" in err, err


def recording(home: Path, change: dict | bytes | None) -> bytes | None:
    if not isinstance(change, dict):
        return change
    whole = {
        "format": "mflux-port parity 1",
        "facts": copy.deepcopy(FACTS),
        "events": EVENTS,
        "index": INDEX,
        "data": 16,
    }
    whole |= change
    metadata = {}
    for name in ("format", "facts", "events"):
        if whole[name] is not None:
            metadata[name] = whole[name] if isinstance(whole[name], str) else json.dumps(whole[name])
    if "facts" in metadata:
        checkpoint = home / "checkpoint"
        metadata["facts"] = (
            metadata["facts"].replace("{checkpoint}", str(checkpoint)).replace("{digest}", digest(checkpoint))
        )
    header = json.dumps({"__metadata__": metadata, **whole["index"]}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(whole["data"])


def digest(checkpoint: Path) -> str:
    """The digest that identifies a checkpoint in a recording: of its headers and the first values after them."""
    import hashlib

    found = hashlib.sha256()
    for path in sorted(checkpoint.glob("*/*.safetensors")):
        data = path.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        found.update(f"{path.parent.name}/{path.name}".encode() + data[8 : 8 + length] + data[8 + length :][:4096])
    return found.hexdigest()[:16]
