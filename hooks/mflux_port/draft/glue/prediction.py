"""The file that calls the transformer: packing, time, positions, masks and guidance, from the facts of the pipeline."""

from __future__ import annotations

import re

from mflux_port.draft.forward.writer.step_constants import ARGUMENT, METHOD
from mflux_port.draft.glue import edit, prompt_encoder, scheduler
from mflux_port.draft.glue.expressions import Given, argument, constant
from mflux_port.draft.glue.packing_code import packing
from mflux_port.draft.glue.prompt_embeds import prompt_embeds
from mflux_port.draft.glue.signature import Signature
from mflux_port.draft.pipeline.loop import AT_MOST, BEFORE_SHIFT
from mflux_port.draft.write.targets import Unresolved
from mflux_port.port.port import Port

_TIMES = {
    "sigma": "sigma",
    "1 - sigma": "1 - sigma",
    "1000 * sigma": "1000 * sigma",
    "1000 - 1000 * sigma": "1000 - 1000 * sigma",
}
_GUIDED = {"guidance > 1": "guidance > 1.0", "guidance > 0": "guidance > 0.0", "guidance != 1": "guidance != 1.0"}
_FORMULAS = {
    "unconditional + guidance * (conditional - unconditional)": "unconditional + guidance * (conditional - unconditional)",
    "conditional + guidance * (conditional - unconditional)": "conditional + guidance * (conditional - unconditional)",
}
_COMPONENT = "pipeline"


