"""Tests and CI: what must be there for the port to stay what it is."""

from __future__ import annotations

import ast
import re

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import MERGE, Verdict, failed, needs_you, none_of, not_applicable, passed, rule

_MARKED = re.compile(r"^(?:@|pytestmark = )pytest\.mark\.(?:fast|slow|high_memory)$", re.MULTILINE)
_GOLDEN = "tests/image_generation/test_generate_image_<model>.py"


def _tests(package: Package, folder: str, *words: str) -> list[str]:
    """The model's test files below a folder; with ``words``, those that carry one of them in their name."""
    own = [file for file in package.tests if file.startswith(f"tests/{folder}") and "/test_" in f"/{file}"]
    return [file for file in own if not words or any(word in file for word in words)]


def _golden(package: Package) -> list[str]:
    own = _tests(package, "image_generation", "test_generate_image_")
    keys = [key.replace("-", "_") for key in package.keys]
    files = package.facts.files("tests/image_generation", "test_generate_image_*.py")
    return own or [file for file in files if any(key in file for key in keys)]


def _calls(package: Package, file: str, *names: str) -> list[str]:
    """The test functions of a file that call one of ``names``, or the fixtures and helpers of the file that do."""
    functions = [node for node in package.facts.nodes(file) if isinstance(node, ast.FunctionDef)]
    calling = {node.name for node in functions if syntax.calls(syntax.walk(node), *names)}
    tests = [node for node in functions if node.name.startswith("test_")]
    used = {node.name: {part.id for part in syntax.walk(node) if isinstance(part, ast.Name)} for node in tests}
    asked = {node.name: set(syntax.parameters(node)) for node in tests}
    return [name for name in used if name in calling or calling & (used[name] | asked[name])]


def _has_tests(package: Package, file: str) -> bool:
    return any(isinstance(n, ast.FunctionDef) and n.name.startswith("test_") for n in package.facts.nodes(file))


def _empty(package: Package, files: list[str]) -> list[str]:
    return [f"{file} holds no test" for file in files if not _has_tests(package, file)]


def references(package: Package) -> list[str]:
    found = [file for file in package.facts.files("tests/resources", "*.png") if "reference" in file]
    names = [package.model, *(key.replace("-", "_") for key in package.keys)]
    return [file for file in found if any(name in file for name in names)]


@rule(
    "TST01",
    looks_at=_GOLDEN,
    fix="add the golden test: fixed seed, compared with a reference picture",
    why="the deterministic test locks what was proven, before anything is refactored",
    only=reasons.has_tests,
)
def golden_test_is_there(package: Package) -> Verdict:
    """A golden test locks the picture"""
    if not _golden(package):
        return failed("no tests/image_generation/test_generate_image_…")
    return none_of(_empty(package, _golden(package)), _golden(package)[0])


@rule(
    "TST02",
    looks_at=_GOLDEN,
    fix="mark the golden test @pytest.mark.slow",
    why="CI runs what is not marked slow, without weights",
    only=reasons.has_tests,
)
def golden_test_is_slow(package: Package) -> Verdict:
    """The golden test is marked slow"""
    bare = [file for file in _golden(package) if not _marks(package, file) & {"slow"}]
    return none_of([f"{file} is not marked slow" for file in bare])


@rule(
    "TST03",
    looks_at=_GOLDEN,
    fix="compare with ImageCompare.check_images_close_enough",
    why="bit-equal pictures flap between machines (#263, #467)",
    only=reasons.has_tests,
)
def golden_test_compares_pictures(package: Package) -> Verdict:
    """The golden test compares with ImageCompare"""
    files = [*_golden(package), *(file for file in package.facts.files("tests/image_generation/helpers"))]
    named = [file for file in files if file in _golden(package) or package.model in file or "test_helper" in file]
    compare = "check_images_close_enough"
    found = [f for f in named if compare in package.facts.text(f) and syntax.calls(package.facts.nodes(f), compare)]
    return passed(found[0]) if found else failed("nothing compares with ImageCompare")


@rule(
    "TST04",
    looks_at="tests/resources/reference_*.png",
    fix="run the golden test with MFLUX_PRESERVE_TEST_OUTPUT=1, look at the picture, copy it there, git add -f",
    why="without the reference the golden test compares with nothing",
    only=reasons.has_tests,
    when=MERGE,
)
def golden_reference_is_there(package: Package) -> Verdict:
    """Every golden test has its reference picture"""
    found = {file.rpartition("/")[2] for file in references(package)}
    text = "".join(package.facts.text(file) for file in _golden(package))
    factories = [c.factory for c in package.port.checkpoints] if package.port else []
    wanted = [f"reference_{name}.png" for name in factories if f'"{name}"' in text]
    lacking = [f"tests/resources/{name} is missing" for name in wanted if name not in found]
    lacking += [f"{file} is no picture" for file in references(package) if not _is_png(package, file)]
    return none_of(lacking) if found else failed("no reference_*<model>*.png in tests/resources")


@rule(
    "TST05",
    looks_at=".gitignore and tests/resources/",
    fix="git add -f the reference picture",
    why="mflux ignores *.png: the reference was missing from the commit",
    only=lambda package: reasons.has_tests(package) or reasons.in_git(package),
    when=MERGE,
)
def golden_reference_is_tracked(package: Package) -> Verdict:
    """git has the golden reference picture"""
    if not references(package):
        return not_applicable("there is no reference picture yet")
    known = package.facts.git("ls-files", "tests/resources")
    return none_of([f"{file} is not in git" for file in references(package) if file not in known])


