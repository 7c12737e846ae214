"""Match MLX parameters with reference tensors, and modules with modules, without a table of names.

Parameters pair by fingerprints that no transpose or reshape changes, modules by the parameters that they own.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from parity.record.fingerprints import Fingerprint, fingerprint, order_of, same_values

COUNT = "block count"
ALLOWED = {
    2: ((0, 1),),
    3: ((0, 1, 2), (0, 2, 1)),
    4: ((0, 1, 2, 3), (0, 2, 3, 1)),
    5: ((0, 1, 2, 3, 4), (0, 2, 3, 4, 1)),
}


@dataclass(frozen=True)
class Fault:
    """A parameter that is wrong before anything runs: ``never loaded``, ``transposed``, ``swapped`` or ``block count``.

    For a ``block count`` the parameter is a list of blocks.
    """

    kind: str
    parameter: str
    reference: str
    detail: str

    @property
    def module(self) -> str:
        return self.parameter if self.kind == COUNT else self.parameter.rpartition(".")[0]


@dataclass
class Pairing:
    """``parameters`` and ``modules`` map MLX paths to reference paths. ``named`` modules pair by their name only.

    ``fewer``: by how much each list is shorter than the reference's.
    """

    parameters: dict[str, str] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    components: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    fewer: dict[str, str] = field(default_factory=dict)
    parameter_count: int = 0
    module_count: int = 0


def pair(
    arrays: Iterable[tuple[str, np.ndarray]],
    modules: dict[str, str],
    reference: dict[str, dict],
    classes: dict[str, list[str]],
) -> Pairing:
    """Pair one model with a recording.

    ``arrays`` are MLX's parameters by ``component.path``; each is read once, so that one at a time may be in memory.
    ``modules`` are its modules with their class names, ``reference`` the recording's fingerprints and ``classes`` its
    modules.
    """
    prints = {name: Fingerprint.from_json(entry) for name, entry in reference.items()}
    result = Pairing(module_count=len(modules))
    marks, orders = _pair_parameters(result, arrays, prints)
    result.parameter_count = len(marks)
    result.components = _pair_components(result.parameters, modules, classes)
    _pair_modules(result, modules, classes)
    _pair_by_name(result, modules, classes)
    outside = tuple(_count_blocks(result, marks, prints))
    unloaded = _never_loaded(result, marks, prints)
    result.faults += [fault for fault in unloaded if not (outside and fault.parameter.startswith(outside))]
    result.faults += _transposed(result, orders, prints, modules)
    result.faults += _swapped(result, prints)
    return result


def _pair_parameters(
    result: Pairing, arrays: Iterable[tuple[str, np.ndarray]], prints: dict[str, Fingerprint]
) -> tuple[dict[str, Fingerprint], dict[str, tuple[int, ...] | None]]:
    """Fill ``result.parameters``. Returns all fingerprints and, for those that pair, the order of their axes."""
    by_key: dict[tuple, list[str]] = defaultdict(list)
    for name, mark in prints.items():
        by_key[(mark.size, mark.low, mark.high)].append(name)
    marks, orders = {}, {}
    for path, values in arrays:
        marks[path] = mark = fingerprint(values)
        names = [name for name in by_key.get((mark.size, mark.low, mark.high), ()) if same_values(mark, prints[name])]
        if names:
            result.parameters[path] = name = max(names, key=lambda name: alike(path, name))
            orders[path] = order_of(values, prints[name], ALLOWED.get(len(prints[name].shape), ()))
    return marks, orders


def _pair_components(
    parameters: dict[str, str], modules: dict[str, str], classes: dict[str, list[str]]
) -> dict[str, str]:
    votes: dict[str, Counter] = defaultdict(Counter)
    for path, name in parameters.items():
        votes[path.split(".")[0]][name.split(".")[0]] += 1
    found = {own: counter.most_common(1)[0][0] for own, counter in votes.items()}
    others = {path.split(".")[0] for path in modules} - set(found)
    return found | {own: own for own in others if own in {name.split(".")[0] for name in classes}}


def _owners(parameters: dict[str, str] | list[str], paths) -> dict[frozenset, list[str]]:
    # All modules, grouped by the set of tensors below them, outermost first. ``parameters`` maps a parameter to its
    # tensor.
    owned: dict[str, set[str]] = defaultdict(set)
    known = set(paths)
    for parameter, tensor in parameters.items():
        parts = parameter.split(".")
        for length in range(1, len(parts)):
            path = ".".join(parts[:length])
            if path in known:
                owned[path].add(tensor)
    groups: dict[frozenset, list[str]] = defaultdict(list)
    for path in sorted(owned, key=lambda path: path.count(".")):
        groups[frozenset(owned[path])].append(path)
    return groups


def _pair_modules(result: Pairing, modules: dict[str, str], classes: dict[str, list[str]]) -> None:
    lists = {name for name, (kind, _) in classes.items() if kind in ("ModuleList", "ModuleDict")}
    holders = Counter(result.parameters.values())
    # A tensor that several modules copy (a table of positions) does not identify the larger modules around it.
    once = {path: name for path, name in result.parameters.items() if holders[name] == 1}
    for parameters in (result.parameters, once):
        theirs = _owners({name: name for name in parameters.values()}, set(classes) - lists)
        for tensors, own in _owners(parameters, modules).items():
            chain = theirs.get(tensors, [])
            for depth, path in enumerate(reversed(own)):  # innermost to innermost
                if chain and path not in result.modules:
                    same = [other for other in chain if words(other) == words(path)]
                    result.modules[path] = same[0] if same else chain[max(0, len(chain) - 1 - depth)]
    for own, theirs_root in result.components.items():
        result.modules[own] = theirs_root


def _pair_by_name(result: Pairing, modules: dict[str, str], classes: dict[str, list[str]]) -> None:
    # Modules without parameters: the child of the same name of the paired parent, else its only such child.
    for path in sorted(modules, key=lambda path: path.count(".")):
        if path in result.modules:
            continue
        parent, _, name = path.rpartition(".")
        above = _nearest(result.modules, parent)
        wanted = f"{above}.{path[len(parent) + 1 :]}" if above else ""
        taken = set(result.modules.values())
        if wanted in classes and wanted not in taken:
            result.modules[path] = wanted
            result.named.add(path)
        elif above:
            children = [other for other in classes if other.rpartition(".")[0] == above and other not in taken]
            similar = [other for other in children if _kind(classes[other][0]) == _kind(modules[path])]
            if len(similar) == 1:
                result.modules[path] = similar[0]
                result.named.add(path)


def _nearest(modules: dict[str, str], path: str) -> str:
    while path:
        if path in modules:
            return modules[path]
        path = path.rpartition(".")[0]
    return ""


def _kind(name: str) -> str:
    lowered = name.lower()
    for word in (
        "rope",
        "rotary",
        "posembed",
        "norm",
        "silu",
        "gelu",
        "timestep",
        "timesteps",
        "upsample",
        "downsample",
    ):
        if word in lowered:
            return {"rotary": "rope", "posembed": "rope"}.get(word, word)
    return lowered


def _never_loaded(result: Pairing, marks: dict[str, Fingerprint], prints: dict[str, Fingerprint]) -> list[Fault]:
    used = set(result.parameters.values())
    free = [name for name in prints if name not in used]
    faults = []
    for path, own in marks.items():
        if path in result.parameters or path.split(".")[0] not in result.components:
            continue
        same = [name for name in free if prints[name].size == own.size]
        likely = max(same, key=lambda name: alike(path, name), default="")
        if likely and path.endswith("inv_freq"):
            bases = [_base(mark.low, mark.size) for mark in (own, prints[likely])]
            detail = f"has the base (theta) {bases[0]:.4g}, the reference's has {bases[1]:.4g}"
            faults.append(Fault("RoPE", path, likely, detail))
            continue
        if likely and alike(path, likely) > 0.5:
            mark = prints[likely]
            scale = (own.squares / mark.squares) ** 0.5 if mark.squares else 0.0
            detail = f"its values are not the checkpoint's (their size is {scale:.3g} of {likely}'s)"
        else:
            detail = "no tensor of the reference has its values"
        faults.append(Fault("never loaded", path, likely, detail))
    return faults


def _count_blocks(result: Pairing, marks: dict[str, Fingerprint], prints: dict[str, Fingerprint]) -> list[str]:
    """Compare list lengths. Returns the path prefixes of blocks that hold nothing from the reference.

    Blocks that were not loaded are faults. A port may leave blocks of the reference out (an encoder's last layer that
    nothing reads): these are only kept in ``fewer``, to explain a stage that fails.
    """
    outside: list[str] = []
    theirs = _lists(prints)
    for own, blocks in _lists(marks).items():
        filled = {n: [result.parameters[path] for path in blocks[n] if path in result.parameters] for n in blocks}
        homes = {_list_of(name) for names in filled.values() for name in names}
        loaded = [n for n in filled if filled[n]]
        if len(homes) != 1 or homes == {""}:
            continue  # a list of the port that holds several of the reference's, or none
        other = homes.pop()
        used = {_number(name, other) for names in filled.values() for name in names}
        sentence = f"the checkpoint has {len(theirs[other])} (in {other})"
        if len(loaded) < len(blocks):
            detail = f"the port has {len(blocks)} blocks, {len(loaded)} of them loaded, {sentence}"
            result.faults.append(Fault(COUNT, own, f"{other}.", detail))
            outside += [f"{own}.{n}." for n in blocks if not filled[n]]
        elif used < set(theirs[other]) and len(loaded) == len(used):
            result.fewer[own] = f"the port has {len(blocks)} blocks in {own}, {sentence}"
    _count_missing_lists(result, theirs)
    return outside


def _count_missing_lists(result: Pairing, theirs: dict[str, dict[int, list[str]]]) -> None:
    held = {_list_of(name) for name in result.parameters.values()}
    own = {name: component for component, name in result.components.items()}
    for other, blocks in theirs.items():
        component = other.split(".")[0]
        # A text encoder may have a tower for images that no port needs.
        if other not in held and component in own and not component.startswith("text_encoder"):
            path = f"{own[component]}.{other.partition('.')[2]}"
            result.fewer[path] = f"the port has no blocks of {other}, the checkpoint has {len(blocks)}"


def _lists(names) -> dict[str, dict[int, list[str]]]:
    """The numbers in each outermost list, by its path, with the names below them."""
    found: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        home = _list_of(name)
        if home:
            found[home][_number(name, home)].append(name)
    return found


def _list_of(name: str) -> str:
    found = re.match(r"(.*?)\.\d+\.", name)
    return found[1] if found else ""


def _number(name: str, home: str) -> int:
    return int(name[len(home) + 1 :].partition(".")[0])


def _base(lowest: float, count: int) -> float:
    """The base of ``count`` rotary frequencies, of which the lowest is base ** -((count - 1) / count)."""
    return lowest ** (-count / (count - 1)) if lowest > 0 and count > 1 else float("nan")


def _transposed(
    result: Pairing,
    orders: dict[str, tuple[int, ...] | None],
    prints: dict[str, Fingerprint],
    modules: dict[str, str],
) -> list[Fault]:
    faults = []
    for path, name in result.parameters.items():
        mark, order = prints[name], orders[path]
        if len([length for length in mark.shape if length > 1]) < 2:
            continue
        rank = len(mark.shape)
        if order in ALLOWED.get(rank, ()) or order is not None and order == tuple(range(rank)):
            continue
        if rank == 2 and order == (1, 0) and "Linear" not in modules.get(path.rpartition(".")[0], ""):
            continue  # a layer of the port may multiply from the other side
        how = f"axes in the order {order}" if order else "values in another order"
        faults.append(Fault("transposed", path, name, f"holds the reference's {list(mark.shape)} with {how}"))
    return faults


def _swapped(result: Pairing, prints: dict[str, Fingerprint]) -> list[Fault]:
    """Swapped tensors: two parameters whose names fit each other's tensors exactly."""
    by_shape: dict[tuple, list[str]] = defaultdict(list)
    for path, name in result.parameters.items():
        by_shape[prints[name].shape].append(path)
    faults = []
    for paths in by_shape.values():
        for path in paths:
            name = result.parameters[path]
            if words(path) == words(name):
                continue
            right = [other for other in paths if words(path) == words(result.parameters[other]) and other != path]
            if right:
                true_name = result.parameters[right[0]]
                faults.append(Fault("swapped", path, name, f"holds {name} instead of {true_name}"))
    return faults or _renamed(result)


