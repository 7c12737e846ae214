"""Tokenizers: from a local folder, from a partial cache, in special formats."""

from __future__ import annotations

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, failed, none_of, passed, rule
from mflux_port.checks.rules.weights import covered, download_patterns

_DEFINITION = "src/mflux/models/<model>/weights/<model>_weight_definition.py"
_INITIALIZER = "src/mflux/models/<model>/<model>_initializer.py"
_NEEDS_LIBRARY = ("T5Tokenizer", "LlamaTokenizer", "GemmaTokenizer", "XLMRobertaTokenizer", "ChatGLMTokenizer")


def _has_tokenizers(package: Package) -> str | None:
    return reasons.draws(package) or (None if package.tokenizers else "the port has no TokenizerDefinition")


@rule(
    "TOK01",
    looks_at=_DEFINITION,
    fix="add the tokenizer's folder to the download patterns (its own, or the definition's)",
    why="the tokenizer failed offline and on partial caches (#383, #388, #389)",
    only=_has_tokenizers,
)
def tokenizers_are_downloaded(package: Package) -> Verdict:
    """Every tokenizer's folder is downloaded"""
    patterns = download_patterns(package)
    lacking = []
    for call in package.tokenizers:
        own = syntax.literal(syntax.keyword(call, "download_patterns"))
        known = patterns + (own if isinstance(own, list) else [])
        subdir = syntax.literal(syntax.keyword(call, "hf_subdir"))
        if isinstance(subdir, str) and subdir not in ("", ".") and not covered(subdir, known):
            lacking.append(f"{subdir} is in no download pattern")
    return none_of(lacking)


@rule(
    "TOK02",
    looks_at=f"{_DEFINITION} and pyproject.toml",
    fix="add the library to mflux's dependencies, or take a fast tokenizer that needs none",
    why="a tokenizer without its library fails on users' machines only (#390, #296)",
    only=_has_tokenizers,
)
def tokenizer_libraries_are_dependencies(package: Package) -> Verdict:
    """What a special tokenizer format needs is among mflux's dependencies"""
    classes = [str(syntax.literal(syntax.keyword(call, "tokenizer_class"))) for call in package.tokenizers]
    special = [name for name in classes if name in _NEEDS_LIBRARY]
    text = package.facts.text("pyproject.toml")
    return none_of(
        [f"{n} needs {lib}" for n in special for lib in ("sentencepiece", "protobuf") if f'"{lib}' not in text]
    )


@rule(
    "TOK03",
    looks_at=_DEFINITION,
    fix="say max_length in the TokenizerDefinition",
    why="512 is taken otherwise, which cuts or pads prompts otherwise than the reference",
    only=_has_tokenizers,
)
def tokenizers_say_their_length(package: Package) -> Verdict:
    """Every tokenizer says its maximal length"""
    silent = [call for call in package.tokenizers if not syntax.has_keyword(call, "max_length")]
    names = sorted({str(syntax.literal(syntax.keyword(call, "name"))) for call in silent})
    return none_of([f"{name} says no max_length" for name in names])


@rule(
    "TOK04",
    looks_at=_INITIALIZER,
    fix="load with TokenizerLoader.load_all(definitions=…, model_path=path)",
    why="the shared loader knows local folders, partial caches and fallbacks (#389)",
    only=_has_tokenizers,
)
def shared_tokenizer_loader_is_used(package: Package) -> Verdict:
    """Tokenizers go through TokenizerLoader"""
    found = syntax.calls(package.initializer_nodes, "TokenizerLoader.load_all", "TokenizerLoader.load")
    return passed() if found else failed("TokenizerLoader is not called in the initializer")