@rule(
    "TST06",
    looks_at=_GOLDEN,
    fix="run it where the reference was made; a mismatch after a refactoring is a bug in the refactoring",
    why="goldens are updated with explicit approval only",
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
    fix="add fast tests that each convention's keys match, none left over",
    why="silent zero-key loads were mended again and again (#374, #376, #397)",
    only=lambda package: reasons.has_tests(package) or reasons.takes_lora(package),
)
def lora_mapping_is_tested(package: Package) -> Verdict:
    """The LoRA mapping has a fast test"""
    found = [file for file in package.tests if "lora" in file]
    return none_of(_empty(package, found), found[0]) if found else failed("no test of the LoRA mapping")


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
    why="saved models lacked weights without an error (#405, #559, #611)",
    only=reasons.has_tests,
)
def saving_is_tested(package: Package) -> Verdict:
    """Saving and loading again has a test"""
    found = _tests(package, "model_saving")
    return (
        none_of(_empty(package, found), found[0]) if found else failed("no test in tests/model_saving is the model's")
    )


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
    return passed() if any("index.json" in text for text in texts) else failed("no test looks at the index")


@rule(
    "TST11",
    looks_at="tests/cli/test_<model>_command.py or tests/arg_parser/",
    fix="test names, defaults and refusals of the command",
    why="defaults in command, table and README drifted apart (#580)",
    only=reasons.has_tests,
)
def command_is_tested(package: Package) -> Verdict:
    """The command has a fast test"""
    if _tests(package, "cli"):
        return none_of(_empty(package, _tests(package, "cli")), _tests(package, "cli")[0])
    shared = [file for file in package.facts.files("tests/arg_parser") if package.model in package.facts.text(file)]
    return passed(shared[0]) if shared else failed("no test in tests/cli or tests/arg_parser names the model")


@rule(
    "TST12",
    looks_at="tests/",
    fix="mark the test fast",
    why="`make test-fast` selects by the marker; an unmarked test runs nowhere",
    only=reasons.has_answers,
)
def tests_are_marked(package: Package) -> Verdict:
    """Every test file of the port is marked fast or slow"""
    files = [file for file in package.tests if "/test_" in file]
    # Parsed only where the text alone does not tell.
    unclear = [file for file in files if not _MARKED.search(package.facts.text(file))]
    bare = [file for file in unclear if not _marks(package, file) & {"fast", "slow", "high_memory"}]
    return none_of([f"{file} has no marker" for file in bare])


@rule(
    "TST13",
    looks_at="tests/",
    fix="move what the test needs below tests/",
    why="porting/<model>/ is taken away before the pull request",
    only=reasons.has_answers,
)
def tests_need_no_scaffolding(package: Package) -> Verdict:
    """No test needs the porting folder"""
    pattern = re.compile(rf"porting[./]{re.escape(package.model)}|from porting|import porting")
    return none_of([f"{file} needs porting/" for file in package.tests if pattern.search(package.facts.text(file))])


@rule(
    "TST14",
    looks_at="tests/",
    fix="build the model from a local folder in a fast test (model_path=…): weights and tokenizers load offline",
    why="tokenizers failed on local paths and without a network (#383, #388, #389)",
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
    looks_at="the first run on a machine with half of the checkpoint in its cache",
    fix="delete one tokenizer file from the cache, run the command, see that it is brought again",
    why="a partial Hugging Face cache was taken for a whole one (#389, #462)",
    only=reasons.has_answers,
    when=MERGE,
)
def partial_cache_was_tried(package: Package) -> Verdict:
    """A partial Hugging Face cache is completed"""
    return needs_you('mflux-generate-<cli> --prompt "a red bicycle" with one file of the cached checkpoint removed')


@rule(
    "TST16",
    looks_at="tests/image_generation/",
    fix="draw 64x64 with a tiny random checkpoint: text-to-image, image-to-image, stepwise, low-ram",
    why="feature paths broke for models whose weights no CI has (#463, #734)",
    only=reasons.has_answers,
)
def tiny_model_is_drawn(package: Package) -> Verdict:
    """A tiny random model draws in a fast test"""
    found = [f for f in _tests(package, "image_generation") if "mark.fast" in package.facts.text(f)]
    drawing = [file for file in found if "tiny" in file]
    return passed(drawing[0]) if drawing else failed("no fast test draws an image")


@rule(
    "TST17",
    looks_at="tests/image_generation/ and tests/parity/",
    fix="bring the test back: copier recopy, or take it from another port",
    why="the guide: lock correctness with deterministic tests before refactoring",
    only=reasons.has_answers,
)
def small_parts_are_tested(package: Package) -> Verdict:
    """The latent creator, and the modules against the reference, have tests"""
    model = package.model
    wanted = [f"tests/image_generation/test_{model}_latent_creator.py", f"tests/parity/test_{model}_parity.py"]
    missing = [f"{file} is missing" for file in wanted if not package.facts.exists(file)]
    return none_of(missing + _empty(package, [file for file in wanted if package.facts.exists(file)]))


def _marks(package: Package, file: str) -> set[str]:
    """The pytest markers that a file names."""
    names = {syntax.dotted(node) for node in package.facts.nodes(file) if isinstance(node, ast.Attribute)}
    return {name.removeprefix("pytest.mark.") for name in names if name.startswith("pytest.mark.")}


def _is_png(package: Package, file: str) -> bool:
    with open(package.facts.root / file, "rb") as picture:
        return picture.read(8) == b"\x89PNG\r\n\x1a\n"
