"""The methods of the drafted class for images to edit."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mflux_port.draft.forward.writer.step_constants import ARGUMENT
from mflux_port.draft.glue import edit
from mflux_port.draft.glue.known_facts import KnownFacts, block, unused
from mflux_port.draft.glue.transformer_call import TransformerCall


@dataclass
class EditMethods:
    """Writes them for one port, whose ``call`` has its bodies already."""

    known: KnownFacts
    call: TransformerCall

    def text(self) -> str:
        """``fit_image``, ``prepare_edit`` and ``predict_edit``."""
        return self._fit_image() + self._edit_methods(*self._edit_bodies())

    def _fit_image(self) -> str:
        rule = self.known.value("input_image")
        undecided = "" if rule else self.known.undecided("input_image", "the size of an image to edit", None)
        ignored = "" if rule.get("size") == "the output's" else "  # noqa: ARG004"
        return f"""
    @staticmethod
    def fit_image(image: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:{ignored}
        # An image to edit, as the VAE encodes it. The generated image is width x height.
{block(edit.fit_lines(rule) if rule else [undecided])}"""

    def _edit_methods(self, prepared: str, predicted: str) -> str:
        embeds, transformer = self.known.embeds.annotation, self.known.transformer
        return f"""
    @staticmethod
    def prepare_edit(
        transformer: {transformer},{unused("transformer", prepared)}
        latents: mx.array,{unused("latents", prepared)}
        prompt_embeds: {embeds},{unused("prompt_embeds", prepared)}
        guidance: float,{unused("guidance", prepared)}
        image_latents: list[mx.array],{unused("image_latents", prepared)}
    ) -> tuple:
        # Like prepare, for calls with images to edit.
{prepared}
    @staticmethod
    def predict_edit(
        transformer: {transformer},{unused("transformer", predicted)}
        latents: mx.array,{unused("latents", predicted)}
        sigma: mx.array,{unused("sigma", predicted)}
        prompt_embeds: {embeds},{unused("prompt_embeds", predicted)}
        prepared: tuple,{unused("prepared", predicted)}
        image_latents: list[mx.array],{unused("image_latents", predicted)}
    ) -> mx.array:
{predicted}"""

    def _edit_bodies(self) -> tuple[str, str]:
        value = self.known.value("images")
        if not value or not self.call.packing:
            undecided = block([self.known.undecided("images", "where the latents of images to edit go", None)])
            return undecided, undecided
        self.call.uses |= {"grid"} if value["positions"] else set()
        unpacked = self.known.embeds.unpacking(set(re.findall(r"\w+", self.call.fixed.get(ARGUMENT, ""))))
        prepared = edit.prepare_lines(self.known.class_name, value, self.call.fixed, self.call.packing.patch, unpacked)
        return block(prepared), self.call.predict(edits=True)
