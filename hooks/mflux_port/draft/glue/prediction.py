"""The file that calls the transformer: its outline. The bodies of its methods are written in three other files.

``transformer_call`` writes what happens before the loop and in it, ``guidance`` how two predictions are combined, and
``edit_methods`` what an edit port has in addition.
"""

from __future__ import annotations

from mflux_port.draft.glue import edit, prompt_encoder
from mflux_port.draft.glue.edit_methods import EditMethods
from mflux_port.draft.glue.guidance import Guidance
from mflux_port.draft.glue.known_facts import KnownFacts, unused
from mflux_port.draft.glue.signature import Signature
from mflux_port.draft.glue.transformer_call import TransformerCall
from mflux_port.draft.write.targets import Unresolved
from mflux_port.port.port import Port


class Writer:
    """Writes the file for one port; what the facts do not decide is added to ``unresolved``."""

    def __init__(self, port: Port, facts: dict[str, dict], signature: Signature):
        self.known = KnownFacts(port, facts)
        self.call = TransformerCall(self.known, signature)
        self.guidance = Guidance(self.known, self.call.packing)

    @property
    def unresolved(self) -> list[Unresolved]:
        return self.known.unresolved

    def text(self) -> str:
        """The file's source, not formatted yet."""
        # What stays open is listed in this order; the helpers are those that the methods use.
        methods, head = self._methods(), self._head()
        edits = EditMethods(self.known, self.call).text() if self.known.port.edits else ""
        return f"{head}{methods}{edits}{self._guide()}{self.call.helpers()}"

    def _head(self) -> str:
        """The imports, the class's constants, and whether a guidance makes two predictions."""
        guided = self.guidance.is_guided()
        return f"""{edit.imports(self.known.value("input_image")) if self.known.port.edits else edit.PLAIN}
from {self.known.port.package}.model.{self.known.port.model}_transformer.transformer import {self.known.transformer}


class {self.known.class_name}:
    # What {self.known.port.reference_pipeline} does around its transformer.
    # Each line follows from {self.known.port.porting_folder}/pipeline_facts.yml, which says where it was read.
    # The loop's latents are (batch, channels, height, width), even if the transformer takes them packed.
    # The text of the unconditional prediction where no negative prompt is given; None if one must be given.
    UNCONDITIONAL_PROMPT = {self.guidance.default_negative()}
    # Further arguments of encode_prompt for that text, where it is not encoded as a prompt is.
    UNCONDITIONAL_OPTIONS: dict[str, bool] = {prompt_encoder.negative_options(self.known.facts)}

    @staticmethod
    def is_guided(guidance: float) -> bool:{unused("guidance", guided)}
        {guided}
"""

    def _methods(self) -> str:
        """The methods ``prepare`` and ``predict``."""
        prepared, lines = self.call.bodies()
        return f"""
    @staticmethod
    def prepare(
        transformer: {self.known.transformer},{unused("transformer", prepared)}
        latents: mx.array,{unused("latents", prepared)}
        prompt_embeds: {self.known.embeds.annotation},{unused("prompt_embeds", prepared)}
        guidance: float,{unused("guidance", prepared)}
    ) -> tuple:
        # Everything that is the same in every step.
{prepared}
    @staticmethod
    def predict(
        transformer: {self.known.transformer},
        latents: mx.array,
        sigma: mx.array,
        prompt_embeds: {self.known.embeds.annotation},
        prepared: tuple,{unused("prepared", lines)}
    ) -> mx.array:
        # The velocity, noise minus image, at the noise level sigma.
{lines}"""

    def _guide(self) -> str:
        return f"""
    @staticmethod
    def guide(conditional: mx.array, unconditional: mx.array, guidance: float) -> mx.array:
{self.guidance.combined()}"""
