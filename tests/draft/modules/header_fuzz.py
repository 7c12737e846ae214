"""Run inside mflux's environment: mutated headers of real models, drafted from the header alone, accounted for and
loaded.

After any mutation, each tensor of a header is mapped, unresolved, of a reported kind, or waived with a reason. Mapped
tensors hold floats, and mflux's own mapper loads them strictly into the drafted module.
"""

import json
import random
import re
import sys
from collections import Counter
from pathlib import Path

import mlx.core as mx
from draft_agreement import ANSWERS, SKELETON
from mflux.models.common.weights.loading.weight_definition import ComponentDefinition
from mflux.models.common.weights.mapping.weight_mapper import WeightMapper
from mflux_port.checkpoint.headers import DTYPE_BITS, Header, Tensor
from mflux_port.checkpoint.kinds.quantization import SCHEMES
from mflux_port.checkpoint.layout import Component, open_checkpoint
from mflux_port.checkpoint.shards import WeightSet
from mflux_port.draft import component as drafting
from mflux_port.draft.write.mapping import weight_mapping
from mflux_port.errors import PortError
from mflux_port.ledger.balance import account
from mflux_port.ledger.shape_only_arrays import shape_only_array, shape_only_weights
from mflux_port.ledger.waivers import Waivers
from mflux_port.port.port import port_from_answers
from mlx.utils import tree_flatten

FLOATS = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}
COMPANIONS = sorted({name for scheme in SCHEMES for name in scheme.arrays if "." not in name})
WORDS = [
    "odd",
    "blocks",
    "0",
    "7",
    "weight",
    "bias",
    "norm",
    "scale",
    "ema",
    "keys",
    "lambda",
    "to_q",
    "Über",
    "a b",
    *COMPANIONS,
]


def rename(tensors, rng):
    name = rng.choice(list(tensors))
    parts = name.split(".")
    parts[rng.randrange(len(parts))] = rng.choice(WORDS)
    put(tensors, ".".join(parts), tensors.pop(name))


def rename_module(tensors, rng):
    old = rng.choice(list(tensors)).rpartition(".")[0]
    new = f"{old.rpartition('.')[0]}.{rng.choice(WORDS)}".lstrip(".")
    for name in [name for name in tensors if old and name.startswith(f"{old}.")]:
        put(tensors, new + name[len(old) :], tensors.pop(name))


def retype(tensors, rng):
    dtype = rng.choice(sorted(DTYPE_BITS))
    for name in rng.sample(list(tensors), k=min(rng.choice((1, 3, len(tensors))), len(tensors))):
        put(tensors, name, tensors[name], dtype)


def add_companion(tensors, rng):
    path = rng.choice(list(tensors)).rpartition(".")[0]
    dtype, shape = rng.choice(sorted(DTYPE_BITS)), rng.choice(((), (1,), (64,), (64, 1), (4, 4)))
    put(tensors, f"{path}.{rng.choice(COMPANIONS + ['companion', 'gain'])}".lstrip("."), Tensor("", dtype, shape))


def drop(tensors, rng):
    for name in rng.sample(list(tensors), k=min(rng.choice((1, 2, 5)), len(tensors) - 1)):
        del tensors[name]


def duplicate(tensors, rng):
    prefix = rng.choice(("ema.", "copy.", "model_ema.", "module.", "target_"))
    chosen = list(tensors) if rng.random() < 0.5 else rng.sample(list(tensors), k=min(3, len(tensors)))
    for name in chosen:
        put(tensors, prefix + name, tensors[name])


def reshape(tensors, rng):
    name = rng.choice([name for name in tensors if tensors[name].shape] or list(tensors))
    shape = list(tensors[name].shape)
    how = rng.choice(("reverse", "last", "flat", "longer", "more", "less", "scalar"))
    changed = {
        "reverse": shape[::-1], "last": [shape[0], *shape[2:], shape[1]] if len(shape) > 1 else shape,
        "flat": [tensors[name].elements], "longer": [*shape, 1], "more": [shape[0] + 1, *shape[1:]] if shape else [2],
        "less": shape[1:], "scalar": [],
    }[how]  # fmt: skip
    put(tensors, name, Tensor("", tensors[name].dtype, tuple(changed)))


def wrap(tensors, rng):
    prefix = rng.choice(("_orig_mod.", "module.", "model.diffusion_model.", "any.thing."))
    for name in list(tensors):
        put(tensors, prefix + name, tensors.pop(name))


def last_channels(tensors, rng):
    for name in [name for name, tensor in tensors.items() if len(tensor.shape) == 4]:
        shape = tensors[name].shape
        put(tensors, name, Tensor("", tensors[name].dtype, (shape[0], *shape[2:], shape[1])))


MUTATIONS = (rename, rename_module, retype, add_companion, drop, duplicate, reshape, wrap, last_channels)


def put(tensors, name, tensor, dtype=None):
    dtype = dtype or tensor.dtype
    if Tensor(name, dtype, tensor.shape).elements * DTYPE_BITS[dtype] % 8 == 0:
        tensors[name] = Tensor(name, dtype, tensor.shape)


def component_of(tensors) -> Component:
    weights = WeightSet("transformer", [], "", "", [], 0, lambda name: Header())
    component = Component("transformer", "transformer", "", "Nova", {}, weights, "transformer")
    component.__dict__["header"] = Header(tensors)
    return component


