"""The prompt encoder: text, ids, mask, hidden states and which of them are kept, from the facts of the pipeline."""

from __future__ import annotations

import ast

from mflux_port.draft.glue.encoder_states import States, states
from mflux_port.draft.glue.signature import Signature
from mflux_port.draft.write.targets import Unresolved
from mflux_port.files.parsing import parse_python
from mflux_port.port.port import Port

_ENCODERS = ("qwen3", "qwen3_vl", "mistral3", "smollm3", "gemma2", "t5", "own")
_KEPT_OPTIONS = ("padding", "max_length", "truncation", "add_special_tokens", "pad_to_multiple_of")
_COMPONENT = "pipeline"
_WIDTH = 96
_LONG = 40  # characters; a longer text is a constant


def encoder_class(source: str) -> tuple[str, str]:
    """(module, class) of the text encoder that a prompt encoder's source imports."""
    tree = parse_python(source)
    annotated = next(
        argument.annotation.id
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for argument in node.args.args
        if argument.arg == "text_encoder" and isinstance(argument.annotation, ast.Name)
    )
    imports = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    return next(node.module for node in imports if annotated in [alias.name for alias in node.names]), annotated


def negative_options(facts: dict[str, dict]) -> dict[str, bool]:
    """The prompt encoder's argument for a negative prompt, used only if the text around a prompt is left out."""
    value = facts.get("negative", {}).get("value") or {}
    return {} if value.get("text_around", True) else {"negative": True}


def needs_mask(facts: dict[str, dict]) -> bool:
    """Whether there is padding, and the transformer gets its mask."""
    value = facts.get("encoding", {}).get("value") or {}
    options = _tokenization(facts).get("options", {})
    padded = value.get("keep") == "all" and options.get("padding") == "max_length"
    return padded and _mentions(facts.get("arguments", {}).get("value") or {})


def _mentions(rules) -> bool:
    if isinstance(rules, dict):
        own = rules.get("is") == "text mask" and not rules.get("all")
        return own or any(map(_mentions, rules.values()))
    return any(map(_mentions, rules)) if isinstance(rules, list) else rules == "tokens"


def _tokenization(facts: dict[str, dict]) -> dict:
    found = [fact["value"] for name, fact in facts.items() if name.startswith("tokenization.") and fact["value"]]
    return found[0] if len(found) == 1 else {}


