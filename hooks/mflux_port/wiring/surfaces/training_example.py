"""The example configuration of ``mflux-train`` for this port, a new file."""

from __future__ import annotations

import json

from mflux_port.port.lora_modules import LoraModules
from mflux_port.port.port import Checkpoint, Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.source import Source
from mflux_port.wiring.surfaces import training_runner

ID = "training_example"
FILE = "src/mflux/models/common/training/_example/train_{model}.json"
REQUIRED = False
NEW_FILE = True
# The linear layers of a block that the template renders.
_RENDERED = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_RENDERED += ("feed_forward.gate_proj", "feed_forward.up_proj", "feed_forward.down_proj")
_MONITORING = {"preview_width": 640, "preview_height": 368, "plot_frequency": 20, "generate_image_frequency": 50}

not_applicable = training_runner.not_applicable


def blocks(source: Source, port: Port) -> list[Block]:
    return [Block("the example", text(port), 0, (0, len(source.data)) if source.data else None)]


def text(port: Port) -> str:
    """The text of the file."""
    return json.dumps(_configuration(port), indent=2) + "\n"


def _configuration(port: Port) -> dict:
    # Take the checkpoint with the most steps: training a distilled one undoes its distillation.
    own = [checkpoint for checkpoint in port.checkpoints if checkpoint.variant != "edit"]
    base = max(own, key=lambda checkpoint: checkpoint.steps)
    return {
        "model": base.key,
        "model_path": None,
        "data": "/path/to/your/dataset",
        "seed": 42,
        "steps": base.steps,
        "guidance": base.guidance,
        "quantize": 8,
        "low_ram": False,
        "max_resolution": 1024,
        "training_loop": _loop(base),
        "optimizer": {"name": "AdamW", "learning_rate": 1e-4},
        "checkpoint": {"output_path": f"train_{port.model}", "save_frequency": 50},
        "monitoring": _MONITORING,
        "lora_layers": {"targets": [_target(*module) for module in port.lora_modules or _rendered(base)]},
    }


def _loop(base: Checkpoint) -> dict:
    steps = {"timestep_low": base.steps // 10, "timestep_high": max(1, base.steps * 9 // 10)}
    return {"num_epochs": 200, "batch_size": 1, **steps}


def _rendered(base: Checkpoint) -> LoraModules:
    blocks = int((base.config.get("transformer_overrides") or {}).get("num_layers", 4))
    return tuple((f"transformer_blocks.{{block}}.{name}", blocks) for name in _RENDERED)


def _target(path: str, blocks: int | None) -> dict:
    counted = {} if blocks is None else {"blocks": {"start": 0, "end": blocks}}
    return {"module_path": path, **counted, "rank": 16}
