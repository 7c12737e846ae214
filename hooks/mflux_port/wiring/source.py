"""The text of one shared file: its syntax tree, its lines, and the positions of nodes in it, as byte offsets."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cached_property, wraps
from itertools import accumulate
from pathlib import Path

from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from mflux_port.files.parsing import parse_python

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def source_of(checkout: Checkout, path: str) -> Source:
    """The Source of a checkout's file (empty when it is missing), shared by all surfaces so that it is parsed once."""
    if path not in checkout.parsed:
        checkout.parsed[path] = Source(path, checkout.read(path) or b"", checkout.root)
    return checkout.parsed[path]


def once(read: Callable[[Source], object]) -> Callable[[Source], object]:
    """Cache what a function reads from a Source, in the Source."""

    @wraps(read)
    def cached(source: Source):
        if read not in source.cache:
            source.cache[read] = read(source)
        return source.cache[read]

    return cached


class UnknownShape(PortError):
    """Raised when the code that a surface edits is missing, or has a layout that the surface does not recognise."""


class Source:
    """One file as bytes, with its line endings, byte order mark and missing final newline."""

    def __init__(self, path: str, data: bytes, root: Path | None = None):
        """``root`` is the checkout that the file is in, None for text that is not on disk."""
        self.path = path
        self.data = data
        self.root = root
        self.cache: dict[Callable, object] = {}

    @cached_property
    def newline(self) -> str:
        ends = self.data.count(b"\r\n") if b"\r" in self.data else 0
        return "\r\n" if ends * 2 > self.data.count(b"\n") else "\n"

    @cached_property
    def starts(self) -> list[int]:
        """The offset at which each line starts. Raises UnknownShape for a line that ends in a bare carriage return."""
        lone = b"\r" in self.data and self.data.count(b"\r") != self.data.count(b"\r\n")
        if lone:  # with a newline inserted after it, it would become a CRLF
            line = re.split(rb"\r(?!\n)", self.data)[0].count(b"\n") + 1
            raise UnknownShape(f"{self.path} line {line} has a carriage return without a newline; fix its line endings")
        return [0, *accumulate(map(len, self.data.splitlines(keepends=True)))]

    @cached_property
    def tree(self) -> ast.Module:
        try:
            return parse_python(self.data)
        except SyntaxError as error:
            if str(error).startswith("not UTF-8"):
                raise UnknownShape(f"{self.path} is {error}; save it as UTF-8 and run this again") from None
            where = f"{self.path} line {error.lineno}" if error.lineno else self.path
            raise UnknownShape(f"{where} is not valid Python; fix it and run this again") from None

    @cached_property
    def functions(self) -> list[ast.FunctionDef]:
        """The functions of the module and the methods of its classes."""
        bodies = [self.tree.body, *(node.body for node in self.tree.body if isinstance(node, ast.ClassDef))]
        return [node for body in bodies for node in body if isinstance(node, ast.FunctionDef)]

    def encode(self, text: str) -> bytes:
        """``text``, which uses ``\\n``, with the line endings of this file."""
        return text.replace("\n", self.newline).encode("utf-8")

    def start(self, node: ast.AST) -> int:
        """The offset of a node's first byte."""
        bom = 3 if node.lineno == 1 and self.data.startswith(b"\xef\xbb\xbf") else 0
        return self.starts[node.lineno - 1] + node.col_offset + bom

    def end(self, node: ast.AST) -> int:
        """The offset after a node's last byte."""
        bom = 3 if node.end_lineno == 1 and self.data.startswith(b"\xef\xbb\xbf") else 0
        return self.starts[node.end_lineno - 1] + node.end_col_offset + bom

    def lead(self, node: ast.AST) -> str:
        """The indentation of the node's line."""
        line = self.data[self.starts[node.lineno - 1] : self.start(node)].removeprefix(b"\xef\xbb\xbf")
        return line[: len(line) - len(line.lstrip(b" \t"))].decode()

    def line_start(self, node: ast.AST) -> int:
        """The offset of the node's first line. Raises UnknownShape when other code precedes the node on it."""
        line = self.starts[node.lineno - 1]
        if self.data[line : self.start(node)].strip(b" \t\xef\xbb\xbf"):
            raise UnknownShape(
                f"{self.path} line {node.lineno} has more than one statement or entry; put each on its own line"
            )
        return line

    def line_end(self, offset: int) -> int:
        """The offset after the line that ``offset`` is on; only a comma or a comment may follow on that line."""
        stop = self.data.find(b"\n", offset)
        stop = len(self.data) if stop < 0 else stop + 1
        rest = self.data[offset:stop].strip()
        if rest.lstrip(b",").strip() and not rest.lstrip(b",").strip().startswith(b"#"):
            line = self.data.count(b"\n", 0, offset) + 1
            raise UnknownShape(
                f"{self.path} line {line} has more than one statement or entry; put each on its own line"
            )
        return stop

    def lines_of(self, node: ast.AST) -> tuple[int, int]:
        """The span of all lines of a node."""
        return self.line_start(node), self.line_end(self.end(node))

    def code(self, node: ast.AST) -> str:
        """A node's source, joined into one line."""
        return " ".join(self.text((self.start(node), self.end(node))).split())

    def text(self, span: tuple[int, int]) -> str:
        """The text of a span, with ``\\n`` as line ending."""
        return self.data[span[0] : span[1]].decode("utf-8", "replace").replace("\r\n", "\n")
