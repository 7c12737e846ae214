"""STY: mflux's code style (its RULE.md and AGENTS.md), as far as a program can tell."""

from __future__ import annotations

import ast
import re

from mflux_port.checks.engine import reasons, syntax
from mflux_port.checks.engine.checkout_facts import Unreadable
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, failed_if, rule

_CODE = "src/mflux/models/<model>/**/*.py"
_LIMIT = 120
# `# fmt:` marks a line that is meant to be long; the other pragmas do not count.
_PRAGMA = re.compile(r"^.*# fmt:.*$|\s*# (noqa|type|ty|pyright)\b.*$")
_LONG_COMMENT = re.compile(r"(?:^[ \t]*#.*\n){6,}", re.MULTILINE)
_RULES = "mflux's AGENTS.md and RULE.md"
# mflux calls these functions of a command's module.
_FREE = {"main", "build_parser"}


@rule("STY01", looks_at=_CODE, fix="remove the docstring; a short comment may say why", why=_RULES)
def no_docstrings(package: Package) -> Verdict:
    """The code has no docstrings"""
    found = []
    for file in package.files:
        nodes = [n for n in package.facts.nodes(file) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
        found += [f"{file} line {n.body[0].lineno}" for n in nodes if ast.get_docstring(n, clean=False)]
    return failed_if(found)


@rule("STY02", looks_at=_CODE, fix="make the function a static method of the class that uses it", why=_RULES)
def no_free_functions(package: Package) -> Verdict:
    """Helpers are static methods, not free functions"""
    found = []
    for file in package.files:
        if re.search(r"^(async )?def ", package.facts.text(file), re.MULTILINE):
            functions = syntax.functions(package.facts.tree(file))
            kept = _FREE if "/cli/" in file else set()
            found += [f"{file} line {node.lineno}: {node.name}" for node in functions if node.name not in kept]
    return failed_if(found)


@rule("STY03", looks_at=_CODE, fix="move private methods below the public ones", why=_RULES)
def private_methods_last(package: Package) -> Verdict:
    """Private methods are last in their class"""
    found = []
    for file in package.files:
        if "def _" not in package.facts.text(file):
            continue
        for node in syntax.classes(package.facts.tree(file)):
            names = [name for name in syntax.methods(node) if not name.startswith("__")]
            private = [name.startswith("_") for name in names]
            if private != sorted(private):
                found.append(f"{file}: {node.name}.{names[private.index(True)]}")
    return failed_if(found)


@rule("STY04", looks_at=_CODE, fix="break the line (or end it with # fmt: off where mflux does)", why=_RULES)
def lines_fit(package: Package) -> Verdict:
    """No line is longer than 120 characters"""
    found = []
    for file in package.files:
        lines = package.facts.text(file).splitlines()
        wide = {number for number, line in enumerate(lines, 1) if len(_PRAGMA.sub("", line)) > _LIMIT}
        if wide:
            found += [f"{file} line {number}" for number in sorted(wide - _unbreakable(package.facts.nodes(file)))]
    return failed_if(found)


@rule(
    "STY05",
    looks_at=_CODE,
    fix="reimplement what is needed in MLX; tests may use pytest.importorskip",
    why="diffusers is not a dependency of mflux",
)
def no_reference_imports(package: Package) -> Verdict:
    """The package does not import diffusers"""
    files = [file for file in package.files if "diffusers" in package.facts.text(file)]
    found = [f for f in files if any(o.split(".")[0] == "diffusers" for o in package.facts.imports(f).values())]
    return failed_if([f"{file} imports diffusers" for file in found])


@rule(
    "STY06",
    looks_at="src/mflux/models/<model>/variants/",
    fix="annotate the parameters of generate_image",
    why="AGENTS.md asks for type hints on public interfaces; mflux's CI runs ty",
    only=reasons.generates,
)
def public_methods_are_annotated(package: Package) -> Verdict:
    """The parameters of generate_image are annotated"""
    bare = []
    for item in package.variants:
        method = item.methods.get("generate_image")
        if method is not None:
            arguments = [*method.args.args, *method.args.kwonlyargs]
            bare += [f"{item.name}: {a.arg}" for a in arguments if a.arg != "self" and a.annotation is None]
    return failed_if(bare)


@rule(
    "STY07",
    looks_at=_CODE,
    fix="resolve the conflict and remove the markers",
    why="an update or a merge left them; the file is not valid Python",
)
def no_conflict_markers(package: Package) -> Verdict:
    """There are no conflict markers"""
    shared = {result.file for result in package.surfaces.values()}
    files = [*package.files, *package.tests, f"{package.folder}/README.md", *sorted(shared)]
    marked = re.compile(r"^(<<<<<<< |>>>>>>> )", re.MULTILINE)
    return failed_if(
        [file for file in files if "<<<<" in package.facts.text(file) and marked.search(package.facts.text(file))]
    )


@rule(
    "STY08",
    looks_at=f"{_CODE} and the port's tests",
    fix="fix the line",
    why="nobody notices a broken file that nothing imports yet",
)
def every_file_parses(package: Package) -> Verdict:
    """Every Python file of the port parses"""
    broken = []
    for file in [*package.files, *package.tests]:
        try:
            package.facts.tree(file)
        except Unreadable as error:
            broken.append(str(error))
    return failed_if(broken)


@rule(
    "STY09",
    looks_at=_CODE,
    fix="shorten the comment, or move it to the README",
    why=f"the guide: no verbose comments; {_RULES}",
)
def comments_are_short(package: Package) -> Verdict:
    """No comment is longer than five lines"""
    found = []
    for file in package.files:
        for match in _LONG_COMMENT.finditer(package.facts.text(file)):
            line = package.facts.text(file).count("\n", 0, match.start()) + 1
            # Lines of a prompt in a string may start with #, too.
            if not _is_inside_a_string(package.facts.nodes(file), line):
                found.append(f"{file} line {line}")
    return failed_if(found)


def _unbreakable(nodes: list[ast.AST]) -> set[int]:
    """Lines that no formatter can shorten: imports, and strings that cross the limit."""
    kept: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            kept.add(node.lineno)
        elif isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            if node.end_lineno > node.lineno:
                kept |= set(range(node.lineno, node.end_lineno + 1))
            elif node.col_offset < _LIMIT <= node.end_col_offset:
                kept.add(node.lineno)
    return kept


def _is_inside_a_string(nodes: list[ast.AST], line: int) -> bool:
    texts = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return any(node.lineno < line <= node.end_lineno for node in texts)