class Writer:
    """Writes the file for one port; what the facts do not decide is added to ``unresolved``."""

    def __init__(self, port: Port, facts: dict[str, dict], encoder: tuple[str, str], signature: Signature | None):
        self.port, self.facts = port, facts
        self.module, self.encoder = encoder
        # mflux's own encoders take a mask, a drafted one what its reference takes.
        self.takes_mask = signature is None or "attention_mask" in signature.arguments
        self.needs_mask = self.takes_mask and not (signature and signature.arguments["attention_mask"])
        self.name = f"{port.class_name}PromptEncoder"
        self.unresolved: list[Unresolved] = []
        self.constants: dict[str, str] = {}
        self.with_mask = needs_mask(facts)

    def text(self) -> str | None:
        """The file's source, not formatted yet; None if the facts are not enough, with the reason in ``unresolved``."""
        value, tokens = self.facts.get("encoding", {}).get("value"), _tokenization(self.facts)
        prompt = next((fact for name, fact in self.facts.items() if name.startswith("prompt.")), None)
        if not value or not tokens or not prompt or not prompt["value"]:
            self._undecided(
                "which hidden states the transformer takes, and of which tokens", self.facts.get("encoding", {})
            )
            return None
        if tokens.get("chat_template") and negative_options(self.facts):
            self._undecided("how a negative prompt is encoded without the chat template", self.facts["negative"])
            return None
        found = self._states(prompt["value"], value)
        if found is None:
            wanted = ", ".join(prompt["value"].get("states", ["several"]))
            self._undecided(f"how {self.encoder} gives {wanted}", {})
            return None
        lines = [
            *self._format(tokens),
            *self._ids(tokens, value),
            *found.lines,
            *self._kept(found, prompt["value"], value),
        ]
        body = "".join(f"        {line}\n" for line in lines)
        option = "\n        negative: bool = False," if negative_options(self.facts) else ""
        returned = "tuple[mx.array, mx.array]" if self.with_mask else "mx.array"
        copied = "import copy\n\n" if "copy" in found.needs else ""
        neural = "from mlx import nn\n" if "nn" in found.needs else ""
        return f"""{copied}import mlx.core as mx
{neural}
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.common.tokenizer import LanguageTokenizer
from {self.module} import {self.encoder}


class {self.name}:
    # As {self.port.reference_pipeline} encodes a prompt.
    # Each line follows from {self.port.porting_folder}/pipeline_facts.yml, which says where it was read.
{self._texts(tokens)}    @staticmethod
    def encode_prompt(
        prompt: str,
        tokenizer: LanguageTokenizer,
        text_encoder: {self.encoder},{option}
    ) -> {returned}:
{body}"""

    def _texts(self, tokens: dict) -> str:
        """Long texts around the prompt, as constants of the class."""
        self._format(tokens)
        lines = []
        for text, name in self.constants.items():
            parts = "".join(f"        {part!r}\n" for part in _pieces(text))
            lines.append(f"    {name} = (\n{parts}    )\n")
        return "".join(lines) + ("\n" if lines else "")

    def _filled(self, before: str, prompt: str, after: str) -> str:
        parts = [self._literal(before), "prompt" if prompt else "", self._literal(after)]
        return " + ".join(filter(None, parts)) or '""'

    def _literal(self, text: str) -> str:
        if len(text) <= _LONG:
            return repr(text) if text else ""
        name = self.constants.setdefault(text, f"INSTRUCTION{f'_{len(self.constants) + 1}' if self.constants else ''}")
        return f"{self.name}.{name}"

    def _format(self, tokens: dict) -> list[str]:
        template = tokens.get("chat_template")
        if template is not None:
            contents = [self._filled(*message["content"].partition("{prompt}")) for message in tokens["messages"]]
            roles = [message["role"] for message in tokens["messages"]]
            messages = [
                f'{{"role": {role!r}, "content": {content}}}' for role, content in zip(roles, contents, strict=True)
            ]
            options = "".join(
                f", {name}={value!r}" for name, value in template.items() if name not in ("return_tensors",)
            )
            return [
                f"messages = [{', '.join(messages)}]",
                f"text = tokenizer.tokenizer.apply_chat_template(messages{options})",
            ]
        if tokens.get("before") or tokens.get("after"):
            text = self._filled(tokens.get("before", ""), "{prompt}", tokens.get("after", ""))
            return [f"text = prompt if negative else {text}" if negative_options(self.facts) else f"text = {text}"]
        return ["text = prompt"]

    def _ids(self, tokens: dict, value: dict) -> list[str]:
        options = {name: option for name, option in tokens["options"].items() if name in _KEPT_OPTIONS}
        given = "".join(f", {name}={option!r}" for name, option in options.items())
        lines = [f"tokens = tokenizer.tokenizer([text]{given})", "input_ids = mx.array(tokens.input_ids)"]
        ahead = value.get("pad_before")
        if ahead:
            lines += [
                f"ahead = mx.full((1, -input_ids.shape[1] % {ahead['multiple']}), tokenizer.tokenizer.pad_token_id)",
                "input_ids = mx.concatenate([ahead.astype(input_ids.dtype), input_ids], axis=1)",
            ]
        if self._uses_mask(value):
            lines.append("attention_mask = mx.array(tokens.attention_mask)")
        return lines

    def _uses_mask(self, value: dict) -> bool:
        given = value["mask"] and self.takes_mask
        return given or value["keep"] == "tokens" or value.get("zeros") or self.with_mask

    def _states(self, prompt: dict, value: dict) -> States | None:
        arguments = "input_ids, attention_mask" if value["mask"] and self.takes_mask else "input_ids"
        if not value["mask"] and self.needs_mask:
            arguments = "input_ids, mx.ones_like(input_ids)"
        wanted = [state.partition(".")[2] for state in prompt.get("states", ())]
        if not wanted or prompt.get("joined") not in (None, "concatenated"):
            return None
        return states(self.port.text_encoder, wanted, arguments)

    def _kept(self, found: States, prompt: dict, value: dict) -> list[str]:
        joined = found.expressions[0]
        if len(found.expressions) > 1:
            joined = f"mx.concatenate([{', '.join(found.expressions)}], axis=-1)"
        lines, first = [] if joined == "prompt_embeds" else [f"prompt_embeds = {joined}"], value["first"]
        if value.get("zeros"):
            lines.append("prompt_embeds = prompt_embeds * attention_mask[..., None]")
        if value["keep"] == "tokens":
            lines += [
                "# Only the prompt's own tokens; padding may be on either side of them.",
                "kept = [place for place, own in enumerate(attention_mask[0].tolist()) if own]",
                f"prompt_embeds = prompt_embeds[:, mx.array(kept{f'[{first}:]' if first else ''})]",
            ]
        elif first:
            lines.append(f"prompt_embeds = prompt_embeds[:, {first}:]")
        final = "prompt_embeds.astype(ModelConfig.precision)"
        mask = f"attention_mask[:, {first}:]" if first else "attention_mask"
        return [*lines, f"return {final}, {mask}" if self.with_mask else f"return {final}"]

    def _undecided(self, what: str, fact: dict) -> None:
        candidates = tuple(map(str, fact.get("alternatives", ()))) or ("write it in encode_prompt",)
        self.unresolved.append(Unresolved(_COMPONENT, "prompt_encoder", f"the runs do not decide {what}", candidates))


def _pieces(text: str) -> list[str]:
    """The text split into parts that fit on a line."""
    parts, rest = [], text
    while len(rest) > _WIDTH:
        at = rest.rfind(" ", 0, _WIDTH) + 1 or _WIDTH
        parts.append(rest[:at])
        rest = rest[at:]
    return [*parts, rest]
