"""``mflux-port draft``: write the weight mapping, the MLX modules and the LoRA mapping from a checkpoint."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from mflux_port.checkout.lock import exclusive, shared
from mflux_port.checkout.transaction import commit, locked
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from mflux_port.port.port import Port, load_port


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="the port's package name")
    parser.add_argument("--checkpoint", required=True, metavar="PATH", help="folder, .safetensors file or repo id")
    parser.add_argument(
        "--component",
        action="append",
        metavar="NAME",
        help="transformer, vae, text_encoder, text_encoder_2 …; may be repeated (default: those that the answers call own)",
    )
    parser.add_argument(
        "--pipeline",
        metavar="FOLDER",
        help="also run the pipeline in this folder (a tiny twin) and write what it does between its networks",
    )
    parser.add_argument("--layers-only", action="store_true", help="write no forward passes")
    parser.add_argument("--dry-run", action="store_true", help="print the diff, write nothing")


def run(args: argparse.Namespace) -> int:
    """Draft the components. Returns 0; what could not be decided is listed in unresolved.yml, which fails `check`."""
    checkout = Checkout(args.checkout)
    with shared(checkout.root) if args.dry_run else exclusive(checkout.root):
        return _run(args, checkout)


def _run(args: argparse.Namespace, checkout: Checkout) -> int:
    from mflux_port.checkpoint.keylist import KEYLIST, keylist_text, merged, snapshot
    from mflux_port.checkpoint.layout import open_checkpoint
    from mflux_port.draft.component import draft_component
    from mflux_port.draft.pipeline.file import FACTS, facts_text, summary
    from mflux_port.draft.tiny_sizes import other_names
    from mflux_port.draft.write.files import contents, diff, leftovers, lists, plan_files
    from mflux_port.draft.write.unresolved import UNRESOLVED, unresolved_text

    port = load_port(checkout.root, args.model)
    checkpoint = open_checkpoint(args.checkpoint)
    names = list(dict.fromkeys(args.component or _own_components(port)))
    parts = {name: _part(checkpoint, name, port) for name in names}
    drafts = [draft_component(part, name, port, _say, not args.layers_only) for name, part in parts.items()]
    drafted = _texts(checkout, port, drafts)
    planned = plan_files(checkout, port, drafted)
    keys, changes = merged(checkout.root / KEYLIST.format(model=port.model), snapshot(checkpoint))
    undecided = [entry for draft in drafts for entry in draft.unresolved]
    listed = unresolved_text(checkout.root / UNRESOLVED.format(model=port.model), names, undecided)
    read = _pipeline_facts(args.pipeline)
    texts = {KEYLIST: keylist_text(keys), UNRESOLVED: listed, **_trained(checkout, port, drafts)}
    kept = lists(checkout, port, texts | ({FACTS: facts_text(read)} if read else {}))
    if args.dry_run:
        print(diff([*planned, *kept]), end="")
        return 0
    texts = contents(checkout, port, planned) | {file.name: file.text or None for file in kept}
    with locked(checkout.root):
        commit(checkout.root, {name: text.encode() if text is not None else None for name, text in texts.items()})
    facts = _facts(drafts, planned) | {"leftover": leftovers(checkout, planned), "key_list": changes}
    facts["tiny_sizes"] = other_names(checkout, port, drafted)
    facts["pipeline"] = {fact.name: fact.as_dict() for fact in read}
    if read and not args.json:
        print(f"{summary(read)}: {FACTS.format(model=port.model)}")
    print(json.dumps(facts, indent=1) if args.json else _format(facts, port))
    return 0


def _pipeline_facts(folder: str | None) -> list:
    from mflux_port.draft.pipeline.process import facts_of_twin

    if not folder:
        return []
    if not Path(folder, "model_index.json").is_file():
        raise PortError(f"{folder} has no model_index.json; name the folder of a tiny twin (make_tiny_checkpoint.py)")
    _say("pipeline: about ten runs of the twin")
    return facts_of_twin(Path(folder))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # progress, which is not part of the output


def _own_components(port: Port) -> list[str]:
    return ["transformer", *(name for name, kind in port.kinds.items() if kind == "own")]


def _part(checkpoint, name: str, port: Port):
    known = ["transformer", *port.kinds]
    if name not in known:
        raise PortError(f"{name} is not a component of this port; type one of {', '.join(known)}")
    parts, folder = checkpoint.components, port.folder_of(name)
    if folder in checkpoint.missing:
        checkpoint.verify_complete()
    if part := parts.get(folder) or checkpoint.part(name):
        return part
    if len(parts) == 1 and not checkpoint.model_index:
        return next(iter(parts.values()))
    raise PortError(f"{checkpoint.where} has no {name}, it has {', '.join(parts)}; choose with --component")


def _texts(checkout: Checkout, port: Port, drafts: list) -> dict[str, str]:
    from mflux_port.draft.write.mapping import lora_mapping, weight_mapping

    texts = {}
    for draft in drafts:
        folder = f"{port.folder}/model/{port.model}_{draft.component}"
        texts |= {f"{folder}/{stem}.py": text for stem, text in draft.files.items()}
        texts.setdefault(f"{folder}/__init__.py", "")
    name = f"{port.folder}/weights/{port.model}_weight_mapping.py"
    mappings = [draft.mapping for draft in drafts]
    texts[name] = weight_mapping(_source(checkout, name), f"{port.class_name}WeightMapping", mappings, name)
    lora = [path for draft in drafts for path in draft.lora]
    if lora and port.lora:
        name = f"{port.folder}/weights/{port.model}_lora_mapping.py"
        texts[name] = lora_mapping(_source(checkout, name), f"{port.class_name}LoRAMapping", lora, name)
    return texts


def _trained(checkout: Checkout, port: Port, drafts: list) -> dict[str, str]:
    from mflux_port.port.lora_modules import LORA_MODULES, lora_modules_text
    from mflux_port.wiring.surfaces import training_example

    modules = {path: count for draft in drafts for path, count in draft.lora.items()}
    if not (modules and port.lora):
        return {}
    texts = {LORA_MODULES: lora_modules_text(modules)}
    # An example that somebody edited stays, and wiring says so.
    if not training_example.not_applicable(port):
        example = checkout.read(training_example.FILE.format(model=port.model))
        if example == training_example.text(port).encode():
            texts[training_example.FILE] = training_example.text(replace(port, lora_modules=tuple(modules.items())))
    return texts


def _source(checkout: Checkout, name: str) -> str:
    data = checkout.read(name)
    if data is None:
        raise PortError(f"{checkout.root / name} is missing; run `copier copy` again, it renders what is missing")
    return data.decode("utf-8", "replace")


def _facts(drafts: list, planned: list) -> dict:
    return {
        "components": [
            {
                "component": draft.component,
                "from": "the reference's modules" if draft.certain else "the header alone",
                "classes": len(draft.classes),
                "targets": len(draft.mapping.targets),
                "lora": len(draft.lora),
                "forward": {
                    "reason": draft.forwards.reason,
                    "classes": [
                        {
                            "path": path,
                            "class": cls,
                            "state": state.kind,
                            "error": state.error,
                            "limit": state.limit,
                            "where": state.where,
                            "source": state.source,
                            "reason": state.reason,
                        }
                        for path, cls, state in draft.states
                    ],
                },
                "unresolved": [{"name": e.name, "why": e.why, "candidates": e.candidates} for e in draft.unresolved],
            }
            for draft in drafts
        ],
        "written": [file.name for file in planned if not file.instead_of],
        "beside": {file.instead_of: file.name for file in planned if file.instead_of},
    }


def _forward_lines(facts: dict) -> list[str]:
    if facts["reason"]:
        return [f"  forward passes: {facts['reason']}"]
    counts = Counter(entry["state"] for entry in facts["classes"])
    told = ", ".join(
        f"{count} {state}" for state, count in sorted(counts.items(), key=lambda one: one[0] != "verified")
    )
    return [f"  forward passes: {told or 'none'}"]


def _format(facts: dict, port: Port) -> str:
    from mflux_port.checkpoint.keylist import collapse

    lines = []
    for part in facts["components"]:
        lines.append(
            f"{part['component']}: {part['classes']} classes, {part['targets']} targets from {part['from']}, "
            f"{part['lora']} LoRA targets, {len(part['unresolved'])} unresolved"
        )
        lines += _forward_lines(part["forward"])
        for why in dict.fromkeys(entry["why"] for entry in part["unresolved"]):
            names = collapse(entry["name"] for entry in part["unresolved"] if entry["why"] == why)
            lines += [f"  unresolved, {why}:", *(f"    {name}" for name in names)]
    lines += ["", *(f"wrote {name}" for name in facts["written"])]
    lines += [f"kept {name}, which you edited; the draft is next to it: {new}" for name, new in facts["beside"].items()]
    lines += [f"no draft uses {name}; remove it unless it is yours" for name in facts["leftover"]]
    if facts["tiny_sizes"]:
        names = {how: ", ".join(facts["tiny_sizes"][how]) or "nothing" for how in ("says", "takes")}
        lines.append(
            f"before you run the fast tests, fix {facts['tiny_sizes']['file']}: it names {names['says']}, "
            f"the drafted transformer takes {names['takes']} instead"
        )
    lines += facts["key_list"]
    lines.append(f"next: mflux-port ledger {port.model}")
    return "\n".join(lines)
