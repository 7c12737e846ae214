"""LAY: the folder layout that mflux's ports share; flux2 is the example."""

from __future__ import annotations

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, failed, failed_if, not_applicable, passed, rule

_FLAT = ("config.py", "scheduler.py", "fp8.py", "layout.py", "transformer.py", "model.py")
_LONGEST = 800
_WHY_TREE = "reviewers know flux2's layout; the guide says not to invent another one"


@rule(
    "LAY01",
    looks_at="src/mflux/models/<model>/__init__.py",
    fix="import the variant class and the initializer there and list both in __all__",
    why="users import the class from the package; with an empty __init__.py the README's example fails",
    only=reasons.generates,
)
def package_exports_its_classes(package: Package) -> Verdict:
    """The package exports its variant class and its initializer"""
    path = f"{package.folder}/__init__.py"
    exported = set(package.facts.imports(path))
    lacking = [] if any(name.endswith("Initializer") for name in exported) else ["no initializer is exported"]
    known = {item.name for item in package.variants}
    return failed_if(lacking + ([] if exported & known else ["no variant class is exported"]))


@rule(
    "LAY02",
    looks_at="src/mflux/models/<model>/<model>_initializer.py",
    fix="move loading, quantization and LoRA into one initializer in the package's root",
    why=_WHY_TREE,
    only=reasons.generates,
)
def package_has_an_initializer(package: Package) -> Verdict:
    """The package's root has an initializer"""
    found = package.initializers
    return passed(found[0]) if found else failed(f"no *_initializer.py in {package.folder}")


@rule(
    "LAY03",
    looks_at="src/mflux/models/<model>/cli/",
    fix="move each command's module to cli/",
    why=_WHY_TREE,
    only=reasons.generates,
)
def commands_are_in_cli(package: Package) -> Verdict:
    """The commands are in cli/"""
    if not package.commands:
        return failed("no command of the port was found")
    return failed_if([file for file in package.commands if not file.startswith(f"{package.folder}/cli/")])


@rule(
    "LAY04",
    looks_at="src/mflux/models/<model>/latent_creator/",
    fix="add latent_creator/<model>_latent_creator.py with create_noise, pack_latents and unpack_latents",
    why="--stepwise-image-output-dir and image-to-image use the latent creator (#322, #463)",
    only=reasons.generates,
)
def package_has_a_latent_creator(package: Package) -> Verdict:
    """The package has a latent creator in latent_creator/, or reuses another family's"""
    found = package.latent_creators
    if found:
        return passed(found[0].file)
    origins = [origin for file in package.commands for origin in package.facts.imports(file).values()]
    shared = next((origin for origin in origins if origin.endswith("LatentCreator")), None)
    return passed(f"{shared} is reused") if shared else failed(f"{package.folder} has no …LatentCreator class")


@rule(
    "LAY05",
    looks_at="src/mflux/models/<model>/variants/txt2img/",
    fix="move the text-to-image class to variants/txt2img/",
    why="save.py and the commands import the class by its full path; ports that put it elsewhere had to move it later",
    only=reasons.generates,
)
def text_to_image_is_in_its_folder(package: Package) -> Verdict:
    """The text-to-image class is in variants/txt2img/"""
    found = [item for item in package.variants if "/variants/txt2img/" in item.file]
    if found:
        return passed(found[0].file)
    others = ", ".join(item.file for item in package.variants) or "none"
    return failed(f"variants/txt2img has no class with generate_image (found: {others})")


@rule(
    "LAY06",
    looks_at="src/mflux/models/<model>/variants/edit/",
    fix="move the editing class to variants/edit/",
    why=_WHY_TREE,
    only=reasons.edits,
)
def editing_is_in_its_folder(package: Package) -> Verdict:
    """The editing class is in variants/edit/"""
    found = [item for item in package.variants if "/variants/edit/" in item.file]
    return passed(found[0].file) if found else failed("variants/edit has no class with generate_image")


@rule(
    "LAY07",
    looks_at="src/mflux/models/<model>/variants/",
    fix="re-export the public class from variants/__init__.py and from its folder's __init__.py",
    why=_WHY_TREE,
    only=reasons.generates,
)
def variants_are_exported(package: Package) -> Verdict:
    """variants/__init__.py re-exports the public classes"""
    path = f"{package.folder}/variants/__init__.py"
    if not package.facts.exists(path):
        return failed(f"{path} is missing")
    public = {item.name for item in package.variants}
    names = ", ".join(sorted(public)) or "the classes"
    return passed() if public & set(package.facts.imports(path)) else failed(f"{path} exports none of {names}")


