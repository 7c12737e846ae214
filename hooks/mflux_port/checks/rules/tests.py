"""TST: the tests that keep a port correct."""

from __future__ import annotations

import ast
import re

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import MERGE, Verdict, failed, failed_if, needs_you, not_applicable, passed, rule

_MARKED = re.compile(r"^(?:@|pytestmark = )pytest\.mark\.(?:fast|slow|high_memory)$", re.MULTILINE)
_GOLDEN = "tests/image_generation/test_generate_image_<model>.py"


@rule(
    "TST01",
    looks_at=_GOLDEN,
    fix="add the golden test: a fixed seed, and the output compared with a reference image",
    why="the golden test locks what was proven before anything is refactored",
    only=reasons.has_tests,
)
def golden_test_exists(package: Package) -> Verdict:
    """A golden test locks the output image"""
    if not _golden(package):
        return failed("no tests/image_generation/test_generate_image_…")
    return failed_if(_empty(package, _golden(package)), _golden(package)[0])


@rule(
    "TST02",
    looks_at=_GOLDEN,
    fix="mark the golden test @pytest.mark.slow",
    why="CI has no weights and runs every test that is not marked slow",
    only=reasons.has_tests,
)
def golden_test_is_slow(package: Package) -> Verdict:
    """The golden test is marked slow"""
    bare = [file for file in _golden(package) if not _marks(package, file) & {"slow"}]
    return failed_if([f"{file} is not marked slow" for file in bare])


@rule(
    "TST03",
    looks_at=_GOLDEN,
    fix="compare with ImageCompare.check_images_close_enough",
    why="an exact comparison fails on other machines (#263, #467)",
    only=reasons.has_tests,
)
def golden_test_compares_images(package: Package) -> Verdict:
    """The golden test compares images with ImageCompare"""
    files = [*_golden(package), *(file for file in package.facts.files("tests/image_generation/helpers"))]
    named = [file for file in files if file in _golden(package) or package.model in file or "test_helper" in file]
    compare = "check_images_close_enough"
    found = [f for f in named if compare in package.facts.text(f) and syntax.calls(package.facts.nodes(f), compare)]
    return passed(found[0]) if found else failed("nothing compares with ImageCompare")


@rule(
    "TST04",
    looks_at="tests/resources/reference_*.png",
    fix="run the golden test with MFLUX_PRESERVE_TEST_OUTPUT=1, look at the image, copy it there, git add -f",
    why="without the reference the golden test compares with nothing",
    only=reasons.has_tests,
    when=MERGE,
)
def golden_reference_exists(package: Package) -> Verdict:
    """Every golden test has its reference image"""
    found = {file.rpartition("/")[2] for file in package.reference_images}
    text = "".join(package.facts.text(file) for file in _golden(package))
    factories = [c.factory for c in package.port.checkpoints] if package.port else []
    wanted = [f"reference_{name}.png" for name in factories if f'"{name}"' in text]
    lacking = [f"tests/resources/{name} is missing" for name in wanted if name not in found]
    lacking += [f"{file} is not a PNG image" for file in package.reference_images if not _is_png(package, file)]
    return failed_if(lacking) if found else failed("no reference_*<model>*.png in tests/resources")


@rule(
    "TST05",
    looks_at=".gitignore and tests/resources/",
    fix="git add -f the reference image",
    why="mflux ignores *.png: the reference was missing from the commit",
    only=lambda package: reasons.has_tests(package) or reasons.in_git(package),
    when=MERGE,
)
def golden_reference_is_tracked(package: Package) -> Verdict:
    """The golden reference image is in git"""
    if not package.reference_images:
        return not_applicable("there is no reference image yet")
    known = package.facts.git("ls-files", "tests/resources")
    return failed_if([f"{file} is not in git" for file in package.reference_images if file not in known])


@rule(
    "TST06",
    looks_at=_GOLDEN,
    fix="run it on the machine that made the reference; a mismatch after a refactoring is a bug in the refactoring",
    why="references change only with explicit approval",
    only=reasons.has_tests,
    when=MERGE,
)
def golden_test_passes(package: Package) -> Verdict:
    """The golden test passes on the hardware that CI uses"""
    return needs_you(
        "MFLUX_PRESERVE_TEST_OUTPUT=1 uv run python -m pytest tests/image_generation -k <model> -m slow -v"
    )


