"""``inspect``, ``draft`` and ``ledger`` on headers alone: CPU time after imports and peak memory, by tensors and
shards.

Every measurement runs in a separate process.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from mflux_port.checkout import releases
from mflux_port.template.project import project_root

from benchmarks.measure import Row

WIDTH, ROUNDS = 1024, 3
COMMANDS, COUNTS, SHARDS = ("inspect", "draft", "ledger"), (200, 2_000, 20_000), (1, 20, 200)
LIMIT = 1000  # milliseconds for 2,000 tensors in 20 shards
LINEARS = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out", "mlp.up", "mlp.gate", "mlp.down", "mod.a", "mod.b")
PER_BLOCK = 2 * len(LINEARS) + 2


def rows() -> list[Row]:
    python = releases.environment(releases.NEWEST)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {
            (n, shards): write_checkpoint(Path(scratch, f"{n}-{shards}"), n, shards)
            for n in COUNTS
            for shards in SHARDS
        }
        found = {
            (name, *size): _measure(python, name, folder, size[0])
            for name in COMMANDS
            for size, folder in folders.items()
        }
    return [row for name in COMMANDS for row in _rows_of(name, found)]


def _rows_of(name: str, found: dict) -> list[Row]:
    table = []
    for count in COUNTS:
        for shards in SHARDS:
            one, bound = found[name, count, shards], (count, shards) == (2_000, 20)
            what = f"{name}, {count:,} tensors in {shards} {'shard' if shards == 1 else 'shards'}"
            table.append(Row(what, one["cpu"] * 1000, "ms", LIMIT if bound else None))
            table.append(Row(f"{what}, peak of the process", one["peak"], "MB", 150 if bound else None))
            table.append(Row(f"{what}, memory added by it", one["added"], "MB"))
    # Ten times the tensors may take ten times as long. The limit allows 10% more, for names that are a digit longer and
    # for tables that no longer fit the processor's caches. Anything worse than linear would take twice or a hundred
    # times as long.
    large, small = found[name, 20_000, 20], found[name, 2_000, 20]
    what = f"{name}, 20,000 tensors / 2,000"
    table.append(Row(f"{what}, time", large["cpu"] / small["cpu"], "×", 11))
    return [*table, Row(f"{what}, memory added", large["added"] / small["added"], "×", 11)]


def _measure(python: Path, name: str, folder: Path, count: int) -> dict[str, float]:
    source = releases.source(releases.NEWEST) / "src"
    paths = os.pathsep.join(map(str, (project_root(), project_root() / "hooks", source)))
    environment = {**os.environ, "PYTHONPATH": paths}
    command = [str(python), "-m", "benchmarks.bench_checkpoint", name, str(folder), str(count)]
    found = {"cpu": [], "peak": [], "added": []}
    for keys in (*[("cpu", "peak")] * ROUNDS, *[("added",)] * ROUNDS):
        more = ["ballast"] if keys == ("added",) else []
        done = subprocess.run([*command, *more], env=environment, capture_output=True, text=True, check=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        for key in keys:
            found[key].append(figures[key])
    return {key: min(values) for key, values in found.items()}


def shapes(count: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a transformer with about ``count`` tensors."""
    found = {}
    for block in range(count // PER_BLOCK):
        for name in LINEARS:
            found[f"blocks.{block}.{name}.weight"] = (WIDTH, WIDTH)
            found[f"blocks.{block}.{name}.bias"] = (WIDTH,)
        found |= {f"blocks.{block}.norm{place}.weight": (WIDTH,) for place in (1, 2)}
    return found


def write_checkpoint(root: Path, count: int, shards: int) -> Path:
    """A diffusers folder with headers only, in shards with an index."""
    folder = root / "transformer"
    folder.mkdir(parents=True)
    (root / "model_index.json").write_text(json.dumps({"_class_name": "P", "transformer": ["diffusers", "T"]}))
    (folder / "config.json").write_text(json.dumps({"_class_name": "T", "num_layers": count // PER_BLOCK}))
    names, weight_map = list(shapes(count).items()), {}
    for shard in range(shards):
        part = dict(names[shard * len(names) // shards : (shard + 1) * len(names) // shards])
        name = f"diffusion_pytorch_model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        weight_map |= dict.fromkeys(part, name)
        header, end = {}, 0
        for tensor, shape in part.items():
            size = 2 * WIDTH ** len(shape)
            header[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
            end += size
        raw = json.dumps(header).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(raw)) + raw)
        os.truncate(folder / name, 8 + len(raw) + end)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return root


def _inspect(folder: Path, count: int):
    from mflux_port.checkpoint.inference import infer
    from mflux_port.checkpoint.layout import open_checkpoint
    from mflux_port.checkpoint.summary import describe, format_summary

    def run() -> bool:
        checkpoint = open_checkpoint(str(folder))
        return f"{len(shapes(count))} tensors" in format_summary(describe(checkpoint, infer(checkpoint)))

    return run


def _draft(folder: Path, count: int):
    from mflux_port.checkpoint.layout import open_checkpoint
    from mflux_port.draft.component import draft_component
    from mflux_port.draft.write.mapping import weight_mapping
    from mflux_port.port.port import port_from_answers

    facts = {"model": "nova", "class_name": "Nova", "hf_repo": "acme/Nova", "display_name": "Nova", "cli_name": "nova"}
    facts |= {
        "reference_pipeline": "NovaPipeline",
        "steps": 4,
        "guidance": 1.0,
        "supports_guidance": False,
        "vae": "own",
    }
    facts |= {"text_encoder": "own", "scheduler": "own", "variants": ["txt2img"], "img2img": True, "lora": True}
    facts |= {"negative_prompt": False, "training": False, "mflux_api": "0.24"}
    port = port_from_answers(facts | {"checkpoints": [{"key": "nova", "hf_repo": "acme/Nova"}]})

    def run() -> bool:
        # From the header only: with diffusers installed, most of the time would be diffusers' own.
        draft = draft_component(open_checkpoint(str(folder)).components["transformer"], "transformer", port)
        source = weight_mapping(_MAPPING, "NovaWeightMapping", [draft.mapping], "the mapping")
        return source.count("WeightTarget(") == PER_BLOCK and "NovaTransformer" in draft.files["transformer"]

    return run


_MAPPING = """from mflux.models.common.weights.mapping.weight_mapping import WeightMapping, WeightTarget


class NovaWeightMapping(WeightMapping):
    @staticmethod
    def get_transformer_mapping():
        return []
"""


def _ledger(folder: Path, count: int):
    from mflux.models.common.weights.loading.weight_definition import ComponentDefinition
    from mflux.models.common.weights.mapping.weight_mapper import WeightMapper  # noqa: F401 - imports are not measured
    from mflux.models.common.weights.mapping.weight_mapping import WeightTarget
    from mflux_port.checkpoint.keylist import snapshot
    from mflux_port.checkpoint.layout import open_checkpoint
    from mflux_port.ledger.balance import account
    from mflux_port.ledger.shape_only_arrays import shape_only_weights
    from mlx import nn

    def run() -> bool:
        blocks = count // PER_BLOCK
        module = nn.Module()
        with shape_only_weights():  # the same as in build_modules
            module.blocks = [_block(nn) for _ in range(blocks)]
        suffixes = [name.removeprefix("blocks.0.") for name in shapes(PER_BLOCK)]
        names = [f"blocks.{{block}}.{suffix}" for suffix in suffixes]
        mapping = [WeightTarget(to_pattern=name, from_pattern=[name], max_blocks=blocks) for name in names]
        component = ComponentDefinition("transformer", "transformer", mapping_getter=lambda: mapping)
        done = account(component, module, snapshot(open_checkpoint(str(folder))).tensors["transformer"])
        return not done.findings and done.parameters == done.tensors == len(shapes(count))

    return run


def _block(nn):
    block = nn.Module()
    for name in LINEARS:
        group, _, leaf = name.partition(".")
        if group not in block:
            block[group] = nn.Module()
        block[group][leaf] = nn.Linear(WIDTH, WIDTH)
    block.norm1, block.norm2 = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
    return block


def _ballast() -> list[bytes]:
    # Fills the free memory that the imports have left, which would hide the memory of a small run.
    return [bytes(size) for size in (*range(16, 512, 16), *range(600, 9000, 600)) for _ in range(1500)]


def _forget_peak() -> None:
    # Linux keeps the highest memory of a process and lets it be reset; elsewhere the peak includes that of the imports.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    import resource

    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    import time

    from mflux_port.process import begin

    begin()  # each of these commands does the same
    action = {"inspect": _inspect, "draft": _draft, "ledger": _ledger}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    ballast = _ballast() if sys.argv[4:] == ["ballast"] else []
    _forget_peak()
    before, start = _peak(), time.process_time()
    sound = action()
    spent = time.process_time() - start
    assert sound
    print(json.dumps({"cpu": spent, "peak": _peak(), "added": _peak() - before}))
