"""A pairwise cover of all answers and releases: a few ports in which every two compatible answers occur together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

Port = dict[str, object]
Pair = frozenset[tuple[str, object]]

# The answers, question by question. The values of checkpoints and shift are names for lists of checkpoints: see
# ports.py.
FACTORS: dict[str, tuple] = {
    "text_encoder": ("qwen3", "qwen3_vl", "mistral3", "smollm3", "t5", "clip", "gemma2", "own"),
    "further_encoders": ("none", "t5", "clip", "own", "qwen3_vl and mistral3"),
    "vae": ("flux", "flux2", "qwen", "wan22", "qwen21", "own"),
    "checkpoints": ("guided", "distilled", "own command", "with edit", "guided edit", "distilled edit"),
    "shift": ("none", "static", "dynamic", "terminal"),
    "release": ("0.18.1", "0.22.0", "0.24.0"),
    "scheduler": ("linear", "flow_match_euler_discrete", "own"),
    "edit": (False, True),
    "img2img": (False, True),
    "negative_prompt": (False, True),
    "lora": (False, True),
    "training": (False, True),
    "skip_quantization": ("none", "text encoders", "all"),
    "size_multiple": (16, 32, 48),
    "naming": ("short", "long"),
}

# Incompatible answers: a combination that contains all of one of these sets is refused.
_REFUSED: tuple[dict[str, tuple], ...] = (
    {"training": (True,), "lora": (False,)},
    {"negative_prompt": (True,), "checkpoints": ("distilled",)},
    {"checkpoints": ("with edit", "guided edit", "distilled edit"), "edit": (False,)},
    {"vae": ("qwen21",), "release": ("0.18.1",)},
    {"text_encoder": ("gemma2",), "release": ("0.18.1",)},
    {"shift": ("static", "dynamic", "terminal"), "scheduler": ("flow_match_euler_discrete",)},
)


def admissible(port: Port) -> bool:
    """Whether the answers chosen so far are compatible."""
    return not any(all(port.get(name, _REFUSED) in values for name, values in rule.items()) for rule in _REFUSED)


def all_pairs() -> set[Pair]:
    """Every two answers to two different questions, compatible or not."""
    answers = [[(name, value) for value in values] for name, values in FACTORS.items()]
    return {
        frozenset(pair) for left, right in itertools.combinations(answers, 2) for pair in itertools.product(left, right)
    }


def pairs(port: Port) -> set[Pair]:
    return {frozenset(pair) for pair in itertools.combinations(port.items(), 2)}


def completions(port: Port) -> Iterator[Port]:
    """Every full port that has these answers and is admissible."""
    missing = [name for name in FACTORS if name not in port]
    if not admissible(port):
        return
    if not missing:
        yield port
        return
    for value in FACTORS[missing[0]]:
        yield from completions({**port, missing[0]: value})


def cover() -> list[Port]:
    """Build the ports greedily: each starts with a missing pair, and gets the answers that cover most other pairs."""
    left = {pair for pair in all_pairs() if next(completions(dict(pair)), None)}
    ports = []
    while left:
        start = min(left, key=_order)
        port = dict(start)
        for name in FACTORS:
            if name not in port:
                port[name] = max(
                    (value for value in FACTORS[name] if next(completions({**port, name: value}), None)),
                    key=lambda value: len(pairs({**port, name: value}) & left),  # noqa: B023 - called in this iteration
                )
        left -= pairs(port)
        ports.append({name: port[name] for name in FACTORS})
    return ports


def _order(pair: Pair) -> tuple:
    # Questions with many answers come first, because they need the most ports; then by name, so that every run is the
    # same.
    names = sorted(pair, key=lambda answer: list(FACTORS).index(answer[0]))
    return tuple((list(FACTORS).index(name), FACTORS[name].index(value)) for name, value in names)