@rule(
    "TST07",
    looks_at="tests/lora/ or tests/test_<model>_lora_mapping.py",
    fix="add fast tests that the keys of each format match, with no key left over",
    why="LoRA files loaded zero keys silently, and this was fixed again and again (#374, #376, #397)",
    only=lambda package: reasons.has_tests(package) or reasons.takes_lora(package),
)
def lora_mapping_is_tested(package: Package) -> Verdict:
    """The LoRA mapping has a fast test"""
    found = [file for file in package.tests if "lora" in file]
    return failed_if(_empty(package, found), found[0]) if found else failed("no test of the LoRA mapping")


@rule(
    "TST08",
    looks_at="tests/training/test_<model>_training_adapter.py",
    fix="test the preview's steps and guidance per checkpoint with a fake model",
    why="preview defaults were wrong for distilled models (guide)",
    only=lambda package: reasons.has_tests(package) or reasons.trains(package),
)
def training_preview_is_tested(package: Package) -> Verdict:
    """The training adapter's preview has a fast test"""
    files = [file for file in package.tests if "training" in file]
    found = [name for file in files for name in _calls(package, file, "generate_preview_image")]
    return passed(found[0]) if found else failed("no test calls generate_preview_image")


@rule(
    "TST09",
    looks_at="tests/model_saving/test_tiny_model_saving_<model>.py",
    fix="save a tiny quantized model, load it again, compare every tensor",
    why="saved models lacked weights, without an error (#405, #559, #611)",
    only=reasons.has_tests,
)
def saving_is_tested(package: Package) -> Verdict:
    """Saving and loading has a test"""
    found = _tests(package, "model_saving")
    if not found:
        return failed("tests/model_saving has no test of the model")
    return failed_if(_empty(package, found), found[0])


@rule(
    "TST10",
    looks_at="tests/model_saving/",
    fix="assert that every component of the saved model has its .index.json",
    why="'FileNotFound for index.json' on saved models (#285, #603)",
    only=reasons.has_answers,
)
def shard_index_is_tested(package: Package) -> Verdict:
    """The saved model's shard index has a test"""
    files = [file for file in _tests(package, "model_saving") if _has_tests(package, file)]
    texts = [text for file in files for text in syntax.strings(package.facts.nodes(file))]
    return passed() if any("index.json" in text for text in texts) else failed("no test checks the index")


@rule(
    "TST11",
    looks_at="tests/cli/test_<model>_command.py or tests/arg_parser/",
    fix="test the command's names, defaults and errors",
    why="the defaults of command, table and README diverged (#580)",
    only=reasons.has_tests,
)
def command_is_tested(package: Package) -> Verdict:
    """The command has a fast test"""
    if _tests(package, "cli"):
        return failed_if(_empty(package, _tests(package, "cli")), _tests(package, "cli")[0])
    shared = [file for file in package.facts.files("tests/arg_parser") if package.model in package.facts.text(file)]
    return passed(shared[0]) if shared else failed("no test in tests/cli or tests/arg_parser names the model")


@rule(
    "TST12",
    looks_at="tests/",
    fix="mark the test fast",
    why="`make test-fast` selects tests by marker; a test without a marker never runs",
    only=reasons.has_answers,
)
def tests_are_marked(package: Package) -> Verdict:
    """Every test file of the port is marked fast or slow"""
    files = [file for file in package.tests if "/test_" in file]
    # Parse only files whose text does not show the marker.
    unclear = [file for file in files if not _MARKED.search(package.facts.text(file))]
    bare = [file for file in unclear if not _marks(package, file) & {"fast", "slow", "high_memory"}]
    return failed_if([f"{file} has no marker" for file in bare])


@rule(
    "TST13",
    looks_at="tests/",
    fix="move what the test needs to tests/",
    why="porting/<model>/ is removed before the pull request",
    only=reasons.has_answers,
)
def tests_need_no_scaffolding(package: Package) -> Verdict:
    """No test needs the porting folder"""
    pattern = re.compile(rf"porting[./]{re.escape(package.model)}|from porting|import porting")
    return failed_if([f"{file} uses porting/" for file in package.tests if pattern.search(package.facts.text(file))])


