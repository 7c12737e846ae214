"""The line that lets git see the training example, since mflux ignores JSON files."""

from __future__ import annotations

from fnmatch import fnmatchcase

from mflux_port.errors import one_line
from mflux_port.port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.lines import lines_with_spans
from mflux_port.wiring.source import Source, UnknownShape
from mflux_port.wiring.surfaces import training_example

ID = "gitignore"
FILE = ".gitignore"
REQUIRED = False
_SPECIAL = frozenset("*?[")

not_applicable = training_example.not_applicable


def blocks(source: Source, port: Port) -> list[Block]:
    example = training_example.FILE.format(model=port.model)
    wanted = f"!{example}"
    lines = lines_with_spans(source)
    own = [span for line, span in lines if line.strip() == wanted]
    for folder in _folders(example):
        hiding = _deciding(lines, folder, True)
        if hiding and not hiding[0].startswith("!"):
            raise UnknownShape(
                f"{source.path}: {one_line(hiding[0].strip())} hides {folder} with the training example in it; take that line out"
            )
    deciding = _deciding([entry for entry in lines if entry[1] not in own], example, False)
    if deciding is None:
        return [Block(wanted, f"{wanted}\n", None, own[0])] if own else []  # this .gitignore does not hide it
    if deciding[0].startswith("!"):  # somebody shows it, perhaps by a line of ours that they changed
        return [Block(wanted, f"{wanted}\n", None, own[0] if own else None, deciding[1])]
    neighbours = [
        span for line, span in lines if line.startswith(f"!{example.rpartition('/')[0]}/") and span not in own
    ]
    at = max(span[1] for span in [*neighbours, deciding[1]])
    block = Block(wanted, f"{wanted}\n", at, own[-1] if own and own[-1] > deciding[1] else None)
    idle = [span for span in own if span != block.span]  # hidden again further down
    return [block, *(Block(f"{wanted} (without effect)", "", 0, span, orphan=True) for span in idle)]


def _folders(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _deciding(lines: list[tuple[str, tuple[int, int]]], path: str, folder: bool) -> tuple[str, tuple[int, int]] | None:
    # The last pattern that a path fits decides about it.
    fitting = [(line, span) for line, span in lines if _fits(line.strip(), path, folder)]
    return fitting[-1] if fitting else None


def _fits(line: str, path: str, folder: bool) -> bool:
    # As gitignore(5) has it; escapes, which nobody needs here, are taken for what they are.
    pattern = line.removeprefix("!")
    if not pattern or line.startswith("#") or (pattern.endswith("/") and not folder):
        return False
    if "/" not in pattern.rstrip("/"):
        return _name_fits(path.rpartition("/")[2], pattern.rstrip("/"))
    parts = pattern.strip("/").split("/")
    parts = [part for part, before in zip(parts, ["", *parts], strict=False) if not part == before == "**"]
    return _leads(parts, path.split("/"))


def _leads(patterns: list[str], names: list[str]) -> bool:
    # Name by name, since one expression for a whole path takes for ever with many stars in it.
    if not patterns:
        return not names
    if patterns == ["**"]:
        return bool(names)
    if patterns[0] == "**":
        return any(_leads(patterns[1:], names[skipped:]) for skipped in range(len(names) + 1))
    return bool(names) and _name_fits(names[0], patterns[0]) and _leads(patterns[1:], names[1:])


def _name_fits(name: str, pattern: str) -> bool:
    # Most patterns are plain names, or a star and an ending: fnmatch would make an expression of each.
    ending = pattern.removeprefix("*")
    if not _SPECIAL.isdisjoint(ending):
        return fnmatchcase(name, pattern)
    return name == pattern if ending == pattern else name.endswith(ending)
