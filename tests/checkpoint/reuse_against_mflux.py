"""Run inside an environment with mflux and diffusers: components/reuse.yml against the references' and mflux's classes.

For every choice, it reports the values of the reference's config that the table leaves out, the defaults that differ,
the reference's tensors that mflux's class does not take, and the distance of both results on the same random numbers.
"""

import copy
import importlib
import inspect
import json
import os
import sys

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import mlx.core as mx
import numpy as np
import torch
from mflux.models.common.weights.loading.weight_definition import ComponentDefinition
from mflux.models.common.weights.mapping.weight_mapper import WeightMapper
from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.reuse import reuse_table
from mflux_port.ledger.balance import account
from mflux_port.ledger.reused_modules import _FACTS
from mflux_port.ledger.shape_only_arrays import shape_only_weights
from mflux_port.ledger.waivers import Waivers
from mlx.utils import tree_flatten

MAPPINGS = {
    "flux": ("flux.weights.flux_weight_mapping", "FluxWeightMapping", "get_vae_mapping"),
    "flux2": ("flux2.weights.flux2_weight_mapping", "Flux2WeightMapping", "get_vae_mapping"),
    "qwen": ("qwen.weights.qwen_weight_mapping", "QwenWeightMapping", "get_vae_mapping"),
    "wan22": ("fibo.weights.fibo_weight_mapping", "FIBOWeightMapping", "get_vae_mapping"),
    "qwen21": ("qwen21.weights.qwen21_weight_mapping", "Qwen21WeightMapping", "get_vae_mapping"),
    "qwen3": ("flux2.weights.flux2_weight_mapping", "Flux2WeightMapping", "get_text_encoder_mapping"),
    "smollm3": ("fibo.weights.fibo_weight_mapping", "FIBOWeightMapping", "get_text_encoder_mapping"),
    "t5": ("flux.weights.flux_weight_mapping", "FluxWeightMapping", "get_t5_encoder_mapping"),
    "clip": ("flux.weights.flux_weight_mapping", "FluxWeightMapping", "get_clip_encoder_mapping"),
    "gemma2": ("common.pid_decoder.gemma2.gemma2_weight_mapping", "Gemma2WeightMapping", "get_mapping"),
}
REFERENCES = {
    "qwen3": ("Qwen3Config", "Qwen3Model"), "qwen3_vl": ("Qwen3VLTextConfig", "Qwen3VLTextModel"),
    "mistral3": ("Ministral3Config", "Ministral3Model"), "smollm3": ("SmolLM3Config", "SmolLM3Model"),
    "t5": ("T5Config", "T5EncoderModel"), "clip": ("CLIPTextConfig", "CLIPTextModel"), "gemma2": ("Gemma2Config", "Gemma2Model"),
}  # fmt: skip
TINY = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1,
        "intermediate_size": 48, "head_dim": 16}  # fmt: skip


def first(value):
    return value["one_of"][0] if isinstance(value, dict) else value


def same(given, wanted) -> bool:
    given = list(given) if isinstance(given, tuple) else given
    if isinstance(wanted, dict):
        return any(same(given, one) for one in wanted["one_of"])
    return wanted == "any" or isinstance(wanted, str) and wanted.startswith("at least") or given == wanted


def defaults_of(entry, fields: dict) -> dict:
    """Fields of the reference's config that the table lacks, and those whose default differs."""
    known = {*entry["implements"], *entry.get("takes", ()), *entry.get("optional", ()), *reuse_table()["no_effect"]}
    wrong = {}
    for key, value in {**entry["implements"], **entry.get("optional", {})}.items():
        if key not in fields or fields[key] is inspect.Parameter.empty:
            continue
        expected = entry["absent"].get(key, value)
        described = key in entry["absent"] and " " in str(expected)  # the name of the value, which mflux does not use
        sound = not same(fields[key], value) if described else same(fields[key], expected)
        if not sound and key not in ("layer_types", "no_rope_layers"):
            wrong[key] = repr(fields[key])[:80]
    return {"unknown": sorted(fields.keys() - known), "wrong": wrong}


