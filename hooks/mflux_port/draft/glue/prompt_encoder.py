"""The prompt encoder: each text encoder's vectors and how they are joined, from the facts of the pipeline."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import replace

from mflux_port.draft.glue.encoder import Encoder, Group, Undecided
from mflux_port.draft.glue.layer_stack import layer_stack
from mflux_port.draft.glue.prompt_embeds import encoders_of, prompt_embeds
from mflux_port.draft.glue.signature import Signature, call_signature, handed_down
from mflux_port.draft.pipeline.prompts import blocks_of, is_pooled
from mflux_port.draft.write.targets import Unresolved
from mflux_port.files.parsing import imported_from, parse_python
from mflux_port.port.port import Port
from mflux_port.port.text_encoders import TextEncoder

_COMPONENT = "pipeline"
_WIDTH = 96


def encoder_classes(source: str) -> dict[str, tuple[str, str]]:
    """(module, class) of each text encoder that a prompt encoder's source imports, by the argument's name."""
    tree = parse_python(source)
    modules = imported_from(tree)
    method = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "encode_prompt")
    return {
        argument.arg: (modules[argument.annotation.id], argument.annotation.id)
        for argument in method.args.args
        if argument.arg.startswith("text_encoder") and isinstance(argument.annotation, ast.Name)
    }


def negative_options(facts: dict[str, dict]) -> dict[str, bool]:
    """The prompt encoder's argument for a negative prompt; needed only if it is encoded differently from a prompt."""
    value = facts.get("negative", {}).get("value") or {}
    return {"negative": True} if _is_bare(value) or value.get("zeros") else {}


def _is_bare(negative: dict) -> bool:
    """Whether a negative prompt lacks the text around a prompt."""
    return not negative.get("text_around", True)


