"""The line that makes git track the training example, since mflux ignores JSON files."""

from __future__ import annotations

from pathlib import Path

from mflux_port.checkout.ignored_paths import IgnoreRule, ignore_rules
from mflux_port.errors import one_line
from mflux_port.port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.lines import lines_with_spans
from mflux_port.wiring.source import Source, UnknownShape
from mflux_port.wiring.surfaces import training_example

ID = "gitignore"
FILE = ".gitignore"
REQUIRED = False

not_applicable = training_example.not_applicable


def blocks(source: Source, port: Port) -> list[Block]:
    example = training_example.FILE.format(model=port.model)
    line = f"!{example}"
    own = [span for text, span in lines_with_spans(source) if text.strip() == line]
    rule = _deciding_rule(source, example)
    if rule is None:
        return [Block(line, f"{line}\n", None, own[0])] if own else []
    deciding = lines_with_spans(source)[rule.line - 1][1]
    if not rule.hides and deciding not in own:  # perhaps our line, edited
        return [Block(line, f"{line}\n", None, own[0] if own else None, deciding)]
    present = deciding if deciding in own else None
    block = Block(line, f"{line}\n", _place(source, line, deciding[1]), present)
    unused = [Block(f"{line} (without effect)", "", 0, span, orphan=True) for span in own if span != present]
    return [block, *unused]


def _deciding_rule(source: Source, example: str) -> IgnoreRule | None:
    # The rule of this file that decides about the example. Raises UnknownShape when a line in this file cannot overrule
    # it.
    if source.root is None:
        return None
    folder = example.rpartition("/")[0]
    on_folder, rule = ignore_rules(source.root, _as_folder(source.root, folder), example)
    nested = rule is not None and rule.file.endswith(f"/{FILE}")  # git's info/exclude is neither; it has lower priority
    if rule and rule.hides and (nested or rule.file == FILE and rule == on_folder):
        raise UnknownShape(
            f"{rule.file}: {one_line(rule.pattern)} in line {rule.line} hides {folder if rule == on_folder else example}; "
            "delete that line"
        )
    return rule if rule and rule.file == FILE else None


def _as_folder(root: Path, folder: str) -> str:
    # Git treats a path as a folder if the disk has a folder there, or if the path ends in a slash.
    return folder if (root / folder).is_dir() else f"{folder}/"


def _place(source: Source, line: str, after: int) -> int:
    # The place after the deciding rule, and after the lines of the other examples.
    folder = line.rpartition("/")[0]
    return max([after, *(span[1] for text, span in lines_with_spans(source) if text.startswith(f"{folder}/"))])
