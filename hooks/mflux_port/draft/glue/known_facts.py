"""The facts of one port as the drafted code needs them: their values, and what stays open."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mflux_port.draft.glue.prompt_embeds import PromptEmbeds, prompt_embeds
from mflux_port.draft.write.targets import Unresolved
from mflux_port.port.port import Port

_COMPONENT = "pipeline"


@dataclass
class KnownFacts:
    """``facts``: by name, as in ``pipeline_facts.yml``. What they do not decide is added to ``unresolved``."""

    port: Port
    facts: dict[str, dict]
    unresolved: list[Unresolved] = field(default_factory=list)

    @property
    def embeds(self) -> PromptEmbeds:
        return prompt_embeds(self.facts)

    @property
    def class_name(self) -> str:
        """The class that calls the transformer."""
        return f"{self.port.class_name}Prediction"

    @property
    def transformer(self) -> str:
        return f"{self.port.class_name}Transformer"

    def value(self, name: str) -> dict:
        """The value of a fact; empty if it is open."""
        return self.facts.get(name, {}).get("value") or {}

    def unexplained(self, name: str) -> str:
        """The statement for an argument of the transformer that the runs do not explain."""
        alternatives = self.facts["arguments"].get("alternatives", ())
        said = next((one for one in alternatives if one.startswith(f"{name}:")), name)
        why = f"the runs do not explain this argument of the transformer ({said})"
        self._note(name, why, (f"write it in {self.class_name}.prepare",))
        return f'raise NotImplementedError("Port what {self.port.reference_pipeline} gives its transformer as {name}.")'

    def left_out(self, name: str) -> None:
        """Record an argument that no run used."""
        why = f"{name} held only zeros in the runs and is left out; some prompts may need it"
        self._note(name, why, (f"read {self.port.reference_pipeline}",))

    def undecided(self, fact: str, what: str, found: object) -> str:
        """The statement for ``what`` a fact does not decide; ``found``: the value that the drafted code has no form
        for.
        """
        candidates = tuple(map(str, [*([found] if found else []), *self.facts.get(fact, {}).get("alternatives", ())]))
        candidates = candidates or (f"read it in {self.port.reference_pipeline}",)
        self._note(fact, f"the runs do not decide {what}", candidates)
        return f'raise NotImplementedError("Decide {fact} in {self.class_name}: see pipeline_facts.yml.")'

    def _note(self, name: str, why: str, candidates: tuple[str, ...]) -> None:
        self.unresolved.append(Unresolved(_COMPONENT, f"prediction.{name}", why, candidates))


def block(lines: list[str]) -> str:
    """The lines as the body of a method."""
    return "".join(f"        {line}\n" for line in lines)


def unused(name: str, body: str) -> str:
    """The comment after an argument that a body does not read."""
    return "" if re.search(rf"\b{name}\b", body) else "  # noqa: ARG004"
