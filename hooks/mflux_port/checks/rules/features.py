"""Shared features and the variant's own shape: callbacks, tiling, img2img, caches, sizes, style."""

from __future__ import annotations

import ast
import re

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.package import Class, Package
from mflux_port.checks.engine.rule import Verdict, failed, none_of, not_applicable, passed, rule

_VARIANT = "src/mflux/models/<model>/variants/"
_CREATOR = "src/mflux/models/<model>/latent_creator/"
_INITIALIZER = "src/mflux/models/<model>/<model>_initializer.py"
# flux2_klein, the guide's example, has 99 lines and one operation.
_LONGEST, _MOST_OPERATIONS = 130, 5
_ROPE = re.compile(r"rope|rotary|freqs_cis", re.IGNORECASE)
_SAVER = "src/mflux/callbacks/instances/memory_saver.py"


def _own_creator(package: Package) -> str | None:
    return None if package.latent_creators else "the port has no latent creator of its own"


def _method(package: Package, name: str) -> ast.FunctionDef | None:
    return next((item.methods[name] for item in package.latent_creators if name in item.methods), None)


@rule(
    "FEA01",
    looks_at=_CREATOR,
    fix="add the static method unpack_latents(latents, height, width)",
    why="the stepwise handler calls it by keyword (#322)",
    only=_own_creator,
)
def latents_can_be_unpacked(package: Package) -> Verdict:
    """The latent creator unpacks latents for stepwise images"""
    method = _method(package, "unpack_latents")
    if method is None:
        return failed("no unpack_latents")
    lacking = [name for name in ("latents", "height", "width") if name not in syntax.parameters(method)]
    return none_of([f"unpack_latents takes no {name}" for name in lacking])


@rule(
    "FEA02",
    looks_at=_CREATOR,
    fix="add the static method create_noise(seed, height, width)",
    why="every caller seeds in the same way; parity replays exactly this noise",
    only=_own_creator,
)
def noise_is_created_there(package: Package) -> Verdict:
    """The latent creator makes the noise from a seed"""
    methods = [method for item in package.latent_creators for method in item.methods.values()]
    seeded = [method.name for method in methods if "seed" in syntax.parameters(method)]
    return passed(seeded[0]) if seeded else failed("no create_noise(seed, …)")


@rule(
    "FEA03",
    looks_at=_CREATOR,
    fix="add the static method pack_latents(latents, height, width)",
    why="image-to-image and training pack what the VAE encodes",
    only=lambda package: _own_creator(package) or reasons.takes_image(package),
)
def latents_can_be_packed(package: Package) -> Verdict:
    """The latent creator packs encoded images"""
    return passed() if _method(package, "pack_latents") else failed("no pack_latents")


@rule(
    "FEA04",
    looks_at=_CREATOR,
    fix="drop the frame axis first: if latents.ndim == 5: latents = latents[:, :, 0, :, :]",
    why="a tiled encode (--low-ram) gives five axes: 'too many values to unpack (expected 4)' (#463, #587, #734)",
    only=lambda package: _own_creator(package) or reasons.takes_image(package),
)
def tiled_encodes_are_packed(package: Package) -> Verdict:
    """pack_latents takes what a tiled encode gives"""
    method = _method(package, "pack_latents")
    if method is None:
        return failed("no pack_latents")
    # A sibling of the method may do it: flux2 patchifies first.
    nodes = [node for item in package.latent_creators for node in item.nodes]
    if any(isinstance(node, ast.Attribute) and node.attr in ("ndim", "squeeze") for node in nodes):
        return passed()
    delegates = any("LatentCreator." in syntax.dotted(c.func) for c in syntax.walk(method) if isinstance(c, ast.Call))
    unpacks = any(isinstance(node, ast.Attribute) and node.attr == "shape" for node in syntax.walk(method))
    return passed() if delegates or not unpacks else failed("pack_latents expects four axes")


@rule(
    "FEA05",
    looks_at=_VARIANT,
    fix="encode with LatentCreator.encode_image (or Img2Img) and blend with add_noise_by_interpolation",
    why="image-to-image paths of a port's own forgot tiling and normalisation (#463, #476)",
    only=reasons.takes_image,
)
def image_to_image_is_shared(package: Package) -> Verdict:
    """Image-to-image goes through the shared LatentCreator"""
    names = ("LatentCreator.encode_image", "LatentCreator.create_for_txt2img_or_img2img", "LatentCreator.encode")
    nodes = [*package.variant_nodes, *(node for item in package.latent_creators for node in item.nodes)]
    return passed() if syntax.calls(nodes, *names) else failed("the shared LatentCreator is not called")


@rule(
    "FEA16",
    looks_at=_VARIANT,
    fix="pack and normalise what LatentCreator.encode_image gives, with the latent creator's own methods",
    why="the guide: the image-to-image path must match text-to-image and training (batch norm, scale factor)",
    only=lambda package: _own_creator(package) or _encodes_images(package),
)
def encoded_images_are_packed_and_normalised(package: Package) -> Verdict:
    """Every encoded picture is packed and normalised"""
    known = {name for item in package.latent_creators for name in item.methods if is_packing(name)}
    wrong = [
        f"{file} does not call {name}"
        for file in _encoding(package)
        for name in sorted(known - packing(package.facts.nodes(file)))
    ]
    return none_of(wrong)


