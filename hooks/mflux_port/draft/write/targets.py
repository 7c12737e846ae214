"""Decide which target takes each checkpoint tensor, and how it is transposed.

What is not certain is left out and listed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.tensor_names import is_list_index
from mflux_port.draft.tree.layer_kinds import Doubt, is_flipped
from mflux_port.draft.tree.nodes import DICT, MODULE, Node
from mflux_port.draft.tree.prefix_remap import held

# torch keeps (out, in, *kernel) and a transposed convolution (in, out, *kernel); MLX keeps (out, *kernel, in).
CONV_TRANSFORMS = {
    "Conv1d": "_transpose_conv1d_weight",
    "Conv2d": "transpose_conv2d_weight",
    "Conv3d": "transpose_conv3d_weight",
    "ConvTranspose2d": "transpose_conv_transpose2d_weight",
}
# Transforms that mflux lacks; the drafted mapping defines those that it uses: name -> expression of `tensor`.
OWN_TRANSFORMS = {
    "_transpose_conv1d_weight": "tensor.transpose(0, 2, 1)",
    **{f"_third_{part}": f"mx.split(tensor, 3, axis=0)[{place}]" for place, part in enumerate("qkv")},
}
# Why a tensor or weight stays unresolved, and what it could be.
_NUMBERED_DICT = (
    "mflux's WeightMapper makes a list of numbered names, and here there are other names next to them",
    ("rename it",),
)
_DRAFTED_AS_THIRDS = (
    "fused in the checkpoint, three layers in the reference; drafted as thirds in the order of its name",
    ("thirds q, k, v", "interleaved head by head"),
)
_NOT_IN_CHECKPOINT = (
    "the reference has this weight and the checkpoint does not",
    ("it is tied to another", "it starts as a constant"),
)
_PLACEHOLDER = re.compile(r"\{(?:block|layer|i|res)\}")
_FUSED = re.compile(r"(^|_)(to_)?qkv$|^in_proj$")


@dataclass(frozen=True, slots=True)
class Target:
    """One WeightTarget. ``count`` is its max_blocks when the patterns have ``{block}``, otherwise None.

    ``partial``: the list has further blocks, without this tensor. A shorter model has fewer than ``count``, so that
    mflux must not require it in each.
    """

    to_pattern: str
    from_pattern: str
    transform: str = ""
    count: int | None = None
    partial: bool = False


@dataclass(frozen=True)
class Unresolved:
    """Something that the draft leaves open, and what it could be."""

    component: str
    name: str
    why: str
    candidates: tuple[str, ...]


@dataclass
class MappingDraft:
    component: str
    targets: list[Target] = field(default_factory=list)
    unresolved: list[Unresolved] = field(default_factory=list)
    tied: list[str] = field(default_factory=list)


@dataclass
class Source:
    """What is mapped. ``tensors`` by their names without wrappers; ``Tensor.name`` is the name in the file.

    ``unresolved`` and ``moved`` are those of ``HeaderTree``; ``blocked``: modules whose tensors cannot be mapped at
    all; ``certain``: whether the tree comes from the reference and not from the header alone.
    """

    tensors: dict[str, Tensor]
    config: dict
    certain: bool
    unresolved: dict[str, Doubt] = field(default_factory=dict)
    moved: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)


def draft_mapping(component: str, source: Source, tree: Node) -> MappingDraft:
    """The targets of one component."""
    draft = MappingDraft(component)
    mapper = _Mapper(tree, source)
    singles = []
    for name, tensor in source.tensors.items():
        targets, doubt = mapper.decide(name, tensor)
        singles += targets
        if doubt is not None:
            mapper.handled.add(name)
            draft.unresolved.append(Unresolved(component, tensor.name, *doubt))
    mapper.handled.update(target.to_pattern for target in singles)
    for name in sorted(mapper.owners.keys() - mapper.handled):
        module = name.rpartition(".")[0]
        if mapper.owners[name].tied or module.endswith("lm_head") and _is_tied(source.config):
            draft.tied.append(name)
        elif source.certain and module not in source.blocked:
            draft.unresolved.append(Unresolved(component, name, *_NOT_IN_CHECKPOINT))
    draft.targets = group(singles)
    return draft


class _Mapper:
    """Decides tensor by tensor. ``owners``: the module of the tree that holds each array, by the array's name."""

    def __init__(self, tree: Node, source: Source):
        self.source = source
        self.owners: dict[str, Node] = {}
        self.handled: set[str] = set()
        dicts = []
        for path, node in tree.walk():
            self.owners |= {f"{path}.{name}" if path else name: node for name in held(node)}
            if node.kind in (DICT, MODULE) and any(map(is_list_index, node.children)):
                dicts.append(f"{path}.")
        self.numbered_dicts = tuple(dicts)

    def decide(self, name: str, tensor: Tensor) -> tuple[list[Target], Doubt | None]:
        """The targets of a tensor, and what is not certain about them."""
        if name in self.source.unresolved:
            return [], self.source.unresolved[name]
        if name.startswith(self.numbered_dicts):
            return [], _NUMBERED_DICT
        places = self.source.moved.get(name, ((name, ""),))
        node = self.owners.get(places[0][0])
        thirds = _fused(name, tensor, self.owners) if node is None else []
        if thirds:
            return thirds, _DRAFTED_AS_THIRDS
        doubt = _doubt(places[0][0], tensor, node, self.source.certain)
        if doubt:
            return [], doubt
        return [Target(to, tensor.name, change or _transform(to, tensor, node)) for to, change in places], None


