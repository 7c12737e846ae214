#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["diffusers>=0.38", "huggingface_hub", "numpy", "pillow", "pyyaml", "safetensors", "torch", "torchvision", "transformers>=5"]
# ///
"""Make a tiny twin of the reference: its real configs with small sizes, random weights, a toy tokenizer.

The twin has the reference's structure, so a port that matches it in every number matches the real model's code. Every
parameter is random (a zero that the reference starts with would hide errors) and exact in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from parity.answers import load_answers
from parity.errors import Arguments, ParityError, run
from parity.files import replaced
from parity.record import components, shrink
from parity.record.stored_names import write_index, write_stored_names
from parity.record.toy_tokenizer import IDS, has_tokenizer, write_tokenizer

MOST = 5e8  # parameters of one network of a twin
# Values that no rule can know, by component: {"text_encoder": {"num_hidden_layers": 29}}. A nested key is written a.b.
OVERRIDES: dict[str, dict] = {}
# Sizes that mflux's own text encoders and VAEs hard-code: a twin of a port that reuses one keeps them.
FIXED = {
    "t5": ("num_layers", "num_heads", "d_kv", "relative_attention_num_buckets", "relative_attention_max_distance"),
    "clip": ("num_hidden_layers", "num_attention_heads", "hidden_size", "max_position_embeddings"),
    **dict.fromkeys(("qwen", "wan22", "qwen21"), ("base_dim", "decoder_base_dim")),
}


def main() -> int:
    args = _arguments()
    answers = load_answers()
    components.allow_custom_code(args.custom_code)
    folder = components.resolve(args.model or answers.hf_repo)
    pipeline, parts = components.read_index(folder)
    target = Path(args.output) if args.output else answers.artifacts / "tiny"
    if target.exists() and not (target / "sizes.json").is_file():
        raise ParityError(f"{target} exists and is not a tiny twin; name another folder with --output")
    configs = tiny_configs(
        folder, parts, _overrides(args.override), args.real_tokenizer, {"vae": answers.vae, **answers.kinds}
    )
    with replaced(target) as part:
        write_twin(folder, part, parts, configs, args.seed, args.real_tokenizer)
    print(f"{target}: a tiny twin of {pipeline}")
    return 0


def tiny_configs(
    folder: Path, parts: dict, overrides: dict[str, dict], real_tokenizer: bool, kinds: dict[str, str]
) -> dict[str, dict]:
    """The twin's config of each network, and a printed line for each large number that stays.

    ``kinds``: what the VAE and each text encoder are in the port, by folder.
    """
    real = {name: components.read_json(folder / name / "config.json") for name in parts if _network(folder, name)}
    small = shrink.shrink_all(real, {name: FIXED.get(kinds.get(name), ()) for name in real})
    pipeline = components.pipeline_class(folder)
    for name in [name for name in small if name != "vae" and (name.startswith("text_encoder") or name in kinds)]:
        shrink.keep_layers(small[name], shrink.hidden_layers_read(pipeline))
        if real_tokenizer or shrink.token_ids_read(pipeline) > min_vocabulary(small[name]):
            shrink.keep_vocabulary(real[name], small[name])
        if not real_tokenizer:
            shrink.follow_tokens(small[name], IDS)
    for name, config in small.items():
        if not name.startswith("vae") and shrink.keeps_width(real[name], config):
            print(f"{name}: its sizes are small already and stay as they are")
        _override(config, overrides.get(name, {}), name)
        for line in shrink.unshrunk(real[name], config):
            if not line.startswith(FIXED.get(kinds.get(name), ("\0",))):
                print(f"{name}: {line} stays as it is; OVERRIDES in make_tiny_checkpoint.py can make it smaller")
    return small


def min_vocabulary(config: dict) -> int:
    """The smallest vocabulary that a config names, at any depth; 0 when it names none."""
    inner = [min_vocabulary(value) for value in config.values() if isinstance(value, dict)]
    return min(filter(None, [config.get("vocab_size"), *inner]), default=0)


def write_twin(folder: Path, target: Path, parts: dict, configs: dict, seed: int, real_tokenizer: bool) -> None:
    """Write the folder: index, networks with random weights, tokenizers (toys, or the real ones), schedulers."""
    import torch

    classes = {name: components.component_class(*part, folder / name) for name, part in parts.items()}
    for name in configs:
        _verify_small(name, parts[name][0], classes[name], configs[name])
    target.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    for name, (library, kind) in parts.items():
        cls = classes[name]
        if name in configs:
            network = components.build(library, cls, configs[name])
            randomise(network, generator)
            network.to(torch.bfloat16).save_pretrained(target / name)
            write_stored_names(folder / name, target / name, kind)
            write_index(target / name)
        elif has_tokenizer(cls) and not real_tokenizer:
            write_tokenizer(folder / name, target / name, cls)
        else:
            shutil.copytree(folder / name, target / name)
        for file in (folder / name).glob("*.py"):
            shutil.copyfile(file, target / name / file.name)
    for file in [folder / components.INDEX, *folder.glob("*.py")]:
        shutil.copyfile(file, target / file.name)
    (target / "sizes.json").write_text(json.dumps(configs, indent=2), encoding="utf-8")


def _verify_small(name: str, library: str, kind: type, config: dict) -> None:
    """Refuse a network that would fill the memory, before it is built.

    A twin's networks have a hundredth of ``MOST``.
    """
    import torch

    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in components.build(library, kind, config).parameters())
    if count > MOST:
        raise ParityError(
            f"{name} has {count / 1e6:.0f} million parameters in the twin; make the sizes that stay as they are smaller with "
            f"--override {name}.NAME=NUMBER, or in OVERRIDES of make_tiny_checkpoint.py"
        )


def randomise(network, generator) -> None:
    """Give every parameter and running statistic a random value that bfloat16 holds exactly."""
    import torch

    # T5's attention does not divide by the root of a head's size; its query weights include that factor.
    head = getattr(getattr(network, "config", None), "d_kv", None) or 1
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if not tensor.is_floating_point() or ("running" not in name and not tensor.is_leaf) or "inv_freq" in name:
                continue
            noise = torch.randn(tensor.shape, generator=generator) * (head**-0.5 if ".q.weight" in name else 1.0)
            tensor.copy_(_scaled(name, tensor, noise).to(torch.bfloat16).to(tensor.dtype))


def _scaled(name: str, tensor, noise):
    if name.endswith("running_var"):
        return 0.5 + noise.abs()
    if tensor.ndim >= 2:
        fan_in = tensor[0].numel() if "embed_tokens" not in name else 1
        return noise * fan_in**-0.5
    return 1 + 0.2 * noise if name.endswith("weight") else 0.2 * noise


def _network(folder: Path, name: str) -> bool:
    return components.is_network(folder, name)


def _overrides(given: list[str]) -> dict[str, dict]:
    merged = {name: dict(values) for name, values in OVERRIDES.items()}
    for text in given:
        path, _, value = text.partition("=")
        name, _, key = path.partition(".")
        try:
            merged.setdefault(name, {})[key] = json.loads(value)
        except ValueError:
            raise ParityError(
                f"--override {text} is not an override; write it as component.key=VALUE in JSON"
            ) from None
    return merged


def _override(config: dict, values: dict, name: str) -> None:
    for path, value in values.items():
        *parents, key = path.split(".")
        inner = config
        for parent in parents:
            inner = inner.get(parent)
            if not isinstance(inner, dict):
                raise ParityError(f"the override {name}.{path} names nothing in {name}/config.json; correct OVERRIDES")
        inner[key] = value


def _arguments() -> argparse.Namespace:
    parser = Arguments(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="the reference's folder or repo id (default: the port's hf_repo)")
    parser.add_argument("--output", help="where to write (default: artifacts/tiny)")
    parser.add_argument(
        "--real-tokenizer", action="store_true", help="keep the reference's tokenizer and its vocabulary's size"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--override", action="append", default=[], metavar="COMPONENT.KEY=VALUE")
    parser.add_argument(components.CUSTOM_CODE, action="store_true", help="run Python files that the checkpoint has")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