def built(draft):
    """The drafted class, made from all files in one namespace: later classes use earlier ones."""
    scope: dict = {}
    for draft_class in draft.classes:
        source = draft.files[draft_class.stem]
        source = re.sub(r"(?m)^from (?!mlx)\S+ import (\(\n(    .*\n)*\)|.*)\n", "", source)
        exec(compile(source, draft_class.stem, "exec"), scope)
    with shape_only_weights():
        return scope[draft.classes[-1].name]()


def mapping_of(draft, port):
    source = SKELETON.format(cls=port.class_name, component="transformer")
    scope: dict = {}
    exec(weight_mapping(source, f"{port.class_name}WeightMapping", [draft.mapping], "mapping"), scope)
    return scope[f"{port.class_name}WeightMapping"].get_transformer_mapping()


def judge(tensors, port) -> str:
    """The outcome of a header. Raises AssertionError where something is silently wrong."""
    component = component_of(tensors)
    draft = drafting.draft_component(component, "transformer", port)
    classified = component.classified
    mapping = mapping_of(draft, port)
    flat = WeightMapper._build_flat_mapping(mapping, 0, 0)
    mapped = {name for name in tensors if name in flat}
    unresolved = {entry.name for entry in draft.unresolved}
    blocked = {name for kind in classified.blocking for name in kind.names}
    kinds = {kind.id for kind in classified.blocking}
    assert kinds <= unresolved and all(entry.why and entry.candidates for entry in draft.unresolved)
    lost = tensors.keys() - mapped - unresolved - blocked - classified.waived.keys()
    assert not lost, f"neither mapped nor named: {sorted(lost)[:3]}"
    assert not mapped & (blocked | classified.waived.keys()), "mapped although it is of another kind"
    odd = {name for name in mapped if tensors[name].dtype not in (*FLOATS, "F64", "C64")}
    assert not odd, f"mapped although it holds no floats: {sorted(odd)[:3]}"
    module = built(draft)
    component = ComponentDefinition("transformer", "transformer", mapping_getter=lambda: mapping)
    named = unresolved | blocked
    paths = {path: "open" for path, _ in tree_flatten(module.parameters()) if is_open(path, named)}
    found = account(
        component, module, tensors, Waivers(tensors=dict.fromkeys(named, "open"), parameters=paths)
    ).findings
    fails = [finding for finding in found if finding.fails and finding.kind != "idle waiver"]
    assert all(finding.name and finding.why for finding in fails)
    unexpected = [f for f in fails if f.kind not in ("unreadable",) and f.name not in named | kinds]
    assert not unexpected, f"the ledger finds what the draft did not: {unexpected[0]}"
    load(module, tensors, mapping, named)
    return "named" if len(unresolved) or fails else "balanced"


def load(module, tensors, mapping, named) -> None:
    """Load the mapped tensors as mflux does. Every one must arrive in the module or be reported."""
    arrays = {name: shape_only_array(t.shape, FLOATS.get(t.dtype, mx.float32)) for name, t in tensors.items()}
    tree = WeightMapper.apply_mapping(hf_weights=arrays, mapping=mapping)
    given, before = dict(tree_flatten(tree)), dict(tree_flatten(module.parameters()))
    wrong = [path for path, array in given.items() if path not in before or before[path].shape != array.shape]
    assert not wrong, f"mflux cannot load {wrong[:3]}"
    empty = [path for path in before if path not in given and not is_open(path, named)]
    assert not empty, f"nothing is loaded into {empty[:3]}"
    module.update(tree, strict=False)
    after = dict(tree_flatten(module.parameters()))
    lost = [path for path, array in given.items() if after[path] is not array]
    assert not lost, f"mflux loads nothing into {lost[:3]}"


def is_open(path, unresolved) -> bool:
    return any(name.endswith(path) for entry in unresolved for name in (entry, entry.replace("_orig_mod.", "")))


def seeds(references) -> list[dict]:
    checkpoints = [open_checkpoint(str(folder)) for folder in sorted(references.glob("*-tiny"))]
    return [dict(part.tensors) for checkpoint in checkpoints for part in checkpoint.components.values()]


def main(references: Path, count: int, seed: int) -> None:
    drafting.has_reference = lambda component: False
    port = port_from_answers({"model": "nova", "class_name": "Nova", **ANSWERS})
    bases, ends, faults = seeds(references), Counter(), []
    for base in bases:
        ends[judge(base, port)] += 1
    for number in range(count):
        rng = random.Random(seed + number)
        tensors = dict(rng.choice(bases))
        names = [rng.choice(MUTATIONS) for _ in range(rng.choice((1, 1, 2, 3)))]
        try:
            for mutate in names:
                mutate(tensors, rng)
            ends[judge(tensors, port)] += 1
        except PortError as error:
            assert len(str(error).splitlines()) == 1
            ends["refused"] += 1
        except Exception as error:  # noqa: BLE001 - any other result is a fault, reported with its seed
            if count == 1:
                raise
            faults.append([seed + number, [one.__name__ for one in names], f"{type(error).__name__}: {error}"[:400]])
    print(json.dumps({"ends": ends, "faults": faults}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