class Writer:
    """Writes the file for one port; what the facts do not decide is added to ``unresolved``."""

    def __init__(self, port: Port, facts: dict[str, dict], signature: Signature):
        self.port, self.facts, self.signature, self.embeds = port, facts, signature, prompt_embeds(facts)
        self.name, self.transformer = f"{port.class_name}Prediction", f"{port.class_name}Transformer"
        self.unresolved: list[Unresolved] = []
        self.packing = packing(self._value("packing").get("pattern", ""))
        self.uses: set[str] = set()
        self.shift: list[str] = []  # lines that give the factor of the schedule's shift, where the time needs it

    def text(self) -> str:
        """The file's source, not formatted yet."""
        # What stays open is listed in this order; the helpers are those that the methods use.
        methods, head = self._methods(), self._head()
        edits = self._edit() if self.port.edits else ""
        return f"{head}{methods}{edits}{self._guide()}{self._helpers()}"

    def _head(self) -> str:
        """The imports, the class's constants, and whether a guidance makes two predictions."""
        guided = self._guided()
        return f"""{edit.imports(self._value("input_image")) if self.port.edits else edit.PLAIN}
from {self.port.package}.model.{self.port.model}_transformer.transformer import {self.transformer}


class {self.name}:
    # What {self.port.reference_pipeline} does around its transformer.
    # Each line follows from {self.port.porting_folder}/pipeline_facts.yml, which says where it was read.
    # The loop's latents are (batch, channels, height, width), even if the transformer takes them packed.
    # The text of the unconditional prediction where no negative prompt is given; None if one must be given.
    UNCONDITIONAL_PROMPT = {self._negative()}
    # Further arguments of encode_prompt for that text, where it is not encoded as a prompt is.
    UNCONDITIONAL_OPTIONS: dict[str, bool] = {prompt_encoder.negative_options(self.facts)}

    @staticmethod
    def is_guided(guidance: float) -> bool:{_unused("guidance", guided)}
        {guided}
"""

    def _methods(self) -> str:
        """The methods ``prepare`` and ``predict``."""
        prepared, lines = self._arguments()
        return f"""
    @staticmethod
    def prepare(
        transformer: {self.transformer},{_unused("transformer", prepared)}
        latents: mx.array,{_unused("latents", prepared)}
        prompt_embeds: {self.embeds.annotation},{_unused("prompt_embeds", prepared)}
        guidance: float,{_unused("guidance", prepared)}
    ) -> tuple:
        # Everything that is the same in every step.
{prepared}
    @staticmethod
    def predict(
        transformer: {self.transformer},
        latents: mx.array,
        sigma: mx.array,
        prompt_embeds: {self.embeds.annotation},
        prepared: tuple,{_unused("prepared", lines)}
    ) -> mx.array:
        # The velocity, noise minus image, at the noise level sigma.
{lines}"""

    # --------------------------------------------------------------------------------------------------- the arguments

    def _arguments(self) -> tuple[str, str]:
        """The bodies of ``prepare`` and ``predict``."""
        given = Given(self.name, self.embeds, self._patch_of_pixels())
        fixed, passed = {}, []
        for name, optional in self.signature.arguments.items():
            rule = self._value("arguments").get(name)
            if rule is None:
                if name in self._value("arguments") or not optional:
                    fixed[name] = self._raising(name)
            elif rule["is"] == "zeros" and optional:
                self._left_out(name)
            elif rule["is"] == "zeros":
                fixed[name] = self._raising(name)
            elif rule["is"] in ("latents", "time", "prompt"):
                passed.append(f"{name}={self._moving(name, rule)}")
            elif rule["is"] != "constant":
                fixed[name] = argument(rule, given)
            elif not optional or rule["value"] not in (None, {}, []):
                passed.append(f"{name}={constant(rule)}")
            if name in fixed:
                passed.append(f"{name}={name}")
        fixed |= {name: self._raising(name) for name in self._settings_without_place()}
        self.uses |= given.uses
        if self.shift:
            given.extra |= dict.fromkeys(self.shift)
            fixed["shift"] = ""
        fixed |= self._rotary(passed)
        self.fixed, self.passed = fixed, passed
        return self._prepare(fixed, given), self._predict()

    def _rotary(self, passed: list[str]) -> dict[str, str]:
        """The transformer's rotary embeddings, computed once per image; ``passed`` gets them for every step."""
        given = [text for text in passed if text.partition("=")[0] in self.signature.of_rotary]
        rules = self._value("arguments")
        of_time = any((rules.get(name) or {}).get("is") == "time" for name in self.signature.of_rotary)
        if not given or of_time or any("=raise " in text for text in given):
            return {}
        passed.append(f"{ARGUMENT}={ARGUMENT}")
        return {ARGUMENT: f"transformer.{METHOD}({', '.join(given)})"}

    def _settings_without_place(self) -> list[str]:
        """Tables of settings (for attention, for example) that the drafted transformer does not know."""
        rules = {name: rule for name, rule in self._value("arguments").items() if name not in self.signature.arguments}
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
        return _block(lines)

    def _predict(self, edits: bool = False) -> str:
        fixed, passed = self.fixed, ", ".join(self.passed)
        lines = [f"{', '.join(fixed)}{',' if len(fixed) == 1 else ''} = prepared"] if fixed else []
        lines += self.embeds.unpacking(set(re.findall(r"\w+", passed)))
        undecided = next((text.partition("=")[2] for text in self.passed if "=raise " in text), None)
        if undecided:
            return _block([undecided])
        output = self._unpacked()
        if edits:
            lines += edit.joined(self.name)
            passed = passed.replace(f"{self.name}._pack(latents)", "joined")
            output = output.replace("(output,", "(output[:, : packed.shape[1]],")
        lines.append(f"output = transformer({passed}){self.signature.first}")
        sign = "-" if self._value("guidance").get("sign") == -1 else ""
        lines.append(f"return {sign}{output}")
        return _block(lines)

    def _moving(self, name: str, rule: dict) -> str:
        if rule["is"] == "time":
            relation = self._value("timestep").get("is")
            if relation == BEFORE_SHIFT and (lines := scheduler.shift_lines(self._value("schedule"))):
                self.shift = [f"tokens = height * width // {4 if not self.packing else self.packing.patch**2}", *lines]
                return "1000 * sigma / (shift - (shift - 1) * sigma)"
            if relation not in _TIMES or "alternatives" in self.facts.get("timestep", {}):
                return self._undecided("timestep", f"the time that {name} says", relation)
            return _TIMES[relation] if rule.get("axes", 1) else f"({_TIMES[relation]})[0]"
        if rule["is"] == "prompt":
            text = self.embeds.name(name)
            return f"[{text}[0]]" if rule.get("list") else text
        return self._latents(rule)

    def _latents(self, rule: dict) -> str:
        if self.packing:
            return f"{self.name}._pack(latents)"
        value = self._value("packing")
        if value.get("pattern") != "unchanged":
            return self._undecided("packing", "how the latents are laid out", value.get("pattern"))
        shape, sizes = value["shape"], value["noise_shape"][-2:]
        text = "latents[0]" if rule.get("list") else "latents"
        at = len(shape) - 3
        if len(shape) - (3 if rule.get("list") else 4) == 1 and shape[-2:] == sizes:
            ahead = ", ".join([":"] * at)
            text += f"[{ahead}, None]" if shape[at] == 1 else ""
        return f"[{text}]" if rule.get("list") else text

    def _unpacked(self) -> str:
        if self.packing:
            return f"{self.name}._unpack(output, latents.shape)"
        extra = self._value("guidance").get("output_channels")
        sliced = "output[:, : latents.shape[1]]" if extra else "output"
        return f"{sliced}.reshape(latents.shape)"

    def _patch_of_pixels(self) -> int:
        """How many pixels one latent of the loop spans."""
        return self._value("packing").get("pixels", 8)

    # --------------------------------------------------------------------------------------------------------- editing

    def _edit(self) -> str:
        """The methods for images to edit."""
        return self._fit_image() + self._edit_methods(*self._edit_bodies())

    def _fit_image(self) -> str:
        rule = self._value("input_image")
        undecided = "" if rule else self._undecided("input_image", "the size of an image to edit", None)
        ignored = "" if rule.get("size") == "the output's" else "  # noqa: ARG004"
        return f"""
    @staticmethod
    def fit_image(image: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:{ignored}
        # An image to edit, as the VAE encodes it. The generated image is width x height.
{_block(edit.fit_lines(rule) if rule else [undecided])}"""

    def _edit_methods(self, prepared: str, predicted: str) -> str:
        embeds, transformer = self.embeds.annotation, self.transformer
        return f"""
    @staticmethod
    def prepare_edit(
        transformer: {transformer},{_unused("transformer", prepared)}
        latents: mx.array,{_unused("latents", prepared)}
        prompt_embeds: {embeds},{_unused("prompt_embeds", prepared)}
        guidance: float,{_unused("guidance", prepared)}
        image_latents: list[mx.array],{_unused("image_latents", prepared)}
    ) -> tuple:
        # Like prepare, for calls with images to edit.
{prepared}
    @staticmethod
    def predict_edit(
        transformer: {transformer},{_unused("transformer", predicted)}
        latents: mx.array,{_unused("latents", predicted)}
        sigma: mx.array,{_unused("sigma", predicted)}
        prompt_embeds: {embeds},{_unused("prompt_embeds", predicted)}
        prepared: tuple,{_unused("prepared", predicted)}
        image_latents: list[mx.array],{_unused("image_latents", predicted)}
    ) -> mx.array:
{predicted}"""

    def _edit_bodies(self) -> tuple[str, str]:
        value = self._value("images")
        if not value or not self.packing:
            undecided = _block([self._undecided("images", "where the latents of images to edit go", None)])
            return undecided, undecided
        self.uses |= {"grid"} if value["positions"] else set()
        unpacked = self.embeds.unpacking(set(re.findall(r"\w+", self.fixed.get(ARGUMENT, ""))))
        prepared = edit.prepare_lines(self.name, value, self.fixed, self.packing.patch, unpacked)
        return _block(prepared), self._predict(edits=True)

    # -------------------------------------------------------------------------------------------------------- guidance

    def _negative(self) -> str:
        value = self.facts.get("negative", {}).get("value")
        return repr(value["default"]) if value else '""'

    @property
    def _is_single(self) -> bool:
        """Whether no guidance made a second prediction: it is an input of the transformer, or it has no effect."""
        return self._value("guidance").get("formula") == "conditional"

    @property
    def _has_two_guidances(self) -> bool:
        """Whether the transformer takes guidance, and a second one, off by default, makes a second prediction."""
        second = self._value("defaults").get("true_cfg_scale")
        return bool(self._value("guidance_argument")) and isinstance(second, (int, float)) and second <= 1

    def _guided(self) -> str:
        if self._is_single or self._has_two_guidances:
            return "return False"
        found = self._value("negative").get("guided")
        if found in _GUIDED:
            return f"return {_GUIDED[found]}"
        return self._undecided("negative", "at which guidance a second prediction is made", found)

    def _guide(self) -> str:
        return f"""
    @staticmethod
    def guide(conditional: mx.array, unconditional: mx.array, guidance: float) -> mx.array:
{self._combined()}"""

    def _combined(self) -> str:
        """The body of ``guide``."""
        formula = self._value("guidance").get("formula")
        if self._is_single:
            return f'        raise NotImplementedError("{self.port.reference_pipeline} makes no second prediction.")\n'
        guided = self._value("guidance").get("channels")
        if formula in _FORMULAS and guided:
            joined = f"mx.concatenate([guided[:, :{guided}], conditional[:, {guided}:]], axis=1)"
            return _block([f"guided = {_FORMULAS[formula]}", f"return {joined}"])
        if formula in _FORMULAS:
            return f"        return {_FORMULAS[formula]}\n"
        plain, _, size = (formula or "").partition(", then ")
        if plain in _FORMULAS and size and self._is_known_size(size):
            return self._normed(plain, size.removesuffix(" of the conditional output"))
        message = self._undecided("guidance", "how the predictions are combined", formula)
        return f"        {message}\n"

    def _is_known_size(self, size: str) -> bool:
        """Whether the norm is over all values, a token, or a row of the image: any other number is a coincidence."""
        packing = self._value("packing")
        widths = {packing["shape"][-1] if self.packing else packing["noise_shape"][-1]}
        number = re.search(r"\d+", size)
        return number is None or int(number[0]) in widths

    def _normed(self, formula: str, size: str) -> str:
        shrinks, size = size.startswith(AT_MOST), size.removeprefix(AT_MOST)
        scale = _SCALES.get(size, _SCALE_OF_TOKENS)
        lines = [f"mixed = {formula}", f"scale = {f'mx.minimum({scale}, 1.0)' if shrinks else scale}"]
        if not self.packing or size in _SCALES:  # of all values, or of each row of the image
            return _block([*lines, "return mixed * scale"])
        packed = [
            f"shape, pack = conditional.shape, {self.name}._pack",
            "conditional, unconditional = pack(conditional), pack(unconditional)",
        ]
        return _block([*packed, *lines, f"return {self.name}._unpack(mixed * scale, shape)"])

    # ------------------------------------------------------------------------------------------------------------ rest

    def _helpers(self) -> str:
        parts = [self.packing.methods()] if self.packing else []
        parts += [_GRID] if "grid" in self.uses else []
        parts += [text for name, text in ROTARY.items() if f"rotary, {name}" in self.uses]
        return "".join(parts)

    def _value(self, name: str) -> dict:
        return self.facts.get(name, {}).get("value") or {}

    def _raising(self, name: str) -> str:
        said = next(
            (one for one in self.facts["arguments"].get("alternatives", ()) if one.startswith(f"{name}:")), name
        )
        self.unresolved.append(
            Unresolved(
                _COMPONENT,
                f"prediction.{name}",
                f"the runs do not explain this argument of the transformer ({said})",
                (f"write it in {self.name}.prepare",),
            )
        )
        return f'raise NotImplementedError("Port what {self.port.reference_pipeline} gives its transformer as {name}.")'

    def _left_out(self, name: str) -> None:
        why = f"{name} held only zeros in the runs and is left out; some prompts may need it"
        self.unresolved.append(
            Unresolved(_COMPONENT, f"prediction.{name}", why, (f"read {self.port.reference_pipeline}",))
        )

    def _undecided(self, fact: str, what: str, found: object) -> str:
        others = self.facts.get(fact, {}).get("alternatives", ())
        candidates = tuple(map(str, [*([found] if found else []), *others])) or (
            f"read it in {self.port.reference_pipeline}",
        )
        self.unresolved.append(
            Unresolved(_COMPONENT, f"prediction.{fact}", f"the runs do not decide {what}", candidates)
        )
        return f'raise NotImplementedError("Decide {fact} in {self.name}: see pipeline_facts.yml.")'


_SCALES = {
    "the standard deviation": "mx.std(conditional) / mx.std(mixed)",
    "the norm": "mx.linalg.norm(conditional) / mx.linalg.norm(mixed)",
}
_SCALE_OF_TOKENS = "mx.linalg.norm(conditional, axis=-1, keepdims=True) / mx.linalg.norm(mixed, axis=-1, keepdims=True)"
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


def _block(lines: list[str]) -> str:
    return "".join(f"        {line}\n" for line in lines)


def _unused(name: str, body: str) -> str:
    return "" if re.search(rf"\b{name}\b", body) else "  # noqa: ARG004"
