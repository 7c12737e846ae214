"""A checkpoint's names, shapes and types as a small text file, so that a ledger needs no checkpoint.

Tensors that differ only in numbers share a line: ``BF16 64x64 blocks.{0-29}.attn.to_q.weight``. Files and tensors
are grouped below ``[files]`` and ``[folder]`` headings; the first line says where the checkpoint came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from mflux_port.checkpoint.headers import DTYPE_BITS, Tensor, is_name
from mflux_port.checkpoint.layout import Checkpoint
from mflux_port.checkpoint.tensor_names import is_list_index
from mflux_port.errors import PortError, one_line, short_repr

KEYLIST = "porting/{model}/checkpoint_keys.txt"
_RANGE = re.compile(r"\{(\d{1,18})-(\d{1,18})\}", re.ASCII)
_OTHERS, _METADATA = "not read", "header metadata"
# Header metadata that a ledger needs; the list leaves out everything else.
_KEPT_METADATA = ("format", "mflux_version", "quantization_level")
_LIMIT = 1_000_000
_FIX = "write the key list again with `mflux-port ledger --checkpoint`"


@dataclass
class Snapshot:
    """The facts about a checkpoint that a ledger needs.

    ``tensors``: by folder ('' is the root). ``others``: weight files that it ignores.

    ``metadata``: the headers' statements about their files, by folder; empty for files that torch wrote.
    """

    where: str
    files: list[str]
    tensors: dict[str, dict[str, Tensor]]
    others: dict[str, list[str]] = field(default_factory=dict)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)

    def of(self, folder: str, name: str) -> dict[str, Tensor] | None:
        """The tensors of a component, by its folder, or by its name if one file holds all of them."""
        return self.tensors.get(folder.strip("/."), self.tensors.get(name))

    def metadata_of(self, folder: str, name: str) -> dict[str, str]:
        """The header metadata of a component, found in the same way."""
        return self.metadata.get(folder.strip("/."), self.metadata.get(name, {}))


def snapshot(checkpoint: Checkpoint) -> Snapshot:
    """Take a snapshot of a checkpoint. Reads every header."""
    where = "@".join(filter(None, (checkpoint.repo or Path(checkpoint.where).name, checkpoint.revision)))
    parts = checkpoint.components.values()
    tensors = {part.folder or part.name: part.tensors for part in parts}
    listed = [*checkpoint.files, *(name for names in tensors.values() for name in names)]
    taken = next((name for name in listed if _RANGE.search(name)), None)
    if taken:
        raise PortError(f"{where} has {short_repr(taken)}, which looks like a range of names; rename it")
    others = {part.folder or part.name: part.weights.others for part in parts if part.weights.others}
    metadata = {part.folder or part.name: _kept(part.header.metadata) for part in parts if _kept(part.header.metadata)}
    return Snapshot(where, sorted(checkpoint.files), tensors, others, metadata)


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    kept = {key: one_line(metadata[key]) for key in _KEPT_METADATA if metadata.get(key, "").strip()}
    return {} if kept in ({"format": "pt"}, {"format": "pytorch"}) else kept


def merged(path: Path, taken: Snapshot) -> tuple[Snapshot, list[str]]:
    """Merge ``taken`` into the key list at ``path``; returns the result and lines that say what changes.

    A whole pipeline replaces all of it, a single component only its own folders.
    """
    try:
        stored = read_keylist(path) if path.is_file() else Snapshot("", [], {})
    except PortError:
        return taken, [f"{path.name} could not be read and is rewritten"]
    part = "model_index.json" not in taken.files
    kept = [folder for folder in stored.tensors if part and folder not in taken.tensors]
    changed = [
        folder for folder in taken.tensors if stored.tensors.get(folder, taken.tensors[folder]) != taken.tensors[folder]
    ]
    changes = [f"{path.name}: {', '.join(changed)} of {stored.where} replaced by {taken.where}"] if changed else []
    if not kept:
        return taken, changes
    changes.append(f"{path.name}: {', '.join(kept)} of {stored.where} kept, {taken.where} has none")
    others = {folder: names for folder, names in stored.others.items() if folder in kept} | taken.others
    metadata = {folder: facts for folder, facts in stored.metadata.items() if folder in kept} | taken.metadata
    return Snapshot(stored.where, stored.files, stored.tensors | taken.tensors, others, metadata), changes


def keylist_text(taken: Snapshot) -> str:
    """Write a snapshot as text."""
    lines = [f"# {taken.where}", "", "[files]", *map(_escaped, collapse(taken.files))]
    if taken.others:
        lines += ["", f"[{_OTHERS}]", *(name for folder in sorted(taken.others) for name in taken.others[folder])]
    if taken.metadata:
        rows = (
            (folder, key, value) for folder, facts in sorted(taken.metadata.items()) for key, value in facts.items()
        )
        lines += ["", f"[{_METADATA}]", *(f"{key} {value} in {folder}" for folder, key, value in rows)]
    for folder, tensors in sorted(taken.tensors.items()):
        lines += ["", f"[{folder}]"]
        groups: dict[str, list[str]] = {}
        for tensor in tensors.values():
            groups.setdefault(f"{tensor.dtype} {'x'.join(map(str, tensor.shape)) or '-'}", []).append(tensor.name)
        lines += [f"{kind} {name}" for kind, names in groups.items() for name in collapse(names)]
    return "\n".join(lines) + "\n"


def _escaped(name: str) -> str:
    # Escapes a name that would read as a heading or a comment.
    return f"./{name}" if name.startswith(("[", "#", "./")) else name


def read_keylist(path: Path) -> Snapshot:
    """Read the text that ``keylist_text`` wrote. Raises PortError naming the line that is wrong."""
    taken = Snapshot("", [], {})
    section = None
    for number, line in enumerate(_lines(path), 1):
        if line.startswith("#"):
            taken.where = taken.where or line[1:].strip()
        elif line.startswith("["):
            section = line[1:].removesuffix("]")
            if section not in ("files", _OTHERS, _METADATA):
                taken.tensors.setdefault(section, {})
        elif line.strip() and section == "files":
            taken.files += expand(line.removeprefix("./"))
        elif line.strip() and section == _OTHERS:
            taken.others.setdefault(line.rpartition("/")[0], []).append(line)
        elif line.strip() and section == _METADATA:
            fact, _, folder = line.partition(" in ")
            taken.metadata.setdefault(folder, {}).update([fact.partition(" ")[::2]])
        elif line.strip():
            _read_tensors(taken, section, line, f"{path} line {number}")
        if len(taken.files) + sum(map(len, taken.tensors.values())) > _LIMIT:
            raise PortError(f"{path} line {number} lists more than {_LIMIT} names; {_FIX}")
    return taken


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise PortError(f"{path} is not UTF-8 text; {_FIX}") from None


def _read_tensors(taken: Snapshot, section: str | None, line: str, where: str) -> None:
    match = re.fullmatch(r"(\w+) (-|\d{1,18}(?:x\d{1,18}){0,63}) (\S.*)", line, re.ASCII)
    if section is None or not match or match[1] not in DTYPE_BITS or not is_name(match[3]):
        raise PortError(f"{where} is not a line of a key list; {_FIX}")
    shape = tuple(map(int, match[2].split("x"))) if match[2] != "-" else ()
    for name in expand(match[3]):
        if name in taken.tensors[section]:
            raise PortError(f"{where} lists {short_repr(name)} a second time; {_FIX}")
        taken.tensors[section][name] = Tensor(name, match[1], shape)


def collapse(names: Iterable[str]) -> list[str]:
    """Merge names that differ in one running number: ``a.0.b`` and ``a.1.b`` become ``a.{0-1}.b``."""
    lines = list(names)
    for place in range(max((line.count(".") + 1 for line in lines), default=0)):
        groups: dict[tuple[str, ...], list[int]] = {}
        for line in lines:
            parts = line.split(".")
            if place < len(parts) and is_list_index(parts[place]):
                groups.setdefault((*parts[:place], "", *parts[place + 1 :]), []).append(int(parts[place]))
            else:
                groups[tuple(parts)] = []
        lines = []
        for key, numbers in groups.items():
            spans = [f"{{{a}-{b}}}" if b > a else str(a) for a, b in _runs(sorted(numbers))]
            lines += [".".join((*key[:place], span, *key[place + 1 :])) for span in spans or [""] if numbers]
            lines += [] if numbers else [".".join(key)]
    return lines


def _runs(numbers: list[int]) -> Iterable[tuple[int, int]]:
    start = None
    for index, number in enumerate(numbers):
        start = number if start is None else start
        if index + 1 == len(numbers) or numbers[index + 1] != number + 1:
            yield start, number
            start = None


def expand(line: str) -> list[str]:
    """The names that ``collapse`` merged. Raises PortError when there are none, or too many."""
    spans = [int(last) - int(first) + 1 for first, last in _RANGE.findall(line)]
    if any(span < 1 for span in spans) or prod(spans) > _LIMIT:
        raise PortError(f"{short_repr(line)} expands to no name, or to more than {_LIMIT}; {_FIX}")
    match = _RANGE.search(line)
    if not match:
        return [line]
    first, last = int(match[1]), int(match[2])
    return [name for i in range(first, last + 1) for name in expand(f"{line[: match.start()]}{i}{line[match.end() :]}")]
