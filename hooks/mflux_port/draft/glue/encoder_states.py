"""How each of mflux's text encoders, or a drafted one, returns the hidden states that a pipeline uses."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mflux_port.draft.glue.layer_stack import FLAT, LayerStack

_INDEX = re.compile(r"hidden_states\[(-\d+)\]")
_LAST = ("last_hidden_state", "output", "0")


@dataclass(frozen=True)
class States:
    """Code that computes the states: ``lines``, then one expression for each state. ``needs``: further imports."""

    lines: list[str]
    expressions: list[str]
    needs: tuple[str, ...] = ()


def states(
    encoder: str, wanted: list[str], arguments: str, outputs: tuple[str, ...] = (), stack: LayerStack | None = FLAT
) -> States | None:
    """The states of ``wanted`` (such as ``hidden_states[-2]``) from the encoder of that answer; None if it cannot.

    ``arguments``: what the encoder is called with; ``outputs``: what a drafted encoder returns, if that is a tuple;
    ``stack``: where it keeps its layers. The last of the reference's hidden states comes after the final norm.
    """
    if encoder == "own" and len(outputs) > 1:
        return _unpacked(wanted, arguments, outputs, stack)
    if encoder == "clip":
        return States([], [f"text_encoder({arguments})"]) if wanted == ["pooler_output"] else None
    places = [_place(name) for name in wanted]
    if None in places:
        return None
    if encoder in ("qwen3", "smollm3"):
        return _listed(places, arguments)
    if encoder == "qwen3_vl":
        named = ["text_encoder.norm(states[-1])" if place == -1 else f"states[{place}]" for place in places]
        return States([f"states = text_encoder({arguments})"], named)
    if encoder == "mistral3":
        return States([], [f"text_encoder({arguments})"] * len(places)) if set(places) == {-2} else None
    if encoder in ("gemma2", "own"):
        return _shortened(places, arguments, FLAT if encoder == "gemma2" else stack)
    return States([], [f"text_encoder({arguments})"] * len(places)) if set(places) == {-1} and encoder == "t5" else None


def _unpacked(wanted: list[str], arguments: str, outputs: tuple[str, ...], stack: LayerStack | None) -> States | None:
    """Code for an encoder that returns several results: the states as they are, or those of an earlier layer."""
    own = [name for name in wanted if name in outputs]
    earlier = [name for name in wanted if name not in outputs]
    lines = (
        [f"{', '.join(name if name in own else '_' for name in outputs)} = text_encoder({arguments})"] if own else []
    )
    if not earlier:
        return States(lines, wanted)
    places = {_place(name) for name in earlier}
    # Whether the last one comes before a final norm or after it differs between encoders.
    if len(places) > 1 or places & {None, -1} or stack is None or "last_hidden_state" not in outputs:
        return None
    called = ", ".join("hidden_states" if name == "last_hidden_state" else "_" for name in outputs)
    lines += [*_cut(places.pop(), stack), f"{called} = shortened({arguments})"]
    return States(lines, [name if name in own else "hidden_states" for name in wanted], ("copy", "nn"))


def _place(name: str) -> int | None:
    match = _INDEX.fullmatch(name)
    return int(match[1]) if match else (-1 if name in _LAST else None)


def _listed(places: list[int], arguments: str) -> States:
    if set(places) == {-1}:
        return States([f"prompt_embeds, _ = text_encoder({arguments})"], ["prompt_embeds"])
    first = "last" if -1 in places else "_"
    lines = [f"{first}, states = text_encoder({arguments}, output_hidden_states=True)"]
    return States(lines, ["last" if place == -1 else f"states[{place}]" for place in places])


def _shortened(places: list[int], arguments: str, stack: LayerStack | None) -> States | None:
    if set(places) == {-1}:
        return States([], [f"text_encoder({arguments})"])
    if len(set(places)) > 1 or stack is None:
        return None
    return States(_cut(places[0], stack), [f"shortened({arguments})"], ("copy", "nn"))


def _cut(place: int, stack: LayerStack) -> list[str]:
    return [
        f"# The reference's hidden_states[{place}]: the encoder without its last {_layers(-1 - place)} and its final norm.",
        *stack.shortened(place),
    ]


def _layers(count: int) -> str:
    return "layer" if count == 1 else f"{count} layers"