def _is_tied(config: dict) -> bool:
    nested = config.get("text_config")
    return bool(config.get("tie_word_embeddings") or isinstance(nested, dict) and nested.get("tie_word_embeddings"))


def _transform(name: str, tensor: Tensor, node: Node | None) -> str:
    if node is not None and name.endswith(".weight") and node.layer in CONV_TRANSFORMS:
        return CONV_TRANSFORMS[node.layer]
    if is_gamma(name, tensor.shape):
        return "reshape_gamma_to_1d"
    return ""


def is_gamma(name: str, shape: tuple[int, ...]) -> bool:
    """A norm's scale that torch keeps with trailing axes of length 1, to broadcast over channels-first data."""
    return name.rpartition(".")[2] == "gamma" and len(shape) > 1 and set(shape[1:]) == {1}


def _doubt(name: str, tensor: Tensor, node: Node | None, certain: bool) -> Doubt | None:
    last = name.rpartition(".")[2]
    if any(part.isdigit() and not is_list_index(part) for part in name.split(".")):
        return "mflux's WeightMapper reads a part of its name as a number and writes that number differently", (
            "rename it",
        )
    if name.startswith("_") or "._" in name:
        return "MLX treats an attribute that begins with an underscore as private, and loads nothing into it", (
            "rename it",
        )
    if _PLACEHOLDER.search(name):
        return "mflux's WeightMapper would replace its braces with numbers", ("rename it",)
    if node is None:
        return "the reference has no module for it", ("waive it", f"map it onto {name}")
    if re.search(r"(^|\.)lm_head\.", name):
        return "the output head: a pipeline that reads hidden states never uses it", ("waive it", f"map it onto {name}")
    if re.search(r"\.\d+\.\d+\.", f".{name}.") or is_list_index(last):
        return "mflux's WeightMapper cannot set a list within a list or a bare array in a list", ("rename it",)
    if node.layer.startswith("ConvTranspose") and node.layer not in CONV_TRANSFORMS:
        return f"mflux has no transform for {node.layer}", ("write one",)
    if last == "weight" and len(tensor.shape) > 2 and not certain:
        return _conv_doubt(tensor, node)
    return None


def _conv_doubt(tensor: Tensor, node: Node) -> Doubt | None:
    rank = len(tensor.shape) - 2
    if rank > 3 or not node.kind.startswith("Conv"):
        return "a weight of unknown use", ("map it as it is", "waive it")
    sizes = node.arguments
    bias = (int(sizes["out_channels"]),) if sizes["bias"] == "True" else None
    if is_flipped(tensor.shape, bias) is not None:
        return None
    return "the shape fits both", (f"transpose_conv{rank}d_weight", f"transpose_conv_transpose{rank}d_weight")


def _fused(name: str, tensor: Tensor, owners: dict[str, Node]) -> list[Target]:
    # One tensor in the checkpoint, three modules in the reference: the name says that the order is q, k, v.
    path, _, last = name.rpartition(".")
    parent, _, leaf = path.rpartition(".")
    if not _FUSED.search(leaf):
        return []
    for names in (("to_q", "to_k", "to_v"), ("q_proj", "k_proj", "v_proj")):
        targets = [f"{parent}.{part}.{last}" if parent else f"{part}.{last}" for part in names]
        if all(target in owners for target in targets) and tensor.shape[0] % 3 == 0:
            outputs = {owners[target].arguments.get("output_dims") for target in targets}
            if len(outputs) == 1:
                return [
                    Target(target, tensor.name, f"_third_{part}") for target, part in zip(targets, "qkv", strict=True)
                ]
    return []


def group(singles: list[Target]) -> list[Target]:
    """Targets that differ only in one running number, merged into one with ``{block}``; the order stays."""
    singles = list(dict.fromkeys(singles))
    families: dict[tuple, list[int]] = defaultdict(list)
    last: dict[tuple, int] = {}
    lengths: dict[str, int] = {}
    for place, target in enumerate(singles):
        for key, number in _keys(target):
            families[key].append(place)
            last[key] = max(number, last.get(key, 0))
            lengths[_list_of(key)] = max(number + 1, lengths.get(_list_of(key), 0))
    # The numbers of a family are all different: there is no gap if the last is their count minus one.
    complete = {key for key, members in families.items() if len(members) == last[key] + 1 > 1}
    chosen, done = [], bytearray(len(singles))
    for place, target in enumerate(singles):
        if done[place]:
            continue
        keys = [key for key, _ in _keys(target) if key in complete and not any(done[one] for one in families[key])]
        done[place] = True
        if not keys:
            chosen.append(target)
            continue
        best = max(keys, key=lambda key: len(families[key]))
        for one in families[best]:
            done[one] = True
        count = len(families[best])
        chosen.append(Target(best[0], best[1], target.transform, count, count < lengths[_list_of(best)]))
    return chosen


def _list_of(key: tuple[str, str, str]) -> str:
    return key[0].partition("{block}")[0]


def _keys(target: Target) -> Iterator[tuple[tuple[str, str, str], int]]:
    # Replace every number that is at the same position among the numbers of both names: wrappers in between do not
    # matter.
    source, goal = target.from_pattern.split("."), target.to_pattern.split(".")
    places, goals = ([n for n, part in enumerate(parts) if is_list_index(part)] for parts in (source, goal))
    if len(places) != len(goals):
        return
    for place, to in zip(places, goals, strict=True):
        if source[place] == goal[to]:
            from_pattern = ".".join([*source[:place], "{block}", *source[place + 1 :]])
            to_pattern = ".".join([*goal[:to], "{block}", *goal[to + 1 :]])
            yield (to_pattern, from_pattern, target.transform), int(source[place])