@rule(
    "LAY08",
    looks_at="src/mflux/models/<model>/",
    fix="move aliases and defaults to ModelConfig, and checks of the checkpoint to the weight definition",
    why="reviewers refused flat modules (config.py, scheduler.py, fp8.py, layout.py, one big transformer.py)",
)
def no_flat_modules(package: Package) -> Verdict:
    """The package's root has no config, scheduler, fp8, layout or transformer module"""
    files = [f"{package.folder}/{name}" for name in _FLAT] + [f"{package.folder}/model/transformer.py"]
    return failed_if([file for file in files if package.facts.exists(file)])


@rule(
    "LAY09",
    looks_at="src/mflux/models/<model>/model/*_transformer/",
    fix="put attention, block, rope and the transformer in one file each, in model/<model>_transformer/",
    why=_WHY_TREE,
    only=reasons.generates,
)
def transformer_is_split(package: Package) -> Verdict:
    """The transformer is split into files in model/<model>_transformer/"""
    folders = {file.split("/")[5] for file in package.files_in("model") if file.count("/") > 5}
    own = sorted(name for name in folders if "transformer" in name)
    if not own:
        return failed("no *_transformer folder in model/")
    files = [file for file in package.files_in("model") if f"/{own[0]}/" in file]
    return passed(own[0]) if len(files) > 1 else failed(f"{own[0]} has only one file")


@rule(
    "LAY10",
    looks_at="src/mflux/models/<model>/model/*_text_encoder/prompt_encoder.py",
    fix="move the prompt encoding to model/<model>_text_encoder/prompt_encoder.py",
    why=_WHY_TREE,
    only=reasons.generates,
)
def prompt_encoder_has_its_file(package: Package) -> Verdict:
    """The prompt encoding has its own file, prompt_encoder.py"""
    found = [file for file in package.files_in("model") if "prompt_encoder" in file.rsplit("/", 1)[-1]]
    return passed(found[0]) if found else failed("no *prompt_encoder.py in model/")


@rule(
    "LAY11",
    looks_at="src/mflux/models/<model>/**/__init__.py",
    fix="add an empty __init__.py to each folder listed",
    why="all of mflux's folders are packages; tools that walk packages skip other folders",
)
def folders_are_packages(package: Package) -> Verdict:
    """Every folder with Python files is a package"""
    folders = sorted({file.rsplit("/", 1)[0] for file in package.files})
    return failed_if([folder for folder in folders if f"{folder}/__init__.py" not in package.files])


@rule(
    "LAY12",
    looks_at="src/mflux/models/<model>/**/*.py",
    fix="split the file: one class per file",
    why="the guide: split large files into focused modules once the behavior is locked",
)
def no_file_is_huge(package: Package) -> Verdict:
    """No file of the package is longer than 800 lines"""
    sizes = {file: package.facts.text(file).count("\n") for file in package.files}
    return failed_if([f"{file} has {size} lines" for file, size in sizes.items() if size > _LONGEST])


@rule(
    "LAY13",
    looks_at="src/mflux/models/<model>/: classes called …Scheduler",
    fix="call register_contrib for the class in the scheduler folder's __init__.py and import that module",
    why="--scheduler finds a scheduler only by its registered name",
    only=reasons.generates,
)
def own_scheduler_is_registered(package: Package) -> Verdict:
    """The port's own scheduler is registered with mflux, or --scheduler is declared as having no effect"""
    named = [file for file in package.files if "scheduler" in package.facts.text(file).lower()]
    files = [item.file for item in package.classes(named) if item.name.endswith("Scheduler")]
    if not files:
        return not_applicable("the port uses mflux's schedulers")
    found = [file for file in named if syntax.calls(package.facts.nodes(file), "register_contrib")]
    declared = [f for f in package.commands if "--scheduler" in syntax.strings(package.facts.nodes(f))]
    if not found and declared:
        return passed(f"{declared[0]} declares --scheduler")
    return passed(found[0]) if found else failed(f"{files[0]} has a scheduler, but nothing calls register_contrib")


@rule(
    "LAY14",
    looks_at="src/mflux/models/common/cli/save.py and the port's commands",
    fix="import the class from variants.txt2img.<model> (or variants.edit.…), not from the package",
    why="the guide: import from the full path in save.py and the commands",
    only=reasons.generates,
)
def classes_are_imported_by_full_path(package: Package) -> Verdict:
    """save.py and the commands import the variant class from variants, not from the package"""
    short = {f"mflux.models.{package.model}"}
    wrong = [f"save.py imports {n} from {m}" for n, m in package.facts.save_classes.items() if m in short]
    for file in package.commands:
        for name, origin in package.facts.imports(file).items():
            if origin.rpartition(".")[0] in short:
                wrong.append(f"{file} imports {name} from {origin.rpartition('.')[0]}")
    return failed_if(wrong)
