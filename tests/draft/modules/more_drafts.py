"""Run inside an environment with mflux and diffusers: draft further reference classes and load them strictly.

``more_drafts.py SCRATCH`` prints {class: facts}: drafts are not compared with mflux's mappings; the ledger checks them
against the header. The sizes are the classes' own defaults, or small ones where the defaults take long.
"""

import json
import sys
from pathlib import Path

import mflux.models
from build_references import build, write_component
from draft_agreement import ANSWERS, loaded, sources, write_draft
from layer_likeness import unlike
from mflux.models.common.weights.loading.weight_definition import ComponentDefinition
from mflux_port.checkpoint.layout import open_checkpoint
from mflux_port.draft import component as drafting
from mflux_port.ledger.balance import account
from mflux_port.ledger.expansion import expand_component
from mflux_port.port.port import port_from_answers

TRANSFORMERS = {
    "AuraFlowTransformer2DModel": {"num_mmdit_layers": 2, "num_single_dit_layers": 2},
    "ChromaTransformer2DModel": {"num_layers": 2, "num_single_layers": 2},
    "CogView4Transformer2DModel": {"num_layers": 2},
    "FluxTransformer2DModel": {"num_layers": 2, "num_single_layers": 2, "guidance_embeds": True},
    "Krea2Transformer2DModel": {"num_layers": 2, "num_text_layers": 2},
    "Lumina2Transformer2DModel": {"num_layers": 2},
    "PixArtTransformer2DModel": {"num_layers": 2},
    "QwenImage21Transformer2DModel": {"num_layers": 2},
    "SanaTransformer2DModel": {"num_layers": 2},
    "SD3Transformer2DModel": {"num_layers": 3, "dual_attention_layers": [0, 1], "qk_norm": "rms_norm"},
    "WanTransformer3DModel": {"num_layers": 2},
}
SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "intermediate_size": 96, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 100, "head_dim": 16}  # fmt: skip
TEXT_ENCODERS = {
    "CLIPTextModel": {**SMALL, "num_key_value_heads": 4},
    "CLIPTextModelWithProjection": {**SMALL, "num_key_value_heads": 4},
    "Gemma2Model": SMALL,
    "Gemma3ForCausalLM": SMALL,
    "LlamaModel": SMALL,
    "MistralModel": SMALL,
    "Qwen2Model": SMALL,
    "SmolLM3Model": {**SMALL, "pad_token_id": 0},
    "T5EncoderModel": {"d_model": 64, "num_layers": 3, "num_heads": 4, "d_ff": 96, "d_kv": 16, "vocab_size": 100},
    "UMT5EncoderModel": {"d_model": 64, "num_layers": 3, "num_heads": 4, "d_ff": 96, "d_kv": 16, "vocab_size": 100},
}

VAES = {"AutoencoderKLMochi": {}, "AutoencoderKLWan": {}, "AutoencoderTiny": {}}


def examine(class_name, options, name, scratch):
    folder = scratch / "checkpoints" / class_name
    reference, config = build(class_name, options)
    write_component(folder, reference, config, "model", 1)
    part = next(iter(open_checkpoint(str(folder)).components.values()))
    part.library = "transformers" if name == "text_encoder" else "diffusers"
    part.class_name = class_name
    port = port_from_answers({"model": class_name.lower(), "class_name": "Nova", **ANSWERS})
    draft = drafting.draft_component(part, name, port, with_forwards=False)
    component, module = write_draft(port, draft, ComponentDefinition(name, name), scratch)
    expansion = expand_component(component, part.tensors)
    unresolved = {entry.name for entry in draft.unresolved}
    return {
        "tensors": len(part.tensors),
        "certain": draft.certain,
        "unresolved": sorted(unresolved),
        "loaded": loaded(module(), sources(expansion), unresolved),
        "open": [[f.kind, f.name] for f in account(component, module(), part.tensors).findings if f.fails],
        "lora": {layer.path: layer.count for layer in draft.lora if layer.trained},
        "unlike": unlike(reference, module()),
        "own": sorted({one.reference for one in draft.classes if one.base}),
        "wide": [line for text in draft.files.values() for line in text.splitlines() if too_wide(line)],
        "numbers": [name for name in draft.files if name[-1].isdigit()],
    }


def too_wide(line):
    return len(line) > 120 and not line.startswith("from mflux.")  # a package's name cannot be split over two lines


def main(scratch):
    mflux.models.__path__.append(str(scratch))
    said = {}
    for name, classes in (("transformer", TRANSFORMERS), ("text_encoder", TEXT_ENCODERS), ("vae", VAES)):
        for class_name, options in classes.items():
            try:
                said[class_name] = examine(class_name, options, name, scratch)
            except Exception as error:  # noqa: BLE001 - the test reports it
                said[class_name] = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
