"""Write the checkpoint of the README's run: `vega_checkpoint.py FOLDER TOY_TOKENIZER`, where diffusers is installed.

A Z-Image pipeline with small random networks. Only its VAE is full size, because mflux's VAE class hard-codes its
sizes.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

VAE = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False, "layers_per_block": 2,
       "block_out_channels": [128, 256, 512, 512], "scaling_factor": 0.3611, "shift_factor": 0.1159,
       "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}  # fmt: skip
TRANSFORMER = {"dim": 64, "n_layers": 3, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 48, "axes_dims": [8, 12, 12]}
ENCODER = {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 96, "num_attention_heads": 4,
           "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 320, "tie_word_embeddings": True}  # fmt: skip
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
)
INDEX = {
    "_class_name": "ZImagePipeline",
    "transformer": ["diffusers", "ZImageTransformer2DModel"],
    "text_encoder": ["transformers", "Qwen3ForCausalLM"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
}


def main(folder: Path, toy_tokenizer: Path) -> None:
    torch.manual_seed(0)
    networks = {
        "vae": AutoencoderKL(**VAE),
        "transformer": ZImageTransformer2DModel(**TRANSFORMER),
        "text_encoder": Qwen3ForCausalLM(Qwen3Config(**ENCODER)),
    }
    for name, network in networks.items():
        network.to(torch.bfloat16).save_pretrained(folder / name)
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(folder / "scheduler")
    write_tokenizer(folder / "tokenizer", toy_tokenizer)
    (folder / "model_index.json").write_text(json.dumps(INDEX, indent=1))


def write_tokenizer(folder: Path, toy_tokenizer: Path) -> None:
    sys.path.insert(0, str(toy_tokenizer.parents[2]))
    from parity.record import toy_tokenizer as made

    with tempfile.TemporaryDirectory() as settings:
        config = {"tokenizer_class": "Qwen2Tokenizer", "chat_template": CHAT}
        Path(settings, "tokenizer_config.json").write_text(json.dumps(config))
        made.write_tokenizer(Path(settings), folder, Qwen2Tokenizer)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
