"""FEA: the variant class and the shared features: callbacks, tiling, image-to-image, caches."""

from __future__ import annotations

import ast
import re

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.latents import is_packing, packing_calls
from mflux_port.checks.engine.package import Class, Package
from mflux_port.checks.engine.rule import Verdict, failed, failed_if, not_applicable, passed, rule

_VARIANT = "src/mflux/models/<model>/variants/"
_CREATOR = "src/mflux/models/<model>/latent_creator/"
_INITIALIZER = "src/mflux/models/<model>/<model>_initializer.py"
# The guide's example, flux2_klein, has 99 lines and one operation.
_LONGEST, _MOST_OPERATIONS = 130, 5
_ROPE = re.compile(r"rope|rotary|freqs_cis", re.IGNORECASE)
_SAVER = "src/mflux/callbacks/instances/memory_saver.py"


def _own_creator(package: Package) -> str | None:
    return None if package.latent_creators else "the port does not have its own latent creator"


@rule(
    "FEA01",
    looks_at=_CREATOR,
    fix="add the static method unpack_latents(latents, height, width)",
    why="the stepwise handler calls it with keyword arguments (#322)",
    only=_own_creator,
)
def latents_can_be_unpacked(package: Package) -> Verdict:
    """The latent creator can unpack latents for stepwise images"""
    method = _method(package, "unpack_latents")
    if method is None:
        return failed("no unpack_latents")
    lacking = [name for name in ("latents", "height", "width") if name not in syntax.parameters(method)]
    return failed_if([f"unpack_latents has no parameter {name}" for name in lacking])


@rule(
    "FEA02",
    looks_at=_CREATOR,
    fix="add the static method create_noise(seed, height, width)",
    why="all callers then get the same noise from a seed; the parity check replays exactly this noise",
    only=_own_creator,
)
def noise_is_made_from_a_seed(package: Package) -> Verdict:
    """The latent creator makes the noise from a seed"""
    methods = [method for item in package.latent_creators for method in item.methods.values()]
    seeded = [method.name for method in methods if "seed" in syntax.parameters(method)]
    return passed(seeded[0]) if seeded else failed("no create_noise(seed, …)")


@rule(
    "FEA03",
    looks_at=_CREATOR,
    fix="add the static method pack_latents(latents, height, width)",
    why="image-to-image and training pack the VAE's output",
    only=lambda package: _own_creator(package) or reasons.takes_image(package),
)
def latents_can_be_packed(package: Package) -> Verdict:
    """The latent creator can pack encoded images"""
    return passed() if _method(package, "pack_latents") else failed("no pack_latents")


@rule(
    "FEA04",
    looks_at=_CREATOR,
    fix="remove the frame axis first: if latents.ndim == 5: latents = latents[:, :, 0, :, :]",
    why="a tiled encode (--low-ram) returns five axes: 'too many values to unpack (expected 4)' (#463, #587, #734)",
    only=lambda package: _own_creator(package) or reasons.takes_image(package),
)
def tiled_encodes_are_packed(package: Package) -> Verdict:
    """pack_latents accepts the output of a tiled encode"""
    method = _method(package, "pack_latents")
    if method is None:
        return failed("no pack_latents")
    # Another method may remove the axis: flux2 patchifies first.
    nodes = [node for item in package.latent_creators for node in item.nodes]
    if syntax.attribute_names(nodes) & {"ndim", "squeeze"}:
        return passed()
    delegates = any("LatentCreator." in syntax.dotted(c.func) for c in syntax.walk(method) if isinstance(c, ast.Call))
    unpacks = "shape" in syntax.attribute_names(syntax.walk(method))
    return passed() if delegates or not unpacks else failed("pack_latents accepts only four axes")


@rule(
    "FEA05",
    looks_at=_VARIANT,
    fix="encode with LatentCreator.encode_image (or Img2Img) and blend with add_noise_by_interpolation",
    why="custom image-to-image code forgot tiling and normalization (#463, #476)",
    only=reasons.takes_image,
)
def image_to_image_is_shared(package: Package) -> Verdict:
    """Image-to-image uses the shared LatentCreator"""
    names = ("LatentCreator.encode_image", "LatentCreator.create_for_txt2img_or_img2img", "LatentCreator.encode")
    nodes = [*package.variant_nodes, *(node for item in package.latent_creators for node in item.nodes)]
    return passed() if syntax.calls(nodes, *names) else failed("the shared LatentCreator is not called")


@rule(
    "FEA06",
    looks_at=_VARIANT,
    fix="pass tiling_config=self.tiling_config to every decode",
    why="six code paths decoded without tiling: 9.6 GB where 3 GB was enough (#322, #430, #577)",
    only=reasons.generates,
)
def decodes_are_tiled(package: Package) -> Verdict:
    """Every decode gets the tiling configuration"""
    found = syntax.calls(package.variant_nodes, "VAEUtil.decode", "decode_packed_latents")
    # tiling_config is the third parameter of VAEUtil.decode.
    bare = [call for call in found if not (syntax.has_keyword(call, "tiling_config") or len(call.args) > 2)]
    return failed_if([f"line {call.lineno} decodes without tiling_config" for call in bare])