@rule(
    "FEA06",
    looks_at=_VARIANT,
    fix="pass tiling_config=self.tiling_config to every decode",
    why="six paths decoded untiled: 9.6 GB where 3 were enough (#322, #430, #577)",
    only=reasons.draws,
)
def decodes_are_tiled(package: Package) -> Verdict:
    """Every decode gets the tiling configuration"""
    found = syntax.calls(package.variant_nodes, "VAEUtil.decode", "decode_packed_latents")
    # It is the third parameter of VAEUtil.decode.
    bare = [call for call in found if not (syntax.has_keyword(call, "tiling_config") or len(call.args) > 2)]
    return none_of([f"the decode in line {call.lineno} gets no tiling_config" for call in bare])


@rule(
    "FEA07",
    looks_at=f"{_INITIALIZER} and {_SAVER}",
    fix="let MemorySaver set tiling_config only where the model has none",
    why="--low-ram overwrote the tiling that the port's VAE needs (guide: MemorySaver guard)",
    only=reasons.draws,
)
def own_tiling_survives(package: Package) -> Verdict:
    """--low-ram leaves the port's own tiling alone"""
    own = [
        value
        for name, value in _attributes(package.initializer_nodes)
        if name.endswith(".tiling_config") and isinstance(value, ast.Call)
    ]
    if not own:
        return not_applicable("the initializer sets no tiling of its own")
    text = package.facts.text(_SAVER)
    guarded = 'getattr(model, "tiling_config", None) is None' in text or "tiling_config is None" in text
    return passed() if guarded else failed("MemorySaver replaces the tiling_config")


@rule(
    "FEA08",
    looks_at=_INITIALIZER,
    fix="set vae, transformer, tokenizers, bits, callbacks, tiling_config, model_config, prompt_cache there",
    why="MemorySaver, trainer and saver look these names up",
    only=reasons.draws,
)
def model_has_the_usual_attributes(package: Package) -> Verdict:
    """The initializer sets the attributes that shared code looks up"""
    nodes = [*package.initializer_nodes, *package.variant_nodes]
    names = {name.rpartition(".")[2] for name, _ in _attributes(nodes)}
    # A model with two transformers calls them conditional_transformer and unconditional_transformer.
    names |= {"transformer"} if any(name.endswith("_transformer") for name in names) else set()
    wanted = ("model_config", "callbacks", "tiling_config", "bits", "transformer")
    return none_of([f"{name} is not set" for name in wanted if name not in names])


@rule(
    "FEA09",
    looks_at=_INITIALIZER,
    fix="build the transformer with **(model_config.transformer_overrides or {})",
    why="a 9B checkpoint was built with the 4B's sizes (#341, #426)",
    only=reasons.has_entries,
)
def sizes_come_from_the_registry(package: Package) -> Verdict:
    """Sizes that the registry gives are used"""
    nodes = [*package.initializer_nodes, *package.variant_nodes]
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    named = ("transformer_overrides", "text_encoder_overrides")
    given = {name: entry.key for entry in package.entries for name in named if entry.fields.get(name)}
    return none_of([f"{name} of {key} is not used" for name, key in given.items() if name not in used])


@rule(
    "FEA10",
    looks_at=_VARIANT,
    fix="start the callbacks with self.callbacks.start(…), then before_loop, in_loop and after_loop",
    why="stepwise images, memory saver and battery saver hang on these calls",
    only=reasons.draws,
)
def loop_calls_the_callbacks(package: Package) -> Verdict:
    """The loop calls before_loop, in_loop and after_loop"""
    called = {
        syntax.dotted(node.func).rpartition(".")[2] for node in package.variant_nodes if isinstance(node, ast.Call)
    }
    return none_of([f"{name} is not called" for name in ("before_loop", "in_loop", "after_loop") if name not in called])


@rule(
    "FEA11",
    looks_at=_VARIANT,
    fix="on KeyboardInterrupt call ctx.interruption(…) and raise StopImageGenerationException",
    why="Ctrl-C keeps the last stepwise image only then",
    only=reasons.draws,
)
def interruption_is_handled(package: Package) -> Verdict:
    """Ctrl-C is passed to the callbacks"""
    return passed() if syntax.calls(package.variant_nodes, "interruption") else failed("interruption is not called")


@rule(
    "FEA12",
    looks_at=_VARIANT,
    fix="keep the embeddings in self.prompt_cache[prompt]",
    why="recent ports encode a prompt once; --low-ram drops the text encoder after it",
    only=reasons.draws,
)
def prompts_are_cached(package: Package) -> Verdict:
    """Prompt embeddings are cached in prompt_cache"""
    names = {node.attr for node in package.variant_nodes if isinstance(node, ast.Attribute)}
    return passed() if "prompt_cache" in names else failed("the variant does not use prompt_cache")


