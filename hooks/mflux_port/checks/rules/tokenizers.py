"""TOK: tokenizers load from local folders, from a partial cache and in special formats."""

from __future__ import annotations

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.downloads import download_patterns, is_downloaded
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, failed, failed_if, passed, rule

_DEFINITION = "src/mflux/models/<model>/weights/<model>_weight_definition.py"
_INITIALIZER = "src/mflux/models/<model>/<model>_initializer.py"
_NEEDS_LIBRARY = ("T5Tokenizer", "LlamaTokenizer", "GemmaTokenizer", "XLMRobertaTokenizer", "ChatGLMTokenizer")


def _has_tokenizers(package: Package) -> str | None:
    return reasons.generates(package) or (None if package.tokenizers else "the port has no TokenizerDefinition")


@rule(
    "TOK01",
    looks_at=_DEFINITION,
    fix="add the tokenizer's folder to the download patterns (its own, or the definition's)",
    why="tokenizers failed to load offline and from partial caches (#383, #388, #389)",
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
        if isinstance(subdir, str) and subdir not in ("", ".") and not is_downloaded(subdir, known):
            lacking.append(f"{subdir} is in no download pattern")
    return failed_if(lacking)


@rule(
    "TOK02",
    looks_at=f"{_DEFINITION} and pyproject.toml",
    fix="add the library to mflux's dependencies, or use a fast tokenizer that needs none",
    why="the tokenizer works for the porter and fails on users' machines, which lack the library (#390, #296)",
    only=_has_tokenizers,
)
def tokenizer_libraries_are_dependencies(package: Package) -> Verdict:
    """The library that a tokenizer format needs is a dependency of mflux"""
    classes = [str(syntax.literal(syntax.keyword(call, "tokenizer_class"))) for call in package.tokenizers]
    special = [name for name in classes if name in _NEEDS_LIBRARY]
    text = package.facts.text("pyproject.toml")
    return failed_if(
        [f"{n} needs {lib}" for n in special for lib in ("sentencepiece", "protobuf") if f'"{lib}' not in text]
    )


@rule(
    "TOK03",
    looks_at=_DEFINITION,
    fix="set max_length in the TokenizerDefinition",
    why="the default of 512 truncates or pads prompts differently than the reference",
    only=_has_tokenizers,
)
def tokenizers_set_their_length(package: Package) -> Verdict:
    """Every tokenizer sets its maximum length"""
    bare = [call for call in package.tokenizers if not syntax.has_keyword(call, "max_length")]
    names = sorted({str(syntax.literal(syntax.keyword(call, "name"))) for call in bare})
    return failed_if([f"{name} sets no max_length" for name in names])


@rule(
    "TOK04",
    looks_at=_INITIALIZER,
    fix="load with TokenizerLoader.load_all(definitions=…, model_path=path)",
    why="the shared loader handles local folders, partial caches and fallbacks (#389)",
    only=_has_tokenizers,
)
def shared_tokenizer_loader_is_used(package: Package) -> Verdict:
    """Tokenizers are loaded with TokenizerLoader"""
    found = syntax.calls(package.initializer_nodes, "TokenizerLoader.load_all", "TokenizerLoader.load")
    return passed() if found else failed("TokenizerLoader is not called in the initializer")
