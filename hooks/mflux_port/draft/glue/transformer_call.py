"""The call of the transformer: what is prepared once per image, and what every step passes to it."""

from __future__ import annotations

import re

from mflux_port.draft.forward.writer.step_constants import ARGUMENT, METHOD
from mflux_port.draft.glue import edit, scheduler
from mflux_port.draft.glue.expressions import Given, argument, constant
from mflux_port.draft.glue.known_facts import KnownFacts, block
from mflux_port.draft.glue.packing_code import packing
from mflux_port.draft.glue.signature import Signature
from mflux_port.draft.pipeline.loop import BEFORE_SHIFT

_TIMES = ("sigma", "1 - sigma", "1000 * sigma", "1000 - 1000 * sigma")  # written in Python


class TransformerCall:
    """Writes the bodies of ``prepare`` and ``predict``, and of their forms for images to edit."""

    def __init__(self, known: KnownFacts, signature: Signature):
        self.known, self.signature = known, signature
        self.packing = packing(known.value("packing").get("pattern", ""))
        self.uses: set[str] = set()
        self.fixed: dict[str, str] = {}  # the names that ``prepare`` returns, with their expressions
        self.passed: list[str] = []  # the transformer's arguments in every step
        self.shift: list[str] = []  # lines that give the factor of the schedule's shift, where the time needs it

    def bodies(self) -> tuple[str, str]:
        """The bodies of ``prepare`` and ``predict``."""
        given = Given(self.known.class_name, self.known.embeds, self._patch_of_pixels())
        fixed, passed = {}, []
        for name, optional in self.signature.arguments.items():
            rule = self.known.value("arguments").get(name)
            if rule is None:
                if name in self.known.value("arguments") or not optional:
                    fixed[name] = self.known.unexplained(name)
            elif rule["is"] == "zeros" and optional:
                self.known.left_out(name)
            elif rule["is"] == "zeros":
                fixed[name] = self.known.unexplained(name)
            elif rule["is"] in ("latents", "time", "prompt"):
                passed.append(f"{name}={self._moving(name, rule)}")
            elif rule["is"] != "constant":
                fixed[name] = argument(rule, given)
            elif not optional or rule["value"] not in (None, {}, []):
                passed.append(f"{name}={constant(rule)}")
            if name in fixed:
                passed.append(f"{name}={name}")
        fixed |= {name: self.known.unexplained(name) for name in self._settings_without_place()}
        self.uses |= given.uses
        if self.shift:
            given.extra |= dict.fromkeys(self.shift)
            fixed["shift"] = ""
        fixed |= self._rotary(passed)
        self.fixed, self.passed = fixed, passed
        return self._prepare(fixed, given), self.predict()

    def _rotary(self, passed: list[str]) -> dict[str, str]:
        """The transformer's rotary embeddings, computed once per image; ``passed`` gets them for every step."""
        given = [text for text in passed if text.partition("=")[0] in self.signature.of_rotary]
        rules = self.known.value("arguments")
        of_time = any((rules.get(name) or {}).get("is") == "time" for name in self.signature.of_rotary)
        if not given or of_time or any("=raise " in text for text in given):
            return {}
        passed.append(f"{ARGUMENT}={ARGUMENT}")
        return {ARGUMENT: f"transformer.{METHOD}({', '.join(given)})"}

    def _settings_without_place(self) -> list[str]:
        """Tables of settings (for attention, for example) that the drafted transformer does not know."""
        rules = {
            name: rule for name, rule in self.known.value("arguments").items() if name not in self.signature.arguments
        }
        tables = {name: rule["items"] for name, rule in rules.items() if rule and rule["is"] == "table"}
        nothing = {"is": "constant", "value": None}
        return [name for name, items in tables.items() if any(item != nothing for item in items.values())]

    def _prepare(self, fixed: dict[str, str], given: Given) -> str:
        lines = given.lines("\n".join(fixed.values()))
        if any(text.startswith("raise") for text in fixed.values()):
            lines = [next(text for text in fixed.values() if text.startswith("raise"))]
        else:
            lines += [f"{name} = {text}" for name, text in fixed.items() if text]
            lines.append(f"return ({', '.join(fixed)}{',' if len(fixed) == 1 else ''})")
        return block(lines)

    def predict(self, edits: bool = False) -> str:
        """The body of ``predict``, or of ``predict_edit``; after ``bodies``."""
        fixed, passed = self.fixed, ", ".join(self.passed)
        lines = [f"{', '.join(fixed)}{',' if len(fixed) == 1 else ''} = prepared"] if fixed else []
        lines += self.known.embeds.unpacking(set(re.findall(r"\w+", passed)))
        undecided = next((text.partition("=")[2] for text in self.passed if "=raise " in text), None)
        if undecided:
            return block([undecided])
        output = self._unpacked()
        if edits:
            lines += edit.joined(self.known.class_name)
            passed = passed.replace(f"{self.known.class_name}._pack(latents)", "joined")
            output = output.replace("(output,", "(output[:, : packed.shape[1]],")
        lines.append(f"output = transformer({passed}){self.signature.first}")
        sign = "-" if self.known.value("guidance").get("sign") == -1 else ""
        lines.append(f"return {sign}{output}")
        return block(lines)

    def _moving(self, name: str, rule: dict) -> str:
        if rule["is"] == "time":
            relation = self.known.value("timestep").get("is")
            if relation == BEFORE_SHIFT and (lines := scheduler.shift_lines(self.known.value("schedule"))):
                self.shift = [f"tokens = height * width // {4 if not self.packing else self.packing.patch**2}", *lines]
                return "1000 * sigma / (shift - (shift - 1) * sigma)"
            if relation not in _TIMES or "alternatives" in self.known.facts.get("timestep", {}):
                return self.known.undecided("timestep", f"the time that {name} says", relation)
            return relation if rule.get("axes", 1) else f"({relation})[0]"
        if rule["is"] == "prompt":
            text = self.known.embeds.name(name)
            return f"[{text}[0]]" if rule.get("list") else text
        return self._latents(rule)

    def _latents(self, rule: dict) -> str:
        if self.packing:
            return f"{self.known.class_name}._pack(latents)"
        value = self.known.value("packing")
        if value.get("pattern") != "unchanged":
            return self.known.undecided("packing", "how the latents are laid out", value.get("pattern"))
        shape, sizes = value["shape"], value["noise_shape"][-2:]
        text = "latents[0]" if rule.get("list") else "latents"
        at = len(shape) - 3
        if len(shape) - (3 if rule.get("list") else 4) == 1 and shape[-2:] == sizes:
            ahead = ", ".join([":"] * at)
            text += f"[{ahead}, None]" if shape[at] == 1 else ""
        return f"[{text}]" if rule.get("list") else text

    def _unpacked(self) -> str:
        if self.packing:
            return f"{self.known.class_name}._unpack(output, latents.shape)"
        extra = self.known.value("guidance").get("output_channels")
        sliced = "output[:, : latents.shape[1]]" if extra else "output"
        return f"{sliced}.reshape(latents.shape)"

    def _patch_of_pixels(self) -> int:
        """How many pixels one latent of the loop spans."""
        return self.known.value("packing").get("pixels", 8)

    def helpers(self) -> str:
        """The methods that the bodies call."""
        parts = [self.packing.methods()] if self.packing else []
        parts += [_GRID] if "grid" in self.uses else []
        parts += [text for name, text in ROTARY.items() if f"rotary, {name}" in self.uses]
        return "".join(parts)