@rule(
    "FEA13",
    looks_at=f"{_VARIANT} and the prompt encoder",
    fix="take the plain prompt as the key, and a second entry for the negative prompt",
    why="MemorySaver asks `prompt in model.prompt_cache`; another key keeps the encoder in memory on several seeds",
    only=reasons.draws,
)
def cache_is_keyed_by_the_prompt(package: Package) -> Verdict:
    """prompt_cache is keyed by the prompt itself"""
    keys = []
    for file in [*package.below("variants"), *package.below("model")]:
        if "prompt_cache[" in package.facts.text(file):
            keys += _cache_keys(package.facts.nodes(file))
    if not keys:
        return not_applicable("nothing is kept in prompt_cache")
    wrong = [f"the key is {key}" for key in keys if "prompt" not in key]
    return none_of(sorted(set(wrong)))


@rule(
    "FEA14",
    looks_at=_VARIANT,
    fix="let _predict return the closure that predicts one step, RoPE set up inside",
    why="the shape of recent ports (flux2_klein, z_image)",
    only=reasons.draws,
)
def prediction_is_one_method(package: Package) -> Verdict:
    """The prediction of one step is a method _predict"""
    names = {node.name for node in package.variant_nodes if isinstance(node, ast.FunctionDef)}
    return passed() if names & {"_predict", "_predict_noise"} else failed("no _predict")


@rule(
    "FEA15",
    looks_at=_VARIANT,
    fix="move the decoding into _decode_latents",
    why="the shape of recent ports (flux2_klein, z_image)",
    only=reasons.draws,
)
def decoding_is_one_method(package: Package) -> Verdict:
    """The decoding is a method _decode_latents"""
    names = {node.name for node in package.variant_nodes if isinstance(node, ast.FunctionDef)}
    return passed() if "_decode_latents" in names else failed("no _decode_latents")


@rule(
    "FEA17",
    looks_at=_VARIANT,
    fix="leave prompts, latents, the loop and the decoding to methods of their own",
    why="the guide: a thin generate_image, as flux2_klein and z_image have",
    only=reasons.draws,
)
def generate_image_is_thin(package: Package) -> Verdict:
    """generate_image is thin: not longer than 130 lines, no more than 5 tensor operations"""
    wrong = []
    for item, method in _drawing_methods(package):
        length = method.end_lineno - method.lineno + 1
        nodes = [node for node in syntax.walk(method) if isinstance(node, ast.Call)]
        operations = [node for node in nodes if syntax.dotted(node.func).startswith("mx.")]
        if length > _LONGEST:
            wrong.append(f"{item.file} line {method.lineno} has {length} lines")
        if len(operations) > _MOST_OPERATIONS:
            wrong.append(f"{item.file} line {method.lineno} calls mx {len(operations)} times")
    return none_of(wrong)


@rule(
    "FEA18",
    looks_at=_VARIANT,
    fix="set RoPE up in _predict, before the closure that predicts one step",
    why="the guide: RoPE setup inside the predict path",
    only=reasons.draws,
)
def rope_is_set_up_in_the_predict_path(package: Package) -> Verdict:
    """RoPE is set up in the predict path, once"""
    found = []
    for item in package.variants:
        for name, method in item.methods.items():
            loops = [node for node in syntax.walk(method) if isinstance(node, ast.For | ast.While)]
            bodies = [method] if name == "generate_image" else loops
            calls = [call for body in bodies for call in syntax.walk(body) if isinstance(call, ast.Call)]
            named = [call for call in calls if _ROPE.search(syntax.dotted(call.func).rpartition(".")[2])]
            found += [f"{item.file} line {call.lineno}: {syntax.dotted(call.func)} in {name}" for call in named]
    return none_of(found)


def _drawing_methods(package: Package) -> list[tuple[Class, ast.FunctionDef]]:
    return [(item, item.methods["generate_image"]) for item in package.variants if "generate_image" in item.methods]


def packing(nodes: list[ast.AST]) -> set[str]:
    """The methods that pack or normalise latents and are called among ``nodes``."""
    names = {syntax.dotted(node.func).rpartition(".")[2] for node in nodes if isinstance(node, ast.Call)}
    return {name for name in names if is_packing(name)}


def is_packing(name: str) -> bool:
    return name == "pack_latents" or "normalize_latents" in name and "denormalize" not in name


def _encoding(package: Package) -> list[str]:
    names = {"LatentCreator.encode_image", "VAEUtil.encode"}
    return [
        file
        for file in package.below("variants")
        if names & {syntax.dotted(node.func) for node in package.facts.nodes(file) if isinstance(node, ast.Call)}
    ]


def _encodes_images(package: Package) -> str | None:
    return None if _encoding(package) else "no variant encodes a picture itself"


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
    return [syntax.written(t.slice) for t in stored if syntax.dotted(t.value).endswith("prompt_cache")]