def _renamed(result: Pairing) -> list[Fault]:
    # If the sides use different names, one rule still holds in every block: the same name for the same tensor.
    rules: dict[str, Counter] = defaultdict(Counter)
    for path, name in result.parameters.items():
        rules[re.sub(r"\d+", "#", path)][re.sub(r"\d+", "#", name)] += 1
    faults = []
    for path, name in result.parameters.items():
        counter = rules[re.sub(r"\d+", "#", path)]
        usual, count = counter.most_common(1)[0]
        if len(counter) > 1 and re.sub(r"\d+", "#", name) != usual and count >= 2 * sum(counter.values()) / 3:
            faults.append(Fault("swapped", path, name, f"holds {name}; the same place in other blocks holds {usual}"))
    return faults + _shuffled(result)


def _shuffled(result: Pairing) -> list[Fault]:
    # Block numbers: all parameters of a block come from one block of the reference, and blocks keep their order.
    faults, homes = [], defaultdict(Counter)
    for path, name in result.parameters.items():
        own, other = _block(path), _block(name)
        if own and other:
            homes[own[0], other[0]][int(other[1]) - int(own[1])] += 1
    for path, name in result.parameters.items():
        own, other = _block(path), _block(name)
        if own and other:
            shifts = homes[own[0], other[0]]
            usual, count = shifts.most_common(1)[0]
            if int(other[1]) - int(own[1]) != usual and count >= 0.5 * sum(shifts.values()):
                faults.append(Fault("swapped", path, name, f"holds {name}, a tensor of another block"))
    return faults


def _block(path: str) -> tuple[str, str] | None:
    found = re.match(r"(.*?(?:layers|blocks|refiner)\.)(\d+)\.", path)
    return (found[1], found[2]) if found else None


def words(path: str) -> tuple[str, ...]:
    """A path's parts, except those that only name a container."""
    return tuple(part for part in path.split(".")[1:] if part not in ("model", "language_model", "module"))


def alike(path: str, name: str) -> float:
    """The similarity of two paths, 0..1, counted from their ends."""
    one, other = path.split("."), name.split(".")
    common = sum(a == b for a, b in zip(reversed(one), reversed(other), strict=False))
    shared = len(set(one) & set(other))
    return (common + shared) / (max(len(one), len(other)) + max(len(set(one)), len(set(other))))