class Writer:
    """Writes the file for one port; what the facts do not decide is added to ``unresolved``.

    ``classes``: (module, class) of each text encoder, by the port's name for it; ``drafted``: the text of a module of
    this draft, empty for any other.
    """

    def __init__(
        self, port: Port, facts: dict[str, dict], classes: dict[str, tuple[str, str]], drafted: Callable[[str], str]
    ):  # fmt: skip
        self.port, self.facts, self.classes, self.drafted = port, facts, classes, drafted
        self.name = f"{port.class_name}PromptEncoder"
        self.embeds = prompt_embeds(facts)
        self.unresolved: list[Unresolved] = []
        self.constants: dict[str, str] = {}

    def text(self) -> str:
        """The file's source, not formatted yet.

        It raises an error if the facts are not sufficient, with the reason in ``unresolved``.
        """
        try:
            groups = self._groups()
            encoders = [
                self._encoder(own, groups[own.folder]) for own in self.port.text_encoders if own.folder in groups
            ]
            for own in self.port.text_encoders:
                if own.folder not in groups:
                    self._unused(own)
            methods, needs = self._methods(encoders)
        except Undecided as undecided:
            methods, needs = self._raising(undecided), set()
        modules = "".join(f"from {module} import {name}\n" for module, name in dict.fromkeys(self.classes.values()))
        precision = (
            "from mflux.models.common.config.model_config import ModelConfig\n" if "ModelConfig" in methods else ""
        )
        standard = "".join(f"import {name}\n" for name in ("copy", "re") if name in needs)
        standard += "\n" if standard else ""
        neural = "from mlx import nn\n" if "nn" in needs else ""
        return f"""{standard}import mlx.core as mx
{neural}
{precision}from mflux.models.common.tokenizer import LanguageTokenizer
{modules}

class {self.name}:
    # As {self.port.reference_pipeline} encodes a prompt.
    # Each line follows from {self.port.porting_folder}/pipeline_facts.yml, which says where it was read.
{self._texts()}{methods}"""

    # ------------------------------------------------------------------------------------------------------ what facts say

    def _groups(self) -> dict[str, list[Group]]:
        """The parts of the transformer's arguments that each encoder gives, by its folder in the checkpoint."""
        if any(name.startswith("prompt.") and not fact["value"] for name, fact in self.facts.items()):
            raise Undecided("where the prompt's vectors come from", self._open_prompt())
        found: dict[str, list[Group]] = {}
        for argument in self.embeds.arguments:
            value = self.facts.get(f"prompt.{argument}", {}).get("value")
            if not value or "list" in value:
                raise Undecided("which hidden states the transformer takes, and of which tokens", self._open_prompt())
            parts = self._parts(argument, value)
            for name, encoder, block in parts:
                states = [state.partition(".")[2] for state in block["states"] if state.startswith(f"{encoder}.")]
                found.setdefault(encoder, []).append(
                    Group(name, states, block.get("first_token", 0), all(map(is_pooled, states)))
                )
        return found

    def _open_prompt(self) -> dict:
        return next((fact for name, fact in self.facts.items() if name.startswith("prompt.") and not fact["value"]), {})

    def _parts(self, argument: str, value: dict) -> list[tuple[str, str, dict]]:
        """(local name, encoder, block) of each part of an argument, in order."""
        found = []
        for block in blocks_of(value):
            if block.get("joined") not in (None, "concatenated"):
                raise Undecided(f"how hidden states that are {block['joined']} become {argument}")
            owners = [state.partition(".")[0] for state in block["states"]]
            if sorted(owners, key=list(dict.fromkeys(owners)).index) != owners:
                raise Undecided(f"how hidden states of {' and '.join(dict.fromkeys(owners))} take turns in {argument}")
            found += [(encoder, block) for encoder in dict.fromkeys(owners)]
        name = self._local(argument)
        if len(found) == 1:
            return [(name, *found[0])]
        return [(f"{name}_{number}", encoder, block) for number, (encoder, block) in enumerate(found, 1)]

    def _local(self, argument: str) -> str:
        return argument if len(self.embeds.arguments) > 1 else "prompt_embeds"

    def _encoder(self, own: TextEncoder, groups: list[Group]) -> Encoder:
        is_main = own.folder == self._main_folder()
        option = is_main and _is_bare(self._negative)
        if option and len(self.port.text_encoders) > 1:
            raise Undecided("which encoders get a negative prompt without the text around it", self.facts["negative"])
        module = self.classes[own.name][0]
        is_drafted = own.kind == "own" and self.drafted(module)
        signature, stack = (self._signature(module), layer_stack(self.drafted, module)) if is_drafted else (None, None)
        mask = self._mask_of(own)
        return Encoder(own, self.name, self.facts, signature, stack, groups, mask, self.constants, option)

    def _mask_of(self, own: TextEncoder) -> str:
        """The name of the mask that an encoder's method returns: that of an argument with vectors of this encoder
        alone.
        """
        for argument in self.embeds.arguments:
            if encoders_of(self.facts[f"prompt.{argument}"]["value"]) == [own.folder]:
                if name := self.embeds.mask_of(argument):
                    return name
        return ""

    @property
    def _negative(self) -> dict:
        return self.facts.get("negative", {}).get("value") or {}

    def _signature(self, module: str) -> Signature | None:
        """The signature of a drafted encoder; a wrapper returns what the module inside it does."""
        text = self.drafted(module)
        signature, inner = call_signature(text), handed_down(text)
        below = self._signature(inner) if signature and inner and self.drafted(inner) else None
        return replace(signature, returns=below.returns) if below else signature

    def _main_folder(self) -> str:
        return blocks_of(self.facts[f"prompt.{self.embeds.main}"]["value"])[0]["states"][0].partition(".")[0]

    # ------------------------------------------------------------------------------------------------------------- the code

    def _methods(self, encoders: list[Encoder]) -> tuple[str, set[str]]:
        """``encode_prompt`` with a method for each of several encoders, and what they import."""
        bodies = [encoder.lines() for encoder in encoders]
        needs = {need for _, found in bodies for need in found}
        joined = [line for argument in self.embeds.arguments for line in self._joined(argument)]
        joined += self._zeros()
        if len(self.port.text_encoders) == 1:
            return self._encode_prompt([*bodies[0][0], *joined, *self._return(encoders)]), needs
        called = [self._call(encoder) for encoder in encoders]
        text = self._encode_prompt([*called, *joined, *self._return(encoders)])
        return text + "".join(
            self._method(encoder, lines) for encoder, (lines, _) in zip(encoders, bodies, strict=True)
        ), needs

    def _encode_prompt(self, lines: list[str]) -> str:
        body = "".join(f"        {line}\n" for line in lines)
        arguments = "".join(
            f"        tokenizer{own.name.removeprefix('text_encoder')}: LanguageTokenizer,{self._spare(own, body)}\n"
            f"        {own.name}: {self.classes[own.name][1]},{self._spare(own, body)}\n"
            for own in self.port.text_encoders
        )
        option = "        negative: bool = False,\n" if negative_options(self.facts) else ""
        return f"""    @staticmethod
    def encode_prompt(
        prompt: str,
{arguments}{option}    ) -> {self.embeds.annotation}:
{body}"""

    def _spare(self, own: TextEncoder, body: str) -> str:
        # A body that only raises does not need its arguments.
        is_used = re.search(rf"\b{own.name}\b", body) or "raise NotImplementedError" in body
        return "" if is_used else "  # noqa: ARG004"

    def _call(self, encoder: Encoder) -> str:
        suffix = encoder.port.name.removeprefix("text_encoder")
        names = [group.name for group in encoder.groups]
        names += [encoder.mask_name] if encoder.mask_name else []
        return f"{', '.join(names)} = {self.name}._encode{suffix}(prompt, tokenizer{suffix}, {encoder.port.name})"

    def _method(self, encoder: Encoder, lines: list[str]) -> str:
        suffix = encoder.port.name.removeprefix("text_encoder")
        names = [group.name for group in encoder.groups]
        names += [encoder.mask()] if encoder.mask_name else []
        returned = f"tuple[{', '.join(['mx.array'] * len(names))}]" if len(names) > 1 else "mx.array"
        last = lines[-1].partition(" = ")
        if names == [last[0]]:
            lines = [*lines[:-1], f"return {last[2]}"]
        else:
            lines = [*lines, f"return {', '.join(names)}"]
        body = "".join(f"        {line}\n" for line in lines)
        return f"""
    @staticmethod
    def _encode{suffix}(
        prompt: str,
        tokenizer: LanguageTokenizer,
        text_encoder: {self.classes[encoder.port.name][1]},
    ) -> {returned}:
{body}"""

    def _joined(self, argument: str) -> list[str]:
        """The line that joins an argument's parts: side by side in a block, and blocks one after the other."""
        value, name = self.facts[f"prompt.{argument}"]["value"], self._local(argument)
        parts = self._parts(argument, value)
        if len(parts) == 1:
            return self._no_zeros(parts[0][2], argument)
        blocks = [
            _concatenated([part for part, _, of_block in parts if of_block is block], -1) for block in blocks_of(value)
        ]
        if len(blocks) == 1:
            return [*self._no_zeros(blocks_of(value)[0], argument), f"{name} = {blocks[0]}"]
        if value.get("zeros_after"):
            raise Undecided(f"what follows the vectors of {argument}")
        if not any(block.get("zeros_behind") for block in blocks_of(value)):
            return [f"{name} = {_concatenated(blocks, 1)}"]
        return [
            "# Zeros fill the narrower vectors up to the widest.",
            f"parts = [{', '.join(blocks)}]",
            "width = max(part.shape[-1] for part in parts)",
            "parts = [mx.pad(part, [(0, 0), (0, 0), (0, width - part.shape[-1])]) for part in parts]",
            f"{name} = mx.concatenate(parts, axis=1)",
        ]

    def _zeros(self) -> list[str]:
        """The lines that replace the vectors of a negative prompt that was not given."""
        if not self._negative.get("zeros"):
            return []
        if self.embeds.masks:
            raise Undecided("the mask of the zeros for the unconditional prediction", self.facts["negative"])
        names = [self._local(argument) for argument in self.embeds.arguments]
        return ["if negative and not prompt:", *(f"    {name} = mx.zeros_like({name})" for name in names)]

    def _no_zeros(self, block: dict, argument: str) -> list[str]:
        if block.get("zeros_behind"):
            raise Undecided(f"the width to which zeros pad the vectors of {argument}")
        return []

    def _return(self, encoders: list[Encoder]) -> list[str]:
        values = [f"{self._local(argument)}.astype(ModelConfig.precision)" for argument in self.embeds.arguments]
        one = len(self.port.text_encoders) == 1
        values += [encoders[0].mask()] if one and self.embeds.masks else self.embeds.masks
        return [f"return {', '.join(values)}"]

    def _texts(self) -> str:
        """Long texts around the prompt, written as constants of the class."""
        lines = []
        for text, name in self.constants.items():
            parts = "".join(f"        {part!r}\n" for part in _pieces(text))
            lines.append(f"    {name} = (\n{parts}    )\n")
        return "".join(lines) + ("\n" if lines else "")

    # ------------------------------------------------------------------------------------------------------- open questions

    def _raising(self, undecided: Undecided) -> str:
        self.constants.clear()
        candidates = tuple(map(str, undecided.fact.get("alternatives", ()))) or ("write it in encode_prompt",)
        why = f"the runs do not decide {undecided.what}"
        self.unresolved = [Unresolved(_COMPONENT, "prompt_encoder", why, candidates)]
        message = f"Port how {self.port.reference_pipeline} encodes a prompt: see unresolved.yml."
        return self._encode_prompt([f'raise NotImplementedError("{message}")'])

    def _unused(self, own: TextEncoder) -> None:
        why = f"no argument of the transformer had vectors of {own.name} in the runs; some prompts may need them"
        quoted = self.facts.get(f"quoted.{own.folder}", {}).get("value")
        candidates = [f"read {self.port.reference_pipeline}"]
        if quoted:
            gives = ", ".join(f"{name} has its {' and '.join(states)}" for name, states in quoted["gives"].items())
            candidates.insert(0, f"for the prompt {quoted['prompt']!r} it encodes {quoted['text']!r}, and {gives}")
        self.unresolved.append(Unresolved(_COMPONENT, f"prompt_encoder.{own.name}", why, tuple(candidates)))


def _concatenated(names: list[str], axis: int) -> str:
    return f"mx.concatenate([{', '.join(names)}], axis={axis})" if len(names) > 1 else names[0]


def _pieces(text: str) -> list[str]:
    """Split the text into parts that fit on a line."""
    parts, rest = [], text
    while len(rest) > _WIDTH:
        at = rest.rfind(" ", 0, _WIDTH) + 1 or _WIDTH
        parts.append(rest[:at])
        rest = rest[at:]
    return [*parts, rest]