@rule(
    "TST14",
    looks_at="tests/",
    fix="build the model from a local folder in a fast test (model_path=…); weights and tokenizers must load offline",
    why="tokenizers failed to load from local paths and offline (#383, #388, #389)",
    only=reasons.has_answers,
)
def local_loading_is_tested(package: Package) -> Verdict:
    """Loading weights and tokenizers from a local folder has a fast test"""
    found = [
        f for f in package.tests if "model_path=" in package.facts.text(f) and "mark.fast" in package.facts.text(f)
    ]
    return passed(found[0]) if found else failed("no fast test passes model_path")


@rule(
    "TST15",
    looks_at="the first run on a machine with part of the checkpoint in its cache",
    fix="delete one tokenizer file from the cache, run the command, and see that the file is downloaded again",
    why="mflux treated a partial Hugging Face cache as complete (#389, #462)",
    only=reasons.has_answers,
    when=MERGE,
)
def partial_cache_was_tried(package: Package) -> Verdict:
    """A partial Hugging Face cache is completed"""
    return needs_you('mflux-generate-<cli> --prompt "a red bicycle" with one file of the cached checkpoint removed')


@rule(
    "TST16",
    looks_at="tests/image_generation/",
    fix="generate 64x64 images with a tiny random checkpoint: text-to-image, image-to-image, stepwise, low-ram",
    why="features broke for models whose weights CI does not have (#463, #734)",
    only=reasons.has_answers,
)
def tiny_model_generates_images(package: Package) -> Verdict:
    """A fast test generates images with a tiny random model"""
    found = [f for f in _tests(package, "image_generation") if "mark.fast" in package.facts.text(f)]
    tiny = [file for file in found if "tiny" in file]
    return passed(tiny[0]) if tiny else failed("no fast test generates an image")


@rule(
    "TST17",
    looks_at="tests/image_generation/ and tests/parity/",
    fix="restore the test with copier recopy, or copy it from another port",
    why="the guide: lock correctness with deterministic tests before refactoring",
    only=reasons.has_answers,
)
def small_parts_are_tested(package: Package) -> Verdict:
    """The latent creator and the parity with the reference have tests"""
    model = package.model
    wanted = [f"tests/image_generation/test_{model}_latent_creator.py", f"tests/parity/test_{model}_parity.py"]
    missing = [f"{file} is missing" for file in wanted if not package.facts.exists(file)]
    return failed_if(missing + _empty(package, [file for file in wanted if package.facts.exists(file)]))


def _tests(package: Package, folder: str, *words: str) -> list[str]:
    """The model's test files in a folder of tests/; with ``words``, those with one of them in their name."""
    own = [file for file in package.tests if file.startswith(f"tests/{folder}") and "/test_" in f"/{file}"]
    return [file for file in own if not words or any(word in file for word in words)]


def _golden(package: Package) -> list[str]:
    own = _tests(package, "image_generation", "test_generate_image_")
    keys = [key.replace("-", "_") for key in package.keys]
    files = package.facts.files("tests/image_generation", "test_generate_image_*.py")
    return own or [file for file in files if any(key in file for key in keys)]


def _calls(package: Package, file: str, *names: str) -> list[str]:
    """The test functions of a file that call one of ``names``, directly or through a fixture or helper of the file."""
    functions = [node for node in package.facts.nodes(file) if isinstance(node, ast.FunctionDef)]
    calling = {node.name for node in functions if syntax.calls(syntax.walk(node), *names)}
    tests = [node for node in functions if node.name.startswith("test_")]
    used = {node.name: syntax.variable_names(syntax.walk(node)) for node in tests}
    fixtures = {node.name: set(syntax.parameters(node)) for node in tests}
    return [name for name in used if name in calling or calling & (used[name] | fixtures[name])]


def _has_tests(package: Package, file: str) -> bool:
    return any(name.startswith("test_") for name in syntax.function_names(package.facts.nodes(file)))


def _empty(package: Package, files: list[str]) -> list[str]:
    return [f"{file} has no test" for file in files if not _has_tests(package, file)]


def _marks(package: Package, file: str) -> set[str]:
    """The pytest markers in a file."""
    names = {syntax.dotted(node) for node in package.facts.nodes(file) if isinstance(node, ast.Attribute)}
    return {name.removeprefix("pytest.mark.") for name in names if name.startswith("pytest.mark.")}


def _is_png(package: Package, file: str) -> bool:
    with open(package.facts.root / file, "rb") as image:
        return image.read(8) == b"\x89PNG\r\n\x1a\n"