@rule(
    "FEA07",
    looks_at=f"{_INITIALIZER} and {_SAVER}",
    fix="make MemorySaver set tiling_config only where the model has none",
    why="--low-ram overwrote the tiling that the port's VAE needs (guide: MemorySaver guard)",
    only=reasons.generates,
)
def own_tiling_is_kept(package: Package) -> Verdict:
    """--low-ram keeps the port's own tiling"""
    own = [
        value
        for name, value in _attributes(package.initializer_nodes)
        if name.endswith(".tiling_config") and isinstance(value, ast.Call)
    ]
    if not own:
        return not_applicable("the initializer sets no tiling")
    text = package.facts.text(_SAVER)
    guarded = 'getattr(model, "tiling_config", None) is None' in text or "tiling_config is None" in text
    return passed() if guarded else failed("MemorySaver replaces the tiling_config")


@rule(
    "FEA08",
    looks_at=_INITIALIZER,
    fix="set vae, transformer, tokenizers, bits, callbacks, tiling_config, model_config and prompt_cache there",
    why="MemorySaver, the trainer and mflux-save read these names",
    only=reasons.generates,
)
def model_has_the_shared_attributes(package: Package) -> Verdict:
    """The initializer sets the attributes that shared code reads"""
    nodes = package.model_nodes
    names = {name.rpartition(".")[2] for name, _ in _attributes(nodes)}
    # Some models have two: conditional_transformer and unconditional_transformer.
    names |= {"transformer"} if any(name.endswith("_transformer") for name in names) else set()
    wanted = ("model_config", "callbacks", "tiling_config", "bits", "transformer")
    return failed_if([f"{name} is not set" for name in wanted if name not in names])


@rule(
    "FEA09",
    looks_at=_INITIALIZER,
    fix="build the transformer with **(model_config.transformer_overrides or {})",
    why="a 9B checkpoint was built with the 4B's sizes (#341, #426)",
    only=reasons.has_entries,
)
def sizes_come_from_the_registry(package: Package) -> Verdict:
    """The sizes in the registry are used"""
    nodes = package.model_nodes
    used = syntax.attribute_names(nodes)
    named = ("transformer_overrides", "text_encoder_overrides")
    given = {name: entry.key for entry in package.entries for name in named if entry.fields.get(name)}
    return failed_if([f"{name} of {key} is not used" for name, key in given.items() if name not in used])


@rule(
    "FEA10",
    looks_at=_VARIANT,
    fix="start the callbacks with self.callbacks.start(…), then before_loop, in_loop and after_loop",
    why="stepwise images, the memory saver and the battery saver depend on these calls",
    only=reasons.generates,
)
def loop_calls_the_callbacks(package: Package) -> Verdict:
    """The loop calls before_loop, in_loop and after_loop"""
    called = syntax.called_names(package.variant_nodes)
    return failed_if(
        [f"{name} is not called" for name in ("before_loop", "in_loop", "after_loop") if name not in called]
    )


@rule(
    "FEA11",
    looks_at=_VARIANT,
    fix="on KeyboardInterrupt call ctx.interruption(…) and raise StopImageGenerationException",
    why="without it Ctrl-C loses the last stepwise image",
    only=reasons.generates,
)
def interruption_is_passed_on(package: Package) -> Verdict:
    """Ctrl-C is passed to the callbacks"""
    return passed() if syntax.calls(package.variant_nodes, "interruption") else failed("interruption is not called")


@rule(
    "FEA12",
    looks_at=_VARIANT,
    fix="keep the embeddings in self.prompt_cache[prompt]",
    why="recent ports encode a prompt once; --low-ram then deletes the text encoder",
    only=reasons.generates,
)
def prompts_are_cached(package: Package) -> Verdict:
    """Prompt embeddings are cached in prompt_cache"""
    used = "prompt_cache" in syntax.attribute_names(package.variant_nodes)
    return passed() if used else failed("the variants do not use prompt_cache")


@rule(
    "FEA13",
    looks_at=f"{_VARIANT} and the prompt encoder",
    fix="use the plain prompt as the key (with the images' paths where the encoder sees them), and a second entry for the "
    "negative prompt",
    why="MemorySaver tests `prompt in model.prompt_cache`; with another key the encoder stays in memory when there are several seeds",
    only=reasons.generates,
)
def cache_is_keyed_by_the_prompt(package: Package) -> Verdict:
    """prompt_cache is keyed by the prompt itself"""
    keys = []
    for file in [*package.files_in("variants"), *package.files_in("model")]:
        if "prompt_cache[" in package.facts.text(file):
            keys += _cache_keys(package.facts.nodes(file))
    if not keys:
        return not_applicable("nothing is stored in prompt_cache")
    wrong = [f"the key is {key}" for key in keys if "prompt" not in key]
    return failed_if(sorted(set(wrong)))


