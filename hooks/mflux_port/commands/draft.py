"""``mflux-port draft``: write the weight mapping, the MLX modules and the LoRA mapping from a checkpoint."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from mflux_port.checkout.lock import exclusive, shared
from mflux_port.checkout.transaction import commit, locked
from mflux_port.checkout.tree import Checkout, is_inside
from mflux_port.errors import PortError, format_error
from mflux_port.json_output import print_diff, print_json
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
    from mflux_port.checkpoint.layout import open_checkpoint
    from mflux_port.draft.pipeline.settings import settings
    from mflux_port.draft.port_draft import draft_port
    from mflux_port.draft.write.files import diff, leftovers, plan_files, stand_ins
    from mflux_port.port.checkpoint_place import remember_checkpoint

    port = load_port(checkout.root, args.model)
    checkpoint = open_checkpoint(args.checkpoint)
    facts, refusal = _pipeline_facts(args.pipeline, port)
    wanted = settings(facts)
    draft = draft_port(checkout, port, checkpoint, args.component or [], _say, not args.layers_only, wanted)
    glue = _glue(checkout, port, checkpoint, facts, draft.texts, args.pipeline)
    glue.unresolved += _unread(port, refusal)
    planned = plan_files(checkout, port, draft.texts | glue.files)
    kept, changes = _lists(checkout, port, checkpoint, draft, facts, glue)
    left = leftovers(checkout, planned)
    spare = stand_ins(checkout, port, {file.name: file.text for file in planned}, left)
    if args.dry_run:
        print_diff("draft --dry-run", diff([*planned, *kept]), args.json)
        return 0
    _write(checkout, port, planned, kept, spare, _notes(args, checkout, port, draft))
    remember_checkpoint(checkout.root, port, args.checkpoint)  # not written with the draft if artifacts is a link
    left = [name for name in left if name not in spare and not name.endswith("__init__.py")]
    more = {"facts": facts, "refusal": refusal, "key_list": changes, "removed": spare, "leftover": left}
    _print(args, checkout, port, draft, planned, more)
    return 0


def _lists(checkout: Checkout, port: Port, checkpoint, draft, facts: list, glue) -> tuple[list, list[str]]:
    """The files that are not Python, and lines about changes in the key list."""
    from mflux_port.checkpoint.keylist import KEYLIST, keylist_text, merged, snapshot
    from mflux_port.draft.glue.glue import COMPONENT
    from mflux_port.draft.pipeline.facts_file import FACTS, facts_text
    from mflux_port.draft.write.files import lists
    from mflux_port.draft.write.unresolved import UNRESOLVED, unresolved_text

    keys, changes = merged(checkout.root / KEYLIST.format(model=port.model), snapshot(checkpoint))
    names = [*draft.names, *([COMPONENT] if facts or glue.unresolved else [])]
    undecided = [*draft.unresolved, *glue.unresolved]
    listed = unresolved_text(checkout.root / UNRESOLVED.format(model=port.model), names, undecided)
    texts = {KEYLIST: keylist_text(keys), UNRESOLVED: listed, **_trained(checkout, port, draft)}
    texts |= _waived(checkout, port, draft.components)
    return lists(checkout, port, texts | ({FACTS: facts_text(facts)} if facts else {})), changes


def _write(checkout: Checkout, port: Port, planned: list, kept: list, spare: list[str], notes: dict) -> None:
    from mflux_port.draft.write.files import contents

    texts = contents(checkout, port, planned) | {file.name: file.text or None for file in kept}
    texts |= dict.fromkeys(spare) | notes
    with locked(checkout.root):
        commit(checkout.root, {name: text.encode() if text is not None else None for name, text in texts.items()})


def _notes(args: argparse.Namespace, checkout: Checkout, port: Port, draft) -> dict[str, str]:
    # The files that `status` reads, by path: the checkpoint's location and the box.
    from mflux_port.port.checkpoint_place import checkpoint_note
    from mflux_port.port.guide_boxes import DRAFT_BOX, with_box

    note = checkpoint_note(checkout.root, port, args.checkpoint)
    note = {name: text for name, text in note.items() if is_inside(checkout.root, name)}
    return note | (with_box(checkout.root, port, DRAFT_BOX, True) if "transformer" in draft.names else {})


def _print(args: argparse.Namespace, checkout: Checkout, port: Port, draft, planned: list, more: dict) -> None:
    from mflux_port.draft.glue.tiny_size_names import other_names

    facts = _facts(draft.components, planned)
    facts |= {name: more[name] for name in ("removed", "leftover", "key_list")}
    facts["tiny_sizes"] = other_names(checkout, port, draft.texts)
    facts["pipeline"] = {fact.name: fact.as_dict() for fact in more["facts"]}
    facts["pipeline_refusal"] = more["refusal"]
    if args.json:
        print_json("draft", facts)
        return
    print("\n".join([*_pipeline_lines(port, more["facts"], more["refusal"]), _format(facts, port)]))


def _pipeline_lines(port: Port, facts: list, refusal: str) -> list[str]:
    from mflux_port.draft.pipeline.facts_file import FACTS, summary

    if refusal:
        return [f"pipeline: {refusal}"]
    return [f"{summary(facts)}: {FACTS.format(model=port.model)}"] if facts else []


def _pipeline_facts(folder: str | None, port: Port) -> tuple[list, str]:
    """The facts, or why there are none: a twin that cannot run does not discard the draft."""
    from mflux_port.draft.pipeline.separate_process import facts_of_twin

    if not folder:
        return [], ""
    if not Path(folder, "model_index.json").is_file():
        raise PortError(f"{folder} has no model_index.json; name the folder of a tiny twin (make_tiny_checkpoint.py)")
    _say("pipeline: about fifteen runs of the twin")
    try:
        return facts_of_twin(Path(folder), port.edits), ""
    except PortError as error:
        return [], format_error(error)


def _unread(port: Port, refusal: str) -> list:
    """What is left to do if the pipeline could not be run."""
    from mflux_port.draft.glue.glue import COMPONENT
    from mflux_port.draft.write.targets import Unresolved

    return [Unresolved(COMPONENT, "facts", refusal, (f"read {port.reference_pipeline}",))] if refusal else []


def _glue(checkout: Checkout, port: Port, checkpoint, read: list, drafted: dict[str, str], twin: str | None):
    """The files that follow from the pipeline's facts; none if no pipeline was run or no transformer was drafted."""
    from mflux_port.draft.glue.glue import Glue
    from mflux_port.draft.port_draft import source

    glue = Glue(port, read, lambda name: source(checkout, name), drafted)
    if read and f"{port.folder}/model/{port.model}_transformer/transformer.py" in drafted:
        parts = {name: checkpoint.part(port.folder_of(name)) for name in ("transformer", *port.kinds)}
        glue.write({name: part.config for name, part in parts.items() if part}, Path(twin))
    return glue


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # stderr, because progress is not part of the output


