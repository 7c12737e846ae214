"""House style of mflux's code (its RULE.md and AGENTS.md), as far as a program can tell."""

from __future__ import annotations

import ast
import re

from mflux_port.checks.engine import evidence, reasons, syntax
from mflux_port.checks.engine.facts import Unreadable
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import Verdict, failed, none_of, passed, rule

_CODE = "src/mflux/models/<model>/**/*.py"
_LIMIT = 120
# `# fmt: off` says that the line is meant so; the others are no part of the line.
_PRAGMA = re.compile(r"^.*# fmt:.*$|\s*# (noqa|type|ty|pyright)\b.*$")
_LONG_COMMENT = re.compile(r"(?:^[ \t]*#.*\n){6,}", re.MULTILINE)
_RULES = "mflux's AGENTS.md and RULE.md"
# Command modules are functions by contract.
_FREE = {"main", "build_parser"}


@rule("STY01", looks_at=_CODE, fix="take the docstring out; a short comment says why", why=_RULES)
def no_docstrings(package: Package) -> Verdict:
    """No docstrings"""
    found = []
    for file in package.files:
        nodes = [n for n in package.facts.nodes(file) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
        found += [f"{file} line {n.body[0].lineno}" for n in nodes if ast.get_docstring(n, clean=False)]
    return none_of(found)


@rule("STY02", looks_at=_CODE, fix="make the function a static method of the class that uses it", why=_RULES)
def no_free_functions(package: Package) -> Verdict:
    """Helpers are static methods, not free functions"""
    found = []
    for file in package.files:
        if re.search(r"^(async )?def ", package.facts.text(file), re.MULTILINE):
            functions = syntax.functions(package.facts.tree(file))
            kept = _FREE if "/cli/" in file else set()
            found += [f"{file} line {node.lineno}: {node.name}" for node in functions if node.name not in kept]
    return none_of(found)


@rule("STY03", looks_at=_CODE, fix="move private methods below the public ones", why=_RULES)
def private_methods_last(package: Package) -> Verdict:
    """Private methods stand last in their class"""
    found = []
    for file in package.files:
        if "def _" not in package.facts.text(file):
            continue
        for node in syntax.classes(package.facts.tree(file)):
            names = [name for name in syntax.methods(node) if not name.startswith("__")]
            private = [name.startswith("_") for name in names]
            if private != sorted(private):
                found.append(f"{file}: {node.name}.{names[private.index(True)]}")
    return none_of(found)


@rule("STY04", looks_at=_CODE, fix="break the line (or end it with # fmt: off where mflux does)", why=_RULES)
def lines_fit(package: Package) -> Verdict:
    """No line is longer than 120 characters"""
    found = []
    for file in package.files:
        lines = package.facts.text(file).splitlines()
        wide = {number for number, line in enumerate(lines, 1) if len(_PRAGMA.sub("", line)) > _LIMIT}
        if wide:
            found += [f"{file} line {number}" for number in sorted(wide - _unbreakable(package.facts.nodes(file)))]
    return none_of(found)


def _unbreakable(nodes: list[ast.AST]) -> set[int]:
    """Lines that no formatter makes shorter: a string reaches beyond the limit, or a module's name does."""
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


@rule(
    "STY05",
    looks_at=_CODE,
    fix="bring what is needed over to MLX; tests may use pytest.importorskip",
    why="diffusers is no dependency of mflux",
)
def no_reference_imports(package: Package) -> Verdict:
    """The package does not import diffusers"""
    files = [file for file in package.files if "diffusers" in package.facts.text(file)]
    found = [f for f in files if any(o.split(".")[0] == "diffusers" for o in package.facts.imports(f).values())]
    return none_of([f"{file} imports diffusers" for file in found])


@rule(
    "STY06",
    looks_at="src/mflux/models/<model>/variants/",
    fix="annotate the parameters of generate_image",
    why="type hints on public interfaces (AGENTS.md); ty runs in mflux's CI",
    only=reasons.draws,
)
def public_methods_are_annotated(package: Package) -> Verdict:
    """generate_image is annotated"""
    bare = []
    for item in package.variants:
        method = item.methods.get("generate_image")
        if method is not None:
            arguments = [*method.args.args, *method.args.kwonlyargs]
            bare += [f"{item.name}: {a.arg}" for a in arguments if a.arg != "self" and a.annotation is None]
    return none_of(bare)


@rule(
    "STY07",
    looks_at=_CODE,
    fix="resolve the conflict and take the markers out",
    why="an update or a merge left them; the file is no Python",
)
def no_conflict_markers(package: Package) -> Verdict:
    """No conflict markers are left"""
    shared = {result.file for result in package.surfaces.values()}
    files = [*package.files, *package.tests, f"{package.folder}/README.md", *sorted(shared)]
    marked = re.compile(r"^(<<<<<<< |>>>>>>> )", re.MULTILINE)
    return none_of(
        [file for file in files if "<<<<" in package.facts.text(file) and marked.search(package.facts.text(file))]
    )


@rule(
    "STY09",
    looks_at=_CODE,
    fix="say it in fewer lines, or in the README",
    why=f"the guide: no verbose comments; {_RULES}",
)
def comments_are_short(package: Package) -> Verdict:
    """No comment is longer than five lines"""
    found = []
    for file in package.files:
        for match in _LONG_COMMENT.finditer(package.facts.text(file)):
            line = package.facts.text(file).count("\n", 0, match.start()) + 1
            # Lines of a prompt may start with the sign, too.
            if not _is_inside_a_string(package.facts.nodes(file), line):
                found.append(f"{file} line {line}")
    return none_of(found)


def _is_inside_a_string(nodes: list[ast.AST], line: int) -> bool:
    texts = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return any(node.lineno < line <= node.end_lineno for node in texts)


@rule(
    "STY08",
    looks_at=f"{_CODE} and the port's tests",
    fix="mend the line that is named",
    why="a file that nothing imports yet is broken unseen",
)
def every_file_is_python(package: Package) -> Verdict:
    """Every Python file of the port can be parsed"""
    broken = []
    for file in [*package.files, *package.tests]:
        try:
            package.facts.tree(file)
        except Unreadable as error:
            broken.append(str(error))
    return none_of(broken)


@rule(
    "MRG11",
    looks_at="src/mflux/models/<model>/variants/ and PORTING.md",
    fix="prove the stages first, then compile",
    why="the guide: no mx.compile before deterministic parity passes",
    only=reasons.is_open,
)
def compiling_comes_after_parity(package: Package) -> Verdict:
    """mx.compile comes after parity"""
    files = [file for file in package.files if "mx.compile" in package.facts.text(file)]
    if not files:
        return passed()
    found = evidence.stages(package)
    open_ = [stage for stage in ("transformer", "loop") if not (stage in found and found[stage].proven)]
    return failed(f"{files[0]} compiles, {open_[0]} is not proven") if open_ else passed()
