"""When a pipeline makes the second, unconditional prediction, and from which text if none is given."""

from __future__ import annotations

from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.prompts import of_prompts, text_of
from mflux_port.draft.pipeline.watch import Trace


def negative(weak: list[Trace], without: Trace, prompt: str, known: dict[str, Fact], framed: bool) -> Fact:
    """``weak``: runs with a guidance of 1 and of a half; ``without``: a run without a negative prompt.

    ``framed``: whether a negative prompt gets the same text around it as a prompt.
    """
    value = {"guided": _guided(*map(_predictions, weak))} | ({} if framed else {"text_around": False})
    where = "runs with guidance 1, 0.5 and without a negative prompt"
    of_words = {name.partition(".")[2] for name, fact in known.items() if fact.value and "quoted" in fact.value}
    calls = [call for call in without.tokenizers if call.component not in of_words]
    given = [text_of(call) for call in calls if call.method == "__call__"] or [text_of(call) for call in calls]
    texts = list(dict.fromkeys(_inner(text, known) for text in given if prompt not in text))
    if not texts and _predictions(without) < 2:
        return Fact("negative", value | {"default": None}, where)  # no negative prompt, no guidance
    if not texts and _is_zeros(without, known):
        return Fact("negative", value | {"default": "", "zeros": True}, where)
    if len(texts) != 1:
        return Fact("negative", None, where, (f"texts encoded beside the prompt: {texts}",))
    return Fact("negative", value | {"default": texts[0]}, where)


def _is_zeros(trace: Trace, known: dict[str, Fact]) -> bool:
    """Whether the unconditional prediction is made from zeros, as many of them as the longest text has tokens.

    Zeros for as many tokens as the prompt has do not count: their number depends on the prompt.
    """
    guided = known["guidance"].value
    call, row = divmod(1 - guided["conditional"], guided.get("batch", 1))
    first = [entry.arguments for entry in trace.transformers if entry.step == 0]
    names = [name.removeprefix("prompt.") for name in known if name.startswith("prompt.")]
    given = [first[call].get(name) for name in names] if call < len(first) else []
    if not given or not all(hasattr(value, "dim") and row < len(value) for value in given):
        return False
    lengths = {fact.value.get("options", {}).get("max_length") for fact in of_prompts(known)}
    vectors = [value[row] for value in given]
    return not any(part.any() for part in vectors) and all(part.dim() < 2 or len(part) in lengths for part in vectors)


def is_framed(trace: Trace, text: str, known: dict[str, Fact]) -> bool:
    """Whether the negative prompt ``text`` was encoded with the text that is around a prompt."""
    before, after = _around(known)
    given = [text_of(call) for call in trace.tokenizers if call.method == "__call__" and text in text_of(call)]
    return not given or any(found.startswith(before) and found.endswith(after) for found in given)


def _around(known: dict[str, Fact]) -> tuple[str, str]:
    found = [fact.value for fact in of_prompts(known)]
    return (found[0].get("before", ""), found[0].get("after", "")) if found else ("", "")


def _guided(at_one: int, at_half: int) -> str:
    if at_one < 2:
        return "guidance != 1" if at_half > 1 else "guidance > 1"
    return "guidance > 0"


def _predictions(trace: Trace) -> int:
    """The number of predictions in the first step."""
    from mflux_port.draft.pipeline.loop import rows_of_step

    return len(rows_of_step(trace))


def _inner(text: str, known: dict[str, Fact]) -> str:
    """The text without what the pipeline puts around every prompt."""
    before, after = _around(known)
    if text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after):
        return text[len(before) : len(text) - len(after)]
    return text
