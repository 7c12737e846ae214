"""The code that turns a prompt into the vectors of one text encoder, written from the facts of the pipeline."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mflux_port.draft.glue.encoder_states import States, states
from mflux_port.draft.glue.layer_stack import LayerStack
from mflux_port.draft.glue.prompt_embeds import gets_mask, tokenization
from mflux_port.draft.glue.signature import Signature
from mflux_port.port.text_encoders import WITHOUT_MASK, TextEncoder

_KEPT_OPTIONS = ("padding", "max_length", "truncation", "add_special_tokens", "pad_to_multiple_of")
_LONG = 40  # characters; a longer text is a constant


class Undecided(Exception):
    """What the facts do not decide, in words, and the name of the fact that lists alternatives."""

    def __init__(self, what: str, fact: dict | None = None):
        super().__init__(what)
        self.what, self.fact = what, fact or {}


@dataclass(frozen=True)
class Group:
    """The vectors that one encoder gives to one part of an argument. ``name``: their local name."""

    name: str
    states: list[str]
    first: int
    is_pooled: bool


@dataclass
class Encoder:
    """One encoder of a port, with the facts about it.

    ``signature`` and ``stack`` are those of a drafted class; ``mask_name``: the name under which the mask is returned,
    empty if it is not.

    ``constants`` collects long texts, as the prompt encoder's class attributes.
    """

    port: TextEncoder
    class_name: str  # class attributes of the prompt encoder
    facts: dict[str, dict]
    signature: Signature | None
    stack: LayerStack | None
    groups: list[Group]
    mask_name: str
    constants: dict[str, str] = field(default_factory=dict)
    has_option: bool = False  # encode_prompt takes negative=True

    def __post_init__(self):
        fact = self.facts.get(f"encoding.{self.port.folder}", {})
        self.value = fact.get("value")
        self.tokens = tokenization(self.facts, self.value or {})
        if not self.value or not self.tokens:
            raise Undecided("which hidden states the transformer takes, and of which tokens", fact)
        takes_mask = (
            self.port.kind not in WITHOUT_MASK
            if self.signature is None
            else "attention_mask" in self.signature.arguments
        )
        if self.value["mask"] and not takes_mask and self.tokens["options"].get("padding") == "max_length":
            again = {"alternatives": [f"answer own for {self.port.name}, copy and draft again"]}
            raise Undecided(f"how mflux's {self.port.kind} encoder, which takes no mask, leaves padding out", again)
        self.gives_mask = self.value["mask"] and takes_mask
        # A drafted encoder takes what its reference takes; a mask of ones hides nothing.
        self.needs_ones = (
            not self.gives_mask
            and takes_mask
            and bool(self.signature)
            and not self.signature.arguments["attention_mask"]
        )

    def lines(self) -> tuple[list[str], set[str]]:
        """The lines that define each group's name, from ``prompt``; and what they import."""
        wanted = list(dict.fromkeys(state for group in self.groups for state in group.states))
        found = self._states(wanted)
        expressions = dict(zip(wanted, found.expressions, strict=True))
        lower = ["prompt = prompt.lower()"] if self.tokens.get("lower") else []
        lines = [*lower, *self._format(), *self._ids(), *found.lines]
        for group in self.groups:
            lines += self._kept(group, [expressions[state] for state in group.states])
        if "quoted" in self.tokens:
            lines += self._without_words()
        return lines, {*found.needs, *(["re"] if "quoted" in self.tokens else [])}

    def mask(self) -> str:
        """The expression for the mask of the vectors that are kept."""
        first = self.groups[0].first
        return f"attention_mask[:, {first}:]" if first else "attention_mask"

    # -------------------------------------------------------------------------------------------------------- the text

    def _format(self) -> list[str]:
        if "quoted" in self.tokens:
            return self._words()
        template = self.tokens.get("chat_template")
        if template is not None and self.has_option:
            raise Undecided("how a negative prompt is encoded without the chat template", self.facts["negative"])
        if template is not None:
            return self._chat(template)
        if self.tokens.get("before") or self.tokens.get("after"):
            text = self._filled(self.tokens.get("before", ""), "{prompt}", self.tokens.get("after", ""))
            return [f"text = prompt if negative else {text}" if self.has_option else f"text = {text}"]
        return ["text = prompt"]

    def _words(self) -> list[str]:
        """The lines for an encoder that gets only a prompt's quoted words."""
        pairs = ", ".join(repr(f"{re.escape(left)}(.*?){re.escape(right)}") for left, right in self.tokens["quoted"])
        each = self._filled(self.tokens["before"], "{prompt}", self.tokens["after"]).replace("prompt", "word")
        return [
            "# Only the quoted words of the prompt.",
            f"words = [word for pair in ({pairs},) for word in re.findall(pair, prompt)]",
            f'text = "".join({each} for word in words)',
        ]

    def _without_words(self) -> list[str]:
        names = [group.name for group in self.groups]
        names += ["attention_mask"] if self.mask_name else []
        return [
            "if not words:",
            "    # Then the reference gives zeros.",
            *(f"    {name} = mx.zeros_like({name})" for name in names),
        ]

    def _chat(self, template: dict) -> list[str]:
        messages = [
            f'{{"role": {message["role"]!r}, "content": {self._filled(*message["content"].partition("{prompt}"))}}}'
            for message in self.tokens["messages"]
        ]
        options = "".join(f", {name}={value!r}" for name, value in template.items() if name != "return_tensors")
        return [
            f"messages = [{', '.join(messages)}]",
            f"text = tokenizer.tokenizer.apply_chat_template(messages{options})",
        ]

    def _filled(self, before: str, prompt: str, after: str) -> str:
        parts = [self._literal(before), "prompt" if prompt else "", self._literal(after)]
        return " + ".join(filter(None, parts)) or '""'

    def _literal(self, text: str) -> str:
        if len(text) <= _LONG:
            return repr(text) if text else ""
        name = f"INSTRUCTION{f'_{len(self.constants) + 1}' if self.constants else ''}"
        return f"{self.class_name}.{self.constants.setdefault(text, name)}"

    # --------------------------------------------------------------------------------------------------------- the ids

    def _ids(self) -> list[str]:
        options = {name: option for name, option in self.tokens["options"].items() if name in _KEPT_OPTIONS}
        given = "".join(f", {name}={option!r}" for name, option in options.items())
        alone = (self.facts.get(f"empty_text.{self.port.folder}", {}).get("value") or {}).get("id")
        ids, mask = "tokens.input_ids", "tokens.attention_mask"
        if alone is not None:
            # A tokenizer may give no token for an empty text; the reference encodes one of its own then.
            alone = f"tokenizer.tokenizer.{alone}" if isinstance(alone, str) else alone
            ids, mask = f"[{ids}[0] or [{alone}]]", f"[{mask}[0] or [1]]"
        lines = [f"tokens = tokenizer.tokenizer([text]{given})", f"input_ids = mx.array({ids})"]
        ahead = self.value.get("pad_before")
        if ahead:
            lines += [
                f"ahead = mx.full((1, -input_ids.shape[1] % {ahead['multiple']}), tokenizer.tokenizer.pad_token_id)",
                "input_ids = mx.concatenate([ahead.astype(input_ids.dtype), input_ids], axis=1)",
            ]
        if self.gives_mask or self.value["keep"] == "tokens" or self.value.get("zeros") or self.mask_name:
            lines.append(f"attention_mask = mx.array({mask})")
        return lines

    # ----------------------------------------------------------------------------------------------------- the vectors

    def _states(self, wanted: list[str]) -> States:
        arguments = "input_ids, attention_mask" if self.gives_mask else "input_ids"
        if self.needs_ones:
            arguments = "input_ids, mx.ones_like(input_ids)"
        outputs = tuple(name for name in self.value.get("outputs", ()) if name != "hidden_states")
        results = self.signature.results if self.signature else 1
        if results > 1 and results != len(outputs):
            raise Undecided(f"which of the {results} results of {self.port.name} is which")
        outputs = outputs if results > 1 else ()
        found = states(self.port.kind, wanted, arguments, outputs, self.stack)
        if found is None:
            raise Undecided(f"how the {self.port.kind} encoder gives {', '.join(wanted)}")
        return found

    def _kept(self, group: Group, expressions: list[str]) -> list[str]:
        name, joined = group.name, expressions[0]
        if len(expressions) > 1:
            joined = f"mx.concatenate([{', '.join(expressions)}], axis=-1)"
        lines = [] if joined == name else [f"{name} = {joined}"]
        if group.is_pooled:
            return lines
        if self.value.get("zeros"):
            lines.append(f"{name} = {name} * attention_mask[..., None]")
        if self.value["keep"] == "tokens":
            kept = f"kept[{group.first}:]" if group.first else "kept"
            lines += [
                "# Only the prompt's own tokens; padding may be on either side of them.",
                "kept = [place for place, own in enumerate(attention_mask[0].tolist()) if own]",
                f"{name} = {name}[:, mx.array({kept})]",
            ]
            lines += self._filled_up(name)
        elif group.first:
            lines.append(f"{name} = {name}[:, {group.first}:]")
        return lines

    def _filled_up(self, name: str) -> list[str]:
        """A transformer without a mask also sees the zeros that pad every prompt to one length."""
        length = self.value.get("pad_to")
        if not length or gets_mask(self.facts):
            return []
        return [f"{name} = mx.pad({name}, ((0, 0), (0, {length} - {name}.shape[1]), (0, 0)))"]
