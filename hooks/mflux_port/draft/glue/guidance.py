"""Guidance in the drafted code: when two predictions are made, from which text, and how they are combined."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mflux_port.draft.glue.known_facts import KnownFacts, block
from mflux_port.draft.glue.packing_code import Packing
from mflux_port.draft.pipeline.loop import AT_MOST

_GUIDED = {"guidance > 1": "guidance > 1.0", "guidance > 0": "guidance > 0.0", "guidance != 1": "guidance != 1.0"}
# These are written in Python in the facts.
_FORMULAS = (
    "unconditional + guidance * (conditional - unconditional)",
    "conditional + guidance * (conditional - unconditional)",
)
_SCALES = {
    "the standard deviation": "mx.std(conditional) / mx.std(mixed)",
    "the norm": "mx.linalg.norm(conditional) / mx.linalg.norm(mixed)",
}
_SCALE_OF_TOKENS = "mx.linalg.norm(conditional, axis=-1, keepdims=True) / mx.linalg.norm(mixed, axis=-1, keepdims=True)"


@dataclass
class Guidance:
    """Writes the bodies of ``is_guided`` and ``guide``. ``packing``: None if the latents are not packed."""

    known: KnownFacts
    packing: Packing | None

    def default_negative(self) -> str:
        """The text of the unconditional prediction where no negative prompt is given."""
        value = self.known.facts.get("negative", {}).get("value")
        return repr(value["default"]) if value else '""'

    @property
    def _is_single(self) -> bool:
        """Whether no guidance made a second prediction: it is an input of the transformer, or it has no effect."""
        return self.known.value("guidance").get("formula") == "conditional"

    @property
    def _has_two_guidances(self) -> bool:
        """Whether the transformer takes guidance, and a second one, off by default, makes a second prediction."""
        second = self.known.value("defaults").get("true_cfg_scale")
        return bool(self.known.value("guidance_argument")) and isinstance(second, (int, float)) and second <= 1

    def is_guided(self) -> str:
        """The body of ``is_guided``."""
        if self._is_single or self._has_two_guidances:
            return "return False"
        found = self.known.value("negative").get("guided")
        if found in _GUIDED:
            return f"return {_GUIDED[found]}"
        return self.known.undecided("negative", "at which guidance a second prediction is made", found)

    def combined(self) -> str:
        """The body of ``guide``."""
        formula = self.known.value("guidance").get("formula")
        if self._is_single:
            return f'        raise NotImplementedError("{self.known.port.reference_pipeline} makes no second prediction.")\n'
        guided = self.known.value("guidance").get("channels")
        if formula in _FORMULAS and guided:
            joined = f"mx.concatenate([guided[:, :{guided}], conditional[:, {guided}:]], axis=1)"
            return block([f"guided = {formula}", f"return {joined}"])
        if formula in _FORMULAS:
            return f"        return {formula}\n"
        plain, _, size = (formula or "").partition(", then ")
        if plain in _FORMULAS and size and self._is_known_size(size):
            return self._normed(plain, size.removesuffix(" of the conditional output"))
        message = self.known.undecided("guidance", "how the predictions are combined", formula)
        return f"        {message}\n"

    def _is_known_size(self, size: str) -> bool:
        """Whether the norm is over all values, a token, or a row of the image: any other number is a coincidence."""
        packing = self.known.value("packing")
        widths = {packing["shape"][-1] if self.packing else packing["noise_shape"][-1]}
        number = re.search(r"\d+", size)
        return number is None or int(number[0]) in widths

    def _normed(self, formula: str, size: str) -> str:
        shrinks, size = size.startswith(AT_MOST), size.removeprefix(AT_MOST)
        scale = _SCALES.get(size, _SCALE_OF_TOKENS)
        lines = [f"mixed = {formula}", f"scale = {f'mx.minimum({scale}, 1.0)' if shrinks else scale}"]
        if not self.packing or size in _SCALES:  # for all values, or for each row of the image
            return block([*lines, "return mixed * scale"])
        packed = [
            f"shape, pack = conditional.shape, {self.known.class_name}._pack",
            "conditional, unconditional = pack(conditional), pack(unconditional)",
        ]
        return block([*packed, *lines, f"return {self.known.class_name}._unpack(mixed * scale, shape)"])