@rule(
    "FEA14",
    looks_at=_VARIANT,
    fix="make _predict return a function that predicts one step, and set up RoPE in it",
    why="recent ports do it this way (flux2_klein, z_image)",
    only=reasons.generates,
)
def prediction_is_one_method(package: Package) -> Verdict:
    """The prediction of one step is a method _predict"""
    names = syntax.function_names(package.variant_nodes)
    return passed() if names & {"_predict", "_predict_noise"} else failed("no _predict")


@rule(
    "FEA15",
    looks_at=_VARIANT,
    fix="move the decoding into _decode_latents",
    why="recent ports do it this way (flux2_klein, z_image)",
    only=reasons.generates,
)
def decoding_is_one_method(package: Package) -> Verdict:
    """The decoding is a method _decode_latents"""
    names = syntax.function_names(package.variant_nodes)
    return passed() if "_decode_latents" in names else failed("no _decode_latents")


@rule(
    "FEA16",
    looks_at=_VARIANT,
    fix="pack and normalize the output of LatentCreator.encode_image with the latent creator's methods",
    why="the guide: the image-to-image path must match text-to-image and training (batch norm, scale factor)",
    only=lambda package: _own_creator(package) or _encodes_images(package),
)
def encoded_images_are_packed_and_normalized(package: Package) -> Verdict:
    """Every encoded image is packed and normalized"""
    known = {name for item in package.latent_creators for name in item.methods if is_packing(name)}
    wrong = [
        f"{file} does not call {name}"
        for file in _encoding(package)
        for name in sorted(known - packing_calls(package.facts.nodes(file)))
    ]
    return failed_if(wrong)


@rule(
    "FEA17",
    looks_at=_VARIANT,
    fix="move prompts, latents, the loop and the decoding to their own methods",
    why="the guide: a thin generate_image, as in flux2_klein and z_image",
    only=reasons.generates,
)
def generate_image_is_thin(package: Package) -> Verdict:
    """generate_image is thin: at most 130 lines and 5 tensor operations"""
    wrong = []
    for item, method in _generate_methods(package):
        length = method.end_lineno - method.lineno + 1
        nodes = [node for node in syntax.walk(method) if isinstance(node, ast.Call)]
        operations = [node for node in nodes if syntax.dotted(node.func).startswith("mx.")]
        if length > _LONGEST:
            wrong.append(f"{item.file} line {method.lineno} has {length} lines")
        if len(operations) > _MOST_OPERATIONS:
            wrong.append(f"{item.file} line {method.lineno} calls mx {len(operations)} times")
    return failed_if(wrong)


@rule(
    "FEA18",
    looks_at=_VARIANT,
    fix="set up RoPE in _predict, before the function that predicts one step",
    why="the guide: RoPE setup inside the predict path",
    only=reasons.generates,
)
def rope_is_set_up_in_the_predict_path(package: Package) -> Verdict:
    """RoPE is set up once, in the predict path"""
    found = []
    for item in package.variants:
        for name, method in item.methods.items():
            loops = [node for node in syntax.walk(method) if isinstance(node, ast.For | ast.While)]
            bodies = [method] if name == "generate_image" else loops
            calls = [call for body in bodies for call in syntax.walk(body) if isinstance(call, ast.Call)]
            named = [call for call in calls if _ROPE.search(syntax.dotted(call.func).rpartition(".")[2])]
            found += [f"{item.file} line {call.lineno}: {syntax.dotted(call.func)} in {name}" for call in named]
    return failed_if(found)


def _method(package: Package, name: str) -> ast.FunctionDef | None:
    return next((item.methods[name] for item in package.latent_creators if name in item.methods), None)


def _generate_methods(package: Package) -> list[tuple[Class, ast.FunctionDef]]:
    return [(item, item.methods["generate_image"]) for item in package.variants if "generate_image" in item.methods]


def _encoding(package: Package) -> list[str]:
    names = {"LatentCreator.encode_image", "VAEUtil.encode"}
    return [
        file
        for file in package.files_in("variants")
        if names & {syntax.dotted(node.func) for node in package.facts.nodes(file) if isinstance(node, ast.Call)}
    ]


def _encodes_images(package: Package) -> str | None:
    return None if _encoding(package) else "no variant encodes an image itself"


def _attributes(nodes: list[ast.AST]) -> list[tuple[str, ast.expr]]:
    found = []
    for node in nodes:
        if isinstance(node, ast.Assign):
            targets = [
                part for target in node.targets for part in syntax.walk(target) if isinstance(part, ast.Attribute)
            ]
            found += [(syntax.dotted(target), node.value) for target in targets]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute) and node.value:
            found.append((syntax.dotted(node.target), node.value))
    return found


def _cache_keys(nodes: list[ast.AST]) -> list[str]:
    stored = [t for node in nodes if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Subscript)]
    return [syntax.source(t.slice) for t in stored if syntax.dotted(t.value).endswith("prompt_cache")]
