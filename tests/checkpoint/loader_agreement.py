"""Run inside an environment with diffusers and transformers: which files they load from a folder, and which files
``inspect`` reads.

Every file holds one number, which no other file holds, so a loaded model shows which file it came from.
"""

import json
import shutil
import sys
import warnings
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMPipeline, DDPMScheduler, DiffusionPipeline, UNet2DModel
from mflux_port.checkpoint.layout import open_checkpoint
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

warnings.simplefilter("ignore")


def vae() -> AutoencoderKL:
    return AutoencoderKL(block_out_channels=(4,), norm_num_groups=1, latent_channels=4)


def clip() -> CLIPTextModel:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return CLIPTextModel(CLIPTextConfig(vocab_size=16, max_position_embeddings=4, **sizes))


MAKERS = {"diffusers": (vae, "diffusion_pytorch_model"), "transformers": (clip, "model")}


class Folder:
    """A component's folder that is filled file by file. ``numbers``: the number in each file, by the file's name."""

    def __init__(self, root: Path, library: str):
        make, self.base = MAKERS[library]
        self.path, self.model, self.numbers = root, make(), {}
        self.model.save_pretrained(root)
        for file in root.glob("*.safetensors*"):
            file.unlink()
        self.names = [name for name, _ in self.model.state_dict().items()]

    def file(self, name: str, part: slice = slice(None)) -> list[str]:
        number = float(len(self.numbers) + 1)
        state = self.model.state_dict()
        names = self.names[part]
        save_file({key: torch.full_like(state[key], number) for key in names}, self.path / name, {"format": "pt"})
        self.numbers[name] = number
        return names

    def shards(self, pattern: str, index: str = "") -> None:
        half = len(self.names) // 2
        weight_map = {}
        for number, part in ((1, slice(half)), (2, slice(half, None))):
            name = pattern.format(number=number)
            weight_map |= dict.fromkeys(self.file(name, part), name)
        if index:
            (self.path / index).write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map}))


FIVE, SIX = "{base}-{{number:05d}}-of-00002.safetensors", "{base}-{{number:06d}}-of-000002.safetensors"
INDEX = "{base}.safetensors.index.json"
# The files to put into the folder, in order: a file, or (shards, index). Then the requested variant.
CASES = {
    "one file": (["{base}.safetensors"], None),
    "shards with an index": ([(FIVE, INDEX)], None),
    "shards of six digits": ([(SIX, INDEX)], None),
    "shards that only the index explains": ([("consolidated.{{number:02d}}.safetensors", INDEX)], None),
    "parts": ([("{base}_part_{{number}}.safetensors", INDEX)], None),
    "numbers alone": ([("{{number}}.safetensors", INDEX)], None),
    "one file and shards with an index": (["{base}.safetensors", (FIVE, INDEX)], None),
    "one file and a stale shard": (["{base}.safetensors", "{base}-00001-of-00003.safetensors"], None),
    "one file and stale shards": (["{base}.safetensors", (FIVE, "")], None),
    "shards with an index and a stale shard": ([(FIVE, INDEX), "{base}-00003-of-00003.safetensors"], None),
    "another program's file beside it": (["{base}.safetensors", "nova-comfy.safetensors"], None),
    "another program's file beside shards": ([(FIVE, INDEX), "consolidated.safetensors"], None),
    "a variant beside it": (["{base}.safetensors", "{base}.fp16.safetensors"], None),
    "a variant alone": (["{base}.fp16.safetensors"], "fp16"),
    "a sharded variant": (
        [("{base}.fp16-{{number:05d}}-of-00002.safetensors", "{base}.safetensors.index.fp16.json")],
        "fp16",
    ),
    "a sharded variant of bf16": (
        [("{base}.bf16-{{number:05d}}-of-00002.safetensors", "{base}.safetensors.index.bf16.json")],
        "bf16",
    ),
}
# The names that diffusers used before it adopted those of transformers.
OLDER = {
    "an older sharded variant": (
        [("{base}-{{number:05d}}-of-00002.fp16.safetensors", "{base}.safetensors.fp16.index.json")],
        "fp16",
    )
}


def compare(root: Path, library: str, content: list, variant: str | None) -> dict:
    folder = Folder(root, library)
    for entry in content:
        pattern, index = (entry, None) if isinstance(entry, str) else entry
        if index is None:
            folder.file(pattern.format(base=folder.base))
        else:
            folder.shards(pattern.format(base=folder.base), index.format(base=folder.base))
    loaded = type(folder.model).from_pretrained(root, variant=variant)
    numbers = {number: name for name, number in folder.numbers.items()}
    theirs = {name: numbers[value.flatten()[0].item()] for name, value in loaded.state_dict().items() if value.numel()}
    component = next(iter(open_checkpoint(str(root)).components.values()))
    ours = {name: file for file in component.weights.names for name in component.weights.read_header(file)}
    return {"theirs": theirs, "ours": {name: ours[name] for name in sorted(ours)}, "variant": component.weights.variant}


def pipelines(scratch: Path) -> dict:
    root = scratch / "pipeline"
    sizes = {"block_out_channels": (4,), "norm_num_groups": 1, "sample_size": 8}
    unet = UNet2DModel(down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), **sizes)
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(root)
    vae().save_pretrained(root / "vae")  # not in model_index.json
    shutil.copy(root / "unet/diffusion_pytorch_model.safetensors", root / "all-in-one.safetensors")
    loaded = DiffusionPipeline.from_pretrained(root)
    checkpoint = open_checkpoint(str(root))
    facts = {"theirs": sorted(name for name, part in loaded.components.items() if isinstance(part, torch.nn.Module))}
    return facts | {"ours": sorted(checkpoint.components), "unlisted": checkpoint.unlisted}


def main(scratch: Path) -> None:
    facts = {}
    for library in MAKERS:
        for name, (content, variant) in (CASES | (OLDER if library == "diffusers" else {})).items():
            root = scratch / library / name.replace(" ", "-")
            root.mkdir(parents=True)
            facts[f"{library}: {name}"] = compare(root, library, content, variant)
    print(json.dumps({"folders": facts, "pipeline": pipelines(scratch)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
