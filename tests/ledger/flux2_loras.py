"""Run inside an mflux environment: account for every LoRA file in a folder with mflux's own FLUX.2 mapping."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from mflux.models.common.config.model_config import ModelConfig
from mflux.models.common.lora.mapping.lora_mapping import LoRATarget
from mflux.models.flux2.model.flux2_transformer.transformer import Flux2Transformer
from mflux.models.flux2.weights.flux2_lora_mapping import Flux2LoRAMapping
from mflux_port.checkpoint.headers import read_header
from mflux_port.ledger.lora_matching import account_lora, format_lora

if __name__ == "__main__":
    targets = Flux2LoRAMapping.get_mapping()
    # Patches of a layer's own arrays, which mflux's FLUX.2 mapping does not take.
    for layer in ("to_q", "norm_q"):
        patterns = {f"possible_{name}_patterns": [f"own.{{block}}.{layer}.{name}"] for name in ("diff", "diff_b")}
        targets.append(LoRATarget(f"transformer_blocks.{{block}}.attn.{layer}", [], [], **patterns))
    # LoKr with DoRA, which that mapping does not take either.
    names = ("lokr_w1", "lokr_w2", "dora_scale", "alpha")
    patterns = {f"possible_{name}_patterns": [f"dora.{{block}}.to_v.{name}"] for name in names}
    targets.append(LoRATarget("transformer_blocks.{block}.attn.to_v", [], [], **patterns))
    transformer = Flux2Transformer(**ModelConfig.flux2_klein_4b().transformer_overrides)
    if sys.argv[2:] == ["older"]:  # mflux up to 0.23 has no such module
        sys.modules["mflux.models.common.lora.mapping.peft_lora_metadata"] = None
    accounts = []
    for path in sorted(Path(sys.argv[1]).rglob("*.safetensors")):
        account = account_lora(str(path), read_header(path), targets, transformer)
        assert format_lora(account)
        accounts.append({**asdict(account), "passed": account.passed})
    print(json.dumps(accounts))