def _trained(checkout: Checkout, port: Port, draft) -> dict[str, str]:
    """The list of the modules that a LoRA trains, and the training example if nobody has edited it."""
    from mflux_port.port.lora_modules import LORA_MODULES, lora_modules_text
    from mflux_port.wiring.surfaces import training_example

    modules = draft.lora
    if not (modules and port.lora):
        return {}
    texts = {LORA_MODULES: lora_modules_text(modules)}
    # An edited example stays, and wiring reports it.
    if not training_example.not_applicable(port):
        example = checkout.read(training_example.FILE.format(model=port.model))
        if example == training_example.text(port).encode():
            texts[training_example.FILE] = training_example.text(port._replace(lora_modules=tuple(modules.items())))
    return texts


def _waived(checkout: Checkout, port: Port, drafts: list) -> dict[str, str]:
    from mflux_port.draft.write.waiver_entries import waivers_text
    from mflux_port.ledger.waivers import WAIVERS, read_waivers

    patterns = {draft.component: {f"{path}.*": reason for path, reason in draft.left_out.items()} for draft in drafts}
    path = checkout.root / WAIVERS.format(model=port.model)
    known = {component: set(waivers.tensors) for component, waivers in read_waivers(path).items()}
    text = waivers_text(path, known, patterns)
    return {WAIVERS: text} if text else {}


def _facts(drafts: list, planned: list) -> dict:
    return {
        "components": [_component(draft) for draft in drafts],
        "written": [file.name for file in planned if not file.instead_of],
        "beside": {file.instead_of: file.name for file in planned if file.instead_of},
    }


def _component(draft) -> dict:
    return {
        "component": draft.component,
        "from": "the reference's modules" if draft.certain else "the header alone",
        "classes": len(draft.classes),
        "targets": len(draft.mapping.targets),
        "lora": len(draft.lora),
        "forward": {
            "reason": draft.forwards.reason,
            "classes": [_forward(path, cls, state) for path, cls, state in draft.states],
        },
        "left_out": list(draft.left_out),
        "unresolved": [{"name": e.name, "why": e.why, "candidates": e.candidates} for e in draft.unresolved],
    }


def _forward(path: str, cls: str, state) -> dict:
    said = {name: getattr(state, name) for name in ("error", "limit", "where", "source", "reason")}
    return {"path": path, "class": cls, "state": state.kind, **said}


def _forward_lines(facts: dict) -> list[str]:
    if facts["reason"]:
        return [f"  forward passes: {facts['reason']}"]
    counts = Counter(entry["state"] for entry in facts["classes"])
    told = ", ".join(
        f"{count} {state}" for state, count in sorted(counts.items(), key=lambda one: one[0] != "verified")
    )
    return [f"  forward passes: {told or 'none'}"]


def _format(facts: dict, port: Port) -> str:
    lines = [line for part in facts["components"] for line in _component_lines(part)]
    lines += ["", *(f"wrote {name}" for name in facts["written"])]
    lines += [f"kept {name}, which you edited; the draft is next to it: {new}" for name, new in facts["beside"].items()]
    lines += [f"removed {name}, a placeholder for what is now drafted" for name in facts["removed"]]
    lines += [f"no draft uses {name}; remove it unless it is yours" for name in facts["leftover"]]
    lines += _sizes_lines(facts["tiny_sizes"])
    lines += facts["key_list"]
    lines.append(f"next: mflux-port ledger {port.model}")
    return "\n".join(lines)


def _component_lines(part: dict) -> list[str]:
    from mflux_port.checkpoint.keylist import collapse

    lines = [
        f"{part['component']}: {part['classes']} classes, {part['targets']} targets from {part['from']}, "
        f"{part['lora']} LoRA targets, {len(part['unresolved'])} unresolved",
        *_forward_lines(part["forward"]),
        *(f"  left out and waived, because no prompt needs it: {path}" for path in part["left_out"]),
    ]
    for why in dict.fromkeys(entry["why"] for entry in part["unresolved"]):
        names = collapse(entry["name"] for entry in part["unresolved"] if entry["why"] == why)
        lines += [f"  unresolved, {why}:", *(f"    {name}" for name in names)]
    return lines


def _sizes_lines(sizes: dict) -> list[str]:
    if not sizes:
        return []
    names = {how: ", ".join(sizes[how]) or "nothing" for how in ("says", "takes")}
    return [
        f"before you run the fast tests, fix {sizes['file']}: it names {names['says']}, "
        f"the drafted transformer takes {names['takes']} instead"
    ]