# Left out, because the base of rotary embeddings is a keyword, their kind is rope_type, and sections are compared
# separately; whether results are a dictionary or a tuple makes no difference.
READ = {
    "return_dict",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "text_config",
    "vision_config",
    "quantization_config",
}
SMALL_VAE = {"block_out_channels": [32, 32], "down_block_types": ["DownEncoderBlock2D"] * 2, "layers_per_block": 1,
             "up_block_types": ["UpDecoderBlock2D"] * 2, "base_dim": 8, "decoder_base_dim": 8, "latent_channels": 4,
             "num_res_blocks": 1}  # fmt: skip
SMALL_TEXT = {
    "t5": {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    "clip": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2},
}


def otherwise(key, value):
    """Another value of the same kind; None if there is none to try."""
    if isinstance(value, bool):
        return not value
    if key.endswith("_token_id") and isinstance(value, int):
        return abs(value - 7)
    if isinstance(value, int):
        return value + 7
    return value * 3 + 0.25 if isinstance(value, float) else None


def changing(base: dict, fields: dict, listed: dict, compute) -> list[str]:
    """The keys of ``no_effect`` for which another value changes the reference's result.

    ``listed``: what the choice implements; ``compute``: config -> array.
    """
    found, plain = [], compute(base)
    for key in reuse_table()["no_effect"]:
        value = otherwise(key, base.get(key, fields.get(key)))
        if key in READ or key in listed or value is None:
            continue
        try:
            other = compute(base | {key: value})
        except (ValueError, RuntimeError, IndexError, TypeError):
            continue  # the reference itself refuses the value
        if other.shape != plain.shape or not torch.equal(other, plain):
            found.append(key)
    return found