_GRID = """
    @staticmethod
    def _grid(height: int, width: int) -> tuple[mx.array, mx.array]:
        # The row and the column of each token of the image.
        rows = mx.broadcast_to(mx.arange(height)[:, None], (height, width)).reshape(-1)
        columns = mx.broadcast_to(mx.arange(width)[None, :], (height, width)).reshape(-1)
        return rows, columns
"""
ROTARY = {
    name: f"""
    @staticmethod
    def _rotary(rows: int, columns: int, width: int, theta: float, factor: float) -> mx.array:
        # The cosines and sines of a head: a number is rotated by its row or its column.
        frequencies = theta ** (-mx.arange(0, width // 2, 2) / (width // 2)) / factor
        shape = (rows, columns, width // 4)
        by_row = mx.broadcast_to((mx.arange(rows)[:, None] * frequencies)[:, None], shape)
        by_column = mx.broadcast_to((mx.arange(columns)[:, None] * frequencies)[None], shape)
        angles = {joined}
        return mx.stack([mx.cos(angles), mx.sin(angles)], axis=-1)
"""
    for name, joined in (
        ("alternating", "mx.stack([by_row, by_column], axis=-1).reshape(rows, columns, width // 2)"),
        ("rows first", "mx.concatenate([by_row, by_column], axis=-1)"),
    )
}
