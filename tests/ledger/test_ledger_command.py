"""`mflux-port ledger` on a rendered and wired port, against a checkpoint in the reference's layout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.checkpoint.files import write_header, write_sharded, write_typed
from tests.conftest import PROJECT
from tests.json_forms import facts_of

WIDTH, TEXT, CHANNELS, INNER, BLOCKS = 256, 2560, 128, 512, 3
SIZES = {"hidden_size": WIDTH, "num_layers": BLOCKS, "context_dim": TEXT, "in_channels": 32, "patch_size": 2,
         "intermediate_size": INNER}  # fmt: skip


def transformer() -> dict[str, tuple[int, ...]]:
    """The tensors that the template's own transformer has at these sizes."""
    square, names = (WIDTH, WIDTH), {}
    for name, shape in {"x_embedder": (WIDTH, CHANNELS), "context_embedder": (WIDTH, TEXT),
                        "time_embedder.linear_1": (WIDTH, 256), "time_embedder.linear_2": square,
                        "norm_out.linear": (2 * WIDTH, WIDTH), "proj_out": (CHANNELS, WIDTH)}.items():  # fmt: skip
        names |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for block in (f"transformer_blocks.{number}" for number in range(BLOCKS)):
        names |= {f"{block}.modulation.weight": (6 * WIDTH, WIDTH), f"{block}.modulation.bias": (6 * WIDTH,)}
        names |= {f"{block}.attn.to_{name}.weight": square for name in ("q", "k", "v", "out.0")}
        names |= {f"{block}.attn.norm_{name}.weight": (WIDTH // 4,) for name in "qk"}
        names |= {f"{block}.norm{name}.weight": (WIDTH,) for name in (1, 2)}
        names |= {f"{block}.feed_forward.{name}_proj.weight": (INNER, WIDTH) for name in ("gate", "up")}
        names[f"{block}.feed_forward.down_proj.weight"] = (WIDTH, INNER)
    return names


def put_transformer(checkpoint: Path, tensors: dict) -> None:
    shutil.rmtree(checkpoint / "transformer", ignore_errors=True)
    write_sharded(checkpoint / "transformer", tensors, 2, "diffusion_pytorch_model")


@pytest.fixture(scope="module")
def port(tmp_path_factory, pristine, references) -> tuple[Path, Path]:
    return make_port(tmp_path_factory.mktemp("ledger"), pristine(), references)


def make_port(base: Path, mflux: Path, references: Path) -> tuple[Path, Path]:
    """A wired port with FLUX.2's VAE and Qwen3, and a checkpoint that fits it."""
    checkpoint, klein = base / "nova", references / "flux2_klein-full"
    checkpoint.mkdir()
    for part in ("vae", "text_encoder", "tokenizer", "scheduler", "model_index.json"):
        (checkpoint / part).symlink_to(klein / part)
    put_transformer(checkpoint, transformer())
    entry = {"key": "nova", "hf_repo": "acme/Nova", "aliases": ["nova"], "steps": 4, "transformer_overrides": SIZES}
    text = json.loads((klein / "text_encoder/config.json").read_text())
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
             "intermediate_size")  # fmt: skip
    entry["text_encoder_overrides"] = {name: text[name] for name in names}
    answers = {"model": "nova", "hf_repo": "acme/Nova", "vae": "flux2", "text_encoder": "qwen3", "checkpoints": [entry]}
    (base / "answers.yml").write_text(yaml.safe_dump(answers))
    checkout = shutil.copytree(mflux, base / "mflux")
    command = [sys.executable, "-m", "copier", "copy", "--trust", "--defaults", "--vcs-ref", "HEAD"]
    command += ["--data-file", str(base / "answers.yml"), str(PROJECT), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return checkout, checkpoint


@pytest.fixture
def ledger(port, mflux_port, diffusers_python):
    def run(*options):
        return mflux_port("ledger", "nova", *options, cwd=port[0], python=diffusers_python)

    return run


def rows(done) -> set[tuple[str, str, str]]:
    assert done.returncode in (0, 1), done.stderr
    return {
        (row["component"], row["kind"], row["name"])
        for row in facts_of("ledger", done.stdout)["findings"]
        if row["fails"]
    }


def test_a_fresh_port_balances_and_keeps_the_key_list(port, ledger):
    done = ledger("--checkpoint", port[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every tensor is used once, every parameter is set once" in done.stdout
    kept = port[0] / "porting/nova/checkpoint_keys.txt"
    assert kept.stat().st_size < 15_000
    assert ledger().stdout == done.stdout
    ignored = subprocess.run(["git", "check-ignore", str(kept)], cwd=port[0], capture_output=True)
    assert ignored.returncode == 1, "mflux's .gitignore must not hide the key list"


@pytest.mark.full
def test_open_findings_are_named(port, ledger):
    tensors = transformer()
    tensors["transformer_blocks.0.attn.rotary.weight"] = (4,)
    del tensors["transformer_blocks.2.norm1.weight"]
    tensors["proj_out.bias"] = (CHANNELS + 1,)
    put_transformer(port[1], tensors)
    try:
        done = ledger("--checkpoint", port[1], "--component", "transformer", "--json")
    finally:
        put_transformer(port[1], transformer())
    assert done.returncode == 1
    assert rows(done) == {
        ("transformer", "not mapped", "transformer_blocks.0.attn.rotary.weight"),
        ("transformer", "not in the checkpoint", "transformer_blocks.2.norm1.weight"),
        ("transformer", "not filled", "transformer_blocks.2.norm1.weight"),
        ("transformer", "shape", "proj_out.bias"),
    }


@pytest.mark.full
def test_checkpoint_files_are_compared(port, ledger, tmp_path):
    checkpoint = tmp_path / "nova"
    checkpoint.mkdir()
    for part in port[1].iterdir():
        (checkpoint / part.name).symlink_to(part.resolve())
    (checkpoint / "tokenizer").unlink()
    (checkpoint / "transformer").unlink()
    put_transformer(checkpoint, transformer())
    write_header(checkpoint / "transformer/diffusion_pytorch_model.fp16.safetensors", transformer())
    found = {row for row in rows(ledger("--checkpoint", checkpoint, "--json")) if row[0] == "files"}
    assert found == {
        ("files", "idle pattern", "tokenizer/*"),
        ("files", "no tokenizer", "qwen3"),
        ("files", "read too", "transformer/diffusion_pytorch_model.fp16.safetensors"),
    }
    # The stored key list also reveals it.
    assert ("files", "read too", "transformer/diffusion_pytorch_model.fp16.safetensors") in rows(ledger("--json"))
    ledger("--checkpoint", port[1])


@pytest.mark.full
def test_account_of_one_component_keeps_the_key_lists_of_the_others(port, ledger, tmp_path):
    kept = port[0] / "porting/nova/checkpoint_keys.txt"
    ledger("--checkpoint", port[1])
    whole = kept.read_text()
    done = ledger("--checkpoint", port[1] / "vae", "--component", "vae")
    assert done.returncode == 0 and "text_encoder, transformer of nova kept, vae has none" in done.stdout
    assert kept.read_text() == whole
    kept.unlink()
    done = ledger("--checkpoint", port[1] / "vae", "--component", "vae")
    assert "is not written: vae has no transformer, text_encoder" in done.stdout and not kept.exists()
    ledger("--checkpoint", port[1])


@pytest.mark.full
def test_unused_waiver_is_named(port, ledger):
    path = port[0] / "porting/nova/waivers.yml"
    path.write_text("ledger:\n- {component: transformer, tensor: gone.weight, reason: was there once}\n")
    try:
        done = ledger("--checkpoint", port[1], "--json")
    finally:
        path.unlink()
    assert done.returncode == 1 and rows(done) == {("transformer", "idle waiver", "gone.weight")}


@pytest.mark.full
def test_wrong_input_is_one_line(port, ledger, mflux_port, diffusers_python):
    checks = [
        (ledger("--component", "unet"), "no component unet"),
        (ledger("--checkpoint", port[1], "--key", "nova-2"), "has no checkpoint 'nova-2'; it has nova"),
        (ledger("--checkpoint", "/nowhere"), "does not exist"),
        (mflux_port("ledger", "other", cwd=port[0], python=diffusers_python), "other/answers.yml is missing"),
        (mflux_port("ledger", "nova", cwd=port[0], env={"PYTHONPATH": str(PROJECT / "hooks")}), ""),
    ]
    for done, expected in checks[:-1]:
        assert done.returncode == 2 and expected in done.stderr and len(done.stderr.splitlines()) == 1
    assert checks[-1][0].returncode in (0, 2) and "Traceback" not in checks[-1][0].stderr


@pytest.mark.full
def test_no_weight_is_allocated(port, mflux_port, diffusers_python):
    # The text encoder alone has 8 GB of weights.
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (3 * 2**30,) * 2); "
    code = limit + "from mflux_port.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [str(diffusers_python), "-c", code, "ledger", "nova", "--checkpoint", str(port[1])]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "hooks")}
    done = subprocess.run(command, cwd=port[0], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.full
def test_changed_keys_and_an_unresolved_list_fail(port, mflux_port, diffusers_python, ledger):
    # tests/checks/test_check_run.py tests that `check --run` uses the ledger.
    def row() -> str:
        done = mflux_port("check", "nova", "--json", cwd=port[0], python=diffusers_python)
        return next(row for row in json.loads(done.stdout)["rows"] if row["rule"] == "WGT10")["state"]

    assert ledger("--checkpoint", port[1]).returncode == 0
    keys = port[0] / "porting/nova/checkpoint_keys.txt"
    whole = keys.read_text()
    keys.write_text(whole.replace("x_embedder.bias", "y_embedder.bias"))
    listed = port[0] / "porting/nova/unresolved.yml"
    listed.write_text("- {component: transformer, name: a.weight}\n")
    try:
        assert ledger().returncode == 1 and row() == "fail"
    finally:
        keys.write_text(whole)
        listed.unlink()
    assert ledger().returncode == 0 and row() == "needs you"


@pytest.mark.full
def test_lora_files_of_a_port(port, ledger, tmp_path):
    path = "transformer_blocks.{}.attn.to_q"
    good = {f"transformer.{path.format(block)}.lora_{matrix}.weight": (4, WIDTH)[:: 1 if matrix == "A" else -1]
            for block in range(BLOCKS) for matrix in "AB"}  # fmt: skip
    fits = write_header(tmp_path / "fits.safetensors", good)
    odd = write_header(
        tmp_path / "odd.safetensors", {name.replace("transformer.", "net.", 1): s for name, s in good.items()}
    )
    done = ledger("--lora", fits)
    assert done.returncode == 0 and "diffusers\n  6 of 6 keys match, 3 layers" in done.stdout
    done = ledger("--lora", fits, odd)
    assert done.returncode == 1 and "net.transformer_blocks.{block}.attn.to_q{" in done.stdout
    done = ledger("--lora", tmp_path / "none.safetensors")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


@pytest.mark.full
@pytest.mark.parametrize("version", ["0.18.1", "0.22.0"])
def test_ledger_of_an_older_mflux(mflux_port, pristine, references, environment, tmp_path, version):
    checkout, checkpoint = make_port(tmp_path, pristine(version), references)
    run = {"cwd": checkout, "python": environment(version)}
    done = mflux_port("ledger", "nova", "--checkpoint", checkpoint, "--json", **run)
    assert rows(done) == set()
    tensors = {f"transformer.transformer_blocks.0.attn.to_q.lora_{m}.weight": (WIDTH, WIDTH) for m in "AB"}
    lora = write_header(tmp_path / "lora.safetensors", tensors)
    done = mflux_port("ledger", "nova", "--lora", lora, **run)
    assert done.returncode == 0, done.stdout + done.stderr
    # These levels read no alpha from a header's metadata.
    typed = {name: ("BF16", shape) for name, shape in tensors.items()}
    config = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 2 * WIDTH})}
    done = mflux_port("ledger", "nova", "--lora", write_typed(tmp_path / "peft.safetensors", typed, config), **run)
    assert done.returncode == 1 and "sets a scale of 2 in 1 layer; this mflux applies 1" in done.stdout