def seeded(module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


def vae_effects(reference, entry, fields) -> list[str]:
    config = {key: first(value) for key, value in entry["implements"].items() if key in fields}
    config |= {key: value for key, value in SMALL_VAE.items() if key in fields}

    def compute(config):
        module = seeded(reference(**config))
        frames = (1,) if "temperal_downsample" in fields else ()
        channels = config.get("z_dim", config.get("latent_channels"))
        with torch.no_grad():
            return module.decode(torch.ones(1, channels, *frames, 4, 4), return_dict=False)[0]

    return changing(config, fields, entry["implements"], compute)


def text_effects(reference, config_class, config: dict, fields: dict, listed: dict) -> list[str]:
    # The prompt's end token does not occur earlier in it, but the end tokens of other configs do.
    last = config["vocab_size"] - 1
    ids = torch.tensor([[3, 17, 5, last - 7, 9, last, 2]])

    def compute(config):
        made = config_class(**copy.deepcopy(config))
        made._attn_implementation = "eager"
        with torch.no_grad():
            given = seeded(reference(made))(ids)
        return torch.cat([given.last_hidden_state.flatten(), getattr(given, "pooler_output", torch.ones(1)).flatten()])

    return changing(config, fields, listed, compute)


def mflux_class(entry):
    module, _, name = entry["module"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def mapping_of(choice):
    module, cls, getter = MAPPINGS[choice]
    return getattr(getattr(importlib.import_module(f"mflux.models.{module}"), cls), getter)


def open_tensors(choice, question, module, state) -> list:
    tensors = {name: Tensor(name, "F32", tuple(value.shape)) for name, value in state.items()}
    blocks = {"wan22": 4, "t5": 24}.get(choice)
    component = ComponentDefinition(
        question, question, mapping_getter=mapping_of(choice), num_blocks=blocks, num_layers=layers(module)
    )
    findings = account(component, module, tensors, Waivers(known=_FACTS.get((question, choice)))).findings
    return sorted({f"{finding.kind} {finding.name}" for finding in findings if finding.fails})


def layers(module):
    return len(module.layers) if hasattr(module, "layers") else None


def vae(choice, entry) -> dict:
    import diffusers

    facts = {}
    for name in entry["classes"]:
        reference = getattr(diffusers, name)
        parameters = inspect.signature(reference.__init__).parameters
        fields = {key: value.default for key, value in parameters.items() if key not in ("self", "kwargs")}
        found = defaults_of(entry, fields)
        config = {key: first(value) for key, value in entry["implements"].items() if key in fields}
        with torch.device("meta"):
            state = reference(**config).state_dict()
        with shape_only_weights():
            module = mflux_class(entry)()
        found["open"] = open_tensors(choice, "vae", module, state)
        found["constants"] = constants(module, entry["implements"])
        found["changing"] = vae_effects(reference, entry, fields)
        facts[name] = found
    return facts


def constants(module, implements) -> list[str]:
    """The numbers that mflux's class keeps and for which the table has other values."""
    wrong = []
    for attribute, key in (("LATENTS_MEAN", "latents_mean"), ("LATENTS_STD", "latents_std")):
        given = getattr(module, attribute, None)
        if (
            (given is None) != (implements.get(key) is None)
            or given is not None
            and not np.allclose(given, implements[key])
        ):
            wrong.append(key)
    if "scaling_factor" in implements:
        pairs = (module.scaling_factor, implements["scaling_factor"]), (module.shift_factor, implements["shift_factor"])
        wrong += [str(pair) for pair in pairs if pair[0] != pair[1]]
    groups = {layer.num_groups for _, layer in module.named_modules() if hasattr(layer, "num_groups")}
    if groups and groups != {implements["norm_num_groups"]}:
        wrong.append(f"groups {groups}")
    if "batch_norm_eps" in implements and module.bn.eps != implements["batch_norm_eps"]:
        wrong.append("batch_norm_eps")
    return wrong


def text_encoder(choice, entry) -> dict:
    import transformers

    config_name, model_name = REFERENCES[choice]
    config_class = getattr(transformers, config_name)
    fields = {name: getattr(config_class, name, None) for name in config_class.__dataclass_fields__}
    base = {*transformers.PretrainedConfig.__dataclass_fields__}
    found = defaults_of(
        entry, {key: value for key, value in fields.items() if key not in base or key in entry["implements"]}
    )
    sizes = {key: TINY[key] for key in (*entry["takes"], "head_dim") if key in TINY and entry["takes"]}
    fixed = {key: value for key, value in entry["implements"].items() if key in fields and not isinstance(value, dict)}
    fixed = {
        key: value
        for key, value in fixed.items()
        if key != "layer_types" and not str(value).startswith(("any", "at least"))
    }
    if choice == "smollm3":
        sizes.pop("head_dim")
        fixed["no_rope_layers"] = [1] * TINY["num_hidden_layers"]
    if choice == "mistral3":
        fixed["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e6, "llama_4_scaling_beta": 0.1,
                                    "original_max_position_embeddings": 16384}  # fmt: skip
    sizes_and_ids = {**sizes, "pad_token_id": 0} if sizes else {}
    config = config_class(
        **{**sizes_and_ids, **fixed, **{key: value for key, value in entry["optional"].items() if key != "head_dim"}}
    )
    if choice == "gemma2":
        config.query_pre_attn_scalar = 16
    config._attn_implementation = "eager"
    reference = getattr(transformers, model_name)
    plain = {**sizes_and_ids, **fixed, **SMALL_TEXT.get(choice, {})}
    found["changing"] = text_effects(reference, config_class, plain, fields, entry["implements"])
    if choice == "t5":
        with torch.device("meta"):
            state = reference(config).state_dict()
        with shape_only_weights():
            module = mflux_class(entry)()
        tied = {"encoder.embed_tokens.weight"}
        found["open"] = open_tensors(choice, "text_encoder", module, {k: v for k, v in state.items() if k not in tied})
        return found | {"distance": t5_parts(config)}
    torch.manual_seed(0)
    model = reference(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    keywords = {**sizes, **({"rope_theta": theta(config)} if sizes else {})}
    if choice == "gemma2":
        from mflux.models.common.pid_decoder.gemma2.gemma2_config import Gemma2Config

        module = mflux_class(entry)(Gemma2Config(**keywords, query_pre_attn_scalar=16))
    else:
        module = mflux_class(entry)(**keywords)
    return found | {"distance": distance(choice, model, module)}


def theta(config) -> float:
    rope = config.rope_parameters
    rope = rope if "rope_theta" in rope else next(iter(rope.values()))
    return rope["rope_theta"]


def t5_parts(config) -> float:
    """T5 at its full width is too large for a test: its norm's eps, buckets and activation are compared separately."""
    from mflux.models.flux.model.flux_text_encoder.t5_encoder.t5_dense_relu_dense import T5DenseReluDense
    from mflux.models.flux.model.flux_text_encoder.t5_encoder.t5_layer_norm import T5LayerNorm
    from mflux.models.flux.model.flux_text_encoder.t5_encoder.t5_self_attention import T5SelfAttention
    from transformers.activations import ACT2FN
    from transformers.models.t5.modeling_t5 import T5Attention

    numbers = np.linspace(-4, 4, 41).astype(np.float32)
    ours = np.array(T5DenseReluDense.new_gelu(mx.array(numbers)))
    activation = np.abs(ours - ACT2FN[config.dense_act_fn](torch.tensor(numbers)).numpy()).max()
    places = np.arange(-200, 201).reshape(1, -1)
    ours = np.array(T5SelfAttention._relative_position_bucket(mx.array(places)))
    theirs = T5Attention._relative_position_bucket(
        torch.tensor(places), True, config.relative_attention_num_buckets, config.relative_attention_max_distance
    )
    eps = abs(T5LayerNorm().variance_epsilon - config.layer_norm_epsilon)
    return float(max(activation, np.abs(ours - theirs.numpy()).max(), eps * 1e6))


def distance(choice, model, module) -> float:
    """The largest difference of the last hidden states, over the largest number in them."""
    state = {name: mx.array(value.numpy()) for name, value in model.state_dict().items()}
    load(choice, module, state)
    ids = np.array([[3, 17, 5, 42, 9, 63]]) if choice != "clip" else np.array([[49406, 320, 1125, 539, 550, 49407]])
    with torch.no_grad():
        theirs = model(
            torch.tensor(ids), attention_mask=torch.ones(ids.shape, dtype=torch.long), output_hidden_states=True
        )
    given = module(mx.array(ids)) if choice == "clip" else module(mx.array(ids), mx.ones(ids.shape, dtype=mx.int32))
    given = given[0] if isinstance(given, tuple) else given[3] if isinstance(given, list) else given
    ours = np.array(given.astype(mx.float32))
    # Each class of mflux returns one of the reference's hidden states, before or after the last norm.
    states = [theirs.pooler_output] if choice == "clip" else [theirs.last_hidden_state, *theirs.hidden_states[1:]]
    return min(
        float(np.abs(ours.reshape(one.shape) - one).max() / np.abs(one).max())
        for one in map(torch.Tensor.numpy, states)
    )


def load(choice, module, state) -> None:
    paths = {path for path, _ in tree_flatten(module.parameters())}
    if choice == "clip":
        state = {
            name if name.startswith("text_model.") else f"text_model.{name}": value for name, value in state.items()
        }
    if choice in MAPPINGS:
        tree = WeightMapper.apply_mapping(
            state, mapping_of(choice)(), num_layers=layers(module), num_blocks=layers(module)
        )
        given = dict(tree_flatten(tree))
        if not paths <= given.keys():  # the mapping may know the names only with a prefix
            tree = WeightMapper.apply_mapping({f"model.{k}": v for k, v in state.items()}, mapping_of(choice)(),
                                              num_layers=layers(module), num_blocks=layers(module))  # fmt: skip
            given |= dict(tree_flatten(tree))
    else:
        given = {name: value for name, value in state.items() if name in paths}
        given |= {f"language_model.model.{name}": value for name, value in state.items()}
    lacking = [path for path in paths - given.keys() if "inv_freq" not in path]
    assert not lacking, f"{choice} is not loaded: {lacking[:3]}"
    module.load_weights([(path, value) for path, value in given.items() if path in paths], strict=False)


def main() -> None:
    table, facts = reuse_table(), {}
    for question, compare in (("vae", vae), ("text_encoder", text_encoder)):
        for choice, entry in table[question].items():
            facts[choice] = compare(choice, entry)
    print(json.dumps(facts))


if __name__ == "__main__":
    sys.exit(main())
